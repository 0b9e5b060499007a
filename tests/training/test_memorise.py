"""Training: resumes bit for bit, is found again, counts what it says, and damage is named."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load

from killing import Killed
from lib import files, records
from lib.config import STUDIES, ModelConfig, TrainConfig, study
from lib.metrics.learning import passes, steps_to
from lib.models.build import build
from lib.models.codec_lm import CodecLM
from lib.training.memorise import load_model, model_of, order, runs_of, train, train_all
from lib.training.optimiser import make_optimiser

CONFIG = TrainConfig(ModelConfig("mamba_conv"), clips=3, steps=8)


@pytest.mark.parametrize("core", ["transformer", "mamba_conv"])
def test_a_killed_run_resumes_and_ends_bit_identical(core, clips, workspace, monkeypatch, killed_after):
    config = replace(CONFIG, model=ModelConfig(core))
    whole = train(config, clips, clips[:1])
    weights, history = load(whole.file("model.safetensors").read_bytes()), whole.result["history"]
    monkeypatch.setenv("TTS_WORKSPACE", str(workspace / "other"))
    for steps in (3, 2):                                        # killed twice: after 3 steps, and 2 steps later
        killed_after(steps)
        with pytest.raises(Killed):
            train(config, clips, clips[:1])
    killed_after(None)
    torch.manual_seed(99)                                       # the resumed run must not lean on this
    resumed = train(config, clips, clips[:1])
    assert resumed.result["resumed"] == 2 and resumed.key == whole.key
    assert resumed.result["history"]["loss"] == history["loss"]
    assert resumed.result["history"]["accuracy"] == history["accuracy"]
    again = load(resumed.file("model.safetensors").read_bytes())
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not (resumed.folder / "checkpoint.safetensors").exists()


def test_a_finished_run_is_found_and_another_configuration_is_not_it(clips, killed_after):
    first = train(CONFIG, clips, [])
    killed_after(0)
    assert train(CONFIG, clips, []).created == first.created
    for other in (replace(CONFIG, seed=1), replace(CONFIG, learning_rate=1e-3)):
        with pytest.raises(Killed):
            train(other, clips, [])
    with pytest.raises(Killed):
        train(CONFIG, clips[:2] + [replace(clips[2], codes=clips[2].codes[::-1].copy())], [])


def test_of_fewer_clips_than_asked_for_all_are_learned(clips):
    record, = train_all([CONFIG], clips[:2], [])
    assert record.identity["config"]["clips"] == 2 == len(record.identity["data"]) and record.result["unseen"] is None
    assert record.key == train(replace(CONFIG, clips=2), clips[:2], []).key


def test_training_stops_when_a_whole_pass_is_right(clips):
    record = train(replace(CONFIG, learning_rate=1e-3, steps=200), clips, [])
    accuracy = [np.mean(a) for a in record.result["history"]["accuracy"]]
    assert record.result["steps"] < 200 and np.mean(accuracy[-3:]) >= 0.999
    assert record.result["steps"] - 3 < record.result["steps_to"]["0.999"] <= record.result["steps"]
    assert record.result["memorised"]["accuracy"] >= 0.999


def test_one_clip_is_a_study_too(clips):
    assert train(replace(CONFIG, clips=1, steps=2), clips[:1], []).result["steps"] == 2


def test_order_is_whole_passes_and_depends_on_the_seed_alone():
    sequence = order(3, 30, seed=5)
    assert all(sorted(sequence[i:i + 3]) == [0, 1, 2] for i in range(0, 30, 3))
    assert sequence == order(3, 30, seed=5) != order(3, 30, seed=6)
    assert order(3, 7, seed=5) == sequence[:7]


def test_steps_to_counts_whole_passes():
    assert passes([0.0, 1.0, 1.0, 1.0], 3).tolist() == pytest.approx([2 / 3, 1.0])
    assert steps_to([0.0, 1.0, 1.0, 1.0], 3, 0.999) == 4
    assert steps_to([0.5, 0.6], 1, 0.6) == 2
    assert steps_to([1.0, 1.0], 3, 0.5) is None and steps_to([0.1] * 9, 3, 0.5) is None


def test_no_weight_decay_on_the_state_matrix():
    model = build(ModelConfig("mamba"))
    decayed, kept = make_optimiser(model, CONFIG).param_groups
    names = {id(p): n for n, p in model.named_parameters()}
    assert {names[id(p)].rsplit(".", 1)[-1] for p in kept["params"]} == {"A_log", "D"} and kept["weight_decay"] == 0
    assert decayed["weight_decay"] == 1e-5


@pytest.mark.parametrize("where", [0, 100, -1])
def test_a_flipped_bit_in_the_weights_is_named(where, clips):
    record = train(replace(CONFIG, steps=1), clips, [])
    path = record.folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[where] ^= 4
    path.write_bytes(content)
    with pytest.raises(files.Damaged, match="damaged: delete .* and run the notebook again") as error:
        load_model(record)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_checkpoint_is_named(clips, killed_after):
    killed_after(2)
    with pytest.raises(Killed):
        train(CONFIG, clips, [])
    path = next(records.runs_root().glob("train/*/checkpoint.safetensors"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(files.Damaged, match="delete it and the run starts afresh") as error:
        train(CONFIG, clips, [])
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_record_is_named(clips):
    record = train(replace(CONFIG, steps=1), clips, [])
    path = record.folder / "record.json"
    path.write_text(path.read_text().replace('"steps": 1', '"steps": 2', 1))
    with pytest.raises(files.Damaged, match="is damaged"):
        train(replace(CONFIG, steps=1), clips, [])


def test_a_study_asks_a_matched_core_for_what_it_can_have():
    """A window of attention alone, a state of Mamba alone, and nothing of the original report's."""
    asked = study("quick", recipe=["rmsnorm"], window=75, state=4)
    given = {core: model_of(asked, core, "matched-1m") for core in ("transformer", "mamba", "interleaved", "pointwise")}
    assert {core: (m.window, m.state) for core, m in given.items()} == {
        "transformer": (75, None), "mamba": (None, 4), "interleaved": (75, 4), "pointwise": (None, None)}
    assert {m.recipe for m in given.values()} == {("rmsnorm",)}
    for model in given.values():
        CodecLM(model)
    for core in ("transformer", "mamba"):
        assert model_of(asked, core, "seed") == model_of(study("quick"), core, "seed")


def test_studies():
    assert set(STUDIES) == {"smoke", "quick", "standard", "full"}
    for name in ("quick", "standard", "full"):                          # the original report's protocol
        assert (study(name).clips, study(name).steps) == (1, 1500)
    runs = runs_of(study("quick"), "transformer")
    assert [r.seed for r in runs] == [0, 1, 2, 0] and runs[-1].model.regime == "as_reported"
    assert len(runs_of(study("quick"), "mamba")) == 3
    mine = runs_of(study("quick"), "mamba", "en", "abc")[0].model
    assert (mine.language, mine.alphabet, mine.units) == ("en", "abc", "characters")
    assert study("quick", clips=1, seeds=None).clips == 1
    for wrong, words in ((lambda: study("quik"), "no study 'quik': choose one of"),
                         (lambda: study("quick", sede=1), "no parameter 'sede'"),
                         (lambda: study("quick", steps="many"), "whole number")):
        with pytest.raises(ValueError, match=words):
            wrong()
