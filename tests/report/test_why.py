"""Behind the answer of the study of speech, on made-up runs: what is drawn of what, and in words."""
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest

from lib import records
from lib.config import ModelConfig, SpeechConfig, described, study
from lib.report import why
from lib.report.results import Report

USUAL = SpeechConfig(ModelConfig("transformer", "matched-1m", conditioning="word", units="phonemes"), steps=40)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def report() -> Report:
    return Report(study("standard"))


def add(report: Report, part: str, config: SpeechConfig, loss: float, wrong: int, kilobytes: float = 1) -> None:
    """A run of a part with that loss, and so many errors among 100 phonemes with predicted durations, one less with given."""
    run = records.save("speech", {"config": described(config)}, {
        "validation": [{"step": config.steps, "loss": loss, "per_codebook": [0.1, 0.2]}], "test": {"loss": loss, "per_codebook": [0.1]},
        "cpu_seconds": [0.6] * config.steps, "frames": [1000] * config.steps, "core_parameters": 1000,
        "state_bytes": {"300": 1, "4800": 1e3 * kilobytes}})
    rows = [{"id": "t", "split": "test", "durations": durations, "phonemes": 100, "errors": errors, "mcd_db": 3.0, "f0_cents": 20.0, "ended": True}
            for durations, errors in (("given", wrong - 1), ("predicted", wrong))]
    if config.model.conditioning == "prefix":
        rows = [{**rows[1], "durations": "", "ended": False}]
    report.speech.setdefault(part, []).append(run)
    report.said.setdefault(part, []).append(records.save("said", {"run": run.key, "part": part}, {
        "train": run.name, "config": described(config), "rows": rows, "shuffled_text": 0.9}))


def of(**fields) -> SpeechConfig:
    return replace(USUAL, model=replace(USUAL.model, **fields))


def test_the_budget_joins_the_headline_and_says_what_the_last_doubling_brought(report):
    for part, steps, seed, loss in (("headline", 40, 0, 3.0), ("headline", 40, 1, 3.2), ("budget", 20, 0, 4.0), ("budget", 80, 0, 2.945)):
        add(report, part, replace(USUAL, steps=steps, seed=seed), loss, 10)
    add(report, "budget", replace(of(core="mamba"), steps=20), 4.0, 10)
    steps, frames, minutes = why.against_budget(report).axes
    dots, line, *others = steps.lines
    assert sorted(zip(dots.get_xdata(), dots.get_ydata())) == [(20, 4.0), (40, 3.0), (40, 3.2), (80, 2.945)]
    assert list(line.get_xdata()) == [20, 40, 80] and list(line.get_ydata()) == pytest.approx([4.0, 3.1, 2.945]) and len(others) == 2
    assert list(frames.lines[1].get_xdata()) == pytest.approx([0.02, 0.04, 0.08])
    assert list(minutes.lines[1].get_xdata()) == pytest.approx([0.2, 0.4, 0.8])
    assert why.flattening(report) == [
        "transformer: from 40 to 80 steps the validation loss goes from 3.100 to 2.945 (-5.0 %)"]


def test_quality_against_the_state_names_what_is_unusual(report):
    for fields, loss, wrong, kilobytes in ((dict(), 3.0, 10, 29_000), (dict(window=75), 3.3, 12, 460), (dict(core="mamba", state=4), 3.1, 9, 40)):
        add(report, "states", of(**fields), loss, wrong, kilobytes)
    loss, error = why.against_state(report).axes
    assert [t.get_text() for t in loss.texts] == ["window 75", "", "state 4"]
    assert list(loss.lines[0].get_xdata()) == [460, 29_000] and list(error.lines[0].get_ydata()) == pytest.approx([12, 10])
    assert error.get_ylabel() == "phonemes wrong, predicted durations (%)" and list(error.lines[1].get_ydata()) == pytest.approx([9])


def test_layers_are_the_usual_ones_where_nothing_else_is_said(report):
    for layers, loss in ((8, 3.3), (None, 3.1), (2, 3.2)):
        add(report, "layers", of(layers=layers), loss, 10)
    loss, _ = why.against_layers(report).axes
    assert list(loss.lines[0].get_xdata()) == [2, 4, 8] and list(loss.lines[0].get_ydata()) == [3.2, 3.1, 3.3]


def test_encoders_and_the_text_before_the_audio(report):
    for encoder in ("mamba_conv", "conv"):
        add(report, "encoder", of(encoder=encoder), 3.0 + (encoder == "conv"), 10)
    assert why.encoders(report)[["text encoder", "validation loss", "phoneme error"]].values.tolist() == [
        ["mamba_conv", "3.000", "10.0 %"], ["conv", "4.000", "10.0 %"]]
    add(report, "prefix", of(conditioning="prefix", units="characters"), 4.0, 80)
    row, = why.prefixed(report).to_dict("records")
    assert (row["steps"], row["CPU min"], row["phoneme error"], row["ended by itself"]) == ("40", "0.4", "80.0 %", "0%")
    add(report, "prefix", of(core="mamba", conditioning="prefix", units="characters"), 3.0, 30)
    assert why.prefix_words(report) == (" With the text before the audio alone, after 40 steps, 1 of 2 cores speak, with fewer than "
                                        "50 % of the phonemes wrong: Transformer 80 %, Mamba 30 %.")


def test_without_these_parts_there_is_nothing(report):
    assert len(why.rows(report, "states", "budget")) == 0 == len(why.encoders(report)) == len(why.prefixed(report))
    assert why.flattening(report) == [] and why.prefix_words(report) == ""
