"""What a run says of sentences and of long texts, and what is counted of it: on an untrained model and an untrained ear."""
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save

from lib import records
from lib.config import ModelConfig, SpeechConfig, described, study
from lib.data.codec import load_codec
from lib.data.phrases import phrases, texts
from lib.measuring import intelligibility as module
from lib.measuring.intelligibility import Judge, bounds, draw_and_judge, heard_identity, listen_to, longer
from lib.models.codec_lm import CodecLM
from lib.models.recogniser import Recogniser
from lib.speaking.decoding import behaviour
from lib.training.speech import Data, Speech

SPEECH = Speech(40, 2, 2, "pl", "embedded", 20, 3)
COUNTS = ["deletions", "insertions", "substitutions"]


@pytest.fixture
def data(monkeypatch) -> Data:
    monkeypatch.setattr("lib.training.durations.STEPS", 2)
    monkeypatch.setattr(module, "SOUNDS", 1)
    test = phrases("test", 3, "pl", load_codec())
    return Data(test[:1], test[1:2], test[:2], "c" * 64)


@pytest.fixture
def judge() -> Judge:
    codec = load_codec()
    record = records.save("recogniser", {}, {})
    return Judge(record, Recogniser(tuple("aeiotk")).eval(), codec, phrases("hard", 2, "pl", codec), "pl")


def run_of(core: str = "transformer", **fields) -> records.Record:
    """A run that learned nothing, told of characters, which ends late if at all."""
    config = SpeechConfig(ModelConfig(core, "matched-1m", pattern="delay", codebooks=2, **{"conditioning": "word", **fields}))
    model = CodecLM(config.model)
    model.end.bias.data.fill_(-2.0)
    return records.save("speech", {"config": described(config)}, {}, {"model.safetensors": save(model.state_dict())})


def test_every_list_is_heard_and_every_row_counted(data, judge):
    run = run_of()
    said = listen_to(run, SPEECH, data, judge)
    assert listen_to(run, SPEECH, data, judge) == said
    rows = pd.DataFrame(said.result["rows"])
    passes = [("test", "given"), ("test", "predicted"), ("validation", "given"), ("hard", "predicted")]
    assert list(rows.groupby(["split", "durations"], sort=False).groups) == passes
    assert [(p["split"], p["durations"]) for p in said.result["passes"]] == passes
    assert (rows.errors == rows[COUNTS].sum(axis=1)).all()
    heard = rows.heard.str.split().str.len()
    assert (rows.phonemes - rows.deletions + rows.insertions == heard).all()
    given = rows[rows.durations == "given"]
    assert (given.expected == given.reference_frames).all() and (rows.expected > 0).all()
    assert set(rows[rows.split == "hard"].category) == {"repeated", "clauses"} and set(rows[rows.split == "test"].category) == {""}
    kept = ~rows.duplicated(["split", "durations"]) & (rows.split != "validation") & bool(find_spec("distillmos"))
    assert (rows.mos.notna() == kept).all()
    ids = [(p.id, name) for p, name in ((data.test[0], "given"), (data.test[0], "predicted"), (judge.hard[0], "predicted"))]
    assert set(said.files) == {"codes.safetensors", *(f"{id}-{name}.flac" for id, name in ids)}


def test_what_is_heard_depends_on_the_hard_list_and_training_does_not(data, judge):
    run = run_of("pointwise")
    identity = heard_identity(run, data, judge)
    assert heard_identity(run, data, replace(judge, hard=judge.hard[:1])) != identity
    assert [p.id for p in phrases("test", 2, "pl", judge.codec)] == [p.id for p in data.test]      # of more test sentences


def test_with_one_more_metric_what_was_heard_is_found(data, judge, monkeypatch):
    run = run_of("pointwise")
    said = listen_to(run, SPEECH, data, judge)
    usual = module.apart
    monkeypatch.setattr(module, "apart", lambda *sounds: {**usual(*sounds), "louder_db": 1.0})
    module.hearing.cache_clear()
    behaviour.cache_clear()
    sound = judge.sound(data.test[0].codes)
    assert judge.hear(data.test[0], data.test[0].codes, sound, sound)["louder_db"] == 1.0
    assert listen_to(run, SPEECH, data, judge) == said


def test_bounds_of_an_own_corpus_do_not_depend_on_what_else_its_study_does(data, judge):
    model = ModelConfig("pointwise", "matched-1m", conditioning="word", codebooks=2)
    first, second = (bounds(model, replace(SPEECH, own=study("smoke", strengths=more)), data, judge) for more in (["prefix"], ["prefix", "word"]))
    assert first == second


def test_a_model_is_not_asked_for_phonemes_that_it_never_saw(data, judge):
    known = sorted({name for p in (*data.train, *data.validation, *data.test, judge.hard[0]) for g in p.groups for name, _ in g.phonemes})
    unknown = replace(judge.hard[1], groups=(replace(judge.hard[1].groups[1], phonemes=(("ʘ", 9),)),))
    run = run_of("pointwise", units="phonemes", alphabet=tuple(known))
    said = listen_to(run, SPEECH, data, replace(judge, hard=[judge.hard[0], unknown]))
    assert [row["id"] for row in said.result["rows"] if row["split"] == "hard"] == [judge.hard[0].id]


def test_without_durations_every_list_is_heard_once(data, judge):
    said = listen_to(run_of("pointwise", conditioning="pooled"), SPEECH, data, judge)
    assert [(p["split"], p["durations"]) for p in said.result["passes"]] == [("test", ""), ("validation", ""), ("hard", "")]


def test_bounds_hold_the_hard_list_apart(data, judge):
    made = bounds(ModelConfig("pointwise", "matched-1m", conditioning="word", codebooks=2), SPEECH, data, judge)
    assert {row["what"] for row in made.result["rows"]} == {"speech", "codec", "untrained"}
    assert [(row["id"], row["what"]) for row in made.result["hard"]] == [(p.id, what) for p in judge.hard for what in ("speech", "codec")]


def test_tokens_are_drawn_in_every_way(data, judge):
    drawn = draw_and_judge(run_of("pointwise"), SPEECH, data, judge, 32, "headline")
    rows = pd.DataFrame(drawn.result["rows"])
    assert [(p["way"], p["split"]) for p in drawn.result["passes"]] == [
        (way, split) for way in module.WAYS["headline"] for split in ("test", "hard")]
    assert len(rows) == 4 * 7 and list(module.WAYS["headline"])[0] == "greedy"
    assert rows.groupby("way").silence_s.count().min() == 4
    ways = drawn.identity["ways"]
    assert ways["temperature 0.7, repetition-aware"] == {**ways["temperature 0.7"], "repetition_aware": True}
    assert ways["greedy, an end from 0.1"] == {**ways["greedy"], "end": 0.1}


@pytest.mark.parametrize("core, fields, ways", [
    ("transformer", {}, ["carried", "restarted", "window"]), ("transformer", {"window": 50}, ["carried", "restarted"]),
    ("transformer", {"rotary": False}, ["without positions"]), ("pointwise", {}, ["carried", "restarted"])])
def test_a_long_text_has_a_row_for_every_way_of_saying_it(core, fields, ways, data, judge, monkeypatch):
    monkeypatch.setattr(module, "LONG_TEXTS", 2)
    spoken, speak = [], module.speak
    monkeypatch.setattr(module, "speak", lambda model, said, *rest, **named: spoken.append((max(map(len, said)), named.get("window")))
                        or speak(model, said, *rest, **named))
    made = longer(run_of(core, **fields), SPEECH, judge, (2, 4))
    rows = pd.DataFrame(made.result["rows"])
    assert list(rows.way.unique()) == ["codec", *ways] and sorted(made.files) == sorted(f"longer-{way}.flac" for way in ways)
    for seconds in (2, 4):
        of = {way: mine.reset_index() for way, mine in rows[rows.seconds == seconds].groupby("way")}
        assert all(list(mine.text) == list(range(len(mine))) and (mine.phonemes == of["codec"].phonemes).all() for mine in of.values())
        assert (of["codec"].said == of["codec"].expected).all() and of[ways[0]].ended.isin([True, False]).all()
    assert (rows.errors == rows[COUNTS].sum(axis=1)).all()
    if "restarted" in ways:                                             # each sentence as it is by itself
        alone = rows[rows.way == "restarted"].groupby("seconds").said.sum()
        assert alone[2] == alone[4]
    assert spoken[0] == (1, None) and {w for _, w in spoken} == ({None, 300} if "window" in ways else {None})
    trained = {*texts("train", SPEECH.train), *texts("recogniser", SPEECH.hearing)}
    assert made.identity["phrases"] and not trained & set(made.identity["phrases"])


def test_distances_are_none_apart_of_the_same_sounds(judge):
    sounds = list(judge.references(judge.hard))
    same = judge.distances(sounds, sounds)
    assert same["f0_distance_cents"] == 0 and same["duration_distance_ms"] in (0, None)
    higher = [np.interp(np.arange(0, len(x), 1.06), np.arange(len(x)), x).astype(np.float32) for x in sounds]
    assert judge.distances(higher, sounds)["f0_distance_cents"] == pytest.approx(101, abs=30)
