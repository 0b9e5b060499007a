"""What the model of cost (lib.metrics.predicted) says of this machine, beside what was measured, and of an H100, unmeasured."""
from dataclasses import dataclass, replace
from statistics import median

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from ..config import ModelConfig, restored
from ..metrics.cost import scan_flops
from ..metrics.predicted import H100, WIDTHS, Layer, Machine, Mamba2Layer, Model, Shell, grown
from ..metrics.stats import crossings
from ..models.attention import Attention
from ..models.codec_lm import BINS, CodecLM
from ..models.conv import GroupedConv
from ..models.cores import SIZES, Core, build_core
from ..models.feed_forward import FeedForward
from ..models.mamba import Mamba
from ..models.mamba2 import Mamba2
from ..records import Record
from .claims import named
from .figures import colour, label_lines, logarithmic
from .results import curve, swept

STEPS, DECODING, LONGER = "training step", "decoding, per frame", "training step against length"    # of a bench
PARTS = {"step_ms": "training step", "decode_ms": "decoding of one frame"}
LENGTHS = tuple(2 ** n for n in range(7, 17))   # frames, of the curves of the H100
STEP = 2 ** 16              # frames of a training step there, of as many sequences as that takes
UTTERANCE = 512             # frames of a sequence, where hours are counted
STREAMS = 1, 64             # sequences that are decoded at once
HOURS = 1_000, 50_000       # of speech
UTILISATION = 0.4           # Llama 3 was trained at 38 to 43 % of an H100's bf16 (https://arxiv.org/abs/2407.21783, table 4)
AIM = 1.5                   # times too much or too little, that a prediction is to stay within


def layer_of(layer: nn.Module, width: int) -> Layer | None:
    """The shape of a core's layer; None of one that the model of cost does not know."""
    parts = {type(part): part for part in layer.modules()}
    if mamba2 := parts.get(Mamba2):
        return Mamba2Layer(width, channels=mamba2.d_inner, states=mamba2.d_state, heads=mamba2.heads)
    attention, mamba, feed_forward = (parts.get(kind) for kind in (Attention, Mamba, FeedForward))
    convolutions = tuple(part.conv.kernel_size[0] for part in layer.modules() if isinstance(part, GroupedConv))
    if not (attention or mamba or feed_forward):
        return None
    return Layer(width, bool(attention), bool(attention and attention.rotary), attention and attention.window,
                 mamba.d_inner if mamba else 0, mamba.d_state if mamba else 0, convolutions,
                 feed_forward.down.in_features if feed_forward else 0, bool(feed_forward and feed_forward.gated))


def core_of(core: Core, width: int) -> Model | None:
    layers = tuple(layer_of(layer, width) for layer in core.layers)
    return Model(layers) if all(layers) else None


def alone(core: str, size: str) -> Model | None:
    with torch.device("meta"):
        return core_of(build_core(core, size, causal=True), SIZES[size].width)


def model_of(config: ModelConfig) -> Model | None:
    """A core in its shell, which is taken for one that is told the mean of the encoded text."""
    size = SIZES[config.size]
    with torch.device("meta"):
        model = core_of(CodecLM(config).core, size.width)
    return model and replace(model, shell=Shell(size.width, config.codebooks, BINS, size.text_width, config.vocabulary))


def machine_of(bench: Record) -> Machine | None:
    """What a bench measured of its machine; None where it lacks any of it.

    Rates are those of its large product, its large copy and its longest scan. What a training step takes beyond what it computes
    and moves, at batches of 1 and 8, lies on a line: a launch is its height where no frame goes through, over the kernels. A launch
    in decoding is what one frame at the original report's size takes beyond that, over its kernels. Both are medians over cores."""
    rows = [row for row in bench.result["rows"] if row["ours"]]
    floors = [row["floor"] for row in rows if row["floor"]]
    scans = [row for row in rows if row["what"] == "selective_scan"]
    if not floors or not scans:
        return None
    scan = max(scans, key=lambda row: row["frames"])
    flops = scan_flops(scan["batch"], scan["frames"], *(int(n) for n in scan["size"].split(" × ")))
    bare = Machine("this machine", median(f["rate"] for f in floors), flops / (1e-3 * scan["ours"]["median"]),
                   median(f["bandwidth"] for f in floors), 0, 0, 4, bench.environment["device"] == "cpu")
    launches, replays, steps = [], [], {}
    for row in rows:
        core, size, frames, seconds = row["what"], row["size"], row["frames"], 1e-3 * row["ours"]["median"]
        if row["group"] == STEPS:
            steps.setdefault((core, size, frames), {})[row["batch"]] = seconds
        if row["group"] == DECODING and size == "seed" and (model := model_of(ModelConfig(core, size))):
            kernels = len(model.decoding(1, frames, bare.fused))
            replays.append((seconds - model.frame_seconds(bare, 1, frames)) / kernels)
    for (core, size, frames), at in steps.items():
        if {1, 8} <= at.keys() and (model := alone(core, size)):
            more = {batch: seconds - model.step_seconds(bare, batch, frames) for batch, seconds in at.items()}
            launches.append((more[1] - (more[8] - more[1]) / 7) / len(model.training(1, frames)))
    return replace(bare, launch=max(0, median(launches)), replay=max(0, median(replays))) if launches and replays else None


@dataclass(frozen=True)
class Check:
    """A time that was measured, median over processes or runs, and what was predicted of it, in milliseconds."""
    core: str
    what: str
    batch: int
    frames: int
    measured: float
    predicted: float

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured

    @property
    def off(self) -> float:
        """How many times too much or too little."""
        return max(self.ratio, 1 / self.ratio)


def checks(lengths: Record, machine: Machine) -> list[Check]:
    """Every point of a sweep over lengths, batch 1, of the cores that the model of cost knows."""
    configs = [restored(ModelConfig, described) for described in lengths.identity.get("configs", [])]
    models = {config.core: model for config in configs if (model := model_of(config))}
    return [Check(core, what, 1, frames, measured, 1e3 * predict(machine, 1, frames))
            for part, what in PARTS.items() for core, model in models.items()
            for predict in (model.step_seconds if part == "step_ms" else model.frame_seconds,)
            for frames, times in curve(lengths, core, part).items() if (measured := median(times)) > 0]


def bench_checks(bench: Record, machine: Machine) -> list[Check]:
    """What a bench measured and the machine's figures are not made of: longer steps of cores alone, decoding at equal sizes."""
    found = []
    for row in bench.result["rows"]:
        core, size, batch, frames = (row[name] for name in ("what", "size", "batch", "frames"))
        if row["group"] == LONGER and row["ours"] and (model := alone(core, size)):
            found.append(Check(core, "training step of the core alone", batch, frames, row["ours"]["median"],
                               1e3 * model.step_seconds(machine, batch, frames)))
        if row["group"] == DECODING and size != "seed" and (model := model_of(ModelConfig(core, size))):
            found.append(Check(core, PARTS["decode_ms"], batch, frames, row["ours"]["median"],
                               1e3 * model.frame_seconds(machine, batch, frames)))
    return found


def check_table(found: list[Check]) -> pd.DataFrame:
    """Predicted over measured, of each core and length."""
    rows, lengths = {}, sorted({check.frames for check in found})
    for check in found:
        rows.setdefault((check.core, check.what, check.batch), {})[check.frames] = check
    return pd.DataFrame([{
        "core": core, "predicted / measured": what, "batch": str(batch),
        **{f"{n:,} frames": f"{at[n].ratio:.2f}" if n in at else "not measured" for n in lengths},
        "median": f"{median(check.ratio for check in at.values()):.2f}",
        "worst": f"{max(at.values(), key=lambda check: check.off).ratio:.2f}"} for (core, what, batch), at in rows.items()])


def work_table(lengths: Record, fused: bool) -> pd.DataFrame:
    """FLOPs, bytes and launches that the model counts, batch 1, at the shortest and the longest length."""
    rows, at = [], swept(lengths)[1]
    for config in (restored(ModelConfig, described) for described in lengths.identity.get("configs", [])):
        model = model_of(config)
        for frames in dict.fromkeys((at[0], at[-1])) if model else ():
            counted = ("step_ms", model.training(1, frames), frames), ("decode_ms", model.decoding(1, frames, fused), 1)
            for part, kernels, over in counted:
                moved = sum(4 * (k.numbers + k.float32) for k in kernels)
                rows.append({"core": config.core, "what": PARTS[part], "frames": f"{frames:,}",
                             "MFLOP a frame": f"{sum(k.flops for k in kernels) / over / 1e6:.1f}",
                             "MB a frame": f"{moved / over / 1e6:.2f}", "launches": f"{len(kernels):,}",
                             "launches a frame": f"{len(kernels) / over:.2f}"})
    return pd.DataFrame(rows)


def training_curve(core: str, parameters: int) -> list[float]:
    """Microseconds a frame on an H100, at each of LENGTHS."""
    model = grown(core, parameters)
    return [1e6 * model.step_seconds(H100, STEP // frames, frames) / STEP for frames in LENGTHS]


def decoding_curve(core: str, parameters: int, streams: int) -> list[float]:
    """Milliseconds a frame on an H100, at each of LENGTHS."""
    model = grown(core, parameters)
    return [1e3 * model.frame_seconds(H100, streams, frames) for frames in LENGTHS]


def crossing(theirs: list[float], ours: list[float]) -> float | None:
    """Frames from which on the second is faster, up to the longest length; 0 where it always is, None where it is not there."""
    if theirs[-1] <= ours[-1]:
        return None
    found = crossings(LENGTHS, theirs, ours)
    return found[-1] if found else 0


def gpu_hours(core: str, parameters: int, hours: int, frame_rate: float) -> float:
    """Of an H100, to hear so many hours of speech once."""
    step = grown(core, parameters).step_seconds(H100, STEP // UTTERANCE, UTTERANCE)
    return hours * frame_rate * step / STEP / UTILISATION


def sized(parameters: int) -> str:
    return f"{parameters // 10 ** 9} B" if parameters >= 10 ** 9 else f"{parameters // 10 ** 6} M"


def hours_table(cores: list[str], frame_rate: float) -> pd.DataFrame:
    """GPU hours for each core, size and hours of speech."""
    return pd.DataFrame([{
        "core": core, "parameters of the core": sized(parameters), "width": f"{WIDTHS[parameters]:,}",
        "layers": f"{len(grown(core, parameters).layers)}",
        **{f"GPU hours for {hours:,} hours": f"{gpu_hours(core, parameters, hours, frame_rate):,.1f}" for hours in HOURS}}
        for parameters in WIDTHS for core in cores])


def crossing_words(frames: float | None, frame_rate: float) -> str:
    if frames is None:
        return f"at no length up to {LENGTHS[-1] / frame_rate:,.0f} seconds"
    return f"beyond {frames / frame_rate:,.0f} seconds" if frames else f"from {LENGTHS[0] / frame_rate:.0f} seconds on"


def cheaper(core: str, parameters: int, frame_rate: float) -> list[str]:
    """From which length on a core is cheaper than the Transformer on an H100: in training, then in decoding one or more at once."""
    training = crossing(training_curve("transformer", parameters), training_curve(core, parameters))
    decoding = [crossing(decoding_curve("transformer", parameters, n), decoding_curve(core, parameters, n)) for n in STREAMS]
    return [crossing_words(at, frame_rate) for at in (training, *decoding)]


def crossing_table(cores: list[str], frame_rate: float) -> pd.DataFrame:
    """The same of each core and size."""
    columns = "trains faster", *(f"decodes faster, {n} at once" for n in STREAMS)
    return pd.DataFrame([{"core": core, "parameters of the core": sized(parameters),
                          **dict(zip(columns, cheaper(core, parameters, frame_rate), strict=True))}
                         for parameters in WIDTHS for core in cores if core != "transformer"])


def launching(core: str, streams: int) -> float:
    """The share of launches in decoding a frame with the smaller model on an H100."""
    kernels = len(grown(core, min(WIDTHS)).decoding(streams, LENGTHS[0], H100.fused))
    return 1e3 * H100.replay * kernels / decoding_curve(core, min(WIDTHS), streams)[0]


def assumed(machine: Machine, bench: Record, lengths: Record, other: str) -> tuple[str, ...]:
    """What the figures rest on, in sentences."""
    return (
        f"Checked with what {bench.name} measured of this machine: {machine.product / 1e9:.0f} GFLOP/s in matrix products and "
        f"{machine.vector / 1e9:.0f} in the scan, {machine.bandwidth / 1e9:.0f} GB/s, {1e6 * machine.launch:.0f} µs a launch in "
        "training, which is what its steps of 300 frames, batches 1 and 8, take beyond all else where no frame goes through them, "
        f"and {1e6 * machine.replay:.0f} in decoding, likewise at the original report's size. The times are those of "
        f"{lengths.name}, batch 1, and what else the bench measured. Decoding runs in one thread here, and these rates are of all.",
        f"An H100 by its published figures: {H100.product / 1e12:.0f} TFLOP/s in bf16 products, {H100.vector / 1e12:.0f} in "
        f"float32, {H100.bandwidth / 1e12:.2f} TB/s; a launch takes {1e6 * H100.launch:.1f} µs in training and "
        f"{1e6 * H100.replay:.1f} in decoding, as NVIDIA measured on a V100 (https://developer.nvidia.com/blog/cuda-graphs/).",
        f"Lengths at which cores cross take every kernel at its full rate. Launches are {100 * launching(other, 1):.0f} % of "
        f"decoding a frame of one sequence with {named(other)} of {sized(min(WIDTHS))}, "
        f"{100 * launching('transformer', 1):.0f} % with the Transformer: where they take longer, the two cross later. A training "
        f"step has {STEP:,} frames, whatever the length of its sequences; that memory suffices for it is taken for granted.",
        f"GPU hours are for hearing the speech once, in sequences of {UTTERANCE} frames, every kernel at {100 * UTILISATION:.0f} % "
        "of those rates: Llama 3 was trained at 38 to 43 % of an H100's (https://arxiv.org/abs/2407.21783, table 4). Of the cores "
        "with Mamba that share is a guess.")


def draw(found: list[Check], cores: list[str], frame_rate: float) -> Figure:
    """Above, this machine: lines are predicted, dots measured. Below, an H100, where all is predicted: solid the smaller size or
    one sequence, dotted the larger or several."""
    figure, axes = plt.subplots(2, 2, figsize=(12, 8))
    for axis, what in zip(axes[0], PARTS.values()):
        for core in dict.fromkeys(check.core for check in found):
            of = [check for check in found if (check.core, check.what) == (core, what)]
            axis.plot([c.frames for c in of], [c.predicted for c in of], "-", color=colour(core), label=named(core))
            axis.plot([c.frames for c in of], [c.measured for c in of], "o", color=colour(core))
        axis.set(title=f"this machine, {what} (ms):\npredicted, and measured (dots)")
    for core in cores:
        for parameters, line in zip(WIDTHS, ("-", ":")):
            axes[1, 0].plot(LENGTHS, training_curve(core, parameters), line, color=colour(core),
                            label=f"{named(core)}, {sized(parameters)}")
        for streams, line in zip(STREAMS, ("-", ":")):
            axes[1, 1].plot(LENGTHS, decoding_curve(core, min(WIDTHS), streams), line, color=colour(core),
                            label=f"{named(core)}, {streams} at once")
    axes[1, 0].set(title="predicted, not measured:\nH100, training (µs a frame)")
    axes[1, 1].set(title=f"predicted, not measured:\nH100, decoding of one frame, {sized(min(WIDTHS))} (ms)")
    for axis in axes.flat:
        axis.set(xlabel=f"frames ({frame_rate:g} a second)")
        axis.title.set_fontsize(11)
        logarithmic(axis)
        label_lines(axis)
    return figure
