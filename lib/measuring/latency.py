"""`python -m lib.measuring.latency`: how soon and how steadily each core speaks, alone and beside others, and what it keeps of a
long text. Leave the machine alone meanwhile.

From the text in hand, phonemes and all, to the samples that a stream gives out: of a process that has spoken before, and of the
command from its start. Each stream is a process of its own, and is read as fast as it comes; several share the processors.
"""
from .. import command

if __name__ == "__main__":
    command.run("lib.measuring.latency")

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from pathlib import Path
from threading import Barrier

import numpy as np
import pandas as pd
import torch

from .. import keep_freed_memory, records
from ..config import REPOSITORY, STUDIES
from ..data.audio import SAMPLE_RATE, wav_header
from ..data.codec import HOP
from ..data.corpus import sentences
from ..data.phrases import LONGEST
from ..metrics import cost
from ..progress import progress_bar
from ..speaking.speaker import REFERENCE, STATES, Speaker, by_error, read_checkpoint
from .profile import fresh, in_fresh_process

POINTS = 10                 # of a long text at which it is looked what is kept
COMMANDS = 10               # texts, the first, that the command says: nearly all of its time is the same for each
PATIENCE = 600              # seconds that processes wait for each other


def timed(sounds: Iterable[np.ndarray], begin: float) -> dict:
    """Of a stream that was asked for at `begin`: seconds to the first samples and to the last, seconds of sound, and each gap in
    which a player that began with the first samples had none left."""
    first, playing, sound, gaps = None, 0.0, 0.0, []
    for samples in sounds:
        at = time.perf_counter() - begin
        first = at if first is None else first
        if sound and at > playing:
            gaps.append(at - playing)
        sound += len(samples) / SAMPLE_RATE
        playing = max(playing, at) + len(samples) / SAMPLE_RATE         # until when there is something to play
    return {"first": first, "last": at, "sound": sound, "gaps": gaps}


class Worker:
    """What a process that speaks holds."""
    speaker: Speaker

    @classmethod
    def begin(cls, path: Path, text: str, threads: int, ready: Barrier) -> None:
        torch.set_num_threads(threads)
        cls.speaker = read_checkpoint(path)
        cls.speaker.say(text)
        ready.wait(PATIENCE)

    @classmethod
    def speak(cls, said: list[str]) -> list[dict]:
        return [timed(cls.speaker.stream(text), time.perf_counter()) for text in said]


def warm(path: Path, said: list[str], streams: int) -> list[dict]:
    """A row a text and stream, of so many at once, each in a process that has spoken before."""
    context, threads = fresh(), max(1, torch.get_num_threads() // streams)
    with ProcessPoolExecutor(streams, context, Worker.begin, (path, said[-1], threads, context.Barrier(streams))) as pool:
        return [row for rows in pool.map(Worker.speak, [said] * streams) for row in rows]


def from_the_command(path: Path, text: str) -> float:
    """Seconds from the start of the command to its first samples."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "lib.speak", text, "--stream", "--core", path.stem, "--checkpoints",
                                str(path.parent)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    head = process.stdout.read(len(wav_header()) + 1)
    seconds = time.perf_counter() - begin
    _, error = process.communicate()
    if process.returncode or len(head) <= len(wav_header()):
        raise RuntimeError(f"the command failed: {error.decode().strip()}")
    return seconds


def task_long(path: str, said: list[str], state: str, seconds: float, points: int) -> dict:
    """Of a text of so many seconds, said on one state: at so many places the seconds of sound, the bytes of the core's state and
    of what is resident above the process before the model was read; and the peak of that."""
    keep_freed_memory(False)                                            # so that what is resident is in use
    rows, samples, before = [], 0, cost.resident()
    with cost.measure_memory(average=False) as memory:
        speaker = read_checkpoint(Path(path))
        for sound in speaker.stream(_endless(said), state=state):
            samples += len(sound)
            frames = samples // HOP
            if samples >= seconds * SAMPLE_RATE * (len(rows) + 1) / points:
                rows.append({"seconds": samples / SAMPLE_RATE, "resident": cost.resident() - before,
                             "state": speaker.model.core.state_bytes(min(frames, LONGEST) if state == "window" else frames)})
            if len(rows) == points:
                break
    return {"rows": rows, "peak": memory.peak}


def _endless(said: list[str]) -> Iterator[str]:
    return (f"{text} " for text in cycle(said))


def summary(rows: list[dict]) -> dict:
    """First sound in milliseconds, half and 95 % of the texts sooner; the median real-time factor; gaps and the longest, in
    milliseconds."""
    p50, p95 = np.percentile([1e3 * row["first"] for row in rows], (50, 95))
    gaps = [1e3 * gap for row in rows for gap in row["gaps"]]
    return {"texts": len(rows), "p50_ms": p50, "p95_ms": p95, "gaps": len(gaps), "longest_gap_ms": max(gaps, default=0.0),
            "real_time_factor": float(np.median([row["last"] / row["sound"] for row in rows]))}


def latency(paths: dict[str, Path], said: list[str], streams: tuple[int, ...], minutes: float,
            points: int = POINTS) -> records.Record:
    """Measured for each core's checkpoint, or found, on some texts: `warm`, a row a core and number of streams; `command`, a row a
    core; `long`, a core and state, of them again and again for so many minutes."""
    what = {"cores": {core: read_checkpoint(path).digest for core, path in paths.items()}, "texts": said, "streams": streams,
            "minutes": minutes, "points": points, "here": records.environment_identity(),
            "code": records.code_digest("*.py", "measuring/latency.py", "speaking/*.py", "models/*.py", "data/*.py")}
    if finished := records.find("latency", what):
        return finished
    result: dict[str, list] = {"warm": [], "command": [], "long": []}
    ways = STATES[1:] if minutes else ()
    bar = progress_bar(len(paths) * (len(streams) + 1 + len(ways)), "latency", unit="part")
    for at_once in streams:
        for core, path in paths.items():
            rows = warm(path, said, at_once)
            result["warm"].append({"core": core, "streams": at_once, **summary(rows), "rows": rows})
            bar.update()
    for core, path in paths.items():
        seconds = [from_the_command(path, text) for text in said[:COMMANDS]]
        p50, p95 = np.percentile([1e3 * s for s in seconds], (50, 95))
        result["command"].append({"core": core, "texts": len(seconds), "p50_ms": p50, "p95_ms": p95, "seconds": seconds})
        bar.update()
    for core, path in paths.items():
        for state in ways:
            result["long"].append({"core": core, "state": state, **in_fresh_process(
                task_long, path=str(path), said=said, state=state, seconds=60 * minutes, points=points)})
            bar.update()
    bar.close()
    return records.save("latency", what, result)


def main() -> int:
    parser = argparse.ArgumentParser("python -m lib.measuring.latency", description=__doc__.split(": ", 1)[1].split("\n\n")[0])
    parser.add_argument("--checkpoints", type=Path, default=REFERENCE, metavar="FOLDER", help="where <core>.safetensors are")
    usual = STUDIES["standard"]
    parser.add_argument("--texts", type=int, default=usual.latency_texts, help="so many of the test sentences; without it %(default)s")
    parser.add_argument("--minutes", type=float, default=usual.latency_minutes,
                        help="of the long text; without it %(default)s; 0 for none")
    given = parser.parse_args()
    try:
        said = [sentence.text for sentence in sentences("test")[:given.texts]]
        record = latency(by_error(given.checkpoints), said, usual.streams, given.minutes)
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    for rows in record.result.values():
        print(pd.DataFrame(rows).drop(columns=["rows", "seconds"], errors="ignore").to_string(index=False), end="\n\n")
    print(record.folder / "record.json")
    return 0
