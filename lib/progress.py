"""Progress with time left: a widget in a live notebook, a bar at a terminal, and where nobody watches a line now and then.
A notebook's kernel, and every process that it starts, also tells `Watch`, in the process that runs the notebook."""
import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm
from tqdm.auto import tqdm as live_tqdm
from tqdm.autonotebook import tqdm as local_tqdm
from tqdm.utils import disp_len, disp_trim

TOLD = "TTS_PROGRESS"       # environment variable: the folder where bars tell how far they are, a file each
FIRST, EVERY = 10.0, 30.0   # seconds until `Watch` says something in a log, and between two lines of anyone there
LINES = 20                  # of one bar in a log, at most
INNER = 3                   # bars that `Watch` shows beside the outermost: the newest
FIELDS = ("n", "total", "initial", "elapsed", "rate", "prefix", "unit", "postfix")      # of tqdm's format_dict


def progress_bar(total: int, label: str, done: int = 0, unit: str = "step") -> tqdm:
    """A bar that stands at `done` of `total`; `update()` it, `close()` it, `set_postfix(loss=..., refresh=False)`."""
    live = not os.environ.get("TTS_BATCH") and (local_tqdm is not tqdm or sys.stderr.isatty())     # another in notebooks
    settings = {"total": total, "initial": done, "desc": label, "unit": unit}
    return live_tqdm(**settings, mininterval=0.2) if live else Told(**settings)


class Told(tqdm):
    """A bar in text: at most LINES lines, EVERY seconds or more apart, and one where it ends; told in the folder TOLD."""
    monitor_interval = 0        # no thread beside what is being timed: every update looks at the clock

    def __init__(self, **settings):
        folder, self.begun = os.environ.get(TOLD), time.time()
        self.path = Path(folder, f"{os.getpid()}-{id(self)}.json") if folder else None
        self.pid, self.printed_n, self.printed_at = os.getpid(), settings["initial"], self.begun
        super().__init__(**settings, gui=True, miniters=1, mininterval=0.01, smoothing=0.01)    # gui: tqdm draws nothing
        if not self.disable:
            self.display()

    def state(self) -> dict:
        figures = self.format_dict
        return {"pid": self.pid, "begun": self.begun, "told": time.time()} | {name: figures[name] for name in FIELDS}

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """What tqdm calls when something is new."""
        if self.path:
            with suppress(OSError):             # whoever reads may be gone, and the disk full
                part = self.path.with_suffix(".part")
                part.write_text(json.dumps(self.state()))
                part.replace(self.path)
        if time.time() - self.printed_at >= EVERY and (self.n - self.printed_n) * LINES >= self.total > self.n:
            self.print()

    def print(self) -> None:
        self.printed_n, self.printed_at = self.n, time.time()
        with suppress(OSError, ValueError):
            self.fp.write(describe(self.state()) + "\n")
            self.fp.flush()

    def close(self) -> None:
        if not self.disable:
            self._forget()
            self.print()

    def __del__(self) -> None:
        self._forget()          # what was never closed has failed, and says so elsewhere

    def _forget(self) -> None:
        super().close()
        if self.path and self.pid == os.getpid():       # not what a fork has of it
            with suppress(OSError):
                self.path.unlink()


def describe(state: dict, width: int | None = None) -> str:
    """Label, step of total, time left and loss of a bar in one line; in `width` columns with a bar, where there is room."""
    left = seconds_left(state)
    ended = " in {elapsed}" if state["n"] >= state["total"] else ""
    clock = f", {tqdm.format_interval(left)} left" if left and left >= 1 else ended
    text = "{unit} {n_fmt}/{total_fmt}" + clock + "{postfix}"
    label = "".join(c if c.isprintable() else "?" for c in state["prefix"])
    figures = {name: state[name] for name in FIELDS} | {"prefix": disp_trim(label, width // 2) if width else label}
    plain = tqdm.format_meter(**figures, bar_format="{desc}: " + text)
    if width is None:
        return plain
    if disp_len(plain) + 20 > width:
        return disp_trim(plain, width)
    return tqdm.format_meter(**figures, ncols=width, ascii=not str(sys.stdout.encoding).lower().startswith("utf"),
                             bar_format="{desc}: {percentage:3.0f}%|{bar}| " + text)


def seconds_left(state: dict) -> float | None:
    """Until a bar is at its end, by its speed so far; None where it has none yet."""
    done = state["n"] - state["initial"]
    rate = done and (state["rate"] or done / max(state["elapsed"], 1e-9))
    return max(0.0, (state["total"] - state["n"]) / rate - (time.time() - state["told"])) if rate else None


class Watch:
    """Says while it is open what runs: at a terminal lines that are drawn again each second and gone afterwards, in a
    log a line after FIRST seconds and then every EVERY, less often where it lasts."""

    def __init__(self, title: str, told: Path, expected: tuple[float, float] | None = None):
        """`told`: the folder in which bars tell. `expected`: the seconds that this and all that follows took last time."""
        self.title, self.told, self.expected, self.out = title, told, expected, sys.stdout
        self.part = ""          # of it that runs
        self.drawn = self.out is not None and self.out.isatty() and os.environ.get("TERM") != "dumb"
        self.begun, self.ended = time.monotonic(), threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.thread.join()

    def _watch(self) -> None:
        wait = 0.0 if self.drawn else FIRST
        with suppress(OSError, ValueError):         # the terminal is gone, or the log's disk full: the notebook goes on
            while not self.ended.wait(wait):
                elapsed = time.monotonic() - self.begun
                if self.drawn:
                    columns, rows = os.get_terminal_size(self.out.fileno())     # 0 where a terminal does not know
                    self._draw(self.lines(elapsed, (columns or 80) - 1)[:max(1, rows - 1 if rows else 9)])
                    wait = 1.0
                else:
                    print(*self.lines(elapsed), sep="; ", file=self.out, flush=True)
                    wait = max(EVERY, min(elapsed / LINES, 10 * EVERY))
            if self.drawn:
                self._draw([""])

    def _draw(self, lines: list[str]) -> None:
        """In place of what was drawn before; the cursor stays at the beginning of the first line."""
        up = f"\x1b[{len(lines) - 1}A" if lines[1:] else ""
        self.out.write("\r\x1b[J" + "\n".join(lines) + up + "\r")
        self.out.flush()

    def lines(self, elapsed: float, width: int | None = None) -> list[str]:
        """What is to be said after `elapsed` seconds: title and time, part, then the outermost bar and the newest in it."""
        bars = told(self.told)
        head = f"{self.title}  {tqdm.format_interval(elapsed)}"
        left = self._whole(elapsed, bars)
        if left is not None:
            head += f", {tqdm.format_interval(left)} left going by last time"
        shown = [describe(bar, width and width - 2) for bar in bars[:1] + bars[1:][-INNER:]]
        rest = [self.part, *shown] if self.part else shown
        return [head, *rest] if width is None else [head[:width], *(f"  {line}"[:width] for line in rest)]

    def _whole(self, elapsed: float, bars: list[dict]) -> float | None:
        """Seconds until all is done; None where neither last time nor a bar says how long this part of it still takes."""
        if self.expected is None:
            return None
        this, rest = self.expected
        bar = seconds_left(bars[0]) if bars else None
        if elapsed > this and bar is None:
            return None
        return max(this - elapsed, bar or 0.0) + rest


def told(folder: Path) -> list[dict]:
    """What the bars of living processes told last, from the outermost, which began first, to the newest."""
    found = []
    for path in folder.glob("*.json"):
        with suppress(OSError, ValueError):
            bar = json.loads(path.read_bytes())
            os.kill(bar["pid"], 0)
            found.append(bar)
    return sorted(found, key=lambda bar: bar["begun"])
