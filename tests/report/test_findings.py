"""The findings: who is called best, what is left out and said so, and what stands first on the page."""
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot as plt

from lib.report import findings, speech
from lib.report.claims import Comparison
from lib.report.results import Report


def compared(a: str, b: str, outcome: str, winner: str | None = None) -> Comparison:
    return Comparison("phoneme_error_predicted", a, b, None, outcome, winner, outcome, "", (), "")


@pytest.mark.parametrize("family, words", [
    ([("mamba", "transformer", "better", "mamba"), ("mamba_conv", "transformer", "undecided", None),
      ("mamba", "mamba_conv", "better", "mamba")], "Mamba says new sentences best, and the convolution beside Mamba harms."),
    ([("mamba", "transformer", "better", "mamba"), ("mamba_conv", "transformer", "undecided", None),
      ("mamba", "mamba_conv", "undecided", None)], "No winner on short sentences (Mamba is better than Transformer), and the "
                                                   "convolution beside Mamba is not shown to help."),
    ([("mamba_conv", "mamba", "equal", None)], "No winner on short sentences, and the convolution beside Mamba makes no difference."),
    ([("mamba_conv", "mamba", "no verdict", None)], "No verdict on speech: it takes several seeds of each core."),
])
def test_best_is_what_is_better_than_every_other(family, words, monkeypatch):
    monkeypatch.setattr(speech, "comparisons", lambda _: [compared(*one) for one in family])
    monkeypatch.setattr(speech, "gate", lambda _: [])
    report = Report(SimpleNamespace(trial=False))
    report.said["headline"] = []
    assert findings.headline(report).startswith(words)


def test_why_there_is_no_verdict_is_said(monkeypatch):
    monkeypatch.setattr(speech, "comparisons", lambda _: [])
    monkeypatch.setattr(speech, "gate", lambda _: [compared("mamba", "pointwise", "undecided")])
    report = Report(SimpleNamespace(trial=False), obstacle=SimpleNamespace(result={"why": "there are 24 clips."}))
    assert findings.headline(report) == "No verdict on speech: there are 24 clips."
    report.speech["headline"] = report.said["headline"] = [SimpleNamespace()]
    assert findings.headline(report) == ("No verdict on speech: not shown to be better than the control, which mixes no frames, "
                                         "cores were not compared.")


def run(core: str, losses: list[float], seconds: float) -> SimpleNamespace:
    """A training run of 10 steps, validated after each second one."""
    return SimpleNamespace(
        name=core, identity={"config": {"model": {"core": core}, "steps": 10}},
        result={"cpu_seconds": [60 * seconds] * 10, "validation": [{"step": 2 * i + 2, "loss": loss} for i, loss in enumerate(losses)]})


def test_cores_are_compared_at_equal_steps_and_at_equal_time(monkeypatch):
    report = Report(None)
    report.speech["headline"] = [run("transformer", [5, 4, 3.0, 2, 1], 1), run("mamba", [4, 3, 2.5, 2, 1], 2),
                                 run("mamba_conv", [4, np.nan, 2, 1, 1], 1), run("pointwise", [9, 9, 9, 9, 9], 1)]
    found = findings.learning(report)
    # at step 6, before any cools down: 3.0 and 2.5; after the transformer's 6 minutes, 3 of the steps of Mamba: 3.5
    assert "validation loss Transformer 3.00, Mamba 2.50 at equal steps, Transformer 3.00, Mamba 3.50 after equal time" in found.said
    assert found.line.startswith("Mamba learns most per step, Transformer most per processor minute; cores are 0.50 apart")
    assert found.why.endswith("Left out, since a run of it diverged: Mamba + convolution.")


def streamed(core: str, streams: int, p50: float, p95: float, gaps: int = 0) -> dict:
    return {"core": core, "streams": streams, "texts": 30, "p50_ms": p50, "p95_ms": p95, "gaps": gaps, "longest_gap_ms": 9.0 * gaps,
            "real_time_factor": 0.2}


@pytest.mark.parametrize("gaps,words", [((0, 0, 3), "2 at once play without a gap"), ((0, 1, 0), "one plays without a gap"),
                                        ((1, 0, 0), "it plays with gaps")])
def test_how_soon_each_core_speaks_is_said(gaps, words):
    rows = [streamed("mamba", n, 20.4 * n, 44.4 * n, g) for n, g in zip((1, 2, 4), gaps)] + [streamed("transformer", 1, 30, 50.6)]
    run = SimpleNamespace(name="latency/a", environment={"device": "cpu", "cores": 2}, result={
        "warm": rows, "command": [{"core": core, "p50_ms": 2000, "p95_ms": 2100} for core in ("mamba", "transformer")],
        "long": [{"core": "mamba", "state": "carried", "peak": 9e6, "rows": [
            {"seconds": 60.0 * i, "state": 1e5, "resident": 5e6} for i in (1, 10)]}]})
    found = findings.speaking(Report(SimpleNamespace(trial=False), latency=run))
    assert found.said == ("From a text in hand to the first sound half of the texts take at most Mamba 20 ms, Transformer 30 ms, 95 % "
                          f"of them 51 ms with any core; {words}.")
    assert found.runs == ("latency/a",) and "2 CPU cores, 30 texts" in found.why
    lines = found.draw().axes[0].lines
    assert [list(line.get_ydata()) for line in lines[:2]] == [[20.4, 40.8, 81.6], [44.4, 88.8, 177.6]]
    plt.close("all")
    assert [len(make()) for _, make in found.numbers] == [4, 1]
    assert findings.speaking(Report(SimpleNamespace(trial=True), latency=run)) is None


def test_words_are_joined():
    assert findings.joined(["a"]) == "a" and findings.joined(["a", "b", "c"]) == "a, b and c"
