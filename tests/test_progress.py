"""Bars where nobody watches: few lines in a log, and what runs in other processes told to whoever runs them."""
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tqdm import tqdm
from tqdm.utils import disp_len

from lib import progress
from lib.progress import Watch, describe, progress_bar, seconds_left, told

NOW = 1e9


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands at NOW."""
    monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: NOW, monotonic=time.monotonic))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where bars tell."""
    (tmp_path / "told").mkdir()
    monkeypatch.setenv(progress.TOLD, str(tmp_path / "told"))
    return tmp_path / "told"


def state(**fields: object) -> dict:
    return {"pid": os.getpid(), "begun": 1.0, "told": NOW, "n": 30, "total": 100, "initial": 0, "elapsed": 15.0,
            "rate": 2.0, "prefix": "mamba", "unit": "step", "postfix": None} | fields


def test_a_long_bar_is_a_few_whole_lines_in_a_log(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    bar = progress_bar(1000, "mamba", done=100)
    bar.mininterval = 0
    for _ in range(900):
        bar.set_postfix(loss="2.913", refresh=False)
        bar.update()
    bar.close()
    bar.close()
    printed = capsys.readouterr().err
    lines = printed.splitlines()
    assert 15 <= len(lines) <= progress.LINES and printed.endswith("\n") and "\r" not in printed
    assert re.fullmatch(r"mamba: step 150/1000(, \d\d:\d\d left)?, loss=2.913", lines[0])
    assert len(set(lines)) == len(lines) and re.fullmatch(r"mamba: step 1000/1000 in 00:\d\d, loss=2.913", lines[-1])


def test_a_short_bar_is_one_line_in_a_log(capsys):
    bar = progress_bar(40, "codec", unit="clip")
    for _ in range(40):
        bar.update()
    assert capsys.readouterr().err == ""
    bar.close()
    assert re.fullmatch(r"codec: clip 40/40 in 00:\d\d\n", capsys.readouterr().err)


def test_at_a_terminal_a_bar_is_a_bar(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bar(3, "live") as bar:
        assert isinstance(bar, tqdm) and not isinstance(bar, progress.Told)
    monkeypatch.setenv("TTS_BATCH", "1")
    assert isinstance(progress_bar(3, "batch"), progress.Told)


def test_bars_are_told_from_the_outermost_to_the_newest_and_gone_when_closed(folder, capsys):
    bars = [progress_bar(n, f"bar {n}", unit="run") for n in (5, 6, 7)]
    bars[0].mininterval = 0
    bars[0].set_postfix(loss="0.5", refresh=False)
    bars[0].update(2)
    assert [(b["prefix"], b["n"], b["total"], b["unit"], b["postfix"]) for b in told(folder)] == [
        ("bar 5", 2, 5, "run", "loss=0.5"), ("bar 6", 0, 6, "run", None), ("bar 7", 0, 7, "run", None)]
    bars[1].close()
    bars.pop()                                          # nobody holds it any more: what it did has failed
    assert [b["prefix"] for b in told(folder)] == ["bar 5"]
    assert capsys.readouterr().err.count("\n") == 1     # of the one that was closed


def test_a_bar_outlives_its_reader(folder, capsys):
    bar = progress_bar(2, "alone")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    bar.mininterval = 0
    bar.update(2)
    bar.close()
    assert "alone: step 2/2 in 00:" in capsys.readouterr().err and told(folder) == []


def test_the_bar_of_a_killed_process_is_not_told(folder):
    script = ("import time; from lib.progress import progress_bar; bar = progress_bar(9, 'killed')\n"
              "print(1, flush=True); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert [(b["pid"], b["prefix"]) for b in told(folder)] == [(process.pid, "killed")]
    process.kill()
    process.communicate()
    assert list(folder.glob("*.json")) and told(folder) == []


def test_a_failure_is_what_a_process_says_last(folder):
    script = "from lib.progress import progress_bar\nbar = progress_bar(9, '')\nbar.update()\nraise ValueError('no core')"
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True)
    assert done.stderr.splitlines()[-1] == "ValueError: no core" and list(folder.iterdir()) == []


@pytest.mark.parametrize("fields, seconds", [
    ({}, 35.0),                                                         # 70 steps of 0.5 s
    ({"told": NOW - 5}, 30.0), ({"told": NOW - 90}, 0.0),
    ({"rate": None}, 35.0), ({"rate": None, "initial": 24}, 175.0),     # 30 steps in 15 s; 6 of them
    ({"n": 0}, None), ({"n": 24, "initial": 24, "rate": None}, None), ({"n": 100}, 0.0)])
def test_time_left(fields, seconds, still):
    assert seconds_left(state(**fields)) == seconds


def test_a_bar_fits_its_width(still):
    for width in (20, 59, 90, 200):
        for label in ("mamba", "słowo 言葉言葉", "x" * 300):
            assert disp_len(describe(state(prefix=label, postfix="loss=2.9"), width)) <= width
    assert describe(state(postfix="loss=2.9")) == "mamba: step 30/100, 00:35 left, loss=2.9"
    assert describe(state(prefix="x" * 99), 70) == "x" * 35 + ": step 30/100, 00:35 left"
    bar = describe(state(), 70)
    assert re.fullmatch(r"mamba:  30%\|.+ +\| step 30/100, 00:35 left", bar) and len(bar) == 70


def test_a_label_cannot_move_the_cursor(still):
    assert describe(state(prefix="a\x1b[2J\nb\udcff")) == "a?[2J?b?: step 30/100, 00:35 left"


def tell(folder: Path, **fields: object) -> None:
    (folder / f"{fields['prefix']}.json").write_text(json.dumps(state(**fields)))


def test_what_is_shown_is_the_outermost_bar_and_the_newest(folder, still):
    for i in range(6):
        tell(folder, prefix=f"bar {i}", begun=float(i))
    (folder / "half.json").write_text('{"pid": ')
    watch = Watch("03_train (3 of 7)", folder)
    watch.part = "Training"
    head, part, *bars = watch.lines(61, 79)
    assert (head, part) == ("03_train (3 of 7)  01:01", "  Training")
    assert [bar.split(":")[0].strip() for bar in bars] == ["bar 0", "bar 3", "bar 4", "bar 5"]
    assert all(disp_len(line) <= 79 for line in bars) and "|" in bars[0]


@pytest.mark.parametrize("elapsed, bar, expected", [
    (40, None, "01:50"), (40, {"n": 0}, "01:50"), (40, {}, "01:50"),    # 60 s of this, 50 of the rest
    (40, {"rate": 0.5}, "03:10"), (140, {"rate": 0.5}, "03:10"),        # the bar says 140 s more
    (140, None, None), (140, {"n": 0}, None)])
def test_time_left_of_the_whole_is_said_where_it_can_be(folder, still, elapsed, bar, expected):
    if bar is not None:
        tell(folder, prefix="bar", **bar)
    said = [f"{expected} left going by last time"] if expected else []
    assert Watch("05_profile", folder, (100.0, 50.0)).lines(elapsed)[0].split(", ")[1:] == said
    assert "last time" not in Watch("05_profile", folder).lines(elapsed)[0]


def test_a_log_has_a_line_now_and_then(folder, monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST", 0.05)
    monkeypatch.setattr(progress, "EVERY", 0.2)
    tell(folder, prefix="mamba seed 0", n=0)
    with Watch("03_train (3 of 7)", folder):
        time.sleep(0.6)
    lines = capsys.readouterr().out.splitlines()
    assert 2 <= len(lines) <= 4 and set(lines) == {"03_train (3 of 7)  00:00; mamba seed 0: step 0/100"}
    with Watch("04_train (4 of 7)", folder):
        pass
    assert capsys.readouterr().out == ""
