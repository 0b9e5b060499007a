"""Train the embedded codec: `python -m lib.train_codec` (or `make codec`). Resumes where it was stopped.

Loss: log-mel at three scales, complex STFT and waveform, all L1, and the quantiser's commitment; no discriminator.
"""
import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import checkpoint
from .config import workspace
from .data import codec as codecs
from .data.grammar import phrases
from .data.speech import Utterance, synthesise
from .metrics.speech import mel_filterbank, stoi
from .records import write_atomic

VOICES = ("pl", "pl+Annie", "pl+Mario", "pl+Andy", "pl+Alicia", "pl+f2", "pl+m3", "pl+Denis", "pl+linda", "pl+Hugo",
          "pl+Andrea", "pl+m1", "pl+Diogo", "pl+belinda", "pl+Michael", "pl+f4")
HELD_OUT_VOICE = "pl+steph"
SECONDS, BATCH, CLIPS = 0.8, 16, 960


def training_clips() -> list[Tensor]:
    """Grammar phrases spoken, each (samples,): every other one by the default voice, the rest by the others in turn."""
    generator = np.random.default_rng(0)
    utterances = [Utterance(text, "pl" if i % 2 else VOICES[i // 2 % len(VOICES)], rate=int(generator.integers(130, 200)),
                            pitch=int(generator.integers(35, 66))) for i, text in enumerate(phrases(CLIPS, seed=1))]
    length = int(6 * codecs.SAMPLE_RATE)
    clips = [s.audio[:length] for s in synthesise(utterances)]
    return [torch.from_numpy(c) for c in clips]


def batch(clips: list[Tensor], generator: torch.Generator) -> Tensor:
    """(16, 19200) random crops at random gain."""
    length = int(SECONDS * codecs.SAMPLE_RATE)
    crops = []
    for index in torch.randint(len(clips), (BATCH,), generator=generator).tolist():
        clip = clips[index] if len(clips[index]) > length else F.pad(clips[index], (0, length + 1 - len(clips[index])))
        start = int(torch.randint(len(clip) - length, (1,), generator=generator))
        crops.append(clip[start:start + length] * (0.3 + 0.8 * float(torch.rand(1, generator=generator))))
    return torch.stack(crops)


class Losses:
    """Distances between two batches of waveforms (batch, samples)."""

    def __init__(self):
        self.scales = [(w, torch.hann_window(w), torch.from_numpy(mel_filterbank(m, w)).float())
                       for w, m in ((512, 40), (1024, 80), (2048, 120))]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        total = 20 * F.l1_loss(x, y)
        for window, hann, mel in self.scales:
            a, b = (torch.stft(s, window, window // 4, window=hann, return_complex=True, normalized=True) for s in (x, y))
            mel_a, mel_b = (torch.log((mel @ s.abs()).clamp_min(1e-4)) for s in (a, b))
            compressed_a, compressed_b = (s * (s.abs() + 1e-3) ** -0.5 for s in (a, b))
            total = total + F.l1_loss(mel_a, mel_b) + 4 * (compressed_a - compressed_b).abs().mean()
        return total


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


def train(steps: int, folder: Path, out: Path, minutes_between: float = 2.0) -> None:
    torch.manual_seed(0)
    clips, losses = training_clips(), Losses()
    held_out = [s.audio for s in synthesise([Utterance(t, v) for v in ("pl", HELD_OUT_VOICE) for t in phrases(6, seed=2)])]
    model = codecs.FrameCodec()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.8, 0.99), weight_decay=1e-2)
    progress, path = {"step": 0}, folder / "checkpoint.safetensors"
    if path.exists():
        progress = checkpoint.read(path, model, optimiser)
    print(f"{len(clips)} clips, {sum(map(len, clips)) / codecs.SAMPLE_RATE / 60:.1f} minutes, "
          f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {progress['step']}", flush=True)
    saved, recent = time.monotonic(), []
    for step in range(progress["step"], steps):
        generator = torch.Generator().manual_seed(step)
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        x = batch(clips, generator)
        codebooks = (2, 4, 4, 8)[int(torch.randint(4, (1,), generator=generator))]
        with torch.autocast("cpu", torch.bfloat16):
            latent = model.latent(x)
        quantised, _, commitment = model.quantise(latent.float(), codebooks)
        with torch.autocast("cpu", torch.bfloat16):
            y = model.synthesise(quantised)
        loss = losses(x, y.float()) + commitment
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        recent.append(loss.item())
        if (step + 1) % 500 == 0 or step + 1 == steps:
            print(f"step {step + 1} loss {np.mean(recent):.3f} stoi {measure(model, held_out)}", flush=True)
            recent = []
        if time.monotonic() - saved > 60 * minutes_between or step + 1 == steps:
            checkpoint.write(path, model, optimiser, {"step": step + 1})
            write_atomic(out, model.packed())
            saved = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--out", type=Path, default=codecs.EMBEDDED)
    arguments = parser.parse_args()
    train(arguments.steps, workspace() / "data" / "runs" / "codec_training", arguments.out)


if __name__ == "__main__":
    main()
