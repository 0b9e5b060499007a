"""The measurement of corpora in shards, at a tiny setting."""
import pytest

from lib.data import shards
from lib.data.shards import Shards
from lib.files import Unwritable
from lib.measuring import shards as module


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 50_000)
    monkeypatch.setattr(module, "SECONDS", 0.05)
    monkeypatch.setattr(module, "eaten", lambda: {"mamba": 10.0, "transformer": 20.0})


def test_made_up_phrases_are_whole_and_linked_shards_are_read(tmp_path):
    written = module.write(tmp_path)
    assert written["phrases"] == len(Shards(tmp_path)) and written["frames"] == Shards(tmp_path).frames.sum()
    for size in (200, 500):
        module.grow(tmp_path, size)
        there = Shards(tmp_path)
        assert size <= len(there) < size + 60
    read = list(there)
    assert all(sum(g.frames for g in p.groups) == p.codes.shape[1] for p in read)
    assert {p.codes.shape[1] for p in read} <= set(range(module.SHORTEST, module.LONGEST + 1))


def test_the_bench_is_a_record_with_a_curve_and_leaves_no_corpus(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lib.measuring.shards", "--phrases", "640"])
    assert module.main() == 0
    said = capsys.readouterr().out
    assert said.count("kept") + said.count("missed") == 3 and "mamba 10, transformer 20" in said
    record, = tmp_path.rglob("record.json")
    assert b"<svg" in (record.parent / "curve.svg").read_bytes()
    assert not list(tmp_path.rglob("*.index"))


def test_a_full_disk_is_one_line(tmp_path, capsys, monkeypatch):
    def full(path, content):
        raise Unwritable(path, OSError(28, "No space left on device"))
    monkeypatch.setattr(shards, "write_atomic", full)
    monkeypatch.setattr("sys.argv", ["lib.measuring.shards"])
    assert module.main() == 1
    out, error = capsys.readouterr()
    assert out == "" and error.splitlines()[-1].endswith("and run the same command again") and "free some space" in error
