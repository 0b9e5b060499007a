"""Layouts: recognised by themselves, read as they are meant, and every broken one named with the way out."""
import json
import os
import pickle
import re
import unicodedata

import numpy as np
import pytest

from corpora import (
    make_audiofolder,
    make_common_voice,
    make_librispeech,
    make_libritts,
    make_ljspeech,
    make_mailabs,
    make_mls,
    make_tokens,
    make_vctk,
)
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
    (tmp_path / "metadata.csv").write_bytes("\ufeff100_2_0|raw 1 \"|  raw \"one\r\n101_2_1|raw|\r\n".encode())
    good, bad = read(tmp_path)
    assert [e.text for e in good] == ['raw "one', "raw"] and len(bad) == 4
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


@pytest.mark.parametrize("at, language", [("", "pl_PL"), ("by_book", "pl_PL"), ("by_book/male", "pl_PL"),
                                          ("by_book/male/101", "pl_PL"), ("by_book/male/101/book2", "pl_PL")])
def test_mailabs_at_any_level_of_the_tree(at, language, tmp_path):
    make_mailabs(tmp_path / "pl_PL", CLIPS + [("101_3_7", "other book", AUDIO)])
    layout = recognise(tmp_path / "pl_PL" / at)
    assert (layout.kind, layout.language, layout.text_column) == ("M-AILABS", language, "column 3") and layout.columns == "3"
    good, bad = read(tmp_path / "pl_PL" / at)
    prefix = "by_book/male/101/book2/"[len(at) + 1 if at else 0:]
    assert not bad and Entry("101_2_1", "text b", f"{prefix}wavs/101_2_1.wav", "", "101") in good
    assert len(good) == {0: 7, 1: 7, 2: 4, 3: 4, 4: 3}[len(at.split("/")) if at else 0]
    assert {e.speaker for e in good} == ({"100", "101"} if len(good) == 7 else {"101"})


def test_mailabs_with_nobody_s_books_and_speakers_taken_out_of_the_tree(tmp_path):
    make_ljspeech(tmp_path / "de_DE" / "by_book" / "mix" / "fairy_tales", CLIPS)
    assert {e.speaker for e in read(tmp_path / "de_DE")[0]} == {""}
    make_ljspeech(tmp_path / "anna" / "one", CLIPS)
    assert "has one: one (LJSpeech)" in refused(tmp_path / "anna")
    (tmp_path / "anna" / "one" / "metadata_mls.json").write_text("{}")
    assert {e.speaker for e in read(tmp_path / "anna")[0]} == {"anna"}
    assert re.search(r"anna \(M-AILABS\), de_DE \(M-AILABS\)$", refused(tmp_path))          # two languages are two corpora


def test_vctk(tmp_path):
    make_vctk(tmp_path, [("p225_001", "Please call.", AUDIO), ("s5_001", "Please come.", AUDIO)])
    (tmp_path / "wav48_silence_trimmed" / "s5" / "s5_001_mic1.flac").unlink()
    for name in ("p315_001_mic1", "p315_001_mic2"):                                         # whose texts were lost
        (tmp_path / "wav48_silence_trimmed" / "s5" / f"{name}.flac").write_bytes(b"")
    good, bad = read(tmp_path)
    sounds = "wav48_silence_trimmed"
    assert good == [Entry("p225_001", "Please call.", f"{sounds}/p225/p225_001_mic1.flac", "", "p225"),
                    Entry("s5_001", "Please come.", f"{sounds}/s5/s5_001_mic2.flac", "", "s5")]
    assert [(b.id, b.reason.split(":")[0]) for b in bad] == [("p315_001_mic1", "no transcript")]
    (tmp_path / "txt" / "s5" / "s5_001.txt").write_bytes(b"\xff\xfe")
    assert "cannot be read" in read(tmp_path)[1][0].reason
    first = listing(recognise(tmp_path))
    (tmp_path / "txt" / "s5" / "s5_001.txt").write_text("Please.")
    assert listing(recognise(tmp_path)) != first


@pytest.mark.parametrize("make, sign, ending", [(make_libritts, "_", "wav"), (make_librispeech, "-", "flac")])
def test_libritts_and_librispeech(make, sign, ending, tmp_path):
    make(tmp_path, CLIPS)
    good, bad = read(tmp_path)
    by_id = {e.id: e for e in good}
    id = f"101{sign}2{sign}3"
    assert by_id[id] == Entry(id, "text d", f"dev-clean/101/2/{id}.{ending}", "validation", "101")
    assert sorted(e.split for e in good) == ["test"] * 2 + ["train"] * 3 + ["validation"] and not bad
    good, bad = read(tmp_path / "train-clean")                                              # one part, to be split
    assert {(e.split, e.file.split("/")[0]) for e in good} == {("", "100"), ("", "101")} and not bad
    assert {(e.speaker, e.file.split("/")[0]) for e in read(tmp_path / "train-clean" / "100")[0]} == {("100", "2")}
    (tmp_path / "train-clean" / "100" / "2" / f"100_2_9.{ending}").write_bytes(b"")
    assert [b.reason.split(":")[0] for b in read(tmp_path)[1]] == ["no transcript"]


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("column", ["text", "transcription", "sentence"])
def test_audiofolder(lines, column, tmp_path):
    clips = [(id, f'{text}, "said", he', audio) for id, text, audio in CLIPS]
    make_audiofolder(tmp_path / "parts", clips, lines=lines, column=column)
    assert (recognise(tmp_path / "parts").kind, recognise(tmp_path / "parts").text_column) == ("audiofolder", column)
    good, bad = read(tmp_path / "parts")
    assert {e.id: e for e in good}["validation/101_2_3"] == Entry(
        "validation/101_2_3", 'text d, "said", he', "validation/101_2_3.wav", "validation", "101")
    assert sorted(e.split for e in good) == ["test"] * 2 + ["train"] * 3 + ["validation"] and not bad
    make_audiofolder(tmp_path / "one", clips, lines=lines, column=column, splits=("",))
    good, bad = read(tmp_path / "one")
    assert good[0] == Entry("100_2_0", 'text a, "said", he', "100_2_0.wav", "", "100") and len(good) == 6 and not bad


def test_an_audiofolder_that_lists_its_parts_in_one_table(tmp_path):
    make_audiofolder(tmp_path, CLIPS[:2], splits=("train", "test"))
    for part in ("train", "test"):
        (tmp_path / part / "metadata.csv").unlink()
    (tmp_path / "metadata.csv").write_text(
        'file_name,text\ntrain/100_2_0.wav,"two\nlines, one text"\n./test/101_2_1.wav,b\n,c\ntrain/x.wav,d,e\ntrain/y.wav\n'
        '../x.wav,f\n')
    good, bad = read(tmp_path)
    assert good == [Entry("train/100_2_0", "two lines, one text", "train/100_2_0.wav", "train"),
                    Entry("test/101_2_1", "b", "test/101_2_1.wav", "test")]
    assert [b.reason.split(" (")[0].split(":")[0] for b in bad] == [
        "no id", "more columns than the head of the table", "fewer columns than the head of the table",
        "its name leaves the corpus folder"]
    (tmp_path / "metadata.csv").write_text('file_name,text\ntrain/100_2_0.wav,"never ends\n' + "x" * 200_000)
    assert "metadata.csv cannot be read as CSV" in refused(tmp_path)


@pytest.mark.parametrize("head, words", [
    ("file_name,label", "metadata.csv has columns 'file_name, label': file_name and one of text, transcription, sentence are"),
    ("path,text", "metadata.csv has columns 'path, text': file_name and one of")])
def test_a_table_for_hugging_face_is_not_called_half_an_ljspeech(head, words, tmp_path):
    (tmp_path / "metadata.csv").write_text(f"{head}\na.wav,happy\n")
    assert words in refused(tmp_path) and "LJSpeech" not in refused(tmp_path)


def test_lines_of_json_that_say_nothing(tmp_path):
    make_audiofolder(tmp_path, CLIPS[:1], lines=True, splits=("",))
    with open(tmp_path / "metadata.jsonl", "a") as file:
        file.write('{"file_name": "b.wav", "text": null}\n[1]\n{"file_na\n\n' + "[" * 100_000 + "\n")
    good, bad = read(tmp_path)
    assert len(good) == 1 and [b.reason[:12] for b in bad] == ["fewer column"] + ["no object of"] * 3


def test_a_common_voice_archive(tmp_path):
    make_common_voice(tmp_path / "cv-corpus-17.0" / "pl", CLIPS, locale="pl")
    assert (layout := recognise(tmp_path / "cv-corpus-17.0")).folder.name == "pl" and layout.language == "pl"
    assert recognise(tmp_path).folder == tmp_path / "cv-corpus-17.0" / "pl"
    make_common_voice(tmp_path / "cv-corpus-17.0" / "de", CLIPS, locale="de")
    assert refused(tmp_path / "cv-corpus-17.0").endswith("has one: de (Common Voice), pl (Common Voice)")


def test_a_folder_of_corpora_names_them(tmp_path):
    make_ljspeech(tmp_path / "a" / "mine", CLIPS)
    make_vctk(tmp_path / "VCTK", [("p225_001", "text", AUDIO)])
    make_libritts(tmp_path / "b" / "LibriTTS", CLIPS)
    make_audiofolder(tmp_path / "c", CLIPS)
    make_ljspeech(tmp_path / "deep" / "er" / "est", CLIPS)                                  # three levels down
    (tmp_path / "wavs").mkdir()
    assert refused(tmp_path).endswith(
        "metadata.csv is missing, which layout LJSpeech needs: put it there; give a folder in it that has one: VCTK (VCTK), "
        "c (audiofolder), a/mine (LJSpeech), b/LibriTTS (LibriTTS)")
    for i in range(300):
        (tmp_path / "many" / f"{i:03}").mkdir(parents=True)
        (tmp_path / "many" / f"{i:03}" / "corpus.json").write_text(
            '{"codec": "mine", "codebooks": 8, "frame_rate": 75}')
        (tmp_path / "many" / f"{i:03}" / "codes").mkdir()
        (tmp_path / "many" / f"{i:03}" / "metadata.csv").write_text("a|b\n")
    assert refused(tmp_path / "many").endswith("007 (codes), 008 (codes) and 91 more")     # 100 were looked at


ROWS = [("a1", "In 1990 Dr. Smith paid 5 pounds", "In nineteen ninety Doctor Smith paid five pounds"),
        ("a2", "It was 12 o'clock", "It was twelve o'clock"), ("a3", "Nothing at all", "Nothing at all"),
        ("a4", "He read 3 letters", "He read three letters"), ("a5", "Rain on 2 roofs", "Rain on two roofs"),
        ("a6", "They came at 7", "They came at seven")]
NAMES, TIMES = ("anna", "jan", "anna", "jan", "anna", "jan"), ("1.52", "2.04", "1.9", "0.88", "3", "2.71")
TWO_WORDS = ("Anna Nowak", "Jan Lis", "Anna Nowak", "Jan Lis", "Anna Nowak", "Jan Lis")
THREE_WORDS = tuple(f"{first} {name} Nowak" for first, name in zip(("Maria", "Jan") * 3, ("Anna", "Karol") * 3))
SHORT = ("Yes.", "Not now.", "Perhaps.", "Come in!", "Tomorrow.", "Who?")
MANY = tuple(f"{name} Anna Nowak" for name in ("Ewa", "Ola", "Iga", "Zoe", "Lea", "Kim"))
PROMPTS = ("Please call Stella and ask her to come", "Six spoons of fresh snow peas") * 3
PHONEMES = ("ɪn naɪntiːn", "ɪt wɒz", "nʌθɪŋ ət", "hiː riːd", "reɪn ɒn", "ðeɪ keɪm")
TRANSLATED = ("W 1990 r. doktor zapłacił", "Była dwunasta", "Zupełnie nic", "Czytał listy", "Deszcz na dachach", "Przyszli")
IDEOGRAMS, WRITTEN_OUT = [["他有3本书", "今天是5月", "下雨了吗", "他来了2次", "我看见她", "没有人知道"],
                          ["他有三本书", "今天是五月", "下雨了吗", "他来了两次", "我看见她", "没有人知道"]]


@pytest.mark.parametrize("columns, text", [
    (("{text}", "{written}"), 2), (("{text}", NAMES), 1), (("{text}", TIMES), 1), (("{text}", PHONEMES), 1),
    (("{text}", TRANSLATED), 1), (("{text}", ("neutral",) * 6), 1), (("{text}", ("",) * 6), 1),
    ((NAMES, "{text}"), 2), ((TIMES, "{text}"), 2), ((TWO_WORDS, "{text}"), 2), ((NAMES, TIMES, "{text}"), 3),
    ((NAMES, "{text}", "{written}"), 3), (("{text}", "{written}", NAMES), 2), (("{text}", TIMES, NAMES), 1),
    ((tuple(f"{i}.wav" for i in range(6)), "{text}"), 2), (("5", "six", "seven", "six", "five", "5"), 1),
    (("{text}", tuple(text for _, _, text in ROWS[::-1])), 1), ((IDEOGRAMS, WRITTEN_OUT), 2), ((IDEOGRAMS, NAMES), 1),
    ((THREE_WORDS, "{text}"), 2), ((THREE_WORDS, NAMES, TIMES, "{text}"), 4), ((THREE_WORDS, "{text}", "{written}"), 3),
    ((THREE_WORDS, SHORT), 2), ((PROMPTS, MANY), 1), ((PROMPTS, NAMES), 1), ((PROMPTS, tuple(f"take {'abcdef'[i]}" for i in range(6))), 1),
    ((tuple(f"clip {'abcdef'[i]}.m4a" for i in range(6)), "{text}"), 2), ((tuple(f"take{'abcdef'[i]}.MOV" for i in range(6)), "{text}"), 2),
    ((("a.wav", "b.mkv", "c.mp4", "d.flac", "e.npy", ""), "{text}"), 2), ((tuple(f"utterance_{i}" for i in range(6)), "{text}"), 2),
    ((PROMPTS, tuple(f"speaker-{i}-take" for i in range(6))), 1),
    (((["yes", "no"] * 3), NAMES), 1), ((("25", "7", "3", "18", "1", "4"), ("twenty-five", "seven", "three", "x", "one", "y")), 2)])
def test_which_column_is_the_text(columns, text, tmp_path):
    if isinstance(columns[0], str) and not columns[0].startswith("{"):
        columns = (columns,)
    make_ljspeech(tmp_path, [(id, "", AUDIO) for id, _, _ in ROWS])
    table = [[id] + [c.format(text=plain, written=written) if isinstance(c, str) else c[i] for c in columns]
             for i, (id, plain, written) in enumerate(ROWS)]
    (tmp_path / "metadata.csv").write_text("".join("|".join(row) + "\n" for row in table), encoding="utf-8")
    good, bad = read(tmp_path)
    assert [e.text for e in good] == [row[text] for row in table] and not bad
    layout = recognise(tmp_path)
    assert (layout.text_column, layout.columns) == (f"column {text + 1}", str(max(len(columns) + 1, text + 1)))


def test_lines_of_more_or_fewer_columns_than_the_others(tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    (tmp_path / "metadata.csv").write_text("100_2_0|one text\n101_2_1|another | cut in two\n100_2_2|a third\n")
    good, bad = read(tmp_path)
    assert [e.text for e in good] == ["one text", "a third"] and bad[0].reason.startswith("more columns than the other lines (3 of 2)")
    (tmp_path / "metadata.csv").write_text("100_2_0|one text\n101_2_1|two texts||\n100_2_2|a third\n")
    assert [e.text for e in read(tmp_path)[0]] == ["one text", "two texts", "a third"]
    (tmp_path / "metadata.csv").write_text("100_2_0|anna|one text\n101_2_1|two texts\n100_2_2|anna|three texts\n")
    good, bad = read(tmp_path)
    assert [e.text for e in good] == ["one text", "three texts"] and bad[0].reason.startswith("fewer columns than the other lines (2 of 3)")
    (tmp_path / "metadata.csv").write_text("100_2_0|no digit\n101_2_1|room 5|room five\n100_2_2|no digit\n100_2_4|it is\n")
    assert [e.text for e in read(tmp_path)[0]] == ["no digit", "room five", "no digit", "it is"]


@pytest.mark.parametrize("make, name, separator", [(make_ljspeech, "metadata.csv", "|"), (make_mls, "transcripts.txt", "\t")])
@pytest.mark.parametrize("head, column", [("id{0}text", "text"), ("path{0}text", "text"), ("ID{0}Sentence", "sentence"),
                                          ("file_name{0}speaker{0}transcription", "transcription")])
def test_a_first_line_that_names_the_columns_is_no_clip(make, name, separator, head, column, tmp_path):
    make(tmp_path, CLIPS)
    middle = f"{separator}two words" if "speaker" in head else ""
    (tmp_path / name).write_text(head.format(separator) + "\n" + "".join(f"{id}{middle}{separator}{text}\n" for id, text, _ in CLIPS))
    good, bad = read(tmp_path)
    assert [(e.id, e.text) for e in good] == [(id, text) for id, text, _ in CLIPS] and not bad
    assert (recognise(tmp_path).text_column, recognise(tmp_path).columns) == (column, head.format(", ").lower())


@pytest.mark.parametrize("make, name, separator", [(make_ljspeech, "metadata.csv", "|"), (make_mls, "transcripts.txt", "\t")])
@pytest.mark.parametrize("head", ["nazwa{0}tekst", "Datei{0}Sprecher{0}gesprochener Text", "имя файла{0}текст"])
def test_a_heading_in_other_words_is_called_one(make, name, separator, head, tmp_path):
    make(tmp_path, CLIPS)
    middle = f"{separator}anna" if head.count("{0}") == 2 else ""
    lines = [f"{id}{middle}{separator}{text}\n" for id, text, _ in CLIPS]
    (tmp_path / name).write_text(head.format(separator) + "\n" + "".join(lines), encoding="utf-8")
    good, bad = read(tmp_path)
    assert [(e.id, e.text) for e in good] == [(id, text) for id, text, _ in CLIPS]
    assert [(b.id, b.reason) for b in bad] == [(f"{name} line 1", "taken for a heading, since no audio has that name: remove the line, or add "
                                                "the file")]
    for first in (f"gone_1_2{middle}{separator}one text", f"gone{middle}{separator}She came at five, and left."):
        (tmp_path / name).write_text(f"{first}\n" + "".join(lines), encoding="utf-8")
        assert read(tmp_path)[1][0].reason.startswith("no audio for this transcript: add the file")
    for extra in (lines[0], head.format(separator)):                    # further down it is no heading
        (tmp_path / name).write_text("".join(lines[1:]) + extra + "\n", encoding="utf-8")
        assert not any("heading" in b.reason for b in read(tmp_path)[1])


def test_a_first_clip_of_bare_words_that_is_there_is_no_heading(tmp_path):
    make_ljspeech(tmp_path, [("anna", "tekst", AUDIO), ("jan", "drugi", AUDIO)])
    assert [e.id for e in read(tmp_path)[0]] == ["anna", "jan"]
    os.rename(tmp_path / "wavs" / "anna.wav", tmp_path / "wavs" / "anna.m4a")
    assert [b.reason[:14] for b in read(tmp_path)[1]] == ["another format"]


@pytest.mark.parametrize("written", ["wavs/{}.wav", "{}.wav", "./wavs/{}.WAV", "wavs/{}", "{}.mp3"])
def test_ids_with_folder_or_ending(written, tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    (tmp_path / "metadata.csv").write_text("".join(f"{written.format(id)}|{text}\n" for id, text, _ in CLIPS))
    good, bad = read(tmp_path)
    assert [(e.id, e.file) for e in good] == [(id, f"wavs/{id}.wav") for id, _, _ in CLIPS] and not bad
    make_mls(tmp_path / "b", [("1.5_2_3", "text", AUDIO)])
    (tmp_path / "b" / "transcripts.txt").write_text("audio/1.5/2/1.5_2_3.flac\ttext\n")
    assert read(tmp_path / "b")[0] == [Entry("1.5/2/1.5_2_3", "text", "audio/1.5/2/1.5_2_3.flac", "", "1.5")]


def test_a_row_of_common_voice_with_a_tab_too_many_is_set_aside(tmp_path):
    make_common_voice(tmp_path, CLIPS)
    lines = (tmp_path / "train.tsv").read_text().splitlines()
    (tmp_path / "train.tsv").write_text("\n".join(lines[:2] + [lines[2].replace("text b", "text\tb")] + lines[3:]) + "\n")
    good, bad = read(tmp_path)
    assert len(good) == 5 and [b.id for b in bad] == ["train.tsv line 3"]
    assert bad[0].reason.startswith("more columns than the head of the table (5 of 4)")
    (tmp_path / "train.tsv").write_text("\n".join(line + "\t" * (i > 0) for i, line in enumerate(lines)) + "\n")
    assert len(read(tmp_path)[0]) == 6 and not read(tmp_path)[1]                            # one that cuts nothing off


@pytest.mark.parametrize("make, name, separator", [(make_ljspeech, "metadata.csv", "|"), (make_mls, "transcripts.txt", "\t"),
                                                   (make_common_voice, "train.tsv", "\t")])
@pytest.mark.parametrize("written, said", [
    ('"""Good-bye,"" said the boy."', '"Good-bye," said the boy.'), ('"One, two."', "One, two."),
    ('"Good-bye," said the boy.', '"Good-bye," said the boy.'), ('"Yes" and "no"', '"Yes" and "no"'), ('"', '"')])
def test_a_field_is_unquoted_where_the_whole_of_it_is_quoted(make, name, separator, written, said, tmp_path):
    make(tmp_path, CLIPS)
    path = tmp_path / name
    path.write_text(path.read_text().replace(f"{separator}text a", f"{separator}{written}"))
    assert read(tmp_path)[0][0].text == said


@pytest.mark.parametrize("on_disk, written", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_form_of_unicode(on_disk, written, tmp_path):
    id, folder = (unicodedata.normalize(on_disk, name) for name in ("żółw-é", "Zoë"))
    make_ljspeech(tmp_path / "a", [(id, "text", AUDIO), ("b", "other", AUDIO)], "Flac")
    (tmp_path / "a" / "metadata.csv").write_text(f"{unicodedata.normalize(written, id)}|text\nb|other\n", encoding="utf-8")
    good, bad = read(tmp_path / "a")
    assert [e.file for e in good] == [f"wavs/{id}.Flac", "wavs/b.Flac"] and not bad
    make_audiofolder(tmp_path / "b" / folder, [(id, "text", AUDIO)], splits=("",))
    (tmp_path / "b" / folder / "metadata.csv").unlink()
    name = unicodedata.normalize(written, "Zoë/żółw-é.wav")
    (tmp_path / "b" / "metadata.csv").write_text(f"file_name,text\n{name},text\n", encoding="utf-8")
    good, bad = read(tmp_path / "b")
    assert [e.file for e in good] == [f"{folder}/{id}.wav"] and not bad


@pytest.mark.parametrize("same", [True, False])
def test_a_second_clip_of_an_id_is_set_aside(same, tmp_path):
    make_ljspeech(tmp_path / "a", CLIPS)
    with open(tmp_path / "a" / "metadata.csv", "a") as file:
        file.write(f"101_2_1|{'text b' if same else 'text x'}\n")
    good, bad = read(tmp_path / "a")
    assert [e.text for e in good] == [text for _, text, _ in CLIPS]
    assert [(b.id, b.reason) for b in bad] == [("101_2_1", "its id stands twice (first in metadata.csv line 2, with "
                                                f"{'the same' if same else 'another'} text): keep one")]
    make_common_voice(tmp_path / "b", CLIPS)
    (tmp_path / "b" / "test.tsv").write_text((tmp_path / "b" / "train.tsv").read_text())
    good, bad = read(tmp_path / "b")
    assert [e.split for e in good] == ["train"] * 3 + ["validation"] and len(bad) == 3
    assert bad[0].reason.startswith("its id stands twice (first in train.tsv line 2, with the same text)")


@pytest.mark.parametrize("ending", ["m4a", "M4A", "webm"])
def test_a_clip_in_a_format_that_is_not_read_is_not_called_missing(ending, tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    os.rename(tmp_path / "wavs" / "100_2_0.wav", tmp_path / "wavs" / f"100_2_0.{ending}")
    bad, = read(tmp_path)[1]
    assert bad.reason == f"another format (100_2_0.{ending}): convert it to WAV, FLAC, OGG or MP3"


@pytest.mark.parametrize("language", [None, "", "missing"])
def test_codes_without_a_language(language, tmp_path):
    make_tokens(tmp_path, CODES, codec="mine", language=language)
    if language == "missing":
        described = json.loads((tmp_path / "corpus.json").read_text())
        (tmp_path / "corpus.json").write_text(json.dumps({k: v for k, v in described.items() if k != "language"}))
    assert recognise(tmp_path).language == "" and len(read(tmp_path)[0]) == 6


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
    (b"\x93NUMPY\1\0\x04\0{[(\n", "^cannot be read as an array of numbers: it is cut off or damaged, or holds something else"),
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
                                                  "fewer columns than the head of the table (no path)"]


@pytest.mark.parametrize("change, words", [
    (lambda f: (f / "metadata.csv").write_text(""), "metadata.csv is empty"),
    (lambda f: (f / "metadata.csv").unlink(), "metadata.csv is missing"),
    (lambda f: (f / "metadata.csv").write_bytes("a|ok\nb|żółw\n".encode("iso-8859-2")),
     "metadata.csv is not UTF-8 .line 2, byte 0xbf.: convert it, for instance with iconv"),
    (lambda f: os.rename(f / "wavs", f / "sounds"), "wavs is missing"),
])
def test_a_broken_ljspeech_is_refused_in_one_line(change, words, tmp_path):
    make_ljspeech(tmp_path / "c", CLIPS)
    change(tmp_path / "c")
    assert re.search(words, refused(tmp_path / "c"))


def test_a_broken_common_voice_is_refused_in_one_line(tmp_path):
    make_common_voice(tmp_path / "c", CLIPS)
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
    assert "none of the known layouts: " in refused(tmp_path / "c") and "LJSpeech (metadata.csv and wavs/)" in refused(tmp_path / "c")
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
    make_ljspeech(tmp_path, CLIPS + [("metadata.csv line 8", "text", AUDIO)])
    with open(tmp_path / "metadata.csv", "a") as file:
        file.write("no separator\n")
    good, bad = read(tmp_path)
    assert [e.id for e in good][-1] == "metadata.csv line 8" and [b.id for b in bad] == ["metadata.csv line 8"]


def test_file_names_that_are_not_utf_8_can_be_listed(tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    with open(os.fsencode(tmp_path / "wavs") + b"/\xff\n.wav", "wb"):
        pass
    stray, = read(tmp_path)[1]
    assert stray.file == "wavs/\\udcff\\n.wav" and stray.file.encode("utf-8")


@pytest.mark.parametrize("ending", ["WAV", "Wav", "wAv"])
def test_endings_in_any_case(ending, tmp_path):
    make_ljspeech(tmp_path, CLIPS)
    os.rename(tmp_path / "wavs" / "100_2_0.wav", tmp_path / "wavs" / f"100_2_0.{ending}")
    good, bad = read(tmp_path)
    assert good[0].file == f"wavs/100_2_0.{ending}" and not bad


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
