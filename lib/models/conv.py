"""Grouped convolution over frames, and the layer of the core that has nothing else to mix them."""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .feed_forward import FeedForward
from .linear import frame_linear
from .norm import norm


class GroupedConv(nn.Module):
    """Grouped convolution over frames and a ReLU, (batch, frames, width) to the same.

    Padded on the left it is causal; with `look_ahead` it is centred, so each frame sees (kernel - 1) / 2 later ones.
    """

    def __init__(self, width: int, kernel: int, groups: int = 8, look_ahead: bool = False):
        super().__init__()
        self.past = (kernel - 1) // 2 if look_ahead else kernel - 1
        self.future = kernel - 1 - self.past
        self.conv = nn.Conv1d(width, width, kernel, groups=groups)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        x = F.pad(x.transpose(1, 2), (self.past, self.future))          # (batch, width, past + frames + future)
        if state is not None:
            state.copy_(x[..., x.shape[2] - self.past:])
        return F.relu(self.conv(x)).transpose(1, 2)

    def initial_state(self, batch: int, frames: int = 0) -> Tensor:     # the last kernel - 1 frames
        return self.conv.weight.new_zeros(batch, self.conv.in_channels, self.past)

    def step(self, x: Tensor, state: Tensor) -> Tensor:                 # (batch, width)
        window = torch.cat([state, x[..., None]], -1)                   # (batch, width, kernel)
        state.copy_(window[..., 1:])
        return F.relu(frame_linear(window.flatten(1), self.conv.weight.flatten(1), self.conv.bias, self.conv.groups))

    def state_numbers(self, frames: int) -> int:
        return self.past * self.conv.in_channels


class ConvLayer(nn.Module):
    """x + feed-forward(convolution(norm(x))), causal: each layer sees kernel - 1 frames further back."""

    def __init__(self, width: int, kernel: int, hidden: int, recipe: tuple[str, ...] = ()):
        super().__init__()
        self.norm, self.conv = norm(width, recipe), GroupedConv(width, kernel)
        self.feed_forward = FeedForward(width, hidden, "swiglu" in recipe)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        return x + self.feed_forward(self.conv(self.norm(x), state))

    def initial_state(self, batch: int, frames: int) -> Tensor:
        return self.conv.initial_state(batch, frames)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return x + self.feed_forward(self.conv.step(self.norm(x), state))

    def state_numbers(self, frames: int) -> int:
        return self.conv.state_numbers(frames)

    def writers(self) -> list[nn.Linear]:
        return [self.feed_forward.down]
