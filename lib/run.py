"""The notebooks in order, through papermill: python -m lib.run [--study quick] [--corpus DIR] [--only 05 ...] [-p name value ...]

Writes the executed notebooks, the seconds of each and the exported report under figures/<study>/ of the workspace.
"""
from . import command

if __name__ == "__main__":
    command.run("lib.run")

import argparse
import fcntl
import json
import logging
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_origin

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary

from . import config
from .data.layouts import recognise
from .files import Unwritable, scratch, sweep, write_atomic, writing
from .progress import TOLD, Watch
from .records import runs_root
from .report import page

NOTEBOOKS = config.REPOSITORY / "notebooks"
REPORT = "07_report"        # the notebook that becomes report.html
logging.getLogger().addHandler(logging.NullHandler())   # what goes wrong is told once, by RunError, and not by libraries


class RunError(Exception):
    """Why a run was refused or failed, in one line."""


def kernel(told: Path) -> type[AsyncKernelManager]:
    """The interpreter that runs this module, whatever kernelspecs the user has installed; its bars tell in `told`."""
    class Kernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict(extra_arguments=["--log-level=CRITICAL"]),
                              env={"TTS_BATCH": "1", TOLD: str(told)})      # progress as text, no widgets
    return Kernel


def run(study: str, only: list[str] | None = None, parameters: dict[str, str] | None = None) -> Path:
    """Run the selected notebooks; the folder where everything was written."""
    notebooks = _select(only)
    declared = {notebook: set(papermill.inspect_notebook(notebook)) for notebook in notebooks}
    given, folder = _check(study, parameters or {}, set().union(*declared.values()))
    with _locked(folder.name):
        for root in (runs_root(), config.workspace() / "data" / "cache", folder):
            sweep(root)
        earlier = _stages(folder)
        stages = dict(earlier) if only else {}
        for i, notebook in enumerate(notebooks):
            title, expected = f"{notebook.stem} ({i + 1} of {len(notebooks)})", _expected(earlier, notebooks[i:])
            try:
                with scratch(folder / "notebooks") as temporary, Watch(title, temporary, expected) as watch:
                    start = time.perf_counter()
                    executed = _execute(notebook, folder / "notebooks", temporary, watch,
                                        {name: given[name] for name in given if name in declared[notebook]})
                    stages[notebook.stem] = round(time.perf_counter() - start, 2)
                    write_atomic(folder / "stages.json", json.dumps(dict(sorted(stages.items())), indent=1).encode())
                    if notebook.stem == REPORT:
                        _export(executed, folder / "report.html")
            except (RunError, OSError):
                print(f"{notebook.stem:24}  failed", flush=True)
                raise
            print(f"{notebook.stem:24}{stages[notebook.stem]:8.1f} s", flush=True)
    return folder


def _select(only: list[str] | None) -> list[Path]:
    """The notebooks in order; with `only`, those of these numbers or names."""
    notebooks = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise RunError(f"no notebooks in {NOTEBOOKS}: install a clone of the repository with pip install -e .")
    for name in only or []:
        if not any(name in (n.stem, n.stem[:2]) for n in notebooks):
            raise RunError(f"no notebook {name!r}: choose from {', '.join(n.stem for n in notebooks)}")
    return [n for n in notebooks if not only or n.stem in only or n.stem[:2] in only]


def _check(study: str, parameters: dict[str, str], declared: set[str]) -> tuple[dict[str, object], Path]:
    """The parameters as values, refused where no notebook declares one or the study cannot take it; and its folder."""
    for name in parameters:
        if name == "study":
            raise RunError("the study is chosen with --study, not with -p")
        if name not in declared:
            raise RunError(f"no selected notebook has a parameter {name!r}: "
                           f"choose from {', '.join(sorted(declared - {'study'})) or 'none'}")
    types = {f.name: f.type for f in fields(config.Study) if f.name != "name"}
    values = {name: _value(text, types.get(name)) for name, text in parameters.items()}
    try:
        chosen = config.study(study, **{name: value for name, value in values.items() if name in types})
        if chosen.corpus != config.EMBEDDED:
            recognise(Path(chosen.corpus))
    except ValueError as error:
        raise RunError(str(error)) from None
    paths = {name: getattr(chosen, name) for name in ("corpus", "codec", "recordings") if name in values}     # absolute
    return {"study": study} | values | paths, config.workspace() / "figures" / chosen.label


def _value(text: str, kind: object = None) -> object:
    """What papermill's command line makes of a value; `a,b` is a list where the study's field is a tuple."""
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    if kind in (str, str | None):
        return text
    if get_origin(kind) is tuple:
        return [part if get_args(kind)[0] is str else _value(part) for part in text.split(",") if part]
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return text


@contextmanager
def _locked(study: str) -> Iterator[None]:
    """One run at a time in a workspace, since two would disturb each other's timings; free again however a run ends."""
    path = runs_root() / ".lock"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "a+")
    with lock:
        try:
            with writing(path):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.truncate(0)
                print(f"study {study}, process {os.getpid()}", end="", file=lock, flush=True)
        except Unwritable as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            lock.seek(0)
            raise RunError(f"another run ({lock.read()}) is writing {config.workspace()}: wait until it has ended, "
                           "or set TTS_WORKSPACE to another folder") from None
        yield


def _stages(folder: Path) -> dict[str, float]:
    """Seconds of each notebook in earlier runs; none where they cannot be read."""
    with suppress(OSError, ValueError, TypeError):
        return {name: float(s) for name, s in dict(json.loads((folder / "stages.json").read_bytes())).items()}
    return {}


def _expected(earlier: dict[str, float], notebooks: list[Path]) -> tuple[float, float] | None:
    """Seconds of the first of these notebooks and of all others in earlier runs, where all of them are known."""
    seconds = [earlier.get(n.stem) for n in notebooks]
    return None if None in seconds else (seconds[0], sum(seconds[1:]))


def _execute(notebook: Path, folder: Path, temporary: Path, watch: Watch, parameters: dict[str, object]) -> Path:
    """Execute one notebook: its output appears whole, signed where it is inert, or as .failed.ipynb with what went wrong."""
    def begins(cell: NotebookNode, **_) -> None:
        if cell.cell_type == "markdown" and (heading := re.match("#+ (.+)", cell.source)):
            watch.part = heading[1]

    done, failed, running = folder / notebook.name, folder / f"{notebook.stem}.failed.ipynb", temporary / notebook.name
    try:
        papermill.execute_notebook(notebook, running, parameters, kernel_name="python3", language="python",
                                   kernel_manager_class=kernel(temporary), on_cell_start=begins, cwd=NOTEBOOKS,
                                   progress_bar=False)
    except OSError as error:
        raise Unwritable(error.filename or done, error) from error
    except Exception as error:
        if running.exists():
            os.replace(running, failed)
        name, message = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
        message = " ".join(message.split())
        raise RunError(f"{notebook.stem} failed: {name}: {message} (executed: {failed})") from error
    executed = nbformat.read(running, as_version=4)
    if page.inert(executed):        # whoever wrote the notebook or the corpus; then JupyterLab leaves its <audio> in
        with suppress(OSError, sqlite3.Error):
            NotebookNotary().sign(executed)
    failed.unlink(missing_ok=True)
    os.replace(running, done)
    return done


def _export(notebook: Path, out: Path) -> None:
    try:
        page.export(notebook, out)
    except ValueError as error:
        raise RunError(f"{notebook.stem} could not be exported: {error}") from error


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.run", description="Run the notebooks in order.")
    parser.add_argument("--study", default="quick", help=", ".join(config.STUDIES))
    parser.add_argument("--only", nargs="+", metavar="NOTEBOOK", help="numbers or names, such as 05")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters",
                        help="a parameter, passed to the notebooks that declare it; lists as a,b")
    for name, help in (("corpus", "the folder of your own speech"), ("language", "of that corpus, such as en"),
                       ("codec", "embedded, encodec_24khz, or the path of a codec file")):
        parser.add_argument(f"--{name}", help=help)
    arguments = parser.parse_args(argv)
    named = {name: value for name in ("corpus", "language", "codec") if (value := getattr(arguments, name)) is not None}
    try:
        folder = run(arguments.study, arguments.only, dict(arguments.parameters) | named)
    except (RunError, OSError) as error:
        print(*str(error).split(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    print(f"results in {folder}")
    return 0

