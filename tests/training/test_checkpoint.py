"""Checkpoints: what was written comes back, and whatever happens to the file is noticed."""
import random
from pathlib import Path

import pytest
import torch
from torch import nn

from lib import files
from lib.training import checkpoint


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small model and its optimiser, after so many steps."""
    model = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        model(torch.randn(4, 3)).sum().backward()
        optimiser.step()
    return model, optimiser


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    checkpoint.write(tmp_path / "checkpoint.safetensors", *trained(3), {"loss": [0.5, 0.25, 0.125], "resumed": 1})
    return tmp_path / "checkpoint.safetensors"


def test_what_was_written_comes_back(path):
    torch.manual_seed(1)
    model, optimiser = trained(3)
    drawn = torch.randn(5)
    other, other_optimiser = trained(1)
    assert checkpoint.read(path, other, other_optimiser) == {"loss": [0.5, 0.25, 0.125], "resumed": 1}
    assert torch.equal(torch.randn(5), drawn)
    for one, _ in ((model, optimiser), (other, other_optimiser)):
        torch.manual_seed(2)
        one(torch.randn(4, 3)).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    before, after = (o.state_dict()["state"] for o in (optimiser, other_optimiser))
    assert all(torch.equal(before[i][k], after[i][k]) for i in before for k in before[i]) and len(before) == 2


def noticed(path: Path) -> None:
    model, optimiser = trained(0)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(files.Damaged, match="delete it and the run starts afresh") as error:
        checkpoint.read(path, model, optimiser)
    assert f"checkpoint {path} is damaged" in str(error.value) and "\n" not in str(error.value)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_a_hundred_flipped_bits_are_a_hundred_noticed(path):
    whole = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 100):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        noticed(path)


def test_a_checkpoint_cut_short_is_noticed(path):
    whole = path.read_bytes()
    for length in (0, 1, 31, 32, 33, len(whole) - 1, *random.Random(0).sample(range(len(whole)), 40)):
        path.write_bytes(whole[:length])
        noticed(path)
    path.write_bytes(whole + b"\0")
    noticed(path)


def test_a_checkpoint_of_another_model_is_one_line(path):
    model = nn.Linear(3, 7)
    with pytest.raises(files.Damaged, match="does not fit .*: delete it and the run starts afresh") as error:
        checkpoint.read(path, model, torch.optim.AdamW(model.parameters()))
    assert "\n" not in str(error.value)
