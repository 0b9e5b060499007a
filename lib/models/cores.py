"""The registry of sequence cores: the one variable of the comparison.

A core maps (batch, frames, width) to the same. In the causal regime it also runs frame by frame: `initial_state(batch,
frames)` makes room for that many frames, `forward(x, state)` leaves there what the frames after x need to know of x,
`step(frame, state)` takes (batch, width) and updates the state in place, in tensors that stay where they are, so that a GPU
can record it, and `state_bytes(frames)` says what the state of one sequence weighs after so many frames. Its layers have
the same, and `writers()`: the linear maps whose outputs they add to what goes through.
"""
import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial

import torch
from torch import Tensor, nn

from ..config import RECIPE, WIDTHS, Study
from .attention import Attention, TransformerLayer
from .conv import ConvLayer
from .mamba2 import Mamba2Block
from .mamba_conv import MambaConvBlock
from .norm import norm
from .pointwise import PointwiseLayer


@dataclass(frozen=True)
class Size:
    width: int = 256
    text_width: int = 128
    positions: int | None = None    # learned positions in the shell; without them any length works


SIZES = {"seed": Size(positions=1000), "matched-3m": Size(), "matched-1m": Size(width=192, text_width=96)}


class Core(nn.Module):
    """A stack of layers, with a final norm where the layers are pre-norm."""

    def __init__(self, layers: list[nn.Module], width: int, causal: bool, recipe: tuple[str, ...]):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm(width, recipe) if getattr(layers[-1], "pre_norm", True) else nn.Identity()
        self.causal = causal
        if "scaled_init" in recipe:
            scale_writers(layers)
        self.register_load_state_dict_pre_hook(_rename)

    def forward(self, x: Tensor, state: list | None = None) -> Tensor:  # (batch, frames, width)
        for layer, layer_state in zip(self.layers, state or [None] * len(self.layers)):
            x = layer(x, layer_state)
        return self.norm(x)

    def initial_state(self, batch: int, frames: int) -> list:
        if not self.causal:
            raise ValueError("as reported, or masked, a core has no state: it must see the whole sequence at every step")
        return [layer.initial_state(batch, frames) for layer in self.layers]

    def step(self, x: Tensor, state: list) -> Tensor:                   # (batch, width)
        for layer, layer_state in zip(self.layers, state):
            x = layer.step(x, layer_state)
        return self.norm(x)

    def state_bytes(self, frames: int) -> int:
        """Bytes of float32 state of one sequence after `frames` frames."""
        return 4 * sum(layer.state_numbers(frames) for layer in self.layers)


@torch.no_grad()
def scale_writers(layers: list[nn.Module]) -> None:
    """What N linear maps add to the residual stream starts at 1 / √N of it, as in GPT-2 (Radford et al. 2019, section 2.3)
    and in mamba_ssm; other weights keep nn.Linear's variance, 1 / 3 width, which at GPT-2's width of 768 is its 0.02²."""
    writers = [writer for layer in layers for writer in layer.writers()]
    for writer in writers:
        for parameter in writer.parameters():
            parameter /= math.sqrt(len(writers))


def _rename(core: Core, weights: dict[str, Tensor], prefix: str, *_) -> None:
    """Weights from before the feed-forward was a module lack its name."""
    for name in list(weights):
        if old := re.fullmatch(rf"({re.escape(prefix)}layers\.\d+\.)((?:up|down)\..*)", name):
            weights[f"{old[1]}feed_forward.{old[2]}"] = weights.pop(name)


@dataclass(frozen=True)
class Shape:
    """How large the layers of a core are at one size."""
    layers: int
    hidden: tuple[int, int] = (0, 0)                            # of a feed-forward: plain, and gated
    channels: dict[int, int] = field(default_factory=dict)      # of all Mambas together, by their states, the usual first


@dataclass(frozen=True)
class Options:
    """What a core's layers have in common."""
    width: int
    causal: bool
    modern: bool        # not the original report's: norms before
    recipe: tuple[str, ...]
    window: int | None
    state: int
    rotary: bool

    @property
    def gated(self) -> bool:
        return "swiglu" in self.recipe


def split(channels: int, parts: int) -> list[int]:
    """Channels in even parts, the larger first. 16 divides each, else a row of a batch would lose the very bits that it
    has alone: torch takes what is left over by another softplus."""
    return [16 * (channels // 16 // parts + (part < channels // 16 % parts)) for part in range(parts)]


def transformer(shape: Shape, o: Options, kernel: int | None = None) -> list[nn.Module]:
    return [TransformerLayer(o.width, 8, shape.hidden[o.gated], o.causal, o.modern, o.rotary, kernel, o.recipe, o.window)
            for _ in range(shape.layers)]


def mamba_conv(shape: Shape, o: Options, kernels: tuple[int, ...]) -> list[nn.Module]:
    return [MambaConvBlock(o.width, kernels, not o.causal, o.modern, d_inner, o.state, o.recipe)
            for d_inner in split(shape.channels[o.state], shape.layers)]


def mamba2(shape: Shape, o: Options) -> list[nn.Module]:
    """Heads of 64 channels, as in the paper, or of 32 where those do not fill a layer."""
    return [Mamba2Block(o.width, d_inner, o.state, 32 if d_inner % 64 else 64, o.recipe)
            for d_inner in split(shape.channels[o.state], shape.layers)]


def conv(shape: Shape, o: Options) -> list[nn.Module]:
    """Output t is made of frames t - 48 to t, two thirds of a second."""
    return [ConvLayer(o.width, 7, shape.hidden[o.gated], o.recipe) for _ in range(shape.layers)]


def pointwise(shape: Shape, o: Options) -> list[nn.Module]:
    """Output t is made of frame t."""
    return [PointwiseLayer(o.width, shape.hidden[o.gated], o.recipe) for _ in range(shape.layers)]


def interleaved(shape: Shape, o: Options) -> list[nn.Module]:
    """Attention in the third of four layers, Mamba in the others (MamTra's 1 to 3, https://arxiv.org/abs/2603.12342), never
    first (https://arxiv.org/abs/2510.04800). A feed-forward follows each, as in https://arxiv.org/abs/2406.07887: so it is
    the transformer with Mamba in the place of most of its attention, and nothing else differs."""
    d_inners, layers = iter(split(shape.channels[o.state], shape.layers - shape.layers // 4)), []
    for i in range(shape.layers):
        if i % 4 == 2:
            layers += transformer(replace(shape, layers=1), o)
        else:
            layers += [MambaConvBlock(o.width, (), False, o.modern, next(d_inners), o.state, o.recipe),
                       PointwiseLayer(o.width, shape.hidden[o.gated], o.recipe)]
    return layers


# What makes a core's layers, and their shape at each size that it has. At a matched size all weigh the same, whatever the
# recipe and the state; conv and pointwise at the original report's too, where they have the transformer's parameters.
CORES: dict[str, tuple[Callable[[Shape, Options], list[nn.Module]], dict[str, Shape]]] = {
    "transformer": (transformer, {
        "seed": Shape(6, (512, 0)),
        "matched-3m": Shape(4, (1024, 688)),
        "matched-1m": Shape(4, (512, 344))}),
    "mamba_conv": (partial(mamba_conv, kernels=WIDTHS["mamba_conv"]), {
        "seed": Shape(1, channels={16: 512}),
        "matched-3m": Shape(5, channels={16: 2800, 4: 2912, 64: 2384}),
        "matched-1m": Shape(4, channels={16: 1568, 4: 1664, 64: 1296})}),
    "mamba": (partial(mamba_conv, kernels=()), {
        "seed": Shape(1, channels={16: 512}),
        "matched-3m": Shape(7, channels={16: 3696, 4: 3856, 64: 3168}),
        "matched-1m": Shape(6, channels={16: 2112, 4: 2240, 64: 1728})}),
    "mamba2": (mamba2, {
        "matched-3m": Shape(5, channels={64: 3840}),
        "matched-1m": Shape(4, channels={64: 2176})}),
    "interleaved": (interleaved, {
        "matched-3m": Shape(4, (768, 512), {16: 1536, 4: 1616, 64: 1328}),
        "matched-1m": Shape(4, (312, 208), {16: 1152, 4: 1216, 64: 944})}),
    "conv": (conv, {
        "seed": Shape(8, (656, 0)),
        "matched-3m": Shape(8, (656, 440)),
        "matched-1m": Shape(8, (360, 244))}),
    "transformer_conv": (partial(transformer, kernel=3), {
        "matched-3m": Shape(4, (720, 480)),
        "matched-1m": Shape(4, (280, 192))}),
    "pointwise": (pointwise, {
        "seed": Shape(4, (1536, 0)),
        "matched-3m": Shape(4, (1536, 1024)),
        "matched-1m": Shape(4, (896, 600))}),
    # two convolutions, of the widths that the hybrid's author tried later, in place of one
    **{name: (partial(mamba_conv, kernels=WIDTHS[name]), {"matched-3m": Shape(5, channels={16: channels})})
       for name, channels in (("mamba_conv_3_5", 2160), ("mamba_conv_5_7", 1968), ("mamba_conv_7_9", 1760),
                              ("mamba_conv_9_11", 1600))},
}
WIDER = tuple(name for name, kernels in WIDTHS.items() if len(kernels) > 1)
AS_REPORTED = ("transformer", "mamba_conv")     # the original report's cores
TWO_WAY = (*AS_REPORTED, "mamba", "pointwise")  # that can do without a direction; the others are causal alone
LACKING = {size: tuple(name for name, (_, shapes) in CORES.items() if size not in shapes) for size in SIZES}


def build_core(name: str, size: str, causal: bool, recipe: tuple[str, ...] = (), window: int | None = None,
               state: int | None = None, layers: int | None = None, rotary: bool = True) -> Core:
    """The core of that name and size; one line of error where anything is unknown, or does not go together."""
    if name not in CORES:
        raise ValueError(f"no core {name!r}: choose one of {', '.join(CORES)}")
    if size not in SIZES:
        raise ValueError(f"no size {size!r}: choose one of {', '.join(SIZES)}")
    make, shapes = CORES[name]
    if size not in shapes:
        raise ValueError(f"the core {name} has no size {size}: choose {' or '.join(shapes)}")
    if not causal and name not in TWO_WAY:
        raise ValueError(f"the core {name} goes one way: choose the regime causal")
    if unknown := [part for part in recipe if part not in RECIPE]:
        raise ValueError(f"no {unknown[0]!r} in a recipe: choose from {', '.join(RECIPE)}")
    modern, shape, width = size != "seed", shapes[size], SIZES[size].width
    if recipe and not modern:
        raise ValueError("the size seed is as the original report had it: take a matched size for a recipe")
    if state is not None and state not in shape.channels:
        raise ValueError(f"the core {name} has no state of {state} at size {size}: "
                         f"choose {' or '.join(map(str, shape.channels)) or 'a core with Mamba'}")
    if window is not None and (window < 1 or not causal):
        raise ValueError(f"a window of {window} frames: give 1 or more, and the regime causal")
    options = Options(width, causal, modern, recipe, window, state or next(iter(shape.channels), 0), rotary and modern)
    if not (rotary or modern):
        raise ValueError("the size seed has the original report's learned positions: take a matched size to leave positions out")
    if layers is not None:
        shape = with_layers(name, size, options, layers)
    core = Core(make(shape, options), width, causal, recipe)
    if (window or not rotary) and not attends(core):
        raise ValueError(f"the core {name} has no attention, so no {'window' if window else 'positions to leave out'}: leave it out")
    return core


def with_layers(name: str, size: str, o: Options, layers: int) -> Shape:
    """The shape of a core of so many layers that weighs what the usual one does: its Mambas, or where it has none its
    feed-forwards, are wider or narrower."""
    make, shapes = CORES[name]
    usual = shapes[size]

    def shape(part: int) -> Shape:                                      # all Mambas of 16 channels a part, hidden of 4
        return (replace(usual, layers=layers, channels={o.state: 16 * part}) if usual.channels else
                replace(usual, layers=layers, hidden=(4 * part, 4 * part)))

    def parameters(shape: Shape) -> int:
        return sum(p.numel() for layer in make(shape, o) for p in layer.parameters())

    if layers < 1 or name == "interleaved" and layers % 4:
        raise ValueError(f"{layers} layers of the core {name}: give {'4, 8, 12, …' if name == 'interleaved' else '1 or more'}")
    with torch.device("meta"):                                          # linear in the parts
        one, two = (parameters(shape(parts)) for parts in (2 * layers, 4 * layers))
        parts = round(2 * layers * (1 + (parameters(usual) - one) / (two - one)))
    if parts < layers:
        raise ValueError(f"{layers} layers of the core {name} have no room at size {size}: take fewer")
    return shape(parts)


def attends(core: Core) -> bool:
    return any(isinstance(part, Attention) for part in core.modules())


@cache
def has(name: str, size: str, **options) -> bool:
    """Whether a core can be built with some options (window, state, layers, rotary)."""
    with torch.device("meta"), suppress(ValueError):
        return bool(build_core(name, size, causal=True, **options))
    return False


def options(study: Study, name: str, size: str) -> dict:
    """What a study asks of a core beside its name and size: of the size seed nothing, of attention a window, of Mamba a
    state."""
    if size == "seed" or name not in CORES or size not in CORES[name][1]:   # which build_core says
        return {}
    window = study.window if has(name, size, window=1) else None
    return {"recipe": study.recipe, "window": window, "state": study.state if CORES[name][1][size].channels else None}
