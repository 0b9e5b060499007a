"""From sentence to sentence: what is counted of each state of a speaker, held against the speech itself."""
from types import SimpleNamespace

import numpy as np

from lib.data.codec import load_codec
from lib.measuring import joins as module
from lib.measuring.joins import joins
from lib.report import tables
from lib.speaking.speaker import REFERENCE


def test_each_state_is_judged_at_the_ends_of_its_sentences(monkeypatch):
    monkeypatch.setattr(module, "SENTENCES", 2)
    monkeypatch.setattr(module, "recognise", lambda _, audio: list("tak") if len(audio) else [])
    seen = []
    monkeypatch.setattr(module, "jumps", lambda audio, ends: (seen.append((len(audio), ends)), ([1.0, -3.0], [20.0, -40.0]))[1])
    said = [SimpleNamespace(text=text, phonemes=list(phonemes)) for text, phonemes in (
        ("tak.", "tak"), ("nie.", "ńe"), ("alone at the end.", "a"))]
    tone = np.ones(2400, np.float32)
    judge = SimpleNamespace(record=SimpleNamespace(key="key"), recogniser=None, codec=load_codec("embedded"),
                            references=lambda text: [tone * (i + 1) for i, _ in enumerate(text)])
    record = joins({core: REFERENCE / f"{core}.safetensors" for core in ("transformer", "mamba")}, judge, said)
    rows = record.result["rows"]
    assert [(row["core"], row["state"]) for row in rows] == [("speech", ""), *(
        (core, state) for core in ("transformer", "mamba") for state in ("reset", "carried", "window"))]
    assert seen[1] == (4800, [2400]) and all(len(ends) == 1 and 0 < ends[0] < length for length, ends in seen)
    assert all(row["phonemes"] == 5 and row["errors"] == 2 for row in rows)
    reset, carried = (next(r for r in rows if (r["core"], r["state"]) == ("transformer", state)) for state in ("reset", "carried"))
    assert 0 < reset["state_bytes"] < carried["state_bytes"]
    assert len({row["state_bytes"] for row in rows if row["core"] == "mamba"}) == 1
    assert joins({core: REFERENCE / f"{core}.safetensors" for core in ("transformer", "mamba")}, judge, said) == record
    shown = tables.joins(record)
    assert shown.loc[0, "core"] == "the speech itself" and set(shown["phoneme error"]) == {"40.0 %"}
    assert set(shown["F0 jumps by, cents"]) == {"30"} and set(shown["on average"]) == {"-10"}
    assert set(shown["level jumps by, dB"]) == {"2.0"} and set(shown["on average, dB"]) == {"-1.0"}
