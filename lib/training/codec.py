"""Train the embedded codec: `python -m lib.training.codec` (or `make codec`). Resumes where it was stopped.

Loss: log-mel at three scales, complex STFT and waveform, all L1, and the quantiser's commitment; no discriminator.
"""
from .. import command

if __name__ == "__main__":
    command.run("lib.training.codec")

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import workspace
from ..data import codec as codecs
from ..data.grammar import phrases
from ..data.speech import Utterance, synthesise
from ..files import file_digest, write_atomic
from ..metrics.learning import perplexity
from ..metrics.speech import mel_filterbank, stoi
from ..records import code_digest, save
from .loop import History, fit

VOICES = """Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen Reed
    RicishayMax Storm Tweaky UniRobot adam announcer antonio aunty belinda benjamin boris caleb croak david ed f1 f2 f3
    f4 fast grandma grandpa gustave ian iven iven3 john kaukovalta klatt klatt3 klatt5 linda m1 m2 m3 m4 m5 m7 m8 marcelo
    max michel miguel norbert pablo paul pedro quincy rob robert robosoft sandro shelby travis whisper whisperf
    zac""".split()
LANGUAGES = ("pl", "en-us", "pl", "de", "pl", "es", "pl", "fr", "pl", "it", "pl", "cs", "pl", "hu", "pl", "fi", "pl",
             "ro", "pl", "sv", "pl", "tr", "pl", "nl")      # every second utterance is Polish
SECONDS, BATCH, CLIPS, DEFAULT_SHARE = 0.8, 16, 3000, 8     # one clip in 8 by the default voice
RATE = 1e-3
DECAY = 0.3         # of the steps, at the end, over which the learning rate falls to nothing
EVERY = 200         # steps between lines of the log
UNUSED_OF = 500     # clips in which every code should be found
COUNTS = torch.tensor([2, 4, 4, 8, 8])
SPEED, EQUALISER_DB, NOISE_DB = (0.8, 1.25), 6.0, (15, 45)  # of the augmented half of the crops


def training_clips() -> list[np.ndarray]:
    """Grammar phrases spoken, each (samples,) int16: the default voice, and the variants in turn in many languages."""
    generator = np.random.default_rng(0)
    utterances = []
    for i, text in enumerate(phrases(CLIPS, seed=1)):
        variant = f"{LANGUAGES[i % len(LANGUAGES)]}+{VOICES[i % len(VOICES)]}"
        utterances.append(Utterance(text, variant if i % DEFAULT_SHARE else "pl", rate=int(generator.integers(120, 221)),
                                    pitch=int(generator.integers(20, 81))))
    return [(s.audio * 32767).astype(np.int16) for s in synthesise(utterances)]


def augmented(crop: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Another voice in another room: drifting pitch and formants by uneven resampling, a random smooth filter, noise."""
    n = len(crop)
    low, high = SPEED
    time_ = np.arange(n) / codecs.SAMPLE_RATE
    speed = generator.uniform(low, high) * (1 + generator.uniform(0, 0.06) * np.sin(
        2 * np.pi * (generator.uniform(1, 6) * time_ + generator.random())))
    crop = np.interp(np.cumsum(speed) % (n - 1), np.arange(n), crop)
    spectrum = np.fft.rfft(crop)
    knots = generator.normal(0, EQUALISER_DB, 10)
    gain = np.interp(np.sqrt(np.linspace(0, 1, len(spectrum))), np.linspace(0, 1, 10), knots)
    crop = np.fft.irfft(spectrum * 10 ** (gain / 20), n)
    level = np.sqrt(np.mean(crop ** 2)) * 10 ** (-generator.uniform(*NOISE_DB) / 20)
    return crop + level * generator.normal(size=n)


def batch(clips: list[np.ndarray], generator: np.random.Generator) -> Tensor:
    """(16, 19200) random crops at random gain, half of them augmented."""
    length = int(SECONDS * codecs.SAMPLE_RATE)
    crops = []
    for index in generator.integers(len(clips), size=BATCH):
        clip = clips[index]
        start = generator.integers(max(1, len(clip) - length))
        crop = clip[start:start + length] / 32768
        crop = np.pad(crop, (0, length - len(crop)))
        if generator.random() < 0.5:
            crop = augmented(crop, generator)
        crops.append(crop * generator.uniform(0.3, 1.1) / max(1, np.abs(crop).max()))
    return torch.from_numpy(np.stack(crops)).float()


class Losses:
    """Distances between two batches of waveforms (batch, samples)."""

    def __init__(self):
        self.scales = [(w, torch.hann_window(w), torch.from_numpy(mel_filterbank(m, w)).float().T)
                       for w, m in ((512, 40), (1024, 80), (2048, 120))]

    def __call__(self, x: Tensor, y: Tensor, shift: float) -> Tensor:
        total = 20 * F.l1_loss(y, x)
        for window, hann, mel in self.scales:
            (mel_x, fine_x), (mel_y, fine_y) = (self._views(s[:, int(shift * window / 2):], window, hann, mel) for s in (x, y))
            total = total + F.l1_loss(mel_y, mel_x) + 5 * F.l1_loss(fine_y, fine_x)
        return total

    @staticmethod
    def _views(audio: Tensor, window: int, hann: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel and square-root compressed complex spectrum; half-overlapping frames, placed anew each step."""
        s = torch.view_as_real(torch.fft.rfft(audio.unfold(-1, window, window // 2) * hann, norm="ortho"))
        magnitude = (s.square().sum(-1) + 1e-8).sqrt()
        return torch.log(magnitude @ mel + 1e-3), s * (magnitude + 1e-3).rsqrt()[..., None]


def measure(model: codecs.FrameCodec, held_out: list[np.ndarray]) -> dict[int, float]:
    """Mean STOI of the round trip with 2, 4 and 8 codebooks."""
    model.eval()
    result = {}
    with torch.inference_mode():
        for codebooks in (2, 4, 8):
            scores = []
            for audio in held_out:
                padded = F.pad(torch.from_numpy(audio), (0, -len(audio) % codecs.HOP))[None]
                back = model.decode_codes(model.encode_codes(padded, codebooks))[0].numpy()
                scores.append(stoi(audio, back))
            result[codebooks] = round(float(np.mean(scores)), 4)
    model.train()
    return result


def train(steps: int, folder: Path, out: Path) -> None:
    """Train to `steps`, writing the codec file `out` as it goes, and at the end the run's record beside it."""
    torch.manual_seed(0)
    clips, losses = training_clips(), Losses()
    held_out = {name: [s.audio for s in synthesise(Utterance(t, v) for t in phrases(1, seed=2) for v in voices)]
                for name, voices in (("default voice", ("pl",)), ("held-out voices", codecs.UNHEARD_VOICES))}
    model = codecs.FrameCodec()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.8, 0.99), weight_decay=1e-2)
    print(f"{len(clips)} clips, {sum(map(len, clips)) / codecs.SAMPLE_RATE / 60:.1f} minutes, "
          f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    codes = torch.empty(0)

    def step(i: int) -> tuple[Tensor, dict]:
        nonlocal codes
        generator = np.random.default_rng(i)
        x = batch(clips, generator)
        codebooks = COUNTS[generator.integers(len(COUNTS), size=BATCH)]
        quantised, codes, commitment = model.quantiser(model.latent(x), codebooks)
        loss = losses(x, model.synthesise(quantised), generator.random()) + commitment
        return loss, {"loss": loss}

    def log(i: int, history: History) -> None:
        if (i + 1) % EVERY and i + 1 < steps:
            return
        history.setdefault("log", []).append({
            "step": i + 1, "loss": float(np.mean(history["loss"][-EVERY:])),
            "stoi": {name: measure(model, clips_) for name, clips_ in held_out.items()},
            "perplexity": [round(perplexity(c)) for c in codes.flatten(1).numpy()]})
        print(json.dumps(history["log"][-1]), flush=True)
        write_atomic(out, model.packed())

    path = folder / "checkpoint.safetensors"
    history = fit(model, optimiser, steps, step, path, "codec", 5.0,
                  lambda i: RATE * min(1, (i + 1) / 200, (steps - i) / (DECAY * steps)), log)
    what = {"steps": steps, "code": code_digest("training/codec.py", "data/codec.py", "data/grammar.py", "metrics/speech.py")}
    record = save("codec_training", what, {"log": history["log"], "weights": file_digest(out),
                                           "unused_codes": unused_codes(codecs.load_codec(str(out)), clips[:UNUSED_OF])})
    write_atomic(out.with_suffix(".json"), (record.folder / "record.json").read_bytes())


def unused_codes(codec: codecs.Codec, clips: list[np.ndarray]) -> list[int]:
    """How many codes of each codebook these clips (samples,) int16 never need."""
    codes = np.concatenate([codec.encode(clip / np.float32(32768), codecs.MAX_CODEBOOKS) for clip in clips], 1)
    return [codecs.BINS - len(np.unique(row)) for row in codes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--out", type=Path, default=codecs.EMBEDDED)
    arguments = parser.parse_args()
    train(arguments.steps, workspace() / "data" / "runs" / "codec_training", arguments.out)
