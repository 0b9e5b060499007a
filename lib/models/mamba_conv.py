"""The hybrid's block: a Mamba branch and grouped convolution branches side by side, fused by one linear layer."""
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from .conv import GroupedConv
from .mamba import BothWays, Mamba
from .norm import norm
from .parallel import Parallel


class MambaConvBlock(Parallel):
    """x + fuse(Mamba(x), Conv(x), …), a convolution for each of `kernels`, norm after (the seed) or before; without
    kernels it is a plain Mamba block. With `look_ahead` convolutions are centred, and a Mamba without any goes both ways."""

    def __init__(self, width: int, kernels: tuple[int, ...], look_ahead: bool = False, pre_norm: bool = False,
                 d_inner: int | None = None, d_state: int = 16, recipe: tuple[str, ...] = ()):
        mamba = Mamba if kernels or not look_ahead else BothWays
        super().__init__(width, mamba=mamba(width, d_inner, d_state),   # conv, conv1, …
                         **{f"conv{i or ''}": GroupedConv(width, kernel, look_ahead=look_ahead)
                            for i, kernel in enumerate(kernels)})
        self.pre_norm = pre_norm
        self.norm = norm(width, recipe)

    def _wrap(self, x: Tensor, mix: Callable[[Tensor], Tensor]) -> Tensor:
        return x + mix(self.norm(x)) if self.pre_norm else self.norm(x + mix(x))

    def forward(self, x: Tensor, state: list | None = None) -> Tensor:
        return self._wrap(x, partial(super().forward, state=state))

    def step(self, x: Tensor, state: list) -> Tensor:
        return self._wrap(x, partial(super().step, state=state))

    def writers(self) -> list[nn.Linear]:
        return [self.fuse] if self.fuse else self.mamba.writers()
