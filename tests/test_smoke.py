"""The whole pipeline: notebooks 01 to 07 through papermill, the report in a browser with the network off."""
import json
import shutil
import time

import nbformat
import pytest

from browser import inspect_page, needs_chromium
from conftest import run_smoke
from lib import records
from lib.config import REPOSITORY
from lib.measuring import bench
from lib.report.page import inert

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("0*.ipynb"))

pytestmark = pytest.mark.long


def test_everything_is_written(smoke):
    folder = smoke / "figures" / "smoke"
    assert list(json.loads((folder / "stages.json").read_text())) == [n.stem for n in NOTEBOOKS]
    assert {p.stem for p in (folder / "notebooks").glob("*.ipynb")} == {n.stem for n in NOTEBOOKS}
    assert all(inert(nbformat.read(p, as_version=4)) for p in (folder / "notebooks").glob("*.ipynb"))
    assert (folder / "leak.svg").exists() and (folder / "against_length.svg").exists()
    kinds = {p.name: len(list(p.iterdir())) for p in (smoke / "data" / "runs").iterdir() if p.is_dir()}
    assert kinds["train"] == 8 and kinds["listen"] == 8 + 3 and kinds["profile"] == 6


@needs_chromium
def test_the_report_opens_without_a_network(smoke):
    page = inspect_page(smoke / "figures" / "smoke" / "report.html")
    assert page.requests == [] and page.errors == []
    assert len(page.audio_seconds) == 2 * (2 + 5) and min(page.audio_seconds) > 0


def test_the_report_says_what_was_computed(smoke):
    html = (smoke / "figures" / "smoke" / "report.html").read_text()
    for words in ("A trial of the pipeline: numbers, and no verdict.", "This is a trial of the pipeline.", "All 96 claims",
                  "not comparable", "Limits", "train/", "profile/", "listen/", "torch", "not measured here (make bench)",
                  "codec embedded gives samples as frame 4 arrives"):
        assert words in html, words
    assert "Traceback" not in html


def test_a_bench_of_this_code_is_reported(smoke, workspace):
    shutil.copytree(smoke, workspace, dirs_exist_ok=True)
    rows = [{"group": "training step"} | bench.row(core, "seed", 8, 300, [ms], floor={"ms": 10.0})
            for core, ms in (("transformer", 20.0), ("mamba", 50.0))]
    run = records.save("bench", bench.identity(), {"rows": rows, "floors": bench.spread_over_floor(rows)})
    done = run_smoke(workspace, "--only", "05", "07")
    assert done.returncode == 0, done.stderr
    html = (workspace / "figures" / "smoke" / "report.html").read_text()
    words = "Mamba is 2.50 times farther from its floor than Transformer"
    assert run.name in html and html.count(words) == 1 and "make bench" not in html
    assert "implementations rather than architectures at 8 × 300 frames at size original" in html       # the limits


def test_a_study_of_speech_is_trained_listened_to_and_reported(speaking):
    kinds = {p.name: len(list(p.iterdir())) for p in (speaking / "data" / "runs").iterdir() if p.is_dir()}
    # of each core two learning rates, of which the better is the usual short run, the headline, a strength, letters and an encoder;
    # with texts dropped and masked; of the transformer no positions, a window, other layers and seven recipes too
    assert kinds["speech"] == 2 * 8 + 1 + 1 + 1 + 7 and kinds["said"] == 2 * 7 + 1 + 1 + 1 + 7
    assert kinds["longer"] == 2 + 1 and kinds["recogniser"] == kinds["bounds"] == 1
    folder = speaking / "figures" / "smoke"
    cores = {"transformer", "pointwise"}
    assert {p.stem for p in (folder / "checkpoints").glob("*.safetensors")} == cores
    assert all({p.stem for p in (folder / "checkpoints" / way).iterdir()} == cores for way in ("guidance", "masked"))
    assert all((folder / f"{name}.svg").exists() for name in ("answer", "quality", "length", "cost_and_quality", "against_layers",
                                                            "guidance", "masked"))
    html = (folder / "report.html").read_text()
    for words in ("The loss on sentences never heard is", "too much to judge cores by", "a trial of the pipeline gives no verdict", "an untrained model",
                  "recogniser/", "these parts were not run: budget, time, cores, sizes"):
        assert words in html, words
    before = {p: p.stat().st_mtime for p in (speaking / "data" / "runs").rglob("record.json")}
    assert run_smoke(speaking, "--only", "02", "04", "-p", "phrases", "60").returncode == 0
    assert {p: p.stat().st_mtime for p in (speaking / "data" / "runs").rglob("record.json")} == before


def test_a_second_run_reuses_every_record(smoke):
    before = {p: p.stat().st_mtime for p in (smoke / "data" / "runs").rglob("record.json")}
    begin = time.monotonic()
    done = run_smoke(smoke, "--only", "02", "06")
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime for p in (smoke / "data" / "runs").rglob("record.json")} == before
    assert time.monotonic() - begin < 180


def test_unknown_names_are_one_clear_line(smoke):
    for arguments, words in ((("-p", "cores", "transformr"), "no core 'transformr'"), (("-p", "sede", "3"), "sede")):
        done = run_smoke(smoke, "--only", "02", *arguments)
        assert done.returncode == 1 and words in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_no_notebook_shows_a_picture_twice(smoke):
    for path in sorted((smoke / "figures" / "smoke" / "notebooks").glob("*.ipynb")):
        code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        pictures = [output.data["image/svg+xml"] for cell in code for output in cell.outputs if "image/svg+xml" in output.get("data", {})]
        assert len(pictures) == len(set(pictures)), path
        assert not any("Figure(" in output.get("data", {}).get("text/plain", "") for cell in code for output in cell.outputs), path


def test_notebooks_are_committed_without_outputs_and_are_thin():
    assert len(NOTEBOOKS) == 7
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, 4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert not cell.outputs and cell.execution_count is None, path
                assert len(cell.source.splitlines()) <= 25, path
