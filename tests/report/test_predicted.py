"""What is predicted and not measured: shapes read from cores, a machine from its bench, the check against the published study."""
from dataclasses import replace
from statistics import median
from types import SimpleNamespace

import pytest
import torch
from matplotlib import pyplot as plt

from lib import records
from lib.config import REPOSITORY, ModelConfig
from lib.metrics import cost
from lib.metrics.predicted import H100, Machine
from lib.models.codec_lm import CodecLM
from lib.models.cores import CORES, build_core
from lib.report import findings, predicted
from lib.report.results import Report

RUNS = REPOSITORY / "figures" / "reference" / "runs"
MACHINE = Machine("made up", 3e11, 4e10, 2e10, 3e-5, 2e-5, 4, True)


@pytest.fixture(scope="module")
def reference() -> Report:
    """The sweep over lengths and the bench of the published study."""
    runs = [records.load(path) for kind in ("bench", "profile") for path in sorted(RUNS.glob(f"{kind}/*/record.json"))]
    return Report(SimpleNamespace(trial=False), bench=next(run for run in runs if run.kind == "bench"),
                  lengths=next(run for run in runs if run.identity.get("profile") == "lengths"))


@pytest.mark.parametrize("core, size", [(core, size) for core, (_, shapes) in CORES.items() for size in shapes])
def test_a_core_is_read_to_its_last_parameter(core, size):
    shape = predicted.alone(core, size)
    with torch.device("meta"):
        built = build_core(core, size, causal=True)
    extra = 0 if isinstance(built.norm, torch.nn.LayerNorm) else 2 * shape.layers[-1].width     # a final norm, which it lacks
    assert shape.parameters == cost.parameters(built) + extra
    assert sum(layer.state(31) for layer in shape.layers) * 4 == built.state_bytes(31)


def test_a_core_of_unknown_layers_is_left_out():
    assert predicted.layer_of(torch.nn.Linear(3, 3), 3) is None


def test_options_of_a_model_are_read():
    config = ModelConfig("interleaved", "matched-1m", recipe=("swiglu",), window=9, state=4, codebooks=2)
    shape = predicted.model_of(config)
    with torch.device("meta"):
        assert shape.parameters == cost.parameters(CodecLM(config))
    assert {(layer.window, layer.gated) for layer in shape.layers if layer.attends} == {(9, True)}
    assert {layer.states for layer in shape.layers if layer.channels} == {4}


def bench_of(machine: Machine) -> SimpleNamespace:
    """A bench of a machine that takes just what is predicted."""
    def row(group: str, what: str, size: str, batch: int, frames: int, seconds: float) -> dict:
        floor = {"rate": machine.product, "bandwidth": machine.bandwidth} if group == predicted.STEPS else None
        return {"group": group, "what": what, "size": size, "batch": batch, "frames": frames, "floor": floor,
                "ours": {"median": 1e3 * seconds}}
    rows = [row("scan", "selective_scan", "8 × 4", 1, 50, cost.scan_flops(1, 50, 8, 4) / machine.vector),
            row("scan", "selective_scan", "8 × 4", 1, 5, 1)]
    for core in ("transformer", "mamba", "mamba2"):
        shape = predicted.alone(core, "matched-3m")
        rows += [row(predicted.STEPS, core, "matched-3m", batch, 300, shape.step_seconds(machine, batch, 300))
                 for batch in (1, 8)]
    shape = predicted.model_of(ModelConfig("mamba", "seed"))
    rows += [row(predicted.DECODING, "mamba", "seed", 1, 300, shape.frame_seconds(machine, 1, 300)),
             {"group": predicted.LONGER, "what": "mamba", "size": "matched-3m", "batch": 1, "frames": 9, "floor": None,
              "ours": None}]
    return SimpleNamespace(name="bench/a", environment={"device": "cpu", "cores": 2}, result={"rows": rows})


def test_a_machine_is_found_again_in_its_bench():
    found = predicted.machine_of(bench_of(MACHINE))
    assert (found.product, found.bandwidth, found.width, found.fused) == (3e11, 2e10, 4, True)
    assert found.vector == pytest.approx(4e10) and found.replay == pytest.approx(2e-5)
    assert found.launch == pytest.approx(3e-5)
    assert predicted.bench_checks(bench_of(MACHINE), found) == []


@pytest.mark.parametrize("lacking", ["scan", predicted.STEPS, predicted.DECODING])
def test_a_bench_that_lacks_a_part_makes_no_machine(lacking):
    bench = bench_of(MACHINE)
    bench.result["rows"] = [row for row in bench.result["rows"] if row["group"] != lacking]
    assert predicted.machine_of(bench) is None


def test_the_published_study_is_predicted_within_the_aim(reference):
    machine = predicted.machine_of(reference.bench)
    curves, benched = predicted.checks(reference.lengths, machine), predicted.bench_checks(reference.bench, machine)
    assert len(curves) >= 30 and all(check.off <= predicted.AIM for check in curves)
    assert sum(check.off > predicted.AIM for check in benched) <= 3 and {check.batch for check in benched} == {1, 8}
    first = curves[0]
    assert first.measured == median(median(row["step_ms"]) for process in reference.lengths.result["processes"]
                                    for row in process[first.core] if row["frames"] == first.frames)
    assert first.off == max(first.predicted / first.measured, first.measured / first.predicted)


def test_what_is_predicted_is_called_so_and_drawn_beside_what_was_measured(reference):
    found = findings.larger(reference)
    assert found.said.startswith("Predicted, not measured: on an H100 Mamba ") and not found.line
    assert found.runs == (reference.lengths.name, reference.bench.name)
    figure = found.draw()
    titles = [axis.get_title() for axis in figure.axes]
    assert all("and measured (dots)" in title for title in titles[:2])
    assert all(title.startswith("predicted, not measured") for title in titles[2:])
    plt.close("all")
    tables = {caption: make() for caption, make in found.numbers}
    checked, _, counted, crossing, hours = tables.values()
    assert len(checked) == 6 and len(counted) == 12 and list(checked)[-2:] == ["median", "worst"]
    assert all(caption.startswith("Predicted, not measured") for caption in list(tables)[3:])
    mamba = crossing[crossing.core == "mamba"]
    assert all(words in found.said for words in mamba["trains faster"])
    assert set(hours["parameters of the core"]) == {"100 M", "1 B"} and hours.iloc[0].core == "transformer"


def test_hours_follow_from_six_flops_for_each_parameter(reference):
    hours = predicted.gpu_hours("transformer", 10 ** 9, 1_000, 75)
    least = 1_000 * 3_600 * 75 * 6e9 / H100.product / 3_600 / predicted.UTILISATION
    assert least < hours < 2 * least
    assert predicted.gpu_hours("transformer", 10 ** 9, 50_000, 75) == pytest.approx(50 * hours)


def test_nothing_is_predicted_where_nothing_is_there_to_check_it(reference):
    for report in (replace(reference, bench=None), replace(reference, lengths=None),
                   replace(reference, study=SimpleNamespace(trial=True)),
                   replace(reference, bench=SimpleNamespace(result={"rows": []}))):
        assert findings.larger(report) is None


@pytest.mark.parametrize("theirs, ours, at", [
    ([1, 1, 3], [2, 2, 2], 2 ** 8.5), ([3, 3, 3], [2, 2, 2], 0), ([1, 1, 1], [2, 2, 2], None)])
def test_where_a_core_becomes_cheaper(theirs, ours, at, monkeypatch):
    monkeypatch.setattr(predicted, "LENGTHS", (2 ** 7, 2 ** 8, 2 ** 9))
    found = predicted.crossing(theirs, ours)
    assert found == at if not at else 2 ** 8 < found < 2 ** 9
    words = predicted.crossing_words(found, 64)
    assert words.startswith("at no length up to 8" if at is None else "beyond" if at else "from 2 seconds on")
