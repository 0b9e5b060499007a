"""Layouts: recognised by themselves, read as they are meant, and every broken one named with the way out."""
import json
import os
import pickle
import re

import numpy as np
import pytest
from corpora import make_common_voice, make_ljspeech, make_mls, make_tokens

from lib.data.audio import Unusable
from lib.data.layouts import Entry, SetAside, entries, listing, read_codes, recognise

AUDIO = np.full(2400, 0.1, np.float32)
CLIPS = [(f"10{i % 2}_2_{i}", f"text {'abcdef'[i]}", AUDIO) for i in range(6)]
CODES = [(id, text, np.arange(8 * 5).reshape(8, 5)) for id, text, _ in CLIPS]


def read(folder) -> tuple[list[Entry], list[SetAside]]:
    found = list(entries(recognise(folder)))
    return [e for e in found if isinstance(e, Entry)], [e for e in found if isinstance(e, SetAside)]


def refused(folder) -> str:
    with pytest.raises(ValueError) as error:
        list(entries(recognise(folder)))
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_ljspeech(ending, tmp_path):
    make_ljspeech(tmp_path, CLIPS, ending)
    good, bad = read(tmp_path)
    assert [(e.id, e.text, e.file) for e in good] == [(i, t, f"wavs/{i}.{ending}") for i, t, _ in CLIPS] and not bad
    (tmp_path / "metadata.csv").write_bytes("\ufeff100_2_0|raw 1 \"|  written \"out\r\n101_2_1|raw|\r\n".encode())
    good, bad = read(tmp_path)
    assert [e.text for e in good] == ['written "out', "raw"] and len(bad) == 4
    assert bad[0].reason.startswith("no transcript") and bad[0].file == f"wavs/100_2_2.{ending}"


def test_common_voice(tmp_path):
    make_common_voice(tmp_path, CLIPS, locale="pl")
    good, bad = read(tmp_path)
    assert [e.split for e in good] == ["train"] * 3 + ["validation"] + ["test"] * 2 and not bad
    assert good[0] == Entry("100_2_0", "text a", "clips/100_2_0.mp3", "train", "speaker0")
    assert recognise(tmp_path).language == "pl"
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").unlink()
    os.rename(tmp_path / "test.tsv", tmp_path / "validated.tsv")
    (tmp_path / "reported.tsv").write_text("sentence\treason\n")
    good, bad = read(tmp_path)
    assert [e.split for e in good] == ["", ""] and not bad              # clips/ holds more than is listed
    os.rename(tmp_path / "validated.tsv", tmp_path / "mine.tsv")
    assert len(read(tmp_path)[0]) == 2
    (tmp_path / "mine.tsv").write_text("path\tsentence\n100_2_0\ta \"quoted\" text\n\n")
    assert read(tmp_path)[0] == [Entry("100_2_0", 'a "quoted" text', "clips/100_2_0.mp3")]


def test_multilingual_librispeech(tmp_path):
    make_mls(tmp_path / "one", CLIPS)
    good, bad = read(tmp_path / "one")
    assert good[1] == Entry("101_2_1", "text b", "audio/101/2/101_2_1.flac", "", "101") and len(good) == 6 and not bad
    for part in ("train", "dev", "test"):
        make_mls(tmp_path / "all" / part, [(f"{id}{part}", text, audio) for id, text, audio in CLIPS[:2]])
    good, bad = read(tmp_path / "all")
    assert [e.split for e in good] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2 and not bad


def test_codes(tmp_path):
    make_tokens(tmp_path, CODES, codec="mine", frame_rate=50)
    layout = recognise(tmp_path)
    assert (layout.codec, layout.codebooks, layout.frame_rate, layout.language) == ("mine", 8, 50, "en")
    good, bad = read(tmp_path)
    assert [e.file for e in good] == [f"codes/{i}.npy" for i, _, _ in CODES] and not bad
    codes = read_codes(tmp_path / good[0].file, layout)
    assert codes.dtype == np.int16 and np.array_equal(codes, CODES[0][2])


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("content, words", [
    (np.zeros((4, 5), int), "4 codebooks, but corpus.json says 8"), (np.zeros((8, 0), int), "no frames"),
    (np.zeros(5, int), "no codes .int64 of shape"), (np.zeros((8, 5, 1), int), "no codes"),
    (np.zeros((8, 5)), "no codes .float64"), (np.zeros((8, 5), bool), "no codes .bool"),
    (np.full((8, 5), 1024), "out of range .from 1024 to 1024.: 0 to 1023"), (np.full((8, 5), -1), "out of range"),
    (np.full((8, 5), 70_000), "out of range"), (np.array([[Evil()]], dtype=object), "cannot be read as an array"),
    (b"", "cannot be read as an array"), (b"text", "cannot be read as an array"), (pickle.dumps(Evil()), "cannot be read"),
    ("cut", "cannot be read as an array"), ("archive", "no codes .an archive")])
def test_codes_that_are_none(content, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tokens(tmp_path / "c", CODES, codec="mine")
    path = tmp_path / "c" / "codes" / "100_2_0.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str) and content == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif isinstance(content, str):
        np.savez(tmp_path / "a.npz", CODES[0][2])
        os.replace(tmp_path / "a.npz", path)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(Unusable, match=words) as error:
        read_codes(path, recognise(tmp_path / "c"))
    assert "\n" not in str(error.value) and not (tmp_path / "executed").exists()


@pytest.mark.parametrize("make", [make_ljspeech, make_mls])
@pytest.mark.parametrize("line, id, words", [
    ("{id}{sep}", "100_2_9", "empty text"), ("no separator", "line 7", "no separator"), ("gone{sep}lost", "gone", "no audio"),
    ("../../x{sep}out", "../../x", "leaves the corpus folder"), ("/etc/x{sep}out", "/etc/x", "leaves the corpus folder"),
    ("a/../../../x{sep}out", "a/../../../x", "leaves the corpus folder"), ("{id}{sep}a\x07b", "100_2_9", "control characters")])
def test_a_line_that_cannot_be_used_is_set_aside(make, line, id, words, tmp_path):
    make(tmp_path / "c", CLIPS + [("100_2_9", "there", AUDIO)])
    (tmp_path / "x.wav").write_bytes(b"outside")
    path, separator = next((tmp_path / "c" / n, s) for n, s in (("metadata.csv", "|"), ("transcripts.txt", "\t"))
                           if (tmp_path / "c" / n).exists())
    lines = path.read_text().splitlines()[:6] + [line.format(id="100_2_9", sep=separator)]
    path.write_text("\n".join(lines) + "\n")
    good, bad = read(tmp_path / "c")
    assert len(good) == 6 and any(id in b.id and words in b.reason for b in bad), bad


def test_a_path_of_common_voice_that_leaves_the_folder(tmp_path):
    make_common_voice(tmp_path / "c", CLIPS)
    (tmp_path / "x.mp3").write_bytes(b"outside")
    with open(tmp_path / "c" / "test.tsv", "a") as file:
        file.write("s\t../../x.mp3\tout\ten\ns\t/etc/passwd\tout\ten\ns\n")
    reasons = [b.reason for b in read(tmp_path / "c")[1]]
    assert [r.split(":")[0] for r in reasons] == ["its name leaves the corpus folder", "no audio for this transcript",
                                                  "fewer columns than the head of the table"]


@pytest.mark.parametrize("change, words", [
    (lambda f: (f / "metadata.csv").write_text(""), "metadata.csv is empty"),
    (lambda f: (f / "metadata.csv").unlink(), "metadata.csv is missing"),
    (lambda f: (f / "metadata.csv").write_bytes("a|ok\nb|żółw\n".encode("iso-8859-2")),
     "metadata.csv is not UTF-8 .line 2, byte 0xbf.: convert it, for instance with iconv"),
    (lambda f: (f / "metadata.csv").write_text("a|one\nb|two\na|three\n"),
     "id 'a' stands twice, in metadata.csv line 1 and in metadata.csv line 3: keep one"),
    (lambda f: os.rename(f / "wavs", f / "sounds"), "wavs is missing"),
])
def test_a_broken_ljspeech_is_refused_in_one_line(change, words, tmp_path):
    make_ljspeech(tmp_path / "c", CLIPS)
    change(tmp_path / "c")
    assert re.search(words, refused(tmp_path / "c"))


def test_a_broken_common_voice_is_refused_in_one_line(tmp_path):
    make_common_voice(tmp_path / "c", CLIPS)
    (tmp_path / "c" / "test.tsv").write_text((tmp_path / "c" / "train.tsv").read_text())
    assert "id '100_2_0' stands twice, in train.tsv line 2 and in test.tsv line 2" in refused(tmp_path / "c")
    (tmp_path / "c" / "test.tsv").write_text("path\ttext\n")
    assert "test.tsv has columns 'path, text': path and sentence are needed" in refused(tmp_path / "c")
    for name in ("train", "dev", "test"):
        (tmp_path / "c" / f"{name}.tsv").unlink()
    assert "0 tables with columns path and sentence" in refused(tmp_path / "c")


def test_folders_that_are_no_corpus(tmp_path, monkeypatch):
    assert "no folder" in refused(tmp_path / "c")
    (tmp_path / "c").mkdir()
    assert "is empty" in refused(tmp_path / "c")
    (tmp_path / "c" / "thesis.pdf").write_text("")
    assert "none of the known layouts: LJSpeech (metadata.csv and wavs/)" in refused(tmp_path / "c")
    assert "cannot be read (Not a directory)" in refused(tmp_path / "c" / "thesis.pdf")

    def closed(_):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "scandir", closed)
    assert "cannot be read (Permission denied)" in refused(tmp_path / "c")


@pytest.mark.parametrize("change, words", [
    ("{", "cannot be read as JSON"), ("[1]", "not an object"), ({"codec": None}, "codec is None: give a text"),
    ({"codebooks": "8"}, "codebooks is '8': give a whole number"), ({"codebooks": True}, "codebooks is True"),
    ({"codebooks": 0}, "codebooks is 0"), ({"frame_rate": -75}, "frame_rate is -75: give a number above 0"),
    ({"language": 5}, "language is 5: give a text")])
def test_a_broken_corpus_json_is_refused_in_one_line(change, words, tmp_path):
    make_tokens(tmp_path / "c", CODES, codec="mine")
    path = tmp_path / "c" / "corpus.json"
    path.write_text(change if isinstance(change, str) else json.dumps(json.loads(path.read_text()) | change))
    assert words in refused(tmp_path / "c") and "corpus.json" in refused(tmp_path / "c")


def test_listing_follows_the_files_and_not_the_place(tmp_path):
    make_ljspeech(tmp_path / "c", CLIPS)
    first = listing(recognise(tmp_path / "c"))
    os.rename(tmp_path / "c", tmp_path / "d")
    assert listing(recognise(tmp_path / "d")) == first
    os.utime(tmp_path / "d" / "wavs" / "100_2_0.wav", (1, 1))
    second = listing(recognise(tmp_path / "d"))
    (tmp_path / "d" / "wavs" / "100_2_0.wav").unlink()
    assert len({first, second, listing(recognise(tmp_path / "d"))}) == 3


def test_a_loop_of_links_ends(tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    os.symlink(tmp_path / "wavs", tmp_path / "wavs" / "again")
    assert len(read(tmp_path)[0]) == 6
