"""Mamba-2: the parameters of mamba_ssm, what they mean, and frame by frame against all at once."""
from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.config import TrainConfig
from lib.metrics.cost import parameters, product_flops, ssd_flops
from lib.models.mamba2 import Mamba2, Mamba2Block, Mamba2State
from lib.models.ssd import ssd_chunked, ssd_reference
from lib.training.optimiser import flops, make_optimiser

# d_model, d_inner, d_state, headdim, d_conv
SHAPES = [(16, 32, 8, 16, 4), (24, 40, 5, 8, 4), (10, 21, 3, 7, 2), (16, 12, 1, 12, 4)]
TOLERANCE = [(torch.float32, 2e-5), (torch.float64, 1e-13)]
either_size = pytest.mark.parametrize("size", SHAPES)


def mixed(layer: Mamba2, x: Tensor) -> Tensor:
    """What mamba_ssm's Mamba2 computes with those parameters, in the order of its rows: z, x, B, C, dt."""
    d, n = layer.d_inner, layer.d_state
    z, xBC, dt = layer.in_proj.weight[:d], layer.in_proj.weight[d:2 * d + 2 * n], layer.in_proj.weight[2 * d + 2 * n:]
    xBC = (x @ xBC.mT).mT                                               # (batch, channels, frames)
    xBC = F.conv1d(F.pad(xBC, (layer.d_conv - 1, 0)), layer.conv1d.weight, layer.conv1d.bias, groups=d + 2 * n).mT
    xBC = xBC * xBC.sigmoid()
    dt = torch.log1p(torch.exp(x @ dt.mT + layer.dt_bias))
    y, _ = ssd_reference(xBC[..., :d].unflatten(-1, (-1, layer.headdim)), dt, -torch.exp(layer.A_log), xBC[..., d:d + n],
                         xBC[..., d + n:], layer.D)
    z = x @ z.mT
    y = y.flatten(2) * z * z.sigmoid()
    return y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.norm.weight @ layer.out_proj.weight.mT


def moved(layer: torch.nn.Module) -> torch.nn.Module:
    """With no parameter where it began, so that none can be forgotten."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.rand_like(parameter)
    return layer


def test_it_has_the_parameters_of_mamba_ssm():
    layer = Mamba2(256, 512)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "dt_bias": (8,), "A_log": (8,), "D": (8,), "in_proj.weight": (1160, 256), "conv1d.weight": (640, 1, 4),
        "conv1d.bias": (640,), "norm.weight": (512,), "out_proj.weight": (256, 512)}
    assert parameters(layer) == 431_768 and set(layer.state_dict()) == set(dict(layer.named_parameters()))
    assert layer.norm.eps == 1e-5


def test_the_initial_decay_and_step():
    layer = Mamba2(4, 20_000, 1, 2)
    A, dt = torch.exp(layer.A_log), F.softplus(layer.dt_bias)
    assert 1 <= A.min() < 1.02 and 15.98 < A.max() <= 16 and A.mean().item() == pytest.approx(8.5, rel=0.02)
    assert 0.000999 < dt.min() < 0.00102 and 0.098 < dt.max() < 0.1001
    assert dt.log10().mean().item() == pytest.approx(-2, abs=0.02)
    assert torch.equal(layer.D, torch.ones(10_000)) and torch.equal(layer.norm.weight, torch.ones(20_000))


def test_no_weight_decay_on_what_the_scan_is_made_of():
    block = Mamba2Block(16, 32, 8, 16)
    decayed, kept = make_optimiser(block, TrainConfig(weight_decay=0.1)).param_groups
    names = {id(p): name for name, p in block.named_parameters()}
    assert {names[id(p)] for p in kept["params"]} == {"mixer.A_log", "mixer.D", "mixer.dt_bias"}
    assert kept["weight_decay"] == 0 and decayed["weight_decay"] == 0.1


@either_size
@pytest.mark.parametrize("batch, frames", [(1, 1), (3, 2), (2, 67)])
@torch.inference_mode()
def test_it_computes_what_mamba_ssm_computes(size, batch, frames):
    layer = moved(Mamba2(*size)).double()
    x = torch.randn(batch, frames, size[0], dtype=torch.double)
    torch.testing.assert_close(layer(x), mixed(layer, x), atol=1e-11, rtol=1e-9)


def test_gradcheck():
    layer = moved(Mamba2(3, 4, 2, 2)).double()
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)
    assert torch.autograd.gradcheck(run, (torch.randn(2, 3, 3, dtype=torch.double, requires_grad=True), *values))


@either_size
@pytest.mark.parametrize("frames", [1, 2, 20])
@pytest.mark.parametrize("grad", [False, True])                         # without gradients a step takes the kernel
def test_step_by_step_is_the_full_forward_and_leaves_its_state(size, frames, grad):
    with torch.inference_mode(not grad), torch.set_grad_enabled(grad):
        block = moved(Mamba2Block(size[0], *size[1:4])).double()
        x, more = torch.randn(2, frames, size[0], dtype=torch.double), torch.randn(2, size[0], dtype=torch.double)
        at_once, stepped = block.initial_state(2, frames), block.initial_state(2, frames)
        y = block(x, at_once)
        torch.testing.assert_close(torch.stack([block.step(frame, stepped) for frame in x.unbind(1)], 1), y)
        for name, got in vars(at_once).items():
            torch.testing.assert_close(got, getattr(stepped, name))
        torch.testing.assert_close(block.step(more, at_once), block.step(more, stepped))


@pytest.mark.parametrize("dtype, tolerance", TOLERANCE)
@pytest.mark.parametrize("start", [0, 7, 300])
@either_size
@pytest.mark.parametrize("scale", [1, 6])
@torch.inference_mode()
def test_one_frame_by_the_kernel(size, scale, start, dtype, tolerance):
    """Against float64 in torch, relative to the largest number; after frames at once or none, at large values too."""
    def agrees(got: Tensor, want: Tensor) -> None:
        assert got.dtype == dtype and (got.double() - want).abs().max() <= tolerance * want.abs().max()

    layer = moved(Mamba2(*size)).to(dtype)
    exact = deepcopy(layer).double()
    before, frames = scale * torch.randn(3, start, size[0]), scale * torch.randn(9, 3, size[0])
    states = [one.initial_state(3) for one in (layer, exact)]
    if start:
        layer(before.to(dtype), states[0])
        exact(before.double(), states[1])
    for frame in frames:
        agrees(layer.step(frame.to(dtype), states[0]), exact.step_reference(frame.double(), states[1]))
    for name, got in vars(states[0]).items():
        agrees(got, getattr(states[1], name))


@torch.inference_mode()
def test_a_row_of_a_batch_steps_to_the_bits_that_it_has_alone():
    block = Mamba2Block(64, 96, 16, 32)
    together, alone = block.initial_state(3, 9), [block.initial_state(1, 9) for _ in range(3)]
    for frame in torch.randn(9, 3, 64):
        y = block.step(frame, together)
        assert torch.equal(y, torch.cat([block.step(row[None], state) for row, state in zip(frame, alone, strict=True)]))
    assert torch.equal(together.ssm, torch.cat([state.ssm for state in alone]))


@torch.inference_mode()
def test_the_state_stays_where_it_is():
    layer = Mamba2(16, 32, 8, 16)
    state = layer.initial_state(2)
    places = [tensor.data_ptr() for tensor in vars(state).values()]
    layer(torch.randn(2, 5, 16), state)
    for step in (layer.step, layer.step_reference):
        before = deepcopy(state)
        step(torch.randn(2, 16), state)
        assert [tensor.data_ptr() for tensor in vars(state).values()] == places
        assert not torch.equal(state.conv, before.conv) and not torch.equal(state.ssm, before.ssm)


@torch.inference_mode()
def test_output_sees_no_later_frame():
    block, x = Mamba2Block(16, 32, 8, 16).double(), torch.randn(2, 100, 16, dtype=torch.double)
    changed = x.clone()
    changed[:, 61] = torch.randn(16)
    before, after = block(x), block(changed)
    assert torch.equal(before[:, :61], after[:, :61]) and (before != after)[:, 61:].any(-1).all()


def test_every_parameter_gets_a_gradient():
    block = Mamba2Block(16, 32, 8, 16)
    block(torch.randn(2, 9, 16)).square().sum().backward()
    assert [name for name, p in block.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_state_numbers_are_those_of_a_sequence_of_any_length():
    block = Mamba2Block(16, 32, 8, 16)
    assert block.state_numbers(7) == block.state_numbers(700) == 3 * (32 + 16) + 32 * 8
    assert block.state_numbers(7) == sum(tensor.numel() for tensor in vars(block.initial_state(1, 7)).values())
    assert isinstance(block.initial_state(1, 7), Mamba2State)


def test_heads_that_do_not_fill_the_channels_are_refused():
    with pytest.raises(ValueError, match="^d_inner 100 does not split into heads of 64$"):
        Mamba2(16, 100)


def test_flops_are_those_of_the_two_linear_layers_and_the_scan():
    block, x = Mamba2Block(16, 32, 8, 16), torch.randn(2, 10, 16, requires_grad=True)
    products = 6 * (2 * 10) * 16 * (32 + 48 + 2 + 32)                   # in_proj and out_proj
    assert flops(block, lambda: block(x).sum().backward(), 2, 10) == products + ssd_flops(2, 10, 32, 8)


def test_torch_counts_the_products_of_the_chunks():
    batch, length, heads, headdim, states, size = 2, 12, 3, 4, 5, 6     # two chunks of 6
    tensors = [torch.randn(s, requires_grad=True) for s in ((batch, length, heads, headdim), (batch, length, heads), (heads,),
                                                            (batch, length, states), (batch, length, states), (heads,))]
    forward = 2 * batch * length * (size * states + heads * (size * headdim + 2 * states * headdim))
    assert product_flops(lambda: ssd_chunked(*tensors, chunk=size)) == forward
    assert product_flops(lambda: ssd_chunked(*tensors, chunk=size)[0].sum().backward()) == 3 * forward
