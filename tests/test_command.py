"""Commands: interrupted while they begin, given bytes for text, printing to what cannot take it; what make would do."""
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.config import REPOSITORY

COMMANDS = ("lib.run", "lib.speak", "lib.study", "lib.measuring.bench", "lib.report.reference", "lib.training.codec",
            "lib.training.recogniser")
START = """import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell's background jobs begin with it ignored
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)"""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_modules_are_imported_is_one_line(command, sent, tmp_path: Path, monkeypatch):
    for heavy in ("nbformat", "pandas", "soundfile", "torch"):
        (tmp_path / f"{heavy}.py").write_text(f"import os, time\nos.close(os.open({str(tmp_path / 'begun')!r}, os.O_CREAT))\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
    process = subprocess.Popen([sys.executable, "-c", START, command], cwd=REPOSITORY, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(sent)
    assert process.communicate(timeout=60) == ("", "interrupted\n") and process.returncode == 130


def test_an_interrupt_while_the_package_begins_is_one_line(tmp_path: Path, monkeypatch):
    """Whose first module beside `command` is ctypes."""
    (tmp_path / "ctypes.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
    script = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv = ['-m']; import lib"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_argument_that_is_no_text_is_one_line(command):
    done = subprocess.run([sys.executable, "-m", command, "--study", b"\xffquick"], cwd=REPOSITORY, text=True,
                          capture_output=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the argument b'\\xffquick' is not utf-8 text\n"


@pytest.mark.parametrize("body, code, out, error", [
    ("print('zażółć ×')", 0, "za???? ?\n", ""), ("return 3", 3, "", ""),
    ("raise KeyboardInterrupt", 130, "", "interrupted\n"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 130, "", "interrupted\n")])
def test_what_main_does_is_what_a_command_ends_with(body, code, out, error, tmp_path: Path, monkeypatch):
    (tmp_path / "said.py").write_text(f"def main():\n    {body}", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    script = "from lib import command; command.run('said')"
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, error)


def test_an_interrupt_that_the_parent_ignores_is_ignored(tmp_path: Path, monkeypatch):
    (tmp_path / "said.py").write_text("import os, signal\ndef main(): os.kill(os.getpid(), signal.SIGINT); print('on')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
    script = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from lib import command; command.run('said')"
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


def would_do(folder: Path, *arguments: str) -> str:
    """What make would do in a fresh clone."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    return subprocess.run(["make", "-n", *arguments], cwd=folder, text=True, capture_output=True, check=True).stdout


def test_the_cpu_build_of_torch_is_installed_first_and_alone(tmp_path: Path):
    chosen, usual = would_do(tmp_path, "report", "TORCH=cpu").splitlines(), would_do(tmp_path, "report").splitlines()
    extra = [line for line in chosen if line not in usual]
    assert [line for line in chosen if line in usual] == usual
    assert extra == [".venv/bin/python -m pip install --disable-pip-version-check --no-deps --index-url "
                     "https://download.pytorch.org/whl/cpu $(grep -E '^torch(audio)?==' requirements.txt)"]
    rest = chosen[chosen.index(extra[0]) + 1:]
    assert rest == [".venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt -e .",
                    "touch .venv/installed", ".venv/bin/python -m lib.run --study quick"]
    assert "3.0 GB" in chosen[-5] and "1.8 GB" in chosen[-5]
