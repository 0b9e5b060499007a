"""Multi-head attention through scaled_dot_product_attention, with rotary positions and a preallocated KV cache, which is a
ring where attention reads a window of frames alone."""
import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F

from .conv import GroupedConv
from .feed_forward import FeedForward
from .kernels import FAST, _exp
from .linear import Linear, _frame_linear, by_kernel
from .norm import RMSNorm, _normalise, norm
from .parallel import Parallel

Turn = tuple[Tensor, Tensor]    # cos and sin, (frames, head width) each, signed so that (a, b) cos + (b, a) sin turns


def turn(positions: Tensor, head: int, dtype: torch.dtype) -> Turn:
    """Rotary positions (Su et al. 2021) of frames (frames,), for a head so wide."""
    frequency = 10_000 ** (-torch.arange(head // 2, device=positions.device, dtype=torch.double) / (head // 2))
    angle = positions[:, None] * frequency                              # (frames, half)
    cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def turns(start: int, end: int, head: int, dtype: torch.dtype, device: torch.device) -> Turn:
    """The same of the frames `start` to `end`, from a table; tables have few lengths, so that they are made seldom."""
    cos, sin = _table(1 << (end - 1).bit_length(), head, dtype, device)
    return cos[start:end], sin[start:end]


@lru_cache(8)
@torch.inference_mode(False)                        # training may be the next to read it
def _table(frames: int, head: int, dtype: torch.dtype, device: torch.device) -> Turn:
    return turn(torch.arange(frames, device=device), head, dtype)


def rotate(x: Tensor, by: Turn) -> Tensor:          # (batch, heads, frames, head width)
    return torch.addcmul(x * by[0], x.roll(x.shape[-1] // 2, -1), by[1])


def banded(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Causal attention of (batch, heads, frames, head width) in which a frame sees the last `window`, itself included. By
    blocks of at most as many frames, each before all that they see: linear in frames."""
    frames = q.shape[2]
    if frames <= window:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    first = F.scaled_dot_product_attention(*(x[:, :, :window] for x in (q, k, v)), is_causal=True)
    blocks = -(-(frames - window) // window)
    block = -(-(frames - window) // blocks)
    q, k, v = (F.pad(x, (0, 0, 0, window + blocks * block - frames)) for x in (q[:, :, window:], k, v))
    seen = torch.ones(block, window + block, dtype=torch.bool, device=q.device).tril(window).triu(1)

    def fold(x: Tensor, length: int) -> Tensor:     # to (batch · blocks, heads, length, head width)
        return x.unfold(2, length, block).permute(0, 2, 1, 4, 3).flatten(0, 1)
    rest = F.scaled_dot_product_attention(fold(q, block), fold(k, window + block), fold(v, window + block), attn_mask=seen)
    rest = rest.unflatten(0, (-1, blocks)).transpose(1, 2).flatten(2, 3)    # (batch, heads, blocks · block, head width)
    return torch.cat([first, rest[:, :, :frames - window]], 2)


@dataclass
class Place:
    """Where a step stands by tensors alone, so that it can be recorded."""
    at: Tensor      # (1,), its position
    read: int       # frames of a cache that it reads at most, those to come masked
    turns: dict[int, Turn] = field(default_factory=dict)                # of it, by head width, for all layers

    def turn(self, head: int, dtype: torch.dtype) -> Turn:
        if head not in self.turns:
            self.turns[head] = turn(self.at, head, dtype)
        return self.turns[head]


@dataclass
class AttentionState:
    cache: Tensor               # (batch, 2 · heads, room, head width): keys, then values; frame t is at t % room
    window: int | None = None   # frames that are read; a cache of as many is a ring
    frames: int = 0             # so far
    place: Place | None = None  # of the next step, where it is to be recorded

    @property
    def room(self) -> int:
        return self.cache.shape[2]

    def check(self, frames: int) -> None:
        """ValueError where so many frames are too many."""
        if frames > self.room != self.window:
            raise ValueError(f"the cache holds {self.room} frames: ask initial_state for more")

    def fill(self, kv: Tensor) -> None:
        """With keys and values (batch, 2 · heads, frames, head width) of the first frames."""
        self.check(kv.shape[2])
        self.frames = kv.shape[2]
        last = self._last(self.room)
        self.cache[:, :, last % self.room] = kv[:, :, last]

    def narrow(self, window: int) -> None:
        """Read no more than the last `window` frames from here on."""
        if window < self.room:
            last, old = self._last(window), self.cache
            self.cache, self.window = old.new_zeros(*old.shape[:2], window, old.shape[3]), window
            self.cache[:, :, last % window] = old[:, :, last % old.shape[2]]

    def _last(self, frames: int) -> Tensor:
        return torch.arange(max(0, self.frames - frames), self.frames, device=self.cache.device)


class Attention(nn.Module):
    """(batch, frames, width) to the same. `causal`: a frame sees itself and what came before, of that the last frames alone
    where there is a `window` of so many. `qk_norm`: queries and keys are brought to a fixed scale, head by head (Dehghani et
    al. 2023, https://arxiv.org/abs/2302.05442; so in Qwen3)."""

    def __init__(self, width: int, heads: int, causal: bool, rotary: bool, qk_norm: bool = False, window: int | None = None):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} does not split into {heads} heads of even width")
        self.heads, self.causal, self.rotary, self.window = heads, causal, rotary, window
        self.head = width // heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.q_norm, self.k_norm = (RMSNorm(self.head) if qk_norm else None for _ in range(2))

    def _split(self, x: Tensor, by: Turn | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (batch, heads, frames, head width)."""
        q, k, v = self.qkv(x).unflatten(-1, (3 * self.heads, self.head)).transpose(-2, -3).chunk(3, -3)
        if self.q_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        return (rotate(q, by), rotate(k, by), v) if by else (q, k, v)

    def forward(self, x: Tensor, state: AttentionState | None = None) -> Tensor:
        by = turns(0, x.shape[1], self.head, x.dtype, x.device) if self.rotary else None
        q, k, v = self._split(x, by)
        if state:
            state.fill(torch.cat([k, v], 1))
        if self.window:
            y = banded(q, k, v, self.window)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def initial_state(self, batch: int, frames: int) -> AttentionState:
        room = min(frames, self.window or frames)
        return AttentionState(self.out.weight.new_zeros(batch, 2 * self.heads, room, self.head), self.window)

    def step(self, x: Tensor, state: AttentionState) -> Tensor:         # (batch, width)
        """One frame by the fastest way there is; by the kernel, a row of a batch has the very bits that it has alone."""
        state.check(state.frames + 1)
        if state.place or not by_kernel(x):
            return self.step_reference(x, state)
        y, at = torch.empty_like(x), state.frames
        by = turns(at, at + 1, self.head, x.dtype, x.device) if self.rotary else (x, x)
        scales = (self.q_norm.weight, self.k_norm.weight) if self.q_norm else (self.out.bias, self.out.bias)
        _step(*(s.contiguous().numpy() for s in (
            x, self.qkv.weight, self.qkv.bias, *scales, *by, self.out.weight, self.out.bias, state.cache, y)),
            at, self.rotary, self.q_norm is not None)
        state.frames += 1
        return y

    def step_reference(self, x: Tensor, state: AttentionState) -> Tensor:
        """The same in PyTorch; it can be recorded where the state says its place."""
        place = state.place or Place(torch.tensor([state.frames], device=x.device), state.frames + 1)
        q, k, v = self._split(x[:, None], place.turn(self.head, x.dtype) if self.rotary else None)
        state.cache.index_copy_(2, place.at % state.room, torch.cat([k, v], 1))
        cache = state.cache[:, :, :place.read]
        seen = torch.arange(cache.shape[2], device=x.device)[None] <= place.at      # (1, frames); of a full ring, all
        y = F.scaled_dot_product_attention(q, *cache.chunk(2, 1), attn_mask=seen)
        state.frames += 1
        return self.out(y.flatten(1))                                   # (batch, heads, 1, head width) to (batch, width)

    def state_numbers(self, frames: int) -> int:
        return 2 * min(frames, self.window or frames) * self.out.in_features


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _step(x, w_qkv, b_qkv, w_q, w_k, cos, sin, w_out, b_out, cache, y, at, rotary, qk_norm):
    """x (batch, width) to y, the same; its keys and values go into the cache, where frame `at` belongs."""
    batch, width = x.shape
    heads, room, head = cache.shape[1] // 2, cache.shape[2], cache.shape[3]
    slot, frames = at % room, min(at + 1, room)
    qkv, mixed = np.empty((batch, 3 * width), x.dtype), np.zeros((batch, width), x.dtype)
    weights, scale = np.empty(frames, x.dtype), x.dtype.type(1 / math.sqrt(head))
    _frame_linear(x, w_qkv, b_qkv, qkv, 1)
    for b in range(batch if qk_norm else 0):
        for start in range(0, 2 * width, head):                         # each head of q, then of k
            part = qkv[b, start:start + head]
            _normalise(part, w_q if start < width else w_k, part)
    turned = qkv.copy()
    for b in range(batch):
        for start in range(0, 2 * width if rotary else 0, head):
            for i in range(head):
                other = start + (i + head // 2) % head
                turned[b, start + i] = qkv[b, start + i] * cos[0, i] + qkv[b, other] * sin[0, i]
        for n in range(heads):
            q, keys, values = turned[b, n * head:(n + 1) * head], cache[b, n], cache[b, heads + n]
            for i in range(head):
                keys[slot, i], values[slot, i] = turned[b, width + n * head + i], turned[b, 2 * width + n * head + i]
            for t in range(frames):
                score, k = x.dtype.type(0), keys[t]
                for i in range(head):
                    score += q[i] * k[i]
                weights[t] = score * scale
            highest, total = weights.max(), x.dtype.type(0)
            for t in range(frames):
                weights[t] = _exp(weights[t] - highest)
                total += weights[t]
            y_n = mixed[b, n * head:(n + 1) * head]
            for t in range(frames):
                w, v = weights[t] / total, values[t]
                for i in range(head):
                    y_n[i] += w * v[i]
    _frame_linear(mixed, w_out, b_out, y, 1)


class TransformerLayer(nn.Module):
    """Attention and a feed-forward, each with a residual; norms after (the seed) or before (`pre_norm`).

    `kernel` puts a causal convolution beside attention, fused with it by one linear layer: just what the hybrid puts
    beside Mamba, so that it can be told what the convolution adds to either.
    """

    def __init__(self, width: int, heads: int, hidden: int, causal: bool, pre_norm: bool, rotary: bool,
                 kernel: int | None = None, recipe: tuple[str, ...] = (), window: int | None = None):
        super().__init__()
        self.pre_norm = pre_norm
        attention = Attention(width, heads, causal, rotary, "qk_norm" in recipe, window)
        self.attention = Parallel(width, attention=attention, conv=GroupedConv(width, kernel)) if kernel else attention
        self.feed_forward = FeedForward(width, hidden, "swiglu" in recipe)
        self.norm1, self.norm2 = norm(width, recipe), norm(width, recipe)

    def _wrap(self, x: Tensor, attend) -> Tensor:
        if self.pre_norm:
            x = x + attend(self.norm1(x))
            return x + self.feed_forward(self.norm2(x))
        x = self.norm1(x + attend(x))
        return self.norm2(x + self.feed_forward(x))

    def forward(self, x: Tensor, state: AttentionState | list | None = None) -> Tensor:
        return self._wrap(x, lambda y: self.attention(y, state))

    def initial_state(self, batch: int, frames: int) -> AttentionState | list:
        return self.attention.initial_state(batch, frames)

    def step(self, x: Tensor, state: AttentionState | list) -> Tensor:
        return self._wrap(x, lambda y: self.attention.step(y, state))

    def state_numbers(self, frames: int) -> int:
        return self.attention.state_numbers(frames)

    def writers(self) -> list[nn.Linear]:
        return [self.attention.fuse if isinstance(self.attention, Parallel) else self.attention.out, self.feed_forward.down]
