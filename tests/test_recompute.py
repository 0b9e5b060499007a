"""The published numbers against their records, recomputed by tests/recompute.py, which knows nothing of the project."""
import ast
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import recompute

FOLDER, README = recompute.REPOSITORY / "figures" / "reference", recompute.REPOSITORY / "README.md"
OPEN = {"minutes heard in training": "those of the first seed are published, and the others heard fewer",
        "exponent_mixing of": "counted by today's code as the reference is published: no record holds it"}


@pytest.fixture(scope="module")
def found() -> list[str]:
    return recompute.disagreements()


def test_every_published_number_is_what_its_records_give(found):
    assert [one for one in found if not any(what in one for what in OPEN)] == []


@pytest.mark.parametrize("what", [pytest.param(what, marks=pytest.mark.xfail(strict=True, reason=why))
                                  for what, why in OPEN.items()])
def test_what_is_still_open(found, what):
    assert [one for one in found if what in one] == []


def times(value: object, keys: list[str], factor: float) -> object:
    """A record with the numbers below these keys, one within the other, so many times as great."""
    if isinstance(value, dict):
        return {k: times(v, keys[1:] if keys[:1] == [k] else keys, factor) for k, v in value.items()}
    if isinstance(value, list):
        return [times(v, keys, factor) for v in value]
    return value * factor if not keys and isinstance(value, int | float) else value


@pytest.mark.parametrize("role, keys, numbers", [
    ("said/headline/mamba", ["errors"], {
        "phonemes wrong of mamba": ("README.md, quality", "report.html, quality"),
        "lower end of phonemes wrong of mamba": ("answer.svg", "report.html, first figure"),
        "lower end of phoneme errors of mamba against transformer": ("report.html, verdicts",),
        "phoneme_error_given of mamba": ("results.csv, line",)}),
    ("speech/headline/mamba", ["test.loss", "validation.loss", "cpu_seconds", "frames"], {
        "loss of mamba against pointwise": ("report.html, verdicts",),
        "loss apart by steps": ("README.md, learning", "report.html, learning"),
        "loss apart by time": ("README.md, learning", "report.html, learning"),
        "times the pool": ("README.md, scope", "report.html, scope"),
        "held_out_loss of mamba": ("results.csv, line",)}),
    ("bounds", ["errors"], {
        "phonemes wrong after the codec": ("README.md, quality", "report.html, quality", "answer.svg", "report.html, first")}),
    ("said/strengths/mamba", ["errors"], {"points between cores told the same": ("README.md, told", "report.html, told")}),
    ("longer/mamba", ["error", "errors"], {
        "phonemes wrong of mamba on long texts": ("README.md, length", "report.html, length")}),
    ("memory_lengths", ["state_bytes"], {
        f"MB of state of {core}": ("README.md, cost", "report.html, cost") for core in ("transformer", "mamba")}),
    ("lengths", ["transformer.step_ms"], {
        "seconds beyond which mamba trains faster": ("README.md, cost", "report.html, cost")}),
    ("train/mamba_conv", ["core_parameters"], {
        "times the parameters of the hybrid's core": ("README.md, original", "report.html, original")}),
    ("steps", ["environment.cores", "step_ms"], {
        "processor cores": ("README.md, scope", "report.html, scope"), "step_ms of mamba": ("results.csv, line",)}),
])
def test_a_record_that_says_something_else_is_found(tmp_path, role, keys, numbers):
    folder = tmp_path / "reference"
    shutil.copytree(FOLDER, folder, copy_function=os.symlink, ignore=shutil.ignore_patterns("samples", "checkpoints"))
    name = json.loads((FOLDER / "manifest.json").read_text())[role][0]
    record = folder / "runs" / name / "record.json"
    altered = json.loads(record.read_text())
    for path in keys:
        altered = times(altered, path.split("."), 1.4)
    record.unlink()
    record.write_text(json.dumps(altered))
    found = recompute.disagreements(folder)
    for what, places in numbers.items():
        for place in places:
            assert [one for one in found if one.startswith(place) and what in one and name in one], (what, place, found)


def test_every_number_of_the_verdict_is_watched(tmp_path):
    def other(token: re.Match) -> str:
        """The number, its last digit one more."""
        return re.sub(r"\d$", lambda digit: str((int(digit[0]) + 1) % 10), token[0])

    before, block, after = re.split("(?s)(<!-- begin of .*<!-- end of )", README.read_text(encoding="utf-8"))
    readme = tmp_path / "README.md"
    readme.write_text(before + recompute.TOKEN.sub(other, block) + after, encoding="utf-8")
    found = [one for one in recompute.disagreements(readme=readme) if one.startswith("README.md")]
    numbers = [token for token in recompute.TOKEN.findall(block) if token[0].isdigit()]
    assert len(found) == len(numbers) - 2 > 20      # all but the claims: how many there are and are reproduced


def two_cores(seeds: int, sentences: int) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).normal([[[5.0]], [[4.0]]], 1, (2, seeds, sentences))


def test_with_one_sentence_the_interval_is_that_of_welch():
    a, b = two_cores(4, 1)
    e = recompute.estimate(a.mean() - b.mean(), [(1, a), (-1, b)], np.ones(1))
    welch = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert e.interval() == pytest.approx([*welch.confidence_interval()])
    assert 2 * e.beyond(abs(e.mean)) == pytest.approx(welch.pvalue)


def test_the_variance_is_that_of_new_seeds_and_new_sentences():
    """Of many studies, each with its own seeds and sentences, the mean of the variance is the variance of the mean."""
    random, studies = np.random.default_rng(0), []
    sizes = random.integers(10, 40, 20).astype(float)
    for _ in range(2000):
        sentence = random.normal(0, 0.3, 20)
        a, b = (sizes * (random.normal(0, 0.1, (3, 1)) + way * sentence + random.normal(0, 0.2, (3, 20))) for way in (1, -1))
        studies.append(recompute.estimate((a.mean() - b.mean()) / sizes.mean(), [(1, a), (-1, b)], sizes))
    assert np.mean([e.variance for e in studies]) == pytest.approx(np.var([e.mean for e in studies]), rel=0.08)


def test_p_values_are_adjusted_step_by_step():
    assert recompute.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_the_longest_texts_are_counted_in_the_way_that_was_best_on_the_others():
    texts = [("carried", 0, 1), ("window", 0, 2), ("carried", 1, 6), ("window", 1, 0)]
    rows = [{"seconds": 60, "way": way, "text": text, "errors": errors, "phonemes": 10} for way, text, errors in texts]
    rows.append({"seconds": 4, "way": "carried", "text": 0, "errors": 9, "phonemes": 10})
    config = {"model": {"core": "mamba"}, "seed": 0}
    trained = {"name": "speech/1", "kind": "speech", "identity": {"config": config}, "result": {}}
    run = {"name": "longer/1", "kind": "longer", "result": {"train": "speech/1", "rows": rows}}
    ref = recompute.Reference.__new__(recompute.Reference)
    ref.roles, ref.named = {"longer/mamba": [run]}, {"speech/1": trained, "longer/1": run}
    assert recompute.recorded(ref, run, "mamba (carried)", "phoneme_error_long", "seed 0") == 0.6
    assert recompute.recorded(ref, run, "mamba (window)", "phoneme_error_long", "seed 0") is None
    seconds, name, wrong = recompute.length(ref, ["mamba"])
    assert (seconds.value, name, [one.value for one in wrong]) == (60, "Mamba", [60])


def test_nothing_of_the_project_is_imported():
    tree = ast.parse(Path(recompute.__file__).read_text(encoding="utf-8"))
    imported = {name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - sys.stdlib_module_names == {"numpy", "scipy"}
