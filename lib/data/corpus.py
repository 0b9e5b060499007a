"""The corpus of a study: the embedded one, spoken by espeak-ng, or the user's own (see lib.data.layouts)."""
import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

import numpy as np

from .. import records
from ..config import ALPHABET, EMBEDDED, REPOSITORY, Study
from ..files import file_digest
from .audio import SAMPLE_RATE, read_audio
from .codec import FRAME_RATE, Codec, downloaded, load_codec
from .layouts import Layout, read_codes, recognise
from .prepare import prepare
from .speech import Utterance, synthesise
from .text import normalise
from .tokens import Tokens, encoded, fingerprint

SPLITS = ("seed", "train", "validation", "test", "hard")
LONGEST_CLIP = 4.0      # seconds: the original report's clips


@dataclass(frozen=True)
class Sentence:
    id: str
    split: str
    text: str

    @property
    def category(self) -> str:
        """What makes a sentence of the hard list hard, as its id has it: repeated, clauses, long, numbers, twister."""
        return self.id.partition("-")[0] if self.split == "hard" else ""


@dataclass(frozen=True)
class Clip:
    """One sentence: audio (samples,) float32 at 24 kHz, or, where the corpus holds only those, codes (codebooks, frames)."""
    id: str
    text: str
    audio: np.ndarray | None
    codes: np.ndarray | None = None
    words: tuple[tuple[float, str], ...] = ()       # (seconds, word), where they are known


@dataclass(frozen=True)
class Corpus(ABC):
    """Sentences in splits with their sound or codes. `record` is how it was prepared: language, alphabet, splits."""
    record: records.Record
    codec: Codec | None         # None where the codes came without the weights that made them: then there is no sound
    codebooks: int
    made_with: str              # whose codes these are: the digest of the codec's weights, or the name the corpus gives
    frame_rate: float = FRAME_RATE
    silent: str = ""            # why there is no sound

    @property
    def language(self) -> str:
        return self.record.result["language"]

    @property
    def alphabet(self) -> str:
        return self.record.result["alphabet"]

    @abstractmethod
    def clips(self, split: str) -> Iterator[Clip]:
        """Clips of `train`, `validation` or `test`, made as they are asked for; those of at most 4 seconds first."""

    def memorised(self, count: int) -> list[Clip]:
        """The first `count` training clips of at most 4 seconds, the original report's protocol, or as many as there are;
        ValueError where there is none."""
        clips = self._first("train", count)
        if count and not clips:
            raise ValueError(f"corpus {self.record.result['name']} has no clip of at most {LONGEST_CLIP:g} s to memorise (split "
                             "train): cut some of its clips, and their text with them, at their pauses")
        return clips

    def unseen(self, count: int) -> list[Clip]:
        """The first `count` test clips of at most 4 seconds, a list fixed beforehand, or as many as there are."""
        return self._first("test", count)

    def _first(self, split: str, count: int) -> list[Clip]:
        return list(islice(takewhile(self._short, self.clips(split)), count))

    def _short(self, clip: Clip) -> bool:
        length = len(clip.audio) / SAMPLE_RATE if clip.codes is None else clip.codes.shape[1] / self.frame_rate
        return length <= LONGEST_CLIP

    def tokens(self, clip: Clip) -> Tokens:
        """The codes of a clip, from the cache where these samples went through this codec before."""
        codes = encoded(fingerprint(clip.audio), self.codec, lambda: clip.audio) if clip.codes is None else clip.codes
        return Tokens(clip.id, clip.text, codes[:self.codebooks], self.made_with)

    def sound(self, codes: np.ndarray, made_with: str) -> np.ndarray:
        """Audio (samples,) of codes (codebooks, frames), refused where another codec made them, or none is here."""
        if made_with != self.made_with:
            raise ValueError(f"these codes were made with codec {made_with[:12]}, those of this corpus with "
                             f"{self.made_with[:12]}: load the codec that made them")
        if self.codec is None:
            raise ValueError(f"no sound: {self.silent}")
        return self.codec.decode(codes)


def sentences(split: str) -> list[Sentence]:
    """The embedded corpus's sentences of one split, in file order."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(SPLITS)}")
    with open(REPOSITORY / "data" / "sentences" / "sentences.tsv", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Sentence(**row) for row in rows if row["split"] == split]


def speak(chosen: list[Sentence], voice: str) -> Iterator[Clip]:
    """Clips of sentences, spoken as they are asked for."""
    spoken = synthesise(Utterance(normalise(s.text), voice) for s in chosen)
    for s, speech in zip(chosen, spoken, strict=True):
        yield Clip(s.id, s.text, speech.audio, words=tuple(speech.words))


@dataclass(frozen=True)
class EmbeddedCorpus(Corpus):
    """Sentences written for this project; the original report's three fragments stand before the training sentences."""
    voice: str = "pl"

    def clips(self, split: str) -> Iterator[Clip]:
        chosen = sentences("seed") + sentences("train") if split == "train" else sentences(split)
        return filter(self._short, speak(chosen, self.voice))


@dataclass(frozen=True)
class OwnCorpus(Corpus):
    layout: Layout | None = None

    def rows(self, split: str) -> Iterator[dict]:
        """What preparation found of each usable clip of a split: id, text, file, speaker, frames; in file order."""
        with open(self.record.file("clips.jsonl"), encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if row["split"] == split:
                    yield row

    def clips(self, split: str) -> Iterator[Clip]:
        longest = LONGEST_CLIP * self.frame_rate
        for short in (True, False):
            for row in self.rows(split):
                if (row["frames"] <= longest) == short:
                    sound = self.audio(row["file"])
                    yield Clip(row["id"], row["text"], sound, self.codes(row) if sound is None else None)

    def audio(self, file: str) -> np.ndarray | None:
        """Audio (samples,) of a clip by its file; None where the corpus holds codes."""
        return None if self.layout.kind == "codes" else read_audio(self.layout.folder / file)

    def codes(self, row: dict) -> np.ndarray:
        """All codes (codebooks, frames) int16 of a clip."""
        if (sound := self.audio(row["file"])) is None:
            return read_codes(self.layout.folder / row["file"], self.layout)
        return encoded(fingerprint(sound), self.codec, lambda: sound)


def load_corpus(study: Study) -> Corpus:
    """The study's corpus; on first use every clip of an own one is checked, encoded and listed."""
    if study.corpus == EMBEDDED:
        codec = load_codec(study.codec)
        return EmbeddedCorpus(_embedded_record(study), codec, study.codebooks, codec.digest, voice=study.voice)
    layout = recognise(Path(study.corpus))
    if layout.kind != "codes":
        codec = load_codec(study.codec)
        record = prepare(layout, study, codec)
        return OwnCorpus(record, codec, study.codebooks, codec.digest, layout=layout)
    codec, silent = _codec_of_tokens(layout, study)
    return OwnCorpus(prepare(layout, study, codec), codec, study.codebooks, codec.digest if codec else layout.codec,
                     layout.frame_rate, silent, layout=layout)


def _embedded_record(study: Study) -> records.Record:
    what = {"corpus": EMBEDDED, "voice": study.voice, "alphabet": ALPHABET,
            "sentences": file_digest(REPOSITORY / "data" / "sentences" / "sentences.tsv")}
    return records.find("corpus", what) or records.save("corpus", what, {
        "name": EMBEDDED, "speech": "espeak-ng synthetic speech", "voice": study.voice, "language": "pl",
        "alphabet": ALPHABET, "splits": {split: {"clips": len(sentences(split))} for split in SPLITS}, "set_aside": {}})


def _codec_of_tokens(layout: Layout, study: Study) -> tuple[Codec | None, str]:
    """The codec that a corpus of codes names, or None and why; a codec that the study names is taken at its word."""
    name = study.codec if study.codec != EMBEDDED else layout.codec
    if name == "encodec_24khz" and study.codec == EMBEDDED and not downloaded().exists():
        return None, f"the codes are those of {name}, whose weights are not here: give them as the codec"
    if name not in (EMBEDDED, "encodec_24khz") and study.codec == EMBEDDED:
        return None, f"the codes are those of {name}, a codec that is not known here: give its weights as the codec"
    if layout.frame_rate != FRAME_RATE:
        raise ValueError(f"{layout.folder / 'corpus.json'} says {layout.frame_rate:g} frames a second of codec {name}, "
                         f"which has {FRAME_RATE:g}: correct it, or name the codec that made the codes")
    return load_codec(name), ""
