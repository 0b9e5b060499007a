"""The runner, on notebooks small enough to start a kernel and little else."""
import fcntl
import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook

from lib import run


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that takes the place of notebooks/, and a workspace and a Jupyter profile beside it."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(run, "NOTEBOOKS", folder)
    monkeypatch.setenv("TTS_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    foreign = tmp_path / "jupyter" / "kernels" / "python3"      # a user's own kernelspec, of another interpreter
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["false"], "display_name": "", "language": "python"}')
    return folder


def write(folder: Path, name: str, parameters: str, code: str) -> None:
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_code_cell(code)]
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), folder / f"{name}.ipynb")


def note(name: str, expression: str = "None") -> str:
    """Code that appends a line to notes.txt in the notebooks folder."""
    return f"import os, sys\nprint({name!r}, {expression}, sep=':', file=open('notes.txt', 'a'))"


def notes(folder: Path) -> list[str]:
    return (folder / "notes.txt").read_text().splitlines() if (folder / "notes.txt").exists() else []


def refused(capfd, *arguments: str) -> str:
    assert run.main(list(arguments)) == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    return error


def test_notebooks_run_in_order_and_leave_what_a_report_needs(notebooks: Path, tmp_path: Path, capfd):
    write(notebooks, "07_report", "study = 'quick'", "print(open('../figures/smoke/stages.json').read())")
    write(notebooks, "01_first", "study = 'quick'\nsteps = None\ncores = None", note("one", "(study, steps, cores)"))
    write(notebooks, "02_second", "study = 'quick'\nsteps = 1", note("two", "(study, steps, os.environ['TTS_BATCH'])"))
    write(notebooks, "draft", "study = 'quick'", note("draft"))
    assert run.main(["--study", "smoke", "-p", "steps", "5", "-p", "cores", "mamba,transformer"]) == 0
    assert notes(notebooks) == ["one:('smoke', 5, ['mamba', 'transformer'])", "two:('smoke', 5, '1')"]

    folder = tmp_path / "figures" / "smoke"
    assert list(json.loads((folder / "stages.json").read_text())) == ["01_first", "02_second", "07_report"]
    names = {"01_first.ipynb", "02_second.ipynb", "07_report.ipynb"}
    assert {p.name for p in (folder / "notebooks").iterdir()} == names
    report = nbformat.read(folder / "notebooks" / "07_report.ipynb", as_version=4)
    assert NotebookNotary().check_signature(report)
    assert "02_second" in (folder / "report.html").read_text()
    printed = capfd.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["01_first", "02_second", "07_report", "results"]
    assert printed.err == ""


def test_only_runs_what_it_names_and_keeps_the_other_times(notebooks: Path, tmp_path: Path):
    for name in ("01_first", "02_second", "03_third"):
        write(notebooks, name, "study = 'quick'", note(name, "sys.executable"))
    (tmp_path / "figures" / "smoke").mkdir(parents=True)
    (tmp_path / "figures" / "smoke" / "stages.json").write_text('{"01_first": 12.5, "02_second": 99}')
    assert run.main(["--study", "smoke", "--only", "03_third", "02"]) == 0
    assert notes(notebooks) == [f"{name}:{sys.executable}" for name in ("02_second", "03_third")]
    stages = json.loads((tmp_path / "figures" / "smoke" / "stages.json").read_text())
    assert stages["01_first"] == 12.5 and stages["02_second"] < 99 and "03_third" in stages


def test_a_failure_is_one_line_and_leaves_the_notebook(notebooks: Path, tmp_path: Path, capfd):
    write(notebooks, "01_first", "study = 'quick'", "raise ValueError('no core\\n called foo')")
    write(notebooks, "02_second", "study = 'quick'", note("two"))
    executed = tmp_path / "figures" / "smoke" / "notebooks"
    executed.mkdir(parents=True)
    (executed / "01_first.ipynb").write_text("an earlier result")
    error = refused(capfd, "--study", "smoke")
    failed = executed / "01_first.failed.ipynb"
    assert error == f"01_first failed: ValueError: no core called foo (executed: {failed})\n"
    assert "no core" in failed.read_text() and notes(notebooks) == []
    assert {p.name for p in executed.iterdir()} == {"01_first.ipynb", "01_first.failed.ipynb"}
    assert (executed / "01_first.ipynb").read_text() == "an earlier result"


def test_a_kernel_that_dies_is_one_line(notebooks: Path, capfd):
    write(notebooks, "01_first", "study = 'quick'", "import os\nos._exit(3)")
    assert "01_first failed: DeadKernelError: Kernel died" in refused(capfd, "--study", "smoke")


@pytest.mark.parametrize("arguments, complaint", [
    (["--study", "huge"], "no study 'huge': choose one of smoke, quick"),
    (["--only", "09"], "no notebook '09': choose from 01_first, 02_second"),
    (["-p", "stepz", "5"], "no selected notebook has a parameter 'stepz': choose from cores, steps"),
    (["--only", "02", "-p", "cores", "mamba"], "no selected notebook has a parameter 'cores': choose from none"),
    (["-p", "steps", "many"], "parameter steps is 'many'"),
    (["-p", "study", "smoke"], "--study"),
])
def test_what_cannot_be_run_is_refused_before_anything_runs(notebooks: Path, tmp_path: Path, capfd,
                                                               arguments, complaint):
    write(notebooks, "01_first", "study = 'quick'\nsteps = None\ncores = None", note("one"))
    write(notebooks, "02_second", "study = 'quick'", note("two"))
    assert complaint in refused(capfd, *arguments)
    assert notes(notebooks) == [] and not (tmp_path / "figures").exists()


def test_no_notebooks_is_no_success(notebooks: Path, capfd):
    assert "no notebooks in" in refused(capfd)


def test_a_second_run_of_the_same_study_is_refused(notebooks: Path, tmp_path: Path, capfd):
    write(notebooks, "01_first", "study = 'quick'", note("one"))
    folder = tmp_path / "figures" / "smoke"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert f"another run is writing {folder}" in refused(capfd, "--study", "smoke")
    assert notes(notebooks) == []


def test_a_report_that_would_load_something_is_not_exported(notebooks: Path, tmp_path: Path, capfd):
    write(notebooks, "07_report", "study = 'quick'",
          "from IPython.display import HTML\nHTML('<img src=\"https://example.org/i.png\">')")
    assert "07_report could not be exported: <img> would load 'https://example.org/i.png'" in refused(capfd)
    assert not (tmp_path / "figures" / "quick" / "report.html").exists()


@pytest.mark.parametrize("text, kind, value", [
    ("5", int, 5), ("1e-3", float, 1e-3), ("True", None, True), ("None", None, None), ("a,b", None, "a,b"),
    ("mamba", tuple[str, ...], ["mamba"]), ("75,300", tuple[int, ...], [75, 300]), ("None", tuple[str, ...], None),
])
def test_values_are_read_as_papermill_reads_them(text, kind, value):
    assert run._value(text, kind) == value
