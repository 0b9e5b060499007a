"""Multi-head attention through scaled_dot_product_attention, with rotary positions and a preallocated KV cache."""
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F

from .conv import GroupedConv
from .feed_forward import FeedForward
from .linear import Linear, _frame_linear, by_kernel
from .norm import RMSNorm, _normalise, norm
from .parallel import Parallel
from .scan import FAST, _exp


@dataclass
class AttentionState:
    cache: Tensor       # (batch, 2 · heads, capacity, head width): the keys of all heads, then their values
    frames: int = 0     # filled so far


def rotate(x: Tensor, start: int = 0) -> Tensor:
    """Rotary positions (Su et al. 2021) on (batch, heads, frames, head width), the first frame at position `start`."""
    end, half = start + x.shape[-2], x.shape[-1] // 2
    cos, sin = _rotary(_table(end), half, x.dtype, x.device)
    return torch.addcmul(x * cos[start:end], x.roll(half, -1), sin[start:end])


def _table(frames: int) -> int:
    """The length of the table that serves so many frames: few lengths, so that tables are made seldom."""
    return 1 << (frames - 1).bit_length()


@lru_cache(8)
@torch.inference_mode(False)                        # training may be the next to read it
def _rotary(frames: int, half: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of every position's angles, (frames, 2 half) each, signed so that (a, b) cos + (b, a) sin turns."""
    frequency = 10_000 ** (-torch.arange(half, device=device, dtype=torch.double) / half)
    angle = torch.arange(frames, device=device)[:, None] * frequency    # (frames, half)
    cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


class Attention(nn.Module):
    """(batch, frames, width) to the same. `causal`: a frame sees itself and what came before. `qk_norm`: queries and keys
    are brought to a fixed scale, head by head (Dehghani et al. 2023, https://arxiv.org/abs/2302.05442; so in Qwen3)."""

    def __init__(self, width: int, heads: int, causal: bool, rotary: bool, qk_norm: bool = False):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} does not split into {heads} heads of even width")
        self.heads, self.causal, self.rotary = heads, causal, rotary
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.q_norm, self.k_norm = (RMSNorm(width // heads) if qk_norm else None for _ in range(2))

    def _split(self, qkv: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
        """Queries (batch, heads, frames, ·), and keys and values (batch, 2 · heads, frames, ·), from `start` on."""
        q, k, v = qkv.unflatten(-1, (3 * self.heads, -1)).transpose(1, 2).chunk(3, 1)   # (batch, heads, frames, head width)
        if self.q_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rotary:
            q, k = rotate(q, start), rotate(k, start)
        return q, torch.cat([k, v], 1)

    def forward(self, x: Tensor, state: AttentionState | None = None) -> Tensor:
        q, kv = self._split(self.qkv(x))
        if state:
            state.frames = x.shape[1]
            state.cache[:, :, :state.frames] = kv
        y = F.scaled_dot_product_attention(q, *kv.chunk(2, 1), is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def initial_state(self, batch: int, frames: int) -> AttentionState:
        head = self.out.in_features // self.heads
        return AttentionState(self.out.weight.new_zeros(batch, 2 * self.heads, frames, head))

    def step(self, x: Tensor, state: AttentionState) -> Tensor:         # (batch, width)
        """One frame by the fastest way there is; by the kernel, a row of a batch has the very bits that it has alone."""
        if state.frames >= state.cache.shape[2]:
            raise ValueError(f"the cache holds {state.cache.shape[2]} frames: ask initial_state for more")
        if not by_kernel(x):
            return self.step_reference(x, state)
        y, head = torch.empty_like(x), state.cache.shape[3]
        turn = _rotary(_table(state.frames + 1), head // 2, x.dtype, x.device) if self.rotary else (x, x)
        scales = (self.q_norm.weight, self.k_norm.weight) if self.q_norm else (self.out.bias, self.out.bias)
        _step(*(s.contiguous().numpy() for s in (x, self.qkv.weight, self.qkv.bias, *scales, *turn, self.out.weight,
                                                 self.out.bias, state.cache, y)), state.frames, self.rotary, bool(self.q_norm))
        state.frames += 1
        return y

    def step_reference(self, x: Tensor, state: AttentionState) -> Tensor:
        q, kv = self._split(self.qkv(x)[:, None], state.frames)
        state.cache[:, :, state.frames:state.frames + 1] = kv
        state.frames += 1
        y = F.scaled_dot_product_attention(q, *state.cache.narrow(2, 0, state.frames).chunk(2, 1))
        return self.out(y.flatten(1))                                   # (batch, heads, 1, head width) to (batch, width)

    def state_numbers(self, frames: int) -> int:
        return 2 * frames * self.out.in_features


@njit(cache=True, fastmath=FAST, error_model="numpy")
def _step(x, w_qkv, b_qkv, w_q, w_k, cos, sin, w_out, b_out, cache, y, at, rotary, qk_norm):
    """x (batch, width) to y, the same; its keys and values go into the cache at frame `at`."""
    batch, width = x.shape
    head, heads = cache.shape[3], cache.shape[1] // 2
    qkv, mixed = np.empty((batch, 3 * width), x.dtype), np.zeros((batch, width), x.dtype)
    weights, frames, scale = np.empty(at + 1, x.dtype), at + 1, x.dtype.type(1 / math.sqrt(head))
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
                turned[b, start + i] = qkv[b, start + i] * cos[at, i] + qkv[b, other] * sin[at, i]
        for n in range(heads):
            q, keys, values = turned[b, n * head:(n + 1) * head], cache[b, n], cache[b, heads + n]
            for i in range(head):
                keys[at, i], values[at, i] = turned[b, width + n * head + i], turned[b, 2 * width + n * head + i]
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
                 kernel: int | None = None, recipe: tuple[str, ...] = ()):
        super().__init__()
        self.pre_norm = pre_norm
        attention = Attention(width, heads, causal, rotary, "qk_norm" in recipe)
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
