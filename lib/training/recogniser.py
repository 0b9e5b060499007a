"""The recogniser that judges how intelligible generated speech is: `python -m lib.training.recogniser`.

It hears one voice, as spoken and through the codec, saying texts drawn apart from those of the speech models.
"""
from .. import command

if __name__ == "__main__":
    command.run("lib.training.recogniser")

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .. import records
from ..config import STUDIES
from ..data.codec import SAMPLE_RATE, Codec, load_codec
from ..data.phrases import Phrase, phrases, spoken, texts
from ..data.speech import Utterance, synthesise
from ..metrics.speech import MEL_STEP, edit_distance, log_mel, phoneme_error
from ..models.recogniser import BLANK, Recogniser, ctc_loss
from ..progress import progress_bar
from .behaviour import first_steps
from .checkpoint import load_weights
from .loop import finished, fit, warm_and_cool

WEIGHTS = "recogniser.safetensors"
CODEBOOKS = (2, 4, 8)           # through which it hears the codec
TEMPO, LEVEL, NOISE = (0.85, 1.2), 0.2, (-1.5, -0.3)    # of what is heard in training; 40 dB are 1
HIDDEN = (8, 10)                # most frames, and most bands, hidden at once


@dataclass(frozen=True)
class Settings:
    sentences: int
    steps: int
    batch: int = 16
    learning_rate: float = 2e-3
    warmup: int = 50            # steps
    cooldown: float = 0.5       # share of the steps
    clip_norm: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """What is heard, (frames, 80) float16, and its phonemes as classes (phonemes,)."""
    mel: np.ndarray
    target: Tensor


def features(audio: np.ndarray) -> np.ndarray:
    """Log-mel frames (frames, 80) float32 of audio (samples,): -80 to 0 dB are -1 to 1."""
    return (log_mel(audio).T.clip(-80) / 40 + 1).astype(np.float32)


def examples(said: list[str], voice: str, codec: Codec, seed: int) -> tuple[tuple[str, ...], list[Example]]:
    """The phonemes of some texts, and each text twice: as spoken, and through as many codebooks as the study has."""
    random, heard, names = Random(seed), [], []
    bar = progress_bar(len(said), "recogniser, speech", unit="phrase")
    for speech in synthesise(Utterance(text, voice) for text in said):
        through = codec.decode(codec.encode(speech.audio, random.choice(CODEBOOKS)))
        heard.append([features(audio).astype(np.float16) for audio in (speech.audio, through)])
        names.append(spoken(name for _, name in speech.phonemes if name))
        bar.update()
    bar.close()
    phonemes = tuple(sorted({name for row in names for name in row}))
    targets = [torch.tensor([1 + phonemes.index(name) for name in row]) for row in names]
    return phonemes, [Example(mel, target) for mels, target in zip(heard, targets) for mel in mels]


def augmented(mel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Another tempo, level and noise; some frames and some bands hidden."""
    at = np.linspace(0, len(mel) - 1, int(len(mel) * generator.uniform(*TEMPO)))
    low, share = at.astype(int), (at % 1)[:, None]
    mel = mel[low] * (1 - share) + mel[np.minimum(low + 1, len(mel) - 1)] * share
    mel = mel + generator.uniform(-LEVEL, LEVEL)
    mel = np.maximum(mel, generator.uniform(*NOISE) + 0.1 * generator.normal(size=mel.shape))
    return hidden(mel, generator)


def hidden(mel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Some frames and some bands of (frames, bands) made their mean, float32 (SpecAugment, Park et al. 2019)."""
    mel = mel.copy()
    for axis, most in enumerate(HIDDEN):
        for size in generator.integers(most + 1, size=2):
            start = generator.integers(mel.shape[axis] - most)
            mel.swapaxes(0, axis)[start:start + size] = mel.mean()
    return mel.astype(np.float32)


def batch(heard: list[Example], size: int, generator: np.random.Generator,
          changed: Callable = augmented) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Mel frames (size, frames, 80) of clips of about one length, zeros behind them; frames of each; classes of each."""
    lengths = np.array([len(e.mel) for e in heard])
    order = np.argsort(lengths * generator.uniform(0.9, 1.1, len(lengths)))
    first = generator.integers(max(1, len(order) - size + 1))
    chosen = [heard[i] for i in order[first:first + size]]
    mels = [torch.from_numpy(changed(e.mel, generator)) for e in chosen]
    return pad_sequence(mels, batch_first=True), torch.tensor([len(m) for m in mels]), [e.target for e in chosen]


def train_recogniser(voice: str, codec: Codec, settings: Settings) -> records.Record:
    """The recogniser of this voice and codec: found, resumed or trained."""
    said = texts("recogniser", settings.sentences)
    judged = {split: phrases(split, 1000, voice, codec) for split in ("validation", "test")}
    data = [said, [[p.text, p.phonemes] for split in judged.values() for p in split]]
    what = {"voice": voice, "codec": codec.identity, "settings": asdict(settings), "data": records.digest(data),
            "behaviour": behaviour(settings)}

    def train(path: Path) -> tuple[dict, dict[str, bytes]]:
        phonemes, heard = examples(said, voice, codec, settings.seed)
        torch.manual_seed(settings.seed)
        model = Recogniser(phonemes)
        history = learn(model, heard, settings, path)
        return {"phonemes": phonemes, "parameters": sum(p.numel() for p in model.parameters()), **history,
                **{split: measured(model, chosen, voice, codec) for split, chosen in judged.items()}}, {
                    WEIGHTS: save(model.state_dict())}
    return finished("recogniser", what, train, whole=True)


def learn(model: Recogniser, heard: list[Example], settings: Settings, path: Path, changed: Callable = augmented) -> dict:
    """Train in place, from where the checkpoint at `path` is, if there is one, on what is heard, each time changed; loss of
    each step, and seconds in all."""
    def step(i: int) -> tuple[Tensor, dict]:
        mel, lengths, targets = batch(heard, settings.batch, np.random.default_rng([settings.seed, i]), changed)
        loss = ctc_loss(*model(mel, lengths), targets)
        return loss, {"loss": loss}

    model.train()
    history = fit(model, _optimiser(model, settings), settings.steps, step, path, "recogniser", settings.clip_norm,
                  lambda i: warm_and_cool(i, settings.steps, settings.learning_rate, settings.warmup, settings.cooldown))
    model.eval()
    return {"loss": history["loss"], "training_s": sum(history["seconds"])}


def _optimiser(model: Recogniser, settings: Settings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, fused=True)


@cache
def behaviour(settings: Settings) -> list[str]:
    """What is heard of a made-up sound, as it is and augmented, the schedule, and the first steps on made-up frames."""
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    mel = features((0.3 * np.sin(2 * np.pi * 400 * time * (1 + time))).astype(np.float32))
    heard = [mel, augmented(mel, np.random.default_rng(0))]
    schedule = [warm_and_cool(i, 100, 1.0, settings.warmup, settings.cooldown) for i in (0, 60, 90)]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model, frames = Recogniser(tuple("abc")).double().eval(), torch.randn(1, 30, mel.shape[1]).double()
    return [*(f"{x:.3g}" for m in heard for x in (m.mean(), m.std())), *records.stable(schedule), *first_steps(
        model, _optimiser(model, settings), lambda: ctc_loss(*model(frames, torch.tensor([30])), [torch.tensor([1, 2, 3])]),
        settings.clip_norm)]


def measured(model: Recogniser, judged: list[Phrase], voice: str, codec: Codec) -> dict:
    """Phoneme error over all sentences, and errors of each, of speech and of the codec's round trip."""
    heard: dict[str, list[list[str]]] = {}
    for phrase, speech in zip(judged, synthesise(Utterance(p.text, voice) for p in judged), strict=True):
        through = {f"codec_{n}": codec.decode(phrase.codes[:n]) for n in CODEBOOKS}
        for name, audio in {"speech": speech.audio, **through}.items():
            heard.setdefault(name, []).append(recognise(model, audio))
    return compared(judged, heard)


def compared(judged: list[Phrase], heard: dict[str, list[list[str]]]) -> dict:
    """Phoneme error over all sentences, and errors of each, of what was heard of them by name."""
    references = [p.phonemes for p in judged]
    return {"error": {name: phoneme_error(references, said) for name, said in heard.items()},
            "sentences": [{"id": p.id, "phonemes": len(p.phonemes),
                           "errors": {name: edit_distance(p.phonemes, said[i]) for name, said in heard.items()}}
                          for i, p in enumerate(judged)]}


def recognise(model: Recogniser, audio: np.ndarray) -> list[str]:
    """The phonemes that are heard in audio (samples,) at 24 kHz, without stress and pauses."""
    return model.read(torch.from_numpy(features(audio)))


def durations(model: Recogniser, audio: np.ndarray) -> np.ndarray:
    """Milliseconds from each phoneme that is heard in audio (samples,) to the next (phonemes - 1,)."""
    path = np.array([BLANK, *model.path(torch.from_numpy(features(audio)))])
    return np.diff(np.flatnonzero((path[1:] != BLANK) & (path[1:] != path[:-1]))) * 2e3 * MEL_STEP


def load_recogniser(record: records.Record) -> Recogniser:
    """The recogniser of a run, ready to listen."""
    model = Recogniser(record.result["phonemes"], record.result.get("bands", 80)).eval()
    load_weights(model, record, WEIGHTS)
    return model


def main() -> None:
    usual = STUDIES["standard"]
    record = train_recogniser(usual.voice, load_codec(), Settings(usual.hearing, usual.hearing_steps))
    print(record.name)
    for split in ("validation", "test"):
        print(split, *(f"{name} {error:.1%}" for name, error in record.result[split]["error"].items()))
