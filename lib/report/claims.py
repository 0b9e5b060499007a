"""The claims of the seed report, the rules that judge them by what was measured, and the computed verdict."""
import ast
import operator
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..metrics.stats import Interval, holm, paired_difference, paired_p, paired_saving, t_interval

REPRODUCED, NOT_REPRODUCED, BY_CONSTRUCTION = "reproduced", "not reproduced", "holds by construction"
NOT_COMPARABLE, CONTRADICTS = "not comparable", "contradicts itself"
TRIAL = "a trial of the pipeline"       # why nothing is judged in a study that is one
CORES = ("transformer", "mamba_conv", "mamba")


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
    depends_on: str = ""            # why an absolute figure cannot be compared with the seed's
    cost: bool = False              # time, memory, state or throughput, which follow size too


DATA = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))
METRICS = {name: Metric(**entry) for name, entry in DATA["metric"].items()}
HEADLINE = ("parameters", "step_ms", "tokens_per_s", "peak_mb", "steps_to_95", "token_match")


@dataclass(frozen=True)
class Sample:
    value: float
    pair: str       # what it shares with a sample of another core: "seed 0", "process 3"
    run: str        # the run record that it comes from
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
    expression: str = ""            # arithmetic on the seed's own numbers
    against: str = ""               # the quote that contradicts
    why: str = ""
    by_construction: bool = False   # it holds here because the models were made so: no result


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
    interval: Interval | None       # how much less a has than b: a fraction of b, or a difference
    p: float | None                 # adjusted over the comparisons tested together (Holm)
    outcome: str                    # separated, not separated, counted, no verdict
    winner: str | None
    sentence: str
    runs: tuple[str, ...]
    scope: str


class _Unfit(Exception):
    """Why results cannot be judged, in words."""


NEEDS = {"value": ("core", "metric", "says"), "saving": ("core", "than", "metric", "says"),
         "tie": ("core", "than", "metric", "tolerance"), "no_worse": ("core", "than", "metric", "tolerance"),
         "arithmetic": ("expression", "says", "tolerance"), "contradiction": ("against", "why"), "none": ("why",)}


def load_claims(entries: Sequence[dict] = DATA["claim"]) -> list[Claim]:
    """The claims in the order of the seed report, each checked."""
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
    saving: the paired interval excludes 0 in the claimed direction and reaches half of what is said.
    tie: the whole paired interval lies within +- tolerance; not separated alone shows no tie. no_worse: of that the worse
    side alone counts.
    arithmetic: contradicts itself where the seed's own numbers do not give what it says; where they do, the claim
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
    p: float                # of no difference
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
    below = zip((core, than), groups, (operator.lt, operator.le)) if than and not metric.by_difference else ()
    if odd := [f"{c} in {s.pair}" for c, group, is_below in below for s in group.values() if is_below(s.value, 0)]:
        raise _Unfit(f"No ratio, since not above 0: {name} of {', '.join(odd)}")
    values = [np.array([group[pair].value for pair in groups[0]]) for group in groups]
    p, means = np.nan, ""
    if not than:
        i = t_interval(values[0])
        i = Interval(i.mean, *_possible(metric, False, i.low, i.high), i.n)
    else:
        ours, base = values
        i = paired_difference(base, ours) if metric.by_difference else paired_saving(base, ours)
        p = paired_p(base, ours) if metric.by_difference else paired_p(np.ones(i.n), ours / base)
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
    return _Measured(i, p, amount, "(counted)" if metric.exact else bracket, means, pair,
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
    """How the cores of each pair compare in each metric: separated where the paired t test has p < 0.05 after Holm's
    adjustment over all of them. In a trial of the pipeline nothing is tested."""
    asked = [(a, b, name) for a, b in pairs for name in metrics]
    measured: dict[tuple[str, str, str], _Measured | _Unfit] = {}
    for a, b, name in asked:
        try:
            measured[a, b, name] = _measure(results, name, a, b)
        except _Unfit as unfit:
            measured[a, b, name] = unfit
    tested = [key for key, m in measured.items() if not (trial or isinstance(m, _Unfit) or METRICS[key[2]].exact)
              and m.interval.n > 1]
    adjusted = dict(zip(tested, holm([measured[key].p for key in tested]).tolist())) if tested else {}
    return [_comparison(*key, measured[key], adjusted.get(key), scope, trial) for key in asked]


def _comparison(a: str, b: str, name: str, m: _Measured | _Unfit, p: float | None, scope: str, trial: bool) -> Comparison:
    metric, winner = METRICS[name], None
    if isinstance(m, _Unfit):
        sentence = f"No verdict on {metric.noun}, {a} against {b}, on {scope}. {m}."
        return Comparison(name, a, b, None, None, "no verdict", None, sentence, (), scope)
    sentence = f"{a} {metric.verb} {m.amount} {metric.noun} than {b} {m.bracket} on {scope}"
    if metric.exact:
        outcome = "counted"
    elif p is None:
        outcome, sentence = "no verdict", f"{sentence}: {TRIAL if trial else f'one {m.pair}'} gives no verdict"
    elif p < 0.05:
        outcome, winner = "separated", a if (m.interval.mean > 0) == (metric.better == "less") else b
    else:
        outcome = "not separated"
        sentence = f"{a} and {b} are not separated in {metric.noun} on {scope}: {m.amount} {m.bracket}, "
        sentence += f"adjusted p = {p:.2g}"
    return Comparison(name, a, b, m.interval, p, outcome, winner, f"{sentence}.", m.runs, scope)


def brief(comparison: Comparison) -> str:
    """A comparison in few words, without its scope: "4.5 % less loss on unseen sentences (2.9 to 6.1 %)"."""
    metric, i = METRICS[comparison.metric], comparison.interval
    if i is None:
        return f"{metric.noun}: not compared"
    amount, span = _amount(metric, True, i)
    if i.n < 2 or metric.exact:
        span = "counted" if metric.exact else "one run, no verdict"
    elif comparison.p is None:
        span += "; no verdict"
    elif comparison.winner is None:
        span += f"; not separated, p = {comparison.p:.2g}"
    return f"{amount} {metric.noun} ({span})"


def summary(comparisons: Sequence[Comparison]) -> str:
    """Who is ahead in what. A core is ahead overall only where it is ahead somewhere and behind nowhere."""
    if not comparisons:
        raise ValueError("a summary needs at least one comparison")
    a, b, scope = comparisons[0].a, comparisons[0].b, comparisons[0].scope
    groups = {a: f"{a} is ahead in", b: f"{b} is ahead in", "not separated": "not separated:",
              "no verdict": "no verdict on", "counted": "a choice of size and no result:"}
    nouns = {key: [METRICS[c.metric].noun for c in comparisons if key in (c.winner, c.outcome)] for key in groups}
    parts = [f"{words} {', '.join(nouns[key])}" for key, words in groups.items() if nouns[key]]
    ahead = [core for core in (a, b) if nouns[core]]
    tested = sum(len(nouns[key]) for key in (a, b, "not separated"))
    end = "No overall winner"
    if len(ahead) == 1:
        end = f"{ahead[0]} is ahead in {len(nouns[ahead[0]])} of the {tested} tested comparisons and behind in none"
    return f"On {scope}: {'; '.join(parts)}. {end}."
