"""The control: feed-forward layers on each frame alone. Where it does as well as a core, the task needs no core."""
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear


class PointwiseLayer(nn.Module):
    """x + feed-forward(norm(x)), (…, width) to the same; no frame sees another."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = Linear(width, hidden), Linear(hidden, width)

    def forward(self, x: Tensor, state: None = None) -> Tensor:
        return x + self.down(F.relu(self.up(self.norm(x))))

    def initial_state(self, batch: int, frames: int) -> None:
        return None

    def step(self, x: Tensor, state: None) -> Tensor:                   # (batch, width)
        return self(x)

    def state_numbers(self, frames: int) -> int:
        return 0
