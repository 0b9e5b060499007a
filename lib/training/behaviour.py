"""How the code behaves that a run depends on: what the first training steps come to on fixed data.

Everything is computed in float64, where another way to compute the same differs in the 13th digit, and an epsilon, a mask,
an initialisation or an optimiser that is another in the first eight. Runs of one configuration share it, whatever their
seed and their number of steps.
"""
import json
from dataclasses import replace
from functools import cache

import torch
from torch import nn

from ..config import ALIGNED, SpeechConfig, TrainConfig, described
from ..data.tokens import cached
from ..models.codec_lm import BINS, START, TIMING, CodecLM, Guide, losses
from ..records import code_digest, stable
from .optimiser import descend, make_optimiser

STEPS, FRAMES, SYMBOLS = 3, 9, 7


def behaviour(config: TrainConfig | SpeechConfig) -> list[str]:
    """Losses, gradient norms and at last the logits' size of the first training steps of a configuration; kept for as long
    as no source of models and training says anything else."""
    return _kept(replace(config, seed=0, steps=STEPS))


@cache
def _kept(config: TrainConfig | SpeechConfig) -> list[str]:
    what = {"behaviour": described(config), "code": code_digest("models/*.py", "training/*.py"), "torch": torch.__version__}
    return json.loads(cached(what, lambda: json.dumps(_behaviour(config)).encode()))


def _behaviour(config: TrainConfig | SpeechConfig) -> list[str]:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = CodecLM(config.model).double()
        codes = torch.randint(BINS, (2, config.model.codebooks, FRAMES))
        text = torch.randint(config.model.vocabulary, (2, SYMBOLS))
        guide = Guide(torch.linspace(0, SYMBOLS - 1, FRAMES).long().expand(2, -1), torch.rand(2, FRAMES, TIMING).double())
    lengths = torch.tensor([FRAMES, FRAMES - 2])
    codes[1, :, lengths[1]:] = START
    if config.model.regime == "causal" or config.model.conditioning != "prefix":
        text[1, -2:] = config.model.vocabulary                          # padding
    told = guide if config.model.conditioning in ALIGNED else None
    optimiser, numbers = make_optimiser(model, config), []
    for _ in range(STEPS):
        cross_entropy, end_loss, _ = losses(*model(codes, text, told), codes, lengths)
        norm = descend(model, optimiser, cross_entropy + end_loss, config.clip_norm)
        numbers += [cross_entropy.item(), end_loss.item(), norm.item()]
    with torch.inference_mode():
        logits, end = model(codes, text, told)
    return stable([*numbers, logits.square().mean().item(), end.square().mean().item()])


def first_steps(model: nn.Module, optimiser: torch.optim.Optimizer, loss, clip_norm: float = torch.inf) -> list[str]:
    """The same of any model in float64: `loss()` is what it descends."""
    numbers = []
    for _ in range(STEPS):
        value = loss()
        numbers += [value.item(), descend(model, optimiser, value, clip_norm).item()]
    return stable(numbers)
