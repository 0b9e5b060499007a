"""Every test writes into a workspace of its own."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:     # one of several workers, on a processor of its own
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from killing import Killed
from lib.config import REPOSITORY
from lib.data.codec import import_encodec
from lib.data.tokens import Tokens
from lib.training import loop


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


@pytest.fixture(scope="session")
def speaking(smoke, tmp_path_factory) -> Path:
    """The workspace of a smoke study that holds a small study of speech too."""
    workspace = tmp_path_factory.mktemp("speaking")
    shutil.copytree(smoke, workspace, dirs_exist_ok=True)
    done = run_smoke(workspace, "--only", "02", "04", "05", "06", "07", "-p", "phrases", "60")
    assert done.returncode == 0, done.stderr
    return workspace


@pytest.fixture(scope="session")
def official(tmp_path_factory) -> Path:
    """A codec file as Meta publishes it, with random weights."""
    torch.manual_seed(0)
    model = import_encodec().EncodecModel.encodec_model_24khz(pretrained=False)
    for name, buffer in model.named_buffers():
        if name.endswith("embed"):
            buffer.normal_()
    path = tmp_path_factory.mktemp("encodec") / "mine.th"
    torch.save(model.state_dict(), path)
    return path


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


@pytest.fixture
def killed_after(monkeypatch):
    """A function that lets the trainings from now on do so many steps, each with its checkpoint, and then die."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    real = loop.descend

    def let(steps: int | None) -> None:
        left = iter(range(10 ** 9 if steps is None else steps))

        def step(*arguments):
            if next(left, None) is None:
                raise Killed
            return real(*arguments)
        monkeypatch.setattr(loop, "descend", step)
    return let


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
