"""The selective scan of scan.py in Triton, which torch's CUDA build brings: a GPU path without a build step.

A step is h -> a h + b, and two steps are such a step again, a' a and a' b + b': an associative scan computes all h.
A program takes one sequence, one block of channels and one chunk of time, so that a single short sequence still gives
a GPU some hundred of them; it keeps x, dt and y in registers and goes through the states one by one, so any number will
do. Three kernels: what every chunk leaves when nothing enters it (_alone); from that, chunk after chunk, what enters
each (_carry); with that, y (_forward). Backward is the same from the end (_alone, _carry), and _backward scans a chunk
both ways, the states from the one that entered it. No sum depends on the order in which programs finish.

Memory is linear in batch x length x channels: beside inputs, outputs and gradients, states / CHUNK of x for what enters
the chunks, and in backward as much again for it and for dA, and states / BLOCK for each of dB and dC.

Checked in Triton's interpreter and compiled for an H100, but not run on a GPU: nothing here is measured or tuned.
"""
import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK, BLOCK, WARPS = 32, 32, 4     # steps and channels of a program, both powers of two, and its warps


def selective_scan_triton(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
                          h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x, dt (batch, length, channels), A (channels, states), B, C (batch, length, states), D (channels,), h0 (batch,
    channels, states) -> y (batch, length, channels), final h, in the dtype of x; half precision computes in float32."""
    h0 = x.new_zeros(x.shape[0], *A.shape) if h0 is None else h0
    wide = torch.promote_types(x.dtype, torch.float32)
    y, h = _Scan.apply(*(s.to(wide).contiguous() for s in (x, dt, A, B, C, D, h0)))
    return y.to(x.dtype), h.to(x.dtype)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, h0):
        starts, h = _chunks(x, dt, A, B, h0, backward=False)
        y = torch.empty_like(x)
        _launch(_forward, x, A, dt, B, C, D, starts, y)
        ctx.save_for_backward(x, dt, A, B, C, D, starts)
        return y, h

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dh):
        x, dt, A, B, C, D, starts = ctx.saved_tensors
        dy = dy.contiguous()
        ends, dh0 = _chunks(dy, dt, A, C, dh.contiguous(), backward=True)
        dx, ddt, dA = torch.empty_like(x), torch.empty_like(x), torch.empty_like(starts)
        dB, dC = (x.new_empty(triton.cdiv(len(A), BLOCK), *B.shape) for _ in range(2))
        dD = x.new_empty(starts.shape[:3])
        _launch(_backward, x, A, dt, B, C, D, starts, dy, ends, dx, ddt, dA, dB, dC, dD)
        return dx, ddt, dA.sum((0, 1)), dB.sum(0), dC.sum(0), dD.sum((0, 1)), dh0


def _chunks(v: Tensor, dt: Tensor, A: Tensor, w: Tensor, first: Tensor, backward: bool) -> tuple[Tensor, Tensor]:
    """What enters every chunk (batch, chunks, channels, states) and leaves the last, when first enters the first."""
    (batch, length, channels), states = v.shape, A.shape[1]
    chunks, block = triton.cdiv(length, CHUNK), 256
    entering, time = v.new_empty(batch, chunks, channels, states), v.new_empty(batch, chunks, channels)
    last = torch.empty_like(first)
    _launch(_alone, v, A, dt, w, entering, time, BACKWARD=backward)
    with torch.cuda.device_of(v):
        _carry[triton.cdiv(channels * states, block), batch](A, time, entering, first, last, chunks, channels, states,
                                                             BACKWARD=backward, BLOCK=block)
    return entering, last


def _launch(kernel, x: Tensor, A: Tensor, *tensors: Tensor, **constants) -> None:
    (batch, length, channels), states = x.shape, A.shape[1]
    with torch.cuda.device_of(x):
        kernel[triton.cdiv(length, CHUNK), triton.cdiv(channels, BLOCK), batch](
            x, A, *tensors, length, channels, states, CHUNK=CHUNK, BLOCK=BLOCK, num_warps=WARPS, **constants)


@triton.jit
def _then(a, b, a_next, b_next):
    return a_next * a, a_next * b + b_next


@triton.jit
def _load(s, i, j, k, J, K, mask=True):
    """s[i, j, k] of s (any, J, K); 0 outside and where not mask: with dt = 0 and x = 0 a step changes nothing."""
    return tl.load(s + (i * J + j) * K + k, (j < J) & (k < K) & mask, 0)


@triton.jit
def _store(s, i, j, k, J, K, value):
    tl.store(s + (i * J + j) * K + k, value, (j < J) & (k < K))


@triton.jit
def _here(CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """Of this program: sequence, chunk among all, step in the chunk and in time (CHUNK, 1), channel (1, BLOCK)."""
    chunk, b = tl.program_id(0), tl.program_id(2).to(tl.int64)      # 64 bits for every offset
    i = tl.arange(0, CHUNK)[:, None]
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    return b, b * tl.num_programs(0) + chunk, i, chunk * CHUNK + i, c


@triton.jit
def _alone(v, A, dt, w, leaving, time, length, channels, states,
           CHUNK: tl.constexpr, BLOCK: tl.constexpr, BACKWARD: tl.constexpr):
    """What leaves a chunk that nothing enters (batch, chunks, channels, states), and its time, the sum of dt (batch,
    chunks, channels). Forward v = x, w = B: the state after it. Backward v = dy, w = C: the gradient of that before."""
    b, chunk, i, t, c = _here(CHUNK, BLOCK)
    v_t, dt_t = _load(v, b, t, c, length, channels), _load(dt, b, t, c, length, channels)
    _store(time, 0, chunk, c, chunk + 1, channels, tl.sum(dt_t, 0, keep_dims=True))
    if BACKWARD:                                            # the time from the start of the chunk through step t
        between = tl.cumsum(dt_t, 0)
    else:                                                   # from after step t to the end
        v_t *= dt_t
        between = tl.cumsum(_load(dt, b, t + 1, c, length, channels, i < CHUNK - 1), 0, reverse=True)
    for n in range(states):
        decay = tl.exp(between * _load(A, 0, c, n, channels, states))
        left = tl.sum(decay * v_t * _load(w, b, t, n, length, states), 0, keep_dims=True)
        _store(leaving, chunk, c, n, channels, states, left)


@triton.jit
def _carry(A, time, leaving, first, last, chunks, channels, states, BACKWARD: tl.constexpr, BLOCK: tl.constexpr):
    """Puts what enters a chunk in the place of what left it alone, one chunk after the other."""
    b, j = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)    # j: channel and state
    size = channels * states
    a, h = _load(A, 0, 0, j, 1, size), _load(first, 0, b, j, b + 1, size)
    for i in range(chunks):
        k = chunks - 1 - i if BACKWARD else i
        left = _load(leaving, b, k, j, chunks, size)
        _store(leaving, b, k, j, chunks, size, h)
        h = tl.exp(a * _load(time, b, k, j // states, chunks, channels)) * h + left
    _store(last, 0, b, j, b + 1, size, h)


@triton.jit
def _forward(x, A, dt, B, C, D, starts, y, length, channels, states, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    b, chunk, i, t, c = _here(CHUNK, BLOCK)
    x_t, dt_t = _load(x, b, t, c, length, channels), _load(dt, b, t, c, length, channels)
    y_t = _load(D, 0, 0, c, 1, channels) * x_t
    for n in range(states):
        decay = tl.exp(dt_t * _load(A, 0, c, n, channels, states))
        start = _load(starts, chunk, c, n, channels, states)
        added = dt_t * x_t * _load(B, b, t, n, length, states) + tl.where(i == 0, decay * start, 0)
        _, h = tl.associative_scan((decay, added), 0, _then)
        y_t += h * _load(C, b, t, n, length, states)
    _store(y, b, t, c, length, channels, y_t)


@triton.jit
def _backward(x, A, dt, B, C, D, starts, dy, ends, dx, ddt, dA, dB, dC, dD, length, channels, states,
              CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """dA (batch, chunks, channels, states), dB, dC (blocks, batch, length, states), dD (batch, chunks, channels)."""
    b, chunk, i, t, c = _here(CHUNK, BLOCK)
    part = tl.program_id(1) * tl.num_programs(2) + b                                    # of dB and dC
    x_t, dt_t = _load(x, b, t, c, length, channels), _load(dt, b, t, c, length, channels)
    dy_t = _load(dy, b, t, c, length, channels)
    dt_before = _load(dt, b, t - 1, c, length, channels, i > 0)
    u_before = dt_before * _load(x, b, t - 1, c, length, channels, i > 0)
    dt_after = _load(dt, b, t + 1, c, length, channels)
    du, dd = tl.zeros_like(x_t), tl.zeros_like(x_t)
    for n in range(states):
        a = _load(A, 0, c, n, channels, states)
        B_t, C_t = _load(B, b, t, n, length, states), _load(C, b, t, n, length, states)
        start, end = _load(starts, chunk, c, n, channels, states), _load(ends, chunk, c, n, channels, states)
        added = u_before * _load(B, b, t - 1, n, length, states, i > 0) + tl.where(i == 0, start, 0)
        _, h = tl.associative_scan((tl.exp(dt_before * a), added), 0, _then)            # the state before step t
        added = dy_t * C_t + tl.where(i == CHUNK - 1, end, 0)
        _, g = tl.associative_scan((tl.exp(dt_after * a), added), 0, _then, reverse=True)   # gradient of that after it
        h *= tl.exp(dt_t * a)
        e = g * h                                                                       # gradient of dt_t A
        _store(dA, chunk, c, n, channels, states, tl.sum(e * dt_t, 0, keep_dims=True))
        _store(dB, part, t, n, length, states, tl.sum(g * dt_t * x_t, 1, keep_dims=True))
        _store(dC, part, t, n, length, states, tl.sum((h + dt_t * x_t * B_t) * dy_t, 1, keep_dims=True))
        du += g * B_t
        dd += e * a
    _store(dx, b, t, c, length, channels, dt_t * du + _load(D, 0, 0, c, 1, channels) * dy_t)
    _store(ddt, b, t, c, length, channels, x_t * du + dd)
    _store(dD, 0, chunk, c, chunk + 1, channels, tl.sum(x_t * dy_t, 0, keep_dims=True))
