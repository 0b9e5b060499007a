"""Behind the answer of the study of speech, on made-up runs: what is drawn of what, and in words."""
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest

from lib import records
from lib.config import ModelConfig, SpeechConfig, described, study
from lib.report import findings, why
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


def in_ways(report: Report, kind: str, config: SpeechConfig, ways: dict[str, dict], wrong: dict[str, int], seconds: float = 1.0) -> None:
    """A run of a part that said the test and the hard list in some ways, so many errors among 100 phonemes in each of the former."""
    part = {"guided": "guidance"}.get(kind, kind)
    run = records.save("speech", {"config": described(config), "part": part}, {})
    row = {"id": "t", "category": "", "durations": "predicted", "phonemes": 100, "deletions": 0, "insertions": 0, "substitutions": 0, "loop": 0,
           "silence_s": 0.0, "heard": "a " * 9, "frames": 75, "expected": 75, "reference_frames": 75, "ended": True, "mos": None}
    report.speech.setdefault(part, []).append(run)
    getattr(report, kind).append(records.save("drawn", {"run": run.key, "ways": ways}, {
        "train": run.name, "core": config.model.core,
        "rows": [{**row, "way": way, "split": split, "errors": wrong[way] if split == "test" else 99, "seconds": seconds * (i + 1)}
                 for i, way in enumerate(ways) for split in ("test", "hard")],
        "passes": [{"way": way, "split": split, "f0_distance_cents": 10.0 * i, "duration_distance_ms": 1.0}
                   for i, way in enumerate(ways) for split in ("test", "hard")]}))


def test_guidance_is_told_beside_none(report):
    ways = {"guidance 1": {}, "guidance 2": {"guidance": 2.0}, "guidance 3": {"guidance": 3.0}}
    in_ways(report, "guided", of(), ways, {"guidance 1": 10, "guidance 2": 7, "guidance 3": 12})
    in_ways(report, "guided", of(core="mamba"), ways, {"guidance 1": 6, "guidance 2": 8, "guidance 3": 9})
    found = findings.guidance(report)
    assert found.said.endswith("wrong phonemes: Transformer goes from 10.0 to 7.0 % at 2; Mamba is best without, at 6.0 %.")
    error, f0 = found.draw().axes
    assert list(error.lines[0].get_xdata()) == [1, 2, 3] and list(error.lines[0].get_ydata()) == pytest.approx([10, 7, 12])
    assert list(f0.lines[0].get_ydata()) == [0, 10, 20] and len(found.numbers[0][1]()) == 6
    assert found.why.endswith("no verdict.")
    add(report, "headline", of(recipe=("rmsnorm",)), 3.0, 10)
    assert findings.guidance(report).why.endswith("These models are made by another recipe than the headline's: none.")
    for run in report.speech["guidance"]:
        run.identity["config"]["model"]["recipe"] = ["rmsnorm"]
    assert findings.guidance(report).why.endswith("no verdict.")


def test_masked_decoding_is_told_beside_the_same_core_frame_by_frame(report):
    rounds = {"1 round": {}, "4 rounds": {"rounds": 4}}
    in_ways(report, "masked", of(core="mamba_conv", regime="masked"), rounds, {"1 round": 20, "4 rounds": 12}, 0.1)
    in_ways(report, "masked", of(core="mamba_conv"), {"frame by frame": {}}, {"frame by frame": 9}, 0.3)
    in_ways(report, "masked", of(core="pointwise", regime="masked"), rounds, {"1 round": 50, "4 rounds": 60}, 0.1)
    found = findings.masked(report)
    assert found.said == ("Hidden frames told from both sides: Mamba + convolution gets 12.0 % wrong in 4 rounds and 9.0 % frame by "
                          "frame and control gets 50.0 % wrong in 1 round.")
    by_rounds, by_time = found.draw().axes
    assert list(by_rounds.lines[0].get_xdata()) == [1, 4] and list(by_rounds.lines[0].get_ydata()) == pytest.approx([20, 12])
    assert list(by_time.lines[0].get_xdata()) == pytest.approx([0.1, 0.2]) and list(by_time.lines[1].get_xdata()) == pytest.approx([0.3])
    assert len(found.numbers[0][1]()) == 5 and len(found.runs) == 3


def test_what_did_not_run_has_no_finding(report):
    assert findings.guidance(report) is None and findings.masked(report) is None
