"""The runner, on notebooks small enough to start a kernel and little else."""
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib import config, run


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


def write(folder: Path, name: str, parameters: str, code: str, heading: str = "## Code") -> None:
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_markdown_cell(heading), new_code_cell(code)]
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
    acting = "\nfrom IPython.display import HTML\nHTML('<p onclick=\"alert(1)\">A transcript</p>')"
    write(notebooks, "01_first", "study = 'quick'\nsteps = None\ncores = None",
          note("one", "(study, steps, cores)") + acting)
    write(notebooks, "02_second", "study = 'quick'\nsteps = 1", note("two", "(study, steps, os.environ['TTS_BATCH'])"))
    write(notebooks, "draft", "study = 'quick'", note("draft"))
    assert run.main(["--study", "smoke", "-p", "steps", "5", "-p", "cores", "mamba,transformer"]) == 0
    assert notes(notebooks) == ["one:('smoke', 5, ['mamba', 'transformer'])", "two:('smoke', 5, '1')"]

    folder = tmp_path / "figures" / "smoke"
    assert list(json.loads((folder / "stages.json").read_text())) == ["01_first", "02_second", "07_report"]
    names = {"01_first.ipynb", "02_second.ipynb", "07_report.ipynb"}
    assert {p.name for p in (folder / "notebooks").iterdir()} == names
    executed = [nbformat.read(folder / "notebooks" / name, as_version=4) for name in sorted(names)]
    assert [NotebookNotary().check_signature(one) for one in executed] == [False, True, True]
    assert "02_second" in (folder / "report.html").read_text()
    printed = capfd.readouterr()
    ended = [line.split()[0] for line in printed.out.splitlines() if " of 3)" not in line]
    assert ended == ["01_first", "02_second", "07_report", "results"]
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


RUNNER = """
import resource, runpy, signal, sys
from pathlib import Path
from lib import config
signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell's background jobs begin with it ignored
config.REPOSITORY = Path(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
runpy.run_module("lib.run", run_name="__main__")
"""


def runner(folder: Path, largest_file: int = 1 << 30, out: int = subprocess.PIPE) -> subprocess.Popen:
    """The runner in a process of its own, with the study smoke, and the notebooks of this folder."""
    return subprocess.Popen([sys.executable, "-c", RUNNER, folder.parent, str(largest_file), "--study", "smoke"],
                            cwd=config.REPOSITORY, text=True, stdout=out, stderr=subprocess.PIPE)


INNER = """import sys, time
from lib.progress import progress_bar
bar = progress_bar(800, "mamba, in a process" + " of its own" * 9)
for _ in range(2):
    time.sleep(0.1)
    bar.set_postfix(loss="2.913", refresh=False)
    bar.update(100)
sys.stdin.read()"""
OUTER = f"""import os, subprocess, sys, time
from lib.progress import progress_bar
bar = progress_bar(4, "runs", unit="run")
time.sleep(0.1)
bar.update()
process = subprocess.Popen([sys.executable, "-c", {INNER!r}], stdin=subprocess.PIPE)
while not os.path.exists("seen"):
    time.sleep(0.05)
process.communicate()"""


def screen(written: str) -> list[str]:
    """The lines of a terminal to which this was written."""
    rows, row, column = [""], 0, 0
    for up, clear, character in re.findall(r"\x1b\[(\d+)A|(\x1b\[J)|([^\x1b])", written):
        if up:
            row -= int(up)
        elif clear:
            rows[row:] = [rows[row][:column]]
        elif character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            rows += [""] * (row == len(rows))
        else:
            rows[row], column = rows[row][:column] + character + rows[row][column + 1:], column + 1
    return rows


def test_a_terminal_shows_what_runs_and_keeps_a_line_of_it(notebooks: Path, tmp_path: Path, monkeypatch):
    write(notebooks, "01_first", "study = 'quick'", OUTER, heading="## Training")
    (tmp_path / "figures" / "smoke").mkdir(parents=True)
    (tmp_path / "figures" / "smoke" / "stages.json").write_text('{"01_first": 1000}')
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    process, shown, seen = runner(notebooks, out=theirs), b"", []
    os.close(theirs)
    with suppress(OSError):                     # when nobody holds the other end any more
        while True:
            shown += os.read(ours, 4096)
            if not seen and b"200/800" in shown and shown.endswith(b"A\r"):
                seen = screen(shown.decode())
                (notebooks / "seen").touch()
    os.close(ours)
    assert process.communicate()[1] == "" and process.returncode == 0
    head, part, outer, inner = seen
    assert re.fullmatch(r"01_first \(1 of 1\)  \d\d:\d\d, 1\d:\d\d left going by last time", head) and part == "  Training"
    assert re.fullmatch(r"  runs:  25%\|█.*\| run 1/4(, \d\d:\d\d left)?", outer) and len(outer) == 89
    assert re.fullmatch(r"  mamba, in a process of its own of its own o: step 200/800(, \d\d:\d\d left)?, loss=2.913", inner)
    ended, where, rest = screen(shown.decode())
    assert re.fullmatch(r"01_first +[\d.]+ s", ended) and where.startswith("results in ") and rest == ""


def until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


ENDLESS = """import fcntl, time
alive = open('alive', 'w')
fcntl.flock(alive, fcntl.LOCK_EX)
print('started', file=open('notes.txt', 'a'))
time.sleep(600)"""


def test_two_runs_at_once_in_a_workspace_are_refused(notebooks: Path, tmp_path: Path, capfd):
    write(notebooks, "01_first", "study = 'quick'", ENDLESS)
    first = runner(notebooks)
    until(lambda: notes(notebooks))
    for study in ("smoke", "quick"):
        assert refused(capfd, "--study", study) == (
            f"another run (study smoke, process {first.pid}) is writing {tmp_path}: wait until it has ended, "
            "or set TTS_WORKSPACE to another folder\n")
    first.kill()
    first.communicate()
    write(notebooks, "01_first", "study = 'quick'", note("one"))
    assert run.main(["--study", "quick"]) == 0 and notes(notebooks) == ["started", "one:None"]


@pytest.mark.long
@pytest.mark.parametrize("sent, code, said", [
    (signal.SIGKILL, -9, ""), *((s, 130, "interrupted: the same command goes on from here\n")
                                for s in (signal.SIGTERM, signal.SIGINT))])
def test_a_run_that_is_ended_takes_its_kernel_along_and_leaves_nothing(sent, code, said, notebooks, tmp_path):
    write(notebooks, "01_first", "study = 'quick'", ENDLESS)
    first = runner(notebooks)
    until(lambda: notes(notebooks))
    first.send_signal(sent)
    assert first.communicate(timeout=20)[1] == said and first.returncode == code
    with open(notebooks / "alive") as alive:            # the kernel holds it as long as it lives

        def dead() -> bool:
            try:
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True
        until(dead, 5)
    write(notebooks, "01_first", "study = 'quick'", "")
    assert run.main(["--study", "smoke"]) == 0
    assert [p.name for p in (tmp_path / "data").rglob("*")] == ["runs", ".lock"]
    written = {p.name for p in (tmp_path / "figures" / "smoke").rglob("*")}
    assert written == {"notebooks", "01_first.ipynb", "stages.json"}


def test_a_workspace_that_cannot_be_written_is_one_line(notebooks: Path, tmp_path: Path, capfd, monkeypatch):
    write(notebooks, "01_first", "study = 'quick'", note("one"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TTS_WORKSPACE", str(tmp_path / "file"))
    assert "file/data/runs/.lock cannot be written (Not a directory): make it writable, or set" in refused(capfd)
    monkeypatch.setenv("TTS_WORKSPACE", str(tmp_path))
    (tmp_path / "figures").write_text("")
    assert "figures/quick/notebooks cannot be written (Not a directory)" in refused(capfd)
    assert notes(notebooks) == []


def test_a_disk_that_is_full_is_one_line(notebooks: Path, tmp_path: Path):
    write(notebooks, "01_first", "study = 'quick'", "print('x' * 3_000_000)")
    done = tmp_path / "figures" / "smoke" / "notebooks" / "01_first.ipynb"
    done.parent.mkdir(parents=True)
    done.write_text("an earlier result")
    process = runner(notebooks, largest_file=1 << 20)
    assert process.communicate(timeout=60)[1] == (
        f"{done} cannot be written (File too large): free some space, or set TTS_WORKSPACE to another folder, "
        "and run the same command again\n") and process.returncode == 1
    assert done.read_text() == "an earlier result" and list(done.parent.iterdir()) == [done]


def test_a_report_that_would_load_something_is_not_exported(notebooks: Path, tmp_path: Path, capfd):
    write(notebooks, "07_report", "study = 'quick'",
          "from IPython.display import HTML\nHTML('<img src=\"https://example.org/i.png\">')")
    assert "07_report could not be exported: <img> would load 'https://example.org/i.png'" in refused(capfd)
    assert not (tmp_path / "figures" / "quick" / "report.html").exists()


@pytest.mark.parametrize("text, kind, value", [
    ("5", int, 5), ("1e-3", float, 1e-3), ("True", None, True), ("None", None, None), ("a,b", None, "a,b"),
    ("mamba", tuple[str, ...], ["mamba"]), ("75,300", tuple[int, ...], [75, 300]), ("None", tuple[str, ...], None),
    ("", tuple[str, ...], []),
])
def test_values_are_read_as_papermill_reads_them(text, kind, value):
    assert run._value(text, kind) == value
