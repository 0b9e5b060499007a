"""The embedded corpus: sentences written for this project, spoken by espeak-ng."""
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..config import REPOSITORY
from .speech import SAMPLE_RATE, Utterance, synthesise
from .text import normalise

SPLITS = ("seed", "train", "validation", "test")
LONGEST_CLIP = 4.0      # seconds: the seed's clips


@dataclass(frozen=True)
class Sentence:
    id: str
    split: str
    text: str


@dataclass(frozen=True)
class Clip:
    """One spoken sentence: audio (samples,) float32 at 24 kHz, words as (seconds, word)."""
    id: str
    text: str
    audio: np.ndarray
    words: tuple[tuple[float, str], ...] = ()


def sentences(split: str) -> list[Sentence]:
    """The sentences of one split, in file order."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(SPLITS)}")
    with open(REPOSITORY / "data" / "sentences" / "sentences.tsv", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Sentence(**row) for row in rows if row["split"] == split]


def speak(chosen: list[Sentence], voice: str, longest: float | None = None) -> Iterator[Clip]:
    """Clips of sentences, cut at `longest` seconds where that is given; spoken as they are asked for."""
    spoken = synthesise(Utterance(normalise(s.text), voice) for s in chosen)
    for s, speech in zip(chosen, spoken, strict=True):
        yield Clip(s.id, s.text, speech.audio[:longest and int(longest * SAMPLE_RATE)], tuple(speech.words))


def memorised(count: int, voice: str) -> list[Clip]:
    """The clips of the seed's protocol: its three fragments, then training sentences, of at most 4 seconds."""
    chosen = (sentences("seed") + sentences("train"))[:count]
    if not 1 <= count == len(chosen):
        raise ValueError(f"{count} clips asked for: the corpus has 1 to {len(chosen)}")
    return list(speak(chosen, voice, LONGEST_CLIP))


def unseen(count: int, voice: str) -> list[Clip]:
    """The first `count` test sentences whose speech is at most 4 seconds long: a list fixed beforehand."""
    short = (c for c in speak(sentences("test"), voice) if len(c.audio) <= LONGEST_CLIP * SAMPLE_RATE)
    clips = list(islice(short, count))
    if count > len(clips):
        raise ValueError(f"{count} unseen sentences asked for: the corpus has {len(clips)} of at most 4 seconds")
    return clips
