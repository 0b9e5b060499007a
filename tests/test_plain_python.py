"""The kernels as plain Python, which is what numba makes of them with NUMBA_DISABLE_JIT=1, as when one steps through them.

It reads that when it is imported: in a process of its own this module's tests run once more.
"""
import os
import subprocess
import sys
from copy import deepcopy

import pytest
import test_scan
import torch

from lib.models.attention import TransformerLayer
from lib.models.cores import Core
from lib.models.mamba_conv import MambaConvBlock
from lib.models.scan import selective_scan

PLAIN = os.environ.get("NUMBA_DISABLE_JIT") == "1"
CORES = {"transformer": lambda: Core([TransformerLayer(12, 3, 7, True, True, True)], 12, True, True),
         "mamba": lambda: Core([MambaConvBlock(12, (), False, True, 7)], 12, True, True)}


def in_plain_python(test):
    return test if PLAIN else None


@pytest.mark.skipif(PLAIN, reason="this is that process")
def test_kernels_in_plain_python():
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__],
                          env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@in_plain_python
@pytest.mark.parametrize("dtype", test_scan.TOLERANCE)
def test_scan_and_its_gradients(dtype):
    for size in ((1, 1, 1, 1), (2, 67, 5, 3)):
        test_scan.assert_agrees(selective_scan, test_scan.inputs(*size, dtype))


@in_plain_python
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("build", CORES.values(), ids=CORES)
def test_one_step(build, dtype, tolerance):
    """By the kernels, which are for what needs no gradient, against float64 in torch."""
    core = build().to(dtype)
    exact = deepcopy(core).double()
    states = [one.initial_state(3, 2) for one in (core, exact)]
    for frame in torch.randn(2, 3, 12):
        with torch.no_grad():
            got = core.step(frame.to(dtype), states[0])
        want = exact.step(frame.double(), states[1])
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), want, atol=tolerance, rtol=tolerance)
