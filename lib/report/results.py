"""From run records to results: every number of the report as samples that name the run they come from."""
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from ..config import EMBEDDED, ModelConfig, Study, restored
from ..data.codec import FRAME_RATE
from ..metrics.stats import exponent
from ..models.codec_lm import CodecLM
from ..records import Record, noted
from ..training.optimiser import flops
from .claims import Results, Sample

LEVELS = {"0.5": "steps_to_50", "0.9": "steps_to_90", "0.95": "steps_to_95", "0.999": "steps_to_100"}
LONGEST = 3         # of the lengths that an exponent is fitted over
TIMES = ("forward_ms", "backward_ms", "optimiser_ms", "step_ms", "decode_ms", "prefill_ms", "first_audio_ms")


@dataclass
class Report:
    """The runs of a study by what they are, and the results that follow."""
    study: Study
    corpus: Record | None = None           # what was spoken, and how it was prepared
    causal: dict[str, list[Record]] = field(default_factory=dict)       # core -> training runs, by seed
    reported: dict[str, list[Record]] = field(default_factory=dict)
    heard: dict[str, Record] = field(default_factory=dict)              # training run -> listening run
    steps: Record | None = None             # headline timings at the study's size
    steps_matched: Record | None = None     # and at the size where all cores have the same number of parameters
    memory: Record | None = None            # at the study's size, headline length
    memory_lengths: Record | None = None    # at the matched size, as are the next
    lengths: Record | None = None
    codec: Record | None = None             # the codec's speed
    codec_quality: Record | None = None
    obstacle: Record | None = None          # why there is no study of speech
    alignment: Record | None = None         # how an own corpus got its times
    recogniser: Record | None = None        # what heard the study of speech
    bounds: Record | None = None            # its ceiling and its floor
    speech: dict[str, list[Record]] = field(default_factory=dict)       # part of that study -> training runs
    said: dict[str, list[Record]] = field(default_factory=dict)         # and what they said
    drawn: list[Record] = field(default_factory=list)                   # what the first seeds said, tokens being drawn
    guided: list[Record] = field(default_factory=list)                  # with the text's part taken several times
    masked: list[Record] = field(default_factory=list)                  # frames hidden, said in rounds, and frame by frame
    longer: list[Record] = field(default_factory=list)                  # texts longer than training saw
    influence: list[Record] = field(default_factory=list)               # what each core can see, by regime
    steps_speech: Record | None = None      # headline timings at its size
    joins: Record | None = None             # what becomes of speech from sentence to sentence
    latency: Record | None = None           # how soon its cores speak
    bench: Record | None = None             # of this code on this machine, where it was run
    listeners: Record | None = None         # what they answered in blind tests
    again: dict[str, Record] = field(default_factory=dict)              # steps, lengths, ... measured on another day

    @property
    def frame_rate(self) -> float:
        """Frames a second of the corpus."""
        return self.corpus.result.get("frame_rate", FRAME_RATE) if self.corpus else FRAME_RATE

    def regimes(self) -> list[tuple[str, str, list[Record]]]:
        return [(core, regime, runs) for regime, group in (("causal", self.causal), ("as_reported", self.reported))
                for core, runs in group.items()]


# What a notebook may need of a study: whether a report has it, what is said where it has not, and who makes it.
NEEDS: dict[str, tuple[Callable[[Report], object], str, tuple[str, ...]]] = {
    "corpus": (lambda report: report.corpus, "no corpus has been prepared", ("01",)),
    "train": (Report.regimes, "no core has been trained", ("02", "03", "04")),
    "listen": (lambda report: all(runs[0].name in report.heard for _, _, runs in report.regimes()),
               "not every core has been heard", ("06",)),
}


def read(study: Study, *needed: str, name: str | None = None) -> Report:
    """The report's runs, from the manifest of the study, or of the one of that name; ValueError says what to run first where
    something needed is absent."""
    report = Report(study)
    for role, runs in noted(name or study.label).items():
        kind, _, part = role.partition("/")
        if kind == "train":
            _add_training(report, runs)
        elif kind == "listen":
            report.heard |= {run.result["train"]: run for run in runs}
        elif kind in ("speech", "said"):
            getattr(report, kind).setdefault(part.split("/")[0], []).extend(runs)
        elif kind == "again":
            report.again[part] = runs[0]
        elif kind in ("drawn", "guided", "masked", "longer", "influence"):
            setattr(report, kind, getattr(report, kind) + runs)
        elif runs and kind != "sampled":
            setattr(report, role, runs[0])
    for _, _, runs in report.regimes()[:1]:         # a corpus may have fewer clips to memorise than are asked for
        report.study = replace(study, clips=runs[0].identity["config"]["clips"])
    absent = [NEEDS[name] for name in needed if not NEEDS[name][0](report)]
    if absent:
        notebooks = [notebook for _, _, makers in absent for notebook in makers]
        raise ValueError(f"{' and '.join(words for _, words, _ in absent)} in study {study.label} yet: "
                         f"run {command(study, notebooks)}")
    return report


def command(study: Study, notebooks: Sequence[str]) -> str:
    """How to run some notebooks, given in order, of a study: "notebooks 02 to 04 first (python -m lib.run ...)"."""
    named = ", ".join(notebooks)
    if len(notebooks) > 1 and int(notebooks[-1]) - int(notebooks[0]) == len(notebooks) - 1:
        named = f"{notebooks[0]} to {notebooks[-1]}"
    return f"notebook{'s' * (len(notebooks) > 1)} {named} first ({run_of(study)} --only {' '.join(notebooks)})"


def run_of(study: Study) -> str:
    """The command that runs a study."""
    corpus = "" if study.corpus == EMBEDDED else f" --corpus {shlex.quote(study.corpus)}"
    return f"python -m lib.run --study {study.name}{corpus}"


def said_by(trained: Sequence[Record], said: Sequence[Record]) -> list[Record]:
    """What some runs said, without what was said by others, which may have been trained anew since."""
    names = {run.name for run in trained}
    return [one for one in said if one.result["train"] in names]


def of_runs(study: Study, runs: list[Record]) -> Report:
    """A report that knows these training runs and nothing else."""
    report = Report(study)
    _add_training(report, runs)
    return report


def by_regime(runs: list[Record]) -> dict[str, list[Record]]:
    """Training runs by the regime of their model."""
    out: dict[str, list[Record]] = {}
    for run in runs:
        out.setdefault(run.identity["config"]["model"]["regime"], []).append(run)
    return out


def _add_training(report: Report, runs: list[Record]) -> None:
    for run in runs:
        model = run.identity["config"]["model"]
        group = report.causal if model["regime"] == "causal" else report.reported
        group.setdefault(model["core"], []).append(run)


def results(report: Report) -> Results:
    """Samples of every metric of the claims, causal regime, at the study's size; of the sweep over lengths at the matched."""
    out: Results = {}

    def add(core: str, metric: str, value: float | None, pair: str, run: Record, censored: bool = False) -> None:
        if value is not None:
            out.setdefault((core, metric), []).append(Sample(float(value), pair, run.name, censored=censored))

    for core, runs in report.causal.items():
        for run in runs:
            pair, r = f"seed {run.identity['config']['seed']}", run.result
            add(core, "final_loss", r["memorised"]["loss"], pair, run)
            add(core, "final_accuracy", r["memorised"]["accuracy"], pair, run)
            add(core, "unseen_accuracy", r["unseen"] and r["unseen"]["accuracy"], pair, run)
            add(core, "training_min", r["training_s"] / 60, pair, run)
            for level, metric in LEVELS.items():
                reached = r["steps_to"][level]
                add(core, metric, r["steps"] if reached is None else reached, pair, run, censored=reached is None)
            heard = report.heard.get(run.name)
            if heard:
                add(core, "token_match", said_share(run, heard), pair, heard)
                add(core, "tokens_per_s", np.mean([s["tokens_per_s"] for s in heard.result["sentences"]]), pair, heard)
    if report.steps:
        out |= step_samples(report.steps)
    if report.memory:
        out |= memory_samples(report.memory, report.study.frames)
    if report.lengths:
        out |= length_samples(report.lengths)
    return out


def equal_results(report: Report) -> Results:
    """Samples of the metrics of cost at the size where all cores have the same number of parameters; tokens per second are
    the codebooks over the decoding time of a frame."""
    out: Results = {}
    if report.steps_matched:
        out |= step_samples(report.steps_matched)
        tokens = 1e3 * report.study.codebooks
        out |= {(core, "tokens_per_s"): [Sample(tokens / s.value if s.value else np.inf, s.pair, s.run) for s in times]
                for (core, metric), times in list(out.items()) if metric == "decode_ms"}
    if report.memory_lengths:
        out |= memory_samples(report.memory_lengths, report.study.frames)
    if report.lengths:
        out |= length_samples(report.lengths)
    return out


def step_samples(run: Record) -> Results:
    """Headline timings: the median of each process, and what was counted. A run that does not say how many frames it
    decoded timed the first 60 of them: that is no time of an utterance, and left out."""
    out: Results = {}
    for metric in ("parameters", "core_parameters"):
        out |= {(core, metric): [Sample(count, "model 0", run.name)] for core, count in run.result[metric].items()}
    for i, process in enumerate(run.result["processes"]):
        for core, parts in process.items():
            middle = {part: median(parts[part]) for part in TIMES if parts.get(part)}
            if "decoded" not in run.result:
                middle.pop("decode_ms", None)
            for part, ms in middle.items():
                out.setdefault((core, part), []).append(Sample(ms, f"process {i}", run.name))
            if middle.get("step_ms"):
                out.setdefault((core, "steps_per_s"), []).append(Sample(1e3 / middle["step_ms"], f"process {i}", run.name))
    return out


def memory_samples(run: Record, frames: int) -> Results:
    """Memory of training at a length, a process a sample, and the decoding state after it, which is counted."""
    out: Results = {}
    for core, rows in run.result["cores"].items():
        at = [row for row in rows if row["frames"] == frames]
        for metric, key in (("peak_mb", "train_peak"), ("average_mb", "train_average")):
            out[core, metric] = [Sample(row[key] / 1e6, f"process {row['process']}", run.name) for row in at]
        out[core, "state_kb"] = [Sample(row["state_bytes"] / 1e3, "model 0", run.name) for row in at[:1]]
    return {key: samples for key, samples in out.items() if samples}


def length_samples(run: Record) -> Results:
    """Samples of a sweep over lengths: exponents of the step's time, a process a sample, and of the FLOPs of attention and
    scans, counted; decoding at 64 seconds."""
    out: Results = {}
    cores, lengths = swept(run)
    for core in cores:
        out[core, "exponent_step_time"] = [Sample(value, f"process {i}", run.name)
                                           for i, value in enumerate(exponents(run, core, "step_ms"))]
        out[core, "decode_ms_4800"] = [Sample(value, f"process {i}", run.name)
                                       for i, value in enumerate(curve(run, core, "decode_ms").get(4800, []))]
    for described in run.identity.get("configs", []) if len(lengths) > 1 else ():
        config = restored(ModelConfig, described)
        core = CodecLM(config).core
        mixing = [flops(core, lambda: None, 1, frames) for frames in lengths[-LONGEST:]]
        if all(mixing):
            out[config.core, "exponent_mixing"] = [Sample(exponent(lengths[-LONGEST:], mixing), "model 0", run.name)]
    return {key: samples for key, samples in out.items() if samples}


def medians(run: Record, core: str, part: str) -> list[float]:
    """The median of each process of a `steps` run; none where the core or the part was not measured."""
    return [s.value for s in step_samples(run).get((core, part), [])]


def memorised_ids(run: Record, heard: Record) -> set[str]:
    """Ids of the sentences that a training run memorised, among those it was heard with: the first of the list."""
    return {s["id"] for s in heard.result["sentences"][:run.identity["config"]["clips"]]}


def said_share(run: Record, heard: Record) -> float:
    """Share of the memorised clips' tokens that a training run says by itself, mean over clips."""
    known = memorised_ids(run, heard)
    return float(np.mean([s["token_match"] for s in heard.result["sentences"] if s["id"] in known]))


def curve(run: Record, core: str, part: str) -> dict[int, list[float]]:
    """Length -> the median of each process, of a `lengths` run; empty where the core was not measured."""
    points: dict[int, list[float]] = {}
    for process in run.result["processes"]:
        for row in process.get(core, []):
            points.setdefault(row["frames"], []).append(median(row[part] or [np.nan]))
    return dict(sorted(points.items()))


def swept(run: Record) -> tuple[list[str], list[int]]:
    """The cores of a `lengths` run, and its lengths, rising."""
    rows = [(core, row["frames"]) for process in run.result["processes"] for core, of_core in process.items() for row in of_core]
    return list(dict.fromkeys(core for core, _ in rows)), sorted({frames for _, frames in rows})


def exponents(run: Record, core: str, part: str) -> list[float]:
    """For each process the exponent of time against length over the LONGEST greatest lengths, nan where no power law
    goes through its times; none for fewer than two lengths."""
    points = list(curve(run, core, part).items())[-LONGEST:]
    frames, times = [n for n, _ in points], [values for _, values in points]
    return [exponent(frames, process) if all(0 < ms < np.inf for ms in process) else np.nan
            for process in zip(*times)] if len(points) > 1 else []
