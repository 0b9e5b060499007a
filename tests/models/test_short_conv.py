"""The short convolution: the kernels against the float64 reference, outputs and gradients."""
import pytest
import torch
from test_scan import assert_close
from torch import Tensor
from torch.nn import functional as F

from lib.models.short_conv import conv_silu, conv_silu_reference, last_inputs

TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12}
SIZES = [(1, 1, 1, 1), (2, 1, 5, 4), (3, 2, 8, 4), (1, 3, 33, 2), (2, 5, 290, 4), (1, 65, 600, 5)]


def inputs(batch: int, frames: int, channels: int, d_conv: int, dtype=torch.float32) -> list[Tensor]:
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in
            ((batch, frames, channels), (channels, d_conv), (channels,))]


def outputs_and_gradients(conv, tensors: list[Tensor], dy: Tensor) -> dict[str, Tensor]:
    y = conv(*tensors)
    return dict(zip(("y", "dx", "dweight", "dbias"), (y, *torch.autograd.grad(y, tensors, dy.to(y.dtype)))))


def assert_agrees(tensors: list[Tensor]) -> None:
    exact, dy = [s.detach().double().requires_grad_() for s in tensors], torch.randn(tensors[0].shape).double()
    want = outputs_and_gradients(conv_silu_reference, exact, dy)
    for name, got in outputs_and_gradients(conv_silu, tensors, dy).items():
        assert got.dtype == tensors[0].dtype
        assert_close(got, want[name], TOLERANCE[tensors[0].dtype], name)


@pytest.mark.parametrize("frames", [1, 3, 9])
def test_the_reference_is_nn_conv1d_padded_on_the_left(frames):
    x, weight, bias = inputs(2, frames, 5, 4, torch.float64)
    expected = F.silu(F.conv1d(F.pad(x.mT, (3, 0)), weight[:, None], bias, groups=5)).mT
    torch.testing.assert_close(conv_silu_reference(x, weight, bias), expected)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", SIZES)
def test_the_kernels_agree_with_the_reference(size, dtype):
    assert_agrees(inputs(*size, dtype))


def test_large_values():
    assert_agrees([s.detach().mul(40).requires_grad_() for s in inputs(2, 9, 33, 4)])


def test_non_contiguous_inputs():
    x, weight, bias = inputs(2, 9, 66, 4)
    assert_agrees([s.detach().requires_grad_() for s in (x.chunk(2, -1)[1], weight[:33].T.contiguous().T, bias[::2])])


def test_gradcheck():
    assert torch.autograd.gradcheck(conv_silu, inputs(2, 5, 3, 4, torch.float64))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_every_time(threads):
    tensors, dy, before = inputs(1, 65, 300, 4), torch.randn(1, 65, 300), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        first, *others = (outputs_and_gradients(conv_silu, tensors, dy) for _ in range(4))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(first[name], again[name]) for again in others for name in first)


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_last_inputs_continue_the_convolution(frames):
    x, weight, bias = (s.detach() for s in inputs(2, frames + 1, 5, 4))
    window = torch.cat([last_inputs(x[:, :frames], 4), x[:, frames:].mT], -1)           # (batch, channels, d_conv)
    torch.testing.assert_close(F.silu((window * weight).sum(-1) + bias), conv_silu(x, weight, bias)[:, -1])


def test_not_a_number_is_not_hidden():
    x, weight, bias = (s.detach() for s in inputs(1, 6, 2, 4))
    x[0, 1, 0] = torch.nan
    assert conv_silu(x, weight, bias).isnan().tolist() == [[[0 < t < 5, False] for t in range(6)]]
