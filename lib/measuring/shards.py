"""A corpus in shards against its size: how long it takes to open and to go on in, how fast it is read, on how much memory.

The phrases are made up, 3.6 seconds long on average, so that 10 million are 10,000 hours. The first shards are written as any
are; each further one has its own index, but is a hard link to one of the first: its codes are theirs. What is read is therefore
in memory already, and the disk is not measured. Beside the reading stands the core that trains fastest, alone, without the shell.
"""
from .. import command

if __name__ == "__main__":
    command.run("lib.measuring.shards")

import argparse
import io
import os
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from .. import records
from ..data import shards
from ..data.codec import FRAME_RATE, MAX_CODEBOOKS
from ..data.phrases import LONGEST, Group, Phrase
from ..data.shards import Sampler, Shards, append
from ..files import scratch
from ..metrics import cost
from ..models.build import DEVICE
from ..models.cores import SIZES
from ..progress import progress_bar
from .bench import in_turn, new_cores, training_step
from .profile import in_fresh_process

PHRASES = 10_000_000
WRITTEN = 8                 # shards; others are links to them
SHORTEST = 240              # frames; the longest has LONGEST
BATCH, SIZE = 8, "matched-1m"       # of the study of speech
SECONDS = 10                # of reading
OPENED, RESIDENT, FASTER = 5, 2e9, 10       # what is aimed at: seconds and bytes at most, and so many times what training eats


def made_up(random: np.random.Generator) -> Iterator[Phrase]:
    """Phrases without end, of words of five phonemes and a pause."""
    codes = random.integers(0, 1024, (MAX_CODEBOOKS, 2 ** 20)).astype(np.int16)
    while True:
        frames, at = int(random.integers(SHORTEST, LONGEST + 1)), int(random.integers(2 ** 20 - LONGEST))
        words = [Group(" słowo", tuple((name, 6) for name in "swɔvɔ_")) for _ in range(frames // 36)]
        groups = (*words, Group(".", (("_", frames % 36),)))
        text = "".join(g.characters for g in groups)
        yield Phrase(f"made-up-{at:08d}", text, groups, codes[:, at:at + frames], "train", f"{at:08d}.flac")


def write(folder: Path) -> dict:
    """The first shards: seconds, frames and bytes."""
    size, source = 0, made_up(np.random.default_rng(0))

    def some() -> Iterator[Phrase]:
        nonlocal size
        while size < WRITTEN * shards.SHARD:
            phrase = next(source)
            size += len(shards.pack(phrase)) + phrase.codes.nbytes
            yield phrase
    begin = time.perf_counter()
    append(folder, some(), "made up")
    seconds = time.perf_counter() - begin
    written = Shards(folder)
    return {"phrases": len(written), "frames": int(written.frames.sum()), "seconds": seconds, "bytes": size}


def grow(folder: Path, size: int) -> None:
    """Add links to the first shards, with an index each, until there are so many phrases."""
    there = Shards(folder)
    lengths, phrases = np.diff(there.first)[:WRITTEN].tolist(), len(there)
    for number in count(there.count):
        if phrases >= size:
            break
        source, target = (folder / f"{n:05d}" for n in (number % len(lengths), number))
        os.link(source.with_suffix(".safetensors"), target.with_suffix(".safetensors"))
        shutil.copy(source.with_suffix(".index"), target.with_suffix(".index"))
        phrases += lengths[number % len(lengths)]


def task_read(folder: str, seconds: float) -> dict:
    """A corpus opened, planned and read from the middle of an epoch: seconds, phrases, frames, and bytes resident in all."""
    base = cost.resident()
    with cost.measure_memory(average=False) as memory:
        begin = time.perf_counter()
        sampler = Sampler(Shards(Path(folder)), BATCH * LONGEST, 0)
        opened, index = time.perf_counter() - begin, cost.resident()
        begin = time.perf_counter()
        batches = sum(len(batches) for _, batches in sampler.pools(0))
        planned = time.perf_counter() - begin
        reading = sampler.read(batches // 2)
        begin = time.perf_counter()
        next(reading)
        found = time.perf_counter() - begin
        phrases = frames = 0
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds:
            batch = next(reading)
            phrases += len(batch)
            frames += sum(p.codes.shape[1] for p in batch)
        took = time.perf_counter() - begin
    return {"phrases": len(sampler.shards), "hours": int(sampler.shards.frames.sum(dtype=np.int64)) / FRAME_RATE / 3600,
            "shards": sampler.shards.count, "open_s": opened, "index_bytes": index - base, "batches": batches, "plan_s": planned,
            "middle_s": found, "phrases_s": phrases / took, "frames_s": frames / took, "resident_bytes": base + memory.peak}


def eaten() -> dict[str, float]:
    """Frames a second that training takes: of each core alone, at the size and the batch of the study of speech."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, LONGEST, SIZES[SIZE].width, device=DEVICE, requires_grad=True)
    runs = in_turn({name: training_step(core, x) for name, core in new_cores(SIZE).items()})
    return {name: 1e3 * BATCH * LONGEST / median(ms) for name, ms in runs.items()}


def curve(rows: list[dict], fastest: float) -> bytes:
    """Seconds to open and to plan, memory, and frames read a second, each against the number of phrases: an SVG."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    phrases = [row["phrases"] for row in rows]
    for axis, (title, lines) in zip(figure.subplots(1, 3), (
            ("seconds", {"open": "open_s", "plan an epoch": "plan_s", "go on from its middle": "middle_s"}),
            ("bytes resident", {"in all, at most": "resident_bytes", "of the index, opened": "index_bytes"}),
            ("frames a second", {"read": "frames_s"}))):
        for label, name in lines.items():
            axis.plot(phrases, [row[name] for row in rows], "o-", label=label)
        axis.set(title=title, xlabel="phrases", xscale="log", yscale="log")
    axis.axhline(fastest, color="grey", label="eaten by training")
    for axis in figure.axes:
        axis.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="svg")
    return content.getvalue()


def bench(most: int) -> records.Record:
    """Measured anew: `rows`, one for each size up to `most` phrases, `written`, and `eaten`, frames a second."""
    sizes = [most // part for part in (64, 16, 4, 1)]
    what = {"sizes": sizes, "seconds": SECONDS, "shard": shards.SHARD, "pool": shards.POOL, "here": records.environment_identity(),
            "code": records.code_digest("measuring/shards.py", "data/shards.py", "models/*.py")}
    rows, bar = [], progress_bar(len(sizes) + 1, "corpora in shards", unit="size")
    with scratch(records.runs_root() / "shards") as folder:
        written = write(folder / "corpus")
        for size in sizes:
            grow(folder / "corpus", size)
            rows.append(in_fresh_process(task_read, folder=str(folder / "corpus"), seconds=SECONDS))
            bar.update()
    trained = eaten()
    bar.update()
    bar.close()
    return records.save("shards", what, {"rows": rows, "written": written, "eaten": trained},
                        {"curve.svg": curve(rows, max(trained.values()))})


def main() -> int:
    parser = argparse.ArgumentParser("python -m lib.measuring.shards", description=__doc__.split("\n\n")[0])
    parser.add_argument("--phrases", type=int, default=PHRASES, help="of the largest corpus; without it %(default)s")
    try:
        record = bench(parser.parse_args().phrases)
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    rows, written, trained = (record.result[name] for name in ("rows", "written", "eaten"))
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:,.3f}".format))
    frames, size = (written[name] / written["seconds"] for name in ("frames", "bytes"))
    print(f"written: {frames:,.0f} frames/s, {size / 1e6:.0f} MB/s")
    print("training eats, frames/s: " + ", ".join(f"{core} {rate:,.0f}" for core, rate in trained.items()))
    last, fastest = rows[-1], max(trained.values())
    for name, value, aim, kept in (
            ("seconds to open", last["open_s"], f"less than {OPENED}", last["open_s"] < OPENED),
            ("GB resident", last["resident_bytes"] / 1e9, f"at most {RESIDENT / 1e9:g}", last["resident_bytes"] <= RESIDENT),
            ("times what training eats", last["frames_s"] / fastest, f"more than {FASTER}", last["frames_s"] > FASTER * fastest)):
        print(f"{last['phrases']:,} phrases, {name}: {value:.2f}; aimed at {aim}: {'kept' if kept else 'missed'}")
    print(record.folder / "curve.svg")
    return 0
