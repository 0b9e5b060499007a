"""What a computation costs: parameters, FLOPs and memory, by one method each."""
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

EXP_FLOPS = 14      # exp as a power of two by a polynomial: clamp 1, round 1, remainder 1, five Horner steps 10, scale 1


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def product_flops(run: Callable[[], object]) -> int:
    """FLOPs of the matrix products and convolutions in a call and the backward in it; a multiply-add is two.

    Nothing else is counted: fused attention and the scans have formulas of their own below (torch's counter misses the
    CPU's attention kernel, and takes any for unmasked), and elementwise operations are bound by what they move.
    """
    corrected = {torch.ops.aten.convolution_backward: _convolution_backward_flops}
    with FlopCounterMode(display=False, custom_mapping=corrected) as counter:
        run()
    return sum(n for op, n in counter.get_flop_counts().get("Global", {}).items() if "attention" not in str(op))


def _convolution_backward_flops(dy, x, weight, *arguments, out_shape) -> int:
    """Shapes to FLOPs: each of dx and dweight costs what forward does. Torch's own count forgets the groups."""
    forward = 2 * prod(dy) * prod(weight[1:])
    return forward * sum(arguments[-1][:2])                             # output_mask: dx, dweight, dbias


def attention_flops(batch: int, frames: int, width: int) -> int:
    """Causal attention over all heads, forward and backward, fused: seven products (q k, p v; q k again, dv, dp, dq,
    dk), each of 2 width FLOPs for every one of the frames (frames + 1) / 2 pairs that the mask leaves."""
    return 7 * batch * width * frames * (frames + 1)


def scan_flops(batch: int, frames: int, channels: int, states: int, backward: bool = True) -> int:
    """The selective scan: per (batch, frame, channel, state) forward takes 6 + EXP_FLOPS

        h = exp(dt a) h + B u (4 + exp), y += C h (2)

    and backward 20 + EXP_FLOPS, since it computes the states and y again:

        h and y as above (6 + exp), g += C dy (2), dC += dy h (2), dB += g u (2), du += g B (2), g *= decay (1), e = g h (1),
        dA += e dt (2), ddt += e a (2).

    What is counted once per channel (u = dt x, D x, ...) is left out.
    """
    return batch * frames * channels * states * (6 + EXP_FLOPS + backward * (20 + EXP_FLOPS))


def ssd_flops(batch: int, frames: int, channels: int, states: int, backward: bool = True) -> int:
    """The scan of Mamba-2 as the kernels take it: per (batch, frame, channel, state) forward takes 5

        h = decay h + B u (3), y += C h (2)

    and backward 14, since it computes the states again:

        h as above (3), dC += dy h (2), g += C dy (2), dB += g u (2), du += g B (2), g *= decay (1), e += g h (2).

    What is counted once per channel (u = dt x, D x, ...) or per head (the decay) is left out.
    """
    return batch * frames * channels * states * (5 + backward * 14)


def saved_bytes(forward: Callable[[], Tensor], module: nn.Module) -> int:
    """Bytes that autograd keeps between forward and backward, each storage once, the module's parameters left out."""
    kept = {}

    def keep(tensor: Tensor) -> torch.UntypedStorage:                   # held by the graph: no address comes twice
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return storage

    with saved_tensors_hooks(keep, lambda _: None):
        y = forward()
    for parameter in module.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    del y
    return sum(kept.values())


def training_bytes(parameters: int, saved: int) -> int:
    """The least that a float32 training step moves: parameters, gradients and AdamW's two moments read and written
    once, saved activations written and read once."""
    return 2 * 4 * 4 * parameters + 2 * saved


def available() -> int:
    """Bytes of memory that are free for tensors (Linux, or CUDA)."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return _field(Path("/proc/meminfo"), "MemAvailable")


def resident() -> int:
    """Resident set of this process in bytes (Linux)."""
    return _status("VmRSS")


def _status(field: str) -> int:
    return _field(Path("/proc/self/status"), field)


def _field(path: Path, field: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{path} has no {field}")


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
