"""A text as it comes, sentence by sentence: each is there as soon as it is sure where it ends."""
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice, pairwise
from typing import NamedTuple

from .codec import FRAME_RATE
from .phrases import Group, groups_of, sentences_of
from .speech import Utterance, synthesiser
from .text import normalise, refuse_unknown

LONGEST_SENTENCE = 1000     # characters, after which one is cut at a space,
MOST_MARKS = 16             # or at the last of so many marks that may end it
STAND_INS = "Tak", "tak", "3"         # for what may follow a mark
BLANK = re.compile(r"\n[^\S\n]*\n")


class Read(NamedTuple):
    text: str               # of a sentence, as spoken
    between: str            # a word before it and one of it, and what stands between them; "" before the first


@dataclass(frozen=True)
class Sentence:
    """A sentence of a text, as it is said by itself, and the frames of the pause before it."""
    text: str
    groups: tuple[Group, ...]
    pause: int


def sentences(text: str | Iterable[str], language: str = "pl") -> Iterator[Read]:
    """The sentences of a text that comes in pieces, wherever those are cut: what `sentences_of` gives for each paragraph as
    spoken, but that a sentence of over LONGEST_SENTENCE characters is cut, and that marks which stand alone after one do not
    count. ValueError names a character of Polish text that is not spoken, when its sentence is reached; and where there is
    nothing to speak."""
    last = between = ""
    for part, blank in _parts([text] if isinstance(text, str) else text, language):
        between = "\n\n" if blank or "\n" in between else " "
        spoken = normalise(part, language)
        if language == "pl":
            refuse_unknown(spoken)
        for said in sentences_of(spoken):
            marks = re.search(r"\W*$", last)[0] + between + re.match(r"\W*", said)[0]
            yield Read(said, f"tak{marks}Tak" if last else "")
            last, between = said, " "
    if not last:
        raise ValueError("nothing to speak: give a text with at least one letter or digit")


def say_apart(read: Iterable[Read], voice: str) -> Iterator[Sentence]:
    """Sentences as espeak-ng says each by itself, with the pauses that it makes between them.

    A pause depends on the marks and blank lines there. It is measured between two words with the same between them, the
    second with a capital: before a small letter espeak-ng takes a full stop for an abbreviation's and makes no pause."""
    for said, between in read:
        yield Sentence(said, groups_of(synthesiser()(Utterance(said, voice)), said), between and _pause(between, voice) or 0)


@cache
def _pause(between: str, voice: str) -> int:
    """Frames of all pauses before the last phoneme."""
    phonemes = synthesiser()(Utterance(between, voice)).phonemes
    last = max(at for at, name in phonemes if name)
    return round(FRAME_RATE * sum(end - at for (at, name), (end, _) in pairwise(phonemes) if not name and at < last))


def _parts(pieces: Iterable[str], language: str) -> Iterator[tuple[str, bool]]:
    """Raw text by the sentence, at times by a few, and whether a blank line is before it."""
    rest = ""
    for piece, more in _and_end(pieces):
        rest += piece
        while end := _end(rest, more, language):
            part = rest[:end].lstrip()
            yield part.rstrip(), bool(BLANK.search(rest, 0, end - len(part)))
            rest = rest[end:]


def _and_end(pieces: Iterable[str]) -> Iterator[tuple[str, bool]]:
    for piece in pieces:
        yield piece, True
    yield "", False


def _end(text: str, more: bool, language: str) -> int:
    """Where the first sentence of a text surely ends; 0 where that is not known before `more` of it comes.

    After a mark and a space, where each of STAND_INS would begin a new one, or else where what comes next does: the dot of an
    abbreviation may be either. At a blank line, and at the end."""
    start = len(text) - len(text.lstrip())
    if start == len(text):
        return 0
    limit = start + LONGEST_SENTENCE
    blank = BLANK.search(text, start, limit + 1)
    whole = bool(blank) or not more or len(text) > limit                # what counts is there
    limit = min(blank.start() if blank else len(text), limit)
    ends = [m.end() for m in islice(re.finditer(r"[.?!…]+(?=\s)", text[start:limit + 1]), MOST_MARKS)]
    for end, following in zip(ends, [*ends[1:], None]):
        one = text[start:start + end]
        if all(_apart(one, word, language) for word in STAND_INS if _said(word, language)) or [end] == ends[MOST_MARKS - 1:]:
            return start + end
        if following is None and not whole:
            return 0
        if _apart(one, text[start + end:start + following if following else limit], language):
            return start + end
    if limit == start + LONGEST_SENTENCE < len(text):
        return start + len(text[start:limit].rsplit(None, 1)[0])
    return limit if whole else 0


def _apart(one: str, other: str, language: str) -> bool:
    """Whether two pieces of a text are said one after the other as each is by itself."""
    said = _said(one, language)
    return bool(said) and _said(f"{one} {other}", language) == said + _said(other, language)


@lru_cache(8)
def _said(text: str, language: str) -> list[str]:
    """The sentences of a piece of text; none where it cannot be said, as a number in many a language: its turn is to come."""
    try:
        return sentences_of(normalise(text, language))
    except ValueError:
        return []
