"""Which runs belong to which part of the study of speech."""
from dataclasses import replace
from math import nan
from types import SimpleNamespace

import pytest

import lib.study
from lib.config import PARTS, STRENGTHS, WIDTHS, study
from lib.models.cores import CORES
from lib.study import base, part, rate_of, rates, run_all, tune
from lib.training.speech import Data

STANDARD, DATA = study("standard"), Data([], [], [], "a codec")


def runs(name: str, core: str) -> list:
    return part(STANDARD, DATA, name, core)


def test_the_headline_differs_in_core_and_seed_alone():
    for core in STANDARD.speech_cores:
        made = runs("headline", core)
        assert [one.seed for one in made] == [0, 1, 2] and {one.steps for one in made} == {3200}
        assert {one.model for one in made} == {base(STANDARD, DATA, core).model}


@pytest.mark.parametrize("core", WIDTHS)
def test_widths_add_seeds_to_the_run_that_is_there_and_repeat_none(core):
    first, *others = runs("widths", core)
    there = [one for name in ("sizes", "cores") for one in runs(name, core)]
    assert first in there and [one.seed for one in others] == [1, 2]
    assert {one.model for one in others} == {first.model} and first.model.size == "matched-3m"
    assert rate_of(first) == ("mamba" if core == "mamba" else "mamba_conv", "matched-3m")


def test_other_cores_have_no_widths():
    assert not any(runs("widths", core) for core in CORES if core not in WIDTHS)


def test_no_part_asks_for_a_run_twice():
    for core in (*STANDARD.speech_cores, *STANDARD.more_cores):
        for name in PARTS:
            made = runs(name, core)
            assert len(set(map(repr, made))) == len(made)


def test_states_and_layers_are_what_a_core_has_beside_the_usual():
    asked = {core: ([(one.model.window, one.model.state) for one in runs("states", core)],
                    [one.model.layers for one in runs("layers", core)]) for core in (*STANDARD.speech_cores, "conv")}
    assert asked == {
        "transformer": ([(None, None), (75, None), (300, None)], [None, 2, 8]),
        "mamba_conv": ([(None, None), (None, 4), (None, 64)], [None, 2, 8]),
        "mamba": ([(None, None), (None, 4), (None, 64)], [None, 3, 12]),
        "interleaved": ([(None, None), (75, None), (300, None), (None, 4), (None, 64)], [None, 8]),
        "pointwise": ([], []), "conv": ([], [])}


def test_strengths_have_seeds_and_the_prefix_is_tried_for_long():
    made = runs("strengths", "mamba")
    assert {one.model.conditioning for one in made} == set(STRENGTHS) and {one.seed for one in made} == {0, 1, 2}
    assert len(made) == 18 and [one.steps for one in runs("prefix", "mamba")] == [4000] and not runs("prefix", "pointwise")
    assert [one.model.encoder for one in runs("encoder", "mamba")] == ["mamba_conv", "conv"]
    assert [one.steps for one in runs("budget", "pointwise")] == [800, 1600, 6400]


def test_attention_without_positions_has_the_headline_s_seeds_and_steps_and_nothing_else_differs():
    made = runs("positions", "transformer")
    assert [replace(one, model=replace(one.model, rotary=True)) for one in made] == runs("headline", "transformer")
    assert not any(one.model.rotary for one in made) and not any(runs("positions", core) for core in CORES if core != "transformer")
    assert not part(replace(STANDARD, spoken_seconds=()), DATA, "positions", "transformer")


def test_a_rate_at_the_edge_asks_for_the_next_and_one_that_diverged_is_the_worst(monkeypatch):
    """The loss is least at 3.2e-2, where a rate below 1e-3 would be without end; 6.4e-2 diverges."""
    tried = []

    def run_all(asked, *_):
        tried.append({pair: [one.learning_rate for one in configs] for pair, configs in asked.items()})
        return {pair: [SimpleNamespace(identity={"config": {"learning_rate": one.learning_rate}}, result={"validation": [
            {"loss": nan if one.learning_rate > 5e-2 else abs(one.learning_rate - 3.2e-2)}]}) for one in configs]
            for pair, configs in asked.items()}
    monkeypatch.setattr(lib.study, "run_all", run_all)
    monkeypatch.setattr(lib.study.records, "note", lambda *_: None)
    assert tune(STANDARD, [("mamba", "matched-1m")], None, DATA) == {("mamba", "matched-1m"): 3.2e-2}
    assert [len(asked["mamba", "matched-1m"]) for asked in tried] == [3, 4, 5, 6, 6]
    tried.clear()
    assert tune(replace(STANDARD, trial=True), [("mamba", "matched-1m")], None, DATA) == {("mamba", "matched-1m"): 8e-3}
    assert len(tried) == 1
    assert tune(replace(STANDARD, rates=(1e-3,)), [("mamba", "seed")], None, DATA) == {("mamba", "seed"): 1e-3}
    assert len(tried) == 1                                                  # nothing to choose from


def test_a_run_that_two_parts_share_is_made_once(monkeypatch):
    made = []
    monkeypatch.setattr(lib.study, "side_by_side", lambda tasks, label: made.extend(tasks))
    monkeypatch.setattr(lib.study, "identity", lambda *_: {})
    monkeypatch.setattr(lib.study.records, "find", lambda *_: None)
    one, other = runs("headline", "mamba")[:2]
    run_all({("headline", "mamba"): [one, other], ("recipe", "mamba"): [one]}, None, DATA, None, "")
    assert [config for _, config, *_ in made] == [one, other]


def test_the_short_runs_for_a_rate_differ_in_it_alone():
    tried = rates(STANDARD, DATA, "mamba", "matched-3m", [4e-3, 8e-3, 2e-3])
    assert [one.learning_rate for one in tried] == [2e-3, 4e-3, 8e-3]
    assert {(one.steps, one.seed, one.model) for one in tried} == {(800, 0, base(STANDARD, DATA, "mamba", size="matched-3m").model)}
