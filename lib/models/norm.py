"""RMSNorm (Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467), and which norm the layers of a core have."""
import math

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .kernels import FAST, _run
from .linear import by_kernel

EPS = 1e-5          # nn.LayerNorm's
BLOCKS = 32         # of rows, each with its own sum for the gradient of the weight


def norm(width: int, recipe: tuple[str, ...]) -> nn.Module:
    return RMSNorm(width) if "rmsnorm" in recipe else nn.LayerNorm(width)


class RMSNorm(nn.RMSNorm):
    """nn.RMSNorm over (…, width). On a CPU torch makes it of elementwise operations, three times as long as its LayerNorm;
    here it is one kernel and one for the gradient. A row of a batch has the very bits that it has alone."""

    def __init__(self, width: int):
        super().__init__(width, EPS)

    def forward(self, x: Tensor) -> Tensor:
        if by_kernel(x):
            rows = x.contiguous().view(-1, x.shape[-1])
            y = torch.empty_like(rows)
            _rows(rows.numpy(), self.weight.numpy(), y.numpy())
            return y.view(x.shape)
        return _RMSNorm.apply(x, self.weight) if x.requires_grad and x.device.type == "cpu" else super().forward(x)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        rows = x.reshape(-1, x.shape[-1])
        y, scale = _run(_forward, rows, weight)
        ctx.save_for_backward(rows, weight, scale)
        return y.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        rows, weight, scale = ctx.saved_tensors
        dx, dweight = _run(_backward, rows, weight, scale, dy.reshape(rows.shape))
        return dx.view(dy.shape), dweight.sum(0)


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _normalise(x, weight, y):
    """x (width,) to y, the same; 1 over the root of its mean square."""
    total = x.dtype.type(0)
    for i in range(len(x)):
        total += x[i] * x[i]
    scale = x.dtype.type(1 / math.sqrt(total / len(x) + EPS))
    for i in range(len(x)):
        y[i] = x[i] * scale * weight[i]
    return scale


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _rows(x, weight, y):
    for i in range(len(x)):
        _normalise(x[i], weight, y[i])


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _forward(x, weight):
    """x (rows, width) -> y, the same, and the scale of each row."""
    y, scale = np.empty_like(x), np.empty(len(x), x.dtype)
    for block in prange(BLOCKS):
        for i in range(block * len(x) // BLOCKS, (block + 1) * len(x) // BLOCKS):
            scale[i] = _normalise(x[i], weight, y[i])
    return y, scale


@njit(parallel=True, cache=True, fastmath=FAST, error_model="numpy")
def _backward(x, weight, scale, dy):
    """-> the gradients of x, and of the weight by each block of rows."""
    rows, width = x.shape
    dx, dweight = np.empty_like(x), np.zeros((BLOCKS, width), x.dtype)
    for block in prange(BLOCKS):
        for i in range(block * rows // BLOCKS, (block + 1) * rows // BLOCKS):
            x_i, dy_i, s, along = x[i], dy[i], scale[i], x.dtype.type(0)
            for j in range(width):
                along += dy_i[j] * weight[j] * x_i[j]
            along *= s * s / x.dtype.type(width)
            for j in range(width):
                dx[i, j] = s * (dy_i[j] * weight[j] - along * x_i[j])
                dweight[block, j] += dy_i[j] * x_i[j] * s
    return dx, dweight
