"""Every test writes into a workspace of its own."""
import numpy as np
import pytest
import torch

from lib.data.tokens import Tokens


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
