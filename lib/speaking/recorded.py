"""The step of decoding, recorded. On a GPU a frame is some hundred small kernels that take longer to launch than to run;
here they are recorded once and replayed as one CUDA graph. Such a step may depend on nothing that Python counts: the
position is a tensor, which the layers' states hold for them, every state stays where it is, and frames of a cache that are
still to come are masked."""
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..models.attention import AttentionState, Place
from ..models.codec_lm import CodecLM, DecodingState
from ..models.cores import Core

LEAST = 1024        # frames of a cache that are always read, those to come masked; from there on each power of 2 is recorded

Outputs = tuple[Tensor, Tensor]     # of CodecLM.step: logits (batch, codebooks, 1024) and the end (batch,)
Step = Callable[[Tensor], Outputs]  # it, on a state: from the previous codes (batch, codebooks)


def cuda_graph(run: Callable[[], Outputs]) -> Callable[[], Outputs]:
    """A call that does on the GPU what `run` did there, and returns its tensors, filled anew."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()

    def replay() -> Outputs:
        graph.replay()
        return outputs
    return replay


def attention_states(state: Any) -> Iterator[AttentionState]:
    if isinstance(state, AttentionState):
        yield state
    elif isinstance(state, list):
        for part in state:
            yield from attention_states(part)


class Recorded:
    """`CodecLM.step` on a state, recorded. The next call overwrites what this one returned."""

    def __init__(self, model: CodecLM, state: DecodingState, record: Callable = cuda_graph):
        self.model, self.state, self.record = model, state, record
        self.caches = list(attention_states(state.core))
        self.room = max((cache.room for cache in self.caches), default=0)
        self.at = torch.tensor([state.characters + state.frames], device=model.offsets.device)
        self.previous: Tensor | None = None
        self.recordings: dict[int, Callable[[], Outputs]] = {}          # by the frames of the caches that they read

    def _count(self, place: Place | None = None) -> None:
        for cache in self.caches:
            cache.frames, cache.place = self.state.characters + self.state.frames, place

    def _frame(self, read: int) -> Outputs:
        model, state, told = self.model, self.state, None
        if state.text is not None:
            told = state.text.index_select(1, (self.at - state.characters).clamp_max(state.text.shape[1] - 1))
        x = model._embed(self.previous[:, :, None], told)               # (batch, 1, width)
        if state.rest is not None:
            frames = self.at - state.characters
            text = state.rest.index_select(1, frames.clamp_max(state.rest.shape[1] - 1))
            x = torch.where((frames < state.unread)[:, None, None], text, x)
        if model.positions is not None:
            x = x + model.positions(self.at)
        self._count(Place(self.at, read))
        y = model.core.step(x[:, 0], state.core)
        self.at += 1
        return model._read(y)

    def __call__(self, previous: Tensor) -> Outputs:
        at = self.state.characters + self.state.frames
        for cache in self.caches:
            cache.check(at + 1)
        if self.model.positions is not None and at >= self.model.positions.num_embeddings:
            self.model._place(self.model.positions.weight[:1, None], self.state.characters, at)     # says why not
        self.previous = previous.clone() if self.previous is None else self.previous.copy_(previous)
        read = min(self.room, max(LEAST, 1 << at.bit_length()))
        if read in self.recordings:
            outputs = self.recordings[read]()
        else:                                                           # taken, and recorded for those that follow
            outputs = self._frame(read)
            self.recordings[read] = self.record(partial(self._frame, read))
        self.state.frames += 1
        self._count()
        return outputs


def untold(model: CodecLM, text: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor]:
    """Texts (batch, symbols) and what their frames are told (batch, frames, width), and below them once more the same rows, told
    nothing: what a step with guidance reads. ValueError where the model never saw that in training."""
    if not model.config.dropped:
        raise ValueError("guidance is for a model that was trained without its text too: train it with dropped above 0")
    told = model.told_alone(text) if told is None else told
    return torch.cat([text, text]), torch.cat([told, torch.zeros_like(told)])


def guided(step: Step, guidance: float) -> Step:
    """The step of `untold` rows from the codes of the first half: what the text brings to the logits is taken so many times
    (classifier-free guidance, Ho & Salimans 2022, https://arxiv.org/abs/2207.12598, equation 6 with w = guidance - 1)."""
    def both(previous: Tensor) -> Outputs:
        logits, end = step(torch.cat([previous, previous]))
        told, without = logits.chunk(2)
        return without + guidance * (told - without), end.chunk(2)[0]
    return both


def stepper(model: CodecLM, state: DecodingState, window: int | None = None, guidance: float = 1.0) -> Step:
    """The fastest way to take the steps of a model on a state. With a `window`, attention reads the last so many frames
    alone, whatever it did in training; with `guidance` the state is of `untold` rows."""
    if guidance != 1:
        return guided(stepper(model, state, window), guidance)
    for cache in attention_states(state.core) if window else ():
        cache.narrow(window)
    if model.offsets.device.type == "cuda" and isinstance(model.core, Core):
        return Recorded(model, state)
    return lambda previous: model.step(previous, state)
