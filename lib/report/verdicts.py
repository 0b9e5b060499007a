"""The claims of the seed report, judged by a study: at the seed's sizes and, where they are about cost, also where all cores
have the same number of parameters."""
from dataclasses import replace

from . import speech
from .claims import METRICS, Judgement, judge, load_claims
from .prose import device, scope
from .results import Report, equal_results, results, swept

SWEPT = ("exponent_step_time", "exponent_mixing", "decode_ms_4800")     # metrics of the sweep over lengths


def judgements(report: Report) -> list[Judgement]:
    """Every claim judged, each with the scope that its metric was measured in."""
    heard = "headline" in report.said
    samples, equal = results(report) | (speech.results(report) if heard else {}), equal_results(report)
    scopes = dict.fromkeys(METRICS, scope(report))
    if report.lengths:
        scopes |= dict.fromkeys(SWEPT, _matched_scope(report, f"up to {max(swept(report.lengths)[1], default=0):,}"))
    if heard:
        scopes |= dict.fromkeys(speech.HEADLINE, f"{speech.scope(report)}, equal parameters")
    there = scopes | {m: _matched_scope(report, f"{report.study.frames}") for m in METRICS if m not in SWEPT}
    judged = []
    for claim in load_claims():
        one = judge(claim, samples, scopes.get(claim.metric, ""), report.study.trial)
        if claim.metric and METRICS[claim.metric].cost:
            again = judge(replace(claim, why=""), equal, there[claim.metric], report.study.trial)
            one = replace(one, equal=again, runs=tuple(dict.fromkeys(one.runs + again.runs)))
        judged.append(one)
    return judged


def _matched_scope(report: Report, frames: str) -> str:
    run = report.steps_matched or report.lengths or report.memory_lengths
    return f"{device(run)} at size {report.study.matched}, batch 1 (random codes of {frames} frames)" if run else ""
