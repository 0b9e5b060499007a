"""Latency: what a stream's times say of it, and a whole measurement at a tiny setting."""
import time
from types import SimpleNamespace

import numpy as np
import pytest

from lib.measuring import latency as module
from lib.measuring.latency import latency, summary, task_long, timed
from lib.report import tables
from lib.speaking.speaker import REFERENCE


def test_gaps_are_where_a_player_has_nothing_left(monkeypatch):
    now = iter([1.0, 1.5, 1.75, 2.5, 2.6])      # a quarter of a second each: played from 1.0 to 1.25, 1.5 to 2.0, 2.5 to 3.0
    monkeypatch.setattr(time, "perf_counter", lambda: 10 + next(now))
    row = timed([np.zeros(6000, np.float32)] * 5, 10.0)
    assert row == {"first": 1.0, "last": pytest.approx(2.6), "sound": 1.25, "gaps": [0.25, 0.5]}


def test_the_summary_is_of_all_texts():
    rows = [{"first": (i + 1) / 100, "last": 2.0, "sound": 4.0 + (i == 0), "gaps": [0.02] * (i == 3)} for i in range(21)]
    assert summary(rows) == {"texts": 21, "p50_ms": pytest.approx(110), "p95_ms": pytest.approx(200), "gaps": 1,
                             "longest_gap_ms": 20.0, "real_time_factor": 0.5}


def test_a_measurement_is_a_record_and_a_table(monkeypatch):
    paths = {"mamba": REFERENCE / "mamba.safetensors"}
    record = latency(paths, ["Tak, jutro."], (1, 2), minutes=0)
    assert [(row["core"], row["streams"], row["texts"]) for row in record.result["warm"]] == [("mamba", 1, 1), ("mamba", 2, 2)]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] and row["real_time_factor"] > 0 for row in record.result["warm"])
    assert record.result["command"][0]["p50_ms"] > record.result["warm"][0]["p50_ms"]
    assert latency(paths, ["Tak, jutro."], (1, 2), minutes=0) == record
    shown = tables.latency(record)
    assert list(shown["streams at once"]) == ["1", "2"] and list(map(bool, shown["from the command, ms"])) == [True, False]


def test_the_state_of_attention_grows_by_its_cache_and_through_a_window_not(monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 30)
    monkeypatch.setattr("lib.speaking.speaker.LONGEST", 30)
    monkeypatch.setattr(module, "keep_freed_memory", lambda keep: None)         # of this process
    rows = [{"core": "transformer", "state": state, **task_long(str(REFERENCE / "transformer.safetensors"), ["Tak."], state, 1.5, 2)}
            for state in ("carried", "window")]
    for row in rows:
        first, last = row["rows"]
        assert (last["state"] > first["state"]) == (row["state"] == "carried") and row["peak"] > 0
        assert 0.75 <= first["seconds"] < last["seconds"] < 1.8
    shown = tables.long_text(SimpleNamespace(result={"long": rows}))
    assert list(shown["state"]) == ["carried", "window"] and list(shown["after, s"]) == ["1 to 2"] * 2
