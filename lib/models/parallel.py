"""Ways of mixing frames side by side, fused by one linear layer."""
import torch
from torch import Tensor, nn

from .linear import Linear


class Parallel(nn.Module):
    """fuse(branch(x), branch(x), …), (batch, frames, width) to the same; a branch alone is left as it is.

    A branch has what a layer of a core has; the state is the list of theirs.
    """

    def __init__(self, width: int, **branches: nn.Module):
        super().__init__()
        self.names = tuple(branches)
        for name, branch in branches.items():
            self.add_module(name, branch)
        self.fuse = Linear(len(branches) * width, width) if len(branches) > 1 else None

    @property
    def branches(self) -> list[nn.Module]:
        return [getattr(self, name) for name in self.names]

    def _fuse(self, ys: list[Tensor]) -> Tensor:
        return self.fuse(torch.cat(ys, -1)) if self.fuse else ys[0]

    def forward(self, x: Tensor, state: list | None = None) -> Tensor:
        return self._fuse([branch(x, part) for branch, part in zip(self.branches, state or [None] * len(self.names))])

    def initial_state(self, batch: int, frames: int) -> list:
        return [branch.initial_state(batch, frames) for branch in self.branches]

    def step(self, x: Tensor, state: list) -> Tensor:                   # (batch, width)
        return self._fuse([branch.step(x, part) for branch, part in zip(self.branches, state)])

    def state_numbers(self, frames: int) -> int:
        return sum(branch.state_numbers(frames) for branch in self.branches)
