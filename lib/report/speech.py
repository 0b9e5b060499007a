"""The study of speech in the report: what each core says of sentences it never heard, at what cost, told how much."""
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ..config import CONDITIONING, EMBEDDED, PRIMARY, RECIPES, SPREAD, WIDTHS, ModelConfig, SpeechConfig, restored
from ..metrics.stats import Interval, coverage, finite_interval
from ..records import Record
from .claims import METRICS, Comparison, Results, Sample, brief, compare, headline, named, sized, tabled, typical
from .figures import colour, label_lines
from .prose import device, implementations
from .results import Report, medians, step_samples

HEADLINE = ("phoneme_error_predicted", "held_out_loss")
DEAF = 0.3          # phoneme error of a recogniser on what the codec leaves of speech, from which on nothing is judged by it


def error(rows: pd.DataFrame) -> float:
    """Phoneme errors per phoneme over all sentences; nan where there is none."""
    return float(rows.errors.sum() / rows.phonemes.sum()) if len(rows) else np.nan


def runs(report: Report) -> pd.DataFrame:
    """A line for each run that was listened to and each kind of durations: what it was, and how well it says the test
    sentences; `validation` is its phoneme error on the validation sentences."""
    trained, out = {run.name: run for group in report.speech.values() for run in group}, []
    for part, group in report.said.items():
        for said in group:
            run, config = trained.get(said.result["train"]), said.result["config"]
            if run is None:             # trained anew since, and not listened to yet
                continue
            rows = pd.DataFrame(said.result["rows"])
            for durations, spoken in rows.groupby("durations", sort=False):
                test = spoken[spoken.split == "test"]
                out.append({
                    "part": part, **{k: config["model"][k] for k in ("core", "size", "conditioning", "units")},
                    "steps": config["steps"], "seed": config["seed"], "rate": config["learning_rate"], "durations": durations,
                    "error": error(test), "validation": error(spoken[spoken.split == "validation"]),
                    "mcd_db": test.mcd_db.mean(), "f0_cents": test.f0_cents.mean(), "ended": test.ended.mean(),
                    "loss": run.result["test"]["loss"], "losses": run.result["test"].get("losses", []),
                    "accuracy": np.mean(run.result["test"]["per_codebook"]),
                    "parameters": run.result["core_parameters"], "cpu_s": sum(run.result["cpu_seconds"]),
                    "frames": sum(run.result["frames"]),
                    "shuffled": said.result["shuffled_text"], "run": run.name, "said": said.name,
                    "sentences": tuple(zip(test.id, test.errors, test.phonemes))})
    return pd.DataFrame(out, columns=["part", "core", "size", "conditioning", "units", "steps", "seed", "rate", "durations", "error",
                                      "validation", "mcd_db", "f0_cents", "ended", "loss", "losses", "accuracy", "parameters", "cpu_s",
                                      "frames", "shuffled", "run", "said", "sentences"])


def results(report: Report, part: str = "headline") -> Results:
    """Samples of the metrics of a part, a seed a sample."""
    out: Results = {}
    table = runs(report)
    for row in table[table.part == part].itertuples():
        pair = f"seed {row.seed}"
        out.setdefault((row.core, f"phoneme_error_{row.durations}"), []).append(Sample(row.error, pair, row.said, row.sentences))
        if row.durations == "given":
            sentences = tuple((name, loss, 1) for (name, *_), loss in zip(row.sentences, row.losses))
            out.setdefault((row.core, "held_out_loss"), []).append(Sample(row.loss, pair, row.run, sentences))
    return out | (long_results(report) if part == "headline" else {})


def long_texts(report: Report) -> pd.DataFrame:
    """A line for each seed of the headline, each length of the texts that it was given, and each way of saying them."""
    out = []
    for core, seed, run in _long_runs(report):
        rows = pd.DataFrame(run.result.get("rows", []), columns=["seconds", "way", "expected", "said", "errors", "phonemes"])
        of = {key: texts for key, texts in rows.groupby(["seconds", "way"], sort=False)}
        lines = [{"seconds": seconds, "way": way, "texts": len(texts), "frames": texts.expected.sum(), "said": texts.said.sum(),
                  "error": error(texts), "ceiling": error(of[seconds, "codec"])}
                 for (seconds, way), texts in of.items() if way != "codec"]
        lines += [{**row, "way": "window" if row["window"] else "carried"} for row in run.result.get("lengths", [])]    # of old
        out += [{"core": core, "seed": seed, "run": run.name, **line} for line in lines]
    return pd.DataFrame(out, columns=["core", "way", "seed", "run", "seconds", "texts", "frames", "said", "error", "ceiling"])


def _long_runs(report: Report) -> list[tuple[str, int, Record]]:
    """Core, seed and record of what each run that is there said of long texts."""
    seeds = {run.name: run.identity["config"]["seed"] for group in report.speech.values() for run in group}
    return [(run.result["core"], seeds[run.result["train"]], run) for run in report.longer if run.result["train"] in seeds]


def long_results(report: Report) -> Results:
    """Samples of phoneme error on the longest texts, each core in its best way, as "core (way)". The way is the one with the
    least error, over all seeds, on the first half of these texts, and the samples are of the others; where a record holds no
    text by itself there are none."""
    best, others = _long_halves(report)
    return {(f"{core} ({way})", "phoneme_error_long"): [
        Sample(error(texts), f"seed {seed}", run)
        for (seed, run), texts in others[(others.core == core) & (others.way == way)].groupby(["seed", "run"], sort=False)]
        for core, way in best.items()}


def _long_halves(report: Report) -> tuple[dict[str, str], pd.DataFrame]:
    """Core -> the way with the least error on the first half of the longest texts; and a line for each text of the others."""
    rows = pd.DataFrame([{"core": core, "seed": seed, "run": run.name, **row} for core, seed, run in _long_runs(report)
                         for row in run.result.get("rows", []) if row["way"] != "codec"],
                        columns=["core", "seed", "run", "way", "seconds", "text", "errors", "phonemes"])
    rows = rows[rows.seconds == rows.seconds.max()]
    first = rows.text < (rows.text.max() + 1) // 2
    return {core: min(mine.way.unique(), key=lambda way: error(mine[mine.way == way]))
            for core, mine in rows[first].groupby("core", sort=False)}, rows[~first]


def long_means(report: Report) -> tuple[pd.Series, dict[str, str]]:
    """Phoneme error on the longest texts by core and way, mean over seeds, and the best way of each core; the texts are those
    that the way was not chosen by, or all where a record holds no text by itself."""
    best, others = _long_halves(report)
    if best:
        seeds = others.groupby(["core", "way", "run"], sort=False)[["errors", "phonemes"]].sum()
        return (seeds.errors / seeds.phonemes).groupby(["core", "way"], sort=False).mean(), best
    texts = long_texts(report)
    means = texts[texts.seconds == texts.seconds.max()].groupby(["core", "way"], sort=False).error.mean().dropna()
    return means, {core: means[core].idxmin() for core in means.index.unique("core")}


def scope(report: Report, part: str = "headline") -> str:
    """What the verdicts on speech are limited to."""
    config = report.speech[part][0].identity["config"]
    return (f"{_trained_on(report, part)}, size {config['model']['size']}, {config['steps']:,} steps, conditioning "
            f"{config['model']['conditioning']}")


def _trained_on(report: Report, part: str) -> str:
    """How much speech a run heard, frames summed over its steps, mean over the runs of a part, and of how much."""
    group = report.speech[part]
    pool, heard = (frames / report.frame_rate / 60 for frames in (
        group[0].result["train_frames"], np.mean([sum(run.result["frames"]) for run in group])))
    whose = "one voice" if report.study.corpus == EMBEDDED else "the corpus"
    return f"{heard:.0f} minutes of {whose} heard in training, {heard / pool:.2f} times the pool of {pool:.0f} minutes"


def protocol(report: Report) -> str:
    """How the study of speech was made, in a few sentences."""
    run = report.speech["headline"][0]
    config, e = run.identity["config"], run.environment
    model, heard = config["model"], report.recogniser.result["test"]
    device = f"{e['cores']} CPU cores, a run a core" if e["device"] == "cpu" else e["device"]
    own = next(iter(heard["error"]))        # what it was heard on first: speech, or codes
    wrong = f"{heard['error'][own]:.1%} on {len(heard['sentences'])} sentences of its own"
    if report.bounds:
        said = dict(list(pd.DataFrame(report.bounds.result["rows"]).groupby("what")))
        limits = {"speech": "of the speech that the cores say", "codec": "after the codec"}
        wrong += "".join(f", {words} {error(said[what]):.1%} on {len(said[what])}" for what, words in limits.items() if what in said)
    whose = "of one voice, each of at most 4 seconds" if report.study.corpus == EMBEDDED else "aligned with their text"
    return (f"The study of speech: {report.corpus.result['speech']}, {run.result['phrases']:,} phrases {whose}; "
            f"{run.result['core_parameters'] / 1e6:.1f} million parameters a core; {model['codebooks']} codebooks, "
            f"{model['pattern']} pattern; {config['steps']:,} steps of {config['batch']} phrases: "
            f"{_trained_on(report, 'headline')}; conditioning {model['conditioning']}, {model['units']}; greedy decoding; {device}. "
            f"Of the phonemes of what it hears the recogniser gets wrong: {wrong}.{_alignment(report)}")


def _alignment(report: Report) -> str:
    """How the times of an own corpus were found, in sentences; "" where they came with it."""
    if not (run := report.alignment):
        return ""
    r, aside = run.result, sum(run.result["set_aside"].values())
    minutes = r["frames"] / report.frame_rate / 60
    reasons = f" ({', '.join(f'{reason}: {n}' for reason, n in r['set_aside'].items())})" if aside else ""
    return (f" When each phoneme is said was learned from {r['clips']:,} clips, {minutes:.0f} minutes, with the "
            f"phonemes of espeak-ng's voice {r['voice']} ({run.name}); {aside:,} were set aside{reasons}, and "
            f"{r['single_frame']:.1%} of the phonemes last a single frame.")


def bound(report: Report) -> float | None:
    """The phoneme error that the codec alone leaves."""
    rows = pd.DataFrame([row for row in report.bounds.result["rows"] if row["what"] == "codec"] if report.bounds else [])
    return error(rows) if len(rows) else None


def deaf(report: Report) -> bool:
    """Whether the recogniser gets too much of the codec's own sound wrong to judge cores by."""
    return bool((bound(report) or 0) > DEAF)


def gate(report: Report) -> list[Comparison]:
    """Each core of the primary family that was heard against the control, which mixes no frames."""
    samples = results(report)
    pairs = [(core, "pointwise") for core in PRIMARY if {core, "pointwise"} <= {heard for heard, _ in samples}]
    return compare(samples, pairs, HEADLINE, scope(report), report.study.trial)


def comparisons(report: Report) -> list[Comparison]:
    """The primary family: the cores of it that were heard, pairwise, in what the task does not leave to the control."""
    samples = results(report)
    heard = [core for core in PRIMARY if core in {core for core, _ in samples}]
    failed = {HEADLINE[0]} if deaf(report) else set()
    failed |= {c.metric for c in gate(report) if c.tested and c.winner != c.a}
    return compare(samples, [(b, a) for a, b in combinations(heard, 2)], [m for m in HEADLINE if m not in failed],
                   scope(report), report.study.trial)


def long_comparisons(report: Report) -> list[Comparison]:
    """Each core in its best way against the transformer in its own, on the longest texts, adjusted together."""
    samples = long_results(report)
    said = [core for core, _ in samples]
    pairs = [(core, other) for other in said if other.startswith("transformer ") for core in said if core != other]
    return compare(samples, pairs, ("phoneme_error_long",), scope(report), report.study.trial)


def gate_words(report: Report) -> str:
    """Whether every core beats the control, without which the task says nothing about cores."""
    found, words = gate(report), []
    for metric in HEADLINE:
        mine, noun = [c for c in found if c.metric == metric and c.tested], METRICS[metric].noun
        if short := [c.a for c in mine if c.winner != c.a]:
            words.append(f"In {noun} {', '.join(short)} not shown to be better than the control: there the task says "
                         "nothing about cores.")
        elif mine:
            least = min(mine, key=lambda c: c.interval.mean)
            words.append(f"In {noun} each of {', '.join(c.a for c in mine)} is better than the control; the least is "
                         f"{least.a}: {brief(least)}.")
    return " ".join(words) or "Not tested: that needs a core and the control with more than one seed each."


def simulated(report: Report, studies: int = 100) -> list[str]:
    """How often intervals like those of the primary family hold the truth, in simulated studies of each pair with the
    variances that it shows; none where sentences were not told apart."""
    samples, random, shares = results(report), np.random.default_rng(0), []
    for c in comparisons(report):
        ours, base = samples[c.a, c.metric], samples[c.b, c.metric]
        if c.tested and ours[0].sentences:
            table, sizes = tabled([*ours, *base])
            shares.append(coverage(table[:len(ours)], table[len(ours):], c.interval.n, studies, random, sizes))
    return [f"Of the 95 % intervals of phoneme errors, {np.mean(shares):.0%} hold the truth in {studies * len(shares):,} simulated "
            f"studies that draw seeds and sentences anew, with the variances measured between each two cores."] if shares else []


def price(report: Report) -> str:
    """What the hybrid costs beside the transformer: the very models whose quality is compared, and their very runs; nothing
    where that was not measured, or in a trial."""
    trained = runs(report)
    trained = trained[trained.part == "headline"].drop_duplicates("run")
    samples: Results = {}
    for row in trained.itertuples():
        samples.setdefault((row.core, "speech_cpu_min"), []).append(Sample(row.cpu_s / 60, f"seed {row.seed}", row.run))
    price, timed = "Its price, the training of these runs", report.steps_speech
    models = {restored(ModelConfig, run.identity["config"]["model"]) for run in report.speech["headline"]}
    if timed and models <= {restored(ModelConfig, described) for described in timed.identity["configs"]}:
        samples |= step_samples(timed)
        price += f" and one utterance of {report.study.frames} frames on {device(timed)}"
    found = headline(samples, metrics=("speech_cpu_min", "step_ms", "decode_ms"))
    found = [c for c in found if c.interval is not None]
    if not found or report.study.trial:
        return ""
    return (f"{price}: {'; '.join(map(brief, found))}. "
            + implementations(report.bench, found[0].a, found[0].b, trained["size"].iloc[0]))


def _share(values: ArrayLike) -> str:
    """The mean of shares, a seed each, and its interval, in %."""
    return _percent(finite_interval(values))


def _percent(i: Interval | None) -> str:
    if i is None:
        return "not measured"
    if i.n < 2:
        return f"{100 * i.mean:.1f} % (one seed)"
    return f"{100 * i.mean:.1f} % ({100 * max(0, i.low):.1f} to {100 * i.high:.1f}, n = {i.n})"


def _measured(value: float, digits: int) -> str:
    return "not measured" if np.isnan(value) else f"{value:.{digits}f}"


def headline_table(report: Report) -> pd.DataFrame:
    """Mean over seeds, with 95 % intervals for new seeds and sentences, of every core; the bounds below."""
    table, samples, out = runs(report), results(report), []
    table = table[table.part == "headline"]
    for core in report.study.speech_cores:
        mine = table[table.core == core]
        given = mine[mine.durations == "given"]
        if given.empty:
            continue
        row = {"core": core}
        for durations in ("given", "predicted"):
            metric = f"phoneme_error_{durations}"
            row[f"phoneme error, {durations} durations"] = _percent(typical(metric, samples.get((core, metric), [])))
        for column, label, digits in (("mcd_db", "mel-cepstral distortion, dB", 2), ("f0_cents", "F0 error, cents", 0),
                                      ("loss", "held-out loss", 3), ("accuracy", "held-out accuracy", 3)):
            row[label] = _measured(given[column].mean(), digits)
        out.append({**row, "learning rate": f"{given.rate.iloc[0]:g}", "ended by itself": f"{given.ended.mean():.0%}",
                    "training, CPU min": f"{given.cpu_s.mean() / 60:.1f}", "runs": ", ".join(given.said)})
    bounds = pd.DataFrame(report.bounds.result["rows"] if report.bounds else [],
                          columns=["what", "errors", "phonemes", "mcd_db", "f0_cents"])
    for name, rows in bounds.groupby("what", sort=False):
        label = {"speech": "the speech itself", "codec": "after the codec", "untrained": "an untrained model"}[name]
        out.append({"core": label, "phoneme error, given durations": f"{100 * error(rows):.1f} %",
                    "mel-cepstral distortion, dB": _measured(rows.mcd_db.mean(), 2),
                    "F0 error, cents": _measured(rows.f0_cents.mean(), 0)})
    shuffled = table.groupby("core").shuffled.mean().mean()
    out.append({"core": "what was said for another sentence", "phoneme error, given durations": f"{100 * shuffled:.1f} %"})
    return pd.DataFrame(out).fillna("")


def rates_table(report: Report) -> pd.DataFrame:
    """Validation loss of each core, and size, at each learning rate it chose from; of a run that diverged it is no number."""
    rows = [{**{k: r.identity["config"]["model"][k] for k in ("core", "size")}, "rate": r.identity["config"]["learning_rate"],
             "loss": np.nan_to_num(r.result["validation"][-1]["loss"], nan=np.inf)} for r in report.speech.get("rates", [])]
    if not rows:
        return pd.DataFrame(columns=["core", "size", "chosen"])
    table = pd.DataFrame(rows).pivot_table(index=["core", "size"], columns="rate", values="loss", sort=False)
    best = table.idxmin(axis=1)
    table = table.map(lambda loss: "not tried" if np.isnan(loss) else "diverged" if np.isinf(loss) else f"{loss:.3f}")
    table.columns = [f"{rate:g}" for rate in table.columns]
    return table.assign(chosen=[f"{rate:g}" for rate in best]).reset_index()


def at_the_edge(report: Report) -> list[str]:
    """The cores whose chosen learning rate is the least or the greatest of those tried, in words."""
    table = rates_table(report)
    tried = sorted((c for c in table.columns if c not in ("core", "size", "chosen")), key=float)
    edge = [sized(f"{named(row.core)} at size {row.size}") for row in table.itertuples(index=False)
            if row.chosen in (tried[0], tried[-1])]
    edge = edge if len(tried) > 1 else []
    return [f"The learning rate chosen for {', '.join(edge)} is at the edge of those tried ({tried[0]} to {tried[-1]}): a better "
            "one may lie beyond."] if edge else []


def runs_table(report: Report) -> pd.DataFrame:
    """Every run that was listened to, one by one."""
    return pd.DataFrame([{
        "part": r.part, "core": r.core, "size": r.size, "conditioning": r.conditioning, "units": r.units, "steps": r.steps,
        "seed": r.seed, "learning rate": f"{r.rate:g}", "durations": r.durations or "its own",
        "phoneme error": f"{100 * r.error:.1f} %",
        "on validation": "not measured" if np.isnan(r.validation) else f"{100 * r.validation:.1f} %",
        "held-out loss": f"{r.loss:.3f}", "run": r.said} for r in runs(report).itertuples()])


def curves(report: Report) -> Figure:
    """Validation loss against steps, frames seen and processor time: a line a run."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), sharey=True)
    labelled = set()
    for run in report.speech["headline"] + report.speech.get("time", []):
        core, points = run.identity["config"]["model"]["core"], run.result["validation"]
        steps = np.array([p["step"] for p in points])
        frames, seconds = (np.cumsum(run.result[key])[steps - 1] for key in ("frames", "cpu_seconds"))
        for axis, x in zip(axes, (steps, frames / 1e6, seconds / 60)):
            axis.plot(x, [p["loss"] for p in points], color=colour(core), alpha=0.7, linewidth=1.5,
                      label=None if (axis, core) in labelled else named(core))
            labelled.add((axis, core))
    for axis, label in zip(axes, ("training steps", "million frames seen", "processor minutes of one thread")):
        axis.set(xlabel=label)
    axes[0].set(ylabel="validation loss (nats per token)")
    label_lines(axes[-1])
    return figure


def strengths(report: Report) -> pd.DataFrame:
    """The runs that are told more or less of the text, in the study's units where there is a choice."""
    table = runs(report)
    return table[(table.part == "strengths") & ((table.units == report.study.units) | ~table.conditioning.isin(SPREAD))]


def strength_means(report: Report) -> pd.DataFrame:
    """Phonemes wrong in % with given durations, mean over seeds: what a frame is told, from least to most, × primary core."""
    shown = strengths(report)
    shown = shown[shown.durations != "predicted"]
    means = 100 * shown.groupby(["conditioning", "core"]).error.mean().unstack()
    means = means.loc[[c for c in CONDITIONING if c in means.index], [c for c in PRIMARY if c in means.columns]]
    return means.dropna(axis=1)         # of cores that were told all of it


def strength_spread(means: pd.DataFrame) -> tuple[float, str, str, pd.Series]:
    """How many points cores are apart at most, told the same; what they are told where they err least and most; and by how many
    points each core errs less by the first than by the second."""
    least, most = means.mean(axis=1).idxmin(), means.mean(axis=1).idxmax()
    return (means.max(axis=1) - means.min(axis=1)).max(), least, most, means.loc[most] - means.loc[least]


def strength_answer(report: Report) -> list[str]:
    """How much what a frame is told decides beside the core, in a sentence; none where it was tried in one way alone."""
    means, shown = strength_means(report), strengths(report)
    shown = shown[shown.durations != "predicted"]
    if min(means.shape) < 2:
        return []
    told = [f"{c} {row.min():.1f} to {row.max():.1f} %" for c, row in means.iterrows()]
    (between, least, most, fewer), seeds = strength_spread(means), shown.seed.nunique()
    control = 100 * shown[(shown.core == "pointwise") & (shown.conditioning == least)].error.mean()
    alone = f", and the control, which mixes no frames, is at {control:.1f} %" if np.isfinite(control) else ""
    return [f"How much does it matter what a frame is told of the text? Phoneme error with given durations, from the best core to "
            f"the worst: {', '.join(told)} ({shown.steps.max():,} steps, {seeds} seed{'s' * (seeds > 1)}). Told the same, cores are "
            f"at most {between:.1f} points apart; told {least} in place of {most}, each has {fewer.min():.0f} to {fewer.max():.0f} "
            f"points fewer errors{alone}."]


def against_strength(report: Report) -> Figure:
    """Phoneme error of every core against how much its frames are told of the text; dots are runs, a line joins means."""
    shown = strengths(report)
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.4), sharey=True)
    for axis, durations in zip(axes, ("given", "predicted")):
        chosen = shown[shown.durations.isin([durations, ""])]
        present = [c for c in CONDITIONING if c in set(chosen.conditioning)]
        for core, mine in chosen.groupby("core", sort=False):
            means = mine.groupby("conditioning").error.mean()
            at = [i for i, c in enumerate(present) if c in means]
            axis.plot(at, [100 * means[present[i]] for i in at], "o-", color=colour(core), label=named(core))
        axis.set_xticks(range(len(present)), present)
        axis.set(xlabel="what a frame is told of the text, from least to most", title=f"{durations} durations")
    axes[0].set(ylabel="phonemes wrong on test sentences (%)", ylim=(0, None))
    label_lines(axes[-1])
    return figure


def strength_notes(report: Report) -> list[str]:
    """What each conditioning tells a frame."""
    present = set(runs(report).conditioning)
    return [f"{name}: {CONDITIONING[name]}" for name in CONDITIONING if name in present]


def cost_and_quality(report: Report) -> Figure:
    """Phoneme error against what it costs, a panel a cost: dots are seeds of the headline."""
    table = runs(report)
    mine = table[(table.part == "headline") & (table.durations == "given")]
    trained = {run.name: run for group in report.speech.values() for run in group}
    costs = {"parameters of the core (millions)": lambda r: r.result["core_parameters"] / 1e6,
             "training, MFLOP per frame": lambda r: r.result["training_flops_per_frame"] / 1e6,
             "decoding state after 4 s (kB)": lambda r: r.result["state_bytes"]["300"] / 1e3,
             "after 64 s (kB)": lambda r: r.result["state_bytes"]["4800"] / 1e3,
             "training, CPU ms per frame": lambda r: 1e3 * sum(r.result["cpu_seconds"]) / sum(r.result["frames"])}
    if report.steps_speech:
        costs["decoding, ms per frame"] = lambda r: np.mean(
            medians(report.steps_speech, r.identity["config"]["model"]["core"], "decode_ms") or [np.nan])
    figure, axes = plt.subplots(1, len(costs), figsize=(3.1 * len(costs), 3.8), sharey=True)
    for axis, (label, value) in zip(axes, costs.items()):
        for core, rows in mine.groupby("core", sort=False):
            axis.plot([value(trained[name]) for name in rows.run], 100 * rows.error, "o", color=colour(core), label=named(core))
        axis.set(xlabel=label, xlim=(0, None))
    axes[0].set(ylabel="phonemes wrong (%)", ylim=(0, None))
    axes[0].legend(fontsize=8)
    return figure


WAYS = {"carried": "on one state through the whole text", "window": "so too, attention reading no more frames than in training",
        "restarted": "each sentence by itself, as the speaker does",
        "without positions": "on one state, attention trained without rotary positions"}
LINES = {"carried": "-", "window": "--", "restarted": ":", "without positions": "-."}


def long_notes(report: Report) -> list[str]:
    """What each way of saying a long text is, and what it does not show."""
    present = set(long_texts(report).way)
    return [*(f"{way}: {words}" for way, words in WAYS.items() if way in present),
            "Carried or with a window a text of several sentences may end in the second half of its last sentence at the earliest, "
            "whatever the model says: that it would have ended too soon is not counted there, as it is restarted and among single "
            "sentences."]


def longer_table(report: Report) -> pd.DataFrame:
    """Phoneme error against length, mean over seeds: training heard at most 4 seconds."""
    return pd.DataFrame([{"core": core, "way": way, "seconds": f"{seconds:.0f}", "texts": rows.texts.iloc[0],
                          "phoneme error": _share(rows.error), "after the codec": f"{100 * rows.ceiling.mean():.1f} %",
                          "frames said, of expected": f"{rows.said.sum() / rows.frames.sum():.0%}", "runs": ", ".join(rows.run)}
                         for (core, way), mine in long_texts(report).groupby(["core", "way"], sort=False)
                         for seconds, rows in mine.groupby("seconds")])


def against_seconds(report: Report) -> Figure:
    """Phoneme error against the length of the text, a line style a way: dots are seeds, a line joins their means."""
    table, (figure, axis) = long_texts(report), plt.subplots(figsize=(8, 4.4))
    for (core, way), rows in table.groupby(["core", "way"], sort=False):
        axis.plot(rows.seconds, 100 * rows.error, ".", color=colour(core))
        axis.plot(100 * rows.groupby("seconds").error.mean(), LINES[way], color=colour(core), label=named(f"{core} ({way})"))
    axis.plot(100 * table.groupby("seconds").ceiling.mean(), "k-.", linewidth=1, label="after the codec")
    axis.axvspan(0, 4, color="grey", alpha=0.2, zorder=0)
    axis.set(xlabel="length of the text (seconds); training heard the shaded", ylabel="phonemes wrong (%)", ylim=(0, None),
             xlim=(0, None))
    label_lines(axis)
    return figure


AROUND = {"units": "its letters in place of phonemes", "cores": "another core", "sizes": "another size",
          "time": "as much time as a core"}


def around(report: Report) -> pd.DataFrame:
    """The runs around the headline, one seed each: below those that differ from it in the number of steps alone, what
    differs in one thing more."""
    table = runs(report)
    if "strengths" not in report.said:
        return pd.DataFrame()
    same = table[(table.part == "strengths") & (table.conditioning == report.study.alignment)]
    rows = pd.concat([same.assign(part="as the headline"), *(table[table.part == part].assign(part=what)
                                                            for part, what in AROUND.items())])
    out = []
    for (_, part), durations in rows.groupby(["run", "part"], sort=False):
        of = {row.durations: row for row in durations.itertuples()}
        if not {"given", "predicted"} <= of.keys():
            continue
        given, predicted = of["given"], of["predicted"]
        out.append({"what differs": part, "core": given.core, "size": given.size, "units": given.units,
                    "parameters": f"{given.parameters:,}", "steps": f"{given.steps:,}",
                    "rate": f"{given.rate:g}", "CPU min": f"{given.cpu_s / 60:.1f}",
                    "phoneme error, given durations": f"{100 * given.error:.1f} %",
                    "with predicted ones": f"{100 * predicted.error:.1f} %",
                    "held-out loss": f"{given.loss:.3f}", "run": given.said})
    return pd.DataFrame(out)


def recipe_table(report: Report) -> pd.DataFrame:
    """The transformer by each recipe, one seed: loss and phoneme error on validation, and by how much the loss is more or
    less than with none of it."""
    of = {row.run: row for row in runs(report).itertuples() if row.part == "recipe" and row.durations == "given"}
    rows = [(restored(SpeechConfig, run.identity["config"]), run) for run in report.speech.get("recipe", []) if run.name in of]
    if not rows:
        return pd.DataFrame()
    losses = [run.result["validation"][-1]["loss"] for _, run in rows]
    none = next((loss for (c, _), loss in zip(rows, losses) if (c.model.recipe, c.beta2) == RECIPES[0]), np.nan)
    return pd.DataFrame([{
        "recipe": ", ".join(c.model.recipe) or "none of it", "β2": f"{c.beta2:g}", "validation loss": f"{loss:.3f}",
        "against none of it": f"{100 * (loss / none - 1):+.1f} %" if np.isfinite(loss / none) else "not measured",
        "validation phoneme error, given durations": f"{100 * of[run.name].validation:.1f} %",
        "CPU min": f"{of[run.name].cpu_s / 60:.1f}", "run": run.name} for (c, run), loss in zip(rows, losses)])


def width_comparisons(report: Report) -> list[Comparison]:
    """The hybrid with each width of its convolutions against Mamba without any, parameters equal, adjusted together."""
    pairs = [(core, "mamba") for core in WIDTHS if core != "mamba"]
    return compare(results(report, "widths"), pairs, ("phoneme_error_given", "held_out_loss"), scope(report, "widths"),
                   report.study.trial)


def against_width(report: Report) -> Figure:
    """Phoneme error and held-out loss against the widths of the convolutions: dots are seeds, a line joins their means."""
    samples, (figure, axes) = results(report, "widths"), plt.subplots(1, 2, figsize=(11, 4))
    for axis, metric, label, scale in ((axes[0], "phoneme_error_given", "phonemes wrong, given durations (%)", 100),
                                       (axes[1], "held_out_loss", "loss on held-out sentences", 1)):
        present = [core for core in WIDTHS if (core, metric) in samples]
        values = [[scale * s.value for s in samples[core, metric]] for core in present]
        axis.plot([at for at, seeds in enumerate(values) for _ in seeds], [v for seeds in values for v in seeds], "o",
                  color=colour("mamba_conv"), alpha=0.6)
        axis.plot([np.mean(v) for v in values], "-", color=colour("mamba_conv"))
        axis.set_xticks(range(len(present)), [" + ".join(map(str, WIDTHS[core])) or "none" for core in present])
        axis.set(xlabel="kernels of the convolutions beside Mamba", ylabel=label)
    axes[0].set(ylim=(0, None))
    return figure


def first_seeds(report: Report) -> dict[str, Record]:
    """Core -> what its first seed said, of the headline."""
    first: dict[str, Record] = {}
    for said in report.said.get("headline", []):
        first.setdefault(said.result["config"]["model"]["core"], said)
    return first
