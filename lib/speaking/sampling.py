"""How a token is drawn from its logits, and when a text is at its end."""
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..models.codec_lm import BINS

WINDOW, SHARE = 10, 0.1     # frames in which repetitions are counted, and the share of them that is not yet too much


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: greedy at temperature 0; else among the `top_k` likeliest, and the fewest that hold `top_p`.
    Repetition-aware, one that is too frequent among the last is drawn again, from the whole distribution. A frame is the last
    where that has more than the probability `end`. With `guidance` above 1 logits go beyond what the text makes of them: see
    lib.speaking.recorded. A masked model takes `rounds` rounds for its first codebook: see lib.speaking.masked."""
    temperature: float = 0.0
    top_k: int = BINS
    top_p: float = 1.0
    seed: int = 0
    repetition_aware: bool = field(default=False, metadata={"before": False})
    end: float = field(default=0.5, metadata={"before": 0.5})
    guidance: float = field(default=1.0, metadata={"before": 1.0})
    rounds: int = field(default=1, metadata={"before": 1})

    @property
    def end_logit(self) -> float:
        return math.log(self.end / (1 - self.end))

    def __post_init__(self):
        if not 0 < self.end < 1 or not 0 <= self.guidance < math.inf or self.rounds < 1:
            raise ValueError(f"{self}: end lies between 0 and 1, guidance is at least 0, rounds at least 1")
        if not self.temperature >= 0 or not 1 <= self.top_k <= BINS or not 0 < self.top_p <= 1 or (
                self.repetition_aware and self.temperature == 0):
            raise ValueError(f"{self}: temperature is at least 0, and above it to be repetition-aware, top_k 1 to {BINS}, top_p "
                             "above 0 and at most 1")


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator, said: Tensor | None = None) -> Tensor:
    """Tokens (…) from logits (…, bins), after the tokens `said` (…, frames). Nucleus sampling after Holtzman et al. 2020,
    repetition-aware after Chen et al. 2024 (VALL-E 2, section 4)."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = logits.cpu()                                               # the generator's device: same draws everywhere
    sorted_logits, tokens = (logits / sampling.temperature).sort(-1, descending=True)
    p = sorted_logits.softmax(-1)
    p[..., sampling.top_k:] = 0
    p[p.cumsum(-1) - p >= sampling.top_p] = 0                           # the likeliest always stays
    drawn = tokens.gather(-1, _multinomial(p, generator)[..., None])[..., 0]
    if not sampling.repetition_aware:
        return drawn
    often = (said[..., -WINDOW:].cpu() == drawn[..., None]).sum(-1) > SHARE * WINDOW
    return torch.where(often, _multinomial(logits.softmax(-1), generator), drawn)


def _multinomial(p: Tensor, generator: torch.Generator) -> Tensor:
    """Indices (…) drawn with weights (…, bins)."""
    return torch.multinomial(p.flatten(0, -2), 1, generator=generator).view(p.shape[:-1])
