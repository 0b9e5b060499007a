"""The report's tables as frames of text; lib.report.html escapes and draws them."""
import json
from statistics import median

import numpy as np
import pandas as pd

from ..config import ModelConfig
from ..data.corpus import SPLITS
from ..metrics.cost import parameters
from ..models.codec_lm import CodecLM
from ..records import Record, figures_root
from .claims import Judgement
from .results import TIMES, Report, curve, exponents, medians, memorised_ids, said_share, swept

NARROW = 16_000     # Hz: a lower sample rate is a telephone's


def _equal(j: Judgement) -> str:
    """What became of a claim on cost where all cores have the same number of parameters."""
    if j.equal is None:
        return ""
    return f"{j.equal.verdict}: {j.equal.measured}" if j.equal.measured else j.equal.explanation


def claims_table(judgements: list[Judgement]) -> pd.DataFrame:
    """Every claim with what became of it and the runs behind that."""
    return pd.DataFrame([{"claim": j.claim.id, "section": j.claim.section, "the original says": j.claim.quote,
                          "verdict": j.verdict, "measured here": j.measured, "with equal parameters": _equal(j),
                          "why": j.explanation, "runs": ", ".join(j.runs)} for j in judgements])


def model_parts(config: ModelConfig) -> pd.DataFrame:
    """How many parameters each part of a model has, and all."""
    model = CodecLM(config)
    counts = {name: parameters(part) for name, part in model.named_children()} | {"all": parameters(model)}
    return pd.DataFrame([{"part": name, "parameters": f"{count:,}"} for name, count in counts.items()])


def training_runs(report: Report) -> pd.DataFrame:
    """One row a training run: accuracy and loss are teacher-forced, `said` is the share of tokens said freely."""
    rows = []
    for core, regime, runs in report.regimes():
        for run in runs:
            r, heard = run.result, report.heard.get(run.name)
            row = {"core": core, "regime": regime.replace("_", " "), "seed": str(run.identity["config"]["seed"]),
                   "steps": str(r["steps"]),
                   **{f"to {float(k):.1%}".replace(".0%", "%"): str(v or f"> {r['steps']}") for k, v in r["steps_to"].items()},
                   "loss": f"{r['memorised']['loss']:.4f}", "accuracy": f"{r['memorised']['accuracy']:.2%}",
                   "unseen": f"{r['unseen']['accuracy']:.1%}" if r["unseen"] else "",
                   "said": "", "seconds": f"{r['training_s']:.1f}", "run": run.name}
            if heard:
                row["said"] = f"{said_share(run, heard):.1%}"
            rows.append(row)
    return pd.DataFrame(rows)


def step_times(run: Record) -> pd.DataFrame:
    """A column a core: parameters, then the median of the processes' medians, and the least and the most of them in ms."""
    rows = [{"quantity": label} | {core: f"{count:,}" for core, count in run.result[key].items()}
            for label, key in (("parameters", "parameters"), ("of them in the core", "core_parameters"))]
    for part in TIMES:
        row = {"quantity": part.removesuffix("_ms").replace("_", " ") + ", ms"}
        for core in run.result["parameters"]:
            values = medians(run, core, part)
            row[core] = _times(values)
        rows.append(row)
    return pd.DataFrame(rows)


def _times(values: list[float]) -> str:
    """The median over processes, in brackets the least and the most."""
    if not values or not np.isfinite(values).all():
        return "not measured"
    return f"{median(values):.2f} " + (f"({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else "(one process)")


def lengths(run: Record) -> pd.DataFrame:
    """Milliseconds at each length, and the exponent fitted over the greatest lengths in each process: median, least and most."""
    rows, (cores, frames) = [], swept(run)
    for part, name in (("step_ms", "training step"), ("decode_ms", "decoding of one frame")):
        for core in cores:
            at = curve(run, core, part)
            rows.append({"core": core, "milliseconds": name,
                         **{f"{n} frames": f"{median(at[n]):.1f}" if n in at else "not measured" for n in frames},
                         "exponent": _times(exponents(run, core, part))})
    return pd.DataFrame(rows)


def memory(run: Record) -> pd.DataFrame:
    """Megabytes above the process before the model: of training and of decoding, and the decoding state by itself."""
    rows = []
    for core, points in run.result["cores"].items():
        for frames in sorted({p["frames"] for p in points}):
            at = [p for p in points if p["frames"] == frames]
            middle = {k: median(p[k] for p in at) for k in ("train_peak", "train_average", "decode_peak", "state_bytes")}
            rows.append({"core": core, "frames": str(frames), "training, peak MB": f"{middle['train_peak'] / 1e6:.0f}",
                         "training, average MB": f"{middle['train_average'] / 1e6:.0f}",
                         "decoding, peak MB": f"{middle['decode_peak'] / 1e6:.0f}",
                         "decoding state, MB": f"{middle['state_bytes'] / 1e6:.2f}", "processes": str(len(at))})
    return pd.DataFrame(rows)


def bench(run: Record) -> dict[str, pd.DataFrame]:
    """The rows of a bench by comparison; a comparison has the columns of peers and of floors where it has those."""
    groups: dict[str, list] = {}
    for r in run.result["rows"]:
        groups.setdefault(r["group"], []).append(r)
    return {group: pd.DataFrame([_bench_row(r, any(r["peer"] for r in rows), any(r["floor"] for r in rows))
                                 for r in rows]) for group, rows in groups.items()}


def _bench_row(r: dict, peers: bool, floors: bool) -> dict:
    missing = f"not measured ({r['note']})"
    row = {"what": r["what"], "size": r["size"], "batch": str(r["batch"]), "frames": f"{r['frames']:,}",
           "ours, ms": _spread(r["ours"]) if r["ours"] else missing}
    if peers and r["peer"]:
        row |= {"peer": r["peer"], "peer, ms": _spread(r["theirs"]) if r["theirs"] else missing,
                "peer / ours": _short(r["ratio"]) if r["ratio"] else "not measured"}
    elif peers:
        row |= {"peer": "none", "peer, ms": "", "peer / ours": ""}
    if floors:
        row |= {"floor, ms": _short(r["floor"]["ms"]), "step / floor": _short(r["over_floor"])}
    return row


def _short(number: float) -> str:
    """Three digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _spread(times: dict) -> str:
    """The median of some runs, in brackets the least, the most and how many."""
    return f"{_short(times['median'])} ({_short(times['min'])} to {_short(times['max'])}, n = {times['n']})"


def floors(run: Record) -> pd.DataFrame:
    """How many times its floor the training step of each core takes, and how far apart the cores are in that."""
    return pd.DataFrame([{"size": f["size"], "batch": str(f["batch"]), "frames": f"{f['frames']:,}"}
                         | {core: f"{over:.2f}" for core, over in f["over_floor"].items()}
                         | {"largest ratio": f"{f['largest_ratio']:.2f}"} for f in run.result["floors"]])


def latency(run: Record) -> pd.DataFrame:
    """A row a core and number of streams at once: first sound of a process that has spoken before, half and 95 % of the texts
    sooner, real-time factor and gaps; of one stream also first sound from the start of the command."""
    command = {row["core"]: row for row in run.result["command"]}
    return pd.DataFrame([{
        "core": row["core"], "streams at once": str(row["streams"]), "first sound, ms": _halves(row),
        "from the command, ms": _halves(command[row["core"]]) if row["streams"] == 1 else "",
        "real-time factor": f"{row['real_time_factor']:.2f}",
        "gaps": f"{row['gaps']} ({row['longest_gap_ms']:.0f} ms at the most)" if row["gaps"] else "none",
        "texts": f"{row['texts']}"} for row in run.result["warm"]])


def _halves(row: dict) -> str:
    return f"{row['p50_ms']:,.0f} (95 %: {row['p95_ms']:,.0f})"


def long_text(run: Record) -> pd.DataFrame:
    """What is kept of a long text that is said on one state: the core's state at the first and the last place where it was looked
    at, what is resident there, and the peak."""
    return pd.DataFrame([{
        "core": row["core"], "state": row["state"],
        **{f"{name}, MB": " to ".join(f"{row['rows'][i][key] / 1e6:.1f}" for i in (0, -1))
           for name, key in (("state of the core", "state"), ("resident", "resident"))},
        "peak resident, MB": f"{row['peak'] / 1e6:.0f}",
        "after, s": " to ".join(f"{row['rows'][i]['seconds']:.0f}" for i in (0, -1))} for row in run.result["long"]])


def joins(run: Record) -> pd.DataFrame:
    """A row a core and what becomes of its state between sentences: phoneme error, how far level and F0 jump at the joins (mean of
    the jumps' sizes, and which way they go), and the state at the end; of the speech itself, each sentence by itself."""
    out = []
    for (core, state), rows in pd.DataFrame(run.result["rows"]).groupby(["core", "state"], sort=False):
        level, f0 = (np.concatenate(rows[name].tolist()) for name in ("level_db", "f0_cents"))
        out.append({"core": "the speech itself" if core == "speech" else core, "state": state or "each by itself",
                    "phoneme error": f"{100 * rows.errors.sum() / rows.phonemes.sum():.1f} %", "joins": f"{len(f0)}",
                    "F0 jumps by, cents": f"{np.abs(f0).mean():.0f}", "on average": f"{f0.mean():+.0f}",
                    "level jumps by, dB": f"{np.abs(level).mean():.1f}", "on average, dB": f"{level.mean():+.1f}",
                    "state, kB": f"{rows.state_bytes.mean() / 1e3:,.0f}" if core != "speech" else ""})
    return pd.DataFrame(out)


def listening(report: Report) -> pd.DataFrame:
    """Per sentence, core and regime: share of tokens equal to the clip's (mean over seeds) and how fast it was said."""
    rows = []
    for core, regime, runs in report.regimes():
        heard = [report.heard[run.name] for run in runs if run.name in report.heard]
        if not heard:
            continue
        known = memorised_ids(runs[0], heard[0])
        for i, sentence in enumerate(heard[0].result["sentences"]):
            same = [h.result["sentences"][i] for h in heard]
            rows.append({"core": core, "regime": regime.replace("_", " "), "sentence": sentence["id"],
                         "trained on": "yes" if sentence["id"] in known else "no",
                         "tokens equal": f"{np.mean([s['token_match'] for s in same]):.1%}",
                         "frames said / of the clip": f"{np.mean([s['frames'] for s in same]):.0f} / {sentence['reference_frames']}",
                         "ended by itself": f"{sum(s['ended'] for s in same)} of {len(same)}",
                         "real-time factor": f"{np.mean([s['real_time_factor'] for s in same]):.3f}",
                         "tokens/s": f"{np.mean([s['tokens_per_s'] for s in same]):.0f}"})
    return pd.DataFrame(rows)


def sampled(heard: list[Record]) -> pd.DataFrame:
    """Sentences said with sampling, one run of each core."""
    return pd.DataFrame([{"core": run.result["model"]["core"], "sentence": s["id"],
                          "tokens equal": f"{s['token_match']:.1%}", "frames": f"{s['frames']} / {s['reference_frames']}",
                          "ended by itself": "yes" if s["ended"] else "no", "run": run.name}
                         for run in heard for s in run.result["sentences"]])


def stages(report: Report) -> pd.DataFrame:
    """Seconds of each notebook, where the runner wrote them."""
    path = figures_root(report.study.label) / "stages.json"
    seconds = json.loads(path.read_text()) if path.exists() else {}
    return pd.DataFrame([{"notebook": name, "seconds": f"{s:.1f}"} for name, s in seconds.items()],
                        columns=["notebook", "seconds"])


def described(corpus: Record) -> pd.DataFrame:
    """What a corpus is, and what those who brought it should check: its text, voices, sample rates, lengths and levels."""
    r = corpus.result
    letters, (shortest, middle, longest) = r["alphabet"].replace(" ", ""), r.get("seconds") or [np.nan] * 3
    rows = {"speech": r["speech"], "layout": r.get("kind"), "language": r["language"] or "not named",
            "column of the text": r.get("text_column"), "voice": r.get("voice"),
            "speakers": (f"{r['speakers']:,}" if r.get("speakers") else "not named") if "kind" in r else None,
            "sample rates": ", ".join(f"{int(rate):,} Hz ({n:,} clips)" for rate, n in r.get("rates", {}).items()),
            "length of a clip": r.get("seconds") and f"{shortest:.1f} to {longest:.1f} s, median {middle:.1f} s",
            "level of a clip": r.get("levels") and "{0:.0f} to {2:.0f} dB of full scale, median {1:.0f} dB".format(*r["levels"]),
            "alphabet": f"{len(letters)} characters: {' '.join(letters)}",
            "clips set aside": f"{sum(r['set_aside'].values()):,}" if "kind" in r else None}
    narrow = sum(n for rate, n in r.get("rates", {}).items() if int(rate) < NARROW)
    if narrow:
        rows["sample rates"] += (f"; {narrow:,} clips are of telephone quality: nothing above half their sample rate was recorded, "
                                 "so no core learns to say it")
    return pd.DataFrame([{"what": what, "value": value} for what, value in rows.items() if value])


def splits(corpus: Record) -> pd.DataFrame:
    """Clips of each split of a corpus, and their minutes where it was recorded."""
    rate = corpus.result.get("frame_rate")
    return pd.DataFrame([{"split": split, "clips": f"{n['clips']:,}"}
                         | ({"minutes": f"{n['frames'] / rate / 60:,.1f}"} if rate else {})
                         for split in SPLITS if (n := corpus.result["splits"].get(split))])


def set_aside(corpus: Record) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How many clips of a corpus are not used for each reason, and the first of them one by one."""
    counts = pd.DataFrame([{"reason": r, "clips": f"{n:,}"} for r, n in corpus.result["set_aside"].items()],
                          columns=["reason", "clips"])
    return counts, pd.DataFrame(corpus.result.get("examples", []), columns=["id", "file", "reason"])


def codec_speed(run: Record) -> pd.DataFrame:
    seconds = run.result["seconds"]
    middle = {part: median(run.result[f"{part}_ms"]) for part in ("encode", "decode")}
    return pd.DataFrame([{"codec": part, "milliseconds": f"{ms:.1f}", "of sound, s": f"{seconds:.1f}",
                          "times real time": f"{1e3 * seconds / ms:.0f}" if ms else "not measured"} for part, ms in middle.items()])


MEASURES = {"stoi": ("STOI", ".3f"), "pesq": ("PESQ", ".2f"), "mcd_db": ("mel-cepstral distortion, dB", ".2f"),
            "f0_cents": ("F0 error, cents", ".0f"), "mos": ("DistillMOS", ".2f")}


def codec_quality(run: Record) -> pd.DataFrame:
    """Mean of every measure by group and number of codebooks, the unprocessed audio first; of STOI also the lowest
    voice, the mean over its clips."""
    frame, out = pd.DataFrame(run.result["rows"]), []
    for (group, count), rows in frame.groupby(["group", "codebooks"], sort=False):
        voices = rows.groupby("voice").stoi.mean().dropna()
        row = {"speech": group, "codebooks": str(count or "unprocessed"),
               "kbit/s": f"{run.result['kilobits_per_s'][str(count)]:.2f}" if count else ""}
        for measure, (label, digits) in MEASURES.items():
            row[label] = format(rows[measure].mean(), digits) if measure in rows else "not measured"
            if measure == "stoi":
                row["lowest voice"] = f"{voices.min():.3f}, {voices.idxmin()}" if len(voices) > 1 else ""
        out.append({**row, "clips": str(len(rows))})
    return pd.DataFrame(out)


def codec_words(run: Record) -> str:
    """What the codec loses at its most codebooks, by group, of what was measured."""
    frame = pd.DataFrame(run.result["rows"])
    most = frame[frame.codebooks == frame.codebooks.max()]
    return f"What the codec loses, with {frame.codebooks.max()} codebooks: " + "; ".join(
        f"{group}: " + ", ".join(f"{label} {rows[measure].mean():{digits}}" for measure, (label, digits) in MEASURES.items()
                                 if measure in rows) for group, rows in most.groupby("group", sort=False))


def codebook_use(run: Record) -> pd.DataFrame:
    """Perplexity of each codebook over the measured frames: as many codes, evenly used, would be as varied."""
    return pd.DataFrame([{"codebook": str(k), "perplexity": f"{p:.0f}", "of codes": "1024",
                          "frames": f"{run.result['frames']:,}"} for k, p in enumerate(run.result["perplexity"], 1)])


def environments(report: Report) -> pd.DataFrame:
    """Hardware and versions of all runs: one value where they agree."""
    runs = [run for _, _, group in report.regimes() for run in group] + list(report.heard.values())
    others = (report.steps, report.memory, report.lengths, report.codec_quality, report.bench)
    runs += [run for run in others if run]
    names = dict.fromkeys(name for run in runs for name in run.environment)
    return pd.DataFrame([{"what": name, "value": " / ".join(dict.fromkeys(str(run.environment.get(name)) for run in runs))}
                         for name in names])
