"""The phrase grammar: distinct, repeatable, in the alphabet, and apart from the written sentences."""
import csv
import re

import pytest

from lib.config import REPOSITORY
from lib.data.grammar import coined, phrases
from lib.data.text import decode, encode, normalise

MANY = phrases(60_000, seed=0)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", normalise(text))


def test_distinct_and_deterministic():
    assert len(set(MANY)) == len(MANY) == 60_000
    assert phrases(500, seed=1) == phrases(500, seed=1) != phrases(500, seed=2)
    assert phrases(0, seed=0) == []


def test_coined_words_are_halves_of_words_and_the_same_for_the_same_seed():
    said = ["dwa koty śpią.", "gość czeka, żółw idzie"]
    texts = coined(said, 20, seed=1)
    assert texts == coined(said, 20, seed=1) != coined(said, 20, seed=2)
    words = "dwa koty śpią gość czeka żółw idzie".split()
    parts = {a[:(len(a) + 1) // 2] + b[len(b) // 2:] for a in words for b in words}
    assert all(3 <= len(text.split()) <= 7 and set(text.rstrip(".").split()) <= parts for text in texts)


def test_lengths_and_kinds():
    assert all(4 <= len(phrase.split()) <= 14 for phrase in MANY)
    assert len({len(phrase.split()) for phrase in MANY}) >= 6
    few = phrases(100, seed=3)
    assert {phrase[-1] for phrase in few} == set(".?!") and any("," in phrase for phrase in few)
    assert all(phrase[0].isupper() for phrase in few)


def test_every_phrase_encodes():
    for phrase in MANY[::20]:
        assert decode(encode(phrase)) == phrase.lower()
    assert set("aąbcćdeęfghijklłmnńoóprsśtuwyzźż") <= set("".join(MANY[:300]).lower())


def test_agreement():
    for phrase in MANY[::10]:
        found = words(phrase)
        for subject, wrong in (("zuzanna", "ł"), ("grzegorz", "ła")):
            if subject in found[:-1]:
                after = found[found.index(subject) + 1]
                assert not after.endswith(wrong), phrase


def test_never_a_written_sentence():
    """Each has a word that the grammar lacks, so none can be made by any seed."""
    vocabulary = set(re.findall(r"\w+", " ".join(MANY).lower()))
    with open(REPOSITORY / "data" / "sentences" / "sentences.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            assert set(words(row["text"])) - vocabulary, row


@pytest.mark.parametrize("count", [-1, 10**15])
def test_too_many_is_one_clear_line(count):
    with pytest.raises(ValueError, match=f"distinct sentences, not {count}") as error:
        phrases(count, seed=0)
    assert "\n" not in str(error.value)
