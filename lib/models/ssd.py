"""The scan of Mamba-2, state space duality (Dao & Gu 2024, https://arxiv.org/abs/2405.21060, sections 5 and 6).

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T        y_t = h_t C_t + D x_t

x (batch, length, heads, headdim); dt (batch, length, heads), positive; A (heads,), negative: a head decays by one number
in a step, where Mamba's decay is each state's; B, C (batch, length, states), the same for all heads; D (heads,);
h (batch, heads, headdim, states), as in mamba_ssm. Written out it is attention without a softmax, under a mask that decays:

    y = (L * C B^T) (dt x) + D x        L_ij = exp(A (dt_{j+1} + ... + dt_i)) for i >= j, else 0
"""
import math
from functools import cache

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .kernels import FAST, _exp, _run

CHUNK = 64      # steps of a product in ssd_chunked; between the states that the kernel saves for backward


def ssd_step(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """One frame: x (batch, heads, headdim), dt (batch, heads), B, C (batch, states), h the state before it -> y, the state
    after it."""
    u = (dt[..., None] * x)[..., None]                                  # (batch, heads, headdim, 1)
    h = torch.exp(dt * A)[..., None, None] * h + u * B[:, None, None]
    return (h * C[:, None, None]).sum(-1) + D[:, None] * x, h


def ssd_reference(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
                  h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The definition, one step after the other, in any float dtype -> y (batch, length, heads, headdim), final h."""
    h = _initial(x, B) if h0 is None else h0
    ys = []
    for t in range(x.shape[1]):
        y, h = ssd_step(x[:, t], dt[:, t], A, B[:, t], C[:, t], D, h)
        ys.append(y)
    return torch.stack(ys, dim=1), h


def _initial(x: Tensor, B: Tensor) -> Tensor:
    return x.new_zeros(x.shape[0], *x.shape[2:], B.shape[2])            # (batch, heads, headdim, states)


def segsum(a: Tensor) -> Tensor:
    """a (…, length) -> (…, length, length): at i, j the sum a_{j+1} + … + a_i, and -inf for i < j. Each is summed by itself:
    a difference of two long sums would lose the digits of a short one between them."""
    ones = torch.ones(a.shape[-1], a.shape[-1], dtype=torch.bool, device=a.device)
    sums = a[..., None].expand(*a.shape, len(ones)).masked_fill(ones.triu(), 0).cumsum(-2)
    return sums.masked_fill(ones.triu(1), -math.inf)


def ssd_chunked(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
                h0: Tensor | None = None, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """The same as products of matrices (section 6 of the paper), at most `chunk` steps at a time: within a chunk as the
    attention that it is, from chunk to chunk by the state -> y (batch, length, heads, headdim), final h."""
    length, heads, headdim = x.shape[1:]
    chunks = math.ceil(length / chunk)
    size = math.ceil(length / chunks)                                   # even chunks: little padding, whatever the length
    # a step of padding neither decays nor adds to the state
    u, a, B, C = (F.pad(s, (0, 0) * (s.dim() - 2) + (0, chunks * size - length)).unflatten(1, (chunks, size))
                  for s in (dt[..., None] * x, dt * A, B, C))           # (batch, chunks, size, …)
    L = torch.exp(segsum(a.transpose(2, 3)))                            # (batch, chunks, heads, size, size)
    y = ((C @ B.mT)[:, :, None] * L) @ u.transpose(2, 3)                # (batch, chunks, heads, size, headdim)

    from_start, to_end = torch.exp(a.cumsum(2)), L[..., -1, :].transpose(2, 3)      # (batch, chunks, size, heads)
    added = ((to_end[..., None] * u).flatten(3).mT @ B).unflatten(2, (heads, headdim))
    h = x.new_zeros(()) if h0 is None else h0
    entering = []
    for decay, new in zip(from_start[:, :, -1].unbind(1), added.unbind(1), strict=True):
        entering.append(h.expand_as(new))                               # (batch, heads, headdim, states)
        h = torch.addcmul(new, decay[..., None, None], h)
    past = C @ torch.stack(entering, 1).flatten(2, 3).mT                # (batch, chunks, size, heads · headdim)
    y = y.transpose(2, 3) + from_start[..., None] * past.unflatten(3, (heads, headdim))
    return y.flatten(1, 2)[:, :length] + D[:, None] * x, h


def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
        h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same by the fastest way there is -> y (batch, length, heads, headdim), final h (batch, heads, headdim, states).

    On a CPU, in float32 and float64: the kernels below, with every gradient. They go step by step, for a CPU has no units
    for products of matrices, which save no operations: with ssd_chunked a training step of one layer (8 x 300 frames,
    width 256) took a third more processor time. Elsewhere: mamba_ssm's kernel where it can be imported, in float32; or
    ssd_chunked. Neither has been measured on CUDA.
    """
    _check(x, dt, A, B, C, D, h0)
    if x.device.type == "cpu":
        return _SSD.apply(x, dt, A, B, C, D, _initial(x, B) if h0 is None else h0)
    if x.dtype == torch.float32 and (fused := _mamba_ssm()):
        return fused(x, dt, A, B[:, :, None], C[:, :, None], CHUNK, D=D, initial_states=h0, return_final_states=True)
    return ssd_chunked(x, dt, A, B, C, D, h0)


@cache
def _mamba_ssm():
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except ImportError:
        return None
    return mamba_chunk_scan_combined


def _check(x, dt, A, B, C, D, h0) -> None:
    if x.dim() != 4 or B.dim() != 3:
        raise ValueError(f"ssd: x {tuple(x.shape)} should be (batch, length, heads, headdim) "
                         f"and B {tuple(B.shape)} (batch, length, states)")
    if x.device.type == "cpu" and x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"ssd: on a CPU x should be float32 or float64, not {x.dtype}")
    (batch, length, heads, headdim), states = x.shape, B.shape[2]
    for name, s, shape in (("dt", dt, (batch, length, heads)), ("A", A, (heads,)), ("B", B, (batch, length, states)),
                           ("C", C, (batch, length, states)), ("D", D, (heads,)),
                           ("h0", h0, (batch, heads, headdim, states))):
        if s is not None and (s.shape != shape or s.dtype != x.dtype or s.device != x.device):
            raise ValueError(f"ssd: {name} should be {shape} {x.dtype} on {x.device}, "
                             f"not {tuple(s.shape)} {s.dtype} on {s.device}")


class _SSD(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, h0):
        y, h, starts = _run(_forward, x, dt, A, B, C, D, h0)
        ctx.save_for_backward(x, dt, A, B, C, D, starts)
        return y, h

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dh):
        dx, ddt, dA, dB, dC, dD, dh0 = _run(_backward, *ctx.saved_tensors, dy, dh)
        return dx, ddt, dA.sum(0), dB.sum(0), dC.sum(0), dD.sum(0), dh0


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _forward(x, dt, A, B, C, D, h0):
    """-> y, final h, the states at the start of chunks (batch, heads, chunks, headdim, states)."""
    batch, length, heads, headdim = x.shape
    states, chunks = B.shape[2], (length + CHUNK - 1) // CHUNK
    y, h_end, starts = np.empty_like(x), np.empty_like(h0), np.empty((batch, heads, chunks, headdim, states), x.dtype)
    for task in prange(batch * heads):
        b, k = task // heads, task % heads
        h = h0[b, k].copy()
        for t in range(length):
            if t % CHUNK == 0:
                starts[b, k, t // CHUNK] = h
            dt_t, decay, B_t, C_t = dt[b, t, k], _exp(dt[b, t, k] * A[k]), B[b, t], C[b, t]
            for p in range(headdim):
                h_p, u, total = h[p], dt_t * x[b, t, k, p], D[k] * x[b, t, k, p]
                for n in range(states):
                    h_p[n] = decay * h_p[n] + u * B_t[n]
                    total += C_t[n] * h_p[n]
                y[b, t, k, p] = total
        h_end[b, k] = h
    return y, h_end, starts


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _backward(x, dt, A, B, C, D, starts, dy, dh_end):
    """-> the gradients of x, dt, A, B, C, D, h0, those of A, D of each sequence and those of B, C of each head. Goes chunk by chunk
    from the end, and computes the states of a chunk again from its first."""
    batch, length, heads, headdim = x.shape
    states, zero = B.shape[2], x.dtype.type(0)
    dx, ddt, dh0 = np.empty_like(x), np.empty_like(dt), np.empty_like(dh_end)
    dB, dC = np.zeros((heads,) + B.shape, x.dtype), np.zeros((heads,) + B.shape, x.dtype)
    dA, dD = np.zeros((batch, heads), x.dtype), np.zeros((batch, heads), x.dtype)
    for task in prange(batch * heads):
        b, k = task // heads, task % heads
        g, decay = dh_end[b, k].copy(), np.empty(CHUNK, x.dtype)                # g: gradient of the state
        h = np.empty((CHUNK + 1, headdim, states), x.dtype)                     # h[i] is the state before step i
        for chunk in range(starts.shape[2] - 1, -1, -1):
            start, steps = chunk * CHUNK, min(CHUNK, length - chunk * CHUNK)
            h[0] = starts[b, k, chunk]
            for i in range(steps):
                t = start + i
                decay[i] = _exp(dt[b, t, k] * A[k])
                a, B_t, dC_t = decay[i], B[b, t], dC[k, b, t]
                for p in range(headdim):
                    u, dy_p, before, after = dt[b, t, k] * x[b, t, k, p], dy[b, t, k, p], h[i, p], h[i + 1, p]
                    for n in range(states):
                        h_n = a * before[n] + u * B_t[n]
                        dC_t[n] += dy_p * h_n
                        after[n] = h_n
            for i in range(steps - 1, -1, -1):
                t = start + i
                a, dt_t, B_t, C_t, dB_t = decay[i], dt[b, t, k], B[b, t], C[b, t], dB[k, b, t]
                along = e = zero                                                # e: gradient of dt_t A
                for p in range(headdim):
                    x_p, dy_p, g_p, before = x[b, t, k, p], dy[b, t, k, p], g[p], h[i, p]
                    u, du = dt_t * x_p, zero
                    for n in range(states):
                        g_n = g_p[n] + C_t[n] * dy_p
                        dB_t[n] += g_n * u
                        du += g_n * B_t[n]
                        g_n *= a
                        e += g_n * before[n]
                        g_p[n] = g_n
                    dx[b, t, k, p] = dt_t * du + D[k] * dy_p
                    along += x_p * du
                    dD[b, k] += x_p * dy_p
                ddt[b, t, k] = along + A[k] * e
                dA[b, k] += dt_t * e
        dh0[b, k] = g
    return dx, ddt, dA, dB, dC, dD, dh0
