"""Speech for text: espeak-ng through the wheel espeakng-loader, reproducible to the sample, with its timing."""
import atexit
import json
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.signal import resample_poly

from ..config import REPOSITORY
from .audio import SAMPLE_RATE


@dataclass(frozen=True)
class Utterance:
    text: str
    voice: str = "pl"       # pl, or a variant such as pl+Annie
    rate: int = 160         # words per minute
    pitch: int = 50         # 0 to 99


@dataclass(frozen=True)
class Speech:
    """Audio (samples,) float32 at 24 kHz, and what was said when, in seconds."""
    audio: np.ndarray
    words: list[tuple[float, str]]
    phonemes: list[tuple[float, str]]       # in IPA; a pause is ""

    @property
    def seconds(self) -> float:
        return len(self.audio) / SAMPLE_RATE


class Synthesiser:
    """espeak-ng in a process of its own (see lib.data.espeak), until it is closed. Ctrl-C does not reach it: who reads from it
    ends it."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-m", "lib.data.espeak"], cwd=REPOSITORY, start_new_session=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, utterance: Utterance) -> Speech:
        """The utterance as it is spoken; ValueError says why it cannot be."""
        self.process.stdin.write(json.dumps(vars(utterance)).encode() + b"\n")
        self.process.stdin.flush()
        return _receive(self.process.stdout, utterance)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def synthesise(utterances: Iterable[Utterance]) -> Iterator[Speech]:
    """Speak each utterance in turn."""
    speak = Synthesiser()
    try:
        for utterance in utterances:
            yield speak(utterance)
    finally:
        speak.close()


@cache
def synthesiser() -> Synthesiser:
    """One that is there as long as this process: the first sound does not wait for another to start."""
    speak = Synthesiser()
    atexit.register(speak.close)
    return speak


def _receive(pipe, utterance: Utterance) -> Speech:
    sizes = pipe.read(8)
    if len(sizes) < 8:
        raise RuntimeError("the synthesiser ended early: try `python -m lib.data.espeak` by hand")
    head, body = struct.unpack("<II", sizes)
    header, samples = json.loads(pipe.read(head)), np.frombuffer(pipe.read(body), "<i2")
    if "error" in header:
        raise ValueError(header["error"])
    # peaks reach full scale: leave room for the resampling filter's overshoot
    audio = resample_poly(samples * (0.9 / 32768), SAMPLE_RATE // 150, header["rate"] // 150).astype(np.float32)
    rate, events = header["rate"], header["events"]
    return Speech(audio,
                  [(at / rate, utterance.text[start:start + length]) for kind, at, start, length in events if kind == "word"],
                  [(at / rate, name) for kind, at, _, name in events if kind == "phoneme"])
