"""The claims of the original report, judged by a study: at its size and, where they are about cost, also where all cores have
the same number of parameters."""
from dataclasses import replace

from ..data.text import language_of
from . import speech
from .claims import METRICS, Claim, Judgement, judge, load_claims
from .prose import matched_scope, scope
from .results import Report, equal_results, results, swept

SWEPT = ("exponent_step_time", "exponent_mixing", "decode_ms_4800")     # metrics of the sweep over lengths


def judgements(report: Report) -> list[Judgement]:
    """Every claim judged, each with the scope that its metric was measured in."""
    heard, study = "headline" in report.said, report.study
    samples, equal = results(report) | (speech.results(report) if heard else {}), equal_results(report)
    scopes = dict.fromkeys(METRICS, scope(report))
    if report.lengths:
        longest = max(swept(report.lengths)[1], default=0)
        scopes |= dict.fromkeys(SWEPT, matched_scope(report.lengths, f"up to {longest:,}"))
    if heard:
        scopes |= dict.fromkeys(speech.HEADLINE, f"{speech.scope(report)}, equal parameters")
    there = scopes
    if matched := report.steps_matched or report.memory_lengths:
        there = scopes | dict.fromkeys(METRICS.keys() - set(SWEPT), matched_scope(matched, f"{study.frames}"))
    judged = []
    for claim in (_told(claim, report) for claim in load_claims()):
        one = judge(claim, samples, scopes.get(claim.metric, ""), study.trial)
        if claim.metric and METRICS[claim.metric].cost:
            again = judge(replace(claim, why=""), equal, there[claim.metric], study.trial)
            one = replace(one, equal=again, runs=tuple(dict.fromkeys(one.runs + again.runs)))
        judged.append(one)
    return judged


def _told(claim: Claim, report: Report) -> Claim:
    """The claim, or one that nothing can judge where it is about Polish text and the corpus is in another language."""
    language = report.corpus.result["language"] if report.corpus else "pl"
    if not claim.polish or language_of(language) == "pl":
        return claim
    spoken = f"in language {language}" if language else "in a language that is not named"
    return replace(claim, kind="none", metric="", why=f"It is about Polish text, and this corpus is {spoken}.")
