"""Which core for which use: for each use the core that measured best, and those that are not separated from it."""
from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..data.codec import FRAME_RATE
from ..metrics.stats import Interval, finite_interval
from . import speech
from .claims import CORES, METRICS, Results, Sample, compare
from .prose import device
from .results import Report, curve, step_samples, swept


def uses(report: Report) -> Iterable[tuple[str, str, Results]]:
    """What somebody may want, the metric that decides it, and its samples for each core."""
    seconds, spoken = max(report.study.spoken_seconds, default=0), speech.results(report) if "headline" in report.said else {}
    yield "sentences as long as those of training, said right", "phoneme_error_predicted", spoken
    yield f"texts of {seconds} seconds, said right after training on 4", "phoneme_error_long", spoken
    if report.steps_matched:
        run, frames = report.steps_matched, report.study.frames
        for what, metric in (("training time", "step_ms"), ("decoding time", "decode_ms")):
            yield f"least {what} at {frames} frames, {device(run)}", metric, step_samples(run)
    if report.lengths:
        run, (cores, lengths) = report.lengths, swept(report.lengths)
        longest = max(lengths, default=0)
        for what, metric in (("training time", "step_ms"), ("decoding time", "decode_ms")):
            yield (f"least {what} at {longest:,} frames, {device(run)}", metric, {(core, metric): [
                Sample(ms, f"process {i}", run.name) for i, ms in enumerate(curve(run, core, metric).get(longest, []))]
                for core in cores})
    trained = report.speech.get("headline", [])
    for frames in (300, 4800) if trained else ():
        yield (f"least decoding state after {frames / FRAME_RATE:.0f} seconds", "state_kb",
               {(run.identity["config"]["model"]["core"], "state_kb"):
                [Sample(run.result["state_bytes"][str(frames)] / 1e3, "model 0", run.name)] for run in trained})


def choice(report: Report) -> pd.DataFrame:
    """A line a use: the best core by its mean, what is not separated from it after Holm's adjustment over the use, and
    every core's mean with its 95 % interval. None in a trial of the pipeline."""
    out = []
    for use, metric, samples in uses(report) if not report.study.trial else ():
        means = {core: i for (core, name), of_core in samples.items() if name == metric and core.partition(",")[0] in CORES
                 and (i := finite_interval([s.value for s in of_core]))}
        if len(means) < 2:
            continue
        best = min(means, key=lambda core: means[core].mean)
        found = compare(samples, [(core, best) for core in means if core != best], (metric,), "")
        near = [c.a for c in found if c.winner != best and c.outcome != "counted"]
        out.append({"for": use, "take": best, "or, not separated": ", ".join(near) or "none",
                    **{core: _amount(metric, i) for core, i in means.items()}})
    return pd.DataFrame(out).fillna("")


def _amount(metric: str, i: Interval) -> str:
    share = METRICS[metric].unit == "share"
    scale, digits, unit = (100, 1, "%") if share else (1, 0 if i.mean >= 100 else 2, METRICS[metric].unit)
    text = f"{scale * i.mean:,.{digits}f} {unit}"
    return text if np.isnan(i.low) else f"{text} ({scale * i.low:,.{digits}f} to {scale * i.high:,.{digits}f})"


def sentences(report: Report) -> list[str]:
    """The lines of `choice` in words."""
    near = "or, not separated"
    return [f"For {row['for']}: {row['take']}" + (f" (or {row[near]}: not separated)" if row[near] != "none" else "") + ". "
            + ", ".join(f"{core} {row[core]}" for core in list(row)[3:] if row[core]) + "."
            for row in choice(report).to_dict("records")]
