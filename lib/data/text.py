"""Text as the models see it: written out by the rules of its language, then indices into an alphabet."""
import re
import unicodedata
from collections.abc import Iterable

from num2words import CONVERTER_CLASSES, num2words

from ..config import ALPHABET
from . import polish

INVISIBLE = dict.fromkeys("\u00ad\u200b\u2060\ufeff", "")
TABLE = str.maketrans(INVISIBLE | dict.fromkeys("‘’‛`´", "'") | dict.fromkeys("“”„«»", '"')
                      | dict.fromkeys("‐‑‒–—―−", "-") | {"…": "..."})


def normalise(text: str, language: str = "pl") -> str:
    """The sentence as it is spoken. Polish has rules of its own; elsewhere it is composed (NFC), lower case, with
    plain spaces, apostrophes and hyphens, and numbers as cardinals; ValueError where they cannot be spelled out."""
    if language == "pl":
        return polish.normalise(text)
    text = unicodedata.normalize("NFC", text).translate(TABLE).lower()
    return " ".join(_numbers(text, language).split())


def _numbers(text: str, language: str) -> str:
    """Cardinals for digits. In English 1,000.5 is read as in `1000.5`, elsewhere 1.000,5 is; English 1st is an ordinal."""
    if not re.search(r"\d", text):
        return text
    code = next((c for c in (language.replace("-", "_"), re.split("[-_]", language)[0]) if c in CONVERTER_CLASSES), None)
    if code is None:
        raise ValueError(f"numbers cannot be spelled out in language {language or 'unknown'!r}: name the language, "
                         "or write the numbers in words")
    group, point = (",", ".") if code.startswith("en") else (".", ",")

    def spell(m: re.Match) -> str:
        whole, fraction = m[1].replace(group, ""), m[2]
        try:
            return num2words(f"{int(whole)}.{fraction}" if fraction else int(whole), lang=code)
        except (ArithmeticError, IndexError, NotImplementedError):
            return " ".join(num2words(int(digit), lang=code) for digit in whole + (fraction or ""))

    if code.startswith("en"):
        text = re.sub(r"(?<!\d)(\d{1,9})(?:st|nd|rd|th)\b", lambda m: num2words(int(m[1]), lang=code, to="ordinal"), text)
    text = re.sub(r"(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])", " ", text)
    number = rf"(\d{{1,3}}(?:{re.escape(group)}\d{{3}})+(?!\d)|\d+)(?:{re.escape(point)}(\d+))?"
    return re.sub(number, spell, text).lower()


def encode(text: str, alphabet: str = ALPHABET, language: str = "pl") -> list[int]:
    """Indices into the alphabet of `normalise(text)`, one a character; ValueError where that cannot be done."""
    spoken = normalise(text, language)
    unknown = set(spoken) - set(alphabet)
    if unknown:
        places = [f"{c!r} (U+{ord(c):04X}) at {i}" for i, c in enumerate(spoken) if c in unknown]
        raise ValueError(f"not in the alphabet: {', '.join(places)} of {spoken!r}; write them in words or remove them")
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
