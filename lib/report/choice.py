"""Which core for which use: the one that is better than every other; where none is, those that it lies between."""
from collections.abc import Iterable
from itertools import combinations

import pandas as pd

from ..config import PRIMARY
from ..metrics.stats import Interval
from ..records import Record
from . import speech
from .claims import METRICS, Comparison, Results, Sample, compare, margin, named, parted, sized, typical
from .prose import device
from .results import Report, curve, step_samples, swept


def uses(report: Report) -> Iterable[tuple[str, str, Results]]:
    """What somebody may want, the metric that decides it, and its samples for each core."""
    spoken = speech.results(report) if "headline" in report.said else {}
    yield "sentences as long as those of training, said right", "phoneme_error_predicted", spoken
    yield "new sentences predicted, by loss", "held_out_loss", spoken
    yield f"texts of {speech.long_texts(report).seconds.max():.0f} seconds, said right", "phoneme_error_long", spoken
    if report.steps_matched:
        run, frames = report.steps_matched, report.study.frames
        for what, metric in (("training time", "step_ms"), ("decoding time", "decode_ms")):
            yield f"least {what} at {frames} frames, {_where(run)}", metric, step_samples(run)
    if report.lengths:
        run, (cores, lengths) = report.lengths, swept(report.lengths)
        longest = max(lengths, default=0)
        for what, metric in (("training time", "step_ms"), ("decoding time", "decode_ms")):
            yield (f"least {what} at {longest:,} frames, {_where(run)}", metric, {(core, metric): [
                Sample(ms, f"process {i}", run.name) for i, ms in enumerate(curve(run, core, metric).get(longest, []))]
                for core in cores})
    trained = report.speech.get("headline", [])
    for frames in (300, 4800) if trained else ():
        size = sized(f"size {trained[0].identity['config']['model']['size']}")
        yield (f"least decoding state after {frames / report.frame_rate:.0f} seconds, {size}", "state_kb",
               {(run.identity["config"]["model"]["core"], "state_kb"):
                [Sample(run.result["state_bytes"][str(frames)] / 1e3, "model 0", run.name)] for run in trained})


def _where(run: Record) -> str:
    """The size and the hardware of a timing."""
    size = sized("size " + run.result["size"])
    return f"{size}, {device(run)}"


def choice(report: Report) -> pd.DataFrame:
    """A line a use: what to take, what each core is at (mean and 95 % interval, of times median, least and most), and the runs
    behind it. None in a trial of the pipeline, nor where the control does as well as the cores."""
    out = []
    for use, metric, samples in uses(report) if not report.study.trial else ():
        at = {core: i for (core, name), of_core in samples.items()
              if name == metric and core.partition(" ")[0] in PRIMARY and (i := typical(metric, of_core))}
        if len(at) < 2:
            continue
        if metric in speech.HEADLINE:
            found = [c for c in speech.comparisons(report) if c.metric == metric]
        else:
            found = compare(samples, list(combinations(at, 2)), (metric,), "")
        if found:
            behind = (s.run for core in at for s in samples[core, metric])
            line = {"for": use, "take": _take(metric, at, found), "runs": ", ".join(dict.fromkeys(behind))}
            for core, i in at.items():
                name, way = parted(core)
                line[name] = ", ".join(filter(None, (amount(metric, i), way)))
            out.append(line)
    return pd.DataFrame(out).fillna("")


def _take(metric: str, at: dict[str, Interval], found: list[Comparison]) -> str:
    """The core with the least mean where it is better than every other; by times, where its spread lies apart. Else those that
    it is not better than, and whether they are equal."""
    rule, best = METRICS[metric], min(at, key=lambda core: at[core].mean)
    behind = {c.a if c.b == best else c.b for c in found if c.winner == best}
    if rule.exact or rule.cost:
        behind = {core for core, i in at.items() if i.low > at[best].high and (rule.exact or i.n > 1)}
    left = [core for core in at if core not in behind]
    names = ", ".join(map(named, left))
    if left == [best]:
        return named(best)
    if rule.exact:
        return f"any of {names}"
    if all(c.outcome == "equal" for c in found if {c.a, c.b} <= {*left}):
        return f"any of {names}, equal within {margin(rule)}"
    return f"undecided between {names}"


def amount(metric: str, i: Interval) -> str:
    """A value of a metric and how far it reaches, in words."""
    share = METRICS[metric].unit == "share"
    scale, digits, unit = (100, 1, "%") if share else (1, 0 if i.mean >= 100 else 2, METRICS[metric].unit)
    text = f"{scale * i.mean:,.{digits}f} {unit}"
    return f"{text} ({scale * i.low:,.{digits}f} to {scale * i.high:,.{digits}f})" if i.low < i.high else text
