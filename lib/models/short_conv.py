"""The short convolution of Mamba (Gu & Dao 2023, https://arxiv.org/abs/2312.00752, figure 3): depthwise, causal, a silu after
it. Its kernels need no transpose and save nothing for backward but their inputs."""
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .kernels import FAST, ONE, _apart, _run, _sigmoid, _silu, _width


def conv_silu_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (batch, frames, channels), weight (channels, d_conv), bias (channels,) -> silu of sums over each frame and the
    d_conv - 1 before it, as x. As shifted products: no transpose."""
    frames, d_conv = x.shape[1], weight.shape[1]
    padded = F.pad(x, (0, 0, d_conv - 1, 0))
    y = bias
    for k in range(d_conv):
        y = torch.addcmul(y, padded[:, k:k + frames], weight[:, k])
    return F.silu(y)


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same by the fastest way there is: on a CPU, in float32 and float64, the kernels below."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return conv_silu_reference(x, weight, bias)
    return _ConvSilu.apply(x, weight, bias)


def last_inputs(x: Tensor, d_conv: int) -> Tensor:
    """What the frames after x (batch, frames, channels) need to know of it: (batch, channels, d_conv - 1)."""
    return F.pad(x, (0, 0, d_conv - 1, 0))[:, x.shape[1]:].transpose(1, 2)


class _ConvSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight, bias)
        return _run(_forward, _width(x), x, weight.T, bias)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight, bias = ctx.saved_tensors
        dx, dweight, dbias = _run(_backward, _width(x), x, weight.T, bias, dy)
        return dx, dweight.sum(0).T, dbias.sum(0)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _sums(x, weight, bias, t, first, s):
    """Of frame t, before the silu, to s (width,)."""
    d_conv, width = len(weight), np.uint64(len(s))
    for c in range(width):
        s[c] = bias[c]
    for k in range(max(0, d_conv - 1 - t), d_conv):
        before = t - d_conv + 1 + k
        for c in range(width):
            s[c] += weight[k, c] * x[before, first + c]


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _forward(width, x, weight, bias):
    """weight (d_conv, channels)."""
    batch, _, channels = x.shape
    y, blocks = np.empty_like(x), (channels + width - 1) // width
    for task in prange(batch * blocks):
        b, first = task // blocks, task % blocks * width
        last = min(first + width, channels)
        s = np.empty(last - first, x.dtype)
        _forward_block(x[b], weight[:, first:last].copy(), bias[first:last], np.uint64(first), s, y[b])
    return (y,)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _forward_block(x, weight, bias, first, s, y):
    """x, y (frames, channels), of which these are the channels from `first` on; weight (d_conv, width), bias, s (width,)."""
    _apart()
    width = np.uint64(len(s))
    for t in range(len(x)):
        _sums(x, weight, bias, t, first, s)
        for c in range(width):
            y[t, first + c] = _silu(s[c])


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _backward(width, x, weight, bias, dy):
    """-> the gradients of x, and of weight and bias of each sequence."""
    batch, _, channels = x.shape
    dx, blocks = np.empty_like(x), (channels + width - 1) // width
    dweight, dbias = np.empty((batch,) + weight.shape, x.dtype), np.empty((batch, channels), x.dtype)
    for task in prange(batch * blocks):
        b, first = task // blocks, task % blocks * width
        last = min(first + width, channels)
        w = weight[:, first:last].copy()
        s, dw, db = np.empty(last - first, x.dtype), np.zeros_like(w), np.zeros(last - first, x.dtype)
        _backward_block(x[b], w, bias[first:last], dy[b], np.uint64(first), s, dx[b], dw, db)
        dweight[b, :, first:last], dbias[b, first:last] = dw, db
    return dx, dweight, dbias


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _backward_block(x, weight, bias, dy, first, s, dx, dweight, dbias):
    _apart()
    d_conv, width = len(weight), np.uint64(len(s))
    for t in range(len(x)):
        _sums(x, weight, bias, t, first, s)
        for c in range(width):
            p = _sigmoid(s[c])
            s[c] = dy[t, first + c] * p * (ONE + s[c] * (ONE - p))      # the gradient of the sum
            dbias[c] += s[c]
            dx[t, first + c] = 0
        for k in range(max(0, d_conv - 1 - t), d_conv):
            before = t - d_conv + 1 + k
            for c in range(width):
                dx[before, first + c] += weight[k, c] * s[c]
                dweight[k, c] += x[before, first + c] * s[c]
