"""What a computation costs: parameters, FLOPs and memory, by one method each."""
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def resident() -> int:
    """Resident set of this process in bytes (Linux)."""
    return _status("VmRSS")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


class Memory:
    """Bytes above what was there at the start: `peak`, and `average` if sampled."""
    peak: float = float("nan")
    average: float = float("nan")


@contextmanager
def measure_memory(average: bool = True, interval: float = 0.005) -> Iterator[Memory]:
    """Peak and average memory of the block. Enter it before the model is built.

    CUDA: the allocator's statistics, reset first. CPU: the process's peak resident set, reset on entry, less its
    resident set then; a fresh process is needed, since freed memory that stays resident would hide a later use.
    The average is over samples taken every `interval` seconds.
    """
    memory, samples, done = Memory(), [], threading.Event()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")   # reset VmHWM
    read = torch.cuda.memory_allocated if cuda else resident
    before = read()

    def sample() -> None:
        while not done.wait(interval):
            samples.append(read())

    thread = threading.Thread(target=sample, daemon=True)
    if average:
        thread.start()
    try:
        yield memory
    finally:
        done.set()
        if average:
            thread.join()
            memory.average = (sum(samples) / len(samples) if samples else read()) - before
        memory.peak = (torch.cuda.max_memory_allocated() if cuda else _status("VmHWM")) - before
