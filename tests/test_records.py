"""Records: atomic, found by content, and no flipped bit goes unnoticed."""
import errno
import fcntl
import hashlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib import files, records
from lib.config import REPOSITORY


def saved() -> records.Record:
    return records.save("train", {"a": 1, "nested": {"b": [1, 2]}}, {"loss": 0.25, "none": None},
                        {"x.bin": b"1234567890"})


def test_found_by_content():
    record = saved()
    found = records.find("train", {"nested": {"b": [1, 2]}, "a": 1})
    assert found == record and found.result == {"loss": 0.25, "none": None}
    assert found.file("x.bin").read_bytes() == b"1234567890"
    assert records.find("train", {"a": 2}) is None and records.find("profile", record.identity) is None


def test_a_run_of_speech_is_found_in_the_reference_without_its_files(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "REFERENCE", tmp_path / "reference")
    for kind, found in (("speech", True), ("train", False)):
        run = records.save(kind, {"seed": 1}, {"loss": 2.0}, {"weights": b"123"})
        (tmp_path / "reference" / kind).mkdir(parents=True)
        shutil.copytree(run.folder, tmp_path / "reference" / run.name, ignore=shutil.ignore_patterns("weights"))
        shutil.rmtree(run.folder)
        assert records.find(kind, {"seed": 1}) == (run if found else None)
    records.note("quick", "speech", [records.find("speech", {"seed": 1})])
    again, = records.noted("quick")["speech"]
    assert again.folder == tmp_path / "reference" / again.name
    with pytest.raises(files.Damaged, match="reference.*is missing"):
        again.file("weights")
    mine = records.save("speech", {"seed": 1}, {"loss": 3.0}, {"weights": b"123"})       # a run of one's own comes first
    assert records.find("speech", {"seed": 1}) == mine and mine.file("weights").read_bytes() == b"123"


def test_a_hundred_flipped_bits_are_a_hundred_noticed():
    random.seed(0)
    for _ in range(100):
        record = saved()
        path = random.choice([record.folder / "record.json", record.folder / "x.bin"])
        content = bytearray(path.read_bytes())
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        path.write_bytes(content)
        with pytest.raises(files.Damaged) as error:
            records.load(record.folder / "record.json").file("x.bin")
        assert str(record.folder) in str(error.value) and "\n" not in str(error.value)


def test_a_record_or_file_cut_short_or_gone_is_noticed():
    for name in ("record.json", "x.bin"):
        for kept in (0, 1, 5, -1, None):
            record = saved()
            path = record.folder / name
            content = path.read_bytes()
            path.unlink()
            if kept is not None:
                path.write_bytes(content[:kept])
            with pytest.raises(files.Damaged) as error:
                records.load(record.folder / "record.json").file("x.bin")
            assert str(path) in str(error.value) and "again" in str(error.value) and "\n" not in str(error.value)


def test_a_seal_notices_every_flip_and_every_truncation(tmp_path):
    path, whole = tmp_path / "sealed", files.seal(b"payload of some bytes")
    damaged = [whole[:length] for length in range(len(whole))] + [whole + b"x"]
    damaged += [whole[:bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1:]
                for bit in random.Random(0).sample(range(8 * len(whole)), 100)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(files.Damaged, match="delete it and run .*; it is made again") as error:
            files.unseal(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    for payload in (b"payload", b""):
        path.write_bytes(files.seal(payload))
        assert files.unseal(path) == payload
    with pytest.raises(FileNotFoundError):
        files.unseal(tmp_path / "none")


def test_a_file_can_be_moved_into_a_record():
    with files.scratch(records.runs_root() / "corpus") as folder:
        large = folder / "list"
        large.write_bytes(b"a line\n" * 100_000)
        record = records.save("corpus", {"a": 1}, {}, {"clips.jsonl": large, "small": b"1"})
    assert not folder.exists() and record.file("small").read_bytes() == b"1"
    assert record.file("clips.jsonl").read_bytes() == b"a line\n" * 100_000
    assert record.files["clips.jsonl"] == hashlib.sha256(b"a line\n" * 100_000).hexdigest()
    assert {p.name for p in (records.runs_root() / "corpus").iterdir()} == {record.key[:12]}


FAILURES = {errno.ENOSPC: "No space left on device.*free some space", errno.EDQUOT: "uota exceeded.*free some space",
            errno.EACCES: "Permission denied.*make it writable", errno.EROFS: "Read-only file system.*make it writable"}


@pytest.mark.parametrize("code", FAILURES)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_is_one_line_and_leaves_what_was_there(call, code, tmp_path, monkeypatch):
    path = files.write_atomic(tmp_path / "f", b"old")

    def fail(*_):
        raise OSError(code, os.strerror(code))
    monkeypatch.setattr(records.os, call, fail)
    with pytest.raises(files.Unwritable, match=FAILURES[code]) as error:
        files.write_atomic(path, b"new")
    assert str(error.value).startswith(f"{path} cannot be written") and "\n" not in str(error.value)
    assert "set TTS_WORKSPACE to another folder, and run the same command again" in str(error.value)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_write_that_need_not_last_is_not_flushed(tmp_path, monkeypatch):
    monkeypatch.setattr(records.os, "fsync", lambda _: pytest.fail("flushed"))
    assert files.write_atomic(tmp_path / "f", b"content", durable=False).read_bytes() == b"content"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for write in (lambda path: files.write_atomic(path, b""), lambda path: files.scratch(path.parent).__enter__()):
        with pytest.raises(files.Unwritable, match="Not a directory|File exists"):
            write(tmp_path / "file" / "f")


FULL = """
import resource, sys
from pathlib import Path
from lib import files, records
path = files.write_atomic(Path(sys.argv[1]) / "f", b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
for write in (lambda: files.write_atomic(path, bytes(2 << 20)),
              lambda: records.save("train", {}, {}, {"model.safetensors": bytes(2 << 20)})):
    try:
        write()
    except files.Unwritable as error:
        print(error)
with files.scratch(path.parent / "folder") as folder:
    open(folder / "large", "wb").write(bytes(2 << 20))
"""


def test_a_disk_that_is_really_full(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], cwd=REPOSITORY, text=True, capture_output=True,
                          env={**os.environ, "TTS_WORKSPACE": str(tmp_path)})
    errors = [*done.stdout.splitlines(), done.stderr.splitlines()[-1]]
    assert len(errors) == 3 and all("cannot be written (File too large): free some space" in e for e in errors), done
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files == [tmp_path / "f"] and files[0].read_bytes() == b"old"
    assert not list(tmp_path.rglob(".*"))


def test_a_sweep_removes_what_nobody_is_writing_any_more(tmp_path):
    for name in (".f.abc.part", ".lock", "clip.part", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / ".abc.part").mkdir(parents=True)
    (tmp_path / "a" / ".abc.part" / "list").write_bytes(b"half")
    kept = {".lock", "clip.part", ".hidden", "a"}
    with open(tmp_path / "a" / ".f.def.part", "wb") as writing, files.scratch(tmp_path) as folder:
        fcntl.flock(writing, fcntl.LOCK_EX)
        files.sweep(tmp_path)
        assert {p.name for p in tmp_path.rglob("*")} == kept | {".f.def.part", folder.name}
    files.sweep(tmp_path)
    assert {p.name for p in tmp_path.rglob("*")} == kept


def test_file_names_are_safe_and_never_shared():
    plain = ["a", "A", "LJ001-0001", "common_voice_pl_123", "_", "x" * 60, "0-1", "a-1234567"]
    assert [files.file_name(id) for id in plain] == plain
    digest = files.file_name("x.y").rsplit("-", 1)[1]
    foreign = ["", ".", "..", "../../x", "/etc/passwd", "a/b", "a_b.", "a.b", "a b", "-rf", "--", ".hidden", "x" * 61,
               "x" * 5000, "zażółć", "zażołć", "za\u0308", "z\u00e4", "日本", "本日", "a\n", "a\0", "\ud800", "x.y", "x/y",
               f"x_y-{digest}", f"x-{digest}", "CON.", "a\\b", "a.flac"]
    names = [files.file_name(id) for id in plain + foreign]
    assert len(set(names)) == len(plain + foreign)
    for name in names:
        assert name.isascii() and len(name) <= 60 and name[0] not in ".-" and Path(name).name == name
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert files.file_name("../../x").startswith("x-") and files.file_name("zażółć").startswith("za-")
    assert files.file_name(names[-1]) != names[-1], "a name is no plain id itself: it could be another's"


def test_code_digest_follows_the_code():
    assert records.code_digest("models/*.py") == records.code_digest("models/*.py") != records.code_digest("train.py")


def test_manifest():
    record = saved()
    records.note("smoke", "train/a", [record])
    records.note("smoke", "train/b", [])
    assert records.noted("smoke") == {"train/a": [record], "train/b": []}
    assert records.noted("quick") == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]x", b"[1]", b"3", b'{"train": 3}', b'{"train": [3]}', b"\xff"])
def test_a_damaged_manifest_is_one_line(content):
    record = saved()
    records.note("smoke", "train/a", [record])
    path = records.figures_root("smoke") / "manifest.json"
    path.write_bytes(content)
    for use in (lambda: records.note("smoke", "train/b", [record]), lambda: records.noted("smoke")):
        with pytest.raises(files.Damaged, match="delete it and run the notebooks from 01 on again") as error:
            use()
        assert str(error.value).startswith(f"{path} is damaged") and "\n" not in str(error.value)
        assert path.read_bytes() == content
    path.unlink()
    records.note("smoke", "train/a", [record])
    assert records.noted("smoke") == {"train/a": [record]}


def test_a_noted_run_that_is_gone_is_one_line():
    record = saved()
    records.note("smoke", "train/a", [record])
    (record.folder / "record.json").unlink()
    with pytest.raises(files.Damaged, match="record.json is missing: run the notebooks from 01 on again"):
        records.noted("smoke")
