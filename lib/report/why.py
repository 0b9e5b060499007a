"""Behind the answer of the study of speech: quality against the budget, the decoding state, the layers and the text encoder,
and the text before the audio. One seed a run but for the headline's: numbers and no verdict."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..config import SpeechConfig, restored
from ..models.cores import CORES
from .claims import named
from .figures import colour, label_lines
from .results import Report, said_by
from .speech import error, runs

SPEAKS = 50         # phonemes wrong, %: with fewer a model is said to speak
LOSS, ERROR = "validation loss (nats per token)", "phonemes wrong, predicted durations (%)"


def rows(report: Report, *parts: str) -> pd.DataFrame:
    """A line for each run of these parts that was listened to, whatever parts share it: what it was, what it cost, and how
    well it says sentences never heard, with predicted durations where its conditioning has durations."""
    trained = {run.name: run for part in parts for run in report.speech.get(part, [])}
    out = []
    for name, spoken in runs(report).query("part in @parts").groupby("run", sort=False):
        run, config = trained[name], restored(SpeechConfig, trained[name].identity["config"])
        errors, model = dict(zip(spoken.durations, spoken.error)), config.model
        out.append({
            "core": model.core, "window": model.window, "state": model.state, "encoder": model.encoder, "seed": config.seed,
            "layers": model.layers or CORES[model.core][1][model.size].layers, "steps": config.steps,
            "frames": sum(run.result["frames"]), "minutes": sum(run.result["cpu_seconds"]) / 60,
            "kilobytes": run.result["state_bytes"]["4800"] / 1e3, "loss": run.result["validation"][-1]["loss"],
            "error": errors.get("predicted", errors.get("", np.nan)), "ended": spoken.ended.mean(), "run": name})
    return pd.DataFrame(out, columns=["core", "window", "state", "encoder", "seed", "layers", "steps", "frames", "minutes",
                                      "kilobytes", "loss", "error", "ended", "run"])


def against_budget(report: Report) -> Figure:
    """Validation loss at the end of runs of several lengths against their steps, the frames they saw and their processor
    time: dots are runs, a line joins means."""
    table, (figure, axes) = rows(report, "budget", "headline"), plt.subplots(1, 3, figsize=(13, 4), sharey=True)
    for axis, (column, label, scale) in zip(axes, (("steps", "training steps", 1), ("frames", "million frames seen", 1e-6),
                                                   ("minutes", "processor minutes of one thread", 1))):
        for core, mine in table.groupby("core", sort=False):
            axis.plot(scale * mine[column], mine.loss, ".", color=colour(core), alpha=0.5)
            means = mine.groupby("steps")[[column, "loss"]].mean()
            axis.plot(scale * means[column], means.loss, "-", color=colour(core), label=named(core))
        axis.set(xlabel=label, xscale="log")
    axes[0].set(ylabel=LOSS)
    label_lines(axes[-1])
    return figure


def flattening(report: Report) -> list[str]:
    """What the last doubling of the steps still brought each core: a line a core."""
    out = []
    for core, mine in rows(report, "budget", "headline").groupby("core", sort=False):
        means = mine.groupby("steps").loss.mean()
        if len(means) > 1 and means.index[-1] == 2 * means.index[-2]:
            before, after = means.iloc[-2:]
            out.append(f"{core}: from {means.index[-2]:,} to {means.index[-1]:,} steps the validation loss goes from {before:.3f} "
                       f"to {after:.3f} ({100 * (after / before - 1):+.1f} %)")
    return out


def _variant(row) -> str:
    """What is unusual of a run's core: "window 75", "state 4"."""
    names = [f"{name} {value:.0f}" for name, value in (("window", row.window), ("state", row.state)) if value == value and value]
    return ", ".join(names)


def _loss_and_error(table: pd.DataFrame, x: str, label: str) -> Figure:
    """Validation loss and phoneme error of each core's runs against a column."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.4))
    for axis, column, scale, name in ((axes[0], "loss", 1, LOSS), (axes[1], "error", 100, ERROR)):
        for core, mine in table.groupby("core", sort=False):
            mine = mine.sort_values(x)
            axis.plot(mine[x], scale * mine[column], "o-", color=colour(core), label=named(core))
            for row in mine.itertuples():
                axis.annotate(_variant(row), (getattr(row, x), scale * getattr(row, column)), fontsize=7, xytext=(4, 4),
                              textcoords="offset points")
        axis.set(xlabel=label, ylabel=name)
    label_lines(axes[-1])
    return figure


def against_state(report: Report) -> Figure:
    """Quality against the decoding state after 64 seconds, of each window and state."""
    figure = _loss_and_error(rows(report, "states"), "kilobytes", "decoding state after 64 seconds (kB)")
    for axis in figure.axes:
        axis.set(xscale="log")
    return figure


def against_layers(report: Report) -> Figure:
    """Quality against the number of layers, parameters equal."""
    return _loss_and_error(rows(report, "layers"), "layers", "layers, as many parameters")


def guided(report: Report) -> pd.DataFrame:
    """A line a core and guidance: phonemes wrong and how far F0 is distributed from the speech's, on the first test sentences."""
    out = []
    for one in said_by(report.speech.get("guidance", []), report.guided):
        said = pd.DataFrame(one.result["rows"]).query("split == 'test'")
        far = {p["way"]: p.get("f0_distance_cents") for p in one.result["passes"] if p["split"] == "test"}
        out += [{"core": one.result["core"], "guidance": one.identity["ways"][way].get("guidance", 1.0), "error": error(rows),
                 "f0": far[way]} for way, rows in said.groupby("way", sort=False)]
    return pd.DataFrame(out, columns=["core", "guidance", "error", "f0"]).astype({"f0": float})


def against_guidance(report: Report) -> Figure:
    """Phoneme error, and how far F0 is distributed from the speech's, against guidance: 1 is none."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 3))
    for core, mine in guided(report).groupby("core", sort=False):
        for axis, values in zip(axes, (100 * mine.error, mine.f0)):
            axis.plot(mine.guidance, values, "o-", color=colour(core), label=named(core))
    for axis, label in zip(axes, (ERROR, "F0 distribution, cents off")):
        axis.set(xlabel="how many times what the text brings is taken", ylabel=label, ylim=(0, None))
    label_lines(axes[-1])
    return figure


def masked(report: Report) -> pd.DataFrame:
    """A line a core and number of rounds, 0 for frame by frame: phonemes wrong on the first test sentences, and seconds that it takes
    to say a second, each sentence alone."""
    out = []
    for one in said_by(report.speech.get("masked", []), report.masked):
        filled = one.identity["ways"].keys() != {"frame by frame"}
        for way, rows in pd.DataFrame(one.result["rows"]).query("split == 'test'").groupby("way", sort=False):
            rounds = one.identity["ways"][way].get("rounds", 1) if filled else 0
            out.append({"core": one.result["core"], "rounds": rounds, "error": error(rows),
                        "seconds": rows.seconds.sum() / rows.frames.sum() * report.frame_rate})
    return pd.DataFrame(out, columns=["core", "rounds", "error", "seconds"])


def against_rounds(report: Report) -> Figure:
    """Phoneme error against the rounds of masked decoding, and against the time that a second of sound takes; dashed, and the square,
    is the same core frame by frame."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 3), sharey=True)
    found = masked(report)
    for core, rows in found.groupby("core", sort=False):
        filled, frames = rows[rows.rounds > 0], rows[rows.rounds == 0]
        axes[0].plot(filled.rounds, 100 * filled.error, "o-", color=colour(core))
        axes[1].plot(filled.seconds, 100 * filled.error, "o-", color=colour(core), label=named(core))
        for row in frames.itertuples():
            axes[0].axhline(100 * row.error, color=colour(core), linestyle="--", linewidth=1)
            axes[1].plot(row.seconds, 100 * row.error, "s", color=colour(core))
    axes[0].set(xlabel="rounds for the first codebook", ylabel=ERROR, xscale="log", ylim=(0, None))
    axes[1].set(xlabel="seconds to say a second", xscale="log")
    axes[0].set_xticks(sorted({*found.rounds} - {0}))
    for axis in axes:
        axis.xaxis.set_major_formatter("{x:g}")
    label_lines(axes[1])
    return figure


def layers_words(report: Report) -> str:
    """The phoneme error of each core at each number of layers."""
    return "Phonemes wrong by the number of layers: " + "; ".join(
        f"{named(core)} " + ", ".join(f"{row.layers} {100 * row.error:.1f} %" for row in mine.sort_values("layers").itertuples())
        for core, mine in rows(report, "layers").groupby("core", sort=False))


def encoders(report: Report) -> pd.DataFrame:
    """Each core with each text encoder."""
    return pd.DataFrame([{"core": row.core, "text encoder": row.encoder, "validation loss": f"{row.loss:.3f}",
                          "phoneme error": f"{100 * row.error:.1f} %", "run": row.run}
                         for row in rows(report, "encoder").itertuples()])


def prefix_words(report: Report) -> str:
    """Whether cores speak with the text before the audio, in a sentence; "" where that was not tried for long."""
    tried = rows(report, "prefix")
    if tried.empty:
        return ""
    spoke = {named(core): 100 * mine.error.mean() for core, mine in tried.groupby("core", sort=False)}
    told = ", ".join(f"{core} {wrong:.0f} %" for core, wrong in spoke.items())
    able = sum(wrong < SPEAKS for wrong in spoke.values())
    return (f" With the text before the audio alone, after {tried.steps.max():,} steps, {able} of {len(spoke)} cores speak, with "
            f"fewer than {SPEAKS} % of the phonemes wrong: {told}.")


def prefixed(report: Report) -> pd.DataFrame:
    """Each core with the text before the audio, as codec language models have it: whether it speaks."""
    return pd.DataFrame([{"core": row.core, "steps": f"{row.steps:,}", "CPU min": f"{row.minutes:.1f}",
                          "validation loss": f"{row.loss:.3f}", "phoneme error": f"{100 * row.error:.1f} %",
                          "ended by itself": f"{row.ended:.0%}", "run": row.run}
                         for row in rows(report, "prefix").itertuples()])
