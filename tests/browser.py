"""A page as a browser without a network sees it: headless Chromium, driven over the DevTools protocol."""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import pytest
import websocket

from lib.config import REPOSITORY

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
           "--disable-extensions", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--window-size=1400,1000",
           "--remote-debugging-port=0")
AUDIO_SECONDS = """Promise.all([...document.querySelectorAll("audio")].map(player => new Promise(done => {
  const report = () => done(Number.isFinite(player.duration) ? player.duration : 0);
  if (player.readyState > 0 || player.error) return report();
  for (const event of ["loadedmetadata", "error"]) player.addEventListener(event, report);
  player.preload = "metadata";
})))"""

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true",
    reason="no Chromium is installed: the page is not opened in a browser (on Debian: apt-get install chromium)")

AXE = REPOSITORY / ".venv" / "node_modules" / "axe-core" / "axe.min.js"
needs_axe = pytest.mark.skipif(
    not AXE.exists(), reason=f"{AXE} is not there: npm install --no-save --prefix .venv axe-core@4.14.1")


@dataclass
class Page:
    requests: list[str] = field(default_factory=list)       # anything but the file itself and data: addresses
    errors: list[str] = field(default_factory=list)         # uncaught exceptions and what the console calls errors
    audio_seconds: list[float] = field(default_factory=list)


def inspect_page(path: Path, screenshot: Path | None = None) -> Page:
    """Open a local page with the network off: what it asked for, what went wrong, how long its sounds are."""
    with opened(path) as tab:
        tab.page.audio_seconds = tab.evaluate(AUDIO_SECONDS)
        if screenshot is not None:
            tab.screenshot(screenshot, whole=True)
    return tab.page


@contextmanager
def opened(path: Path, fragment: str = "", width: int = 1400, height: int = 1000, dark: bool = False) -> Iterator["Tab"]:
    """A tab that shows a local page with the network off, and notes what it asks for and what goes wrong."""
    url = Path(path).resolve().as_uri()
    with shown(url + fragment, width, height, dark, offline=True) as tab:
        yield tab


@contextmanager
def shown(url: str, width: int, height: int, dark: bool = False, offline: bool = False) -> Iterator["Tab"]:
    """A tab that shows an address, and notes what it asks for and what goes wrong; this machine's servers are all it can reach."""
    if CHROMIUM is None:
        raise FileNotFoundError("no Chromium is installed (on Debian: apt-get install chromium)")
    with _tab() as tab:
        tab.on_event = lambda event: _note(tab.page, url.split("#")[0], event)
        for domain in ("Network", "Page", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        tab.call("Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        if failure := tab.call("Page.navigate", url=url).get("errorText"):
            raise FileNotFoundError(f"{url}: {failure}")
        tab.wait("Page.loadEventFired")
        yield tab


def _note(page: Page, url: str, event: dict) -> None:
    """Keep what an event says about requests and errors."""
    method, values = event["method"], event["params"]
    if method == "Network.requestWillBeSent":
        address = values["request"]["url"]
        if not address.startswith("data:") and address.split("#")[0] != url:
            page.requests.append(address)
    elif method == "Runtime.exceptionThrown":
        details = values["exceptionDetails"]
        page.errors.append(details.get("exception", {}).get("description") or details["text"])
    elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "assert"):
        page.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in values["args"]))
    elif method == "Log.entryAdded" and values["entry"]["level"] == "error":
        page.errors.append(values["entry"]["text"])


class Tab:
    """One tab's DevTools connection: calls wait for their answers, events go to `on_event`."""

    def __init__(self, address: str):
        self.socket = websocket.create_connection(address, timeout=120, suppress_origin=True)
        self.on_event, self.calls, self.seen, self.page = (lambda event: None), 0, set(), Page()

    def _receive(self) -> dict:
        message = json.loads(self.socket.recv())
        if "method" in message:
            self.seen.add(message["method"])
            self.on_event(message)
        return message

    def call(self, method: str, **parameters) -> dict:
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while (message := self._receive()).get("id") != self.calls:
            pass
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    def wait(self, method: str) -> None:
        while method not in self.seen:
            self._receive()

    def evaluate(self, expression: str) -> object:
        """What an expression, or the promise that it gives, comes to in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['result'].get('description', answer['exceptionDetails']['text'])}")
        return answer["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press a key and let it go; `text` is what it types."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        for event in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=event, key=key, windowsVirtualKeyCode=codes.get(key, 0),
                      **({"text": text} if text and event == "keyDown" else {}))

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """What the window shows as PNG, or the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}
        shot = self.call("Page.captureScreenshot", **({"clip": clip, "captureBeyondViewport": True} if whole else {}))
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def _tab() -> Iterator[Tab]:
    """A tab of a fresh Chromium with an empty profile."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen([CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = _port(process, Path(profile) / "DevToolsActivePort")
            with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
                address = next(t["webSocketDebuggerUrl"] for t in json.load(answer) if t["type"] == "page")
            tab = Tab(address)
            try:
                yield tab
            finally:
                tab.socket.close()
        finally:
            process.terminate()
            process.wait(timeout=30)


def _port(process: subprocess.Popen, file: Path, seconds: float = 60) -> str:
    """The DevTools port, once Chromium has written it into its profile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and (lines := file.read_text().split()):
            return lines[0]
        time.sleep(0.05)
    raise RuntimeError(f"{CHROMIUM} did not start (exit status {process.poll()})")
