"""An own corpus: read in every layout, checked, split, encoded once, on little memory, and shown as data."""
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

from corpora import make_audiofolder, make_common_voice, make_ljspeech, make_mls, make_tokens
from lib import files, records
from lib.config import REPOSITORY, STUDIES, study
from lib.data import prepare as preparation
from lib.data.codec import Codec, load_codec
from lib.data.corpus import load_corpus
from lib.report import tables

MAKERS = {"LJSpeech": make_ljspeech, "Common Voice": make_common_voice, "Multilingual LibriSpeech": make_mls}
TEXTS = ("one small step", "a quiet morning", "seven green bottles", "rain on the roof", "an open door", "the last train",
         "bread and butter", "cold water", "a long way home", "left or right", "never too late", "under the bridge")


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=int(seconds * 24_000))).astype(np.float32)


@pytest.fixture
def spoken() -> list[tuple[str, str, np.ndarray]]:
    """Twelve clips of 0.4 to 0.95 seconds."""
    return [(f"10{i % 3}_20_{i:03}", text, noise(0.4 + 0.05 * i, i)) for i, text in enumerate(TEXTS)]


@pytest.fixture
def counted(monkeypatch) -> Counter:
    """How often a codec encodes."""
    calls, real = Counter(), Codec.encode

    def encode(self, audio, codebooks):
        calls["encode"] += 1
        return real(self, audio, codebooks)
    monkeypatch.setattr(Codec, "encode", encode)
    return calls


def own(folder, **overrides):
    return load_corpus(study("smoke", corpus=str(folder), **overrides))


def everything(corpus) -> dict[str, list]:
    return {split: list(corpus.rows(split)) for split in ("train", "validation", "test")}


def ids(corpus) -> set[str]:
    return {row["id"] for rows in everything(corpus).values() for row in rows}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_layout_gives_the_codes_of_its_audio(kind, spoken, tmp_path):
    MAKERS[kind](tmp_path / "mine", spoken, ending="flac")
    corpus = own(tmp_path / "mine")
    assert corpus.record.result["kind"] == kind and corpus.record.result["set_aside"] == {}
    assert ids(corpus) == {id for id, _, _ in spoken}
    assert corpus.alphabet == "".join(sorted(set("".join(TEXTS))))
    audio = {id: a for id, _, a in spoken}
    for clip in corpus.memorised(3) + corpus.unseen(1):
        assert np.abs(clip.audio - audio[clip.id]).max() < 1e-3
        assert np.array_equal(corpus.tokens(clip).codes, load_codec().encode(clip.audio, 4))


def test_splits_share_no_sentence_and_depend_on_the_sentences_alone(spoken, tmp_path):
    twice = spoken + [(id.replace("_20_", "_21_"), text.upper(), audio[::-1]) for id, text, audio in spoken]
    make_ljspeech(tmp_path / "a", twice)
    make_ljspeech(tmp_path / "b", twice[::-1])
    splits = everything(own(tmp_path / "a"))
    texts = {split: {row["spoken"] for row in rows} for split, rows in splits.items()}
    assert {split: len(t) for split, t in texts.items()} == {"train": 6, "validation": 3, "test": 3}
    assert len(set().union(*texts.values())) == 12 and sum(map(len, splits.values())) == 24
    assert texts == {split: {row["spoken"] for row in rows} for split, rows in everything(own(tmp_path / "b")).items()}


def test_a_speaker_is_held_out_where_that_is_asked_for(spoken, tmp_path):
    make_mls(tmp_path / "mine", spoken)
    speakers = {split: {row["speaker"] for row in rows}
                for split, rows in everything(own(tmp_path / "mine", hold_out="speaker")).items()}
    assert sorted(map(len, speakers.values())) == [1, 1, 1] and len(set().union(*speakers.values())) == 3
    make_ljspeech(tmp_path / "nobody", spoken)
    with pytest.raises(ValueError, match="nobody does not say who speaks: hold out sentences"):
        own(tmp_path / "nobody", hold_out="speaker")


def test_the_splits_of_the_corpus_are_followed(spoken, tmp_path):
    make_common_voice(tmp_path / "mine", spoken)
    for name, rows in everything(own(tmp_path / "mine")).items():
        table = tmp_path / "mine" / f"{'dev' if name == 'validation' else name}.tsv"
        assert [f"{r['id']}" in table.read_text() for r in rows] == [True] * len(rows) and rows


def test_training_clips_alone_are_split(spoken, tmp_path):
    make_audiofolder(tmp_path / "mine", spoken, splits=("train",))
    splits = everything(own(tmp_path / "mine"))
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 6, "validation": 3, "test": 3}
    assert own(tmp_path / "mine").record.result["text_column"] == "text of file_name, text, speaker_id"


@pytest.mark.parametrize("kept, expected", [
    (("train", "dev"), {"train": 7, "validation": 2, "test": 3}),      # validation stays, and of ten to train on some are a test
    (("dev", "test"), {"train": 6, "validation": 3, "test": 3}),       # split as if the corpus had no splits
    (("train", "test"), {"train": 8, "test": 4})])
def test_own_splits_are_to_train_on_and_to_test(kept, expected, spoken, tmp_path):
    splits = {"train": 8, "dev": 2, "test": 4} if "train" in kept else {"dev": 6, "test": 6}
    make_audiofolder(tmp_path / "mine", spoken, splits=sum(((split,) * splits[split] for split in kept), ())[:12])
    corpus = own(tmp_path / "mine")
    assert {split: counts["clips"] for split, counts in corpus.record.result["splits"].items()} == expected
    named = {split: {id for id in ids(corpus) if id.startswith(split.replace("dev", "validation"))} for split in kept}
    if kept == ("train", "dev"):
        assert {row["id"] for row in corpus.rows("validation")} == named["dev"] and len(corpus.unseen(1)) == 1
    if kept == ("train", "test"):
        assert {row["id"] for row in corpus.rows("test")} == named["test"]


def test_the_record_says_what_the_clips_are_like(spoken, tmp_path):
    make_common_voice(tmp_path / "mine", spoken, "wav", rate=8_000)
    soundfile.write(tmp_path / "mine" / "clips" / f"{spoken[0][0]}.wav", 2 * spoken[0][2], 24_000)
    record = own(tmp_path / "mine").record
    frames = [-(-round(24_000 * (0.4 + 0.05 * i)) // 320) for i in range(12)]
    assert record.result["rates"] == {"8000": 11, "24000": 1} and record.result["speakers"] == 2
    assert record.result["seconds"] == pytest.approx([frames[0] / 75, np.median(frames) / 75, frames[-1] / 75], abs=1 / 75)
    assert record.result["levels"][1:] == pytest.approx([-24.8, -14], abs=1)      # white noise of deviation 0.1, a third of its band left; of 0.2
    shown = dict(tables.described(record).itertuples(index=False))
    assert shown["sample rates"].startswith("8,000 Hz (11 clips), 24,000 Hz (1 clips); 11 clips are of telephone quality")
    assert shown["speakers"] == "2" and shown["language"] == "en" and shown["layout"] == "Common Voice"


def test_the_record_of_codes_says_no_rates_and_no_levels(tmp_path):
    make_tokens(tmp_path / "mine", [(f"c{i}", text, np.zeros((8, 60), np.int64)) for i, text in enumerate(TEXTS)], "a codec")
    shown = dict(tables.described(own(tmp_path / "mine").record).itertuples(index=False))
    assert shown["length of a clip"] == "0.8 to 0.8 s, median 0.8 s" and shown["speakers"] == "not named"
    assert not {"sample rates", "level of a clip"} & shown.keys()


def test_what_was_encoded_once_is_not_encoded_again(spoken, tmp_path, counted, monkeypatch):
    make_ljspeech(tmp_path / "mine", spoken)
    real = preparation.examine

    def killed(entry, *rest):
        if entry.id == spoken[5][0]:
            raise KeyboardInterrupt
        return real(entry, *rest)
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "examine", killed)
        with pytest.raises(KeyboardInterrupt):
            own(tmp_path / "mine")
    assert not list(records.runs_root().glob("corpus/*/record.json")) and not list(records.runs_root().glob("corpus/.*"))
    done = counted["encode"]
    assert 0 < done < 12
    first = own(tmp_path / "mine")
    assert counted["encode"] == 12
    again = own(tmp_path / "mine", codebooks=8, hold_out="sentence")            # another study, another list
    assert again.record.key != first.record.key and counted["encode"] == 12
    assert own(tmp_path / "mine").record.created == first.record.created
    soundfile.write(tmp_path / "mine" / "wavs" / f"{spoken[0][0]}.wav", noise(0.5, 99), 24_000)
    assert own(tmp_path / "mine").record.key != first.record.key and counted["encode"] == 13


def test_clips_that_cannot_be_used_are_listed_with_the_reason_and_the_rest_is_used(spoken, tmp_path):
    extra = [(f"bad{i}", "one more", audio) for i, audio in enumerate((noise(0.1), noise(31), 0 * noise(1), noise(1)))]
    extra += [("empty", "", noise(1)), ("signs", "?!", noise(1)), ("digits", "x 5", noise(1)), ("fine", "it is", noise(1))]
    make_ljspeech(tmp_path / "mine", spoken + extra)
    wavs = tmp_path / "mine" / "wavs"
    (wavs / "bad3.wav").write_bytes((wavs / "bad3.wav").read_bytes()[:20_000])
    soundfile.write(wavs / "unheard.wav", noise(1), 24_000)
    with open(tmp_path / "mine" / "metadata.csv", "a", encoding="utf-8") as file:
        file.write("lost|there is no sound\n../../x|outside\nhere is no separator\n")
    corpus = own(tmp_path / "mine")
    assert ids(corpus) == {id for id, _, _ in spoken} | {"fine"}
    aside = corpus.record.file("set_aside.tsv").read_text().splitlines()
    reasons = {line.split("\t")[0]: line.split("\t", 2)[2] for line in aside}
    for id, words in {"bad0": "too short", "bad1": "too long", "bad2": "silent", "bad3": "cut off", "empty": "empty",
                      "signs": "nothing to speak", "digits": "numbers cannot be spelled out", "lost": "no audio",
                      "../../x": "leaves", "line 23": "separator", "unheard": "no transcript"}.items():
        assert any(id in key and words in reason for key, reason in reasons.items()), (id, words, aside)
    assert len(aside) == 11 == sum(corpus.record.result["set_aside"].values())
    assert "digits" in ids(own(tmp_path / "mine", language="en"))
    with pytest.raises(ValueError, match="^language 'klingon' is not known: give its ISO 639 code"):
        own(tmp_path / "mine", language="klingon")


@pytest.mark.parametrize("clips, words", [
    ([("a", "aaa", 1), ("b", "aa a", 1)], "an alphabet of one letter"),
    ([("a", "ab", 0), ("b", "cd", 0)], "no clip of corpus .*mine can be used: 2 set aside, the first because wavs/a.wav: silent"),
    ([("a", "ab", 1)], "has one usable sentence: at least 2 are needed"),
])
def test_a_corpus_that_no_study_can_use_is_refused_in_one_line(clips, words, tmp_path):
    make_ljspeech(tmp_path / "mine", [(id, text, loud * noise(0.5, i)) for i, (id, text, loud) in enumerate(clips)])
    with pytest.raises(ValueError, match=words) as error:
        own(tmp_path / "mine")
    assert str(tmp_path / "mine") in str(error.value) and "\n" not in str(error.value)
    assert not list(records.runs_root().glob("corpus/*/record.json"))


def test_of_more_clips_than_there_are_all_are_memorised(spoken, tmp_path):
    make_ljspeech(tmp_path / "mine", spoken[:4])
    assert len(own(tmp_path / "mine").memorised(3)) == 2 and len(own(tmp_path / "mine").unseen(3)) == 1


@pytest.mark.parametrize("kind", ["sound", "codes"])
def test_no_clip_is_cut_against_its_text(kind, tmp_path, monkeypatch):
    """Those of more than 4 seconds are neither memorised nor said, however few the others are, and no more of them is read."""
    clips = [(f"c{i}", text, 4.0 if i in (3, 7) else 4.1) for i, text in enumerate(TEXTS)]
    if kind == "codes":
        make_tokens(tmp_path / "mine", [(id, text, np.zeros((8, round(50 * s)), int)) for id, text, s in clips], "mine", frame_rate=50)
    else:
        make_ljspeech(tmp_path / "mine", [(id, text, noise(s, int(id[1:]))) for id, text, s in clips])
    monkeypatch.setattr(preparation, "_split", all_but(("c3",), ("c5", "c7")))
    corpus, read = own(tmp_path / "mine"), []
    monkeypatch.setattr(type(corpus), "codes" if kind == "codes" else "audio", lambda self, what, real=getattr(
        type(corpus), "codes" if kind == "codes" else "audio"): (read.append(what), real(self, what))[1])
    assert [clip.id for clip in corpus.memorised(3)] == ["c3"] and [clip.id for clip in corpus.unseen(3)] == ["c7"]
    assert len(read) == 4                                               # the first of the longer ones tells that no other is short
    lengths = [len(clip.audio) / 24_000 if kind == "sound" else clip.codes.shape[1] / 50 for clip in corpus.memorised(1)]
    assert lengths == pytest.approx([4.0], abs=0.01)


def test_a_corpus_of_longer_clips_alone_has_none_to_memorise(tmp_path):
    make_tokens(tmp_path / "mine", [(f"c{i}", text, np.zeros((8, 301), int)) for i, text in enumerate(TEXTS)], "mine")
    corpus = own(tmp_path / "mine")
    with pytest.raises(ValueError, match="^corpus mine has no clip of at most 4 s to memorise .split train.: cut some of its clips, "
                                         "and their text with them, at their pauses$"):
        corpus.memorised(3)
    assert corpus.unseen(3) == [] and len(list(corpus.clips("train"))) == 6


def all_but(train: tuple[str, ...], test: tuple[str, ...]):
    """A split of the clips with these ids and of the others, which are to train on as well."""
    def split(layout, hold_out, usable, listed):
        rows = [json.loads(line) for line in usable.read_text().splitlines()]
        out = [{**row, "split": "test" if row["id"] in test else "train"} for row in rows]
        listed.write_text("".join(json.dumps(row) + "\n" for row in out))
        return {"train": {"clips": len(rows) - len(test), "frames": 1}, "test": {"clips": len(test), "frames": 1}}
    return split


@pytest.fixture
def codes(spoken) -> list[tuple[str, str, np.ndarray]]:
    codec = load_codec()
    return [(id, text, codec.encode(audio, 8)) for id, text, audio in spoken]


def test_codes_are_taken_as_they_are_and_extra_codebooks_dropped(codes, tmp_path):
    make_tokens(tmp_path / "mine", codes, codec="embedded")
    corpus = own(tmp_path / "mine")
    clip, = corpus.unseen(1)
    expected = {id: c for id, _, c in codes}[clip.id]
    assert np.array_equal(corpus.tokens(clip).codes, expected[:4]) and clip.audio is None and corpus.silent == ""
    sound = corpus.sound(corpus.tokens(clip).codes, corpus.made_with)
    assert np.array_equal(sound, load_codec().decode(expected[:4]))


def test_the_study_s_language_is_that_of_codes_that_name_none(codes, tmp_path):
    make_tokens(tmp_path / "mine", [(id, f"{text} 5", c) for id, text, c in codes], codec="embedded", language="")
    corpus = own(tmp_path / "mine", language="it")
    assert corpus.language == "it" and all(row["spoken"] == f"{row['text'][:-2]} cinque" for row in corpus.rows("train"))


def test_without_the_codec_s_weights_there_is_a_reason_and_no_sound(codes, tmp_path, monkeypatch):
    make_tokens(tmp_path / "mine", codes, codec="dac_44khz", frame_rate=86.1)
    corpus = own(tmp_path / "mine")
    assert corpus.codec is None and corpus.silent == \
        "the codes are those of dac_44khz, a codec that is not known here: give its weights as the codec"
    with pytest.raises(ValueError, match="no sound: the codes are those of dac_44khz"):
        corpus.sound(corpus.tokens(corpus.unseen(1)[0]).codes, corpus.made_with)
    assert all(c.codes.shape[1] <= 4 * 86.1 for c in corpus.memorised(3))
    make_tokens(tmp_path / "meta", codes, codec="encodec_24khz")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    assert "whose weights are not here" in own(tmp_path / "meta").silent


@pytest.mark.parametrize("lie, words", [
    (dict(codebooks=2), "no clip of corpus .* can be used: 12 set aside, the first because codes/.*npy: .*corpus.json says 2"),
    (dict(frame_rate=50), "corpus.json says 50 frames a second of codec embedded, which has 75: correct it"),
])
def test_a_corpus_json_that_lies_is_named(lie, words, codes, tmp_path):
    make_tokens(tmp_path / "mine", codes, **{"codec": "embedded"} | lie)
    with pytest.raises(ValueError, match=words) as error:
        own(tmp_path / "mine", codebooks=2)
    assert "\n" not in str(error.value)


def test_fewer_codebooks_than_asked_for(codes, tmp_path):
    make_tokens(tmp_path / "mine", [(id, text, c[:2]) for id, text, c in codes], codec="embedded")
    with pytest.raises(ValueError, match="corpus.json says 2 codebooks, 4 are asked for: ask for fewer"):
        own(tmp_path / "mine")


def test_a_damaged_list_of_clips_is_named(spoken, tmp_path):
    make_ljspeech(tmp_path / "mine", spoken)
    path = own(tmp_path / "mine").record.folder / "clips.jsonl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(files.Damaged, match="clips.jsonl is missing or damaged: delete"):
        own(tmp_path / "mine").unseen(1)


MEMORY = """
import json, sys
import numpy as np
from lib.config import study
from lib.data import corpus, prepare
from lib.data.codec import Codec
from lib.metrics.cost import measure_memory
Codec.encode = lambda self, audio, codebooks: np.full((codebooks, -(-len(audio) // 320)), len(audio) % 1024, np.int16)
few, many = sys.argv[1:]
corpus.load_corpus(study("smoke", corpus=few, hold_out="sentence"))         # everything that is loaded once
peaks = []
for folder in (few, many):
    with measure_memory(average=False) as memory:
        corpus.load_corpus(study("smoke", corpus=folder))
    peaks.append(memory.peak)
print(json.dumps(peaks))
"""


@pytest.mark.long
def test_ten_thousand_clips_need_no_more_memory_than_a_hundred(tmp_path):
    random = np.random.default_rng(0)
    for name, count in (("few", 100), ("many", 10_000)):
        folder = tmp_path / name
        (folder / "wavs").mkdir(parents=True)
        with open(folder / "metadata.csv", "w", encoding="utf-8") as file:
            for i in range(count):
                soundfile.write(folder / "wavs" / f"c{i}.wav", random.integers(-9000, 9000, 2400, np.int16), 8000)
                file.write(f"c{i}|sentence {'abcdefghij'[i % 10]} {chr(97 + i // 10 % 26)}{chr(97 + i // 260 % 26)} of many\n")
    environment = {**os.environ, "TTS_BATCH": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path / "few"), str(tmp_path / "many")], cwd=REPOSITORY,
                          env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    few, many = json.loads(done.stdout)
    assert many - few < 16e6, f"{few / 1e6:.1f} MB for 100 clips, {many / 1e6:.1f} MB for 10,000"


def test_text_and_names_are_data(spoken, tmp_path):
    script = "<script>alert(1)</script> $\\frac{$ {x} %s"
    make_ljspeech(tmp_path / "a & <b>", [(f"a$^{i} <i>", f"{script} {text}", audio)
                                         for i, (_, text, audio) in enumerate(spoken)])
    chosen = study("smoke", corpus=str(tmp_path / "a & <b>"), clips=1, language="en")
    corpus = load_corpus(chosen)
    assert corpus.memorised(1)[0].text.startswith(script)
    assert chosen.label.startswith("smoke-a____b_-") and "/" not in chosen.label
    assert set(corpus.alphabet) >= set("<>()$\\{}%")


def test_the_embedded_corpus_is_a_corpus_too():
    corpus = load_corpus(STUDIES["smoke"])
    assert corpus.language == "pl" and len(corpus.alphabet) == 43 and corpus.frame_rate == 75
    clips = corpus.memorised(2) + corpus.unseen(2)
    assert all(0 < len(clip.audio) <= 4 * 24_000 for clip in clips) and len({clip.id for clip in clips}) == 4
