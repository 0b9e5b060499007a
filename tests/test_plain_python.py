"""The kernels as plain Python, which is what numba makes of them with NUMBA_DISABLE_JIT=1, as when one steps through them.

It reads that when it is imported: in a process of its own this module's tests run once more.
"""
import os
import subprocess
import sys
from copy import deepcopy

import pytest
import test_scan
import test_short_conv
import test_ssd
import torch

from lib.models.attention import TransformerLayer
from lib.models.mamba2 import Mamba2Block
from lib.models.mamba_conv import MambaConvBlock
from lib.models.scan import selective_scan
from lib.models.ssd import ssd

PLAIN = os.environ.get("NUMBA_DISABLE_JIT") == "1"
LAYERS = {
    "transformer": lambda: TransformerLayer(12, 3, 7, causal=True, pre_norm=True, rotary=True, recipe=("rmsnorm",)),
    "mamba": lambda: MambaConvBlock(12, (), pre_norm=True, d_inner=7, recipe=("rmsnorm",)),
    "mamba2": lambda: Mamba2Block(12, d_inner=15, d_state=4, headdim=5, recipe=("rmsnorm",)),
}


def in_plain_python(test):
    return test if PLAIN else None


@pytest.mark.skipif(PLAIN, reason="this is that process")
def test_kernels_in_plain_python():
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__],
                          env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@in_plain_python
@pytest.mark.parametrize("dtype", test_scan.TOLERANCE)
def test_scans_and_their_gradients(dtype):
    for size in ((1, 1, 1, 1), (2, 67, 5, 3)):
        test_scan.assert_agrees(selective_scan, test_scan.inputs(*size, dtype))
        test_scan.assert_gated_agrees(test_scan.gated_inputs(*size, dtype))
    for size in ((1, 1, 1, 1, 1), (2, 67, 1, 3, 5)):
        test_ssd.assert_agrees(ssd, test_ssd.inputs(*size, dtype))


@in_plain_python
@pytest.mark.parametrize("dtype", test_short_conv.TOLERANCE)
def test_the_short_convolution_and_its_gradients(dtype):
    test_short_conv.assert_agrees(test_short_conv.inputs(2, 6, 5, 4, dtype))


@in_plain_python
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_one_step(build, dtype, tolerance):
    """By the kernels, which are for what needs no gradient, against float64 in torch, which makes one."""
    layer = build().to(dtype)
    exact = deepcopy(layer).double()
    states = [one.initial_state(3, 2) for one in (layer, exact)]
    for frame in torch.randn(2, 3, 12):
        with torch.no_grad():
            got = layer.step(frame.to(dtype), states[0])
        want = exact.step(frame.double(), states[1])
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), want, atol=tolerance, rtol=tolerance)
