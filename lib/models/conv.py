"""The hybrid's block: a Mamba branch and a grouped convolution branch side by side, fused by one linear layer."""
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear, frame_linear
from .mamba import Mamba, MambaState


class GroupedConv(nn.Module):
    """Grouped convolution over frames, (batch, frames, width) to the same.

    Padded on the left it is causal; with `look_ahead` it is centred, so each frame sees (kernel - 1) / 2 later ones.
    """

    def __init__(self, width: int, kernel: int = 3, groups: int = 8, look_ahead: bool = False):
        super().__init__()
        self.past = (kernel - 1) // 2 if look_ahead else kernel - 1
        self.future = kernel - 1 - self.past
        self.conv = nn.Conv1d(width, width, kernel, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(F.pad(x.transpose(1, 2), (self.past, self.future)))).transpose(1, 2)

    def initial_state(self, batch: int) -> Tensor:                      # the last kernel - 1 frames
        return self.conv.weight.new_zeros(batch, self.conv.in_channels, self.past)

    def state_after(self, x: Tensor) -> Tensor:
        """The state when the frames x, (batch, frames, width), have gone by."""
        return F.pad(x.transpose(1, 2), (self.past, 0))[..., x.shape[1]:]

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        window = torch.cat([state, x[..., None]], -1)                   # (batch, width, kernel)
        y = frame_linear(window.flatten(1), self.conv.weight.flatten(1), self.conv.bias, self.conv.groups)
        return F.relu(y), window[..., 1:]


@dataclass
class MambaConvState:
    mamba: MambaState
    conv: Tensor | None


class MambaConvBlock(nn.Module):
    """x + fuse(Mamba(x), Conv(x)), norm after (the seed) or before; without `kernel` it is a plain Mamba block."""

    def __init__(self, width: int, kernel: int | None, look_ahead: bool = False, pre_norm: bool = False,
                 d_inner: int | None = None):
        super().__init__()
        self.pre_norm = pre_norm
        self.mamba = Mamba(width, d_inner)
        self.conv = GroupedConv(width, kernel, look_ahead=look_ahead) if kernel else None
        self.fuse = Linear(2 * width, width) if kernel else None
        self.norm = nn.LayerNorm(width)

    def _wrap(self, x: Tensor, mamba, conv) -> Tensor:
        y = self.norm(x) if self.pre_norm else x
        z = self.fuse(torch.cat([mamba(y), conv(y)], -1)) if self.conv else mamba(y)
        return x + z if self.pre_norm else self.norm(x + z)

    def forward(self, x: Tensor, state: MambaConvState | None = None) -> Tensor:
        def conv(y: Tensor) -> Tensor:
            if state:
                state.conv = self.conv.state_after(y)
            return self.conv(y)
        return self._wrap(x, lambda y: self.mamba(y, state and state.mamba), conv)

    def initial_state(self, batch: int, frames: int = 0) -> MambaConvState:
        return MambaConvState(self.mamba.initial_state(batch), self.conv.initial_state(batch) if self.conv else None)

    def step(self, x: Tensor, state: MambaConvState) -> Tensor:
        def conv(y: Tensor) -> Tensor:
            out, state.conv = self.conv.step(y, state.conv)
            return out
        return self._wrap(x, lambda y: self.mamba.step(y, state.mamba), conv)

    def state_numbers(self, frames: int) -> int:
        return self.mamba.state_numbers(frames) + (self.conv.past * self.conv.conv.in_channels if self.conv else 0)
