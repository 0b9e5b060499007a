"""The Triton scan against the float64 reference, outputs and gradients; and which scan a device other than a CPU gets.

Without a GPU the kernels run in Triton's interpreter, which has to be chosen before they are defined: in a process of
its own, where TRITON_INTERPRET is 1 and this module's tests run once more.
"""
import os
import subprocess
import sys

import pytest
import test_scan
import torch
from test_scan import assert_close, inputs, outputs_and_gradients
from torch import Tensor
from torch.nn import functional as F

from lib.models import scan as dispatch
from lib.models.scan import selective_scan, selective_scan_reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 2e-2}
SIZES = [(1, 1, 1, 1), (2, 11, 5, 3), (1, 6, 1, 16), (1, 5, 1, 64)] + test_scan.SIZES * (DEVICE == "cuda")


def runs_kernels(test):
    """A test for a GPU or the interpreter; elsewhere none, test_in_the_interpreter stands for it."""
    return test if INTERPRETED or DEVICE == "cuda" else None


@pytest.fixture
def kernels():
    return pytest.importorskip("lib.models.scan_triton", reason="Triton does not import here", exc_type=ImportError)


@pytest.fixture
def scan(kernels, monkeypatch):
    """The Triton scan; in the interpreter, which is slow, in chunks and blocks of 4."""
    if INTERPRETED:
        monkeypatch.setattr(kernels, "CHUNK", 4)
        monkeypatch.setattr(kernels, "BLOCK", 4)
    return kernels.selective_scan_triton


def on_device(tensors: list[Tensor]) -> list[Tensor]:
    return [s.detach().to(DEVICE).requires_grad_() for s in tensors]


def assert_agrees(scan, tensors: list[Tensor]) -> None:
    """Every output and gradient has the dtype of the inputs and the value of the float64 reference."""
    dtype, exact = tensors[0].dtype, [s.detach().double().requires_grad_() for s in tensors]
    weights = [torch.randn_like(exact[0]), torch.randn_like(exact[6])]
    want = outputs_and_gradients(selective_scan_reference, exact, weights)
    for name, got in outputs_and_gradients(scan, on_device(tensors), [w.to(DEVICE) for w in weights]).items():
        assert got.dtype == dtype
        assert_close(got.cpu(), want[name], TOLERANCE[dtype], name)


@pytest.mark.long
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
def test_in_the_interpreter(kernels):
    done = subprocess.run([sys.executable, "-m", "pytest", "--color=no", "-p", "no:cacheprovider", __file__],
                          capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"})
    if done.returncode:
        pytest.fail(f"in Triton's interpreter:\n{done.stdout}{done.stderr}", pytrace=False)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("number, integer", [("fp32", "i32"), ("fp64", "i32"), ("fp32", "constexpr")])
def test_kernels_compile_for_an_h100(kernels, number, integer, monkeypatch, tmp_path):
    """The interpreter accepts what the compiler refuses, and the compiler needs no GPU. A size of 1 is its constant."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    sizes = dict.fromkeys(("length", "channels", "states", "chunks"), 1)
    tile = {"CHUNK": kernels.CHUNK, "BLOCK": kernels.BLOCK}
    for kernel, constants in ((kernels._alone, tile | {"BACKWARD": False}), (kernels._alone, tile | {"BACKWARD": True}),
                              (kernels._carry, {"BLOCK": 256, "BACKWARD": True}),
                              (kernels._forward, tile), (kernels._backward, tile)):
        if integer == "constexpr":
            constants = constants | {name: 1 for name in sizes if name in kernel.arg_names}
        types = {name: "constexpr" if name in constants else integer if name in sizes else f"*{number}"
                 for name in kernel.arg_names}
        compiled = compile(ASTSource(kernel, types, constants), target=GPUTarget("cuda", 90, 32),
                           options={"num_warps": kernels.WARPS})
        assert compiled.asm["cubin"]


@runs_kernels
@pytest.mark.parametrize("size", SIZES)
def test_sizes_that_do_not_fill_blocks_and_chunks(scan, size):
    assert_agrees(scan, inputs(*size))


@runs_kernels
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_dtype(scan, dtype):
    assert_agrees(scan, inputs(1, 6, 5, 2, dtype))


@runs_kernels
def test_chunks_and_blocks_of_their_real_size(kernels):
    assert kernels.CHUNK == kernels.BLOCK == 32
    assert_agrees(kernels.selective_scan_triton, inputs(1, 33, 33, 1))


@runs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dt", [1e-6, 20, 100])
def test_extreme_dt(scan, dt, dtype):
    assert_agrees(scan, inputs(1, 9, 2, 2, dtype, dt))


@runs_kernels
@pytest.mark.parametrize("cut", [3, 4])
def test_two_halves_with_the_state_carried_are_the_whole(scan, cut):
    def halves(x, dt, A, B, C, D, h0):
        first, h = scan(x[:, :cut], dt[:, :cut], A, B[:, :cut], C[:, :cut], D, h0)
        second, h = scan(x[:, cut:], dt[:, cut:], A, B[:, cut:], C[:, cut:], D, h)
        return torch.cat((first, second), dim=1), h
    assert_agrees(halves, inputs(1, 9, 2, 2))


@runs_kernels
def test_no_initial_state_is_zeros(scan):
    tensors = on_device(inputs(2, 6, 1, 2))
    for got, want in zip(scan(*tensors[:6]), scan(*tensors[:6], torch.zeros_like(tensors[6]))):
        assert torch.equal(got, want)


@runs_kernels
def test_non_contiguous_inputs(scan):
    def strided(*tensors):
        return scan(*(s.transpose(0, -1).contiguous().transpose(0, -1) for s in tensors))
    assert_agrees(strided, inputs(2, 6, 3, 1))


@runs_kernels
def test_nothing_beside_the_inputs_is_read(scan):
    """It would be not a number, which a factor of 0 does not hide."""
    def surrounded(*tensors):
        return scan(*(F.pad(s.flatten(), (8, 8), value=torch.nan)[8:-8].view(s.shape) for s in tensors))
    assert_agrees(surrounded, inputs(1, 6, 3, 2))


@runs_kernels
def test_the_same_bits_every_time(scan):
    tensors = on_device(inputs(1, 9, 5, 2) if INTERPRETED else inputs(2, 130, 130, 16))
    weights = [torch.randn_like(tensors[0]), torch.randn_like(tensors[6])]
    first, again = (outputs_and_gradients(scan, tensors, weights) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@runs_kernels
def test_not_a_number_is_not_hidden(scan):
    tensors = on_device(inputs(1, 6, 2, 2))
    with torch.no_grad():
        tensors[1][0, 1, 0] = float("nan")
    y, h = scan(*tensors)
    assert y[0, 1:, 0].isnan().all() and not y[0, 0].isnan().any() and not y[0, :, 1].isnan().any()
    assert h[0, 0].isnan().all() and not h[0, 1].isnan().any()


@runs_kernels
def test_backward_keeps_one_state_a_chunk(scan, kernels):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda s: kept.append(tuple(s.shape)), lambda _: None):
        scan(*on_device(inputs(1, 2 * kernels.CHUNK, 3, 16)))
    assert [shape for shape in kept if len(shape) == 4] == [(1, 2, 3, 16)]


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("carried", [False, True])
def test_selective_scan_on_a_gpu(carried):
    """By whichever kernel it chooses."""
    tensors = inputs(2, 130, 130, 16)[:6 + carried]
    weight = torch.randn(2, 130, 130, dtype=torch.float64)

    def gradients(scan, tensors: list[Tensor]) -> list[Tensor]:
        y, _ = scan(*tensors)
        return [y, *torch.autograd.grad(y, tensors, weight.to(y))]
    exact = gradients(selective_scan_reference, [s.detach().double().requires_grad_() for s in tensors])
    for got, want in zip(gradients(selective_scan, on_device(tensors)), exact):
        assert_close(got.cpu(), want, TOLERANCE[torch.float32])


@pytest.mark.parametrize("present, dtype, carried, chosen", [
    ({"mamba_ssm", "triton"}, torch.float32, False, "mamba_ssm"),
    ({"mamba_ssm", "triton"}, torch.float32, True, "triton"),
    ({"mamba_ssm", "triton"}, torch.float64, False, "triton"),
    ({"mamba_ssm"}, torch.float32, True, "reference"),
    ({"triton"}, torch.float32, False, "triton"),
    ({"triton"}, torch.bfloat16, True, "triton"),
    (set(), torch.float32, False, "reference")])
def test_other_devices_get_the_fastest_scan_that_fits(monkeypatch, present, dtype, carried, chosen):
    """On the meta device, which is not a CPU, with stand-ins for what imports."""
    called = []

    def mamba_ssm(u, delta, A, B, C, D, return_last_state):
        assert return_last_state and u.shape == delta.shape == (2, 4, 3) and B.shape == C.shape == (2, 5, 3)
        called.append("mamba_ssm")
        return u, u.new_empty(2, 4, 5)

    def triton(x, dt, A, B, C, D, h0):
        assert (h0 is not None) == carried
        called.append("triton")
        return x, x.new_empty(2, 4, 5)

    def reference(*tensors):
        called.append("reference")
        return selective_scan_reference(*tensors)

    monkeypatch.setattr(dispatch, "_mamba_ssm", lambda: mamba_ssm if "mamba_ssm" in present else None)
    monkeypatch.setattr(dispatch, "_triton", lambda: triton if "triton" in present else None)
    monkeypatch.setattr(dispatch, "selective_scan_reference", reference)
    tensors = [s.detach().to("meta") for s in inputs(2, 3, 4, 5, dtype)]
    y, h = selective_scan(*tensors[:6 + carried])
    assert called == [chosen] and y.shape == (2, 3, 4) and h.shape == (2, 4, 5)


@pytest.mark.parametrize("compiler", ["CC", "gcc", "clang", None])
def test_triton_is_taken_with_a_c_compiler(kernels, monkeypatch, compiler):
    monkeypatch.delenv("CC", raising=False)
    if compiler == "CC":
        monkeypatch.setenv("CC", "/opt/cc")
    monkeypatch.setattr(dispatch, "which", lambda name: f"/usr/bin/{name}" if name == compiler else None)
    assert dispatch._triton.__wrapped__() is (compiler and kernels.selective_scan_triton)


def test_without_triton_there_is_no_triton_scan(monkeypatch):
    monkeypatch.delitem(sys.modules, "lib.models.scan_triton", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert dispatch._triton.__wrapped__() is None
