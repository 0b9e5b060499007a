"""What is counted of speech beside the phoneme error: kinds of errors, the worst sentences, stops, loops, rate, pitch, quality."""
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from ..records import Record
from .results import Report, said_by
from .speech import error

OFF, LOOP, SILENCE, WORST = 0.2, 4, 0.3, 0.05   # of the frames expected; phonemes said over again; seconds; share of the sentences
FIELDS = ("split", "durations", "category", "phonemes", "errors", "deletions", "insertions", "substitutions", "loop", "silence_s",
          "heard", "frames", "expected", "reference_frames", "ended", "mos")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


# Columns: what `counted` or the pass as a whole says, and how it is written.
COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "error": ("phoneme error", _percent), "deletions": ("deleted", _percent), "insertions": ("inserted", _percent),
    "substitutions": ("substituted", _percent), "worst": ("worst twentieth", _percent), "early": ("stops too early", _percent),
    "late": ("stops too late", _percent), "loops": ("loops", _percent), "silences": ("silences", _percent),
    "rate": ("speaking rate, of the speech's", "{:.2f}".format),
    "f0_distance_cents": ("F0 distribution, cents off", "{:.0f}".format),
    "duration_distance_ms": ("phoneme durations, ms off", "{:.1f}".format), "mos": ("DistillMOS", "{:.2f}".format)}


def counted(rows: pd.DataFrame) -> dict[str, float]:
    """What is counted of some sentences, nan where the record does not hold it.

    Deletions, insertions and substitutions a phoneme; the mean phoneme error of the worst 5 % of the sentences; the shares of
    sentences that stop more than a fifth before the frames expected, more than a fifth after them or at the limit, that say at
    least four phonemes over again, and whose longest silence is 0.3 s longer than the speech's own; phonemes heard a second, as
    a share of the speech's own."""
    planned, heard = rows[rows.expected.notna()], rows[rows.reference_frames.notna()]
    each = (rows.errors / rows.phonemes).nlargest(int(np.ceil(WORST * len(rows))))
    rate = (heard.heard.str.split().str.len().sum() / heard.frames.sum() * heard.reference_frames.sum() / heard.phonemes.sum()
            if len(heard) else np.nan)
    return {"error": error(rows), "worst": each.mean(), "rate": rate,
            **{kind: rows[kind].sum(min_count=1) / rows.phonemes.sum() for kind in ("deletions", "insertions", "substitutions")},
            "early": (planned.frames < (1 - OFF) * planned.expected).mean(),
            "late": ((planned.frames > (1 + OFF) * planned.expected) | ~planned.ended.astype(bool)).mean(),
            "loops": (rows.loop.dropna() >= LOOP).mean(),
            "silences": (rows.silence_s.dropna().astype(float) > SILENCE).mean(), "mos": rows.mos.astype(float).mean()}


def _rows(rows: Iterable[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows).reindex(columns=FIELDS)


def _predicted(said: Record, split: str) -> tuple[pd.DataFrame, dict]:
    """Rows of a list at predicted durations (at its own, where the model is told of none), and what its pass says."""
    rows = _rows(said.result["rows"])
    rows = rows[(rows.split == split) & (rows.durations != "given")]
    return rows, next((p for p in said.result.get("passes", []) if p["split"] == split and p["durations"] != "given"), {})


def _line(name: str, found: list[dict[str, float]]) -> dict[str, str]:
    """A line of the table: each column's mean over what was found."""
    mean = pd.DataFrame(found).reindex(columns=list(COLUMNS)).astype(float).mean()
    return {"core": name} | {label: "not measured" if np.isnan(mean[key]) else write(mean[key])
                             for key, (label, write) in COLUMNS.items()}


def _by_core(report: Report) -> dict[str, list[Record]]:
    """Core -> what each of its seeds said, of the headline."""
    out: dict[str, list[Record]] = {}
    for said in report.said.get("headline", []):
        out.setdefault(said.result["config"]["model"]["core"], []).append(said)
    return out


def counted_table(report: Report) -> pd.DataFrame:
    """A line a core, mean over its seeds, of the test sentences at predicted durations; what the codec leaves of them."""
    lines = []
    for core, seeds in _by_core(report).items():
        lines.append(_line(core, [counted(rows) | distances for rows, distances in (_predicted(said, "test") for said in seeds)]))
    if report.bounds:
        codec = [row for row in report.bounds.result["rows"] if row["what"] == "codec"]
        lines.append(_line("after the codec", [counted(_rows(codec))]))
    return pd.DataFrame(lines)


def hard_table(report: Report) -> pd.DataFrame:
    """Phoneme error on the hard list, all of it and by what makes it hard: mean over seeds; what the codec leaves of it."""
    found = {core: [_predicted(said, "hard")[0] for said in seeds] for core, seeds in _by_core(report).items()}
    if report.bounds:
        found["after the codec"] = [_rows(row for row in report.bounds.result.get("hard", []) if row["what"] == "codec")]
    found = {core: [rows for rows in seeds if len(rows)] for core, seeds in found.items()}
    return pd.DataFrame([{
        "core": core, "sentences": len(seeds[0]), "phoneme error": _percent(np.mean([error(rows) for rows in seeds])),
        **{category: _percent(np.mean([error(rows[rows.category == category]) for rows in seeds]))
           for category in dict.fromkeys(seeds[0].category)}} for core, seeds in found.items() if seeds])


def ways_table(said: Sequence[Record], trained: Sequence[Record], split: str = "test") -> pd.DataFrame:
    """What runs that are `trained` said in several ways, a line a core and way: of the first test sentences or of the hard list,
    at predicted durations."""
    lines = []
    for one in said_by(trained, said):
        rows = pd.DataFrame(one.result["rows"])
        rows = rows[rows.split == split] if "split" in rows else rows
        distances = {p["way"]: p for p in one.result["passes"] if p.get("split", split) == split}
        for way, mine in rows.groupby("way", sort=False):
            line = _line(one.result["core"], [counted(mine.reindex(columns=FIELDS)) | distances[way]])
            lines.append({"core": line.pop("core"), "way": way, "sentences": len(mine), **line})
    return pd.DataFrame(lines)
