"""The one training loop: resumable, with its history, and a finished run as a record. What is learned is the caller's."""
import math
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from .. import records
from ..progress import progress_bar
from . import checkpoint
from .optimiser import descend

History = dict[str, list]       # of each step a number or a list of them, as JSON; and what `after` adds

CHECKPOINT_SECONDS = 30.0       # between checkpoints


def finished(kind: str, identity: dict, train: Callable[[Path], tuple[dict, dict[str, bytes]]],
             whole: bool = False) -> records.Record:
    """The run with this identity: found (where that is asked for, with all its files), or made by `train`, which is given
    the path of its checkpoint and returns the result and the files of the record."""
    if (found := records.find(kind, identity)) and not (whole and found.stripped):
        return found
    path = records.folder(kind, records.digest(identity)) / "checkpoint.safetensors"
    record = records.save(kind, identity, *train(path))
    path.unlink(missing_ok=True)
    return record


def fit(model: nn.Module, optimiser: Optimizer, steps: int, step: Callable[[int], tuple[Tensor, dict]], path: Path, label: str,
        clip_norm: float = math.inf, rate: Callable[[int], float] | None = None,
        after: Callable[[int, History], None] | None = None,
        enough: Callable[[int, History], bool] | None = None) -> History:
    """Train in place to `steps`, from where the checkpoint at `path` is, if there is one.

    `step(i)` gives the loss to descend and numbers or tensors to keep, `rate(i)` the learning rate, `after(i, history)`
    measures between two steps, `enough(i, history)` says before a step whether to stop.
    """
    history: History = {"seconds": [], "cpu_seconds": [], "resumed": 0}
    if path.exists():
        history = checkpoint.read(path, model, optimiser)
        history["resumed"] += 1
    done = len(history["seconds"])
    bar, saved = progress_bar(steps, label, done), time.monotonic()
    for i in range(done, steps):
        if enough and enough(i, history):
            break
        begin, cpu = time.perf_counter(), time.process_time()
        loss, numbers = step(i)
        descend(model, optimiser, loss, clip_norm, rate(i) if rate else None)
        for name, value in numbers.items():
            history.setdefault(name, []).append(value.tolist() if isinstance(value, Tensor) else value)
        history["seconds"].append(time.perf_counter() - begin)
        history["cpu_seconds"].append(time.process_time() - cpu)
        if after:
            after(i, history)
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        bar.update()
        if time.monotonic() - saved >= CHECKPOINT_SECONDS:
            checkpoint.write(path, model, optimiser, history)
            saved = time.monotonic()
    bar.close()
    return history


def warm_and_cool(i: int, steps: int, peak: float, warmup: int, cooldown: float, least: float = 0.0) -> float:
    """The learning rate of step i: linear warm-up over `warmup` steps, `peak`, and a linear cool-down over a share of the
    steps, to the share `least` of the peak."""
    left = (steps - i) / max(1, round(cooldown * steps))
    return peak * min(1, (i + 1) / max(1, warmup), max(least, left))
