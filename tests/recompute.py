"""Say which published numbers are not what the run records give: `python tests/recompute.py`.

Recomputed are README.md's verdict, the first screen of report.html with its figure, the pairwise verdicts below it and
results.csv. Of the reference only the manifest and the records that it names are read, and nothing of the project is imported:
what a number means is taken from README.md and the page, statistics are written again from the papers named here.
"""
import csv
import html
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, permutations, product
from pathlib import Path
from statistics import mean, median

import numpy as np
from scipy import stats

REPOSITORY = Path(__file__).resolve().parent.parent
NAMES = {"transformer": "Transformer", "mamba_conv": "Mamba + convolution", "mamba": "Mamba", "mamba2": "Mamba-2",
         "interleaved": "Mamba with attention", "pointwise": "pointwise"}
CODEC = "the codec"
TOKEN = re.compile("|".join(map(re.escape, sorted((*NAMES.values(), CODEC), key=len, reverse=True)))
                   + r"|\b\d+M\b|(?<![\w.-])-?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")      # what speaks, a size or a number
FRAMES = 75             # a second
FAILS = 1.5             # times its error in its best way, from which on a core's error on one state is said too
ERRORS, LOSS = "phoneme errors", "loss"


@dataclass(frozen=True)
class Number:
    """What the records give for a number, and which they are."""
    what: str
    value: float
    runs: list[dict] = field(hash=False)

    def agrees(self, shown: str) -> bool:
        """Whether it is what is shown, to the digits shown."""
        return abs(float(shown.replace(",", "")) - self.value) <= 0.5 * 10 ** -len(shown.partition(".")[2]) + 1e-9


Token = Number | set[Number] | str | None       # a set: in any order; None: a number that the records alone do not give


def names(runs: Iterable[dict]) -> str:
    return ", ".join(run["name"] for run in runs)


def owned(tokens: Iterable[Token]) -> dict[str, list[Token]]:
    """Numbers by the name before them; sizes apart."""
    out: dict[str, list[Token]] = {"": [], "size": []}
    owner = ""
    for token in tokens:
        if isinstance(token, str) and re.fullmatch(r"\d+M", token):
            out["size"].append(token)
        elif token in (*NAMES.values(), CODEC):
            out.setdefault(owner := token, [])
        else:
            out[owner].append(token)
    return out


def differences(place: str, text: str, expected: Sequence[Token]) -> Iterator[str]:
    """Where the names of a text, and after each its numbers, are not those expected. A size need not be said."""
    found, wanted = owned(TOKEN.findall(re.sub(r"matched-(\d+)m", r"\1M", text))), owned(expected)
    sizes, orders = set(found.pop("size")) - set(wanted.pop("size")), {}
    for name, numbers in wanted.items():
        ways = product(*(permutations(one) if isinstance(one, set) else [(one,)] for one in numbers))
        orders[name] = [list(chain(*way)) for way in ways]
    if sizes or {name: len(of) for name, of in found.items()} != {name: len(ways[0]) for name, ways in orders.items()}:
        words = [f"{one.what} {one.value:.6g} by {names(one.runs)}" for ways in orders.values() for one in ways[0] if one]
        yield f"{place}: {text!r} has other names, sizes or numbers than {', '.join(wanted)}: {'; '.join(words)}"
        return
    for name, ways in orders.items():
        for one, shown in min(([(one, shown) for one, shown in zip(way, found[name]) if one and not one.agrees(shown)]
                               for way in ways), key=len):
            yield f"{place}: {one.what} is {shown} there and {one.value:.6g} by {names(one.runs)}"


class Reference:
    """The records of a manifest by role, each with its name."""

    def __init__(self, folder: Path):
        manifest = json.loads((folder / "manifest.json").read_text())
        self.roles = {role: [json.loads((folder / "runs" / name / "record.json").read_text()) | {"name": name} for name in runs]
                      for role, runs in manifest.items()}
        self.named = {run["name"]: run for runs in self.roles.values() for run in runs}

    def of(self, role: str, core: str = "") -> list[dict]:
        """The runs of a role and of all below it, of one core or of all."""
        return [run for name, runs in self.roles.items() if f"{name}/".startswith(f"{role}/") for run in runs
                if not core or self.core(run) == core]

    def config(self, run: dict) -> dict:
        """How a model was trained; of what was said or heard, the one that spoke."""
        return self.named.get(run["result"].get("train"), run)["identity"]["config"]

    def core(self, run: dict) -> str:
        return self.config(run)["model"]["core"]


def spoken(said: dict, durations: str) -> list[dict]:
    """Test sentences with given or predicted durations, or with its own where a model is told none."""
    return [row for row in said["result"]["rows"] if row["split"] == "test" and row["durations"] in (durations, "")]


def error(rows: Sequence[dict]) -> float:
    return sum(row["errors"] for row in rows) / sum(row["phonemes"] for row in rows)


@dataclass(frozen=True)
class Estimate:
    """A mean for new seeds and new sentences: its variance, the degrees of freedom of that, and what more seeds would leave."""
    mean: float
    variance: float
    df: float
    left: float
    seeds: int
    sentences: int

    def interval(self) -> np.ndarray:
        return self.mean + stats.t.ppf([0.025, 0.975], self.df) * np.sqrt(self.variance)

    def beyond(self, distance: float) -> float:
        return float(stats.t.sf(distance / np.sqrt(self.variance), self.df))

    def would_decide(self, margin: float, level: float, power: float = 0.8, most: int = 50) -> str:
        """How many seeds, more than there were, one of the two tests needs to decide with this power."""
        for n in (*range(self.seeds + 1, most + 1), np.inf):
            of_seeds = (self.variance - self.left) * self.seeds / n
            square = of_seeds ** 2 / (2 * (n - 1)) + self.left ** 2 / max(self.sentences - 1, 1)
            df = (of_seeds + self.left) ** 2 / square if square else np.inf
            needed = (stats.t.ppf([1 - level / 2, 1 - level], df) + stats.t.ppf(power, df)) * np.sqrt(of_seeds + self.left)
            if (needed < [abs(self.mean), margin - abs(self.mean)]).any():
                return f"{n} seeds would decide" if n <= most else f"more than {most} seeds would be needed"
        return "no number of seeds would decide"


def estimate(mean: float, cores: Sequence[tuple[float, np.ndarray]], sizes: np.ndarray) -> Estimate:
    """From the sums of each seed and sentence (seeds, sentences), each core's with its weight; sizes (sentences,).

    Sentences are crossed with seeds, seeds are nested in a core: the variance of Clark's quasi-F (1973), never less than that
    of seeds or of sentences alone, degrees of freedom by Satterthwaite (1946); the ratio to the sizes is linearised."""
    share, m = sizes / sizes.mean(), len(sizes)
    of_seeds, of_rest, columns = [], [], np.zeros(m)
    for weight, table in cores:
        x, n = weight * table / sizes.mean(), len(table)
        seed, column = x.mean(1), x.mean(0) - share * x.mean()
        columns += column
        of_seeds.append((seed.var(ddof=1) / n, n - 1))
        if m > 1:
            df, rest = (n - 1) * (m - 1), x - share * seed[:, None] - column
            of_rest.append(((rest ** 2).sum() / df / (n * m), df))
    of_sentences = [((columns ** 2).sum() / (m - 1) / m, m - 1)] if m > 1 else []
    s, r, c = (sum(v for v, _ in part) for part in (of_seeds, of_rest, of_sentences))
    variance, square = max((v, sum(one ** 2 / df for one, df in parts)) for v, parts in (
        (s + c - r, of_seeds + of_rest + of_sentences), (s, of_seeds), (c, of_sentences)))
    return Estimate(mean, variance, variance ** 2 / square, max(c - r, 0), min(len(table) for _, table in cores), m)


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p values, in the order given (Holm 1979)."""
    return np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1))[np.argsort(np.argsort(p))]


def headline(ref: Reference, core: str, metric: str) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Errors or losses (seeds, sentences), the sizes of the sentences (sentences,), and the runs."""
    runs = ref.of("said/headline" if metric == ERRORS else "speech/headline", core)
    if metric == ERRORS:
        rows = [sorted(spoken(run, "predicted"), key=lambda row: row["id"]) for run in runs]
        errors = np.array([[row["errors"] for row in of] for of in rows], float)
        return errors, np.array([row["phonemes"] for row in rows[0]], float), runs
    losses = np.array([run["result"]["test"].get("losses", [run["result"]["test"]["loss"]]) for run in runs])
    return losses, np.ones(losses.shape[1]), runs


@dataclass(frozen=True)
class Pair:
    """How much less of a metric one core has than another, and who is better."""
    ours: str
    base: str
    metric: str
    less: Estimate
    winner: str | None
    verdict: str
    runs: list[dict]


def family(ref: Reference, pairs: Iterable[tuple[str, str]], margins: dict[str, float]) -> list[Pair]:
    """The pairs in each metric, phoneme errors by their difference, losses by their ratio, adjusted together: equal where two
    one-sided tests (Schuirmann 1987) hold the difference within the margin, else better where it is separated from 0."""
    found = []
    for ours, base, metric in ((*pair, metric) for pair in pairs for metric in margins):
        (a, sizes, runs), (b, _, others) = (headline(ref, core, metric) for core in (ours, base))
        of_a, of_b = a.mean() / sizes.mean(), b.mean() / sizes.mean()
        if metric == LOSS:
            e = estimate(1 - of_a / of_b, [(of_a / of_b ** 2, b), (-1 / of_b, a)], sizes)
        else:
            e = estimate(of_b - of_a, [(1, b), (-1, a)], sizes)
        found.append((ours, base, metric, e, runs + others))
    apart = holm([2 * e.beyond(abs(e.mean)) for *_, e, _ in found])
    alike = holm([e.beyond(margins[metric] - abs(e.mean)) for _, _, metric, e, _ in found])
    out = []
    for (ours, base, metric, e, runs), different, equal in zip(found, apart, alike):
        winner = (ours if e.mean > 0 else base) if equal >= 0.05 > different else None
        within = f"{100 * margins[metric]:g} {'%' if metric == LOSS else 'point'}"
        verdict = (f"{NAMES[winner]} is better" if winner else f"equal within {within}" if equal < 0.05 else
                   f"undecided, {e.would_decide(margins[metric], 0.05 / len(found))}")
        out.append(Pair(ours, base, metric, e, winner, verdict, runs))
    return out


def after_codec(ref: Reference) -> Number:
    bounds = ref.of("bounds")
    rows = [row for row in bounds[0]["result"]["rows"] if row["what"] == "codec"]
    return Number("phonemes wrong after the codec", 100 * error(rows), bounds)


def quality(ref: Reference, cores: Sequence[str]) -> list[Token]:
    tokens: list[Token] = []
    for core in cores:
        said = ref.of("said/headline", core)
        wrong = mean(error(spoken(run, "predicted")) for run in said)
        tokens += [NAMES[core], Number(f"phonemes wrong of {core}", 100 * wrong, said)]
    return [*tokens, CODEC, after_codec(ref)]


def told(ref: Reference, cores: Sequence[str]) -> list[Token]:
    """How many points what a frame is told moves, mean over cores; how far cores that are told the same are apart at most; the
    steps and the seeds of these runs."""
    runs = [run for run in ref.of("said/strengths") if ref.core(run) in cores]
    errors: dict[str, dict[str, list[float]]] = {}      # what is told -> core -> of each seed
    for run in runs:
        of = errors.setdefault(ref.config(run)["model"]["conditioning"], {})
        of.setdefault(ref.core(run), []).append(100 * error(spoken(run, "given")))
    whole = [core for core in cores if all(core in of for of in errors.values())]
    table = np.array([[mean(of[core]) for core in whole] for of in errors.values()])       # (told, cores)
    best, worst = table.mean(1).argmin(), table.mean(1).argmax()
    return [Number("points that what a frame is told moves", (table[worst] - table[best]).mean(), runs),
            Number("points between cores told the same", np.ptp(table, axis=1).max(), runs),
            Number("steps of those told more or less", max(ref.config(run)["steps"] for run in runs), runs),
            Number("their seeds", len({ref.config(run)["seed"] for run in runs}), runs)]


def long_texts(ref: Reference, core: str) -> tuple[str, dict[str, list[tuple[dict, float]]]]:
    """The way in which a core says the longest texts best, chosen by their first half; of each way the runs, and what each got
    wrong of the others. Where a record holds no text by itself, all of them choose and count."""
    rows = [(run, row) for run in ref.of("longer", core) for row in run["result"].get("rows") or [
        {"seconds": row["seconds"], "way": "window" if row["window"] else "carried", "text": 0, "errors": row["error"],
         "phonemes": 1} for row in run["result"]["lengths"]] if row["way"] != "codec"]
    longest = max(row["seconds"] for _, row in rows)
    half = (max(row["text"] for _, row in rows) + 1) // 2
    of: dict[str, list[tuple[dict, dict]]] = {}
    for run, row in rows:
        if row["seconds"] == longest:
            of.setdefault(row["way"], []).append((run, row))
    best = min(of, key=lambda way: error([row for _, row in of[way] if row["text"] < half or not half]))
    return best, {way: [(run, error([row for by, row in said if by is run and row["text"] >= half]))
                        for run in ref.of("longer", core) if any(by is run for by, _ in said)] for way, said in of.items()}


def length(ref: Reference, cores: Sequence[str]) -> list[Token]:
    runs = ref.of("longer")
    seconds = max(row["seconds"] for key in ("rows", "lengths") for row in runs[0]["result"].get(key, []))
    tokens: list[Token] = [Number("seconds of the longest texts", seconds, runs)]
    for core in (core for core in cores if ref.of("longer", core)):
        best, said = long_texts(ref, core)
        wrong = {way: 100 * mean(share for _, share in of) for way, of in said.items()}
        ways = {best, "carried"} if wrong.get("carried", 0) > FAILS * wrong[best] else {best}
        tokens += [NAMES[core], {Number(f"phonemes wrong of {core} on long texts, {way}", wrong[way],
                                        [run for run, _ in said[way]]) for way in ways}]
    return tokens


def crossover(run: dict, part: str, before: str, after: str) -> float | None:
    """Frames beyond which the core `after` is the faster one, median over processes: where the times, each a power law between
    two lengths, cross last. None where it does not end as the faster one in each."""
    last = []
    for process in run["result"]["processes"]:
        slow, fast = ({row["frames"]: median(row[part]) for row in process[core]} for core in (before, after))
        lengths = sorted(slow)
        ahead = np.log([slow[n] / fast[n] for n in lengths])
        turns = np.flatnonzero((ahead[1:] > 0) != (ahead[:-1] > 0))
        if ahead[-1] <= 0 or not len(turns):
            return None
        around = slice(turns[-1], turns[-1] + 2)
        last.append(np.exp(np.interp(0, ahead[around], np.log(lengths)[around])))
    return median(last)


def cost(ref: Reference, cores: Sequence[str]) -> list[Token]:
    """Of Mamba beside the Transformer: the state after the longest utterance, the lengths beyond which it is faster."""
    (lengths,), (memory,) = ref.of("lengths"), ref.of("memory_lengths")
    frames = max(lengths["identity"]["lengths"])
    of_mamba, of_transformer = (Number(f"MB of state of {core}", row["state_bytes"] / 1e6, [memory])
                                for core in ("mamba", "transformer") for row in memory["result"]["cores"][core]
                                if (row["frames"], row["process"]) == (frames, 0))
    beyond = [Number(f"seconds beyond which mamba {what} faster", at / FRAMES, [lengths])
              for what, part in (("trains", "step_ms"), ("decodes", "decode_ms"))
              if (at := crossover(lengths, part, "transformer", "mamba"))]
    seconds = Number("seconds until state is counted", frames / FRAMES, [lengths])
    size = re.sub(r"matched-(\d+)m", r"\1M", lengths["result"]["size"])
    return ["Mamba", size, of_mamba, seconds, "Transformer", of_transformer, *beyond]


def learning(ref: Reference, cores: Sequence[str], share: float) -> list[Token]:
    """Who learned most, and how far validation losses are apart: at a share of the steps, and when the first run got there."""
    runs = [run for run in ref.of("speech/headline") if ref.core(run) in cores]
    curves: dict[str, list[tuple[np.ndarray, list[float]]]] = {}        # core -> of each seed, minutes and losses
    for run in runs:
        points = [point for point in run["result"]["validation"] if point["step"] <= share * ref.config(run)["steps"]]
        minutes = np.cumsum(run["result"]["cpu_seconds"])[[point["step"] - 1 for point in points]] / 60
        curves.setdefault(ref.core(run), []).append((minutes, [point["loss"] for point in points]))
    curves = {core: seeds for core, seeds in curves.items() if all(np.isfinite(losses).all() for _, losses in seeds)}
    until = min(minutes[-1] for seeds in curves.values() for minutes, _ in seeds)
    by = {"steps": {core: mean(losses[-1] for _, losses in seeds) for core, seeds in curves.items()},
          "time": {core: mean(np.interp(until, *seed) for seed in seeds) for core, seeds in curves.items()}}
    return [*dict.fromkeys(NAMES[min(of, key=of.get)] for of in by.values()),
            *(Number(f"loss apart by {how}", max(of.values()) - min(of.values()), runs) for how, of in by.items())]


def original(ref: Reference, cores: Sequence[str]) -> list[Token]:
    """How many claims there are, and are reproduced, takes the claims; by how much the cores' sizes differ is recorded."""
    pair = [ref.of("train", core)[0] for core in ("transformer", "mamba_conv")]
    large, small = (run["result"]["core_parameters"] for run in pair)
    return [None, None, "Transformer", Number("times the parameters of the hybrid's core", large / small, pair)]


def scope(ref: Reference) -> list[Token]:
    runs, steps = ref.of("speech/headline"), ref.of("steps")
    config, seeds = ref.config(runs[0]), {ref.config(run)["seed"] for run in runs}
    heard, pool = (np.mean([np.sum(run["result"][key]) / FRAMES / 60 for run in runs]) for key in ("frames", "train_frames"))
    return [Number("minutes heard in training", heard, runs), Number("times the pool", heard / pool, runs),
            Number("minutes of the pool", pool, runs), re.sub(r"matched-(\d+)m", r"\1M", config["model"]["size"]),
            Number("steps", config["steps"], runs), Number("seeds", len(seeds), runs),
            Number("processor cores", steps[0]["environment"]["cores"], steps)]


def lead(pairs: Sequence[Pair]) -> list[str]:
    """Words that the answer in one sentence must hold."""
    pairs = [pair for pair in pairs if pair.metric == ERRORS]
    if not pairs:
        return ["No verdict"]
    cores = {core for pair in pairs for core in (pair.ours, pair.base)}
    best = [core for core in cores if sum(pair.winner == core for pair in pairs) == len(cores) - 1]
    beside = [{"mamba_conv": "helps", "mamba": "harms"}.get(pair.winner, "makes no difference" if "equal" in pair.verdict else
              "is not shown to help") for pair in pairs if {pair.ours, pair.base} == {"mamba", "mamba_conv"}]
    return [f"{NAMES[best[0]]} says new sentences best" if best else "No winner", *beside]


def drawn(place: str, svg: str, ref: Reference, cores: Sequence[str]) -> Iterator[str]:
    """The headline figure: a bar is an interval, dots are seeds, a mark their mean, dashed is the codec alone."""
    def at(pattern: str) -> list[tuple[str, ...]]:
        """What a pattern finds, of which the first is its height, from the top down."""
        return sorted(re.findall(pattern, svg), key=lambda one: float(one[0]))

    ticks = re.findall(r'middle"[^>]* x="([\d.]+)"[^>]*>([\d.]+)</text>', svg)
    scale = np.poly1d(np.polyfit(*np.array(ticks, float).T, 1))
    labels, means = (at(rf'text-anchor: {side}"[^>]* y="([\d.]+)"[^>]*>({words})</text>')
                     for side, words in (("end", "[^<]+"), ("start", "[^<]+%")))
    bars = at(r'<path [^>]*d="M (?=[\d.]+ ([\d.]+) )([\d.]+) \1 L ([\d.]+) \1 "[^>]*stroke-width: 5\b')
    marks = at(r'<use (?=[^>]* y="([\d.]+)")[^>]* x="([\d.]+)"')
    texts = []
    for (_, name), (_, mean_of), (y, *ends) in zip(labels, means, bars):
        on_bar = sorted((x for at_y, x in marks if at_y == y), key=float)
        texts += [name, mean_of, *(f"{scale(float(x)):.3f}" for x in (*ends, *on_bar))]
    expected: list[Token] = []
    for core in cores:
        table, sizes, runs = headline(ref, core, ERRORS)
        seeds = 100 * table.sum(1) / sizes.sum()
        low, high = estimate(seeds.mean(), [(100, table)], sizes).interval()
        values = {"mean": seeds.mean(), "lower end": low, "upper end": high}
        expected += [NAMES[core], *(Number(f"{what} of phonemes wrong of {core}", x, runs) for what, x in values.items()),
                     *(Number(f"a seed or the mean of {core}", x, runs) for x in sorted((*seeds, seeds.mean())))]
    dashed = re.findall(r'd="M ([\d.]+) [\d.]+ L \1 [\d.]+ "[^>]*stroke-dasharray', svg)
    texts += [f"{CODEC} {scale(float(x)):.3f}" for x in dashed]
    yield from differences(place, " ".join(texts), [*expected, CODEC, after_codec(ref)])


def compared(place: str, page: str, pairs: Iterable[Pair]) -> Iterator[str]:
    """The pairwise verdicts below the first finding, a sentence each."""
    below = page.partition('<h3 id="quality">')[2].partition("<h3 id=")[0]
    below = re.sub(r"\binterleaved\b", NAMES["interleaved"], re.sub(r"\b(the )?control\b", NAMES["pointwise"], below))
    items = {html.unescape(re.sub("<[^>]*>", "", item)) for item in re.findall("<li>(.*?)</li>", below)}
    items = {item for item in items if "(95 % interval" in item}
    for pair in pairs:
        what, e = f"{pair.metric} of {pair.ours} against {pair.base}", pair.less
        way = re.compile(rf"({re.escape(NAMES[pair.ours])} \w+ [\d.]+ (?:points|%) (\w+) {pair.metric} on unseen .* "
                         rf"than {re.escape(NAMES[pair.base])} \()95 % interval (.*?)\) on .*: (.*)\.")
        found = [match for match in map(way.fullmatch, items) if match]
        if len(found) != 1:
            yield f"{place}: {len(found)} sentences on {what}"
            continue
        items.remove(found[0][0])
        text, direction, interval, verdict = found[0].groups()
        ends = sorted(np.copysign(100, e.mean) * e.interval())
        sentences = [Number(f"sentences of {what}", e.sentences, pair.runs)] if e.sentences > 1 else []
        yield from differences(place, text + interval, [
            NAMES[pair.ours], Number(what, 100 * abs(e.mean), pair.runs), NAMES[pair.base],
            *(Number(f"{end} end of {what}", x, pair.runs) for end, x in zip(("lower", "upper"), ends)),
            Number(f"seeds of {what}", e.seeds, pair.runs), *sentences])
        if (direction == "more") != (e.mean < 0) or not verdict.startswith(pair.verdict):
            yield (f"{place}: {what} is {direction}, {verdict!r} there and {100 * e.mean:.4g} less, {pair.verdict!r} by "
                   f"{names(pair.runs)}")
    yield from (f"{place}: the records give no such comparison: {item!r}" for item in sorted(items))


def recorded(ref: Reference, run: dict, core: str, metric: str, pair: str) -> float | None:
    """The value of a row of results.csv by the record that it names, below 0 where it was never reached in so many steps; None
    where the record does not hold it."""
    r, (name, _, way), at = run["result"], core.partition(" "), int(pair.split()[1])
    if run["kind"] != "profile" and (ref.core(run), ref.config(run)["seed"]) != (name, at):
        return None
    match run["kind"], metric:
        case "said", _:
            return error(spoken(run, metric.removeprefix("phoneme_error_")))
        case "speech", "held_out_loss":
            return r["test"]["loss"]
        case "longer", _:
            best, said = long_texts(ref, name)
            return dict((by["name"], share) for by, share in said[best])[run["name"]] if way == f"({best})" else None
        case "listen", "token_match":
            return mean(sentence[metric] for sentence in r["sentences"][:ref.config(run)["clips"]])
        case "listen", "tokens_per_s":
            return mean(sentence[metric] for sentence in r["sentences"])
        case "train", "training_min":
            return r["training_s"] / 60
        case "train", "unseen_accuracy":
            return r["unseen"]["accuracy"]
        case "train", "final_loss" | "final_accuracy":
            return r["memorised"][metric.removeprefix("final_")]
        case "train", "steps_to_50" | "steps_to_90" | "steps_to_95" | "steps_to_100":
            share = {"50": "0.5", "90": "0.9", "95": "0.95", "100": "0.999"}[metric.removeprefix("steps_to_")]
            return r["steps_to"][share] or -r["steps"]
        case "profile", "parameters" | "core_parameters":
            return r[metric][core]
        case "profile", "peak_mb" | "average_mb" | "state_kb":
            key, unit = {"peak_mb": ("train_peak", 1e6), "average_mb": ("train_average", 1e6)}.get(metric, ("state_bytes", 1e3))
            where = ref.of("steps")[0]["identity"]["frames"], at
            return next(row[key] / unit for row in r["cores"][core] if (row["frames"], row["process"]) == where)
        case "profile", "decode_ms_4800":
            return next(median(row["decode_ms"]) for row in r["processes"][at][core] if row["frames"] == 4800)
        case "profile", "exponent_step_time":       # over the three greatest lengths
            points = sorted((row["frames"], median(row["step_ms"])) for row in r["processes"][at][core])
            return stats.linregress(*np.log(points[-3:]).T).slope
        case "profile", "steps_per_s":
            return 1e3 / median(r["processes"][at][core]["step_ms"])
        case "profile", _ if metric in r["processes"][at][core]:
            return median(r["processes"][at][core][metric])


def listed(place: str, rows: Iterable[dict[str, str]], ref: Reference) -> Iterator[str]:
    """Every row of results.csv, and the runs that it should name and does not."""
    named = set()
    for line, row in enumerate(rows, 2):
        core, metric, shown, pair, name = row.values()
        value = recorded(ref, ref.named[name], core, metric, pair) if name in ref.named else None
        there = re.fullmatch(r"(?:> )?-?\d+(?:\.\d+)?(?:e-?\d+)?", shown) and float(shown.replace("> ", "-"))
        if value is None or there is None or not np.isclose(there, value, rtol=1e-9, atol=0):
            yield f"{place}, line {line}: {metric} of {core}, {pair}, is {shown} there and {value} by {name}"
        named.add(name)
    for run in (run for role in ("said/headline", "speech/headline", "train", "listen") for run in ref.of(role)):
        if run["name"] not in named and ref.config(run)["model"]["regime"] == "causal":
            yield f"{place}: no row is of {run['name']}"


def disagreements(folder: Path = REPOSITORY / "figures" / "reference", readme: Path = REPOSITORY / "README.md") -> list[str]:
    """Each number that is not what the records give: where it stands, what it is there, what by which records."""
    ref = Reference(folder)
    text, page, svg = (path.read_text(encoding="utf-8") for path in (readme, folder / "report.html", folder / "answer.svg"))
    cores = [core for core in re.findall(r"`(\w+)`", re.search("The question is about(.*?);", text, re.DOTALL)[1])
             if ref.of("said/headline", core)]
    within = re.search(r"within (\d+) points?\s+of\s+phoneme error or (\d+) % of loss", text).groups()
    margins = dict(zip((ERRORS, LOSS), (int(n) / 100 for n in within)))
    gate = family(ref, [(core, "pointwise") for core in cores], margins)
    told_apart = {metric: margin for metric, margin in margins.items()
                  if all(pair.winner == pair.ours for pair in gate if pair.metric == metric)}
    primary = family(ref, [(b, a) for a, b in combinations(cores, 2)], told_apart)
    share = int(re.search(r"at (\d+) ?% of the steps, where no run has begun to cool down", page)[1]) / 100
    expected = {of.__name__: of(ref, cores) for of in (quality, told, length, cost, original)}
    expected["learning"] = learning(ref, cores, share)

    block = re.search("<!-- begin of what `make reference` writes -->(.*?)<!-- end", text, re.DOTALL)[1]
    screen = html.unescape(re.search('<div class="answer">.*?<p class="scope">.*?</p>', page, re.DOTALL)[0])
    findings = re.findall(r'<li><a href="#(\w+)">(.*?)</a></li>', screen)
    places = {"README.md": (re.search(r"\*\*(.*?)\*\*", block)[1], re.findall("^- (.*)", block, re.MULTILINE),
                            re.search("^Study .*", block, re.MULTILINE)[0]),
              "report.html": (re.search('"lead">(.*?)</p>', screen)[1], [line for _, line in findings],
                              re.search('"scope">(.*?)</p>', screen)[1])}
    found: list[str] = []
    for place, (answer, lines, limits) in places.items():
        found += [f"{place}: {answer!r} lacks {words!r}" for words in lead(primary) if words not in answer]
        found += differences(f"{place}, scope", limits, scope(ref))
        if len(lines) != len(findings) or {name for name, _ in findings} != expected.keys():
            found.append(f"{place}: {len(lines)} lines, on the page {[name for name, _ in findings]}; recomputed {[*expected]}")
        for (name, _), line in zip(findings, lines):
            found += differences(f"{place}, {name}", line, expected.get(name, []))
    found += drawn("answer.svg", svg, ref, cores)
    found += drawn("report.html, first figure", re.search("<svg.*?</svg>", screen, re.DOTALL)[0], ref, cores)
    found += compared("report.html, verdicts", page, primary + gate)
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        found += listed("results.csv", csv.DictReader(file), ref)
    return found


if __name__ == "__main__":
    print("\n".join(found := disagreements()) or "All agree.")
    sys.exit(bool(found))
