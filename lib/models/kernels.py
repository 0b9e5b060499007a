"""What the CPU kernels share: how they run, and functions of numbers that make vector code of the loops around them."""
import math
from threading import Lock

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from torch import Tensor

# beside torch's OpenMP pool the omp layer spins at its barriers: 16 ms instead of 3 when a core is taken
numba.config.THREADING_LAYER = "workqueue"
TURN = Lock()                           # which lets one thread in at a time
FAST = {"contract", "nsz", "reassoc"}   # fused multiply-add and vector sums; infinities and NaN survive
ZERO, HALF, ONE, TWO = (np.float32(x) for x in (0, 0.5, 1, 2))      # of a float64 they make a float64
BLOCK = 288                             # channels of a task at most: long rows, whose states stay in the nearer caches


def _run(kernel, *arguments: Tensor | int) -> list[Tensor]:
    arrays = [s.detach().contiguous().numpy() if isinstance(s, Tensor) else s for s in arguments]
    with TURN:
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        return [torch.from_numpy(s) for s in kernel(*arrays)]


def _width(x: Tensor) -> int:
    """Channels of a task of a kernel over x (batch, length, channels): even parts of at most BLOCK, in whole vectors, and
    with as many tasks as threads."""
    batch, _, channels = x.shape
    parts = max(math.ceil(channels / BLOCK), math.ceil(torch.get_num_threads() / batch))
    return 8 * math.ceil(channels / parts / 8)


def _apart() -> None:
    """At the start of a function: no array that it writes overlaps another of its arguments. It stays a function of its own,
    and its loops become vector code that does not compare addresses first."""


@overload(_apart, inline="always")
def _apart_compiled():
    return lambda: _no_alias()


@intrinsic
def _no_alias(context):
    def build(context, builder, signature, args):
        builder.function.attributes.add("noinline")
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()
    return types.none(), build


def _exp(x):
    """exp(x) for x <= 0; in float32 a polynomial, so that the loop around it becomes vector code."""
    return np.exp(x)    # with NUMBA_DISABLE_JIT=1


@intrinsic
def _scaled(context, p, k):
    """p 2^k, float32 as p, where neither leaves the range of normal numbers: k is added to the exponent of p."""
    def build(_, builder, signature, args):
        word = ir.IntType(32)
        bits = builder.add(builder.bitcast(args[0], word), builder.shl(args[1], word(23)))
        return builder.bitcast(bits, ir.FloatType())
    return types.float32(types.float32, types.int32), build


LOWEST, LOG2E, LN2 = np.float32(-87), np.float32(1 / math.log(2)), np.float32(math.log(2))
# minimax over |r| <= ln 2 / 2, highest power first (Cephes, expf.c)
P = tuple(np.float32([1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
                      5.0000001201e-1, 1, 1]))


@overload(_exp, jit_options={"fastmath": FAST})
def _exp_by_dtype(x):
    def polynomial(x):                              # exp(x) = 2^k exp(r)
        x = LOWEST if x < LOWEST else x
        k = np.floor(x * LOG2E + HALF)
        r = x - k * LN2
        p = ((((((P[0] * r + P[1]) * r + P[2]) * r + P[3]) * r + P[4]) * r + P[5]) * r + P[6]) * r + P[7]
        return _scaled(p, np.int32(k))
    return polynomial if x == types.float32 else lambda x: math.exp(x)


def _exp2(x):
    """2^x for x <= 0, exactly 1 at 0; in float32 in two thirds of the operations of _exp, within 1.7e-7 of the value."""
    return np.exp2(x)   # with NUMBA_DISABLE_JIT=1


LOWEST2 = np.float32(-125)
# minimax over |r| <= 1/2 with P2[-1] = 1, highest power first
P2 = tuple(np.float32([1.3264727e-3, 9.6715130e-3, 5.5507336e-2, 2.4022242e-1, 6.9314700e-1, 1]))


@overload(_exp2, jit_options={"fastmath": FAST})
def _exp2_by_dtype(x):
    def polynomial(x):                              # 2^x = 2^k 2^r
        x = LOWEST2 if x < LOWEST2 else x
        k = np.rint(x)
        r = x - k
        p = ((((P2[0] * r + P2[1]) * r + P2[2]) * r + P2[3]) * r + P2[4]) * r + P2[5]
        return _scaled(p, np.int32(k))
    return polynomial if x == types.float32 else lambda x: np.exp2(x)


def _log1p(x):
    """log(1 + x) for x from 0 to 1; in float32 a polynomial."""
    return np.log1p(x)  # with NUMBA_DISABLE_JIT=1


# minimax of 2 artanh(s) / s in s² over s <= 1/3, highest power first
P1 = tuple(np.float32([2.8011990e-1, 2.8001806e-1, 4.0021527e-1, 6.6666418e-1, 2]))


@overload(_log1p, jit_options={"fastmath": FAST})
def _log1p_by_dtype(x):
    def polynomial(x):                              # log(1 + x) = 2 artanh(x / (2 + x))
        s = x / (TWO + x)
        v = s * s
        return ((((P1[0] * v + P1[1]) * v + P1[2]) * v + P1[3]) * v + P1[4]) * s
    return polynomial if x == types.float32 else lambda x: math.log1p(x)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _sigmoid(x):
    """1 / (1 + exp(-x))."""
    e = _exp(-abs(x))
    return (ONE if x >= 0 else e) / (ONE + e)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _silu(x):
    return x * _sigmoid(x)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _softplus(x):
    """log(1 + exp(x)); above 20 x, as in torch."""
    return x if x > 20 else max(x, ZERO) + _log1p(_exp(-abs(x)))


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _softplus_slope(x):
    return ONE if x > 20 else _sigmoid(x)
