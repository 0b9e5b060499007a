"""What training and decoding take, predicted from the shape of a model and a few figures of a machine.

A model is a list of kernels: so many FLOPs, so many numbers read or written. A kernel takes its launch and then what takes longer,
to compute or to move (the roofline: Williams, Waterman & Patterson 2009, https://doi.org/10.1145/1498765.1498785); kernels run one
after the other. Kernels are those that PyTorch launches for lib.models, where Mamba's short convolution and its scan with the gate
are one each; what caches save is left out, and so is whatever keeps a kernel from the machine's rate.
"""
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from .cost import EXP_FLOPS, attention_flops, scan_flops, ssd_flops

D_CONV, CHUNK, GROUPS = 4, 64, 8    # of Mamba's short convolution, of its scan (a state is saved so often), of grouped convolutions
SIGMOID = EXP_FLOPS + 3             # 1 / (1 + exp(-|x|))
SOFTPLUS = EXP_FLOPS + 15           # max(x, 0) + log1p(exp(-|x|)), of which a polynomial of a quotient takes 12


@dataclass(frozen=True)
class Machine:
    name: str
    product: float          # FLOPs a second of matrix products
    vector: float           # FLOPs a second of all else
    bandwidth: float        # bytes a second
    launch: float           # seconds from a kernel to the next, in training
    replay: float           # and in decoding
    width: int              # bytes of a number; the optimiser's are float32
    fused: bool             # whether decoding takes attention, and Mamba, of one frame in one kernel


# SXM5: dense bf16 on tensor cores, float32 elsewhere, HBM3 (https://www.nvidia.com/en-us/data-center/h100/). Launches are what
# NVIDIA measured on a V100 beyond a kernel's own 2.9 µs: 0.9 µs one by one, 0.5 µs replayed as a graph
# (https://developer.nvidia.com/blog/cuda-graphs/).
H100 = Machine("H100", 989e12, 67e12, 3.35e12, 0.9e-6, 0.5e-6, 2, False)


@dataclass(frozen=True)
class Kernel:
    flops: float = 0
    numbers: float = 0      # read and written
    float32: float = 0      # more of them, of this width on every machine
    product: bool = False   # of matrices


Kernels = list[Kernel]
Pass = tuple[Kernels, Kernels]      # forward, backward


def seconds(kernels: Iterable[Kernel], machine: Machine, launch: float) -> float:
    return sum(launch + max(k.flops / (machine.product if k.product else machine.vector),
                            (machine.width * k.numbers + 4 * k.float32) / machine.bandwidth) for k in kernels)


def moves(*numbers: float) -> Kernels:
    """Kernels that are bound by what they move."""
    return [Kernel(numbers=n) for n in numbers]


def one(kernels: Kernels) -> Kernels:
    """All of them as a single kernel."""
    return [Kernel(*(sum(getattr(k, name) for k in kernels) for name in ("flops", "numbers", "float32")))]


def join(*passes: Pass) -> Pass:
    return [k for forward, _ in passes for k in forward], [k for _, backward in passes for k in backward]


def linear(rows: int, inputs: int, outputs: int, bias: bool = True) -> Pass:
    """Rows (rows, inputs) to (rows, outputs); backward has a product for the gradient of each factor, and a sum for the bias."""
    product = Kernel(2 * rows * inputs * outputs, rows * (inputs + outputs) + inputs * outputs, product=True)
    return [product], [product, product, *moves(rows * outputs)[:bias]]


def frame_linear(batch: int, inputs: int, outputs: int) -> Kernels:
    return linear(batch, inputs, outputs)[0]


def convolution(rows: int, channels: int) -> Pass:
    """Mamba's short one and the silu after it, each of one kernel, and sums over sequences of the gradients of its weights."""
    n = rows * channels
    return ([Kernel((2 * D_CONV + SIGMOID + 1) * n, 2 * n)],
            [Kernel((6 * D_CONV + SIGMOID + 6) * n, 3 * n), *moves(0, 0)])


def conv_step(channels: int) -> Kernels:
    """The same of one frame on a state, as PyTorch takes it."""
    return moves(*(n * channels for n in (2 * D_CONV, 2 * (D_CONV - 1), 2 * D_CONV, D_CONV, 2, 2)))


def norm(rows: int, width: int) -> Pass:
    """LayerNorm: backward reads x and its gradient once for x and once for the weights."""
    return moves(2 * rows * width), moves(5 * rows * width)


def residual(rows: int, width: int) -> Pass:
    """x + f(x), and the sum of two gradients of x."""
    return moves(3 * rows * width), moves(3 * rows * width)


@dataclass(frozen=True)
class Layer:
    """x + mix(norm(x)), then x + feed-forward(norm(x)), where the layer has them. Attention, Mamba and grouped convolutions lie
    side by side, fused by a linear map where they are several. A convolution alone has no norm between it and the feed-forward."""
    width: int
    attends: bool = False
    rotary: bool = True
    window: int | None = None       # frames that attention reads; None: all
    channels: int = 0               # of Mamba
    states: int = 16                # of a channel
    convolutions: tuple[int, ...] = ()      # their kernels
    hidden: int = 0                 # of the feed-forward
    gated: bool = False

    @property
    def rank(self) -> int:
        return math.ceil(self.width / 16)

    @property
    def branches(self) -> int:
        return self.attends + bool(self.channels) + len(self.convolutions)

    @property
    def residuals(self) -> int:
        return (self.attends or bool(self.channels)) + bool(self.hidden)

    @property
    def parameters(self) -> int:
        w, d, n, h = self.width, self.channels, self.states, self.hidden
        attention = self.attends * (4 * w * w + 4 * w)
        mamba = d * (3 * w + D_CONV + 1 + 2 * self.rank + 2 * n + 1 + n + 1)
        fused = (self.branches > 1) * (self.branches * w + 1) * w
        feed_forward = 3 * w * h if self.gated else 2 * w * h + h + w if h else 0
        return attention + mamba + fused + feed_forward + 2 * w * self.residuals + sum(
            w * w * k // GROUPS + w for k in self.convolutions)

    def state(self, frames: int) -> int:
        """Numbers that decoding keeps of one sequence after so many frames."""
        attention = self.attends * 2 * self.width * min(frames, self.window or frames)
        return attention + self.channels * (self.states + D_CONV - 1) + sum(k - 1 for k in self.convolutions) * self.width

    def training(self, batch: int, frames: int) -> Pass:
        rows, w, parts = batch * frames, self.width, []
        if self.attends:
            parts.append(self._attention(batch, frames))
        if self.channels:
            parts.append(self._mamba(batch, frames))
        parts += [self._convolution(rows, k) for k in self.convolutions]
        if self.branches > 1:
            more = self.branches - 1                                    # gradients of what all of them read
            parts += [(moves(2 * self.branches * rows * w), moves(*[3 * rows * w] * more)), linear(rows, self.branches * w, w)]
        if self.hidden:
            parts.append(self._feed_forward(rows))
        return join(*parts, *[norm(rows, w), residual(rows, w)] * self.residuals)

    def _attention(self, batch: int, frames: int) -> Pass:
        """Products, rotary positions between them; the fused kernel reads q, k, v and writes y, two of seven products forward."""
        rows, w = batch * frames, self.width
        flops = attention_flops(batch, frames, w)
        if self.window and self.window < frames:
            flops -= attention_flops(batch, frames - self.window, w)
        n = rows * w
        turn = (moves(*[2 * n, 2 * n, 3 * n] * 2), moves(*[2 * n, 2 * n, 2 * n, 3 * n] * 2)) if self.rotary else ([], [])
        fused = [Kernel(flops * 2 / 7, 4 * n, product=True)], [Kernel(flops * 5 / 7, 8 * n, product=True), *moves(6 * n)]
        return join(linear(rows, w, 3 * w), turn, fused, linear(rows, w, w))

    def _mamba(self, batch: int, frames: int) -> Pass:
        rows, w, d, n = batch * frames, self.width, self.channels, self.states
        forward, both = scan_flops(batch, frames, d, n, backward=False), scan_flops(batch, frames, d, n)
        step, gate = SOFTPLUS + 1, SIGMOID + 2                          # softplus(dt + bias); y silu(z)
        forward, both = forward + rows * d * (step + gate + 2), both + rows * d * (2 * step + gate + 2 + 2 * SIGMOID + 21)
        saved, selected = rows * d * n / CHUNK, self.rank + 2 * n       # states at the start of chunks; dt, B and C
        decay = moves(2 * d * n, 2 * d * n), moves(3 * d * n, 2 * d * n)            # A = -exp(A_log)
        scan = ([Kernel(forward, rows * (4 * d + 2 * n) + saved)],
                [Kernel(both - forward, rows * (7 * d + 4 * n) + saved), *moves(*[0] * 5)])     # and sums over sequences and blocks
        gradients = [], moves(3 * rows * w, 4 * w * d, 3 * rows * d, 2 * rows * selected)       # added up, and put together
        return join(linear(rows, w, d, False), linear(rows, w, d, False), convolution(rows, d), linear(rows, d, selected, False),
                    linear(rows, self.rank, d, False), decay, scan, gradients, linear(rows, d, w, False))

    def _convolution(self, rows: int, kernel: int) -> Pass:
        """Padding, a product of each group, a ReLU."""
        n, weights = rows * self.width, self.width ** 2 * kernel // GROUPS
        product = Kernel(2 * rows * weights, 2 * n + weights, product=True)
        return [*moves(2 * n), product, *moves(2 * n)], [*moves(3 * n), product, product, *moves(n, 2 * n)]

    def _feed_forward(self, rows: int) -> Pass:
        w, h = self.width, self.hidden
        n = rows * h
        act = (moves(2 * n, 3 * n), moves(3 * n, 3 * n, 3 * n, 4 * n)) if self.gated else (moves(2 * n), moves(3 * n))
        return join(linear(rows, w, (1 + self.gated) * h, not self.gated), act, linear(rows, h, w, not self.gated))

    def decoding(self, batch: int, frames: int, fused: bool) -> Kernels:
        """Of one frame of each sequence, after so many."""
        w, parts, through = self.width, [], partial(frame_linear, batch)
        whole = one if fused else list
        if self.attends:
            read, turn = batch * w * min(frames, self.window or frames), moves(*[2 * batch * w, 2 * batch * w, 3 * batch * w] * 2)
            parts += whole([*through(w, 3 * w), *turn * self.rotary, *moves(4 * batch * w, 4 * batch * w, 0, 0, 0),
                            Kernel(4 * read, 2 * read, product=not fused), *through(w, w)])
        if self.channels:
            parts += whole(self._mamba_step(batch, fused))
        for kernel in self.convolutions:
            n, weights = batch * w, w * w * kernel // GROUPS
            product = Kernel(2 * batch * weights, weights + (kernel + 1) * n, product=True)
            parts += [*moves(2 * kernel * n, 2 * (kernel - 1) * n), product, *moves(2 * n)]
        if self.branches > 1:
            parts += [*moves(2 * self.branches * batch * w), *through(self.branches * w, w)]
        if self.hidden:
            h = batch * self.hidden
            act = moves(*[2 * h, 3 * h][:1 + self.gated])
            parts += [*through(w, (1 + self.gated) * self.hidden), *act, *through(self.hidden, w)]
        return parts + moves(*[2 * batch * w, 3 * batch * w] * self.residuals)

    def _mamba_step(self, batch: int, fused: bool) -> Kernels:
        w, d, n, through = self.width, batch * self.channels, self.states, partial(frame_linear, batch)
        kept = d * n
        state = ([Kernel(scan_flops(batch, 1, self.channels, n, backward=False), 2 * kept)] if fused else
                 moves(kept, 2 * kept, 3 * kept, 3 * d, kept, 3 * kept, 2 * kept, kept, 2 * d, 3 * d, 2 * kept))
        return [*through(w, 2 * self.channels), *conv_step(d), *through(self.channels, self.rank + 2 * n),
                *through(self.rank, self.channels), *moves(2 * d), *state, *moves(2 * d, 3 * d), *through(self.channels, w)]


@dataclass(frozen=True)
class Mamba2Layer(Layer):
    """x + Mamba-2(norm(x)). Its scan is counted as lib.metrics.cost.ssd_flops has it, which is not how a GPU takes it."""
    heads: int = 1

    @property
    def convolved(self) -> int:
        """Channels of the short convolution: x, B and C."""
        return self.channels + 2 * self.states

    @property
    def parameters(self) -> int:
        w, d = self.width, self.channels
        return w * (d + self.convolved + self.heads) + (D_CONV + 1) * self.convolved + 3 * self.heads + d + d * w + 2 * w

    def state(self, frames: int) -> int:
        return self.channels * self.states + (D_CONV - 1) * self.convolved

    def _mamba(self, batch: int, frames: int) -> Pass:
        rows, w, d, n = batch * frames, self.width, self.channels, self.states
        inputs, heads = d + self.convolved + self.heads, rows * self.heads
        forward, both = ssd_flops(batch, frames, d, n, backward=False), ssd_flops(batch, frames, d, n)
        saved = rows * d * n / CHUNK
        delta = moves(2 * heads, 2 * heads), moves(3 * heads, heads)
        scan = ([*moves(0, 0), Kernel(forward, rows * (2 * d + 2 * n) + saved)],
                [Kernel(both - forward, rows * (3 * d + 4 * n) + saved), *moves(*[0] * 7)])
        gate = moves(2 * rows * d, 3 * rows * d), moves(3 * rows * d, 3 * rows * d, 3 * rows * d)
        gradients = [], moves(2 * rows * inputs, 2 * rows * self.convolved)             # put together
        return join(linear(rows, w, inputs, False), delta, convolution(rows, self.convolved), scan, gate, norm(rows, d), gradients,
                    linear(rows, d, w, False))

    def _mamba_step(self, batch: int, fused: bool) -> Kernels:
        w, d, kept, through = self.width, batch * self.channels, batch * self.channels * self.states, partial(frame_linear, batch)
        state = ([Kernel(ssd_flops(batch, 1, self.channels, self.states, backward=False), 2 * kept)] if fused else
                 moves(0, 0, 2 * d, 0, 0, 2 * kept, 2 * kept, 3 * kept, 2 * kept, kept, 2 * d, 3 * d, 2 * kept))
        return [*through(w, self.channels + self.convolved + self.heads), *moves(0, 0), *conv_step(batch * self.convolved), *state,
                *moves(2 * d, 3 * d, 2 * d), *through(self.channels, w)]


@dataclass(frozen=True)
class Shell:
    """What stands around a core (lib.models.codec_lm): a table and a head for each codebook, one vector for each text."""
    width: int
    codebooks: int = 4
    bins: int = 1024
    text_width: int = 128
    vocabulary: int = 43
    characters: int = 48            # of a text

    @property
    def text(self) -> Layer:
        """Of the text encoder; it looks ahead, which costs the same."""
        return Layer(self.text_width, channels=2 * self.text_width, convolutions=(3,))

    @property
    def parameters(self) -> int:
        tables = self.codebooks * (self.bins + 1) * self.width + (self.vocabulary + 1) * self.text_width
        heads = (self.codebooks * self.bins + 1) * (self.width + 1)
        return tables + self.text.parameters + (self.text_width + 1) * self.width + heads

    def training(self, batch: int, frames: int) -> Pass:
        """Tables, their mean, the text; heads; and the loss over their logits, the largest of what is moved."""
        rows, w, logits = batch * frames, self.width, batch * frames * self.codebooks * self.bins
        text = batch * self.characters
        n, table = rows * w, self.codebooks * (self.bins + 1) * w
        embed = (moves(2 * rows, rows, 2 * self.codebooks * n, (self.codebooks + 1) * n, 3 * n),
                 moves(n, (self.codebooks + 1) * n, table, 2 * self.codebooks * n))
        loss = moves(2 * logits, 0, logits, 0, *[0] * 12), moves(0, logits, 3 * logits, *[0] * 4)   # log-softmax, argmax; the end's
        return join(embed, linear(rows, w, self.codebooks * self.bins), linear(rows, w, 1), ([], moves(3 * n)), loss,
                    self.text.training(batch, self.characters), linear(batch, self.text_width, w),
                    (moves(*[2 * text * self.text_width] * 3), moves(*[2 * text * self.text_width] * 3)), norm(batch, w))

    def decoding(self, batch: int) -> Kernels:
        """The last frame's codes to the next one's, greedily; the text was read before."""
        w, logits = self.width, self.codebooks * self.bins
        tables = moves(2 * batch, 2 * self.codebooks * batch * w, (self.codebooks + 1) * batch * w, 3 * batch * w)
        return [*tables, *linear(batch, w, logits)[0], *linear(batch, w, 1)[0], *moves(batch * logits)]


@dataclass(frozen=True)
class Model:
    layers: tuple[Layer, ...]
    shell: Shell | None = None      # None: the core alone

    @property
    def parameters(self) -> int:
        """The final norm, of layers with norms before, is among them."""
        return sum(part.parameters for part in self._parts) + 2 * self.layers[-1].width

    @property
    def _parts(self) -> tuple[Layer | Shell, ...]:
        return self.layers + ((self.shell,) if self.shell else ())

    def training(self, batch: int, frames: int) -> Kernels:
        """Forward, backward and AdamW, which reads parameter, gradient and two moments and writes all but the gradient; gradients
        are clipped before where there is a shell."""
        rows, w = batch * frames, self.layers[-1].width
        forward, backward = join(*(part.training(batch, frames) for part in self._parts), norm(rows, w))
        clip = [Kernel(float32=self.parameters), *moves(0, 0, 0, 0), Kernel(float32=2 * self.parameters)] if self.shell else []
        return [*forward, *backward, *clip, Kernel(float32=7 * self.parameters)]

    def decoding(self, batch: int, frames: int, fused: bool) -> Kernels:
        """Of a frame of each of `batch` sequences, after so many frames."""
        core = [k for layer in self.layers for k in layer.decoding(batch, frames, fused)]
        return [*core, *moves(2 * batch * self.layers[-1].width), *(self.shell.decoding(batch) if self.shell else [])]

    def step_seconds(self, machine: Machine, batch: int, frames: int) -> float:
        return seconds(self.training(batch, frames), machine, machine.launch)

    def frame_seconds(self, machine: Machine, batch: int, frames: int) -> float:
        return seconds(self.decoding(batch, frames, machine.fused), machine, machine.replay)


# Layers of a larger model, of the proportions that the matched sizes of lib.models.cores have; the wider part of each times a scale
GROWN: dict[str, Callable[[int, float], tuple[Layer, ...]]] = {
    "transformer": lambda w, scale: (Layer(w, attends=True, hidden=round(4 * w * scale)),),
    "mamba_conv": lambda w, scale: (Layer(w, channels=round(2 * w * scale), convolutions=(3,)),),
    "mamba": lambda w, scale: (Layer(w, channels=round(2 * w * scale)),),
    "interleaved": lambda w, scale: tuple(part for i in range(4) for part in (
        (Layer(w, attends=True, hidden=round(3 * w * scale)),) if i == 2 else
        (Layer(w, channels=round(2 * w * scale)), Layer(w, hidden=round(3 * w * scale))))),
}
WIDTHS = {10 ** 8: 768, 10 ** 9: 2048}      # of so many parameters: Brown et al. 2020 (https://arxiv.org/abs/2005.14165), table 2.1


def grown(core: str, parameters: int) -> Model:
    """A model whose core has so many parameters, one of WIDTHS: as many layers as come nearest, then scaled to fit."""
    width, layers = WIDTHS[parameters], GROWN[core]
    one, two = (sum(layer.parameters for layer in layers(width, scale)) for scale in (1, 2))
    times = round(parameters / one)
    return Model(layers(width, 1 + (parameters / times - one) / (two - one)) * times, Shell(width))
