"""The scan of Mamba-2: every implementation against the float64 reference, outputs and gradients."""
import sys
from functools import partial

import pytest
import torch
from test_scan import NAMES, assert_close, outputs_and_gradients
from torch import Tensor

from lib.models import ssd as dispatch
from lib.models.ssd import CHUNK, segsum, ssd, ssd_chunked, ssd_reference, ssd_step

TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12}
# batch, length, heads, headdim, states
SIZES = [(1, 1, 1, 1, 1), (3, 1, 2, 3, 5), (3, 2, 3, 5, 1), (1, CHUNK - 1, 2, 3, 9), (2, CHUNK, 1, 8, 4), (3, CHUNK + 1, 3, 2, 7),
         (1, 2 * CHUNK + 2, 2, 16, 16), (2, 300, 3, 5, 8)]


def stepwise(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    ys, h = [], h0
    for x_t, dt_t, B_t, C_t in zip(*(s.unbind(1) for s in (x, dt, B, C)), strict=True):
        y, h = ssd_step(x_t, dt_t, A, B_t, C_t, D, h)
        ys.append(y)
    return torch.stack(ys, dim=1), h


IMPLEMENTATIONS = [ssd, ssd_reference, ssd_chunked, partial(ssd_chunked, chunk=7), stepwise]


def inputs(batch: int, length: int, heads: int, headdim: int, states: int, dtype=torch.float32, dt: float | None = None):
    """Tensors that require gradients; dt from 0.001 to 0.1 and A from -16 to -1 as Mamba-2 has them, or one dt throughout."""
    shapes = [(batch, length, heads, headdim), (batch, length, heads), (heads,), (batch, length, states),
              (batch, length, states), (heads,), (batch, heads, headdim, states)]
    tensors = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    tensors[1] = 10 ** (2 * torch.rand(shapes[1], dtype=torch.float64) - 3) if dt is None else tensors[1] * 0 + dt
    tensors[2] = -1 - 15 * torch.rand(heads, dtype=torch.float64)
    return [s.to(dtype).requires_grad_() for s in tensors]


def assert_agrees(scan, tensors: list[Tensor]) -> None:
    exact = [s.detach().double().requires_grad_() for s in tensors]
    weights = [torch.randn_like(exact[0]), torch.randn_like(exact[6])]
    want = outputs_and_gradients(ssd_reference, exact, weights)
    for name, got in outputs_and_gradients(scan, tensors, weights).items():
        assert got.dtype == tensors[0].dtype
        assert_close(got, want[name], TOLERANCE[tensors[0].dtype], name)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("scan", IMPLEMENTATIONS)
@pytest.mark.parametrize("size", SIZES)
def test_implementations_agree(scan, size, dtype):
    assert_agrees(scan, inputs(*size, dtype))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("scan", [ssd, ssd_chunked])
@pytest.mark.parametrize("dt", [1e-6, 20, 100])
def test_extreme_dt(scan, dt, dtype):
    assert_agrees(scan, inputs(2, 70, 3, 5, 4, dtype, dt))


@pytest.mark.parametrize("scan", [ssd, ssd_chunked])
def test_small_decays_after_a_large_one_keep_their_digits(scan):
    """What came before a frame that forgets everything is gone, and takes no digit of what comes after along."""
    tensors = inputs(2, 60, 2, 3, 4, dt=1e-3)
    with torch.no_grad():
        tensors[1][:, 20] = 1e3
    assert_agrees(scan, tensors)


@pytest.mark.parametrize("scan", [ssd, ssd_reference, ssd_chunked])
def test_it_is_attention_under_a_mask_that_decays(scan):
    """The matrix of the paper's section 5, entry by entry: y = (L * C B^T) (dt x) + D x."""
    x, dt, A, B, C, D, h0 = (s.detach() for s in inputs(2, 9, 3, 4, 5, torch.float64))
    L = torch.zeros(2, 3, 9, 9, dtype=torch.float64)
    for i in range(9):
        for j in range(i + 1):
            L[:, :, i, j] = torch.exp(A * dt[:, j + 1:i + 1].sum(1))
    want = torch.einsum("bkij,bin,bjn,bjk,bjkp->bikp", L, C, B, dt, x) + D[:, None] * x
    assert_close(scan(x, dt, A, B, C, D)[0], want, 1e-12)
    torch.testing.assert_close(torch.exp(segsum((A * dt).transpose(1, 2))), L)


@pytest.mark.parametrize("scan", [ssd, partial(ssd_chunked, chunk=2)])
def test_gradcheck(scan):
    assert torch.autograd.gradcheck(scan, inputs(1, 3, 2, 1, 2, torch.float64))


@pytest.mark.parametrize("scan", [ssd, ssd_reference, ssd_chunked])
def test_no_initial_state_is_zeros(scan):
    tensors = inputs(2, CHUNK + 1, 2, 5, 3)
    for got, want in zip(scan(*tensors[:6]), scan(*tensors[:6], torch.zeros(2, 2, 5, 3)), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("cut", [1, CHUNK - 1, CHUNK, 100])
@pytest.mark.parametrize("scan", [ssd, ssd_chunked])
def test_two_halves_with_the_state_carried_are_the_whole(scan, cut):
    def halves(x, dt, A, B, C, D, h0):
        first, h = scan(x[:, :cut], dt[:, :cut], A, B[:, :cut], C[:, :cut], D, h0)
        second, h = scan(x[:, cut:], dt[:, cut:], A, B[:, cut:], C[:, cut:], D, h)
        return torch.cat((first, second), dim=1), h
    assert_agrees(halves, inputs(2, 130, 3, 5, 4))


def test_rows_of_unequal_length_keep_their_state_where_dt_is_zero():
    x, dt, A, B, C, D, h0 = [s.detach() for s in inputs(3, 130, 3, 5, 8)]
    lengths = torch.tensor([130, 64, 1])
    y, h = ssd(x, dt * (torch.arange(130) < lengths[:, None])[..., None], A, B, C, D, h0)
    for row, length in enumerate(lengths.tolist()):
        one = [s[row:row + 1, :length] for s in (x, dt)] + [A] + [s[row:row + 1, :length] for s in (B, C)]
        alone, end = ssd(*one, D, h0[row:row + 1])
        assert torch.equal(y[row:row + 1, :length], alone) and torch.equal(h[row:row + 1], end)


def test_what_the_kernel_keeps_for_backward_is_its_inputs_and_a_state_a_chunk():
    tensors, kept = inputs(2, 2 * CHUNK + 1, 3, 5, 8), []
    with torch.autograd.graph.saved_tensors_hooks(lambda s: kept.append(s.numel()), lambda _: None):
        ssd(*tensors)
    assert sum(kept) == sum(s.numel() for s in tensors[:6]) + 2 * 3 * 3 * 5 * 8


def test_non_contiguous_inputs():
    tensors = [s.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for s in inputs(3, 65, 3, 5, 4)]
    assert not tensors[0].is_contiguous()
    assert_agrees(ssd, tensors)


def test_the_same_bits_every_time():
    tensors = inputs(2, 130, 3, 16, 16)
    weights = [torch.randn_like(tensors[0]), torch.randn_like(tensors[6])]
    first = outputs_and_gradients(ssd, tensors, weights)
    for _ in range(3):
        again = outputs_and_gradients(ssd, tensors, weights)
        assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("scan", [ssd, ssd_reference, ssd_chunked])
def test_not_a_number_is_not_hidden(scan):
    tensors = [s.detach() for s in inputs(1, 3, 2, 2, 2)]
    tensors[1][0, 1, 0] = float("nan")
    y, h = scan(*tensors)
    assert y[0, 1:, 0].isnan().all() and not y[0, :, 1].isnan().any()
    assert h[0, 0].isnan().all() and not h[0, 1].isnan().any()


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_wrong_shape_or_dtype_is_named(name):
    at = NAMES.index(name)
    for change in (lambda s: s[:1], lambda s: s.double()):
        tensors = inputs(2, 3, 4, 6, 5)
        tensors[at] = change(tensors[at])
        with pytest.raises(ValueError, match=f"^ssd: {name} should be .*$"):
            ssd(*tensors)


def test_what_the_kernel_cannot_take_is_said():
    with pytest.raises(ValueError, match="float32 or float64, not torch.bfloat16"):
        ssd(*inputs(1, 2, 3, 4, 5, torch.bfloat16))
    tensors = inputs(1, 2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"x \(2, 3, 4\) should be \(batch, length, heads, headdim\)"):
        ssd(tensors[0][0], *tensors[1:])


@pytest.mark.parametrize("present, dtype, chosen", [(True, torch.float32, "mamba_ssm"), (False, torch.float32, "chunked"),
                                                    (True, torch.float64, "chunked")])
@pytest.mark.parametrize("carried", [False, True])
def test_other_devices_get_the_fastest_scan_that_fits(monkeypatch, present, dtype, chosen, carried):
    """On the meta device, which is not a CPU; the stand-in for mamba_ssm has the signature of its kernel."""
    called = []

    def mamba_ssm(x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None, initial_states=None, seq_idx=None,
                  cu_seqlens=None, dt_softplus=False, dt_limit=(0.0, float("inf")), return_final_states=False):
        called.append("mamba_ssm")
        assert return_final_states and not dt_softplus and B.shape == C.shape == (2, 9, 1, 5)
        assert initial_states is tensors[6] and D is tensors[5]
        return torch.empty_like(x), x.new_empty(2, 3, 4, 5)

    def chunked(*tensors):
        called.append("chunked")
        return ssd_chunked(*tensors)
    monkeypatch.setattr(dispatch, "_mamba_ssm", lambda: mamba_ssm if present else None)
    monkeypatch.setattr(dispatch, "ssd_chunked", chunked)
    tensors = [s.to("meta") for s in inputs(2, 9, 3, 4, 5, dtype)]
    tensors[6] = tensors[6] if carried else None
    y, h = ssd(*tensors)
    assert called == [chosen] and y.shape == (2, 9, 3, 4) and h.shape == (2, 3, 4, 5)


def test_without_mamba_ssm_there_is_no_kernel_of_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    assert dispatch._mamba_ssm.__wrapped__() is None
