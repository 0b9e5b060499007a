"""The step of decoding, recorded. On a GPU a frame is some hundred small kernels that take longer to launch than to run;
here they are recorded once and replayed as one CUDA graph. Such a step may depend on nothing that Python counts: the
position is a tensor, every state stays where it is, and what attention may read is a mask, which can be a window too."""
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial, singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.attention import Attention, AttentionState, TransformerLayer, _rotary, _table
from ..models.codec_lm import CodecLM, DecodingState
from ..models.cores import Core
from ..models.mamba import Mamba, MambaState
from ..models.mamba_conv import MambaConvBlock
from ..models.parallel import Parallel

LEAST = 1024        # frames of a cache that are always read, those to come masked; from there on each power of 2 is recorded

Outputs = tuple[Tensor, Tensor]     # of CodecLM.step: logits (batch, codebooks, 1024) and the end (batch,)
Step = Callable[[Tensor], Outputs]  # it, on a state: from the previous codes (batch, codebooks)


@dataclass
class Place:
    """Where a recorded frame stands."""
    at: Tensor          # (1,), its position
    read: int           # frames of a cache that it reads
    window: int | None  # of them, at most so many of the latest count
    tables: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)  # kept, for a graph knows addresses alone


@singledispatch
def step(layer: nn.Module, x: Tensor, state: Any, place: Place) -> Tensor:
    """A layer's step on (batch, width) that can be recorded: `layer.step` itself where it counts and moves nothing."""
    return layer.step(x, state)


@step.register
def _(core: Core, x: Tensor, state: list, place: Place) -> Tensor:
    for layer, layer_state in zip(core.layers, state):
        x = step(layer, x, layer_state, place)
    return core.norm(x)


@step.register
def _(layer: TransformerLayer, x: Tensor, state: Any, place: Place) -> Tensor:
    return layer._wrap(x, lambda y: step(layer.attention, y, state, place))


@step.register
def _(parallel: Parallel, x: Tensor, state: list, place: Place) -> Tensor:
    return parallel._fuse([step(branch, x, part, place) for branch, part in zip(parallel.branches, state)])


@step.register
def _(block: MambaConvBlock, x: Tensor, state: list, place: Place) -> Tensor:
    return block._wrap(x, lambda y: step.dispatch(Parallel)(block, y, state, place))


@step.register
def _(mamba: Mamba, x: Tensor, state: MambaState, place: Place) -> Tensor:
    kept = state.conv, state.ssm
    y = mamba.step_reference(x, state)
    kept[0].copy_(state.conv)
    kept[1].copy_(state.ssm)
    state.conv, state.ssm = kept
    return y


@step.register
def _(attention: Attention, x: Tensor, state: AttentionState, place: Place) -> Tensor:
    heads, capacity, head = attention.heads, *state.cache.shape[2:]
    qkv = attention.qkv(x).unflatten(-1, (3 * heads, head))             # (batch, 3 · heads, head width)
    if attention.rotary:
        if head not in place.tables:
            place.tables[head] = _rotary(_table(capacity), head // 2, x.dtype, x.device)
        cos, sin = (table.index_select(0, place.at) for table in place.tables[head])
        qk, v = qkv.split([2 * heads, heads], 1)
        qkv = torch.cat([torch.addcmul(qk * cos, qk.roll(head // 2, -1), sin), v], 1)
    q, kv = qkv[:, :, None].split([heads, 2 * heads], 1)
    state.cache.index_copy_(2, place.at, kv)
    frames = torch.arange(place.read, device=x.device)[None]            # (1, frames)
    seen = frames <= place.at
    if place.window:
        seen &= frames > place.at - place.window
    y = F.scaled_dot_product_attention(q, *state.cache[:, :, :place.read].chunk(2, 1), attn_mask=seen)
    return attention.out(y.flatten(1))


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
    """`CodecLM.step` on a state, recorded. The next call overwrites what this one returned. With a `window`, attention
    reads the last so many frames alone."""

    def __init__(self, model: CodecLM, state: DecodingState, record: Callable = cuda_graph, window: int | None = None):
        self.model, self.state, self.record, self.window = model, state, record, window
        self.caches = list(attention_states(state.core))
        self.room = min((s.cache.shape[2] for s in self.caches), default=0)
        self.at = torch.tensor([state.characters + state.frames], device=model.offsets.device)
        self.previous: Tensor | None = None
        self.recordings: dict[int, Callable[[], Outputs]] = {}          # by the frames of the caches that they read

    def _frame(self, place: Place) -> Outputs:
        model, state, told = self.model, self.state, None
        if state.text is not None:
            told = state.text.index_select(1, (place.at - state.characters).clamp_max(state.text.shape[1] - 1))
        x = model._embed(self.previous[:, :, None], told)               # (batch, 1, width)
        if model.positions is not None:
            x = x + model.positions(place.at)
        y = step(model.core, x[:, 0], state.core, place)
        place.at += 1
        return model._read(y)

    def __call__(self, previous: Tensor) -> Outputs:
        at = self.state.characters + self.state.frames
        if self.caches and at == self.room:
            raise ValueError(f"the cache holds {self.room} frames: ask initial_state for more")
        if self.model.positions is not None and at >= self.model.positions.num_embeddings:
            self.model._place(self.model.positions.weight[:1, None], self.state.characters, at)     # says why not
        self.previous = previous.clone() if self.previous is None else self.previous.copy_(previous)
        read = min(self.room, max(LEAST, 1 << at.bit_length()))
        if read in self.recordings:
            outputs = self.recordings[read]()
        else:                                                           # taken, and recorded for those that follow
            frame = partial(self._frame, Place(self.at, read, self.window))
            outputs = frame()
            self.recordings[read] = self.record(frame)
        self.state.frames += 1
        for cache in self.caches:
            cache.frames += 1
        return outputs


def stepper(model: CodecLM, state: DecodingState, window: int | None = None) -> Step:
    """The fastest way to take the steps of a model on a state; on a CPU a window is masked in plain PyTorch."""
    if model.offsets.device.type == "cuda" and isinstance(model.core, Core):
        return Recorded(model, state, window=window)
    if window:
        return Recorded(model, state, lambda frame: frame, window)
    return lambda previous: model.step(previous, state)
