"""Which runs belong to which part of the study of speech."""
import pytest

from lib.config import PARTS, WIDTHS, study
from lib.models.cores import CORES
from lib.study import base, part, rate_of, rates
from lib.training.speech import Data

STANDARD, DATA = study("standard"), Data([], [], [], "a codec")


def runs(name: str, core: str) -> list:
    return part(STANDARD, DATA, name, core)


def test_the_headline_differs_in_core_and_seed_alone():
    for core in STANDARD.speech_cores:
        made = runs("headline", core)
        assert [one.seed for one in made] == [0, 1, 2] and {one.steps for one in made} == {800}
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


def test_the_short_runs_for_a_rate_differ_in_it_alone():
    tried = rates(STANDARD, DATA, "mamba", "matched-3m")
    assert [one.learning_rate for one in tried] == [2e-3, 4e-3, 8e-3]
    assert {(one.steps, one.seed, one.model) for one in tried} == {(120, 0, base(STANDARD, DATA, "mamba", size="matched-3m").model)}
