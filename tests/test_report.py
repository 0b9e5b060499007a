"""What the report makes of records: curves, exponents, crossovers, and words that follow the numbers."""
import numpy as np
import pytest

from lib.records import Record
from lib.report import prose, tables
from lib.report.results import curve, exponents


def sweep(**milliseconds) -> Record:
    """A `lengths` run of two processes in which each core takes the given function of the length."""
    lengths = (75, 300, 1200, 4800)
    processes = [{core: [{"frames": n, "step_ms": [f(n) * scale, f(n) * scale * 1.1, f(n) * scale * 9], "decode_ms": [1.0]}
                         for n in lengths] for core, f in milliseconds.items()} for scale in (1.0, 1.02)]
    return Record("profile", "0" * 64, {}, {"device": "cpu", "cores": 2}, {"size": "s", "processes": processes}, {}, "")


def test_curve_is_the_median_of_each_process():
    points = curve(sweep(a=lambda n: float(n)), "a", "step_ms")
    assert points[300] == pytest.approx([330, 336.6]) and list(points) == [75, 300, 1200, 4800]


def test_exponents_find_the_power():
    run = sweep(a=lambda n: 3.0 * n, b=lambda n: 0.01 * n ** 2)
    assert exponents(run, "a", "step_ms") == pytest.approx([1, 1])
    assert exponents(run, "b", "step_ms") == pytest.approx([2, 2])


def test_crossover_is_found_where_it_is_and_only_there():
    words = prose.crossovers(sweep(a=lambda n: 100.0 + n, b=lambda n: n ** 2 / 1000))
    assert words[0] == "Training step, a against b: the faster one changes at 300 to 1,200 frames (to a)."
    words = prose.crossovers(sweep(a=lambda n: 2.0 * n, b=lambda n: 1.0 * n))
    assert words[0] == "Training step: b is faster than a at every length measured, 75 to 4,800 frames."


def test_length_table_holds_every_length():
    frame = tables.lengths(sweep(a=lambda n: float(n), b=lambda n: 2.0 * n))
    assert list(frame.columns) == ["core", "milliseconds", "75 frames", "300 frames", "1200 frames", "4800 frames", "exponent"]
    assert frame.iloc[0]["exponent"].startswith("1.00 (") and len(frame) == 4


def test_words_are_escaped():
    assert "<script>" not in prose.bullets(["<script>"]) + prose.paragraphs(["<script>"]) + prose.heading("<script>", "<b>")


def test_memory_table_takes_the_median_over_processes():
    row = {"frames": 300, "train_average": 1e6, "decode_peak": 2e6, "state_bytes": 5e4}
    run = Record("profile", "0" * 64, {}, {}, {"cores": {"a": [{**row, "process": i, "train_peak": peak}
                 for i, peak in enumerate((1e6, 3e6, 8e6))]}}, {}, "")
    frame = tables.memory(run)
    assert frame.iloc[0]["training, peak MB"] == "3" and frame.iloc[0]["processes"] == "3"
    assert np.isclose(float(frame.iloc[0]["decoding state, MB"]), 0.05)
