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
CODES = [(id, text, np.arange(8 * 40).reshape(8, 40)) for id, text, _ in CLIPS]


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
    (np.zeros((8, 1), int), "too short .0.01 s.: clips of 0.3 to 30 s"), (np.zeros((8, 3000), int), "too long .40.00 s"),
    (np.zeros(5, int), "no codes .int64 of shape"), (np.zeros((8, 5, 1), int), "no codes"),
    (np.zeros((8, 5)), "no codes .float64"), (np.zeros((8, 5), bool), "no codes .bool"),
    (np.full((8, 5), 1024), "out of range .from 1024 to 1024.: 0 to 1023"), (np.full((8, 5), -1), "out of range"),
    (np.full((8, 5), 70_000), "out of range"), (np.array([[Evil()]], dtype=object), "cannot be read as an array"),
    (b"PK\3\4 cut", "cannot be read as an array"),
    (b"\x93NUMPY\1\0\x04\0{[(\n", "cannot be read as an array"),
    (b"", "cannot be read as an array"), (b"text", "cannot be read as an array"), (pickle.dumps(Evil()), "cannot be read"),
    ("cut", "cannot be read as an array"), ("archive", r"cannot be read as an array of numbers .no .npy")])
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
    assert [r.split(":")[0] for r in reasons] == ["its name leaves the corpus folder"] * 2 + [
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
    ({"language": 5}, "language is 5: give a text"), ({"codec": ""}, "codec is ''"), ({"codec": "a\nb"}, "codec is 'a"),
    ({"codebooks": 65}, "codebooks is 65: give a whole number from 1 to 64"),
    ({"frame_rate": float("nan")}, "frame_rate is nan"),
    ('{"codec": "mine"}', "codebooks is missing"), pytest.param("[" * 100_000, "cannot be read as JSON", id="deep")])
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


BAD_NAMES = {"x" * 300: "no audio", "": "no id", "a\x1b[31m": "control characters in the name", "a\0": "control characters",
             "/etc/hostname": "leaves the corpus folder", "..": "leaves the corpus folder"}


@pytest.mark.parametrize("make", [make_ljspeech, make_mls, make_tokens])
def test_names_that_no_clip_can_have_are_set_aside_one_by_one(make, tmp_path):
    make(tmp_path, CODES if make is make_tokens else CLIPS, **{"codec": "mine"} if make is make_tokens else {})
    path, separator = (tmp_path / "transcripts.txt", "\t") if make is make_mls else (tmp_path / "metadata.csv", "|")
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(f"{name}{separator}text\n" for name in list(BAD_NAMES) + [""])         # twice no id
    good, bad = read(tmp_path)
    assert len(good) == 6 and len(bad) == 7
    for found, words in zip(bad, BAD_NAMES.values()):
        assert words.replace("audio", "") in found.reason and (found.id + found.file + found.reason).isprintable()


def test_a_clip_named_as_a_line_is_no_duplicate(tmp_path):
    make_ljspeech(tmp_path, CLIPS + [("line 8", "text", AUDIO)])
    with open(tmp_path / "metadata.csv", "a") as file:
        file.write("no separator\n")
    good, bad = read(tmp_path)
    assert [e.id for e in good][-1] == "line 8" and [b.id for b in bad] == ["line 8"]


def test_file_names_that_are_not_utf_8_can_be_listed(tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    with open(os.fsencode(tmp_path / "wavs") + b"/\xff\n.wav", "wb"):
        pass
    stray, = read(tmp_path)[1]
    assert stray.file == "wavs/\\udcff\\n.wav" and stray.file.encode("utf-8")


def test_capital_endings(tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    os.rename(tmp_path / "wavs" / "100_2_0.wav", tmp_path / "wavs" / "100_2_0.WAV")
    good, bad = read(tmp_path)
    assert good[0].file == "wavs/100_2_0.WAV" and not bad


def test_a_folder_in_place_of_a_clip(tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    (tmp_path / "wavs" / "100_2_0.wav").unlink()
    (tmp_path / "wavs" / "100_2_0.wav").mkdir()
    good, bad = read(tmp_path)
    assert len(good) == 5 and bad[0].reason.startswith("no audio")


@pytest.mark.parametrize("character", ["\x85", "\x00", "\x1b", "\x7f"])
def test_control_characters_in_a_text(character, tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    (tmp_path / "metadata.csv").write_text("".join(f"{id}|a{character}b\tc\n" for id, _, _ in CLIPS[:1])
                                           + "101_2_1|a\tb\u00a0\U0001f600\n", encoding="utf-8")
    good, bad = read(tmp_path)
    assert [e.text for e in good] == ["a\tb\u00a0\U0001f600"]
    assert bad[0].reason.startswith("control characters in the text")


@pytest.mark.parametrize("content", ["\n \n", "\ufeff", "\ufeff\r\n\r\n"])
@pytest.mark.parametrize("make, name", [(make_ljspeech, "metadata.csv"), (make_common_voice, "train.tsv"),
                                        (make_common_voice, "test.tsv"), (make_mls, "transcripts.txt")])
def test_a_transcript_of_blank_lines_is_empty(make, name, content, tmp_path):
    make(tmp_path, CLIPS)
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert f"{name} is empty" in refused(tmp_path)


def test_what_stands_beside_a_whole_layout_does_not_hide_it(tmp_path):
    make_common_voice(tmp_path / "a", CLIPS, locale="pl")
    (tmp_path / "a" / "metadata.csv").write_text("notes")
    (tmp_path / "a" / "train.tsv").write_text("client_id\tpath\tsentence\tlocale\n")
    assert (recognise(tmp_path / "a").kind, recognise(tmp_path / "a").language) == ("Common Voice", "pl")
    make_mls(tmp_path / "b" / "train", CLIPS)
    (tmp_path / "b" / "notes.tsv").write_text("notes")
    assert recognise(tmp_path / "b").kind == "Multilingual LibriSpeech" and len(read(tmp_path / "b")[0]) == 6


def test_files_where_folders_should_be(tmp_path):
    make_ljspeech(tmp_path / "a", CLIPS)
    os.rename(tmp_path / "a" / "wavs", tmp_path / "elsewhere")
    (tmp_path / "a" / "wavs").write_text("")
    assert "wavs is missing" in refused(tmp_path / "a")
    (tmp_path / "a" / "wavs").unlink()
    os.symlink(tmp_path / "elsewhere", tmp_path / "a" / "wavs")                 # a linked folder is a folder
    assert len(read(tmp_path / "a")[0]) == 6
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "train").write_text("")
    assert "none of the known layouts" in refused(tmp_path / "b")
    (tmp_path / "b" / "train").unlink()
    os.symlink("train", tmp_path / "b" / "train")
    assert "train cannot be read (Too many levels" in refused(tmp_path / "b")


def test_the_listing_covers_corpus_json(tmp_path):
    make_tokens(tmp_path, CODES, codec="mine")
    first = listing(recognise(tmp_path))
    os.utime(tmp_path / "corpus.json", (1, 1))
    assert listing(recognise(tmp_path)) != first


@pytest.mark.filterwarnings("ignore")           # of the parser, about what the header holds
def test_a_header_of_codes_that_was_damaged_anywhere(tmp_path):
    make_tokens(tmp_path, CODES, codec="mine")
    path, layout, random = tmp_path / "codes" / "100_2_0.npy", recognise(tmp_path), np.random.default_rng(0)
    content, refusals = path.read_bytes(), 0
    for _ in range(2000):
        damaged = bytearray(content)
        for at in random.integers(0, 128, 3):
            damaged[at] = random.choice(list(b"()[]{}'\\,:019OVi<|\n\0 \xff"))
        path.write_bytes(damaged)
        try:
            read_codes(path, layout)
        except Unusable as error:
            refusals += 1
            assert "\n" not in str(error) and str(tmp_path) not in str(error)
    assert refusals > 1000
    path.unlink()
    with pytest.raises(Unusable, match="No such file or directory.: write it again"):
        read_codes(path, layout)
