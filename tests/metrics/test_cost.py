"""What is counted and measured is what is known in closed form: FLOPs, bytes, memory."""
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.config import REPOSITORY
from lib.metrics import cost

PROGRAM = """
import json, time, torch
from lib.metrics.cost import measure_memory
torch.ones(200, 200) @ torch.ones(200, 200)             # start what torch starts
with measure_memory() as memory:
    start = time.perf_counter()
    block = torch.ones({numbers})                       # float32
    time.sleep(1 + 9 * (time.perf_counter() - start))   # on a busy machine memory fills slowly
print(json.dumps([memory.peak, memory.average]))
"""


@pytest.mark.parametrize("megabytes", [40, 400])
def test_peak_and_average_of_an_allocation_of_known_size(megabytes):
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(numbers=megabytes * 250_000)], cwd=REPOSITORY,
                          capture_output=True, text=True, check=True)
    peak, average = (b / 1e6 for b in json.loads(done.stdout))
    assert peak == pytest.approx(megabytes, rel=0.03, abs=2)
    assert 0.7 * megabytes < average < 1.05 * megabytes


def backward(module: nn.Module, *shape: int) -> int:
    return cost.product_flops(lambda: module(torch.randn(shape, requires_grad=True)).sum().backward())


def test_flops_of_a_linear_layer_and_a_grouped_convolution():
    assert backward(nn.Linear(16, 32), 4, 10, 16) == 3 * 2 * (4 * 10) * 16 * 32
    assert backward(nn.Conv1d(16, 24, 3, groups=8), 4, 16, 12) == 3 * 2 * (4 * 10) * (16 // 8) * 3 * 24
    assert backward(nn.ReLU(), 4) == 0


def test_causal_attention_is_half_of_all_pairs_and_the_fused_kernel_is_not_counted_twice():
    x = torch.randn(2, 4, 10, 8, requires_grad=True)                   # (batch, heads, frames, head width)
    fused = cost.product_flops(lambda: F.scaled_dot_product_attention(x, x, x, is_causal=True).sum().backward())
    assert fused == 0
    unmasked = cost.product_flops(lambda: ((x @ x.mT).softmax(-1) @ x).sum().backward())    # six products, not seven
    assert cost.attention_flops(2, 10, 4 * 8) == pytest.approx(unmasked * 7 / 6 / 2, rel=0.11)


class Counted:
    """A number that counts what is done to it."""
    done = 0

    def operation(self, _=None) -> "Counted":
        Counted.done += 1
        return self

    __add__ = __mul__ = __sub__ = operation


def exp(x: Counted) -> Counted:
    """As in the kernel of lib.models.scan: 2^k 2^r, r a remainder; clamp, rounding and scaling count one each. What makes
    a power of two of it, A / ln 2, is computed once."""
    k = x.operation().operation()
    r = x - k
    p = r
    for _ in range(5):
        p = p * r + x
    return p.operation()


def test_flops_of_the_scan_are_those_of_its_inner_loops():
    a = B = C = dt = u = dy = g = h = out = da = dd = du = dB = dC = Counted()
    Counted.done = 0
    h = exp(dt * a) * h + B * u
    out = out + C * h
    assert cost.scan_flops(1, 1, 1, 1, backward=False) == Counted.done
    decay = exp(dt * a)
    h = decay * h + B * u
    out = out + C * h
    g_t = g + C * dy
    dC, dB, du = dC + dy * h, dB + g_t * u, du + g_t * B
    e = (decay * g_t) * h
    da, dd = da + e * dt, dd + e * a
    assert cost.scan_flops(1, 1, 1, 1) == Counted.done
    assert cost.scan_flops(2, 3, 5, 7) == 2 * 3 * 5 * 7 * Counted.done


def test_flops_of_the_scan_of_mamba_2_are_those_of_its_inner_loops():
    decay = B = C = u = dy = g = h = out = e = du = dB = dC = Counted()
    Counted.done = 0
    h = decay * h + B * u
    out = out + C * h
    assert cost.ssd_flops(1, 1, 1, 1, backward=False) == Counted.done
    h = decay * h + B * u
    dC = dC + dy * h
    g = g + C * dy
    dB, du = dB + g * u, du + g * B
    g = g * decay
    e = e + g * h
    assert cost.ssd_flops(1, 1, 1, 1) == Counted.done
    assert cost.ssd_flops(2, 3, 5, 7) == 2 * 3 * 5 * 7 * Counted.done


def test_bytes_saved_of_known_functions():
    x = torch.randn(10, 6, requires_grad=True)
    nothing, linear = nn.Identity(), nn.Linear(6, 4)
    assert cost.saved_bytes(lambda: x + 1, nothing) == 0
    assert cost.saved_bytes(lambda: x.exp(), nothing) == 4 * 60         # its own result
    assert cost.saved_bytes(lambda: x[:5] * x[5:], nothing) == 4 * 60   # two views of one storage
    assert cost.saved_bytes(lambda: linear(x), linear) == 4 * 60        # the input; the weight is a parameter
    assert cost.saved_bytes(lambda: linear(x.exp()).relu(), linear) == 4 * (60 + 40)
    assert cost.training_bytes(1000, 500) == 8 * 4 * 1000 + 2 * 500


def test_available_memory_is_less_than_there_is():
    assert 0 < cost.available() < 1 << 50


def test_freed_memory_is_kept_unless_it_is_to_go_back():
    # asked of the C library, for not every kernel counts page faults
    script = """
import ctypes, torch
from lib import keep_freed_memory

class Mallinfo2(ctypes.Structure):      # malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo2 = ctypes.CDLL("libc.so.6").mallinfo2
mallinfo2.restype = Mallinfo2

def held():                             # bytes that the process has from the system, with 64 MiB of its own and after
    x = torch.ones(2 ** 24)
    during = mallinfo2()
    del x
    after = mallinfo2()
    return during.arena + during.hblkhd, after.arena + after.hblkhd

keep = held()
keep_freed_memory(False)
print(*keep, *held())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    during, kept, during_again, given_back = map(int, done.stdout.split())
    assert kept == during > 2 ** 26 < during_again
    assert during_again - given_back >= 2 ** 26


@pytest.mark.parametrize("chosen", [None, "7"])
def test_threads_without_work_give_their_processor_up_soon_unless_it_is_chosen(chosen):
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"} | ({"GOMP_SPINCOUNT": chosen} if chosen else {})
    script = "import os, sys, lib; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", chosen or "10000"]
