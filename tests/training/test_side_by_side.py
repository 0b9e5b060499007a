"""Independent runs share the processors: as many at once as there are threads, or all where some threads would wait."""
import os
import time
from pathlib import Path

import pytest
import torch

from lib.training.side_by_side import side_by_side


def meet(folder: Path, name: int, others: int) -> None:
    """Begin, and go on only when so many have begun, each in a process of its own."""
    (folder / f"{os.getpid()}").touch()
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < others:
        if time.monotonic() > until:
            raise TimeoutError(f"run {name} waited for {others} at once")
        time.sleep(0.01)


def fail() -> None:
    raise ValueError("this run cannot be")


@pytest.mark.parametrize("tasks, most", [(1, 1), (2, 2), (3, 3), (5, 2)])
def test_as_many_at_once_as_keep_all_threads_busy(tasks, most, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    side_by_side([(meet, tmp_path, i, most) for i in range(tasks)], "waiting")
    assert len(list(tmp_path.iterdir())) == most


def test_what_a_run_raises_is_raised_here():
    with pytest.raises(ValueError, match="this run cannot be"):
        side_by_side([(fail,)], "failing")
