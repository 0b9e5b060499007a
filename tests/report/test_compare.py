"""Studies side by side: their differences and their numbers, the published one among them."""
import json
from pathlib import Path

import pytest

from lib.config import REPOSITORY, study
from lib.records import figures_root, note, save
from lib.report import compare
from lib.report.results import read


def trained(core: str, steps: int, learning_rate: float) -> None:
    runs = [save("train", {"config": {"model": {"core": core, "regime": "causal", "alphabet": "a"}, "seed": seed, "steps": steps,
                                      "learning_rate": learning_rate, "clips": 1}},
                 {"memorised": {"loss": 0.1, "accuracy": 1.0}, "unseen": None, "training_s": 60.0, "steps": steps,
                  "steps_to": {"0.5": None, "0.9": None, "0.95": steps // 2 + seed, "0.999": None}}) for seed in (0, 1)]
    note("mine", f"train/{core}", runs)


def test_what_differs_is_shown_and_nothing_else():
    trained("mamba", 40, 0.5)
    both = compare.reports(study("quick"), "mine,reference")
    shown = compare.differences(both).set_index(["of", "what"])
    assert shown.loc[("memorising", "learning_rate"), "mine"] == "0.5" and "clips" not in shown.loc["speech"].index
    assert shown.loc[("memorising", "steps"), "mine"] == "40" and ("memorising", "alphabet") not in shown.index
    assert set(shown.loc["speech"]["mine"]) == {"not there"}


def test_the_published_study_is_read_with_its_own_numbers():
    trained("mamba", 40, 0.5)
    rows = compare.measured(compare.reports(study("quick"), ["mine", "reference"])).set_index(["what", "core"])
    wrong = rows.loc[("phoneme errors on unseen sentences with predicted durations", "Mamba")]
    assert wrong["mine"] == "not measured" and wrong["reference"].startswith("7.1 % (")
    assert rows.loc[("steps to 95 % accuracy", "Mamba"), "mine"].startswith("20.50")


def test_a_study_without_runs_is_refused_by_name():
    with pytest.raises(ValueError, match="study smoke has no runs here: run it first"):
        compare.reports(study("quick"), ["smoke"])


def test_the_reference_is_read_where_the_workspace_has_none(workspace: Path):
    assert not (figures_root("reference") / "manifest.json").exists()
    published = json.loads((REPOSITORY / "figures" / "reference" / "manifest.json").read_text())
    assert len(read(study("quick"), name="reference").speech["headline"]) == sum(
        len(runs) for role, runs in published.items() if role.startswith("speech/headline/"))
