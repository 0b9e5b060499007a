"""The report's figures. Each takes what it draws and returns a matplotlib figure; every raw run is drawn."""
import io
import re
from html import escape
from itertools import cycle, groupby
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import SVG
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import nn

from ..config import PRIMARY, ModelConfig, restored
from ..data.audio import SAMPLE_RATE
from ..files import write_atomic
from ..metrics.cost import parameters
from ..metrics.learning import passes
from ..metrics.speech import log_mel
from ..metrics.stats import Interval
from ..models.codec_lm import CodecLM
from ..models.cores import CORES
from ..records import Record, figures_root
from .claims import METRICS, VERDICTS, Comparison, Results, named
from .results import TIMES, Report, curve, medians, said_share, swept
from .tables import MEASURES

# Blue, vermilion, green and purple of Okabe and Ito, who chose them for every kind of colour vision, then others: all have a
# contrast of 3 or more against white and against the page's dark.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#c26ba0", "#6e6e6e", "#9a6a00", "#7a68c8", "#1b93a5", "#d1495b", "#6f8a1f")
COLOURS = dict(zip(dict.fromkeys((*PRIMARY, "pointwise", *CORES)), cycle(PALETTE)))
PART = 240              # samples of a waveform that are drawn as one
LEGIBLE, WIDEST = 0.75, 1.15     # how much smaller and larger than drawn a figure may be shown


def style() -> None:
    """Figures from now on: black is the ink, which the page makes light where it is dark; what is faint is grey on both."""
    ink = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), "black")
    sns.set_theme(context="notebook", style="whitegrid", palette=PALETTE, color_codes=False, rc=ink | {
        "figure.constrained_layout.use": True, "savefig.dpi": 110, "axes.spines.top": False, "axes.spines.right": False,
        "axes.edgecolor": "grey", "grid.color": "grey", "grid.alpha": 0.3, "patch.edgecolor": "none", "legend.frameon": False})


def colour(core: str) -> str:
    """A core's colour, the same in every figure."""
    return COLOURS.setdefault(core, PALETTE[len(COLOURS) % len(PALETTE)])


def label_lines(axis: Axes) -> None:
    """Names beside the axis, at the height where the line of each ends, the first line of a name alone; they keep apart."""
    lines = [line for line in axis.lines if not line.get_label().startswith("_") and np.isfinite(line.get_ydata()).any()]
    axis.get_ylim()                     # which brings the limits up to date
    ends = [(axis.transData + axis.transAxes.inverted()).transform(line.get_xydata()[np.isfinite(line.get_ydata())][-1])[1]
            for line in lines]                                                      # shares of the axis
    step = 11 / (axis.get_window_extent().height * 72 / axis.figure.dpi)            # of a line of text, a share of the axis
    order = np.argsort(ends)
    places = np.array(ends)[order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + step)
    places -= max(0, places[-1] - 1) if len(places) else 0
    for line, y in zip(np.array(lines, object)[order], places):
        axis.annotate(line.get_label(), (1.02, y), xycoords="axes fraction", color=line.get_color(), fontsize=9, va="center")


def _logarithmic(axis: Axes, side: str) -> bool:
    """Make a side, x or y, logarithmic, where anything that is drawn lies above 0 on it."""
    possible = bool(np.isfinite(getattr(axis.dataLim, f"minpos{side}")))
    if possible:
        axis.set(**{f"{side}scale": "log"})
    return possible


def logarithmic(axis: Axes) -> None:
    """Both sides logarithmic, where possible, with few plain numbers at them."""
    for name, digits in (("x", (1, 3)), ("y", (1, 2, 5))):
        if _logarithmic(axis, name):
            side = getattr(axis, f"{name}axis")
            side.set_major_locator(LogLocator(subs=digits))
            side.set_minor_locator(NullLocator())
            side.set_major_formatter("{x:g}")


def learning_curves(runs: dict[str, list[Record]], title: str) -> Figure:
    """Loss and accuracy of every run against training steps; one line a run, averaged over a pass of the clips."""
    figure, (loss, accuracy) = plt.subplots(1, 2, figsize=(11, 4))
    for core, group in runs.items():
        for i, run in enumerate(group):
            clips, history = run.identity["config"]["clips"], run.result["history"]
            for axis, values in ((loss, history["loss"]), (accuracy, [100 * np.mean(a) for a in history["accuracy"]])):
                smooth = passes(values, clips)
                axis.plot(np.arange(len(smooth)) + clips, smooth, color=colour(core), alpha=0.8,
                          label=f"{named(core)} ({len(group)} seed{'s' * (len(group) > 1)})" if i == 0 else None)
    _logarithmic(loss, "y")
    loss.set(xlabel="training step", ylabel="cross-entropy per token (nats)")
    accuracy.set(xlabel="training step", ylabel="tokens right, teacher-forced (%)", ylim=(0, 102))
    loss.legend()
    figure.suptitle(title)
    return figure


def step_parts(run: Record) -> Figure:
    """Forward, backward and optimiser time of a training step: bars are medians over processes, dots are processes."""
    figure, axis = plt.subplots(figsize=(10, 3.8))
    cores, parts = list(run.result["parameters"]), TIMES[:4]
    for i, core in enumerate(cores):
        for j, part in enumerate(parts):
            values = medians(run, core, part)
            at = j + (i - (len(cores) - 1) / 2) * 0.25
            axis.bar(at, median(values or [np.nan]), 0.23, color=colour(core), alpha=0.75, label=named(core) if j == 0 else None)
            axis.plot(np.full(len(values), at), values, "k.", markersize=4)
    axis.set_xticks(range(len(parts)), [p.removesuffix("_ms") for p in parts])
    axis.set(ylabel="milliseconds", title=f"One training step, size {run.result['size']}")
    axis.legend()
    return figure


def against_length(lengths: Record, memory: Record | None, frame_rate: float) -> Figure:
    """Training step, decoding of one frame, and memory against sequence length, both axes logarithmic; dots are processes."""
    figure, axes = plt.subplots(1, 3 if memory else 2, figsize=(13 if memory else 9, 4))
    for core in swept(lengths)[0]:
        for axis, part in zip(axes, ("step_ms", "decode_ms")):
            points = curve(lengths, core, part)
            axis.plot(list(points), [median(values) for values in points.values()], "-", color=colour(core), label=named(core))
            for frames, values in points.items():
                axis.plot([frames] * len(values), values, ".", color=colour(core), markersize=4)
    for axis, title in zip(axes, ("training step (ms)", "decoding of one frame at that position (ms)")):
        axis.set(xlabel=f"frames ({frame_rate:g} a second)", title=title)
    if memory:
        for core, rows in memory.result["cores"].items():
            rows = sorted(rows, key=lambda r: r["frames"])
            axes[2].plot([r["frames"] for r in rows], [r["train_peak"] / 1e6 for r in rows], "o-", color=colour(core),
                         label=f"{named(core)}, training")
            axes[2].plot([r["frames"] for r in rows], [r["decode_peak"] / 1e6 for r in rows], "o:", color=colour(core),
                         label=f"{named(core)}, decoding")
        axes[2].set(xlabel=f"frames ({frame_rate:g} a second)", title="peak memory (MB)")
    for axis in axes:
        logarithmic(axis)
    label_lines(axes[-1])
    return figure


def latency(run: Record) -> Figure:
    """First sound against the number of streams at once, a solid line through what half of the texts take at most and a dotted one
    through what 95 % do; and, where a long text was said, the state of a core against the seconds said so far."""
    said = run.result["long"]
    figure, axes = plt.subplots(1, 2 if said else 1, figsize=(11 if said else 5.5, 4), squeeze=False)
    for core, rows in groupby(sorted(run.result["warm"], key=lambda row: row["core"]), key=lambda row: row["core"]):
        rows = list(rows)
        for part, line in (("p50_ms", "o-"), ("p95_ms", "o:")):
            axes[0, 0].plot([row["streams"] for row in rows], [row[part] for row in rows], line, color=colour(core),
                            label=named(core) if part == "p50_ms" else None)
    axes[0, 0].set(xlabel="streams at once", ylabel="first sound (ms)", ylim=(0, None),
                   xticks=sorted({row["streams"] for row in run.result["warm"]}))
    for row in said:
        points, window = row["rows"], row["state"] == "window"
        axes[0, 1].plot([p["seconds"] for p in points], [p["state"] / 1e6 for p in points], "o:" if window else "o-",
                        color=colour(row["core"]), label=named(row["core"]) + ", window" * window)
    if said:
        axes[0, 1].set(xlabel="seconds said on one state", ylabel="state of the core (MB)")
        _logarithmic(axes[0, 1], "y")
    for axis in axes[0]:
        label_lines(axis)
    return figure


def codec_rows(run: Record) -> Figure:
    """Every measure of the codec's round trip against codebooks: a dot a clip, a line through the means of a group.

    A dashed line is the unprocessed audio, drawn for what is measured of a sound by itself."""
    frame = pd.DataFrame(run.result["rows"])
    measures = [m for m in MEASURES if m in frame]
    figure, axes = plt.subplots(1, len(measures), figsize=(3.1 * len(measures), 3.8))
    for axis, measure in zip(axes, measures):
        for i, (group, rows) in enumerate(frame.groupby("group", sort=False)):
            coded, shade = rows[rows.codebooks > 0], PALETTE[i % len(PALETTE)]
            axis.plot(coded.codebooks + 0.2 * i - 0.15, coded[measure], ".", color=shade, alpha=0.35, markersize=4)
            means = coded.groupby("codebooks")[measure].mean()
            axis.plot(means.index, means, "o-", color=shade, label=group)
            if measure == "mos":
                axis.axhline(rows[rows.codebooks == 0][measure].mean(), color=shade, linestyle="--", linewidth=1)
        axis.set(xlabel="codebooks", title=MEASURES[measure][0], xticks=list(means.index))
    axes[0].legend(fontsize=8)
    return figure


def codes(named: dict[str, np.ndarray], frame_rate: float, title: str) -> Figure:
    """Codes (codebooks, frames) of each name as colours, all on one time axis: what a model is asked to predict."""
    longest = max(c.shape[1] for c in named.values()) / frame_rate
    figure, axes = plt.subplots(len(named), 1, figsize=(11, 1.4 * len(named) + 0.5), sharex=True, squeeze=False)
    for axis, (name, values) in zip(axes[:, 0], named.items()):
        image = axis.imshow(values, aspect="auto", cmap="viridis", vmin=0, vmax=1023, interpolation="nearest",
                            extent=(0, values.shape[1] / frame_rate, len(values), 0))
        axis.set(ylabel=name, xlim=(0, longest), yticks=np.arange(len(values)) + 0.5, yticklabels=range(1, len(values) + 1))
        axis.grid(False)
    axis.set(xlabel="seconds")
    figure.colorbar(image, ax=axes, label="code")
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def sounds(waves: dict[str, np.ndarray], title: str, columns: int = 4) -> Figure:
    """Waveform above mel spectrogram of each named sound (samples,) at 24 kHz, all on one time axis."""
    longest = max(len(w) for w in waves.values()) / SAMPLE_RATE
    rows, columns = -(-len(waves) // columns), min(columns, len(waves))
    figure, axes = plt.subplots(2 * rows, columns, figsize=(3.1 * columns, 3.4 * rows + 0.4), sharex=True, squeeze=False,
                                height_ratios=(1, 2) * rows)
    pairs = axes.reshape(rows, 2, columns).transpose(0, 2, 1).reshape(-1, 2)        # (sounds, wave and mel)
    for (name, wave), (upper, lower) in zip(waves.items(), pairs):
        parts = np.pad(wave, (0, -len(wave) % PART)).reshape(-1, PART)      # each is drawn from its least to its most
        upper.fill_between(np.arange(len(parts)) * PART / SAMPLE_RATE, parts.min(1), parts.max(1), step="post", linewidth=0)
        upper.set(ylim=(-1, 1), yticks=[])
        upper.set_title(name, fontsize=10)
        mel = log_mel(wave)
        lower.imshow(mel, origin="lower", aspect="auto", extent=(0, len(wave) / SAMPLE_RATE, 0, len(mel)), cmap="magma",
                     vmin=-90, vmax=-20, interpolation="nearest")
        lower.set(xlim=(0, longest), xlabel="seconds", ylabel="mel band")
        lower.grid(False)
        lower.tick_params(labelbottom=True)
    for pair in pairs[len(waves):]:
        for axis in pair:
            axis.set_axis_off()
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def headline_forest(comparisons: list[Comparison]) -> Figure:
    """How far the first core is ahead of the second in each metric, and the verdict: with 95 % intervals, of times from least to
    most; grey where none is better. Shaded is what counts as equal, where a margin was set. A panel for what is told in % of the
    second core's, and one for what is told in points."""
    drawn = [c for c in comparisons if c.interval is not None]
    pairs = list(dict.fromkeys((c.a, c.b) for c in drawn))
    units: dict[str, list[Comparison]] = {}
    for c in drawn:
        units.setdefault("points" if METRICS[c.metric].by_difference else "%", []).append(c)
    over = f" of {named(drawn[0].a)} over {named(drawn[0].b)}" if len(pairs) == 1 else ""
    size = (12 if len(pairs) == 1 else 16, 0.55 * len(drawn) + 1.2 * len(units) + 0.5)
    figure, axes = plt.subplots(max(1, len(units)), figsize=size, squeeze=False,
                                height_ratios=[len(group) + 0.5 for group in units.values()] or None)
    for axis, (unit, group) in zip(axes[:, 0], units.items()):
        _forest(axis, group, len(pairs) > 1)
        axis.set(xlabel=f"advantage{over} ({unit})")
    return figure


def _forest(axis: Axes, drawn: list[Comparison], several: bool) -> None:
    """The comparisons of one panel, which are named by their cores too where there are `several` pairs."""
    for row, c in enumerate(reversed(drawn)):
        metric, shade = METRICS[c.metric], colour(c.winner) if c.winner else "grey"
        sign = 100 if metric.better == "less" else -100
        if metric.margin:
            axis.barh(row, 200 * metric.margin, 0.9, -100 * metric.margin, color="grey", alpha=0.25, zorder=0)
        if c.outcome != "counted" and c.interval.n > 1:
            axis.plot([sign * c.interval.low, sign * c.interval.high], [row, row], color=shade, linewidth=3,
                      solid_capstyle="butt")
        axis.plot(sign * c.interval.mean, row, "D" if c.outcome == "counted" else "o", color=shade)
        verdict = c.verdict.replace(c.winner, named(c.winner)) if c.winner else c.verdict
        axis.text(1.01, row, verdict, transform=axis.get_yaxis_transform(), va="center", fontsize=10)
    axis.axvline(0, color="black", linewidth=1)
    axis.use_sticky_edges = False       # of the shaded
    axis.autoscale_view()
    axis.set_yticks(range(len(drawn)), [METRICS[c.metric].noun + (f": {named(c.a)} over {named(c.b)}" if several else "")
                                        for c in reversed(drawn)])
    left, right = axis.get_xlim()
    axis.set(xlim=(max(left, -600), min(right, 600)), ylim=(-0.6, len(drawn) - 0.4))


def by_core(samples: Results, metric: str, means: dict[str, Interval], bound: float | None) -> Figure:
    """Phoneme errors of each core, or losses, a line a core: dots are seeds, the bar is its mean and 95 % interval; dashed is the
    codec alone."""
    figure, axis = plt.subplots(figsize=(4.6, 0.45 * len(means) + 1))
    share = METRICS[metric].unit == "share"
    scale = 100 if share else 1
    for row, (core, i) in enumerate(reversed(means.items())):
        if i.n > 1:
            axis.plot([scale * i.low, scale * i.high], [row, row], color=colour(core), linewidth=5, alpha=0.45, solid_capstyle="butt")
        axis.plot([scale * s.value for s in samples[core, metric]], [row] * i.n, "o", color=colour(core), markersize=5)
        axis.plot(scale * i.mean, row, "|", color=colour(core), markersize=18, markeredgewidth=3)
        axis.annotate(f"{100 * i.mean:.1f} %" if share else f"{i.mean:.2f}", (scale * max(i.mean, np.nan_to_num(i.high)), row),
                      xytext=(8, 0), textcoords="offset points", va="center", fontsize=10)
    if bound is not None:
        axis.axvline(scale * bound, color="grey", linestyle="--", linewidth=1)
        axis.annotate("the codec alone", (scale * bound, len(means) - 0.5), xytext=(4, 0), textcoords="offset points", va="top",
                      fontsize=9)
    axis.set_yticks(range(len(means)), [named(core) for core in reversed(means)])
    axis.set(xlabel="phonemes wrong (%)" if share else "loss (nats per token)", ylim=(-0.6, len(means) - 0.4))
    if share:
        axis.set(xlim=(0, 125 * max(max(i.mean, np.nan_to_num(i.high)) for i in means.values()) or 1))
    return figure


def verdicts(counts: dict[str, int]) -> Figure:
    """How many claims have each verdict, as parts of one bar, labelled."""
    figure, axis = plt.subplots(figsize=(10, 1.5))
    begin, shades = 0, dict(zip(VERDICTS, sns.color_palette("colorblind")))
    for verdict in VERDICTS:
        n = counts.get(verdict, 0)
        axis.barh(0, n, left=begin, color=shades[verdict], alpha=0.8)
        if n:
            axis.text(begin + n / 2, 0, str(n), ha="center", va="center", fontsize=11)
            axis.plot([], [], "s", color=shades[verdict], label=verdict)
        begin += n
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)
    figure.legend(loc="outside lower center", ncols=5, fontsize=10)
    return figure


def shell(report: Report) -> Figure:
    """The shell, and the layers of each core in it, from the model objects: a box a part, as wide as it has parameters; what has
    fewer than a hundredth is a line."""
    runs = report.speech.get("headline") or [run for _, _, runs in report.regimes() for run in runs]
    configs = {}
    for run in runs:
        configs.setdefault(run.identity["config"]["model"]["core"], restored(ModelConfig, run.identity["config"]["model"]))
    models = {core: CodecLM(config) for core, config in configs.items()}
    figure, axes = plt.subplots(len(models) + 1, 1, figsize=(11, 0.9 * (len(models) + 1) + 0.3), sharex=False)
    first = next(iter(models.values()))
    _boxes(axes[0], "the shell", [("the core" if name == "core" else name.replace("_", " "), parameters(part))
                                  for name, part in first.named_children()])
    for axis, (core, model) in zip(axes[1:], models.items()):
        _boxes(axis, named(core), [(name.replace("_", " "), parameters(part)) for layer in _layers(model.core)
                                   for name, part in layer.named_children()])
    return figure


def _layers(core: nn.Module) -> nn.ModuleList:
    return next(part for part in core.modules() if isinstance(part, nn.ModuleList))


def _boxes(axis: Axes, title: str, parts: list[tuple[str, int]]) -> None:
    """Parts side by side, each as wide as its parameters are many, named where there is room."""
    total, begin = sum(n for _, n in parts), 0
    shades = dict(zip(dict.fromkeys(label for label, _ in parts), cycle(PALETTE)))
    for label, n in parts:
        axis.barh(0, n, left=begin, height=0.8, color=shades[label], alpha=0.35, linewidth=0.8)
        axis.axvline(begin, 0.1, 0.9, color="grey", linewidth=0.6)
        if n > 0.009 * len(label) * total:
            axis.text(begin + n / 2, 0, label, ha="center", va="center", fontsize=8)
        begin += n
    axis.set_title(f"{title}, {begin / 1e6:.1f} million parameters", loc="left", fontsize=10)
    axis.set(xlim=(0, begin or 1))
    axis.set_axis_off()


def leak(report: Report) -> Figure:
    """Teacher-forced accuracy beside the share of tokens right when the model hears only itself, by core and regime."""
    rows = []
    for core, regime, runs in report.regimes():
        for run in runs:
            heard = report.heard.get(run.name)
            if heard:
                rows.append((f"{core}\n{regime.replace('_', ' ')}", colour(core), run.result["memorised"]["accuracy"],
                             said_share(run, heard)))
    names = list(dict.fromkeys(row[0] for row in rows))
    figure, axis = plt.subplots(figsize=(1.8 * len(names) + 2, 3.8))
    for name, shade, forced, free in rows:
        at = names.index(name)
        axis.plot([at - 0.15, at + 0.15], [100 * forced, 100 * free], "-", color=shade, alpha=0.4)
        axis.plot(at - 0.15, 100 * forced, "s", color=shade)
        axis.plot(at + 0.15, 100 * free, "o", color=shade)
    axis.plot([], [], "ks", label="teacher-forced")
    axis.plot([], [], "ko", label="free-running")
    axis.set_xticks(range(len(names)), names)
    axis.set(ylabel="tokens of the memorised clips right (%)", ylim=(-3, 103))
    axis.legend(loc="center right")
    return figure


def influences(runs: list[Record]) -> Figure:
    """Which input frames move which outputs, a panel a run: dark is much. Below the diagonal, white in a model that
    cannot see its target, are a frame and those after it."""
    figure, axes = plt.subplots(1, len(runs), figsize=(2.7 * len(runs) + 0.6, 3.9), sharey=True, squeeze=False)
    for axis, run in zip(axes[0], runs):
        moved = np.array(run.result["moved"])
        axis.imshow(np.log10(np.maximum(moved, 1e-6)), cmap="Greys", vmin=-5, vmax=0)
        axis.plot([-0.5, len(moved) - 0.5], [-0.5, len(moved) - 0.5], color="tab:red", linewidth=1)
        model = run.result["model"]
        axis.set(title=f"{model['core']}\n{model['regime'].replace('_', ' ')}", xlabel="frame predicted")
        axis.title.set_fontsize(11)
        axis.grid(False)
    axes[0][0].set(ylabel="frame changed")
    return figure


def picture(figure: Figure, alt: str | None = None, name: str = "figure") -> SVG:
    """A figure as SVG whose text is text, to be shown; the figure is closed, so that nothing shows it a second time.

    `alt` says what it shows to who cannot see it, by default its titles and labels; ids follow from `name`."""
    content, alt = io.StringIO(), alt or described(figure)
    try:
        with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            figure.savefig(content, format="svg", transparent=True,
                           metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    finally:
        plt.close(figure)
    return SVG(_inked(content.getvalue(), alt))


def described(figure: Figure) -> str:
    """A figure's titles, axes and labels in words."""
    said = [figure.get_suptitle()]
    for axis in figure.axes:
        sides = " against ".join(filter(None, (axis.get_ylabel(), axis.get_xlabel())))
        said.append(": ".join(filter(None, (axis.get_title(), sides))))
    labels = dict.fromkeys(label for axis in figure.axes for label in axis.get_legend_handles_labels()[1])
    said.append(", ".join(labels))
    return ". ".join(" ".join(words.split()) for words in dict.fromkeys(said) if words)


def _inked(svg: str, alt: str) -> str:
    """matplotlib's SVG with black as the colour of the text around it, in any sans-serif font and of the width that there is.

    A notebook, or a README, shows it black on white."""
    for pattern, new in ((r"<!--.*?-->", ""), (r'<g id="[^"]*"', "<g"), (r'font-family: [^;"]*(; )?', ""), (r"\s*\n\s*", " "),
                         (r"(fill|stroke): #000000", r"\1: currentColor")):
        svg = re.sub(pattern, new, svg)
    width, height, box = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt" viewBox="([^"]*)"', svg).groups()
    root = (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="figure" role="img" '
            f'aria-label="{escape(alt)}" width="{width}pt" height="{height}pt" viewBox="{box}" fill="currentColor" '
            'font-family="system-ui, sans-serif" stroke-linejoin="round" style="color: #1c1e21; background: #ffffff; '
            f'min-width: {LEGIBLE * float(width):.0f}pt; max-width: {WIDEST * float(width):.0f}pt">')
    return root + svg[svg.index("</defs>") + len("</defs>"):]


def keep(figure: Figure, study: str, name: str, alt: str | None = None) -> SVG:
    """The picture of a figure, written to figures/<study>/<name>.svg too."""
    shown = picture(figure, alt, name)
    write_atomic(figures_root(study) / f"{name}.svg", shown.data.encode())
    return shown
