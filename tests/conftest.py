"""Every test writes into a workspace of its own."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config import REPOSITORY
from lib.data.tokens import Tokens


def start_smoke(workspace: Path, *arguments: str) -> subprocess.Popen:
    """The smoke study, or some notebooks of it, in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "lib.run", "--study", "smoke", *arguments], cwd=REPOSITORY,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, "TTS_WORKSPACE": str(workspace)})


def run_smoke(workspace: Path, *arguments: str) -> subprocess.CompletedProcess:
    process = start_smoke(workspace, *arguments)
    out, error = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """The workspace of a smoke study that ran unbroken."""
    workspace = tmp_path_factory.mktemp("smoke")
    done = run_smoke(workspace)
    assert done.returncode == 0, done.stderr + done.stdout
    return workspace


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("TTS_WORKSPACE", str(tmp_path))
    return tmp_path


@pytest.fixture
def clips() -> list[Tokens]:
    """Three short made-up token clips: 4 codebooks, 9 to 13 frames."""
    random = np.random.default_rng(0)
    return [Tokens(f"t{i}", text, random.integers(0, 1024, (4, 9 + 2 * i)).astype(np.int16), "c" * 64)
            for i, text in enumerate(("ala ma kota", "kto to?", "nie wiem."))]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
