"""The report's computed sentences. Nothing here knows who wins: it puts results into words."""
from collections.abc import Sequence
from html import escape
from itertools import combinations
from statistics import median

import numpy as np

from ..config import EMBEDDED, Study
from ..metrics.stats import crossings
from ..records import Record
from .claims import (
    HEADLINE,
    TRIAL,
    Comparison,
    Results,
    headline,
)
from .results import Report, command, curve, medians, said_share, step_samples, swept

UNEQUAL = 1.5       # times farther from its floor than another core, from which on implementations are compared


def banner(study: Study) -> str:
    """What stands above everything in the report of a trial, as HTML."""
    return (f'<p class="banner"><strong>This is {TRIAL}.</strong> Study {escape(study.name)} is so small that its numbers '
            "mean nothing: they are shown, and nothing is judged by them.</p>")


def absent(study: Study, notebook: str) -> str:
    """What is said of a notebook whose results are not there."""
    return f"Not measured here: run {command(study, [notebook])}."


def scope(report: Report) -> str:
    """What the verdicts of this study are limited to."""
    s, run = report.study, next(run for _, _, runs in report.regimes() for run in runs)
    return (f"{device(run)} at size {s.size}, batch 1, {s.clips} memorised clip{'s' * (s.clips > 1)} of "
            f"{report.corpus.result['speech']}, a training step and its memory at {s.frames} frames")


def comparisons(report: Report, samples: Results) -> list[Comparison]:
    """The headline: how the hybrid compares with the transformer; none where one of them was not measured at all."""
    return _compared(report, samples, HEADLINE, scope(report))


def device(run: Record) -> str:
    """What a run ran on, in words."""
    e = run.environment
    return f"{e['cores']} CPU cores" if e["device"] == "cpu" else e["device"]


def matched(report: Report) -> list[Comparison]:
    """The comparisons in which all cores have the same number of parameters."""
    run = report.steps_matched
    where = matched_scope(run, f"{report.study.frames}")
    return _compared(report, step_samples(run), ("core_parameters", "step_ms", "decode_ms"), where)


def matched_scope(run: Record, frames: str) -> str:
    """What is limited to where all cores have the same number of parameters, and to so many frames."""
    return f"{device(run)} at size {run.result['size']}, batch 1, random codes of {frames} frames"


def _compared(report: Report, samples: Results, metrics: Sequence[str], scope: str) -> list[Comparison]:
    measured = {core for core, _ in samples}
    found = headline(samples, metrics=metrics, scope=scope, trial=report.study.trial)
    return [c for c in found if {c.a, c.b} <= measured]


def leak_sentences(report: Report) -> list[str]:
    """What the as-reported regime shows: accuracy with the target in view against speech without it."""
    out = []
    for core, runs in report.reported.items():
        heard = report.heard.get(runs[0].name)
        if not heard:
            continue
        free = said_share(runs[0], heard)
        forced = runs[0].result["memorised"]["accuracy"]
        out.append(f"Trained as reported, with its target in view, {core} is {forced:.1%} right teacher-forced, and when it "
                   f"speaks by itself {free:.1%} of its tokens are the memorised clip's (one seed, no verdict).")
    return out


def crossovers(run: Record) -> list[str]:
    """For each pair of cores the length at which the faster one changes for the last time, with its range over
    processes."""
    return [f"{noun}, {a} against {b}: {_crossover(a, b, curve(run, a, part), curve(run, b, part))}."
            for part, noun in (("step_ms", "Training step"), ("decode_ms", "Decoding of one frame"))
            for a, b in combinations(swept(run)[0], 2)]


def _crossover(a: str, b: str, ours: dict[int, list[float]], theirs: dict[int, list[float]]) -> str:
    both = [frames for frames in ours if frames in theirs]
    processes = list(zip(zip(*(ours[n] for n in both)), zip(*(theirs[n] for n in both))))   # (times of a, times of b) of each
    if not processes or not all(0 < ms < np.inf for times in processes for ms in (*times[0], *times[1])):
        return "not comparable: a time is missing or not above 0"
    found = [crossings(both, *times) for times in processes]
    faster = {a if x[-1] <= y[-1] else b for x, y in processes}
    last, longest = [lengths[-1] for lengths in found if lengths], f"{both[-1]:,} frames"
    words = f"no crossover up to {longest}"
    if last:
        spread = f"{min(last):,.0f} to {max(last):,.0f} over {len(last)} processes" if len(last) > 1 else "one process"
        others = f", {words} in {found.count([])} of {len(found)} processes" if [] in found else ""
        which = "last crossover" if max(map(len, found)) > 1 else "crossover"
        words = f"{which} at {median(last):,.0f} frames ({spread}){others}"
    if len(faster) > 1:
        return f"{words}; which is faster at {longest} differs from process to process"
    return f"{words}; {faster.pop()} is faster at {longest if last else 'every length measured'}"


def first_audio(run: Record) -> str:
    """How long it takes from a text to sound, and what of that is the codec's."""
    words, sound = f"From the text in hand to the first samples of sound, size {run.result['size']}", run.result.get("sound")
    waits = ", ".join(f"{core} {median(times):.1f} ms" for core in run.result["parameters"]
                      if (times := medians(run, core, "first_audio_ms")))
    if not (sound and waits):
        return f"{words}: not measured."
    way = (f"gives samples as frame {sound['frames']} arrives" if sound["streams"]
           else "does not stream: its first frame is decoded as a whole")
    return (f"{words}: {waits}. Of that {median(map(median, sound['ms'])):.1f} ms are the codec's; codec {sound['codec']} "
            f"{way}.")


def nearness(run: Record) -> list[str]:
    """For each size and shape of a bench, whether training times there compare architectures or implementations."""
    return [_nearness(floor) for floor in run.result["floors"]]


def implementations(bench: Record | None, a: str, b: str, size: str) -> str:
    """Whether the training times of two cores compare architectures or implementations, by what a bench found at the size,
    or at the others where it was not benched; a sentence."""
    floors = bench.result["floors"] if bench else []
    found = [f for f in floors if f["size"] == size] or floors
    ratios = [f["over_floor"][a] / f["over_floor"][b] for f in found if {a, b} <= f["over_floor"].keys()]
    if not ratios:
        return "Whether training time there compares architectures or implementations was not measured (make bench)."
    sizes = dict.fromkeys(f["size"] for f in found)
    where = f"size {' and '.join(sizes)}" + (f"; {size} was not benched" if size not in sizes else "")
    unequal = max(max(r, 1 / r) for r in ratios) > UNEQUAL
    far = " to ".join(dict.fromkeys(f"{r:.1f}" for r in (min(ratios), max(ratios))))
    return (f"The bench ({where}) finds {a} {far} times as far from its floor as {b}: training time there compares "
            f"{'implementations, not architectures' if unequal else 'architectures'}.")


def _nearness(floor: dict) -> str:
    over, ratio = floor["over_floor"], floor["largest_ratio"]
    far, near = max(over, key=over.get), min(over, key=over.get)
    shape = f"size {floor['size']}, batch {floor['batch']} × {floor['frames']} frames"
    times = ", ".join(f"{core} takes {x:.1f} times its floor" for core, x in over.items())
    verdict = (f"{far} is {ratio:.2f} times farther from its floor than {near}: the comparison of training time there is one "
               "of implementations, not of architectures.")
    if ratio <= UNEQUAL:
        verdict = (f"No core is more than {UNEQUAL} times farther from its floor than another ({far} against {near}: "
                   f"{ratio:.2f}): the comparison of training time there is one of architectures.")
    return f"Training step of the core alone, {shape}: {times}. {verdict}"


def limits(report: Report) -> list[str]:
    """What this study cannot say."""
    s, corpus = report.study, report.corpus.result
    language = corpus["language"] or "not named"
    seeds = min(map(len, report.causal.values()), default=0)
    clips = "One memorised clip shows" if s.clips == 1 else f"{s.clips} memorised clips show"
    speech = report.speech.get("headline")
    new = "of new text only the study of speech says anything" if speech else "nothing here is about speech for new text"
    words = [f"{clips} that a model can memorise, not how it speaks: {new}.",
             f"The speech is {corpus['speech']}, {'voice ' + corpus['voice'] if 'voice' in corpus else 'language ' + language}; "
             + (f"its codes are those of codec {report.codec_quality.result['codec']}, which sets the ceiling of every sound."
                if report.codec_quality else "the codec that made its codes was not measured."),
             f"{seeds} seed{'s' * (seeds != 1)} for each causal core" + (": wide intervals." if seeds > 1 else ": no verdict.")
             + " One seed as reported: numbers, no verdict.",
             "The original report's dropout, text encoder and exact fusion are not published; its totals are met within 1 %.",
             "Of memorising, learning rate and schedule are the original report's for every core; none was tuned."]
    if report.obstacle and not speech:
        why = report.obstacle.result["why"]
        words.append(f"{why[0].upper()}{why[1:]}.")
    if speech:
        words.append(f"The study of speech has one {'voice' if s.corpus == EMBEDDED else 'corpus'}, "
                     f"{len(report.study.rates)} learning rates to choose from, "
                     f"{speech[0].identity['config']['steps']:,} steps: what more data, larger models and longer training "
                     "would change is not measured; the pauses and phonemes of a text are espeak-ng's.")
        if report.longer:
            ways = "a window of as many frames, which needs the state of no more, and to start again at each sentence"
            words.append("Of the ways to make attention hold beyond the lengths it was trained on these were tried: " + (
                f"{ways}, and to train it without positions. Their cost was not measured." if "positions" in report.said else
                f"{ways}. Their cost was not measured, and none was trained without positions."))
        if left := [part for part in s.parts if part not in report.speech]:
            words.append(f"Of the study of speech these parts were not run: {', '.join(left)}.")
    words += [absent(s, notebook) for notebook, there in (("05", report.steps), ("06", report.heard)) if not there]
    if any(run and run.environment["device"] == "cpu" for run in (report.steps, report.lengths)):
        words.append("Times and memory were measured on a CPU. On a GPU: not measured.")
    if report.bench:
        if unequal := [f"{f['batch']} × {f['frames']} frames at size {f['size']}" for f in report.bench.result["floors"]
                       if f["largest_ratio"] > UNEQUAL]:
            words.append("Training time compares implementations rather than architectures at "
                         f"{', '.join(unequal)} (the bench, below).")
    else:
        words.append("How near each core's training step is to what the machine allows: not measured here (make bench).")
    return words


def paragraphs(texts: Sequence[str]) -> str:
    return "".join(f"<p>{escape(t)}</p>" for t in texts)


def bullets(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(t)}</li>" for t in texts) + "</ul>" if texts else ""


def heading(text: str, note: str) -> str:
    return f"<h3>{escape(text)}</h3><p>{escape(note)}</p>"
