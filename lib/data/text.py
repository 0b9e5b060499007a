"""Text as the models see it: written out by the rules of its language, then indices into an alphabet."""
import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import espeakng_loader
from num2words import CONVERTER_CLASSES, num2words

from ..config import ALPHABET
from . import polish

TABLE = str.maketrans(dict.fromkeys("‘’‛`´", "'") | dict.fromkeys("“”„«»", '"') | dict.fromkeys("‐‑‒–—―−", "-") | {
    "…": "...", "İ": "i"})
TURKIC = {"tr", "az"}                               # where I is the capital of ı
SPOKEN = "°№℃℉"                                     # signs that are read out, of the symbols that are not
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Me"}       # categories of Unicode: controls, joiners, keycaps, private use
IGNORED = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U0001f3fb-\U0001f3ff"
                     "\U000e0100-\U000e01ef]")      # as little seen, among letters and marks that are: fillers, variants, skin
NUMBERS = {"nb": "no", "nn": "no", "kk": "kz"}      # languages whose numbers num2words has under another name
# What groups thousands, beside no-break spaces, and what stands before a fraction: CLDR, by language or region. That a plain
# space groups them too is ISO 80000-1, left aside where the comma does throughout a language.
USUAL = "'. ", ","
WRITTEN = {**dict.fromkeys("am ar bn ce cy en fa fr-rw he ja kn ko te th".split(), ("',", ".")),
           **dict.fromkeys("es-419 es-br es-bz es-cu es-do es-gt es-hn es-mx es-ni es-pa es-pe es-pr es-sv es-us".split(),
                           ("', ", ".")),
           **dict.fromkeys("de-ch de-li en-ch it-ch".split(), ("' ", ".")),
           **dict.fromkeys("""ar-dz ar-lb ar-ly ar-ma ar-mr ar-tn en-at en-be en-cz en-de en-dk en-ee en-es en-fi en-fr en-ge en-hu
               en-id en-it en-lt en-lv en-nl en-no en-pl en-pt en-ro en-se en-si en-sk en-ua en-za""".split(), USUAL)}
LONG = 12                                           # digits: longer numbers are said digit by digit where need be
INDIAN = {"bn", "te", "en-in"}                      # where hundred thousands are 1,00,000


def normalise(text: str, language: str = "pl") -> str:
    """The sentence as it is spoken in the language of a tag, "" where it is not known. Polish has rules of its own;
    elsewhere it is composed (NFC), lower case, with plain spaces, apostrophes and hyphens, and numbers as cardinals.
    Invisible characters and pictographs are not spoken. ValueError where there is no such language, where numbers
    cannot be spelled out in it, or where a character was lost (U+FFFD)."""
    spoken = language_of(language)
    if "\ufffd" in text:
        raise ValueError("a character was lost when the text was converted (U+FFFD): convert it again from its own encoding")
    text = _visible(unicodedata.normalize("NFC", text))
    if spoken == "pl":
        return polish.normalise(text)
    text = (text.replace("I", "ı") if spoken in TURKIC else text).translate(TABLE).lower()
    return " ".join(_numbers(text, language).split())


def language_of(tag: str) -> str:
    """The ISO 639 code of a language tag: pl of pl-PL, pl_PL, PL and pl-Latn-PL, "" of ""; ValueError where neither
    espeak-ng nor num2words has that language."""
    language = _subtags(tag)[0]
    if language and language not in _languages():
        raise ValueError(f"language {tag[:40]!r} is not known: give its ISO 639 code, such as pl, en or pt-BR")
    return language


def voice_of(tag: str) -> str:
    """espeak-ng's voice of a language tag: pl of pl_PL, en-us of en-US, en (as in Britain) of en and en-GB; ValueError
    where it has none."""
    subtags = _subtags(tag)
    region = _region(subtags)
    for name in ("-".join(subtags), f"{subtags[0]}-{region}", subtags[0]):
        if voice := _voices().get(name):
            return voice
    raise ValueError(f"espeak-ng does not speak language {tag[:40]!r}: give the ISO 639 code of one that it speaks, such as "
                     "pl, en or pt-BR")


def _subtags(tag: str) -> list[str]:
    """Of a tag of BCP 47 or of a locale, in lower case."""
    return re.split("[-_]", re.split("[.@]", tag.strip().lower())[0])


def _region(subtags: list[str]) -> str:
    return next((s for s in subtags[1:] if re.fullmatch("[a-z]{2}|[0-9]{3}", s)), "")


@cache
def _languages() -> set[str]:
    named = {code.split("_")[0] for code in CONVERTER_CLASSES} - set(NUMBERS.values()) | set(NUMBERS)
    return named | {name.split("-")[0] for name in _voices()}


@cache
def _voices() -> dict[str, str]:
    """espeak-ng's voice by language, "" where its dictionary is missing. A file in the folder `lang` is a voice and lists
    the languages it speaks, each with a number that is lower the better it does."""
    data, found = Path(espeakng_loader.get_data_path()), []
    for file in filter(Path.is_file, sorted((data / "lang").glob("**/*"))):
        voice = file.name.lower()
        lines = [line.split() for line in file.read_text("utf-8").splitlines()]
        words = next((line[1] for line in lines if line[:1] == ["dictionary"]), voice.split("-")[0])
        for _, name, *rank in (line for line in lines if line[:1] == ["language"]):
            found.append((int(rank[0]) if rank and rank[0].isdigit() else 5, name.lower(),
                          voice if (data / f"{words}_dict").is_file() else ""))
    voices: dict[str, str] = {}
    for _, name, voice in sorted(found, key=lambda entry: entry[0]):
        voices.setdefault(name, voice)
    for name, voice in list(voices.items()):
        voices.setdefault(name.split("-")[0], voice)
    return voices


def _visible(text: str) -> str:
    """Text without the characters that are not seen and the pictographs: no word runs into the next, and no space is left
    before a full stop."""
    text = "".join(c for c in IGNORED.sub("", text) if c.isspace() or unicodedata.category(c) not in UNSEEN)
    marked = "".join("\0" if unicodedata.category(c) == "So" and c not in SPOKEN else c for c in text)
    return re.sub(r"\s*\0+(?!\w)", "", marked).replace("\0", " ") if marked != text else text


def _numbers(text: str, tag: str) -> str:
    """Cardinals for digits. Thousands are grouped as in WRITTEN, or USUAL, or by no-break spaces. English 1st is an ordinal."""
    if not re.search(r"\d", text):
        return text
    subtags = _subtags(tag)
    language, name = subtags[0], NUMBERS.get(subtags[0], subtags[0])
    code = next((c for c in (f"{name}_{_region(subtags).upper()}", name) if c in CONVERTER_CLASSES), None)
    if code is None:
        raise ValueError(f"numbers cannot be spelled out in language {tag!r}: write them in words" if tag else
                         "numbers cannot be spelled out in a language that is not named: name it, or write them in words")
    places = f"{language}-{_region(subtags)}", language
    group, point = next((WRITTEN[place] for place in places if place in WRITTEN), USUAL)

    def spell(m: re.Match) -> str:
        whole, fraction = re.sub(r"\D", "", m["whole"]), m["fraction"] or ""
        if spoken := _cardinal(whole, fraction, code):
            return spoken
        if len(whole) <= LONG:
            raise ValueError(f"{m[0]} cannot be spelled out in language {tag!r}: write it in words")
        return " ".join(num2words(int(digit), lang=code) for digit in whole + fraction)

    if language == "en":
        text = re.sub(r"(?<!\d)(\d{1,9})(?:st|nd|rd|th)\b", lambda m: num2words(int(m[1]), lang=code, to="ordinal"), text)
    text = re.sub(r"(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])", " ", text)
    marks = *group.strip(), "\u00a0\u2007\u2009\u202f" + " " * (" " in group)
    groups = "|".join(rf"(?:[{mark}]\d{{3}})+" for mark in marks) + r"|(?:,\d\d)+,\d{3}" * (not INDIAN.isdisjoint(places))
    grouped = rf"(?<!\d[{''.join(marks)}])[1-9]\d{{0,2}}(?:{groups})(?!\d)"
    number = rf"(?P<whole>{grouped}|\d+)(?:[{point}](?P<fraction>\d+))?"
    return re.sub(number, spell, text).lower()


def _cardinal(whole: str, fraction: str, code: str) -> str:
    """A number in words, "" where num2words fails, in whichever way. Of fractions some of its languages take only decimals as
    they are written, some only floats, and some leave out what they do not take."""
    written = f"{int(whole)}.{fraction}"
    for number in (written, float(written)) if fraction else (int(whole),):
        with suppress(Exception):
            spoken = num2words(number, lang=code)
            if not fraction.strip("0") or spoken != num2words(int(whole), lang=code):
                return spoken
    return ""


def refuse_unknown(spoken: str, alphabet: str = ALPHABET) -> None:
    """ValueError names the characters of a text, as spoken, that are not in the alphabet."""
    unknown = set(spoken) - set(alphabet)
    if unknown:
        places = [f"{c!r} (U+{ord(c):04X}) at {i}" for i, c in enumerate(spoken) if c in unknown]
        raise ValueError(f"not in the alphabet: {', '.join(places)} of {spoken!r}; write them in words or remove them")


def encode(text: str, alphabet: str = ALPHABET, language: str = "pl") -> list[int]:
    """Indices into the alphabet of `normalise(text)`, one a character; ValueError where that cannot be done."""
    spoken = normalise(text, language)
    refuse_unknown(spoken, alphabet)
    if not any(map(str.isalpha, spoken)):
        raise ValueError(f"nothing to speak in {text!r}: give a text with at least one letter or digit")
    index = {c: i for i, c in enumerate(alphabet)}
    return [index[c] for c in spoken]


def decode(ids: Iterable[int], alphabet: str = ALPHABET) -> str:
    """The normalised text behind indices into the alphabet; ValueError names the first that is out of range."""
    ids = [int(i) for i in ids]
    for place, i in enumerate(ids):
        if not 0 <= i < len(alphabet):
            raise ValueError(f"id {i} at position {place} is outside the alphabet: use 0 to {len(alphabet) - 1}")
    return "".join(alphabet[i] for i in ids)
