"""Multi-head attention through scaled_dot_product_attention, with rotary positions and a preallocated KV cache."""
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class AttentionState:
    keys: Tensor        # (batch, heads, capacity, head width)
    values: Tensor
    frames: int = 0     # filled so far


def rotate(x: Tensor, start: int = 0) -> Tensor:
    """Rotary positions (Su et al. 2021) on (batch, heads, frames, head width), the first frame at position `start`."""
    half = x.shape[-1] // 2
    frequency = 10_000 ** (-torch.arange(half, device=x.device, dtype=torch.double) / half)
    angle = torch.arange(start, start + x.shape[-2], device=x.device)[:, None] * frequency  # (frames, half)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Attention(nn.Module):
    """(batch, frames, width) to the same. `causal`: a frame sees itself and what came before."""

    def __init__(self, width: int, heads: int, causal: bool, rotary: bool):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} does not split into {heads} heads of even width")
        self.heads, self.causal, self.rotary = heads, causal, rotary
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> list[Tensor]:
        q, k, v = self.qkv(x).chunk(3, -1)
        return [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)]  # (batch, heads, frames, ·)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._split(x)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def initial_state(self, batch: int, frames: int) -> AttentionState:
        shape = (batch, self.heads, frames, self.out.in_features // self.heads)
        return AttentionState(self.out.weight.new_zeros(shape), self.out.weight.new_zeros(shape))

    def step(self, x: Tensor, state: AttentionState) -> Tensor:         # (batch, width)
        q, k, v = self._split(x[:, None])
        at = state.frames
        if at >= state.keys.shape[2]:
            raise ValueError(f"the cache holds {state.keys.shape[2]} frames: ask initial_state for more")
        if self.rotary:
            q, k = rotate(q, at), rotate(k, at)
        state.keys[:, :, at], state.values[:, :, at] = k[:, :, 0], v[:, :, 0]
        state.frames = at + 1
        y = F.scaled_dot_product_attention(q, state.keys[:, :, :at + 1], state.values[:, :, :at + 1])
        return self.out(y.transpose(1, 2).flatten(1))

    def state_numbers(self, frames: int) -> int:
        return 2 * frames * self.out.in_features


class TransformerLayer(nn.Module):
    """Attention and a ReLU feed-forward, each with a residual; norms after (the seed) or before (`pre_norm`)."""

    def __init__(self, width: int, heads: int, hidden: int, causal: bool, pre_norm: bool, rotary: bool):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = Attention(width, heads, causal, rotary)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def _wrap(self, x: Tensor, attend) -> Tensor:
        if self.pre_norm:
            x = x + attend(self.norm1(x))
            return x + self.down(F.relu(self.up(self.norm2(x))))
        x = self.norm1(x + attend(x))
        return self.norm2(x + self.down(F.relu(self.up(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self._wrap(x, self.attention)

    def initial_state(self, batch: int, frames: int) -> AttentionState:
        return self.attention.initial_state(batch, frames)

    def step(self, x: Tensor, state: AttentionState) -> Tensor:
        return self._wrap(x, lambda y: self.attention.step(y, state))

    def state_numbers(self, frames: int) -> int:
        return self.attention.state_numbers(frames)
