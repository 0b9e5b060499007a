"""What was found, each finding in one shape: a sentence, one figure, why it is so, and folded below it the numbers. Every
sentence is computed; what was not measured has no finding."""
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from itertools import chain
from statistics import median

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..config import PRIMARY
from ..measuring.joins import SENTENCES
from ..measuring.listening import sound, sound_file
from ..metrics.predicted import GROWN
from ..metrics.stats import crossings
from ..records import Record
from . import counted, figures, predicted, prose, speech, tables, why
from .claims import (
    BY_CONSTRUCTION,
    CONTRADICTS,
    HOW,
    METRICS,
    NOT_COMPARABLE,
    NOT_REPRODUCED,
    REPRODUCED,
    Comparison,
    Judgement,
    named,
    sized,
    typical,
)
from .html import fold, table
from .listening import of_regime, players
from .prose import device
from .results import Report, curve, medians, memory_samples, swept

BEYOND = 1.5        # times its error in another way from which on a core is said to fail in this one
PROTOCOL = 1, 1500  # clips and steps, of the original report
LEARNING = 0.7      # of the steps, before any run cools down: where losses are compared


@dataclass(frozen=True)
class Finding:
    id: str
    line: str                                       # what was found, in a line on the first screen; "" where it is not there,
    said: str                                       # and in a sentence
    why: str                                        # a short paragraph
    draw: Callable[[], Figure]
    numbers: tuple[tuple[str, Callable[[], pd.DataFrame]], ...] = ()    # caption and table
    notes: tuple[str, ...] = ()                     # the statistics behind it, sentences
    runs: tuple[str, ...] = ()                      # that its numbers come from
    measured: bool = True                           # or predicted, its figure folded


def listed(values: dict[str, str]) -> str:
    """"Transformer 7.9 %, Mamba 7.1 %"."""
    return ", ".join(f"{named(core)} {value}" for core, value in values.items())


def joined(words: Iterable[str]) -> str:
    """"a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _names(runs: Iterable[Record | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.name for run in runs if run))


def _behind(found: Iterable[Comparison | Judgement]) -> tuple[str, ...]:
    """The runs behind what was compared or judged."""
    return tuple(dict.fromkeys(chain.from_iterable(one.runs for one in found)))


def findings(report: Report, judged: list[Judgement], memorised: list[Comparison]) -> list[Finding]:
    """All that this study has, the answer first."""
    found = (quality(report), told(report), length(report), cost(report), larger(report), speaking(report), learning(report),
             state(report), guidance(report), masked(report), width(report), memorising(report, memorised), original(report, judged))
    return [finding for finding in found if finding]


def verdict(found: list[Comparison]) -> str:
    """Who is better, in a clause: of comparisons in one metric."""
    tested = [c for c in found if c.tested]
    if not tested:
        return "one seed gives no verdict" if found else "nothing is compared"
    ahead = {}
    for c in tested:
        if c.winner:
            ahead.setdefault(c.winner, []).append(c.b if c.winner == c.a else c.a)
    if ahead:
        return "; ".join(f"{named(core)} is better than {joined(map(named, behind))}" for core, behind in ahead.items())
    equal = sum(c.outcome == "equal" for c in tested)
    if equal == len(tested):
        return "all are equal within the margin set beforehand"
    return "none is shown to be better than another" + (f", and {equal} of {len(tested)} pairs are equal" if equal else "")


def _by_loss(found: list[Comparison]) -> str:
    """Who predicts new sentences better, in a clause; "" where that was not tested."""
    return f"; in loss on them {verdict(found)}" if any(c.tested for c in found) else ""


def quality(report: Report) -> Finding | None:
    """How much of a new sentence each core says wrong; where the recogniser is too deaf for that, how well each predicts it."""
    if "headline" not in report.said:
        return None
    samples, found, deaf = speech.results(report), speech.comparisons(report), speech.deaf(report)
    judged = speech.HEADLINE[deaf]              # by what
    means = {core: i for core in PRIMARY if (i := typical(judged, samples.get((core, judged), [])))}
    if not means:
        return None
    run = report.speech["headline"][0]
    bound = speech.bound(report)
    codec = "" if bound is None else f"{100 * bound:.1f} %"
    by_judged = verdict([c for c in found if c.metric == judged])
    if deaf:
        values = listed({core: f"{i.mean:.2f}" for core, i in means.items()})
        why_loss = f"the recogniser gets {codec} of the phonemes wrong after the codec alone, too much to judge cores by"
        said = f"The loss on sentences never heard is {values}: {by_judged}; {why_loss}."
        line = f"Loss on new sentences, at equal size and steps: {values}; {why_loss}."
    else:
        values = listed({core: f"{100 * i.mean:.1f} %" for core, i in means.items()})
        said = (f"{values} of the phonemes of sentences never heard are wrong{codec and f', {codec} of them by the codec alone'}: "
                f"{by_judged}{_by_loss([c for c in found if c.metric == speech.HEADLINE[1]])}.")
        line = f"Phonemes wrong at equal size and steps: {values}{codec and f' (the codec alone {codec})'}."
    config, gate = run.identity["config"], speech.gate(report)
    control = ("Each is better than the control, which mixes no frames." if gate and all(c.winner == c.a for c in gate)
               else speech.gate_words(report))
    reason = (f"All cores have {run.result['core_parameters'] / 1e6:.1f} million parameters and saw the same "
              f"{config['steps']:,} batches of {config['batch']} phrases, at the learning rate that served each best. Durations are "
              "predicted; a recogniser that was trained on other sentences counts the phonemes. "
              f"{control}")
    return Finding("quality", line, said, reason, lambda: figures.by_core(samples, judged, means, None if deaf else bound), (
        (f"Sentences never heard: mean and 95 % interval for new seeds and sentences, judged by {report.recogniser.name}",
         lambda: speech.headline_table(report)),
        ("What is counted beside the phoneme error", lambda: counted.counted_table(report)),
        ("The hard list, by what makes it hard", lambda: counted.hard_table(report)),
        *((f"Greedy, with tokens drawn, and with an earlier or a later end{words}", lambda split=split: counted.ways_table(
            report.drawn, report.speech["headline"], split)) for words, split in (("", "test"), (": the hard list", "hard")))),
        (speech.protocol(report), *(c.sentence for c in found + speech.gate(report)), *filter(None, [speech.price(report)]),
         *speech.simulated(report)), _names([*report.said["headline"], *report.speech["headline"], report.bounds]))


def told(report: Report) -> Finding | None:
    """What a frame is told of the text, against the core."""
    means = speech.strength_means(report)
    if min(means.shape) < 2:
        return None
    between, _, _, gained = speech.strength_spread(means)
    matters = "more than" if gained.min() > between else "beside"
    said = (f"What a frame is told of the text matters {matters} the core: told the same, cores are at "
            f"most {between:.0f} points apart; told most in place of least, each gains {gained.min():.0f} to "
            f"{gained.max():.0f} points.")
    reason = f"{'; '.join(speech.strength_notes(report))}.{why.prefix_words(report)}"
    first, seeds = report.speech["strengths"][0].identity["config"], speech.strengths(report).seed.nunique()
    line = (f"What a frame is told matters {matters} the core: it moves the share of wrong phonemes by {gained.mean():.0f} points, "
            f"the core by {between:.0f}, at {first['steps']:,} steps and {seeds} seed{'s' * (seeds > 1)}.")
    return Finding("told", line, said, reason, lambda: speech.against_strength(report),
                   (("One thing other than in the comparison itself", lambda: speech.around(report)),
                    ("The text before the audio", lambda: why.prefixed(report))), tuple(speech.strength_answer(report)),
                   _names([*report.said["strengths"], *report.said.get("prefix", [])]))


def length(report: Report) -> Finding | None:
    """Texts longer than anything in training, in the ways of saying them."""
    texts = speech.long_texts(report)
    if texts.empty:
        return None
    seconds = texts.seconds.max()
    means, best = speech.long_means(report)
    best = {core: best[core] for core in PRIMARY if core in best}
    fail = [core for core, way in best.items() if (core, "carried") in means and means[core, "carried"] > BEYOND * means[core, way]]
    errors = joined(f"{named(core)} gets {100 * means[core, way]:.1f} % wrong {HOW[way]}" for core, way in best.items())
    short: dict[str, dict[str, str]] = {}           # way -> what each core gets wrong in it
    for core, way in [*best.items(), *((core, "carried") for core in fail)]:
        short.setdefault(way, {})[core] = f"{100 * means[core, way]:.1f} %"
    said = f"On texts of {seconds:.0f} seconds, after training on at most 4, in its best way {errors}"
    if fail:
        wrong = joined(f"{named(core)} gets {100 * means[core, 'carried']:.0f} %" for core in fail)
        said += f"; on one state through all of it {wrong}"
    line = f"Texts of {seconds:.0f} seconds: {'; '.join(f'{HOW[way]} {listed(wrong)}' for way, wrong in short.items())}."
    reason = " ".join(f"{note[0].upper()}{note[1:].rstrip('.')}." for note in speech.long_notes(report))
    across = ((f"From sentence to sentence, texts of {SENTENCES}, durations predicted ({report.joins.name})",
               lambda: tables.joins(report.joins)),) if report.joins else ()
    return Finding("length", line, said + ".", reason,
                   lambda: speech.against_seconds(report),
                   (("Phonemes wrong against length, espeak-ng's durations", lambda: speech.longer_table(report)), *across),
                   tuple(c.sentence for c in speech.long_comparisons(report)), _names(report.longer))


def _crossing(report: Report, part: str, a: str, b: str) -> float | None:
    """The length from which b is faster than a, median over processes, where it is slower before and faster after in all."""
    ours, theirs = (curve(report.lengths, core, part) for core in (a, b))
    lengths = [n for n in ours if n in theirs]
    found = []
    for x, y in zip(zip(*(ours[n] for n in lengths)), zip(*(theirs[n] for n in lengths))):
        if not all(0 < ms < np.inf for ms in (*x, *y)) or x[-1] <= y[-1] or not (at := crossings(lengths, x, y)):
            return None
        found.append(at[-1])
    return median(found) if found else None


def cost(report: Report) -> Finding | None:
    """State, and from which length on which core is cheaper."""
    if not report.lengths or report.study.trial:
        return None
    cores, lengths = swept(report.lengths)
    other = next((core for core in ("mamba", "mamba_conv") if core in cores), None)
    if other is None or "transformer" not in cores or len(lengths) < 2:
        return None
    words, short, frames = [], [], lengths[-1]
    if report.memory_lengths:
        kept = {core: of_core[0].value for (core, metric), of_core in memory_samples(
            report.memory_lengths, frames).items() if metric == "state_kb"}
        if {"transformer", other} <= kept.keys():
            words.append(f"after {frames / report.frame_rate:.0f} seconds {named(other)} keeps {kept[other] / 1e3:.2f} MB of state, "
                         f"the Transformer {kept['transformer'] / 1e3:.0f}")
            short.append(f"keeps {kept[other] / 1e3:.2f} MB of state after {frames / report.frame_rate:.0f} s, the Transformer "
                         f"{kept['transformer'] / 1e3:.0f}")
    for part, noun in (("step_ms", "trains faster"), ("decode_ms", "decodes faster")):
        at = _crossing(report, part, "transformer", other)
        words.append(f"{named(other)} {noun} beyond {at / report.frame_rate:.0f} seconds" if at else
                     f"there is no one length up to {frames / report.frame_rate:.0f} seconds from which it {noun}")
        short += [f"{noun} beyond {at / report.frame_rate:.0f} s"] if at else []
    size = sized(f"size {report.lengths.result['size']}")
    said = f"With equal parameters, {size}, {'; '.join(words)}."
    reason = ("Attention reads all that was said before, Mamba a state of fixed size: one grows with the utterance and the other "
              f"does not. Random codes, batch 1, {device(report.lengths)}, no test: another day may give other times. "
              + prose.implementations(report.bench, other, "transformer", report.lengths.result["size"]))
    numbers = [("Milliseconds against length", lambda: tables.lengths(report.lengths))]
    if again := report.again.get("lengths"):
        numbers.append((f"The same on {again.created[:10]}", lambda: tables.lengths(again)))
    if report.memory_lengths:
        numbers.append(("Memory and decoding state against length", lambda: tables.memory(report.memory_lengths)))
    if report.steps_matched:
        numbers.append(("One training step and decoding, equal parameters", lambda: tables.step_times(report.steps_matched)))
    if matched := report.again.get("steps_matched"):
        numbers.append((f"The same on {matched.created[:10]}", lambda: tables.step_times(matched)))
    notes = (*prose.crossovers(report.lengths), *(c.sentence for c in (prose.matched(report) if report.steps_matched else ())))
    line = f"{named(other)}, {size}: {'; '.join(short) or words[0]}."
    return Finding("cost", line, said, reason,
                   lambda: figures.against_length(report.lengths, report.memory_lengths, report.frame_rate),
                   tuple(numbers), notes, _names([report.lengths, report.memory_lengths, report.steps_matched]))


def larger(report: Report) -> Finding | None:
    """What a larger model would cost on an H100, predicted, and how well the same model of cost predicts what was measured here."""
    if not (report.lengths and report.bench) or report.study.trial:
        return None
    machine, rate = predicted.machine_of(report.bench), report.frame_rate
    checks = predicted.checks(report.lengths, machine) if machine else []
    cores = [core for core in dict.fromkeys(check.core for check in checks) if core in GROWN]
    other = next((core for core in ("mamba", "mamba_conv") if core in cores), None)
    if other is None or "transformer" not in cores:
        return None
    benched, sizes = predicted.bench_checks(report.bench, machine), [predicted.sized(n) for n in predicted.WIDTHS]
    at = zip(*(predicted.cheaper(other, parameters, rate) for parameters in predicted.WIDTHS))
    trains, decodes, together = (joined(f"{length} with {size}" for length, size in zip(lengths, sizes)) for lengths in at)
    said = (f"Predicted, not measured: on an H100 {named(other)} trains faster than the Transformer {trains} parameters, decodes "
            f"faster {decodes}, and {predicted.STREAMS[1]} sequences at once {together}.")
    found = checks + benched
    worst = max(found, key=lambda check: check.off)
    reason = ("FLOPs, bytes and launches of every kernel are counted; a kernel takes its launch, and then what takes longer, to "
              f"compute or to move. So reckoned, {len(found)} times that were measured here are predicted at "
              f"{median(check.ratio for check in found):.2f} times their value (median), "
              f"{sum(check.off <= predicted.AIM for check in found)} of them within {predicted.AIM:g} times either way. Worst, at "
              f"{worst.ratio:.2f}, is {named(worst.core)}, {worst.what}, {worst.frames:,} frames. Nothing ran on an H100: its "
              "curves are the same reckoning with its published figures.")
    return Finding("larger", "", said, reason, lambda: predicted.draw(checks, cores, rate), (
        (f"Predicted over measured, this machine ({report.lengths.name})", lambda: predicted.check_table(checks)),
        (f"Predicted over measured, this machine ({report.bench.name})", lambda: predicted.check_table(benched)),
        ("Counted, not measured: this study's models, batch 1", lambda: predicted.work_table(report.lengths, machine.fused)),
        ("Predicted, not measured: from which length on a core is cheaper than the Transformer on an H100",
         lambda: predicted.crossing_table(cores, rate)),
        ("Predicted, not measured: GPU hours of an H100 for hearing speech once", lambda: predicted.hours_table(cores, rate))),
        predicted.assumed(machine, report.bench, report.lengths, other), _names([report.lengths, report.bench]), measured=False)


def speaking(report: Report) -> Finding | None:
    """How soon and how steadily each core speaks while it is listened to."""
    run = report.latency
    rows = [row for row in run.result["warm"] if row["core"] in PRIMARY] if run and not report.study.trial else []
    alone = [row for row in rows if row["streams"] == 1]
    if not alone:
        return None
    broken = min((row["streams"] for row in rows if row["gaps"]), default=np.inf)
    steady = max((row["streams"] for row in rows if row["streams"] < broken), default=0)
    playing = f"{steady} at once play without a gap" if steady > 1 else "one plays without a gap" if steady else "it plays with gaps"
    half = listed({row["core"]: f"{row['p50_ms']:.0f} ms" for row in alone})
    said = (f"From a text in hand to the first sound half of the texts take at most {half}, 95 % of them "
            f"{max(row['p95_ms'] for row in alone):.0f} ms with any core; {playing}.")
    reason = ("The phonemes and durations of the first sentence are a part of that, and the codec, which gives samples with each "
              f"frame. A process that has spoken before, {device(run)}, {alone[0]['texts']} texts; each stream is a process of its "
              "own, and several share the processors. Solid is what half of the texts take at most, dotted what 95 % do.")
    return Finding("speaking", "", said, reason, lambda: figures.latency(run), (
        ("How soon each core speaks", lambda: tables.latency(run)), ("A long text on one state", lambda: tables.long_text(run))),
        runs=_names([run]))


def learning(report: Report) -> Finding | None:
    """Loss at equal steps and at equal processor time, before any run cools down."""
    found: dict[str, list[tuple[list, list]]] = {}      # core -> of each seed, minutes and losses
    diverged = set()
    for run in report.speech.get("headline", []):
        core, steps = run.identity["config"]["model"]["core"], run.identity["config"]["steps"]
        points = [p for p in run.result["validation"] if p["step"] <= LEARNING * steps]
        if core in PRIMARY and not np.isfinite([p["loss"] for p in points]).all():
            diverged.add(core)
        elif core in PRIMARY and len(points) > 1:
            minutes = np.cumsum(run.result["cpu_seconds"]) / 60
            found.setdefault(core, []).append(([minutes[p["step"] - 1] for p in points], [p["loss"] for p in points]))
    found = {core: seeds for core, seeds in found.items() if core not in diverged}
    if len(found) < 2:
        return None
    left = f" Left out, since a run of it diverged: {joined(map(named, sorted(diverged)))}." if diverged else ""
    until = min(minutes[-1] for seeds in found.values() for minutes, _ in seeds)
    steps = {core: float(np.mean([loss[-1] for _, loss in seeds])) for core, seeds in found.items()}
    time = {core: float(np.mean([np.interp(until, *seed) for seed in seeds])) for core, seeds in found.items()}
    first, second = (min(of, key=of.get) for of in (steps, time))
    apart, then = (max(of.values()) - min(of.values()) for of in (steps, time))
    line = (f"{named(first)} learns most per step, {'also' if first == second else named(second)} most per processor minute; cores "
            f"are {apart:.2f} apart in loss by steps, {then:.2f} by time.")
    said = (f"{line[:-1]}: validation loss {listed({c: f'{x:.2f}' for c, x in steps.items()})} at equal steps, "
            f"{listed({c: f'{x:.2f}' for c, x in time.items()})} after equal time.")
    return Finding("learning", line, said, f"Mean over seeds at {LEARNING:.0%} of the steps, where no run has begun to cool down, and "
                   f"after the {until:.1f} minutes of one thread that the fastest core takes to there. Numbers and no verdict.{left}",
                   lambda: speech.curves(report),
                   (("Loss on validation sentences at each learning rate", lambda: speech.rates_table(report)),
                    ("The Transformer by its recipe", lambda: speech.recipe_table(report))),
                   (*why.flattening(report), *speech.at_the_edge(report)), _names(report.speech["headline"]))


def state(report: Report) -> Finding | None:
    """Quality against what decoding has to keep."""
    runs = why.rows(report, "states")
    spread = {core: mine.error.max() - mine.error.min() for core, mine in runs.groupby("core", sort=False) if len(mine) > 1}
    if not spread:
        return None
    moved = joined(f"{100 * x:.1f} points of {named(core)}" for core, x in spread.items())
    said = f"Between the least state that was tried and the greatest, phoneme error moves by {moved}."
    return Finding("state", "", said,
                   "Attention that reads a window, and Mamba with a smaller or greater state, of equal parameters; one seed each, "
                   "numbers and no verdict.", lambda: why.against_state(report),
                   (("By the text encoder", lambda: why.encoders(report)),), runs=tuple(runs.run))


def guidance(report: Report) -> Finding | None:
    """What taking the text's part several times brings in decoding."""
    rows = why.guided(report)
    rows = rows[rows.core.isin(PRIMARY)]
    if rows.empty:
        return None
    of = {core: mine.set_index("guidance").error for core, mine in rows.groupby("core", sort=False)}
    moved = "; ".join(f"{named(core)} goes from {100 * errors[1.0]:.1f} to {100 * errors.min():.1f} % at {errors.idxmin():g}"
                      if errors.idxmin() != 1 else f"{named(core)} is best without, at {100 * errors[1.0]:.1f} %"
                      for core, errors in of.items())
    return Finding("guidance", "", f"Taking what the text brings several times moves the share of wrong phonemes: {moved}.",
                   "Classifier-free guidance: a tenth of the texts were dropped in training, and a frame's logits go beyond what the "
                   "text makes of them. Each frame is two steps. One seed a core, numbers and no verdict."
                   + _other_recipe(report, "guidance"),
                   lambda: why.against_guidance(report),
                   (("By guidance", lambda: counted.ways_table(report.guided, report.speech["guidance"])),),
                   runs=_names(report.guided))


def masked(report: Report) -> Finding | None:
    """What a core that sees both sides makes of hidden frames, beside itself frame by frame: what the look-ahead branch is for."""
    rows = why.masked(report)
    best = {core: mine.loc[mine.error.idxmin()] for core, mine in rows[rows.rounds > 0].groupby("core", sort=False)}
    if not best:
        return None
    frames = {row.core: row for row in rows[rows.rounds == 0].itertuples()}
    both = [f"{named(core)} gets {100 * row.error:.1f} % wrong in {row.rounds} round{'s' if row.rounds > 1 else ''}"
            + (f" and {100 * frames[core].error:.1f} % frame by frame" if core in frames else "") for core, row in best.items()]
    return Finding("masked", "", f"Hidden frames told from both sides: {joined(both)}.",
                   "The one setting in which the original report's look-ahead is honest: all frames at once, the surest first, the "
                   "first codebook in several rounds and each other in one. Attention has no mask there, the hybrid its convolution "
                   "as drawn, Mamba goes both ways, parameters equal. Both saw as many steps; one seed, numbers and no verdict."
                   + _other_recipe(report, "masked"),
                   lambda: why.against_rounds(report),
                   (("By the number of rounds", lambda: counted.ways_table(report.masked, report.speech["masked"])),),
                   runs=_names(report.masked))


def _other_recipe(report: Report, part: str) -> str:
    """By what recipe the models of a part are made, where that is not the headline's; "" where it is."""
    own, usual = ({tuple(run.identity["config"]["model"].get("recipe", ())) for run in report.speech.get(name, [])}
                  for name in (part, "headline"))
    names = ", ".join(dict.fromkeys(name.replace("_", " ") for name in chain(*own))) or "none"
    return f" These models are made by another recipe than the headline's: {names}." if usual - own else ""


def width(report: Report) -> Finding | None:
    """Whether a convolution beside Mamba helps, of each width."""
    found = [c for c in speech.width_comparisons(report) if c.tested] if "widths" in report.said else []
    if not found:
        return None
    counts = Counter("better" if c.winner == c.a else "worse" if c.winner == c.b else c.outcome for c in found)
    said = (f"A convolution beside Mamba, of {len({c.a for c in found})} widths, against Mamba alone of equal parameters: "
            f"{joined(f'{n} comparisons {outcome}' for outcome, n in counts.items())}.")
    return Finding("width", "", said, "A wider convolution leaves fewer parameters to Mamba. Fewer steps than in the comparison "
                   "itself, and the learning rate of the usual width for all.", lambda: speech.against_width(report), (),
                   tuple(c.sentence for c in found), _behind(found))


def memorising(report: Report, found: list[Comparison]) -> Finding | None:
    """The original report's protocol: who memorises clips in fewer steps, and at what cost."""
    if not found or not report.causal:
        return None
    ahead = {core: [METRICS[c.metric].noun for c in found if c.winner == core] for core in (found[0].a, found[0].b)}
    words = "; ".join(f"{named(core)} is ahead in {joined(nouns)}" for core, nouns in ahead.items() if nouns)
    config = next(iter(report.causal.values()))[0].identity["config"]
    clips = f"{config['clips']} clip{'s' * (config['clips'] > 1)}"
    protocol = (f"By the original report's protocol, memorising {clips}" if (config["clips"], config["steps"]) == PROTOCOL else
                f"Memorising {clips} in at most {config['steps']:,} steps, where the original report has one and {PROTOCOL[1]:,}")
    said = f"{protocol}, {words or 'nothing is shown'}{_larger(report)}."
    return Finding("memorising", "", said, "What follows from size alone (parameters, memory, part of the time) says nothing about "
                   "the architecture; and what memorises a clip need not speak. " + " ".join(prose.leak_sentences(report)),
                   lambda: figures.headline_forest(found), (
                       ("Training runs: steps to an accuracy, then loss, accuracy and what is said freely",
                        lambda: tables.training_runs(report)),
                       *((("One training step and decoding", lambda: tables.step_times(report.steps)),) if report.steps else ()),
                       *((("Memory", lambda: tables.memory(report.memory)),) if report.memory else ())),
                   tuple(c.sentence for c in found), _behind(found))


def _larger(report: Report) -> str:
    """How many times as large the transformer's core is as the hybrid's, where they were to memorise; "" where it is not larger."""
    counts = {core: runs[0].result["core_parameters"] for core, runs in report.causal.items()}
    if not {"transformer", "mamba_conv"} <= counts.keys() or counts["transformer"] < 1.02 * counts["mamba_conv"]:
        return ""
    return f"; its Transformer's core has {counts['transformer'] / counts['mamba_conv']:.1f} times the parameters of its hybrid's"


def original(report: Report, judged: list[Judgement]) -> Finding | None:
    """What becomes of the original report's claims."""
    if report.study.trial or not judged:
        return None
    counts = Counter(j.verdict for j in judged)
    held = [j.equal for j in judged if j.equal and j.verdict == REPRODUCED]
    equal = sum(e.verdict == REPRODUCED for e in held)
    said = (f"Of the original report's {len(judged)} claims {counts[REPRODUCED]} are reproduced, {counts[NOT_REPRODUCED]} are not, "
            f"{counts[BY_CONSTRUCTION]} hold by construction, {counts[CONTRADICTS]} contradict the report itself and "
            f"{counts[NOT_COMPARABLE]} cannot be compared.")
    reason = (f"Of the {len(held)} reproduced ones on time, memory, state or throughput, {equal} are reproduced with equal parameters "
              "too. " if held else "") + "It judged one memorised clip, unequal sizes and models that could see their targets."
    line = f"The original report: {counts[REPRODUCED]} of {len(judged)} claims reproduced{_larger(report)}."
    return Finding("original", line, said, reason, lambda: figures.verdicts(counts), runs=_behind(judged))


def _untested(report: Report) -> str:
    """Why no two cores were compared by what they say, in a clause."""
    if report.obstacle and not report.speech:
        return report.obstacle.result["why"].rstrip(".")
    gate = [c for c in speech.gate(report) if c.tested] if "headline" in report.said else []
    if gate and not all(c.winner == c.a for c in gate):
        return "not shown to be better than the control, which mixes no frames, cores were not compared"
    return "it takes several seeds of each core"


def headline(report: Report) -> str:
    """The answer in one sentence."""
    judged = speech.HEADLINE[speech.deaf(report)]
    family = [c for c in speech.comparisons(report) if c.metric == judged] if "headline" in report.said else []
    tested = [c for c in family if c.tested]
    if not tested:
        return ("A trial of the pipeline: numbers, and no verdict." if report.study.trial else
                f"No verdict on speech: {_untested(report)}.")
    wins = Counter(c.winner for c in tested if c.winner)
    others = len({core for c in tested for core in (c.a, c.b)}) - 1
    best = next((core for core, n in wins.items() if n == others), None)        # better than every other
    best_at = "predicts new sentences best, by loss" if speech.deaf(report) else "says new sentences best"
    words = f"{named(best)} {best_at}" if best else "No winner on short sentences"
    if wins and not best:
        words += f" ({verdict(tested)})"
    beside = next((c for c in tested if {c.a, c.b} == {"mamba", "mamba_conv"}), None)
    if beside:
        effect = {"mamba_conv": "helps", "mamba": "harms"}.get(beside.winner, "is not shown to help")
        words += f", and the convolution beside Mamba {'makes no difference' if beside.outcome == 'equal' else effect}"
    return words + "."


def answer(report: Report, found: list[Finding]) -> str:
    """What stands first on the page, as HTML: the answer, a line for each finding, one figure, a sentence that no model heard by
    every core, and what it all is limited to."""
    lines = "".join(f'<li><a href="#{finding.id}">{escape(finding.line)}</a></li>' for finding in found if finding.line)
    picture = figures.keep(found[0].draw(), report.study.label, "answer", found[0].said).data if found else ""
    return (f'<div class="answer"><div><p class="lead">{escape(headline(report))}</p><ul>{lines}</ul></div>'
            f'<div>{picture}{first_sentence(report)}</div></div><p class="scope">{escape(scope(report))}</p>')


def first_sentence(report: Report) -> str:
    """Players of the first test sentence, as every core says it, as HTML."""
    first = speech.first_seeds(report)
    kept = [row for row in (report.bounds.result["rows"] if report.bounds else []) if row["what"] == "speech"
            and all(sound_file(f"{row['id']}-predicted") in said.files for said in first.values())]
    if not (kept and first):
        return ""
    sounds = {named(core): sound(said, f"{kept[0]['id']}-predicted") for core, said in first.items() if core in PRIMARY}
    return f"<p>{escape(kept[0]['text'])}</p>{players(sounds, kept[0]['text'])}"


def scope(report: Report) -> str:
    """What all of it is limited to, in one line."""
    s = report.study
    if s.trial:
        return "A trial of the pipeline: its numbers mean nothing."
    words, runs = [report.corpus.result["speech"]], report.speech.get("headline", [])
    if runs:
        seeds = len({run.identity["config"]["seed"] for run in runs})
        words += [speech.scope(report), f"{seeds} seed{'s' * (seeds > 1)}"]
    if timed := report.steps or report.lengths:
        words.append(f"times of {device(timed)}")
    return f"Study {s.name}: {'; '.join(words)}."


def shown(finding: Finding, study: str) -> str:
    """A finding as HTML: its sentence, its figure, why, and folded what is behind it."""
    picture = figures.keep(finding.draw(), study, finding.id, finding.said).data
    behind = [prose.bullets(finding.notes), *(table(frame, caption) for caption, make in finding.numbers if len(frame := make()))]
    if not finding.measured:
        picture, behind = "", [picture, *behind]
    return (f'<div class="finding" data-runs="{", ".join(finding.runs)}"><h3 id="{finding.id}">{escape(finding.said)}</h3>'
            f'{picture}<p>{escape(finding.why)}</p>'
            + (fold("Numbers, statistics and runs", *behind) if any(behind) else "") + "</div>")


def rest(report: Report) -> dict[str, list[str]]:
    """All else that was measured, under titles, as HTML; nothing of what was not."""
    def drawn(figure: Figure, name: str, said: str) -> str:
        return figures.keep(figure, report.study.label, name, said).data

    out: dict[str, list[str]] = {}
    if "headline" in report.said:
        parts = [drawn(speech.cost_and_quality(report), "cost_and_quality",
                       f"Phoneme error against what it costs. {speech.price(report)}")]
        family = speech.comparisons(report)
        if any(c.interval for c in family):
            parts.insert(0, drawn(figures.headline_forest(family), "verdict_speech",
                                  "; ".join(f"{METRICS[metric].noun}: {verdict([c for c in family if c.metric == metric])}"
                                            for metric in dict.fromkeys(c.metric for c in family))))
        if "budget" in report.said:
            parts.append(drawn(why.against_budget(report), "against_budget",
                               f"Validation loss against steps, frames and time. {'. '.join(why.flattening(report))}"))
        if "layers" in report.said:
            parts.append(drawn(why.against_layers(report), "against_layers", why.layers_words(report)))
        if report.steps_speech:
            parts.append(table(tables.step_times(report.steps_speech), f"Cost at this size, batch 1 ({report.steps_speech.name})"))
        parts.append(table(speech.runs_table(report), "What every run said"))
        out["The study of speech: verdicts, cost, budget, every run"] = parts
    if report.regimes():
        leaks = " ".join(prose.leak_sentences(report))
        reached = {core: f"{100 * np.mean([run.result['memorised']['accuracy'] for run in runs]):.1f} %"
                   for core, runs in report.causal.items()}
        parts = [drawn(figures.learning_curves(report.causal, "Causal: memorising the clips"), "learning_causal",
                       f"Learning curves, which end with so many tokens right: {listed(reached)}")]
        if report.reported:
            parts.append(drawn(figures.learning_curves(report.reported, "As reported: the core can see its target"),
                               "learning_reported", leaks or "Learning curves of cores that can see their target"))
        if report.influence:
            seen = [of_regime(run.result["model"]["core"], run.result["model"]["regime"]) for run in report.influence
                    if run.result["leak"] > 0]
            parts.append(drawn(figures.influences(report.influence), "influence", "Which input frames move which outputs: a frame's "
                               f"own target, or its future, does in {joined(seen) if seen else 'no core'}"))
        if report.heard:
            parts += [drawn(figures.leak(report), "leak", leaks or "Tokens right when every frame before is given, and when the model "
                            "hears only itself"), table(tables.listening(report), "Free-running, greedy; mean over seeds")]
        out["Memorising: learning, what a core sees, what it says by itself"] = parts
    if report.steps:
        out["Cost at the original report's sizes"] = [
            drawn(figures.step_parts(report.steps), "step_parts", "A training step, milliseconds: " + listed(
                {core: f"{median(times):.0f}" for core in report.steps.result["parameters"]
                 if (times := medians(report.steps, core, "step_ms"))})),
            prose.paragraphs([prose.first_audio(run) for run in (report.steps, report.steps_matched) if run])]
    if report.bench:
        out["How near to the limit, and to what others use"] = [
            table(tables.floors(report.bench), f"Training step over its floor ({report.bench.name})"),
            prose.bullets(prose.nearness(report.bench)),
            *(table(frame, f"{group} ({report.bench.name})") for group, frame in tables.bench(report.bench).items())]
    codec = []
    if quality := report.codec_quality:
        codec = [table(tables.codec_quality(quality), f"Round trip of test sentences ({quality.name})"),
                 drawn(figures.codec_rows(quality), "codec_quality", tables.codec_words(quality)),
                 table(tables.codebook_use(quality), "How evenly the codes are used")]
    if report.codec:
        codec.append(table(tables.codec_speed(report.codec), f"The codec's speed ({report.codec.name})"))
    if codec:
        out["The codec, ceiling of every sound"] = codec
    counts, first = tables.set_aside(report.corpus)
    out["The corpus"] = [table(tables.described(report.corpus), f"Corpus {report.corpus.result['name']} ({report.corpus.name})"),
                         table(tables.splits(report.corpus), "Its splits")]
    if len(counts):
        out["The corpus"] += [table(counts, "Clips that are not used, by reason; set_aside.tsv beside the record lists all"),
                              table(first, f"The first {len(first)} of them")]
    out["Environment, and where the time went"] = [
        table(tables.environments(report), "Hardware and versions of the runs"),
        table(tables.stages(report), "Seconds of each notebook in the latest run; finished runs are found, not repeated")]
    return out
