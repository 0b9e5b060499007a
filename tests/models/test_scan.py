"""The selective scan: every implementation against the float64 reference, outputs and gradients."""
import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.models.scan import (
    gated_scan,
    gated_scan_reference,
    scan_step,
    selective_scan,
    selective_scan_reference,
)

NAMES = "x dt A B C D h0".split()
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12}
SIZES = [(1 + i % 3, length, channels, (16, 3, 1)[i % 3]) for i, (length, channels) in
         enumerate(itertools.product([1, 2, 63, 64, 65, 130], [1, 5, 33, 130]))]


def stepwise(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    ys, h = [], h0
    for x_t, dt_t, B_t, C_t in zip(*(s.unbind(1) for s in (x, dt, B, C))):
        y, h = scan_step(x_t, dt_t, A, B_t, C_t, D, h)
        ys.append(y)
    return torch.stack(ys, dim=1), h


IMPLEMENTATIONS = [selective_scan, selective_scan_reference, stepwise]


def inputs(batch: int, length: int, channels: int, states: int, dtype=torch.float32, dt: float | None = None):
    """Tensors that require gradients; dt from 0.001 to 0.1 as Mamba initialises it, or one value throughout."""
    shapes = [(batch, length, channels), (batch, length, channels), (channels, states), (batch, length, states),
              (batch, length, states), (channels,), (batch, channels, states)]
    tensors = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    tensors[1] = 10 ** (2 * torch.rand(shapes[1], dtype=torch.float64) - 3) if dt is None else tensors[1] * 0 + dt
    tensors[2] = -(tensors[2].abs() + torch.arange(1, states + 1))
    return [s.to(dtype).requires_grad_() for s in tensors]


def outputs_and_gradients(scan, tensors: list[Tensor], weights: list[Tensor]) -> dict[str, Tensor]:
    """y, h and the gradient of a weighted sum of both with respect to every input."""
    y, h = scan(*tensors)
    gradients = torch.autograd.grad((y, h), tensors, [w.to(y.dtype) for w in weights])
    return {"y": y, "h": h} | {f"d{name}": g for name, g in zip(NAMES, gradients)}


def assert_close(got: Tensor, want: Tensor, tolerance: float, name: str = "") -> None:
    """The largest difference, relative to the largest value; below 1e-30 everything is zero."""
    assert got.shape == want.shape and torch.isfinite(got).all(), name
    assert (got - want).abs().max() <= tolerance * want.abs().max() + 1e-30, name


def assert_agrees(scan, tensors: list[Tensor]) -> None:
    exact = [s.detach().double().requires_grad_() for s in tensors]
    weights = [torch.randn_like(exact[0]), torch.randn_like(exact[6])]
    want = outputs_and_gradients(selective_scan_reference, exact, weights)
    for name, got in outputs_and_gradients(scan, tensors, weights).items():
        assert got.dtype == tensors[0].dtype
        assert_close(got, want[name], TOLERANCE[tensors[0].dtype], name)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("scan", IMPLEMENTATIONS)
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (3, 20, 33, 3), (2, 66, 70, 16)])
def test_implementations_agree(scan, size, dtype):
    assert_agrees(scan, inputs(*size, dtype))


@pytest.mark.parametrize("size", SIZES)
def test_sizes_that_do_not_fill_blocks_and_chunks(size):
    assert_agrees(selective_scan, inputs(*size))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("dt", [1e-6, 20, 100])
def test_extreme_dt(dt, dtype):
    assert_agrees(selective_scan, inputs(2, 70, 33, 16, dtype, dt))


def test_exponential_keeps_its_relative_error():
    """With x = 0 and C = 1 one step from h = 1 is exp(dt A), over the whole range of float32: to 4e-7, and what its exponent
    loses by one rounding of A / ln 2 and one of dt A / ln 2, half of 1.2e-7 of it each."""
    x, dt, A, B, C, D, h = inputs(1, 1, 4096, 1)
    dt = torch.linspace(0, 86, 4096).view(1, 1, -1)
    y, _ = selective_scan(x * 0, dt, A * 0 - 1, B, C * 0 + 1, D, h * 0 + 1)
    want = torch.exp(-dt.double())
    assert ((y - want).abs() / want <= 4e-7 + 1.2e-7 * dt).all()
    assert y[0, 0, 0] == 1


def test_exponents_of_every_state_keep_theirs():
    """A decays from -1 to -64 a step, each state by itself: a row of the kernel is one state of all channels."""
    x, dt, A, B, C, D, h = inputs(1, 1, 70, 64, torch.float32, 0.3)
    A = -torch.arange(1, 65.).repeat(70, 1)
    _, h = selective_scan(x * 0, dt, A, B, C, D, h * 0 + 1)
    want = torch.exp(0.3 * A.double())
    assert ((h - want).abs() / want <= 4e-7 + 1.2e-7 * 0.3 * A.abs()).all()


def test_gradcheck():
    assert torch.autograd.gradcheck(selective_scan, inputs(2, 3, 2, 2, torch.float64))


GATED = "x dt A B C D z bias".split()


def gated_inputs(batch: int, length: int, channels: int, states: int, dtype=torch.float32, scale: float = 1) -> list[Tensor]:
    """Tensors that require gradients; dt before its bias and softplus, and z, spread by `scale`."""
    x, dt, A, B, C, D, _ = (s.detach() for s in inputs(batch, length, channels, states, torch.float64))
    dt, z = scale * torch.randn(2, *x.shape, dtype=torch.float64)
    bias = torch.randn(channels, dtype=torch.float64) - 4
    return [s.to(dtype).requires_grad_() for s in (x, dt, A, B, C, D, z, bias)]


def gated_outputs_and_gradients(scan, tensors: list[Tensor], weights: list[Tensor]) -> dict[str, Tensor]:
    y, h = scan(*tensors)
    gradients = torch.autograd.grad((y, h), tensors, [w.to(y.dtype) for w in weights])
    return {"y": y, "h": h} | {f"d{name}": g for name, g in zip(GATED, gradients)}


def assert_gated_agrees(tensors: list[Tensor]) -> None:
    exact = [s.detach().double().requires_grad_() for s in tensors]
    weights = [torch.randn_like(exact[0]), torch.randn(len(exact[0]), *exact[2].shape, dtype=torch.float64)]
    want = gated_outputs_and_gradients(gated_scan_reference, exact, weights)
    for name, got in gated_outputs_and_gradients(gated_scan, tensors, weights).items():
        assert got.dtype == tensors[0].dtype
        assert_close(got, want[name], TOLERANCE[tensors[0].dtype], name)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (3, 2, 33, 4), (1, 65, 130, 16), (2, 130, 5, 64), (1, 3, 600, 3)])
def test_softplus_and_gate_in_the_kernels(size, dtype):
    assert_gated_agrees(gated_inputs(*size, dtype))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_softplus_and_gate_at_large_values(dtype):
    """Softplus above 20, where torch takes it for its argument, and below -80, where it is nearly 0."""
    assert_gated_agrees(gated_inputs(2, 9, 70, 3, dtype, scale=30))


def test_softplus_keeps_its_relative_error():
    """With A = 0, B = x = 1 one step from zero is softplus(dt + bias)."""
    dt = torch.linspace(-80, 30, 4096).view(1, 1, -1)
    one, zero = torch.ones_like(dt), torch.zeros(4096)
    _, h = gated_scan(one, dt, zero[:, None], torch.ones(1, 1, 1), torch.ones(1, 1, 1), zero, one, zero)
    want = F.softplus(dt.double()).mT
    assert ((h - want).abs() / want).max() < 5e-7


def test_gated_inputs_that_are_parts_of_others():
    """As the linear maps of Mamba leave them."""
    x, dt, A, B, C, D, z, bias = (s.detach() for s in gated_inputs(2, 65, 33, 3))
    x, z = torch.cat([x, z], -1).chunk(2, -1)
    dt, B, C = torch.cat([dt, B, C], -1).split([33, 3, 3], -1)
    assert_gated_agrees([s.requires_grad_() for s in (x, dt, A, B, C, D, z, bias)])


def test_gradcheck_of_the_gated_scan():
    assert torch.autograd.gradcheck(gated_scan, gated_inputs(2, 3, 2, 2, torch.float64))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_number_of_threads(threads):
    """Parts of the channels are as many as threads; at one number of them the bits are the same."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        tensors = gated_inputs(1, 66, 40, 3)
        weights = [torch.randn_like(tensors[0]), torch.randn(1, 40, 3)]
        assert_gated_agrees(tensors)
        first, again = (gated_outputs_and_gradients(gated_scan, tensors, weights) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("name", ["z", "bias"])
def test_a_wrong_gate_or_bias_is_named(name):
    tensors = gated_inputs(2, 3, 4, 5)
    tensors[GATED.index(name)] = tensors[GATED.index(name)][:1]
    with pytest.raises(ValueError, match=f"^scan: {name} should be .*$"):
        gated_scan(*tensors)


def test_no_initial_state_is_zeros():
    tensors = inputs(2, 65, 5, 3)
    for got, want in zip(selective_scan(*tensors[:6]), selective_scan(*tensors[:6], torch.zeros(2, 5, 3))):
        assert torch.equal(got, want)


@pytest.mark.parametrize("cut", [1, 63, 64, 100])
def test_two_halves_with_the_state_carried_are_the_whole(cut):
    def halves(x, dt, A, B, C, D, h0):
        first, h = selective_scan(x[:, :cut], dt[:, :cut], A, B[:, :cut], C[:, :cut], D, h0)
        second, h = selective_scan(x[:, cut:], dt[:, cut:], A, B[:, cut:], C[:, cut:], D, h)
        return torch.cat((first, second), dim=1), h
    assert_agrees(halves, inputs(2, 130, 33, 3))


def test_rows_of_unequal_length_keep_their_state_where_dt_is_zero():
    x, dt, A, B, C, D, h0 = [s.detach() for s in inputs(3, 130, 33, 16)]
    lengths = torch.tensor([130, 64, 1])
    y, h = selective_scan(x, dt * (torch.arange(130) < lengths[:, None])[..., None], A, B, C, D, h0)
    for row, length in enumerate(lengths.tolist()):
        one = [s[row:row + 1, :length] for s in (x, dt)] + [A] + [s[row:row + 1, :length] for s in (B, C)]
        alone, end = selective_scan(*one, D, h0[row:row + 1])
        assert torch.equal(y[row:row + 1, :length], alone) and torch.equal(h[row:row + 1], end)


def test_what_is_kept_for_backward_does_not_grow_with_the_states():
    def kept(states: int, length: int) -> int:
        numbers = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal numbers
            numbers += tensor.numel()
            return tensor
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            selective_scan(*inputs(2, length, 256, states))
        return numbers
    assert kept(16, 640) < 1.3 * kept(1, 640) and kept(16, 6400) < 10.1 * kept(16, 640)


def test_non_contiguous_inputs():
    tensors = [s.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for s in inputs(3, 65, 33, 3)]
    assert not tensors[0].is_contiguous()
    assert_agrees(selective_scan, tensors)


def test_threads_take_turns():
    """numba's workqueue ends the process when two threads enter it at once."""
    tensors = inputs(2, 130, 130, 16)
    want, _ = selective_scan(*tensors)
    with ThreadPoolExecutor(4) as pool:
        for y, _ in pool.map(lambda _: selective_scan(*tensors), range(40)):
            assert torch.equal(y, want)


def test_the_same_bits_every_time():
    tensors = inputs(2, 130, 130, 16)
    weights = [torch.randn_like(tensors[0]), torch.randn_like(tensors[6])]
    first = outputs_and_gradients(selective_scan, tensors, weights)
    for _ in range(5):
        again = outputs_and_gradients(selective_scan, tensors, weights)
        assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("scan", IMPLEMENTATIONS)
def test_not_a_number_is_not_hidden(scan):
    tensors = [s.detach() for s in inputs(1, 3, 2, 2)]
    tensors[1][0, 1, 0] = float("nan")
    y, h = scan(*tensors)
    assert torch.equal(y.isnan(), torch.tensor([[[False, False], [True, False], [True, False]]]))
    assert h.isnan()[0, 0].all() and not h.isnan()[0, 1].any()


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_wrong_shape_or_dtype_is_named(name):
    for change in (lambda s: s[:1], lambda s: s.double()):
        tensors = inputs(2, 3, 4, 5)
        tensors[NAMES.index(name)] = change(tensors[NAMES.index(name)])
        with pytest.raises(ValueError, match=f"^scan: {name} should be .*$"):
            selective_scan(*tensors)


def test_what_the_kernel_cannot_take_is_said():
    with pytest.raises(ValueError, match="float32 or float64, not torch.bfloat16"):
        selective_scan(*inputs(1, 2, 3, 4, torch.bfloat16))
    tensors = inputs(1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"x \(2, 3\) should be \(batch, length, channels\)"):
        selective_scan(tensors[0][0], *tensors[1:])
