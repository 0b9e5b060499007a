"""The claims of the original report, the rules that judge them by what was measured, and the computed verdict."""
import ast
import operator
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..config import WIDTHS
from ..metrics.stats import (
    Estimate,
    Interval,
    average,
    difference,
    holm,
    paired_difference,
    paired_saving,
    saving,
    t_interval,
)

REPRODUCED, NOT_REPRODUCED, BY_CONSTRUCTION = "reproduced", "not reproduced", "holds by construction"
NOT_COMPARABLE, CONTRADICTS = "not comparable", "contradicts itself"
TRIAL = "a trial of the pipeline"       # why nothing is judged in a study that is one
VERDICTS = (REPRODUCED, BY_CONSTRUCTION, NOT_REPRODUCED, CONTRADICTS, NOT_COMPARABLE)
CORES = ("transformer", "mamba_conv", "mamba")
NAMES = {"transformer": "Transformer", "mamba_conv": "Mamba + convolution", "mamba": "Mamba", "mamba2": "Mamba-2",
         "interleaved": "Mamba with attention", "conv": "convolution", "transformer_conv": "Transformer + convolution",
         "pointwise": "control",
         **{core: f"Mamba + convolutions {' and '.join(map(str, wide))}" for core, wide in WIDTHS.items() if len(wide) > 1}}

# how a long text is said, by the name of that in records
HOW = {"carried": "on one state", "window": "with a window", "restarted": "sentence by sentence", "without positions":
       "without positions"}


def parted(core: str) -> tuple[str, str]:
    """A core as sentences and figures name it, and the way in which it says long texts: "Mamba" and "on one state"."""
    name, _, way = core.partition(" ")
    return NAMES.get(name, name), HOW.get(way.strip("()"), way)


def named(core: str) -> str:
    """The same in one: "Mamba on one state"."""
    return " ".join(filter(None, parted(core)))


def sized(text: str) -> str:
    """A size as the page names it: "3M" for "matched-3m", "size original" for "size seed"."""
    return re.sub(r"\bsize seed\b", "size original", re.sub(r"\bmatched-(\d+)m\b", r"\1M", text))


@dataclass(frozen=True)
class Metric:
    verb: str                       # "mamba_conv <verb> 41 % less <noun> than transformer"
    noun: str
    unit: str = ""                  # "share" is a fraction that text shows in %, and differences in points
    by_difference: bool = False     # cores are compared by their difference, not by their ratio
    less: str = "less"
    more: str = "more"
    better: str = "less"
    exact: bool = False             # counted, so one value is enough
    depends_on: str = ""            # why an absolute figure cannot be compared with the original report's
    cost: bool = False              # time, memory, state or throughput, which follow size too
    margin: float = 0               # cores that differ by less are equal: a fraction of the other, or a difference


DATA = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))
METRICS = {name: Metric(**entry) for name, entry in DATA["metric"].items()}
MOST = 50           # seeds of a core that somebody may be told to train
HEADLINE = ("parameters", "step_ms", "tokens_per_s", "peak_mb", "steps_to_95", "token_match")


@dataclass(frozen=True)
class Sample:
    value: float
    pair: str       # what it shares with a sample of another core: "seed 0", "process 3"
    run: str        # the run record that it comes from
    sentences: tuple[tuple[str, float, int], ...] = ()  # id, errors and phonemes of each, or its loss and 1, where they are known
    censored: bool = False      # never reached: it is more than `value`


Results = dict[tuple[str, str], list[Sample]]   # (core, metric) -> samples


@dataclass(frozen=True)
class Claim:
    id: str
    section: str
    quote: str
    kind: str
    also: tuple[str, ...] = ()      # other sections that repeat it
    metric: str = ""
    core: str = ""
    than: str = ""
    says: float | None = None       # shares and savings as fractions
    unit: str = ""
    direction: str = "less"         # of a saving: core has less, or more, than the other
    tolerance: float | None = None  # value, arithmetic: in the unit; tie, no_worse: a fraction of the other, or a difference
    expression: str = ""            # arithmetic on the original report's own numbers
    against: str = ""               # the quote that contradicts
    why: str = ""
    by_construction: bool = False   # it holds here because the models were made so: no result
    polish: bool = False            # it is about Polish text: nothing can be said of it on a corpus in another language


@dataclass(frozen=True)
class Judgement:
    claim: Claim
    verdict: str
    measured: str
    explanation: str
    runs: tuple[str, ...]
    equal: "Judgement | None" = None    # of a claim on cost, where all cores have the same number of parameters


@dataclass(frozen=True)
class Comparison:
    metric: str
    a: str
    b: str
    interval: Interval | None       # how much less a has than b, a fraction of b or a difference; see `compare`
    outcome: str                    # better, equal, undecided, counted, no verdict
    winner: str | None
    verdict: str                    # the outcome in words
    sentence: str
    runs: tuple[str, ...]
    scope: str

    @property
    def tested(self) -> bool:
        return self.outcome in ("better", "equal", "undecided")


class _Unfit(Exception):
    """Why results cannot be judged, in words."""


NEEDS = {"value": ("core", "metric", "says"), "saving": ("core", "than", "metric", "says"),
         "tie": ("core", "than", "metric", "tolerance"), "no_worse": ("core", "than", "metric", "tolerance"),
         "arithmetic": ("expression", "says", "tolerance"), "contradiction": ("against", "why"), "none": ("why",)}


def load_claims(entries: Sequence[dict] = DATA["claim"]) -> list[Claim]:
    """The claims in the order of the original report, each checked."""
    if len({entry.get("id") for entry in entries}) < len(entries):
        raise ValueError("two claims have the same id")
    return [_claim(entry) for entry in entries]


def _claim(entry: dict) -> Claim:
    kind, metric = entry.get("kind"), METRICS.get(entry.get("metric"))
    learning = kind == "value" and metric and not (metric.exact or metric.depends_on)
    needs = ("id", "section", "quote", *NEEDS.get(kind, ()), *(("tolerance",) if learning else ()))
    choices = {"kind": NEEDS, "metric": METRICS, "core": CORES, "than": CORES, "direction": ("less", "more"),
               **({"unit": (metric.unit,)} if metric else {})}
    problems = [f"no field {f!r} in a claim" for f in entry.keys() - Claim.__annotations__.keys()]
    problems += [f"no {f} {entry[f]!r}: choose one of {', '.join(c)}" for f, c in choices.items()
                 if f in entry and entry[f] not in c]
    problems += [f"a {kind} needs {f!r}" for f in ("kind", *needs) if f not in entry]
    if problems:
        raise ValueError(f"claim {entry.get('id', '?')}: {problems[0]}")
    return Claim(**{**entry, "also": tuple(entry.get("also", ()))})


def evaluate(expression: str) -> float:
    """The value of numbers joined by + - * / and brackets; anything else is refused."""
    operators = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in operators:
            return operators[type(node.op)](value(node.left), value(node.right))
        raise ValueError(f"{expression!r} is not plain arithmetic")
    return value(ast.parse(expression, mode="eval").body)


def judge(claim: Claim, results: Results, scope: str, trial: bool = False) -> Judgement:
    """What the results make of a claim. "Reproduced" means shown here, not merely left unrefuted.

    value: the whole t interval lies within says +- tolerance (what is counted: within 1 %); an absolute figure that
    depends on more than the model is shown but not comparable.
    saving: the interval excludes 0 in the claimed direction and reaches half of what is said.
    tie: the whole interval lies within +- tolerance; not separated alone shows no tie. no_worse: of that the worse side alone
    counts. The interval of two cores is that of `compare`: for new seeds and new sentences; of times and memory from the least to
    the most over processes.
    arithmetic: contradicts itself where the original report's own numbers do not give what it says; where they do, the claim
    only repeats them.
    A level that a core never reached is more than the steps it had, and is judged where that suffices (`_by_bound`).
    What holds because the models were made so is called that and not reproduced. One run of a core gives no verdict, except
    on what is counted; results that are missing, not finite or of no ratio are not comparable, and in a trial of the
    pipeline nothing is.
    """
    measured, runs, reason = "", (), ""
    verdict = CONTRADICTS if claim.kind == "contradiction" else NOT_COMPARABLE
    if claim.kind == "contradiction":
        reason = f"Elsewhere it says: \"{claim.against}\"."
    elif claim.kind == "arithmetic":
        value = evaluate(claim.expression)
        measured, reason = f"{claim.expression} = {value:.4g}", "It only repeats other numbers of the report."
        if abs(value - claim.says) > claim.tolerance:
            verdict, reason = CONTRADICTS, f"Its own numbers give {value:.4g}, and it says {claim.says:.4g}."
    elif claim.kind != "none":
        try:
            m = _measure(results, claim.metric, claim.core, claim.than, bounds=True)
            if claim.than and not m.bound:
                m, _ = _contrast(results, claim.core, claim.than, claim.metric)
            measured, runs = f"{m.amount} {m.bracket}{m.means}", m.runs
            verdict, reason = _verdict(claim, m)
            if claim.by_construction and verdict == REPRODUCED:
                verdict = BY_CONSTRUCTION
            reason += f" Measured on {scope}."
        except _Unfit as unfit:
            reason = f"{unfit}."
    if trial:
        verdict, reason = NOT_COMPARABLE, f"{TRIAL.capitalize()}."
    return Judgement(claim, verdict, measured, " ".join(filter(None, (reason, claim.why))), runs)


def _verdict(claim: Claim, m: "_Measured") -> tuple[str, str]:
    metric, i = METRICS[claim.metric], m.interval
    relative = claim.kind != "value"
    said = "The report gives no number."
    if claim.says:
        way = f" {getattr(metric, claim.direction)}" if relative else ""
        said = f"The report says {_text(metric, relative, claim.says)}{way}."
    if claim.kind in ("tie", "no_worse"):
        said = "The report calls them equal." if claim.kind == "tie" else "The report calls it no worse."
    if claim.kind == "value" and metric.depends_on:
        return NOT_COMPARABLE, f"{said} An absolute figure depends on {metric.depends_on}."
    if i.n < 2 and not metric.exact:
        return NOT_COMPARABLE, f"{said} One {m.pair} gives no verdict."
    verdict, reason = _by_interval(claim, m)
    if m.bound:
        verdict, reason = _by_bound(claim, m, verdict)
    return verdict, f"{said} {reason}"


def _by_interval(claim: Claim, m: "_Measured") -> tuple[str, str]:
    """What the interval says of a claim, and why."""
    metric, i, relative = METRICS[claim.metric], m.interval, claim.kind != "value"
    if claim.kind == "saving":
        low, high = (i.low, i.high) if claim.direction == "less" else (-i.high, -i.low)
        if low <= 0 <= high:
            return NOT_REPRODUCED, "Not separated: the interval includes 0."
        if high < 0:
            return NOT_REPRODUCED, "Separated, but the other way."
        if high < claim.says / 2:
            return NOT_REPRODUCED, "Separated, but by less than half of that."
        return REPRODUCED, f"{'Counted' if metric.exact else 'Separated'}{', and at least half of that' * bool(claim.says)}."
    low, high = _allowed(claim)
    allowed = _text(metric, relative, low, high)
    if claim.kind == "no_worse":
        margin, word = (-low, metric.more) if np.isinf(high) else (high, metric.less)
        allowed = f"at most {_text(metric, relative, margin)} {word}"
    if low <= i.low and i.high <= high:
        return REPRODUCED, f"Allowed is {allowed}: it holds."
    outside = i.high < low or i.low > high
    return NOT_REPRODUCED, f"Allowed is {allowed}: {'it does not hold' if outside else 'the interval reaches beyond'}."


def _allowed(claim: Claim) -> tuple[float, float]:
    """Between what a value, or how much less a core has than the other, may lie."""
    metric, centre = METRICS[claim.metric], claim.says if claim.kind == "value" else 0.0
    if claim.kind == "saving":
        return (0.0, np.inf) if claim.direction == "less" else (-np.inf, 0.0)
    margin = centre / 100 if claim.tolerance is None else claim.tolerance
    if claim.kind == "no_worse":
        return (-margin, np.inf) if metric.better == "less" else (-np.inf, margin)
    return tuple(_possible(metric, claim.kind != "value", centre - margin, centre + margin))


def _by_bound(claim: Claim, m: "_Measured", verdict: str) -> tuple[str, str]:
    """What may be said where the values that are not known enter as their bounds, and give `verdict`. A claim is not
    reproduced where that mean already lies beyond what is allowed, and the true one farther. A saving is reproduced where
    it is so counted up to the bound: the true one is greater. Anything else is left open."""
    mean, (low, high) = m.interval.mean, _allowed(claim)
    if m.bound == "least" and mean >= high or m.bound == "most" and mean <= low:
        return NOT_REPRODUCED, "The bound suffices: it does not hold, however many more it would take."
    greater = "least" if claim.direction == "less" else "most"
    if claim.kind == "saving" and m.bound == greater and verdict == REPRODUCED:
        return REPRODUCED, "The bound suffices: it holds, however many more the other would take."
    return NOT_COMPARABLE, "The bound does not suffice: longer runs would decide."


@dataclass(frozen=True)
class _Measured:
    interval: Interval      # of the core's value, or of how much less it has than the other
    amount: str             # "41 % less"
    bracket: str            # "(95 % interval 39 to 43 %, n = 5 processes)"
    means: str              # ": 10.2 ms against 17.2 ms"
    pair: str               # what is repeated: "seed", "process"
    runs: tuple[str, ...]
    bound: str = ""         # where values are censored, the true mean is more ("least") or less ("most"), or not known ("none")


def _measure(results: Results, name: str, core: str, than: str = "", bounds: bool = False) -> _Measured:
    """The value of a core, or how much less it has than another over their pairs, none left out in silence. Censored values
    are measured only where `bounds` will do, and enter as theirs."""
    metric, groups = METRICS[name], []
    for c in filter(None, (core, than)):
        samples = results.get((c, name), [])
        if not samples:
            raise _Unfit(f"Not measured: {name} of {c}")
        groups.append({s.pair: s for s in samples})
        if len(groups[-1]) < len(samples):
            raise _Unfit(f"Two values of {name} of {c} have the same pair")
        if odd := [s.pair for s in samples if not np.isfinite(s.value)]:
            raise _Unfit(f"Not a finite number: {name} of {c} in {', '.join(odd)}")
    never = {c: [s for s in group.values() if s.censored] for c, group in zip((core, than), groups)}
    if any(never.values()) and not bounds:
        raise _Unfit("Never reached: " + ", ".join(f"{name} of {c} in {s.pair} (> {_text(metric, False, s.value)})"
                                                   for c, cut in never.items() for s in cut))
    if odd := groups[0].keys() ^ groups[-1].keys():
        raise _Unfit(f"Not measured: {name} of both {core} and {than} in {', '.join(sorted(odd))}")
    ours = operator.lt if metric.cost or metric.exact else operator.le      # an estimate's mean of 0 has no ratio either
    below = zip((core, than), groups, (ours, operator.le)) if than and not metric.by_difference else ()
    if odd := [f"{c} in {s.pair}" for c, group, is_below in below for s in group.values() if is_below(s.value, 0)]:
        raise _Unfit(f"No ratio, since not above 0: {name} of {', '.join(odd)}")
    values = [np.array([group[pair].value for pair in groups[0]]) for group in groups]
    means = ""
    if not than:
        i = t_interval(values[0])
        i = Interval(i.mean, *_possible(metric, False, i.low, i.high), i.n)
    else:
        ours, base = values
        i = paired_difference(base, ours) if metric.by_difference else paired_saving(base, ours)
        means = ": " + " against ".join(f"{'> ' * bool(never[c])}{_text(metric, False, v.mean())}"
                                        for c, v in zip((core, than), values))
    if metric.exact:
        i = Interval(i.mean, i.mean, i.mean, i.n)
    amount, span = _amount(metric, bool(than), i)
    pair = next(iter(groups[0])).rsplit(" ", 1)[0]
    pairs = f"{pair}{'es' if pair.endswith('s') else 's'}"
    bracket = f"(95 % interval {span}, n = {i.n} {pairs})" if i.n > 1 else f"(one {pair}, no interval)"
    bound = ""
    if any(never.values()):
        bound = "none" if than and never[core] and never[than] else "most" if than and never[core] else "least"
        times = [f"{c} never in {len(cut)} of {i.n} {pairs}" for c, cut in never.items() if cut]
        bracket, more = f"({'; '.join(times)})", "more" if (bound == "least") == (i.mean >= 0) else "less"
        amount = f"> {amount}" if not than else "not known" if bound == "none" else f"{more} than {amount}"
    return _Measured(i, amount, "(counted)" if metric.exact else bracket, means, pair,
                     tuple(dict.fromkeys(s.run for group in groups for s in group.values())), bound)


def _amount(metric: Metric, relative: bool, i: Interval) -> tuple[str, str]:
    """A mean, where relative how much less or more it is, and its interval: "41 % less", "39 to 43 %"."""
    sign, word = (-1, metric.more) if relative and i.mean < 0 else (1, metric.less if relative else "")
    return (f"{_text(metric, relative, sign * i.mean)} {word}".strip(),
            _text(metric, relative, *sorted((sign * i.low, sign * i.high))))


def _possible(metric: Metric, relative: bool, *bounds: float) -> list[float]:
    """The bounds, within 0 and 1 where they are of a share."""
    return np.clip(bounds, 0, 1).tolist() if metric.unit == "share" and not relative else list(bounds)


def _text(metric: Metric, relative: bool, *values: float) -> str:
    """Numbers and their unit: "17.2 ms", "39 to 43 %"; a difference of shares is in points."""
    unit = metric.unit
    if unit == "share" or relative and not metric.by_difference:
        numbers = [f"{100 * v:.{2 if not relative else 0 if abs(v) >= 0.0995 else 1}f}" for v in values]
        unit = "points" if relative and metric.by_difference else "%"
    elif relative:
        numbers = [f"{v:.2g}" for v in values]
    else:
        numbers = [f"{v:,.0f}" if v >= 1000 else f"{v:.4g}" for v in values]
    return f"{' to '.join(numbers)} {unit}".strip()


def headline(results: Results, a: str = "mamba_conv", b: str = "transformer", metrics: Sequence[str] = HEADLINE,
             scope: str = "", trial: bool = False) -> list[Comparison]:
    """How a compares with b in each metric."""
    return compare(results, [(a, b)], metrics, scope, trial)


def compare(results: Results, pairs: Sequence[tuple[str, str]], metrics: Sequence[str], scope: str,
            trial: bool = False) -> list[Comparison]:
    """How the cores of each pair compare in each metric: all these are one family. In a trial of the pipeline nothing is tested.

    Quality is compared by mean and 95 % interval for new seeds, and for new sentences where samples hold them. Cores are equal
    where two one-sided tests hold the difference within the metric's margin, be it separated from 0 or not: the margin is what
    was said beforehand not to matter. Else one is better where it is separated from 0. Both tests are adjusted over the family
    (Holm): a false "equal" is in at most 5 % of studies, and so is a false "better". What is left is undecided.
    Times and memory are compared by median, least and most over processes, with no test: better is what was so in all.
    """
    asked = [(a, b, name) for a, b in pairs for name in metrics]
    measured: dict[tuple[str, str, str], _Measured | _Unfit] = {}
    estimates: dict[tuple[str, str, str], Estimate] = {}
    for key in asked:
        try:
            measured[key], estimate = _contrast(results, *key)
            if estimate and estimate.n > 1:
                estimates[key] = estimate
        except _Unfit as unfit:
            measured[key] = unfit
    apart = _holm({key: e.p_difference() for key, e in estimates.items()})
    alike = _holm({key: e.p_equivalence(within) for key, e in estimates.items() if (within := METRICS[key[2]].margin)})
    return [_comparison(*key, measured[key], _decide(*key, measured[key], estimates.get(key), alike.get(key, 1.0),
                                                    apart.get(key, 1.0), len(estimates), trial), scope) for key in asked]


def _holm(p: dict[tuple[str, str, str], float]) -> dict[tuple[str, str, str], float]:
    return dict(zip(p, holm(list(p.values())).tolist())) if p else {}


def _contrast(results: Results, a: str, b: str, name: str) -> tuple[_Measured, Estimate | None]:
    """How much less a has than b, and the estimate behind it; none of what is counted or timed."""
    metric, m, ours, base = METRICS[name], _measure(results, name, a, b), results[a, name], results[b, name]
    if metric.exact:
        return m, None
    if metric.cost:
        of = {s.pair: s.value for s in base}
        less = [of[s.pair] - s.value if metric.by_difference else 1 - s.value / of[s.pair] for s in ours]
        estimate, i = None, Interval(float(np.median(less)), min(less), max(less), len(less))
    else:
        table, sizes = tabled([*base, *ours])
        estimate = (difference if metric.by_difference else saving)(table[:len(base)], table[len(base):], sizes)
        i = estimate.interval()
    amount, span = _amount(metric, True, i)
    m = replace(m, interval=i, amount=amount)
    if i.n > 1:
        sentences = f", {estimate.m} sentences" if estimate and estimate.m > 1 else ""
        once = "of one day on one machine" if m.pair == "process" else "on one machine"
        m = replace(m, bracket=f"(95 % interval {span}, n = {_repeats(m)}{sentences})" if estimate else
                    f"({span} over {_repeats(m)} {once})")
    return m, estimate


def typical(name: str, samples: Sequence[Sample]) -> Interval | None:
    """A core's mean and 95 % interval for new seeds and new sentences; of times and memory median, least and most. None where
    there is no sample, one that is not a finite number, or other sentences in another."""
    values = [s.value for s in samples]
    if not values or not np.isfinite(values).all():
        return None
    if METRICS[name].exact or METRICS[name].cost:
        return Interval(float(np.median(values)), min(values), max(values), len(values))
    try:
        return average(*tabled(samples)).interval()
    except _Unfit:
        return None


def tabled(samples: Sequence[Sample]) -> tuple[list, list[int] | None]:
    """Samples as a table (seeds, sentences) of errors, and the phonemes of each sentence; where one does not hold these,
    (seeds, 1) of values."""
    if not all(s.sentences for s in samples):
        return [[s.value] for s in samples], None
    if len({tuple((name, size) for name, _, size in s.sentences) for s in samples}) > 1:
        raise _Unfit("Not all said the same sentences")
    return [[errors for _, errors, _ in s.sentences] for s in samples], [size for _, _, size in samples[0].sentences]


def _repeats(m: _Measured) -> str:
    return f"{m.interval.n} {m.pair}{'es' if m.pair.endswith('s') else 's'}"


def _decide(a: str, b: str, name: str, m: _Measured | _Unfit, e: Estimate | None, alike: float, apart: float, tests: int,
            trial: bool) -> tuple[str, str | None, str]:
    """The outcome of a comparison, one of `tests` in its family whose adjusted p are given, who is better, and it in words."""
    metric = METRICS[name]
    if isinstance(m, _Unfit):
        return "no verdict", None, "no verdict"
    if metric.exact:
        return "counted", None, "counted"
    if trial or m.interval.n < 2:
        return "no verdict", None, f"{TRIAL if trial else f'one {m.pair}'} gives no verdict"
    if alike < 0.05:
        return "equal", None, f"equal within {margin(metric)}"
    if apart < 0.05 or e is None and (m.interval.low > 0 or m.interval.high < 0):
        winner = a if (m.interval.mean > 0) == (metric.better == "less") else b
        return "better", winner, f"{winner} is better"
    if e is None:
        return "undecided", None, f"undecided, the {_repeats(m)} disagree"
    seeds = e.seeds_to_decide(metric.margin, 0.05 / tests, most=MOST)
    words = f"{seeds:.0f} {m.pair}s would decide" if seeds < np.inf else f"more than {MOST} {m.pair}s would be needed"
    if np.isnan(seeds):
        words = f"no number of {m.pair}s would decide{f' on {e.m} sentences' * (e.m > 1)}"
    return "undecided", None, f"undecided, {words}"


def margin(metric: Metric) -> str:
    """Within what two cores are equal, in words."""
    unit = "%" if not metric.by_difference else "point" if metric.margin == 0.01 else "points"
    return f"{100 * metric.margin:g} {unit}"


def _comparison(a: str, b: str, name: str, m: _Measured | _Unfit, verdict: tuple[str, str | None, str], scope: str) -> Comparison:
    metric, (outcome, winner, words) = METRICS[name], verdict
    if isinstance(m, _Unfit):
        sentence = f"No verdict on {metric.noun}, {a} against {b}, on {scope}. {m}."
        return Comparison(name, a, b, None, outcome, winner, words, sentence, (), scope)
    sentence = f"{a} {metric.verb} {m.amount} {metric.noun} than {b} {m.bracket} on {scope}"
    return Comparison(name, a, b, m.interval, outcome, winner, words,
                      f"{sentence}{f': {words}' * (outcome != 'counted')}.", m.runs, scope)


def brief(comparison: Comparison) -> str:
    """A comparison in few words, without its scope: "4.5 % less loss on unseen sentences (2.9 to 6.1 %; mamba is better)"."""
    metric, i = METRICS[comparison.metric], comparison.interval
    if i is None:
        return f"{metric.noun}: not compared"
    amount, span = _amount(metric, True, i)
    span = f"{span}; " if i.n > 1 and not metric.exact else ""
    return f"{amount} {metric.noun} ({span}{comparison.verdict})"
