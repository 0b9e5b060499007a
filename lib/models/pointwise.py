"""The control: feed-forward layers on each frame alone. Where it does as well as a core, the task needs no core."""
from torch import Tensor, nn

from .feed_forward import FeedForward
from .norm import norm


class PointwiseLayer(nn.Module):
    """x + feed-forward(norm(x)), (…, width) to the same; no frame sees another."""

    def __init__(self, width: int, hidden: int, recipe: tuple[str, ...] = ()):
        super().__init__()
        self.norm, self.feed_forward = norm(width, recipe), FeedForward(width, hidden, "swiglu" in recipe)

    def forward(self, x: Tensor, state: None = None) -> Tensor:
        return x + self.feed_forward(self.norm(x))

    def initial_state(self, batch: int, frames: int) -> None:
        return None

    def step(self, x: Tensor, state: None) -> Tensor:                   # (batch, width)
        return self(x)

    def state_numbers(self, frames: int) -> int:
        return 0

    def writers(self) -> list[nn.Linear]:
        return [self.feed_forward.down]
