"""The selective scan of Mamba (Gu & Dao 2023, https://arxiv.org/abs/2312.00752, equation 2 and algorithm 2).

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t        y_t = C_t . h_t + D x_t

x, dt (batch, length, channels) with dt positive; A (channels, states), negative; B, C (batch, length, states);
D (channels,); h (batch, channels, states). Inside the CPU kernels the channels come last: A (states, channels),
h (batch, states, channels), so that one instruction serves several channels.
"""
import math
import os
from functools import cache
from shutil import which
from threading import Lock

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic, overload
from torch import Tensor
from torch.autograd.function import once_differentiable

# beside torch's OpenMP pool the omp layer spins at its barriers: 16 ms instead of 3 when a core is taken
numba.config.THREADING_LAYER = "workqueue"
TURN = Lock()                           # which lets one thread in at a time
FAST = {"contract", "nsz", "reassoc"}   # fused multiply-add and vector sums; infinities and NaN survive
BLOCK = 64                              # channels of one task: their states stay in the first-level cache
CHUNK = 64                              # steps between the states that forward saves for backward


def scan_step(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
              h: Tensor) -> tuple[Tensor, Tensor]:
    """One frame: x, dt (batch, channels), B, C (batch, states), h the state before it -> y, the state after it."""
    h = torch.exp(dt[..., None] * A) * h + (dt * x)[..., None] * B[:, None]     # (batch, channels, states)
    return (h * C[:, None]).sum(-1) + D * x, h


def selective_scan_reference(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
                             h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The definition, one step after the other, in any float dtype -> y (batch, length, channels), final h."""
    h = x.new_zeros(x.shape[0], *A.shape) if h0 is None else h0
    ys = []
    for t in range(x.shape[1]):
        y, h = scan_step(x[:, t], dt[:, t], A, B[:, t], C[:, t], D, h)
        ys.append(y)
    return torch.stack(ys, dim=1), h


def selective_scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
                   h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same by the fastest way there is -> y (batch, length, channels), final h (batch, channels, states).

    On a CPU, in float32 and float64: the kernels below, with every gradient. Elsewhere: mamba_ssm's kernel where
    it can be imported, in float32 and without h0; or the Triton scan (scan_triton.py), with every gradient; or the
    reference. Neither CUDA path has been measured, and mamba_ssm's final state carries no gradient.
    """
    _check(x, dt, A, B, C, D, h0)
    if x.device.type == "cpu":
        return _Scan.apply(x, dt, A, B, C, D, x.new_zeros(x.shape[0], *A.shape) if h0 is None else h0)
    if h0 is None and x.dtype == torch.float32 and (fused := _mamba_ssm()):
        y, h = fused(*(s.transpose(1, 2) for s in (x, dt)), A, *(s.transpose(1, 2) for s in (B, C)), D,
                     return_last_state=True)
        return y.transpose(1, 2), h.detach()
    return (_triton() or selective_scan_reference)(x, dt, A, B, C, D, h0)


@cache
def _mamba_ssm():
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    return selective_scan_fn


@cache
def _triton():
    """The Triton scan, where Triton imports and finds the C compiler that it builds its launcher with."""
    try:
        from .scan_triton import selective_scan_triton
    except ImportError:
        return None
    return selective_scan_triton if os.environ.get("CC") or which("gcc") or which("clang") else None


def _check(x, dt, A, B, C, D, h0) -> None:
    if x.dim() != 3 or A.dim() != 2:
        raise ValueError(f"scan: x {tuple(x.shape)} should be (batch, length, channels) "
                         f"and A {tuple(A.shape)} (channels, states)")
    if x.device.type == "cpu" and x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"scan: on a CPU x should be float32 or float64, not {x.dtype}")
    (batch, length, channels), states = x.shape, A.shape[1]
    for name, s, shape in (("dt", dt, (batch, length, channels)), ("A", A, (channels, states)),
                           ("B", B, (batch, length, states)), ("C", C, (batch, length, states)),
                           ("D", D, (channels,)), ("h0", h0, (batch, channels, states))):
        if s is not None and (s.shape != shape or s.dtype != x.dtype or s.device != x.device):
            raise ValueError(f"scan: {name} should be {shape} {x.dtype} on {x.device}, "
                             f"not {tuple(s.shape)} {s.dtype} on {s.device}")


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, h0):
        y, h, starts = _run(_forward, x, dt, A.T, B, C, D, h0.transpose(1, 2))
        ctx.save_for_backward(x, dt, A, B, C, D, starts)
        return y, h.transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dh):
        x, dt, A, B, C, D, starts = ctx.saved_tensors
        dx, ddt, dA, dB, dC, dD, dh0 = _run(_backward, x, dt, A.T, B, C, D, starts, dy, dh.transpose(1, 2))
        return dx, ddt, dA.T, dB, dC, dD, dh0.transpose(1, 2)


def _run(kernel, *tensors: Tensor) -> list[Tensor]:
    arrays = [s.detach().contiguous().numpy() for s in tensors]
    with TURN:
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        return [torch.from_numpy(s) for s in kernel(*arrays)]


def _exp(x):
    """exp(x) for x <= 0 inside a kernel; in float32 a polynomial, so that the loop around it becomes vector code."""
    return np.exp(x)    # with NUMBA_DISABLE_JIT=1


@intrinsic
def _power_of_two(context, k):
    """2^k as float32: k, from -126 to 127, goes into the bits of the exponent."""
    def build(_, builder, signature, args):
        word = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.add(args[0], word(127)), word(23)), ir.FloatType())
    return types.float32(types.int32), build


LOWEST, LOG2E, LN2, HALF = np.float32(-87), np.float32(1 / math.log(2)), np.float32(math.log(2)), np.float32(0.5)
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
        return p * _power_of_two(np.int32(k))
    return polynomial if x == types.float32 else lambda x: math.exp(x)


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _forward(x, dt, A, B, C, D, h0):
    """-> y, final h (batch, states, channels), the states at the start of chunks (batch, chunks, states, channels)."""
    batch, length, channels = x.shape
    states, blocks, chunks = len(A), (channels + BLOCK - 1) // BLOCK, (length + CHUNK - 1) // CHUNK
    y, h_end, starts = np.empty_like(x), np.empty_like(h0), np.empty((batch, chunks, states, channels), x.dtype)
    for task in prange(batch * blocks):
        b, block = task // blocks, task % blocks
        first, last = block * BLOCK, min((block + 1) * BLOCK, channels)
        width = last - first
        a, h = A[:, first:last].copy(), h0[b, :, first:last].copy()             # (states, width)
        u, out = np.empty(width, x.dtype), np.empty(width, x.dtype)
        for t in range(length):
            if t % CHUNK == 0:
                starts[b, t // CHUNK, :, first:last] = h
            x_t, dt_t = x[b, t, first:last], dt[b, t, first:last]
            for c in range(width):
                u[c] = dt_t[c] * x_t[c]
                out[c] = D[first + c] * x_t[c]
            for n in range(states):
                B_n, C_n = B[b, t, n], C[b, t, n]
                for c in range(width):
                    h[n, c] = _exp(dt_t[c] * a[n, c]) * h[n, c] + B_n * u[c]
                    out[c] += C_n * h[n, c]
            y[b, t, first:last] = out
        h_end[b, :, first:last] = h
    return y, h_end, starts


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _backward(x, dt, A, B, C, D, starts, dy, dh_end):
    """-> the gradients of x, dt, A, B, C, D, h0. Goes chunk by chunk from the end, and computes the states of a chunk
    again from its first."""
    batch, length, channels = x.shape
    states, blocks = len(A), (channels + BLOCK - 1) // BLOCK
    dx, ddt, dA, dh0 = np.empty_like(x), np.empty_like(x), np.empty_like(dh_end), np.empty_like(dh_end)
    dB, dC = np.empty((blocks,) + B.shape, x.dtype), np.empty((blocks,) + B.shape, x.dtype)
    dD = np.zeros((batch, channels), x.dtype)
    for task in prange(batch * blocks):
        b, block = task // blocks, task % blocks
        first, last = block * BLOCK, min((block + 1) * BLOCK, channels)
        width = last - first
        a, g = A[:, first:last].copy(), dh_end[b, :, first:last].copy()         # g: gradient of the state
        da, decay = np.zeros((states, width), x.dtype), np.empty((CHUNK, states, width), x.dtype)
        h = np.empty((CHUNK + 1, states, width), x.dtype)                       # h[i] is the state before step i
        u, du, dd = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
        for chunk in range(starts.shape[1] - 1, -1, -1):
            start, steps = chunk * CHUNK, min(CHUNK, length - chunk * CHUNK)
            h[0] = starts[b, chunk, :, first:last]
            for i in range(steps):
                x_t, dt_t = x[b, start + i, first:last], dt[b, start + i, first:last]
                for c in range(width):
                    u[c] = dt_t[c] * x_t[c]
                for n in range(states):
                    B_n = B[b, start + i, n]
                    for c in range(width):
                        decay[i, n, c] = _exp(dt_t[c] * a[n, c])
                        h[i + 1, n, c] = decay[i, n, c] * h[i, n, c] + B_n * u[c]
            for i in range(steps - 1, -1, -1):
                t = start + i
                x_t, dt_t, dy_t = x[b, t, first:last], dt[b, t, first:last], dy[b, t, first:last]
                for c in range(width):
                    u[c] = dt_t[c] * x_t[c]
                    du[c] = dd[c] = 0
                for n in range(states):
                    B_n, C_n = B[b, t, n], C[b, t, n]
                    dB_n = dC_n = x.dtype.type(0)
                    for c in range(width):
                        g_t = g[n, c] + C_n * dy_t[c]
                        dC_n += dy_t[c] * h[i + 1, n, c]
                        dB_n += g_t * u[c]
                        du[c] += g_t * B_n
                        g[n, c] = decay[i, n, c] * g_t
                        e = g[n, c] * h[i, n, c]                                # gradient of dt_t A
                        da[n, c] += e * dt_t[c]
                        dd[c] += e * a[n, c]
                    dB[block, b, t, n], dC[block, b, t, n] = dB_n, dC_n
                for c in range(width):
                    dx[b, t, first + c] = dt_t[c] * du[c] + D[first + c] * dy_t[c]
                    ddt[b, t, first + c] = x_t[c] * du[c] + dd[c]
                    dD[b, first + c] += x_t[c] * dy_t[c]
        dA[b, :, first:last], dh0[b, :, first:last] = da, g
    return dx, ddt, dA.sum(0), dB.sum(0), dC.sum(0), dD.sum(0), dh0     # a fixed order: the same bits every time
