"""Records: atomic, found by content, and no flipped bit goes unnoticed."""
import random

import pytest

from lib import records


def saved() -> records.Record:
    return records.save("train", {"a": 1, "nested": {"b": [1, 2]}}, {"loss": 0.25, "none": None}, {"x.bin": b"1234567890"})


def test_found_by_content():
    record = saved()
    found = records.find("train", {"nested": {"b": [1, 2]}, "a": 1})
    assert found == record and found.result == {"loss": 0.25, "none": None}
    assert found.file("x.bin").read_bytes() == b"1234567890"
    assert records.find("train", {"a": 2}) is None and records.find("profile", record.identity) is None


def test_a_hundred_flipped_bits_are_a_hundred_noticed():
    random.seed(0)
    for _ in range(100):
        record = saved()
        path = random.choice([record.folder / "record.json", record.folder / "x.bin"])
        content = bytearray(path.read_bytes())
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        path.write_bytes(content)
        with pytest.raises(records.Damaged) as error:
            records.load(record.folder / "record.json").file("x.bin")
        assert str(record.folder) in str(error.value) and "\n" not in str(error.value)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = records.write_atomic(tmp_path / "f", b"old")

    def full(_):
        raise OSError("disk full")
    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError):
        records.write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_code_digest_follows_the_code():
    assert records.code_digest("models/*.py") == records.code_digest("models/*.py") != records.code_digest("train.py")


def test_manifest():
    record = saved()
    records.note("smoke", "train/a", [record])
    records.note("smoke", "train/b", [])
    assert records.noted("smoke") == {"train/a": [record], "train/b": []}
    with pytest.raises(ValueError, match="study quick has no runs yet"):
        records.noted("quick")
