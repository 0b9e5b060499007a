"""The selective scan of Mamba (Gu & Dao 2023, https://arxiv.org/abs/2312.00752, equation 2 and algorithm 2).

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t        y_t = C_t . h_t + D x_t

x, dt (batch, length, channels) with dt positive; A (channels, states), negative; B, C (batch, length, states);
D (channels,); h (batch, channels, states). Inside the CPU kernels the channels come last: A (states, channels),
h (batch, states, channels), so that one instruction serves several channels.
"""
import math
import os
from collections.abc import Callable
from functools import cache
from shutil import which

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .kernels import FAST, ONE, _apart, _exp2, _run, _sigmoid, _silu, _softplus, _softplus_slope, _width

LN2 = math.log(2)
CHUNK = 64      # steps between the states that forward saves for backward


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
        h0 = x.new_zeros(x.shape[0], *A.shape) if h0 is None else h0
        return _Scan.apply(x, dt, A, B, C, D, h0, x.new_empty(len(x), 0, 0), x.new_empty(0))    # no gate, no bias
    if h0 is None and x.dtype == torch.float32 and (fused := _mamba_ssm()):
        y, h = fused(*(s.transpose(1, 2) for s in (x, dt)), A, *(s.transpose(1, 2) for s in (B, C)), D,
                     return_last_state=True)
        return y.transpose(1, 2), h.detach()
    return (_triton() or selective_scan_reference)(x, dt, A, B, C, D, h0)


def gated_scan_reference(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor,
                         scan: Callable = selective_scan_reference) -> tuple[Tensor, Tensor]:
    """The scan with what lies around it in Mamba: any dt, the gate z as x, bias (channels,) -> y silu(z), final h."""
    y, h = scan(x, F.softplus(dt + bias), A, B, C, D)
    return y * F.silu(z), h


def gated_scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor,
               bias: Tensor) -> tuple[Tensor, Tensor]:
    """The same by the fastest way there is: on a CPU by the kernels, which save for backward neither softplus(dt + bias) nor
    y before the gate, but compute them again."""
    if x.device.type != "cpu":
        return gated_scan_reference(x, dt, A, B, C, D, z, bias, selective_scan)
    _check(x, dt, A, B, C, D, None, z, bias)
    return _Scan.apply(x, dt, A, B, C, D, x.new_zeros(len(x), *A.shape), z, bias)


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


def _check(x, dt, A, B, C, D, h0, z=None, bias=None) -> None:
    if x.dim() != 3 or A.dim() != 2:
        raise ValueError(f"scan: x {tuple(x.shape)} should be (batch, length, channels) "
                         f"and A {tuple(A.shape)} (channels, states)")
    if x.device.type == "cpu" and x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"scan: on a CPU x should be float32 or float64, not {x.dtype}")
    (batch, length, channels), states = x.shape, A.shape[1]
    for name, s, shape in (("dt", dt, (batch, length, channels)), ("A", A, (channels, states)),
                           ("B", B, (batch, length, states)), ("C", C, (batch, length, states)),
                           ("D", D, (channels,)), ("h0", h0, (batch, channels, states)),
                           ("z", z, (batch, length, channels)), ("bias", bias, (channels,))):
        if s is not None and (s.shape != shape or s.dtype != x.dtype or s.device != x.device):
            raise ValueError(f"scan: {name} should be {shape} {x.dtype} on {x.device}, "
                             f"not {tuple(s.shape)} {s.dtype} on {s.device}")


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, h0, z, bias):
        y, h, starts = _run(_forward, _width(x), x, dt, A.T, B, C, D, h0.transpose(1, 2), z, bias)
        ctx.save_for_backward(x, dt, A, B, C, D, z, bias, starts)
        return y, h.transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dh):
        x, dt, A, B, C, D, z, bias, starts = ctx.saved_tensors
        dx, ddt, dA, dB, dC, dD, dh0, dz, dbias = _run(
            _backward, _width(x), x, dt, A.T, B, C, D, z, bias, starts, dy, dh.transpose(1, 2))
        return dx, ddt, dA.sum(0).T, dB.sum(0), dC.sum(0), dD.sum(0), dh0.transpose(1, 2), dz, dbias.sum(0)


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _forward(width, x, dt, A, B, C, D, h0, z, bias):
    """-> y, final h (batch, states, channels), the states at the start of chunks (batch, chunks, states, channels)."""
    batch, length, channels = x.shape
    states, blocks, chunks = len(A), (channels + width - 1) // width, (length + CHUNK - 1) // CHUNK
    y, h_end, starts = np.empty_like(x), np.empty_like(h0), np.empty((batch, chunks, states, channels), x.dtype)
    for task in prange(batch * blocks):
        b, first = task // blocks, task % blocks * width
        last = min(first + width, channels)
        a, h = A[:, first:last] / x.dtype.type(LN2), h0[b, :, first:last].copy()        # (states, width)
        d, u = np.empty(last - first, x.dtype), np.empty(last - first, x.dtype)
        _forward_block(x[b], dt[b], a, B[b], C[b], D[first:last], z[b], bias[first:last], h, np.uint64(first), d, u,
                       y[b], starts[b])
        h_end[b, :, first:last] = h
    return y, h_end, starts


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _forward_block(x, dt, a, B, C, D, z, bias, h, first, d, u, y, starts):
    """Of one sequence the channels from `first` on, which is unsigned, lest an index might count from the end: x, dt, z, y
    (length, channels), B, C (length, states), starts (chunks, states, channels); of these channels alone a = A / ln 2, for
    exp(d A) = 2^(d a), h (states, width), D, bias, d = dt or softplus(dt + bias), u = d x (width,)."""
    _apart()
    states, width, gated = len(a), np.uint64(a.shape[1]), len(bias) > 0
    for t in range(len(x)):
        if t % CHUNK == 0:
            for n in range(states):
                for c in range(width):
                    starts[t // CHUNK, n, first + c] = h[n, c]
        if gated:
            for c in range(width):
                d[c] = _softplus(dt[t, first + c] + bias[c])
        else:
            for c in range(width):
                d[c] = dt[t, first + c]
        for c in range(width):
            u[c] = d[c] * x[t, first + c]
            y[t, first + c] = D[c] * x[t, first + c]
        for n in range(states):
            B_n, C_n = B[t, n], C[t, n]
            for c in range(width):
                h_n = _exp2(d[c] * a[n, c]) * h[n, c] + B_n * u[c]
                h[n, c] = h_n
                y[t, first + c] += C_n * h_n
        if gated:
            for c in range(width):
                y[t, first + c] *= _silu(z[t, first + c])


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _backward(width, x, dt, A, B, C, D, z, bias, starts, dy, dh_end):
    """-> the gradients of x, dt, A, B, C, D, h0, z, bias, those of A, D, bias of each sequence and those of B, C of each block of
    channels: they are summed outside, which takes seconds less to compile. Goes chunk by chunk from the end, and computes the
    states of a chunk again from its first."""
    batch, length, channels = x.shape
    blocks = (channels + width - 1) // width
    dx, ddt, dA, dh0 = np.empty_like(x), np.empty_like(x), np.empty_like(dh_end), np.empty_like(dh_end)
    dz, dbias = np.empty_like(z), np.zeros((batch,) + bias.shape, x.dtype)
    dB, dC = np.empty((blocks,) + B.shape, x.dtype), np.empty((blocks,) + B.shape, x.dtype)
    dD = np.zeros((batch, channels), x.dtype)
    for task in prange(batch * blocks):
        block = task % blocks
        b, first = task // blocks, block * width
        last = min(first + width, channels)
        a, g = A[:, first:last] / x.dtype.type(LN2), dh_end[b, :, first:last].copy()    # g: gradient of the state
        da = np.zeros_like(a)                                                           # of A
        decay, h = np.empty((CHUNK,) + a.shape, x.dtype), np.empty((CHUNK + 1,) + a.shape, x.dtype)
        rows, row = np.empty((4, CHUNK, last - first), x.dtype), np.empty((2, last - first), x.dtype)
        _backward_block(x[b], dt[b], a, B[b], C[b], D[first:last], z[b], bias[first:last], starts[b], dy[b], g,
                        np.uint64(first), decay, h, rows[0], rows[1], rows[2], rows[3], row[0], row[1],
                        dx[b], ddt[b], da, dB[block, b], dC[block, b], dD[b, first:last], dz[b], dbias[b, first:last])
        dA[b, :, first:last], dh0[b, :, first:last] = da, g
    return dx, ddt, dA, dB, dC, dD, dh0, dz, dbias


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _backward_block(x, dt, a, B, C, D, z, bias, starts, dy, g, first, decay, h, d, u, q, y, du, dd,
                    dx, ddt, da, dB, dC, dD, dz, dbias):
    """As _forward_block, and of a chunk (steps, …) the decays, h, where h[i] is the state before step i, d, u, q, the gradient
    of y before its gate, and that y. Until they are known, ddt and dz hold the slopes of softplus and gate."""
    _apart()
    length, states, width = len(x), len(a), np.uint64(a.shape[1])
    gated, ln2 = len(bias) > 0, x.dtype.type(LN2)
    for chunk in range(len(starts) - 1, -1, -1):
        start, steps = chunk * CHUNK, min(CHUNK, length - chunk * CHUNK)
        for n in range(states):
            for c in range(width):
                h[0, n, c] = starts[chunk, n, first + c]
        for i in range(steps):
            t = start + i
            if gated:
                for c in range(width):
                    raw = dt[t, first + c] + bias[c]
                    d[i, c], ddt[t, first + c] = _softplus(raw), _softplus_slope(raw)
                for c in range(width):
                    z_c, dy_c = z[t, first + c], dy[t, first + c]
                    s = _sigmoid(z_c)
                    q[i, c] = dy_c * z_c * s
                    dz[t, first + c] = dy_c * s * (ONE + z_c * (ONE - s))       # times y
            else:
                for c in range(width):
                    d[i, c], q[i, c] = dt[t, first + c], dy[t, first + c]
            for c in range(width):
                u[i, c] = d[i, c] * x[t, first + c]
                y[i, c] = D[c] * x[t, first + c]
            for n in range(states):
                B_n, C_n, dC_n = B[t, n], C[t, n], x.dtype.type(0)
                for c in range(width):
                    decay_n = _exp2(d[i, c] * a[n, c])
                    h_n = decay_n * h[i, n, c] + B_n * u[i, c]
                    decay[i, n, c] = decay_n
                    h[i + 1, n, c] = h_n
                    y[i, c] += C_n * h_n
                    dC_n += q[i, c] * h_n
                dC[t, n] = dC_n
        for i in range(steps - 1, -1, -1):
            t = start + i
            for c in range(width):
                du[c] = dd[c] = 0
            for n in range(states):
                B_n, C_n, dB_n = B[t, n], C[t, n], x.dtype.type(0)
                for c in range(width):
                    g_n = g[n, c] + C_n * q[i, c]
                    dB_n += g_n * u[i, c]
                    du[c] += g_n * B_n
                    g_n *= decay[i, n, c]
                    g[n, c] = g_n
                    e = g_n * h[i, n, c]                                        # gradient of d A
                    da[n, c] += e * d[i, c]
                    dd[c] += e * a[n, c]
                dB[t, n] = dB_n
            for c in range(width):
                dx[t, first + c] = d[i, c] * du[c] + D[c] * q[i, c]
                dD[c] += x[t, first + c] * q[i, c]
                dd[c] = x[t, first + c] * du[c] + ln2 * dd[c]
            if gated:
                for c in range(width):
                    dd[c] *= ddt[t, first + c]
                    dbias[c] += dd[c]
                    dz[t, first + c] *= y[i, c]
            for c in range(width):
                ddt[t, first + c] = dd[c]
