"""The feed-forward of a layer: what it computes of each frame alone."""
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear


class FeedForward(nn.Module):
    """down(relu(up(x))), (…, width) to the same.

    Gated (SwiGLU; Shazeer 2020, https://arxiv.org/abs/2002.05202) it is down(silu(gate) · value) of gate, value = up(x),
    without biases: three matrices in place of two, so that two thirds of the hidden width weigh the same.
    """

    def __init__(self, width: int, hidden: int, gated: bool):
        super().__init__()
        self.gated = gated
        self.up = Linear(width, 2 * hidden if gated else hidden, bias=not gated)
        self.down = Linear(hidden, width, bias=not gated)

    def forward(self, x: Tensor) -> Tensor:
        if not self.gated:
            return self.down(F.relu(self.up(x)))
        gate, value = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * value)
