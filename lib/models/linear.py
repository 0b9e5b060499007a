"""The linear maps of one frame. Decoding frame by frame is a chain of matrix-vector products: the weights are read
once per frame, and torch's call takes three times as long as the reading."""
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F

from .kernels import FAST


def frame_linear_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """x (batch, groups · in), weight (groups · out, in), bias (groups · out,) -> (batch, groups · out)."""
    if groups == 1:
        return F.linear(x, weight, bias)
    x, weight = x.unflatten(1, (groups, -1)), weight.unflatten(0, (groups, -1))
    y = torch.einsum("bgi,goi->bgo", x, weight).flatten(1)
    return y if bias is None else y + bias


def by_kernel(x: Tensor) -> bool:
    """Whether a frame x goes through the kernels: on a CPU, without gradients."""
    return not torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def frame_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
    """The same by the fastest way there is; by the kernel, a row of a batch has the very bits that it has alone."""
    if not by_kernel(x):
        return frame_linear_reference(x, weight, bias, groups)
    y = x.new_empty(len(x), len(weight))
    _frame_linear(x.contiguous().numpy(), weight.numpy(), None if bias is None else bias.numpy(), y.numpy(), groups)
    return y


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _frame_linear(x, weight, bias, y, groups):
    out, width = len(weight) // groups, weight.shape[1]
    for o in range(len(weight)):
        w, first = weight[o], o // out * width      # in the first-level cache for all rows
        for b in range(len(x)):
            x_b = x[b, first:first + width]
            total = x.dtype.type(0) if bias is None else bias[o]
            for i in range(width):
                total += w[i] * x_b[i]
            y[b, o] = total


class Linear(nn.Linear):
    """nn.Linear; one frame, (batch, width), takes the way of frames."""

    def forward(self, x: Tensor) -> Tensor:
        return frame_linear(x, self.weight, self.bias) if x.dim() == 2 else super().forward(x)
