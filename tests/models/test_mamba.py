"""The Mamba block, by its kernels, against its equations in torch: output, state and every gradient."""
import pytest
import torch
from test_scan import assert_close
from torch import Tensor
from torch.nn import functional as F

from lib.models.mamba import Mamba
from lib.models.scan import CHUNK, gated_scan_reference
from lib.models.short_conv import conv_silu_reference, last_inputs

TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12}


def reference(layer: Mamba, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """-> y, and the state: the last inputs of the short convolution, h."""
    x, z = layer.in_proj(x).chunk(2, -1)
    before, x = x, conv_silu_reference(x, layer.conv1d.weight[:, 0], layer.conv1d.bias)
    dt, B, C = layer.x_proj(x).split([layer.dt_rank, layer.d_state, layer.d_state], -1)
    dt = F.linear(dt, layer.dt_proj.weight)
    y, h = gated_scan_reference(x, dt, -torch.exp(layer.A_log), B, C, layer.D, z, layer.dt_proj.bias)
    return layer.out_proj(y), last_inputs(before, layer.d_conv), h


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [(1, 1, 24, 37, 1, 1), (2, 2, 16, 16, 4, 4), (3, 67, 32, 64, 16, 4), (1, 5, 20, 40, 64, 5)])
def test_forward_and_gradients(size, dtype):
    batch, frames, width, d_inner, d_state, d_conv = size
    layer, exact = (Mamba(width, d_inner, d_state, d_conv).to(kind) for kind in (dtype, torch.float64))
    exact.load_state_dict(layer.state_dict())
    x, dy = torch.randn(2, batch, frames, width).to(dtype)
    names = ["y", "dx", *dict(layer.named_parameters())]
    got, want = [], []
    for one, results in ((layer, got), (exact, want)):
        x_one = x.to(one.D.dtype, copy=True).requires_grad_()
        y = one(x_one) if one is layer else reference(one, x_one)[0]
        results += [y, *torch.autograd.grad(y, [x_one, *one.parameters()], dy.to(y.dtype))]
    for name, a, b in zip(names, got, want, strict=True):
        assert a.dtype == dtype
        assert_close(a, b, TOLERANCE[dtype], name)


@pytest.mark.parametrize("frames", [1, 2, 3, 70])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_state_that_forward_leaves(frames, mode):
    layer, x = Mamba(16, 24).double(), torch.randn(2, frames, 16, dtype=torch.float64)
    with mode():
        state = layer.initial_state(2)
        got, want = layer(x, state), reference(layer, x)
    for a, b in zip((got, state.conv, state.ssm), want, strict=True):
        assert_close(a, b, TOLERANCE[torch.float64])


def test_what_is_kept_for_backward():
    """The inputs of the linear maps and kernels, and one state a chunk; neither sums, slopes nor y before its gate."""
    layer, x, kept = Mamba(32, 64), torch.randn(1, 640, 32, requires_grad=True), {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = layer(x)
    for parameter in layer.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    frame = 32 + 5 * 64 + (2 + 2 * 16) + 64 * 16 / CHUNK    # x; x, z, convolved, dt, gated y; dt, B, C as one; states
    assert y.requires_grad and sum(kept.values()) <= 640 * frame + 2 * 64 * 16          # A, and exp of its logarithm
