"""What is counted of speech in the report: each column from rows whose answer is known, and from records that lack them."""
import numpy as np
import pandas as pd
import pytest

from lib import records
from lib.config import study
from lib.report import counted
from lib.report.results import Report


def row(**fields) -> dict:
    return {"id": "t", "split": "test", "durations": "predicted", "category": "", "phonemes": 10, "errors": 0, "deletions": 0,
            "insertions": 0, "substitutions": 0, "loop": 0, "heard": "a " * 10, "frames": 100, "expected": 100,
            "reference_frames": 100, "ended": True, "mos": None} | fields


def counts(*rows: dict) -> dict[str, float]:
    return counted.counted(counted._rows(rows))


def test_errors_are_counted_by_kind_and_the_worst_twentieth_by_sentence():
    found = counts(*[row()] * 18, row(errors=6, deletions=3, insertions=2, substitutions=1), row(errors=4, phonemes=30, deletions=4))
    assert found["error"] == pytest.approx(10 / 220) and found["deletions"] == pytest.approx(7 / 220)
    assert found["insertions"] == pytest.approx(2 / 220) and found["substitutions"] == pytest.approx(1 / 220)
    assert found["worst"] == pytest.approx(0.6)                         # one of 20
    assert counts(row(errors=6), row())["worst"] == pytest.approx(0.6)


def test_stops_are_too_early_or_late_by_more_than_a_fifth_or_at_the_limit():
    found = counts(row(frames=79), row(frames=80), row(frames=120), row(frames=121), row(frames=110, ended=False))
    assert found["early"] == pytest.approx(1 / 5) and found["late"] == pytest.approx(2 / 5)


def test_loops_rate_and_quality():
    found = counts(row(loop=3), row(loop=4, heard="a " * 5, frames=50), row(mos=3.0, frames=150, heard="a " * 15), row(mos=4.0))
    assert found["loops"] == 0.25 and found["mos"] == 3.5
    assert found["rate"] == pytest.approx((40 / 400) / (40 / 400))
    assert counts(row(heard="a " * 20, frames=100))["rate"] == pytest.approx(2)


def said(rows: list[dict], core: str = "mamba", **more) -> records.Record:
    return records.save("said", {}, {"train": f"speech/{core}", "config": {"model": {"core": core}}, "rows": rows, **more})


@pytest.fixture
def report() -> Report:
    return Report(study("standard"))


def test_a_line_a_core_is_the_mean_over_its_seeds_at_predicted_durations(report):
    distances = {"split": "test", "durations": "predicted", "duration_distance_ms": 2.0}
    report.said["headline"] = [
        said([row(errors=1, deletions=1), row(durations="given", errors=9), row(split="hard", errors=9)],
             passes=[distances | {"f0_distance_cents": 30.0, "durations": "given"}, distances | {"f0_distance_cents": 10.0}]),
        said([row(errors=3, deletions=3)], passes=[distances | {"f0_distance_cents": None}])]
    report.bounds = records.save("bounds", {}, {"rows": [{"id": "t", "what": "codec", "phonemes": 10, "errors": 0, "heard": "a"}]})
    mamba, codec = counted.counted_table(report).to_dict("records")
    assert mamba["phoneme error"] == mamba["deleted"] == "20.0 %" and mamba["F0 distribution, cents off"] == "10"
    assert mamba["phoneme durations, ms off"] == "2.0" and mamba["DistillMOS"] == "not measured"
    assert codec["core"] == "after the codec" and codec["phoneme error"] == "0.0 %" and codec["stops too late"] == "not measured"


def test_an_old_record_says_what_it_holds(report):
    old = {"id": "t", "split": "test", "durations": "predicted", "text": "kot", "phonemes": 10, "errors": 2, "heard": "k ɔ",
           "frames": 100, "ended": True}
    report.said["headline"] = [said([old, old | {"durations": "given"}])]
    line, = counted.counted_table(report).to_dict("records")
    assert line.pop("core") == "mamba" and line.pop("phoneme error") == line.pop("worst twentieth") == "20.0 %"
    assert set(line.values()) == {"not measured"}
    assert len(counted.hard_table(report)) == len(counted.ways_table(report.drawn, [])) == 0


def test_the_hard_list_is_told_apart_by_what_makes_it_hard(report):
    hard = [row(split="hard", category=category, errors=wrong) for category, wrong in (("long", 2), ("numbers", 5), ("long", 4))]
    report.said["headline"] = [said([row(errors=9), *hard]), said([row(errors=9), *hard])]
    report.bounds = records.save("bounds", {}, {"rows": [], "hard": [
        {"id": "h", "category": "long", "what": what, "phonemes": 10, "errors": 1, "heard": "a"} for what in ("speech", "codec")]})
    mamba, codec = counted.hard_table(report).to_dict("records")
    assert mamba == {"core": "mamba", "sentences": 3, "phoneme error": "36.7 %", "long": "30.0 %", "numbers": "50.0 %"}
    assert codec["core"] == "after the codec" and codec["long"] == "10.0 %"


def test_drawn_tokens_are_a_line_a_way(report):
    run = records.save("speech", {}, {})
    report.speech["headline"] = [run]
    report.drawn = [records.save("drawn", {"train": train}, {"train": train, "core": "mamba", "rows": [
        row(way=way, errors=wrong) for way, wrong in (("greedy", 1), ("hot", 2), ("hot", 4))],
        "passes": [{"way": way, "f0_distance_cents": 5.0, "duration_distance_ms": np.nan} for way in ("greedy", "hot")]})
        for train in (run.name, "speech/gone")]
    table = counted.ways_table(report.drawn, report.speech["headline"])
    assert list(table.way) == ["greedy", "hot"] and list(table.sentences) == [1, 2]
    assert list(table["phoneme error"]) == ["10.0 %", "30.0 %"] and set(table["F0 distribution, cents off"]) == {"5"}
    assert isinstance(table, pd.DataFrame) and set(table["phoneme durations, ms off"]) == {"not measured"}
