"""Spoken text cut into groups, spans and guides."""
from collections import Counter

import numpy as np
import pytest

from lib.config import ModelConfig
from lib.data.audio import SAMPLE_RATE
from lib.data.codec import load_codec
from lib.data.corpus import LONGEST_CLIP, sentences
from lib.data.phrases import HELD_OUT, PAUSE, Group, Span, align, alphabet, guide, phrases, plan, say, sentences_of, texts
from lib.data.speech import Speech, Utterance, synthesise

GROUPS = (Group(" ", ((PAUSE, 2),)), Group("kot", (("k", 5), ("ˈɔ", 10), ("t", 4))), Group(", ", ((PAUSE, 6),)),
          Group("śpi", (("ɕ", 8), ("pʲ", 3), ("i", 9))), Group(".", ()))
PHONEMES = (PAUSE, "i", "k", "pʲ", "t", "ɔ", "ɕ", "ˈɔ")


def config(conditioning: str, units: str = "characters") -> ModelConfig:
    alphabet = {"alphabet": PHONEMES} if units == "phonemes" else {}
    return ModelConfig(conditioning=conditioning, units=units, **alphabet)


@pytest.mark.parametrize("text", ["kiedy jędrzej czekał w ogrodzie, ciocia kupiła zegar.", "tak", "w", "nie, nie i nie!"])
def test_groups_hold_the_whole_text_and_every_frame(text):
    groups, audio = say(text, "pl")
    assert sum(g.frames for g in groups) == -(-len(audio) // 320)
    assert "".join(g.characters for g in groups).strip() == text
    words = [g for g in groups if any(map(str.isalpha, g.characters))]
    assert [g.characters for g in words] == text.replace(",", "").rstrip(".!").split()
    for group in groups:        # a word is spoken; what separates two is a pause or nothing
        assert {name == PAUSE for name, _ in group.phonemes} <= {group not in words, False}


def test_a_comma_is_a_pause_of_its_own():
    groups, _ = say("nie, tak", "pl")
    comma = next(g for g in groups if "," in g.characters)
    assert [name for name, _ in comma.phonemes] == [PAUSE] and comma.frames >= 5


def test_pauses_in_a_row_are_one_and_a_word_keeps_its_own():
    speech = Speech(np.zeros(24_000), [(0.0, "a"), (0.5, "b")],
                    [(0.0, "a"), (0.1, ""), (0.2, "a"), (0.3, ""), (0.4, ""), (0.6, "b")])
    assert align(speech, "a b", 75) == (Group("a", (("a", 8), (PAUSE, 7), ("a", 7))), Group(" ", ((PAUSE, 23),)),
                                        Group("b", (("b", 30),)))


@pytest.mark.parametrize("conditioning,units,symbols,frames", [
    ("word", "characters", [1, 3, 2, 3, 1], [2, 19, 6, 20, 0]), ("word", "phonemes", [1, 3, 1, 3, 0], [2, 19, 6, 20, 0]),
    ("utterance", "characters", [10], [47]), ("phoneme", "phonemes", [1] * 8, [2, 5, 10, 4, 6, 8, 3, 9])])
def test_spans_share_out_the_symbols_and_the_frames(conditioning, units, symbols, frames):
    ids, spans = plan(GROUPS, config(conditioning, units))
    assert spans == [Span(s, f) for s, f in zip(symbols, frames, strict=True)]
    assert len(ids) == sum(symbols)


def test_a_phoneme_that_no_model_knows_is_named():
    with pytest.raises(ValueError, match="never saw: ʒ; reword"):
        plan((Group("ż", (("ʒ", 3),)),), config("phoneme", "phonemes"))


def test_a_guide_walks_through_the_symbols_evenly():
    where, timing = guide([Span(2, 4), Span(1, 0), Span(1, 2)], late=3)
    assert where.tolist() == [0, 0, 1, 1, 3, 3, 3, 3, 3]
    assert timing.shape == (9, 4) and timing.dtype == np.float32
    assert timing[:4, 0].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert (timing[5:] == timing[5]).all()      # the last frame stands for those that follow
    assert (np.diff(timing[:4, 2]) < 0).all() and (np.diff(timing[:4, 3]) > 0).all()


def test_no_held_out_text_is_trained_on_or_taught_to_the_recogniser():
    held_out = [text for split in HELD_OUT for text in texts(split, 1000)]
    assert len(held_out) > 200 and len(set(held_out)) == len(held_out)
    for split in ("train", "recogniser", "longer"):
        assert not set(held_out) & set(texts(split, 2000))


def test_long_texts_are_made_of_no_text_that_training_saw():
    trained = set(texts("train", 3000))
    apart = texts("longer", 400, trained)
    assert set(texts("longer", 400)) & trained and not set(apart) & trained     # of those templates some meet by chance
    assert apart == [text for text in texts("longer", 400) if text not in trained] and len(apart) > 300


def test_a_hundred_test_sentences_and_fifty_hard_ones_take_at_most_four_seconds():
    short = {split: [len(said.audio) <= LONGEST_CLIP * SAMPLE_RATE for said in synthesise(map(Utterance, texts(split, 1000)))]
             for split in ("test", "hard")}
    assert sum(short["test"]) >= 100 and len(short["hard"]) >= 50 and all(short["hard"])
    hard, count = sentences("hard"), Counter(s.category for s in sentences("hard"))
    assert set(count) == {"repeated", "clauses", "long", "numbers", "twister"} and min(count.values()) >= 10
    assert {s.category for s in hard[:5]} == set(count)                 # some of them hold some of each
    assert [s.id for s in sentences("test")[:54]] == [f"pl-{number:04d}" for number in range(293, 347)]


@pytest.mark.parametrize("text,sentences", [
    ("ala, ma. kota", ["ala, ma.", "kota"]), ("nie? tak!! no... - nie", ["nie?", "tak!!", "no...", "- nie"]),
    ("pan a. b. nowak. koniec", ["pan a. b. nowak.", "koniec"]), ("a? o! i... w", ["a?", "o!", "i...", "w"]),
    ("dwa.pięć: www.onet.pl", ["dwa.pięć: www.onet.pl"]), ("... ala. - ... !", ["... ala."]), ("...", [])])
def test_sentences_end_after_what_ends_them(text, sentences):
    assert sentences_of(text) == sentences


def test_phrases_are_made_once_and_keep_what_was_made(workspace):
    codec = load_codec("embedded")
    made = phrases("test", 6, "pl", codec)
    again = phrases("test", 6, "pl", codec)
    assert made and [p.id for p in made] == [p.id for p in again]
    for a, b in zip(made, again):
        assert a.groups == b.groups and np.array_equal(a.codes, b.codes)
        assert a.codes.shape == (8, sum(g.frames for g in a.groups)) and a.codes.shape[1] <= 300
        _, audio = say(a.text, "pl")
        assert np.array_equal(codec.encode(audio, 8), a.codes)
    assert PAUSE in alphabet(made) and not any(PAUSE in p.phonemes for p in made)
    assert not any("ˈ" in name for p in made for name in p.phonemes)
