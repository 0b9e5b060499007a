"""Phrases by the million: codes in shards, an index in memory, shuffled batches within a budget of frames.

A corpus in shards is a folder of pairs. `00000.safetensors` holds the phrases of a shard one after the other: `codes` (frames,
codebooks) int16, `rows` (bytes,) their texts and groups as JSON, and `ends` (phrases,) int64, where each row ends. `00000.index`,
sealed, holds `frames` (phrases,) int32 and `checks` (phrases,) uint32, the CRC-32 of each phrase's row and codes; the shard's
`size` in bytes, its `codebooks`, and the `codec` whose codes they are. A shard counts once its index is there, and neither is
ever written again: what ends a writer loses only the shard that was about to be written.

Shuffling is that of the shards and then of the phrases of POOL shards together, which alone are mapped meanwhile.
"""
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import sha256
from itertools import accumulate, count
from pathlib import Path
from zlib import crc32

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from ..files import Damaged, seal, sweep, unseal, write_atomic, writing
from .phrases import Phrase, grouped, listed

SHARD = 2 ** 25         # bytes of codes and rows after which a shard is full
POOL = 16               # shards that are mapped, and whose phrases are shuffled, together


def pack(phrase: Phrase) -> bytes:
    """All of a phrase but its codes."""
    return json.dumps([phrase.id, phrase.text, listed(phrase.groups), phrase.split, phrase.file], ensure_ascii=False).encode()


def unpack(row: bytes, codes: np.ndarray) -> Phrase:
    """The phrase of a row and codes (codebooks, frames)."""
    id, text, groups, split, file = json.loads(row)
    return Phrase(id, text, grouped(groups), codes, split, file)


def append(folder: Path, phrases: Iterable[Phrase], codec: str) -> None:
    """Add phrases, whose codes `codec` made (the digest of its weights), in shards of their own, on the memory of one; a second
    writer waits. After a stop, go on from phrase len(Shards(folder)). Unwritable where the disk is full."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        sweep(folder)
        there = Shards(folder)
        codebooks, number, size, waiting = there.codebooks, there.count, 0, []
        if there.codec not in ("", codec):
            raise ValueError(f"{folder} holds codes of codec {there.codec[:12]}, these are of {codec[:12]}: use another folder")
        for phrase in phrases:
            row, codes = pack(phrase), np.ascontiguousarray(phrase.codes.T)
            codebooks = codebooks or codes.shape[1]
            if codes.dtype != np.int16 or codes.shape[1] != codebooks or not len(codes):
                raise ValueError(f"phrase {phrase.id} has codes {phrase.codes.shape} {codes.dtype}: {folder} takes "
                                 f"({codebooks}, frames) int16 of at least 1 frame")
            waiting.append((row, codes))
            size += len(row) + codes.nbytes
            if size >= SHARD:
                _write(folder, number, waiting, codec)
                number, size, waiting = number + 1, 0, []
        if waiting:
            _write(folder, number, waiting, codec)
    finally:
        os.close(handle)


def _write(folder: Path, number: int, phrases: list[tuple[bytes, np.ndarray]], codec: str) -> None:
    rows, codes = zip(*phrases)
    shard = save({"codes": np.concatenate(codes), "rows": np.frombuffer(b"".join(rows), np.uint8),
                  "ends": np.cumsum([len(row) for row in rows])})
    checks = [crc32(c, crc32(row)) for row, c in phrases]
    index = save({"frames": np.array([len(c) for c in codes], np.int32), "checks": np.array(checks, np.uint32),
                  "size": np.array(len(shard)), "codebooks": np.array(codes[0].shape[1]),
                  "codec": np.frombuffer(codec.encode(), np.uint8)})
    write_atomic(folder / f"{number:05d}.safetensors", shard)
    write_atomic(folder / f"{number:05d}.index", seal(index))


class Shards:
    """A corpus in shards: its index in memory, 8 bytes a phrase. Damaged where a file lacks, is cut short or is not what was
    written; a folder without shards holds no phrases."""

    def __init__(self, folder: Path):
        self.folder = folder
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".index")) if folder.is_dir() else []
        parts = [self._index(number) for number, _ in enumerate(names)]
        self.count = len(parts)
        self.codec, self.codebooks = (bytes(parts[0]["codec"]).decode(), int(parts[0]["codebooks"])) if parts else ("", 0)
        for number, part in enumerate(parts):
            if bytes(part["codec"]).decode() != self.codec or part["codebooks"] != self.codebooks:
                raise Damaged(f"{self._path(number, 'index')} is of another codec than shard 00000: take it out of {folder}")
        self.first = np.array([*accumulate((len(part["frames"]) for part in parts), initial=0)])    # of each shard, and the end
        self.frames = np.concatenate([np.zeros(0, np.int32), *(part["frames"] for part in parts)])  # (phrases,)
        self.checks = np.concatenate([np.zeros(0, np.uint32), *(part["checks"] for part in parts)])

    def _path(self, number: int, ending: str) -> Path:
        return self.folder / f"{number:05d}.{ending}"

    def _index(self, number: int) -> dict[str, np.ndarray]:
        """The index of a shard, whose size it must have."""
        index, shard = self._path(number, "index"), self._path(number, "safetensors")
        try:
            part = load(unseal(index))
            size, there = int(part["size"]), shard.stat().st_size
        except FileNotFoundError as error:
            raise Damaged(f"{error.filename} is missing: bring it back from a copy") from None
        except (Damaged, SafetensorError, KeyError):
            raise Damaged(f"{index} is not the index that was written: bring it back from a copy") from None
        if there != size:
            reason = f"is cut short: {there:,} bytes" if there < size else f"does not fit its index: {there:,} bytes"
            raise Damaged(f"{shard} {reason} of {size:,}; bring it back from a copy")
        return part

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Phrase]:
        """All phrases in the order in which they were written, a shard at a time."""
        for number in range(self.count):
            shard = self.shard(number)
            yield from map(shard.phrase, range(len(shard.frames)))

    @cached_property
    def digest(self) -> str:
        """What the phrases are, by the checks of all."""
        return sha256(b"".join((self.codec.encode(), self.frames.tobytes(), self.checks.tobytes()))).hexdigest()

    def shard(self, number: int) -> "Shard":
        part = slice(*self.first[number:number + 2])
        return Shard(self._path(number, "safetensors"), self.frames[part], self.checks[part], self.codebooks)


class Shard:
    """One shard, mapped for as long as this lives. Damaged where its index, frames and checks (phrases,), is of another."""

    def __init__(self, path: Path, frames: np.ndarray, checks: np.ndarray, codebooks: int):
        self.path, self.frames, self.checks = path, frames, checks
        self.starts = np.concatenate([[0], np.cumsum(frames, dtype=np.int64)])
        try:
            file = safe_open(path, "numpy")
            self.codes, self.rows = file.get_slice("codes"), file.get_slice("rows")
            self.ends = np.concatenate([[0], file.get_tensor("ends")])
            fits = (self.codes.get_shape() == [self.starts[-1], codebooks] and len(self.ends) == len(self.starts)
                    and (np.diff(self.ends) >= 0).all() and self.rows.get_shape() == [self.ends[-1]])
        except (SafetensorError, OSError) as error:
            raise Damaged(f"{path} cannot be read ({error}): bring it back from a copy") from None
        if not fits:
            raise Damaged(f"{path} does not fit its index: bring both back from one copy")

    def phrase(self, i: int) -> Phrase:
        codes, row = self.codes[self.starts[i]:self.starts[i + 1]], bytes(self.rows[self.ends[i]:self.ends[i + 1]])
        if crc32(codes, crc32(row)) != self.checks[i]:
            raise Damaged(f"{self.path}: phrase {i} is not the one that was written (its checksum is another): bring the shard "
                          "back from a copy")
        return unpack(row, codes.T)


class Sampler:
    """Batches of phrases of like length, the longest times their number at most `budget` frames; every phrase once an epoch, in
    an order that the seed decides. Of a place in it nothing need be kept but the number of batches before it."""

    def __init__(self, shards: Shards, budget: int, seed: int):
        if not len(shards):
            raise ValueError(f"{shards.folder} holds no shards")
        if (longest := int(shards.frames.max())) > budget:
            raise ValueError(f"{shards.folder} holds a phrase of {longest:,} frames, more than a batch may have ({budget:,})")
        self.shards, self.budget, self.seed = shards, budget, seed

    def pools(self, epoch: int) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """The pools of an epoch: shards, and batches, each the numbers of its phrases (phrases,)."""
        order = np.random.default_rng([self.seed, epoch, 0]).permutation(self.shards.count).tolist()
        for at in range(0, len(order), POOL):
            pool, random = order[at:at + POOL], np.random.default_rng([self.seed, epoch, 1 + at])
            numbers = random.permutation(np.concatenate([np.arange(*self.shards.first[s:s + 2]) for s in pool]))
            numbers = numbers[np.argsort(-self.shards.frames[numbers], kind="stable")]          # the longest first
            lengths, cuts = self.shards.frames[numbers].tolist(), [0]
            while (last := cuts[-1]) < len(lengths):
                cuts.append(last + self.budget // lengths[last])
            batches = [numbers[a:b] for a, b in zip(cuts, cuts[1:])]
            yield pool, [batches[i] for i in random.permutation(len(batches))]

    def read(self, start: int = 0) -> Iterator[list[Phrase]]:
        """The batches from number `start` on, epoch after epoch without end. Those before it are planned, not read."""
        for epoch in count():
            for pool, batches in self.pools(epoch):
                if start < len(batches):
                    opened = {s: self.shards.shard(s) for s in pool}
                    for numbers in batches[start:]:
                        places = np.searchsorted(self.shards.first, numbers, "right") - 1
                        yield [opened[s].phrase(n - self.shards.first[s]) for n, s in zip(numbers, places)]
                start = max(0, start - len(batches))
