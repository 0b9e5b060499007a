"""Corpora in shards: what is read is what was written, in an order that can be had again, on bounded memory; damage is named."""
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lib.config import REPOSITORY
from lib.data import shards
from lib.data.phrases import Group, Phrase
from lib.data.shards import Sampler, Shards, append
from lib.files import PART, Damaged, Unwritable
from lib.metrics import cost

CODEC = "c" * 64


def phrase(number: int, frames: int, codebooks: int = 3) -> Phrase:
    codes = np.random.default_rng(number).integers(0, 1024, (codebooks, frames)).astype(np.int16)
    return Phrase(f"p{number}", f"żółw {number}", (Group("żółw ", (("ʒ", 1), ("u", frames - 1))),), codes, "train", f"{number}.wav")


def made(count: int, first: int = 0) -> list[Phrase]:
    """Phrases of 1 to 40 frames."""
    return [phrase(n, 1 + 7 * n % 40) for n in range(first, first + count)]


def assert_same(got: list[Phrase], want: list[Phrase]) -> None:
    assert [replace(p, codes=None) for p in got] == [replace(p, codes=None) for p in want]
    assert all(p.codes.dtype == np.int16 and np.array_equal(p.codes, q.codes) for p, q in zip(got, want))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Shards of about ten phrases, pools of three."""
    monkeypatch.setattr(shards, "SHARD", 2000)
    monkeypatch.setattr(shards, "POOL", 3)


@pytest.fixture
def corpus(tmp_path) -> Path:
    append(tmp_path / "corpus", made(100), CODEC)
    return tmp_path / "corpus"


@pytest.mark.parametrize("count", [0, 1, 7, 100])
@pytest.mark.parametrize("codebooks", [1, 8])
def test_what_is_read_is_what_was_written(tmp_path, count, codebooks):
    written = [phrase(n, 1 + 13 * n % 50, codebooks) for n in range(count)]
    append(tmp_path, iter(written), CODEC)
    there = Shards(tmp_path)
    assert len(there) == count and there.frames.tolist() == [p.codes.shape[1] for p in written]
    assert there.codebooks == (codebooks if count else 0)
    assert_same(list(there), written)


def test_a_phrase_larger_than_a_shard_has_one_of_its_own(tmp_path):
    written = [phrase(0, 3), phrase(1, 5000), phrase(2, 3)]
    append(tmp_path, written, CODEC)
    assert Shards(tmp_path).count == 2
    assert_same(list(Shards(tmp_path)), written)


def test_appending_adds_shards_and_leaves_those_that_are_there(corpus):
    before, digest = {path.name: path.read_bytes() for path in corpus.iterdir()}, Shards(corpus).digest
    append(corpus, made(30, 100), CODEC)
    assert {name: (corpus / name).read_bytes() for name in before} == before and Shards(corpus).digest != digest
    assert_same(list(Shards(corpus)), made(130))
    append(corpus, [], CODEC)
    assert len(Shards(corpus)) == 130


WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/data")
from test_shards import CODEC, made
from lib.data import shards
from lib.files import Unwritable
shards.SHARD = 2000
folder = Path(sys.argv[1])
there = len(shards.Shards(folder))
try:
    shards.append(folder, (made(1, n)[0] for n in range(there, there + int(sys.argv[2]))), CODEC)
except Unwritable as error:
    sys.exit(str(error))
"""


def writer(folder: Path, count: int, **options) -> subprocess.Popen:
    """A process that goes on writing the made-up phrases where the folder ends."""
    return subprocess.Popen([sys.executable, "-c", WRITE, str(folder), str(count)], cwd=REPOSITORY, text=True, stderr=subprocess.PIPE,
                            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}, **options)


def test_a_writer_that_is_killed_loses_only_the_shard_it_was_at(tmp_path):
    for least in (1, 20):
        process = writer(tmp_path, 10 ** 6)
        while len(list(tmp_path.glob("*.index"))) < least:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = Shards(tmp_path)
        assert there.count >= least
        assert_same(list(there), made(len(there)))
    (tmp_path / f"{there.count:05d}.safetensors").write_bytes(b"of a shard without index")
    (tmp_path / f".00000.index.old{PART}").write_bytes(b"half")
    append(tmp_path, made(5, len(there)), CODEC)
    assert_same(list(Shards(tmp_path)), made(len(there) + 5))
    assert not list(tmp_path.glob(f".*{PART}"))


def test_two_writers_take_turns(tmp_path):
    for process in [writer(tmp_path, 40) for _ in range(2)]:
        assert process.wait() == 0, process.stderr.read()
    assert len(list(Shards(tmp_path))) == 80


def test_a_full_disk_is_one_line_and_what_was_written_stays(tmp_path):
    append(tmp_path, made(20), CODEC)
    before = len(Shards(tmp_path))
    done = subprocess.run([sys.executable, "-c", WRITE.replace("shards.SHARD = 2000", "shards.SHARD = 2 ** 17"), str(tmp_path), "5000"],
                          cwd=REPOSITORY, text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 ** 16, 2 ** 16)))
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "free some space" in done.stderr, done.stderr
    assert len(Shards(tmp_path)) == before and not list(tmp_path.glob(f".*{PART}"))
    append(tmp_path, made(30, before), CODEC)
    assert_same(list(Shards(tmp_path)), made(50))


def test_the_disk_is_full_between_a_shard_and_its_index(tmp_path, monkeypatch):
    real = shards.write_atomic

    def full(path, content):
        if path.name == "00001.index":
            raise Unwritable(path, OSError(28, "No space left on device"))
        real(path, content)
    monkeypatch.setattr(shards, "write_atomic", full)
    with pytest.raises(Unwritable, match="00001.index cannot be written .No space left on device.: free some space"):
        append(tmp_path, made(100), CODEC)
    monkeypatch.undo()
    kept = len(Shards(tmp_path))
    append(tmp_path, made(100 - kept, kept), CODEC)
    assert 0 < kept < 100
    assert_same(list(Shards(tmp_path)), made(100))


@pytest.mark.parametrize("wrong, reason", [
    (phrase(0, 4, 2), r"phrase p0 has codes \(2, 4\) int16: .* takes \(3, frames\) int16"),
    (replace(phrase(0, 4), codes=np.zeros((3, 4))), r"has codes \(3, 4\) float64"),
    (replace(phrase(0, 4), codes=np.zeros((3, 0), np.int16)), r"has codes \(3, 0\) int16.*at least 1 frame"),
])
def test_what_does_not_belong_is_refused(corpus, wrong, reason):
    with pytest.raises(ValueError, match=reason):
        append(corpus, [wrong], CODEC)
    assert_same(list(Shards(corpus)), made(100))


def test_codes_of_another_codec_are_refused(corpus):
    with pytest.raises(ValueError, match=f"holds codes of codec {'c' * 12}, these are of {'d' * 12}"):
        append(corpus, made(1), "d" * 64)


def ids(batches) -> list[list[str]]:
    return [[p.id for p in batch] for batch in batches]


def epoch(sampler: Sampler, number: int) -> list[list[int]]:
    return [batch.tolist() for _, batches in sampler.pools(number) for batch in batches]


def test_the_order_is_the_seeds(corpus):
    first, again, other = (epoch(Sampler(Shards(corpus), 100, seed), 0) for seed in (1, 1, 2))
    assert first == again != other and epoch(Sampler(Shards(corpus), 100, 1), 1) != first
    assert sorted(sum(first, [])) != sum(first, [])


@pytest.mark.parametrize("budget", [40, 100, 10 ** 6])
def test_every_phrase_once_an_epoch_within_the_budget(corpus, budget):
    sampler = Sampler(Shards(corpus), budget, 0)
    for number in range(3):
        batches = epoch(sampler, number)
        assert sorted(sum(batches, [])) == list(range(100))
        padded = [len(b) * max(sampler.shards.frames[n] for n in b) for b in batches]
        assert max(padded) <= budget
    if budget == 100:       # like goes with like: little is padding
        assert sum(padded) < 1.35 * sampler.shards.frames.sum()
    read = list(islice(sampler.read(), len(epoch(sampler, 0)) + len(epoch(sampler, 1))))
    assert ids(read) == [[f"p{n}" for n in b] for e in (0, 1) for b in epoch(sampler, e)]
    for batch in read:
        assert_same(batch, [made(1, int(p.id[1:]))[0] for p in batch])


def test_from_any_place_the_very_same_batches(corpus):
    whole = ids(islice(Sampler(Shards(corpus), 100, 3).read(), 90))
    assert len(epoch(Sampler(Shards(corpus), 100, 3), 0)) < 60                # so that another epoch is reached
    for start in (0, 1, 17, 44, 71, 89):
        assert ids(islice(Sampler(Shards(corpus), 100, 3).read(start), 90 - start)) == whole[start:]


def test_what_no_batch_can_hold_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="a phrase of 40 frames, more than a batch may have .39."):
        Sampler(Shards(corpus), 39, 0)
    with pytest.raises(ValueError, match="none holds no shards"):
        Sampler(Shards(tmp_path / "none"), 39, 0)


def test_memory_is_that_of_a_pool(tmp_path, monkeypatch):
    """Of 128 MB of shards, a pool of 4 MB is mapped at a time."""
    monkeypatch.setattr(shards, "SHARD", 2 ** 20)
    monkeypatch.setattr(shards, "POOL", 4)
    append(tmp_path, [phrase(n, 10_000, 8) for n in range(14)], CODEC)
    there = Shards(tmp_path)
    for number in range(there.count, 128):
        for ending in ("safetensors", "index"):
            os.link(tmp_path / f"{number % there.count:05d}.{ending}", tmp_path / f"{number:05d}.{ending}")
    sampler = Sampler(Shards(tmp_path), 40_000, 0)
    batches = epoch(sampler, 0)
    reading = sampler.read()
    next(reading)
    before = peak = cost.resident()
    for _ in batches[1:]:
        next(reading)
        peak = max(peak, cost.resident())
    assert sampler.shards.count == 128 and peak - before < 24 * 2 ** 20


def cut_short(folder: Path) -> None:
    os.truncate(folder / "00002.safetensors", 1000)


def longer(folder: Path) -> None:
    with open(folder / "00002.safetensors", "ab") as file:
        file.write(b"more")


def flipped(name: str, at: int):
    def flip(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[at] ^= 1
        (folder / name).write_bytes(content)
    return flip


DAMAGES = {
    "a shard cut short": (cut_short, "00002.safetensors is cut short: 1,000 bytes of .*; bring it back from a copy"),
    "a shard too long": (longer, "00002.safetensors does not fit its index: .* bytes of .*; bring it back"),
    "codes changed": (flipped("00002.safetensors", 700), "00002.safetensors: phrase . is not the one that was written .its checksum"),
    "header changed": (flipped("00002.safetensors", 10), "00002.safetensors cannot be read .*: bring it back"),
    "index changed": (flipped("00002.index", 100), "00002.index is not the index that was written: bring it back"),
    "index empty": (lambda folder: os.truncate(folder / "00002.index", 0), "00002.index is not the index that was written"),
    "shard missing": (lambda folder: (folder / "00002.safetensors").unlink(), "00002.safetensors is missing: bring it back"),
    "index missing": (lambda folder: (folder / "00002.index").unlink(), "00002.index is missing: bring it back"),
}


@pytest.mark.parametrize("damage, reason", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_one_line(corpus, damage, reason):
    damage(corpus)
    with pytest.raises(Damaged, match=reason) as raised:
        list(Shards(corpus))
    assert "\n" not in str(raised.value)
    with pytest.raises(Damaged, match=reason):
        list(islice(Sampler(Shards(corpus), 100, 0).read(), 60))


def test_an_index_of_another_shard_of_the_same_size(tmp_path):
    """Both of 2 phrases and 30 frames: the size of the file does not tell them apart."""
    for folder, lengths in (("one", (10, 20)), ("other", (20, 10))):
        append(tmp_path / folder, [phrase(n, frames) for n, frames in enumerate(lengths)], CODEC)
    shutil.copy(tmp_path / "other" / "00000.index", tmp_path / "one")
    with pytest.raises(Damaged, match="00000.safetensors: phrase 0 is not the one that was written"):
        list(Shards(tmp_path / "one"))
    shard = tmp_path / "one" / "00000.safetensors"
    with pytest.raises(Damaged, match="00000.safetensors does not fit its index: bring both back from one copy"):
        shards.Shard(shard, np.array([10, 10], np.int32), np.zeros(2, np.uint32), 3)


def test_any_flipped_bit_is_noticed(tmp_path):
    append(tmp_path, made(6), CODEC)
    generator = random.Random(0)
    for name in ("00000.safetensors", "00000.index"):
        content = (tmp_path / name).read_bytes()
        for _ in range(300):
            damaged = bytearray(content)
            damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(Damaged):
                list(Shards(tmp_path))
        (tmp_path / name).write_bytes(content)
    assert_same(list(Shards(tmp_path)), made(6))


def test_a_shard_of_another_codec_is_named(corpus, tmp_path):
    append(tmp_path / "other", made(100), "d" * 64)
    for ending in ("safetensors", "index"):
        shutil.copy(tmp_path / "other" / f"00002.{ending}", corpus)
    with pytest.raises(Damaged, match="00002.index is of another codec than shard 00000"):
        Shards(corpus)
