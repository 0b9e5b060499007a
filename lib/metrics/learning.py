"""What a training history says, and how evenly codes are used."""
import numpy as np


def passes(accuracy: list[float], clips: int) -> np.ndarray:
    """Mean accuracy over each last pass over the clips, (steps - clips + 1,): one value a step from the first whole pass."""
    return np.convolve(accuracy, np.full(clips, 1 / clips), "valid") if len(accuracy) >= clips else np.zeros(0)


def steps_to(accuracy: list[float], clips: int, level: float) -> int | None:
    """The first step (counted from 1) at which a whole pass over the clips is right to `level`; None if never."""
    reached = np.flatnonzero(passes(accuracy, clips) >= level - 1e-9)
    return int(reached[0]) + clips if len(reached) else None


def perplexity(codes: np.ndarray) -> float:
    """exp of the entropy of one codebook's use: as many codes, evenly used, would be as varied."""
    p = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(np.exp(-(p * np.log(p)).sum()))
