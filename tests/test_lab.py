"""Notebook 06 in a running JupyterLab, as `make lab` starts it: run all cells, press a player, type a sentence and hear it."""
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from browser import Tab, needs_chromium, shown
from lib.config import REPOSITORY

pytestmark = [pytest.mark.long, needs_chromium]

NOTEBOOK, WORDS = "06_listen.ipynb", "Ala ma kota."
PANEL = "[...window.jupyterapp.shell.widgets('main')].find(one => one.sessionContext)"
READY = f"window.jupyterapp?.shell && {PANEL}?.sessionContext.session?.kernel?.status === 'idle' && {PANEL}.content.widgets.length > 5"
# Of the notebook as it is: code cells that have not run, and what went wrong in others.
STATE = f"""(() => {{
  const code = {PANEL}.content.model.sharedModel.toJSON().cells.filter(cell => cell.cell_type === "code");
  const errors = code.flatMap(cell => cell.outputs).filter(output => output.output_type === "error");
  const waiting = code.filter(cell => cell.execution_count === null).length;
  return [waiting || {PANEL}.sessionContext.session.kernel.status, errors.map(error => error.traceback.join("\\n"))];
}})()"""
# A press by the mouse in the middle of what is found, once it is in sight.
PLACE = """new Promise(done => {{ {found}.scrollIntoView({{block: "center"}}); setTimeout(() => {{
  const box = {found}.getBoundingClientRect(); done([box.x + box.width / 2, box.y + box.height / 2]); }}, 500); }})"""
ROOM = "document.querySelector('.jp-Notebook .room')"
TEXT = "document.querySelector('.jp-Notebook .widget-text input')"
SPEAK = "[...document.querySelectorAll('.jp-Notebook button.widget-button')].find(one => /Speak|speaking/.test(one.textContent))"
SAID = f"{SPEAK}.closest('.widget-vbox').querySelector('audio')"


def until(tab: Tab, condition: str, seconds: float, shows: str = "document.body.innerText.slice(-2000)") -> None:
    """Ask until the condition holds; where it does not, say what the page `shows`."""
    deadline = time.monotonic() + seconds
    while not tab.evaluate(f"!!({condition})"):
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}\n{tab.evaluate(shows)}\n{tab.page.errors}"
        time.sleep(0.3)


def press(tab: Tab, found: str) -> None:
    x, y = tab.evaluate(PLACE.format(found=found))
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


@pytest.fixture
def address(speaking, tmp_path, monkeypatch) -> Iterator[str]:
    """Where JupyterLab shows notebook 06 of a copy of the notebooks: on the runs of the smoke study, and the cores of the reference."""
    copy, workspace = tmp_path / "copy", tmp_path / "workspace"
    copy.mkdir()
    shutil.copytree(REPOSITORY / "notebooks", copy / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(REPOSITORY / "Makefile", copy)
    notebook = copy / "notebooks" / NOTEBOOK
    source = notebook.read_text(encoding="utf-8")
    assert source.count('study = \\"quick\\"') == 1
    notebook.write_text(source.replace('study = \\"quick\\"', 'study = \\"smoke\\"'), encoding="utf-8")
    shutil.copytree(speaking, workspace)
    shutil.rmtree(workspace / "figures" / "smoke" / "checkpoints")
    (tmp_path / "jupyter").mkdir()
    (tmp_path / "jupyter" / "jupyter_lab_config.json").write_text(json.dumps({
        "ServerApp": {"open_browser": False}, "LabApp": {"expose_app_in_browser": True}}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, log = secrets.token_hex(16), tmp_path / "jupyter.log"
    environment = {**os.environ, "TTS_WORKSPACE": str(workspace), "PYTHONPATH": str(REPOSITORY), "JUPYTER_PORT": str(port),
                   "JUPYTER_TOKEN": token, **{f"JUPYTER_{name}": str(tmp_path / "jupyter") for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")},
                   "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "places")}
    environment.pop("TTS_BATCH", None)
    with open(log, "wb") as out:
        server = subprocess.Popen(["make", "-o", ".venv/installed", "lab", f"RUN={sys.executable} -m"], cwd=copy, env=environment,
                                  stdout=out, stderr=out, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, log)
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/{NOTEBOOK}?token={token}&reset"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)           # of make and what it started, kernels excepted: the server ends those
            with suppress(subprocess.TimeoutExpired):
                server.wait(60)
            os.killpg(server.pid, signal.SIGKILL)


def wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 300) -> None:
    """Return once a server answers."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(URLError, TimeoutError), urlopen(url, timeout=10):
            return
        assert server.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.3)


def test_a_sentence_is_typed_and_heard(address, tmp_path):
    with shown(address, width=1440, height=1000) as tab:
        until(tab, READY, 300, f"String({PANEL}?.sessionContext.session?.kernel?.status)")
        tab.evaluate(f"window.jupyterapp.shell.activateById({PANEL}.id); void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        until(tab, f"{STATE}[0] === 'idle' || {STATE}[1].length", 1200, STATE)
        assert tab.evaluate(STATE)[1] == []

        until(tab, f"{ROOM} && {TEXT} && {SPEAK}", 60)
        press(tab, f"{ROOM}.querySelector('figcaption button')")
        until(tab, f"{ROOM}.querySelector('.position').value > 0.2", 60)
        assert tab.evaluate(f"{ROOM}.querySelector('figcaption button').ariaPressed") == "true"
        tab.screenshot(tmp_path / "room.png")

        press(tab, TEXT)
        tab.evaluate(f"{TEXT}.select()")
        tab.call("Input.insertText", text=WORDS)
        press(tab, SPEAK)
        until(tab, f"{SPEAK}.textContent === 'Speak' && !{SPEAK}.disabled && {SAID}", 300, f"{SPEAK}.closest('.widget-vbox').innerText")
        assert WORDS in tab.evaluate(f"{SAID}.ariaLabel")
        tab.evaluate(f"{SAID}.play()")                      # as one presses its button
        until(tab, f"{SAID}.duration > 0.3 && {SAID}.currentTime > 0", 60)
        tab.screenshot(tmp_path / "spoken.png")
