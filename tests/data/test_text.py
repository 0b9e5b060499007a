"""Text: the written sentences, their spoken form, and the alphabet."""
import csv
import random

import pytest

from lib.config import ALPHABET, REPOSITORY
from lib.data.polish import ABBREVIATIONS, UNITS
from lib.data.text import decode, encode, normalise

with open(REPOSITORY / "data" / "sentences" / "sentences.tsv", encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

SPOKEN = {
    "Odjazd o 17:30.": "odjazd o siedemnastej trzydzieści.",
    "Zbiórka o godz. 8, koniec przed godz. 12.": "zbiórka o godzinie ósmej, koniec przed godziną dwunastą.",
    "Trwa to 3 godz. 20 min.": "trwa to trzy godziny dwadzieścia minut.",
    "Od 8:05 do 22:00": "od ósmej zero pięć do dwudziestej drugiej",
    "Dnia 12.05.1998 r. spadł śnieg.":
        "dnia dwunastego maja tysiąc dziewięćset dziewięćdziesiątego ósmego roku spadł śnieg.",
    "3 maja 2000 r. i 2021-09-01":
        "trzeciego maja dwutysięcznego roku i pierwszego września dwa tysiące dwudziestego pierwszego roku",
    "W 2010 r.": "w dwa tysiące dziesiątym roku.",
    "rok 1905, w latach 70. padało": "rok tysiąc dziewięćset piąty, w latach siedemdziesiątych padało",
    "1 zł, 2 zł, 5 zł, 12 zł, 22 zł, 25 zł": "jeden złoty, dwa złote, pięć złotych, dwanaście złotych, "
                                             "dwadzieścia dwa złote, dwadzieścia pięć złotych",
    "Cena: 37,50 zł": "cena: trzydzieści siedem złotych pięćdziesiąt groszy",
    "2,5 kg i 0,05 m": "dwa przecinek pięć kilograma i zero przecinek zero pięć metra",
    "1 h, 2 h, 5km": "jedna godzina, dwie godziny, pięć kilometrów",
    "ok. 15 km": "około piętnastu kilometrów",
    "od 1 do 12 dni, do 21 km": "od jednego do dwunastu dni, do dwudziestu jeden kilometrów",
    "-18 °C, 90 km/h": "minus osiemnaście stopni celsjusza, dziewięćdziesiąt kilometrów na godzinę",
    "30%, 2 mln zł": "trzydzieści procent, dwa miliony złotych",
    "kilka tys. zł": "kilka tysięcy złotych",
    "640 tys. osób": "sześćset czterdzieści tysięcy osób",
    "12 000 osób i 007": "dwanaście tysięcy osób i zero zero siedem",
    "2. miejsce, 8. piętro, do 3. klasy": "drugie miejsce, ósme piętro, do trzeciej klasy",
    "Mam lat 25. Potem nic.": "mam lat dwadzieścia pięć. potem nic.",
    "2 łyżki, 1 osoba, 2 domy": "dwie łyżki, jedna osoba, dwa domy",
    "Dr Lis, ul. Długa, przy ul. Długiej 5/7":
        "doktor lis, ulica długa, przy ulicy długiej pięć łamane przez siedem",
    "Np. wg planu, m.in. tu itd. Potem itp.":
        "na przykład według planu, między innymi tu i tak dalej. potem i tym podobne.",
    "„Ależ tak” – rzekł\u00a0(cicho) …": "ależ tak - rzekł cicho...",
}


def texts(split: str) -> list[str]:
    return [row["text"] for row in ROWS if row["split"] == split]


@pytest.mark.parametrize("written", SPOKEN)
def test_spoken_form(written):
    assert normalise(written) == SPOKEN[written]


def test_sentences_encode_and_decode():
    for row in ROWS:
        spoken = normalise(row["text"])
        assert decode(encode(row["text"])) == spoken, row
        assert not any(c.isdigit() for c in spoken), row


def test_splits():
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len({normalise(row["text"]) for row in ROWS}) == len(ROWS)
    assert {row["split"] for row in ROWS} == {"train", "validation", "test", "seed"}
    assert len(texts("train")) >= 240 and len(texts("validation")) >= 40 and len(texts("test")) >= 40
    assert texts("seed") == ["strudzony wędrówką nieproszony gość,", "i, wywiozły z wiosek pod przymusem woj",
                             "m na długo. Splądrowaws"]
    assert all(4 <= len(row["text"].split()) <= 16 for row in ROWS if row["split"] != "seed")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_split_has_every_sound_and_numbers(split):
    spoken = " ".join(map(normalise, texts(split)))
    missing = [sound for sound in "ą ć ę ł ń ó ś ź ż ch cz dz dź dż rz sz".split() if sound not in spoken]
    assert not missing
    assert set("aąbcćdeęfghijklłmnńoóprsśtuwyzźż,.?!") <= set(spoken)
    assert sum(any(c.isdigit() for c in text) for text in texts(split)) >= 8


def test_alphabet():
    assert len(set(ALPHABET)) == len(ALPHABET) < 50
    assert decode(range(len(ALPHABET))) == ALPHABET
    assert encode("Ąb, ż!") == [ALPHABET.index(c) for c in "ąb, ż!"]
    assert encode("s\u0301") == encode("ś")


def test_normalise_is_idempotent():
    pieces = [*" .,:-/%°²012345679abmrzłkgść…”(_@\u0301ſİ٣½", *ABBREVIATIONS, *UNITS, "godz. ", "o ", "do ", "około ",
              "w ", "roku ", "r. ", "lata ", "latach ", "itd. X", "maja", "W", " ", " ", " "]
    draw = random.Random(0)
    written = ["".join(draw.choices(pieces, k=draw.randint(1, 9))) for _ in range(3000)]
    for text in written + list(SPOKEN) + [row["text"] for row in ROWS]:
        assert normalise(normalise(text)) == normalise(text), text


def test_unknown_characters_are_named():
    with pytest.raises(ValueError) as error:
        encode("Ala ma ß i é.")
    assert "'ß' (U+00DF) at 7" in str(error.value) and "'é' (U+00E9) at 11" in str(error.value)
    assert "\n" not in str(error.value)
    for text in ("5 €", "a_b", "3\u0301", "привет", "½", "50%x"):
        with pytest.raises(ValueError, match="not in the alphabet"):
            encode(text)


@pytest.mark.parametrize("text", ["", " \n", "...", "„”"])
def test_nothing_to_speak_is_an_error(text):
    with pytest.raises(ValueError, match="nothing to speak"):
        encode(text)


@pytest.mark.parametrize("ids", [[0, -1], [0, len(ALPHABET)]])
def test_decode_refuses_ids_out_of_range(ids):
    with pytest.raises(ValueError, match=f"id {ids[1]} at position 1"):
        decode(ids)


@pytest.mark.parametrize("written, language, spoken", [
    ("On the 3rd of May, 1,234.5 miles — “don’t”!", "en",
     'on the third of may, one thousand, two hundred and thirty-four point five miles - "don\'t"!'),
    ("1.234,5 km", "de", "eintausendzweihundertvierunddreißig komma fünf km"),
    ("12 chats", "fr-CA", "douze chats"), ("x2y", "en", "x two y"), ("007", "en_GB", "seven"),
    ("1.5.2", "en", "one point five.two"), ("Straße\u00ad №\u00a0A", "xx", "straße № a"), ("ПЯТЬ", "", "пять"),
    ("9" * 400, "en", " ".join(["nine"] * 400)), ("e\u0301", "fr", "\u00e9"),
])
def test_other_languages(written, language, spoken):
    assert normalise(written, language) == spoken == normalise(spoken, language)


@pytest.mark.parametrize("language", ["xx", "", "tlh"])
def test_numbers_of_a_language_that_cannot_be_spelled_are_refused(language):
    with pytest.raises(ValueError, match="numbers cannot be spelled out in language .*: name the language, or write"):
        normalise("5 x", language)


def test_an_alphabet_of_ones_own():
    alphabet = " 'abé"
    assert decode(encode("A bé", alphabet, "fr"), alphabet) == "a bé"
    with pytest.raises(ValueError, match="not in the alphabet: 'c'"):
        encode("abc", alphabet, "fr")
