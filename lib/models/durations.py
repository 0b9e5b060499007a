"""How long each span of a text takes to say: a small convolutional network over its symbols."""
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Durations(nn.Module):
    """Symbols (batch, symbols), padded with `vocabulary`, to the frames that each takes, (batch, symbols), 0 or more."""

    def __init__(self, vocabulary: int, width: int = 128, kernel: int = 5, layers: int = 3):
        super().__init__()
        self.padding = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, width, padding_idx=vocabulary)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.out = nn.Linear(width, 1)

    def forward(self, symbols: Tensor) -> Tensor:
        present = (symbols != self.padding)[..., None]
        x = self.embedding(symbols)                                     # (batch, symbols, width)
        for layer, norm in zip(self.layers, self.norms):
            x = x + F.relu(norm(layer((x * present).mT).mT))
        return (F.softplus(self.out(x)) * present)[..., 0]


def span_frames(frames: Tensor, span: Tensor, spans: int) -> Tensor:
    """Frames of each span (batch, spans), from those of its symbols (batch, symbols); `span` says whose each is."""
    return frames.new_zeros(len(frames), spans).scatter_add(1, span, frames)


def duration_loss(predicted: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute difference of the logarithms, half a frame added: a short span weighs as much as a long one."""
    return (torch.log(predicted + 0.5) - torch.log(frames + 0.5)).abs().mean()
