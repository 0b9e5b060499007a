"""What the model of cost (lib.metrics.predicted) says: of this machine, beside what was measured, and of an H100, where nothing was."""
from dataclasses import dataclass, replace
from statistics import median

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from ..config import PRIMARY, ModelConfig, restored
from ..metrics.cost import scan_flops
from ..metrics.predicted import H100, WIDTHS, Layer, Machine, Model, Shell, grown
from ..metrics.stats import crossings
from ..models.attention import Attention
from ..models.codec_lm import BINS, CodecLM
from ..models.conv import GroupedConv
from ..models.cores import SIZES, Core, build_core
from ..models.feed_forward import FeedForward
from ..models.mamba import Mamba
from ..records import Record
from .claims import named
from .figures import colour, label_lines
from .results import curve, swept

PARTS = {"step_ms": "training step", "decode_ms": "decoding of one frame"}
LENGTHS = tuple(2 ** n for n in range(7, 17))   # frames, of the curves of the H100
STEP = 2 ** 16              # frames of a training step there, of as many sequences as that takes
UTTERANCE = 512             # frames of a sequence, where hours are counted
STREAMS = 1, 64             # sequences that are decoded at once
HOURS = 1_000, 50_000       # of speech
UTILISATION = 0.4           # Llama 3 was trained at 38 to 43 % of an H100's bf16 (https://arxiv.org/abs/2407.21783, table 4)
AIM = 1.5                   # times too much or too little, that a prediction is to stay within


def layer_of(layer: nn.Module, width: int) -> Layer | None:
    """The shape of a core's layer; None of one that the model of cost does not know, as Mamba-2's."""
    parts = {type(part): part for part in layer.modules()}
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


def model_of(config: ModelConfig) -> Model | None:
    """A core in its shell, which is taken for one that is told the mean of the encoded text."""
    size = SIZES[config.size]
    with torch.device("meta"):
        model = core_of(CodecLM(config).core, size.width)
    return model and replace(model, shell=Shell(size.width, config.codebooks, BINS, size.text_width, config.vocabulary))


def machine_of(bench: Record) -> Machine | None:
    """What a bench measured of its machine; None where it lacks any of it.

    Rates are those of its large product, its large copy and its longest scan. A launch is what a training step takes where no frame
    goes through it, beyond moving the parameters, over its kernels: by batches of 1 and 8, which lie on a line. A launch in decoding
    is what decoding at the original report's size takes beyond what it computes and moves. Both are medians over cores."""
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
        seconds = 1e-3 * row["ours"]["median"]
        if row["group"] == "training step":
            steps.setdefault((row["what"], row["size"], row["frames"]), {})[row["batch"]] = seconds
        if row["group"] == "decoding, per frame" and row["size"] == "seed" and (model := model_of(ModelConfig(row["what"], "seed"))):
            kernels = len(model.decoding(1, row["frames"], bare.fused))
            replays.append((seconds - model.frame_seconds(bare, 1, row["frames"])) / kernels)
    for (core, size, _), at in steps.items():
        with torch.device("meta"):
            model = core_of(build_core(core, size, causal=True), SIZES[size].width)
        if model and {1, 8} <= at.keys():
            empty = at[1] - (at[8] - at[1]) / 7
            launches.append((empty - model.step_seconds(bare, 0, 0)) / len(model.training(0, 0)))
    return replace(bare, launch=max(0, median(launches)), replay=max(0, median(replays))) if launches and replays else None


@dataclass(frozen=True)
class Check:
    """A time that was measured, median over processes, and what was predicted of it, in milliseconds."""
    core: str
    part: str
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
    return [Check(core, part, frames, measured, 1e3 * (model.step_seconds if part == "step_ms" else model.frame_seconds)(
        machine, 1, frames)) for part in PARTS for core, model in models.items()
        for frames, times in curve(lengths, core, part).items() if (measured := median(times)) > 0]


def check_table(found: list[Check]) -> pd.DataFrame:
    """Predicted over measured, of each core and length."""
    frames = sorted({check.frames for check in found})
    ratios = {(check.core, check.part, check.frames): check for check in found}
    rows = []
    for core, part in dict.fromkeys((check.core, check.part) for check in found):
        of = [check for check in found if (check.core, check.part) == (core, part)]
        rows.append({"core": core, "predicted / measured": PARTS[part],
                     **{f"{n} frames": f"{ratios[core, part, n].ratio:.2f}" if (core, part, n) in ratios else "not measured"
                        for n in frames},
                     "median": f"{median(check.ratio for check in of):.2f}",
                     "worst": f"{max(of, key=lambda check: check.off).ratio:.2f}"})
    return pd.DataFrame(rows)


def work_table(lengths: Record, fused: bool) -> pd.DataFrame:
    """FLOPs, bytes and launches that the model counts, batch 1, at the shortest and the longest length."""
    rows, at = [], swept(lengths)[1]
    for config in (restored(ModelConfig, described) for described in lengths.identity.get("configs", [])):
        model = model_of(config)
        for frames in dict.fromkeys((at[0], at[-1])) if model else ():
            for part, kernels, over in (("step_ms", model.training(1, frames), frames), ("decode_ms", model.decoding(1, frames, fused), 1)):
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


def hours_table(frame_rate: float) -> pd.DataFrame:
    """GPU hours for each core, size and hours of speech."""
    return pd.DataFrame([{"core": core, "parameters of the core": sized(parameters), "width": f"{WIDTHS[parameters]:,}",
                          "layers": f"{len(grown(core, parameters).layers)}",
                          **{f"GPU hours for {hours:,} hours": f"{gpu_hours(core, parameters, hours, frame_rate):,.1f}" for hours in HOURS}}
                         for parameters in WIDTHS for core in PRIMARY])


def crossing_words(frames: float | None, frame_rate: float) -> str:
    if frames is None:
        return f"at no length up to {LENGTHS[-1] / frame_rate:,.0f} seconds"
    return f"beyond {frames / frame_rate:,.0f} seconds" if frames else f"from {LENGTHS[0] / frame_rate:.1f} seconds on, the shortest"


def crossing_table(frame_rate: float) -> pd.DataFrame:
    """From which length on each core is cheaper than the Transformer on an H100."""
    rows = []
    for parameters in WIDTHS:
        for core in PRIMARY[1:]:
            row = {"core": core, "parameters of the core": sized(parameters), "trains faster": crossing_words(
                crossing(training_curve("transformer", parameters), training_curve(core, parameters)), frame_rate)}
            for n in STREAMS:
                at = crossing(decoding_curve("transformer", parameters, n), decoding_curve(core, parameters, n))
                row[f"decodes faster, {n} at once"] = crossing_words(at, frame_rate)
            rows.append(row)
    return pd.DataFrame(rows)


def draw(found: list[Check], frame_rate: float) -> Figure:
    """Above, this machine: lines are predicted, dots measured. Below, an H100, where all is predicted: solid the smaller size or one
    sequence, dotted the larger or several."""
    figure, axes = plt.subplots(2, 2, figsize=(12, 8))
    for axis, part in zip(axes[0], PARTS):
        for core in dict.fromkeys(check.core for check in found):
            of = [check for check in found if (check.core, check.part) == (core, part)]
            axis.plot([c.frames for c in of], [c.predicted for c in of], "-", color=colour(core), label=named(core))
            axis.plot([c.frames for c in of], [c.measured for c in of], "o", color=colour(core))
        axis.set(title=f"this machine, {PARTS[part]} (ms): predicted, and measured (dots)", xlabel="frames")
    for core in PRIMARY:
        for parameters, line in zip(WIDTHS, ("-", ":")):
            axes[1, 0].plot(LENGTHS, training_curve(core, parameters), line, color=colour(core),
                            label=f"{named(core)}, {sized(parameters)}")
        for streams, line in zip(STREAMS, ("-", ":")):
            axes[1, 1].plot(LENGTHS, decoding_curve(core, min(WIDTHS), streams), line, color=colour(core),
                            label=f"{named(core)}, {streams} at once")
    axes[1, 0].set(title="predicted, not measured: H100, training (µs a frame)")
    axes[1, 1].set(title=f"predicted, not measured: H100, decoding, {sized(min(WIDTHS))} (ms)")
    for axis in axes.flat:
        axis.set(xscale="log", yscale="log", xlabel=f"frames ({frame_rate:g} a second)")
        axis.title.set_fontsize(10)
        label_lines(axis)
    return figure
