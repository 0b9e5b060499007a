"""A text that comes in pieces: its sentences, whenever they come, and the pauses between them."""
from itertools import pairwise

import numpy as np
import pytest

from lib.data.codec import FRAME_RATE
from lib.data.corpus import sentences as corpus
from lib.data.phrases import say, sentences_of
from lib.data.reading import LONGEST_SENTENCE, say_apart, sentences
from lib.data.speech import Utterance, synthesise
from lib.data.text import normalise

HARD = " ".join(s.text for split in ("hard", "test") for s in corpus(split)[:60])
ABBREVIATED = """Pan prof. Nowak i dr. Kot, ul. Długa 5 m. 3, mają 2 kg. soli i 5 zł. W 1990 r. Urodził się tu J. K. Rowling itd. Koniec...
Ma 5. Kota? Tak!! - nie. Cicho. Powiedział o godz. 5. Przyszedł do
domu. Wersja 3.14 z 1.05.2020 r.

... Tytuł

   Rozdział 2
 \t
... Ala. Kot?!
"""


def said(text) -> list[str]:
    return [read.text for read in sentences(text)]


def pieces(text: str, length: int) -> list[str]:
    return [text[i:i + length] for i in range(0, len(text), length)]


@pytest.mark.parametrize("text", [HARD, ABBREVIATED, "Ala", "Ala.", " \n\nAla ma kota.\n", "Ala ma kota.\n\n \n\nKot.\n\n"])
def test_sentences_are_those_of_the_whole_text_wherever_its_pieces_are_cut(text):
    whole = [one for paragraph in text.split("\n\n") for part in paragraph.split("\n \t\n") for one in sentences_of(normalise(part))]
    assert said(text) == whole
    read = list(sentences(text))
    for length in (1, 3, 50):
        assert list(sentences(pieces(text, length))) == read


def test_a_sentence_is_there_before_the_next_one_comes():
    come = []

    def text():
        for piece in ("Ala ma", " kota.\n", "Widzi prof.\n", "Nowaka! ", "Koniec"):
            come.append(piece)
            yield piece
    assert [(read.text, len(come)) for read in sentences(text())] == [
        ("ala ma kota.", 2), ("widzi profesor nowaka!", 4), ("koniec", 5)]


def test_a_language_whose_numbers_cannot_be_spelled_out_is_read_as_promptly():
    read = sentences(iter(["Dia duit! Slán. ", "Tá 3"]), "ga")
    assert [next(read).text, next(read).text] == ["dia duit!", "slán."]
    with pytest.raises(ValueError, match="cannot be spelled out"):
        next(read)


def test_what_ends_without_a_mark_is_cut_at_a_space_and_nothing_is_lost():
    words = "kot ala " * 400 + "a" * 2500 + " " + "pies\n" * 300
    cut = said(words)
    assert max(map(len, cut)) <= LONGEST_SENTENCE and "".join(cut).replace(" ", "") == "".join(words.split())
    assert len(cut) < 1.2 * len(words) / LONGEST_SENTENCE + 3
    assert said(pieces(words, 7)) == cut


@pytest.mark.parametrize("text", ["r. " * 3000, "5. " * 3000, "a\n" * 4500, "\n" * 9000 + "a", ("a" + " " * 3000) * 3, "." * 9000 + "a",
                                  ". " * 4500 + "a"])
def test_odd_texts_take_no_more_time_than_others(text):
    letters = sum(map(str.isalpha, "".join(said(text))))
    assert letters >= sum(map(str.isalpha, text))


def test_what_cannot_be_spoken_is_told_where_it_is_reached():
    read = sentences("Ala. Kot ∑. Pies.")
    assert next(read).text == "ala."
    with pytest.raises(ValueError, match=r"'∑' \(U\+2211\)"):
        next(read)
    with pytest.raises(ValueError, match="'∑'"):
        list(sentences(["Ala.", "\n\n∑"]))                              # also where no sentence is
    for nothing in ("", " \n", "... !", []):
        with pytest.raises(ValueError, match="nothing to speak"):
            list(sentences(nothing))


def test_sentences_said_apart_are_those_of_phrases_with_the_pauses_between_them():
    text = "Wróbel strzepnął wodę. Gdzie kupiłaś sukienkę? Nie! Może... To 3\nkoty.\n\nTytuł\n \n\nKoniec."
    apart = list(say_apart(sentences(text), "pl"))
    alone = ["wróbel strzepnął wodę.", "gdzie kupiłaś sukienkę?", "nie!", "może...", "to trzy koty.", "tytuł", "koniec."]
    assert [s.groups for s in apart] == [say(sentence, "pl")[0] for sentence in alone]
    # of espeak-ng: 350 ms and 300 at the least after a mark, then 53 before any clause; at a blank line 610
    assert [s.pause for s in apart] == [0, 30, 30, 33, 24, 50, 50]


def test_pauses_between_sentences_are_as_long_as_in_the_whole_text():
    text = "Kot pije. Ptak śpi! Kto to... Pies? Tak."
    speech, = synthesise([Utterance(text)])
    runs = [0.0]                # frames of silence before each phoneme
    for (at, name), (end, _) in pairwise(speech.phonemes):
        runs[-1] += 0 if name else FRAME_RATE * (end - at)
        runs += [0.0] * bool(name)
    assert np.allclose([run for run in runs[:-1] if run > 10], [s.pause for s in say_apart(sentences(text), "pl")][1:], atol=2.5)
