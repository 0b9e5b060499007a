"""The registry of sequence cores: the one variable of the comparison.

A core maps (batch, frames, width) to the same. In the causal regime it also runs frame by frame: `initial_state(batch,
frames)` makes room for that many frames, `forward(x, state)` leaves there what the frames after x need to know of x,
`step(frame, state)` takes (batch, width) and updates the state in place, and `state_bytes(frames)` says what the state
of one sequence weighs after so many frames.
"""
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from .attention import TransformerLayer
from .conv import ConvLayer
from .mamba_conv import MambaConvBlock
from .pointwise import PointwiseLayer


@dataclass(frozen=True)
class Size:
    width: int = 256
    text_width: int = 128
    positions: int | None = None    # learned positions in the shell; without them any length works


SIZES = {"seed": Size(positions=1000), "matched-3m": Size(), "matched-1m": Size(width=192, text_width=96)}


class Core(nn.Module):
    """A stack of layers, with a final norm where the layers are pre-norm."""

    def __init__(self, layers: list[nn.Module], width: int, pre_norm: bool, causal: bool):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width) if pre_norm else nn.Identity()
        self.causal = causal

    def forward(self, x: Tensor, state: list | None = None) -> Tensor:  # (batch, frames, width)
        for layer, layer_state in zip(self.layers, state or [None] * len(self.layers)):
            x = layer(x, layer_state)
        return self.norm(x)

    def initial_state(self, batch: int, frames: int) -> list:
        if not self.causal:
            raise ValueError("as reported, a core has no state: it must see the whole sequence at every step")
        return [layer.initial_state(batch, frames) for layer in self.layers]

    def step(self, x: Tensor, state: list) -> Tensor:                   # (batch, width)
        for layer, layer_state in zip(self.layers, state):
            x = layer.step(x, layer_state)
        return self.norm(x)

    def state_bytes(self, frames: int) -> int:
        """Bytes of float32 state of one sequence after `frames` frames."""
        return 4 * sum(layer.state_numbers(frames) for layer in self.layers)


def transformer(size: str, width: int, causal: bool) -> Core:
    layers, hidden, modern = {"seed": (6, 512, False), "matched-3m": (4, 1024, True), "matched-1m": (4, 512, True)}[size]
    return Core([TransformerLayer(width, 8, hidden, causal, modern, modern) for _ in range(layers)], width, modern, causal)


def transformer_conv(size: str, width: int, causal: bool) -> Core:
    hidden = {"matched-3m": 720, "matched-1m": 280}[size]
    return Core([TransformerLayer(width, 8, hidden, causal, True, True, kernel=3) for _ in range(4)], width, True, causal)


def mamba_conv(size: str, width: int, causal: bool, kernels: tuple[int, ...] = (3,),
               matched: tuple[int, ...] = (560,) * 5) -> Core:
    d_inners, modern = {"seed": ((512,), False), "matched-3m": (matched, True), "matched-1m": ((400, 400, 384, 384), True)}[size]
    return Core([MambaConvBlock(width, kernels, not causal, modern, d) for d in d_inners], width, modern, causal)


def mamba(size: str, width: int, causal: bool) -> Core:
    layers, d_inner, modern = {"seed": (1, 512, False), "matched-3m": (7, 528, True), "matched-1m": (6, 352, True)}[size]
    return Core([MambaConvBlock(width, (), False, modern, d_inner) for _ in range(layers)], width, modern, causal)


def conv(size: str, width: int, causal: bool) -> Core:
    """Output t is made of frames t - 48 to t, two thirds of a second; at every size the transformer's parameters."""
    hidden = {"seed": 656, "matched-3m": 656, "matched-1m": 360}[size]
    return Core([ConvLayer(width, 7, hidden) for _ in range(8)], width, True, causal)


def pointwise(size: str, width: int, causal: bool) -> Core:
    """Output t is made of frame t; at every size the transformer's parameters."""
    hidden = {"seed": 1536, "matched-3m": 1536, "matched-1m": 896}[size]
    return Core([PointwiseLayer(width, hidden) for _ in range(4)], width, True, causal)


# two convolutions, of the widths that the hybrid's author tried later, in place of one; 16 divides every d_inner, else
# a row of a batch would lose the very bits that it has alone (torch takes what is left over by another softplus)
WIDER = {
    "mamba_conv_3_5": partial(mamba_conv, kernels=(3, 5), matched=(432,) * 5),
    "mamba_conv_5_7": partial(mamba_conv, kernels=(5, 7), matched=(400, 400, 400, 384, 384)),
    "mamba_conv_7_9": partial(mamba_conv, kernels=(7, 9), matched=(352,) * 5),
    "mamba_conv_9_11": partial(mamba_conv, kernels=(9, 11), matched=(320,) * 5),
}
CORES: dict[str, Callable[[str, int, bool], Core]] = {
    "transformer": transformer,
    "mamba_conv": mamba_conv,
    "mamba": mamba,
    "conv": conv,
    "transformer_conv": transformer_conv,
    "pointwise": pointwise,
    **WIDER,
}
AS_REPORTED = ("transformer", "mamba_conv")     # the seed's cores; the others are causal alone
# ablations, which ask for equal parameters
LACKING: dict[str, tuple[str, ...]] = {"seed": ("transformer_conv", *WIDER), "matched-1m": tuple(WIDER)}


def build_core(name: str, size: str, causal: bool) -> Core:
    """The core of that name and size; one line of error where either is unknown, or they do not go together."""
    if name not in CORES:
        raise ValueError(f"no core {name!r}: choose one of {', '.join(CORES)}")
    if size not in SIZES:
        raise ValueError(f"no size {size!r}: choose one of {', '.join(SIZES)}")
    if name in LACKING.get(size, ()):
        raise ValueError(f"the core {name} has no size {size}: choose matched-3m")
    if not causal and name not in AS_REPORTED:
        raise ValueError(f"the core {name} has no regime as_reported: choose causal")
    return CORES[name](size, SIZES[size].width, causal)
