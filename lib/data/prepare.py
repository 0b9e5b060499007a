"""An own corpus made ready: every clip read, checked and encoded, in parallel, on as much memory as one clip needs.

What is found of a file is kept in the cache under the file's content, its codes under its samples and the codec, so
that a run which was stopped goes on where it was, and studies share what was done. The clips that can be used are
listed, with their split, in a record; the others beside them, each with the reason.
"""
import csv
import hashlib
import json
import os
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from .. import records
from ..config import Study
from ..files import file_digest, scratch
from ..progress import progress_bar
from .audio import Unusable, read_audio, read_sound
from .codec import FRAME_RATE, HOP, Codec
from .layouts import Entry, Layout, SetAside, entries, listing, read_codes
from .text import language_of, normalise
from .tokens import cached, encoded, fingerprint

LARGE = 64_000_000      # bytes of a file that is not read to find out whether it was read before
SHOWN = 100             # of the clips set aside, how many the record quotes; the file beside it has all
SHARE = 0.1             # of the sentences or speakers: validation, and test


def prepare(layout: Layout, study: Study, codec: Codec | None) -> records.Record:
    """The record of a corpus prepared for this codec: found, or made. ValueError where no study can use the corpus."""
    if layout.kind == "codes" and layout.codebooks < study.codebooks:
        raise ValueError(f"{layout.folder / 'corpus.json'} says {layout.codebooks} codebooks, {study.codebooks} are asked "
                         "for: ask for fewer (codebooks)")
    language = study.language or layout.language
    language_of(language)                           # refuses one that is not known, before any work
    what = {"corpus": layout.folder.name, "kind": layout.kind, "listing": listing(layout), "language": language,
            "hold_out": study.hold_out, "codec": codec.identity if codec else layout.codec,
            "code": records.code_digest("data/*.py")}
    finished = records.find("corpus", what)
    if finished:
        return finished
    with scratch(records.runs_root() / "corpus") as folder:
        usable, listed, aside = (folder / name for name in ("usable.jsonl", "clips.jsonl", "set_aside.tsv"))
        alphabet, reasons, examples, described = _examine(layout, language, codec, usable, aside)
        splits = _split(layout, study.hold_out, usable, listed)
        name, sort = layout.folder.name, "codes" if layout.kind == "codes" else "recorded speech"
        return records.save("corpus", what, {
            "name": name, "kind": layout.kind, "speech": f"{sort} of corpus {name}", "language": language,
            "text_column": layout.text_column and f"{layout.text_column} of {layout.columns}", "alphabet": alphabet,
            "splits": splits, "frame_rate": layout.frame_rate or FRAME_RATE, "set_aside": dict(reasons.most_common()),
            "examples": examples, **described},
            {"clips.jsonl": listed, "set_aside.tsv": aside})


def _examine(layout: Layout, language: str, codec: Codec | None, usable: Path,
             aside: Path) -> tuple[str, Counter, list[list[str]], dict]:
    """Write the usable clips and the others; the alphabet, how often each reason occurred, the first examples, and what the
    usable ones are like."""
    total = sum(1 for _ in entries(layout))         # also refuses a broken transcript before any work
    alphabet, reasons, examples = set(), Counter(), []
    rates, speakers, seconds, levels = Counter(), set(), array("d"), array("d")
    bar = progress_bar(total, f"corpus {layout.folder.name}", unit="clip")
    with open(usable, "w", encoding="utf-8") as good, open(aside, "w", encoding="utf-8", newline="") as bad:
        write = csv.writer(bad, delimiter="\t", lineterminator="\n").writerow
        for found in _parallel(lambda entry: examine(entry, layout, language, codec), entries(layout)):
            if isinstance(found, SetAside):
                row = [found.id, found.file, found.reason]
                write(row)
                reasons[found.reason.split(":")[0].split(" (")[0]] += 1
                examples += [row] if len(examples) < SHOWN else []
            else:
                alphabet |= set(found["spoken"])
                speakers.add(found["speaker"])
                seconds.append(found["frames"] / (layout.frame_rate or FRAME_RATE))
                if "rate" in found:
                    rates[str(found["rate"])] += 1
                    levels.append(found["level"])
                good.write(json.dumps(found, ensure_ascii=False) + "\n")
            bar.update()
    bar.close()
    if not alphabet:
        first = "its transcript is empty" if not examples else f"the first because {examples[0][1]}: {examples[0][2]}"
        raise ValueError(f"no clip of corpus {layout.folder} can be used: {total} set aside, {first}")
    if sum(map(str.isalpha, alphabet)) < 2:
        raise ValueError(f"all transcripts of corpus {layout.folder} are made of {''.join(sorted(alphabet))!r}: "
                         "an alphabet of one letter says nothing; check which column holds the text")
    return "".join(sorted(alphabet)), reasons, examples, {
        "speakers": len(speakers - {""}), "rates": dict(rates.most_common()), "seconds": _spread(seconds), "levels": _spread(levels)}


def _spread(values: array) -> list[float]:
    """The least of some values, their median and the greatest."""
    return np.quantile(values, (0, 0.5, 1)).tolist() if values else []


def _parallel(function: Callable, items: Iterable) -> Iterator:
    """The function's results in order, a few items ahead: memory does not grow with their number."""
    workers, threads = os.cpu_count() or 1, torch.get_num_threads()
    torch.set_num_threads(1)                        # one thread a file, instead of all threads on each
    waiting: deque = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


def examine(entry: Entry | SetAside, layout: Layout, language: str, codec: Codec | None) -> dict | SetAside:
    """What the corpus's list says of a clip: its entry, the spoken text, the number of frames, the sha256 of its samples or codes,
    and of a sound its file's sample rate and its level in dB of full scale; or why it is not used."""
    if isinstance(entry, SetAside):
        return entry
    path = layout.folder / entry.file
    try:
        spoken = normalise(entry.text, language)
        if not any(map(str.isalpha, spoken)):
            raise ValueError(f"nothing to speak: {entry.text[:60]!r} has no letter")
        found = _read(path, layout) if layout.kind == "codes" else _encode(path, codec)
    except ValueError as error:
        return SetAside(entry.id, entry.file, str(error))
    return {**vars(entry), "spoken": spoken, **found}


def _read(path: Path, layout: Layout) -> dict:
    """Frames and sha256 of codes."""
    codes = read_codes(path, layout)
    return {"frames": codes.shape[1], "sha256": fingerprint(codes)}


def _encode(path: Path, codec: Codec) -> dict:
    """Frames, sample rate, level and sha256 of a sound file, whose codes are then in the cache."""
    audio = None

    def look() -> bytes:
        nonlocal audio
        try:
            audio, rate = read_sound(path)
        except Unusable as error:
            return json.dumps({"reason": str(error)}).encode()
        level = 10 * np.log10(np.mean(np.square(audio, dtype=np.float64)))
        return json.dumps({"frames": -(-len(audio) // HOP), "rate": rate, "level": round(level, 2),
                           "sha256": fingerprint(audio)}).encode()

    known = path.is_file() and path.stat().st_size <= LARGE
    what = {"file": file_digest(path), "code": records.code_digest("data/audio.py")} if known else None
    found = json.loads(cached(what, look) if known else look())
    if "reason" in found:
        raise Unusable(found["reason"])
    encoded(found["sha256"], codec, lambda: read_audio(path) if audio is None else audio)
    return found


def _split(layout: Layout, hold_out: str | None, usable: Path, listed: Path) -> dict[str, dict]:
    """Write the list with its splits: the corpus's own, or seeded ones that share no sentence, or no speaker. Of a corpus that
    has no test, what it calls validation stays that.

    Returns clips and frames of each split.
    """
    def rows() -> Iterator[dict]:
        with open(usable, encoding="utf-8") as file:
            yield from map(json.loads, file)

    def place(row: dict) -> int:
        group = row["speaker"] if hold_out == "speaker" else row["spoken"]
        return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8])

    named = {row["split"] for row in rows()}
    if hold_out or "" in named or "train" not in named:
        followed = set()
    else:
        followed = named if "test" in named else named - {"train"}
    if hold_out == "speaker" and not all(row["speaker"] for row in rows()):
        raise ValueError(f"corpus {layout.folder} does not say who speaks: hold out sentences (hold_out)")
    groups = sorted({place(row) for row in rows() if row["split"] not in followed})
    if len(groups) == 1:
        raise ValueError(f"corpus {layout.folder} has one usable {hold_out or 'sentence'}: at least 2 are needed, one "
                         "to train on and one to hold out")
    few = max(1, min(len(groups) // 3, max(3, round(SHARE * len(groups)))))
    test, validation = (groups[few - 1], groups[min(2 * few, len(groups) - 1) - 1]) if groups else (0, 0)
    if followed:
        validation = test
    counts: dict[str, dict] = {}
    with open(listed, "w", encoding="utf-8") as file:
        for row in rows():
            at = place(row)
            split = "test" if at <= test else "validation" if at <= validation else "train"
            split = row["split"] if row["split"] in followed else split
            count = counts.setdefault(split, {"clips": 0, "frames": 0})
            count["clips"] += 1
            count["frames"] += row["frames"]
            file.write(json.dumps({**row, "split": split}, ensure_ascii=False) + "\n")
    return counts
