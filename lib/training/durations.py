"""The duration predictor of each way to cut a text into spans, trained on when espeak-ng says what; shared by all cores."""
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .. import records
from ..config import ModelConfig, described
from ..data.phrases import Phrase, Plan, Span, plan
from ..models.durations import Durations, duration_loss, span_frames
from .behaviour import first_steps
from .checkpoint import load_weights
from .loop import finished, fit
from .speech import Data

LEAST, STEPS, PASSES = 200, 800, 15     # steps, and of few phrases so many passes between these
BATCH, LEARNING_RATE = 64, 2e-3
WEIGHTS = "durations.safetensors"

Example = tuple[Tensor, Tensor, Tensor]     # symbols (symbols,), the span that each is in, frames (spans,)


def example(phrase: Phrase, config: ModelConfig) -> Example:
    ids, spans = plan(phrase.groups, config)
    return torch.tensor(ids), _span_of(spans), torch.tensor([float(s.frames) for s in spans])


def _span_of(spans: list[Span]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(spans)), torch.tensor([s.symbols for s in spans]))


def collate(examples: list[Example], vocabulary: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Symbols and their spans (batch, symbols), frames (batch, spans) and which of those are there."""
    symbols, span, frames = zip(*examples)
    longest = max(len(f) for f in frames)
    return (pad_sequence(symbols, True, vocabulary), pad_sequence(span, True, longest), pad_sequence(frames, True),
            pad_sequence([torch.ones_like(f) for f in frames], True).bool())


def predict(model: Durations, examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Predicted and true frames of all spans of a batch, (all spans,)."""
    symbols, span, frames, present = collate(examples, model.padding)
    predicted = span_frames(model(symbols), span, frames.shape[1] + 1)[:, :-1]  # the last takes what pads
    return predicted[present], frames[present]


def spans_of(config: ModelConfig) -> ModelConfig:
    """Of a model, what its symbols and spans depend on: one predictor serves all models that are alike in it."""
    return ModelConfig("any", "any", **{name: getattr(config, name) for name in (
        "regime", "pattern", "conditioning", "codebooks", "language", "units", "alphabet")})


def identity(config: ModelConfig, data: Data) -> dict:
    return {"model": described(spans_of(config)), "data": data.digest, "settings": [_steps(data), BATCH, LEARNING_RATE],
            "behaviour": _behaviour()}


def train_durations(config: ModelConfig, data: Data) -> records.Record:
    """The finished predictor for the symbols and spans of a model: found or trained, in less than a minute."""
    return finished("durations", identity(config, data), lambda path: _train(config, data, path))


def _steps(data: Data) -> int:
    return min(STEPS, max(LEAST, PASSES * len(data.train) // BATCH))


def _descent(model: Durations, steps: int) -> tuple[Optimizer, LRScheduler]:
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps)


def _train(config: ModelConfig, data: Data, path: Path) -> tuple[dict, dict[str, bytes]]:
    torch.manual_seed(0)
    model = Durations(config.vocabulary)
    optimiser, schedule = _descent(model, steps := _steps(data))
    train = [example(p, config) for p in data.train]

    def step(i: int) -> tuple[Tensor, dict]:
        while schedule.last_epoch < i:
            schedule.step()
        chosen = torch.randint(len(train), (BATCH,)).tolist()
        return duration_loss(*predict(model, [train[i] for i in chosen])), {}

    fit(model, optimiser, steps, step, path, "durations")
    with torch.inference_mode():
        predicted, true = predict(model, [example(p, config) for p in data.test])
    return {"test": {"spans": len(true), "mean_error_frames": (predicted - true).abs().mean().item(),
                     "total_ratio": (predicted.sum() / true.sum()).item()}}, {WEIGHTS: save(model.state_dict())}


@cache
def _behaviour() -> list[str]:
    """Losses of the first steps on two made-up texts."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = Durations(9).double()
    batch = [(torch.arange(n) % 9, torch.arange(n) // 2, torch.arange(1.0, n // 2 + 1).double()) for n in (8, 6)]
    return first_steps(model, _descent(model, STEPS)[0], lambda: duration_loss(*predict(model, batch)))


def load_durations(record: records.Record) -> Durations:
    model = Durations(len(record.identity["model"]["alphabet"])).eval()
    load_weights(model, record, WEIGHTS)
    return model


@torch.inference_mode()
def predicted_plan(model: Durations, ids: list[int], spans: list[Span]) -> Plan:
    """The plan with the predicted durations in place of its own; what is lost in rounding goes to the next span."""
    frames = span_frames(model(torch.tensor([ids])), _span_of(spans)[None], len(spans))[0]
    edges = frames.cumsum(0).round().int().tolist()
    return ids, [replace(s, frames=end - begin) for s, begin, end in zip(spans, [0, *edges], edges)]
