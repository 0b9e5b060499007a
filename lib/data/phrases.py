"""Phrases with their timing: what is spoken, what was said when, in codes. The speech that a model learns to say.

Text is cut into words and what separates them; each owns the phonemes that espeak-ng speaks for it (a separator owns
the pause, if there is one). A conditioning makes spans of that, and a span's symbols are spread evenly over its frames.
"""
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
from safetensors.numpy import load, save

from .. import records
from ..config import ONLY_PHONEMES, ModelConfig
from ..progress import progress_bar
from . import grammar
from .codec import FRAME_RATE, HOP, MAX_CODEBOOKS, Codec
from .corpus import LONGEST_CLIP, sentences
from .speech import Speech, Utterance, synthesise
from .text import normalise
from .tokens import cached

PAUSE = "_"
LONGEST = int(LONGEST_CLIP * FRAME_RATE)
HELD_OUT = ("validation", "test", "hard")       # splits that nothing is trained on


@dataclass(frozen=True)
class Group:
    """A word, or what separates two: its characters, and the phonemes spoken for it with the frames of each."""
    characters: str
    phonemes: tuple[tuple[str, int], ...]

    @property
    def frames(self) -> int:
        return sum(frames for _, frames in self.phonemes)


@dataclass(frozen=True)
class Phrase:
    id: str
    text: str                   # as spoken
    groups: tuple[Group, ...]
    codes: np.ndarray           # (codebooks, frames) int16
    split: str = ""             # of a clip of an own corpus, as is the next
    file: str = ""              # in its folder

    @property
    def phonemes(self) -> list[str]:
        """What a recogniser should hear: no pauses, no stress."""
        return spoken(name for group in self.groups for name, _ in group.phonemes)


@dataclass(frozen=True)
class Span:
    symbols: int                # how many of the text's symbols
    frames: int


Plan = tuple[list[int], list[Span]]     # ids of a text's symbols, and the spans that share them out


def spoken(phonemes: Iterable[str]) -> list[str]:
    """The phonemes without pauses and stress marks."""
    return [name.lstrip("ˈˌ") for name in phonemes if name != PAUSE]


def align(speech: Speech, text: str, frames: int) -> tuple[Group, ...]:
    """The groups of a text (as spoken): separator, word, separator, ..., word, separator. Their frames add up to
    `frames`, and one without frames and characters is left out."""
    pieces, end = [], 0         # (characters, phonemes with the frame at which each begins)
    for _, word in speech.words:
        start = text.index(word, end)
        pieces += [(text[end:start], []), (word, [])]
        end = start + len(word)
    pieces.append((text[end:], []))
    onsets = [at for at, _ in speech.words]
    starts = [min(frames, round(at * FRAME_RATE)) for at, _ in speech.phonemes]
    if starts[0]:
        pieces[0][1].append((PAUSE, starts[0]))
    word = 0
    for (at, name), begin, end in zip(speech.phonemes, starts, [*starts[1:], frames]):
        while word + 1 < len(onsets) and (onsets[word + 1] <= at if name else onsets[word + 1] < at):
            word += 1
        before, inside, after = (phonemes for _, phonemes in pieces[2 * word:2 * word + 3])
        if name:
            inside += after     # a pause within the word
            after.clear()
        into = inside if name else after if inside else before
        if not name and into:   # one pause with the one before
            begin -= into.pop()[1]
        into.append((name or PAUSE, end - begin))
    return tuple(Group(characters or " ", tuple(phonemes)) for characters, phonemes in pieces if characters or phonemes)


def plan(groups: tuple[Group, ...], config: ModelConfig) -> Plan:
    """The plan of a text, as the conditioning of `config` has it."""
    phonemes = [pair for group in groups for pair in group.phonemes]
    if config.units == "phonemes":
        index = {name: i for i, name in enumerate(config.alphabet)}
        unknown = sorted({name for name, _ in phonemes} - set(index))
        if unknown:
            raise ValueError(f"phonemes that the model never saw: {' '.join(unknown)}; reword the text")
        ids = [index[name] for name, _ in phonemes]
    else:
        index = {c: i for i, c in enumerate(config.alphabet)}
        ids = [index[c] for group in groups for c in group.characters]
    if config.conditioning in ONLY_PHONEMES:
        return ids, [Span(1, frames) for _, frames in phonemes]
    if config.conditioning == "word":
        return ids, [Span(len(g.phonemes if config.units == "phonemes" else g.characters), g.frames) for g in groups]
    return ids, [Span(len(ids), sum(g.frames for g in groups))]


def guide(spans: list[Span], late: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """For each frame the symbol it is at, (frames + late,) int64, and where in its span it is, (frames + late, 4)
    float32: the share gone by, and as it were on a clock's face, in both directions, how long since and until when.
    The last frame stands for `late` more."""
    where, timing = [], []
    for first, span in zip(accumulate((s.symbols for s in spans), initial=0), spans):
        at = np.arange(span.frames) + 0.5
        share = at / max(span.frames, 1)
        where.append(first + (share * span.symbols).astype(np.int64))
        timing.append(np.stack([share, np.cos(np.pi * share), np.exp(-at / 4), np.exp((at - span.frames) / 4)], 1))
    return (np.pad(np.concatenate(where), (0, late), "edge"),
            np.pad(np.concatenate(timing), ((0, late), (0, 0)), "edge").astype(np.float32))


def texts(split: str, count: int, besides: Iterable[str] = ()) -> list[str]:
    """The first `count` texts of a split, as spoken: `test`, `validation` and `hard` are those of the corpus; `train` is its
    training sentences, then by turns the grammar's and ones of coined words; `recogniser` is the latter two and `longer`
    the grammar's alone, by other seeds, without those of the corpus that are held out and those in `besides`."""
    if split in HELD_OUT:
        return [normalise(s.text) for s in sentences(split)][:count]
    seed = {"train": 1, "recogniser": 2, "longer": 3}[split]
    own = [normalise(s.text) for s in sentences("train")]
    chosen = made = [normalise(text) for text in grammar.phrases(count, seed)]
    if split != "longer":
        chosen = [text for pair in zip(made, grammar.coined(own + made, count, seed)) for text in pair]
    left_out = {normalise(s.text) for part in HELD_OUT for s in sentences(part)}.union(besides)
    return [text for text in dict.fromkeys([*(own if split == "train" else ()), *chosen]) if text not in left_out][:count]


def listed(groups: Iterable[Group]) -> list[list]:
    """Groups as JSON has them: what `grouped` reads."""
    return [[g.characters, g.phonemes] for g in groups]


def grouped(rows: Iterable[list]) -> tuple[Group, ...]:
    """The groups that were `listed`."""
    return tuple(Group(characters, tuple(map(tuple, phonemes))) for characters, phonemes in rows)


def phrases(split: str, count: int, voice: str, codec: Codec, besides: Iterable[str] = ()) -> list[Phrase]:
    """Those of the texts of a split, as `texts` chooses them, that are said in LONGEST frames: spoken, encoded and kept."""
    chosen = texts(split, count, besides)
    what = {"phrases": chosen, "voice": voice, "codec": codec.identity, "longest": LONGEST, "behaviour": behaviour(voice, codec)}

    def make() -> bytes:
        rows, codes, bar = [], [], progress_bar(len(chosen), f"phrases, {split}", unit="phrase")
        for number, (text, speech) in enumerate(zip(chosen, synthesise(Utterance(t, voice) for t in chosen), strict=True)):
            frames = -(-len(speech.audio) // HOP)
            if frames <= LONGEST:
                codes.append(codec.encode(speech.audio, MAX_CODEBOOKS))
                rows.append([f"{split}-{number:04d}", text, listed(align(speech, text, frames))])
            bar.update()
        bar.close()
        return save({"codes": np.concatenate(codes, 1), "rows": np.frombuffer(json.dumps(rows).encode(), np.uint8)})

    stored, out, at = load(cached(what, make)), [], 0
    for id, text, groups in json.loads(stored["rows"].tobytes()):
        groups = grouped(groups)
        end = at + sum(g.frames for g in groups)
        out.append(Phrase(id, text, groups, stored["codes"][:, at:end]))
        at = end
    return out


@cache
def behaviour(voice: str, codec: Codec) -> str:
    """How a short text is spoken, aligned and encoded: a digest."""
    groups, audio = say("ala ma kota, a kot?", voice)
    return records.digest(listed(groups) + codec.encode(audio, MAX_CODEBOOKS).tolist())


def alphabet(spoken_phrases: Iterable[Phrase]) -> tuple[str, ...]:
    """All phonemes of some phrases, stress marked, the pause among them."""
    return tuple(sorted({name for p in spoken_phrases for g in p.groups for name, _ in g.phonemes}))


def sentences_of(text: str) -> list[str]:
    """The sentences of a text as spoken. One ends with a full stop, a question or an exclamation mark: not with the dot of
    an initial, a single letter, and not before it had a letter."""
    return re.findall(r"(?! ).*?[^\W\d_].*?(?:[.?!]+(?<!\b\w\.)(?= )|$)", text)


def say(text: str, voice: str) -> tuple[tuple[Group, ...], np.ndarray]:
    """The groups of any text, with the phonemes and durations that espeak-ng gives them, and how it sounds."""
    text = normalise(text)
    speech, = synthesise([Utterance(text, voice)])
    return groups_of(speech, text), speech.audio


def groups_of(speech: Speech, text: str) -> tuple[Group, ...]:
    """The groups of a text, as spoken, that was said so."""
    return align(speech, text, -(-len(speech.audio) // HOP))
