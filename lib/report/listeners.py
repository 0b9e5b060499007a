"""What listeners answered in the blind tests of the listening room, into the study whose report they heard:
python -m lib.report.listeners anna.csv jan.csv --study standard [--corpus DIR]

All files are given at once: they replace what the study had of listeners.
"""
from .. import command

if __name__ == "__main__":
    command.run("lib.report.listeners")

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from .. import records
from ..config import EMBEDDED, Study, study
from ..metrics.stats import holm, t_interval
from ..records import Record
from . import results
from .room import ANCHOR, REFERENCE, Line, key, lines_of

COLUMNS = ("room", "listener", "test", "trial", "line", "a", "b", "x", "answer", "right", "take", "score", "seconds")
TESTS = ("ABX", "preference", "MUSHRA")
LEAST, SHARE = 90, 0.15     # a listener who rates the hidden reference below it in more of the trials is excluded (BS.1534-3)


def read_answers(path: Path, lines: list[Line]) -> list[dict]:
    """The rows of a listener's CSV about these lines; ValueError in one line where it is no such file."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:          # pandas' own errors, and UnicodeDecodeError, are such
        raise ValueError(f"{path} is no CSV: download it from the report again") from None
    if tuple(frame.columns) != COLUMNS or frame.empty:
        raise ValueError(f"{path} is no CSV of a blind test: its columns are to be {', '.join(COLUMNS)}, and it needs a row")
    if set(frame.room) != {key(lines)}:
        raise ValueError(f"{path} is about another report: give the study whose report was heard")
    takes = {line.id: {take.label for take in line.takes} for line in lines}
    rows = [_row(row, f"{path}, line {number}", takes) for number, row in enumerate(frame.to_dict("records"), 2)]
    asked = [(row["test"], row["trial"], row.get("take"), *sorted((row.get("a", ""), row.get("b", "")))) for row in rows]
    if twice := next((number for number, one in enumerate(asked, 2) if one in asked[:number - 2]), None):
        raise ValueError(f"{path}, line {twice}: this trial was answered before: download the file from the report again")
    if len({row["listener"] for row in rows}) != 1:
        raise ValueError(f"{path} is of several listeners: give a file of each")
    return rows


def _row(row: dict, where: str, takes: dict[str, set[str]]) -> dict:
    """A row with its numbers as numbers and without what its test does not fill."""
    kind, labels = row["test"], takes.get(row["line"])
    if labels is None or kind not in TESTS or not row["listener"]:
        raise ValueError(f"{where}: it lacks a listener, a test that is one of {', '.join(TESTS)}, or a sentence of the report")
    kept = {name: row[name] for name in ("room", "listener", "test", "line")}
    try:
        kept |= {"trial": int(row["trial"]), "seconds": float(row["seconds"])}
        if kind == "MUSHRA":
            kept |= {"take": row["take"], "score": float(row["score"])}
    except ValueError:
        raise ValueError(f"{where}: trial, score or seconds is no number") from None
    if not 0 <= kept["seconds"] < np.inf:
        raise ValueError(f"{where}: nothing takes {row['seconds']} seconds")
    if kind == "MUSHRA":
        if not (row["take"] in labels | {ANCHOR} and 0 <= kept["score"] <= 100):
            raise ValueError(f"{where}: {row['take']!r} is none of the sounds, or its score does not lie between 0 and 100")
        return kept
    pair = {row["a"], row["b"]}
    if len(pair) < 2 or not pair <= labels or row["answer"] not in pair or kind == "ABX" and row["x"] not in pair:
        raise ValueError(f"{where}: a and b are to be two sounds of its sentence, and answer (and x of ABX) one of them")
    kept |= {name: row[name] for name in ("a", "b", "answer")}
    return kept | ({"x": row["x"], "right": row["answer"] == row["x"]} if kind == "ABX" else {})


def merge(files: list[list[dict]], lines: list[Line], label: str) -> Record:
    """The record of what several listeners answered, entered into the study of that label; ValueError where one is twice."""
    names = [rows[0]["listener"] for rows in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"listener {twice[0]!r} is in two files: give each once")
    rows = [row for _, rows in sorted(zip(names, files)) for row in rows]
    takes = {take.label: take.record for line in lines for take in line.takes}
    record = records.save("listeners", {"room": key(lines), "rows": rows},
                          {"rows": rows, "takes": takes, "excluded": excluded(rows)})
    records.note(label, "listeners", [record])
    return record


def excluded(rows: list[dict]) -> list[str]:
    """The listeners whose scores do not count by the post-screening of ITU-R BS.1534-3."""
    hidden = pd.DataFrame([row for row in rows if row.get("take") == REFERENCE], columns=["listener", "score"])
    low = (hidden.score < LEAST).groupby(hidden.listener).mean()
    return sorted(low.index[low > SHARE])


def table(record: Record) -> pd.DataFrame:
    """What came out, a line for each pair of takes of ABX and of preference and for each take of MUSHRA. Trials of all
    listeners are taken together, p is exact and adjusted over the pairs of a test (Holm 1979); scores are means of listeners'
    means, with a t interval over listeners."""
    rows = record.result["rows"]
    out = []
    for kind in ("ABX", "preference"):
        found, p_values = [], []
        mine = [row for row in rows if row["test"] == kind]
        for one, other in sorted({tuple(sorted((row["a"], row["b"]))) for row in mine}):
            trials = [row for row in mine if {row["a"], row["b"]} == {one, other}]
            hits = sum(row["right"] if kind == "ABX" else row["answer"] == one for row in trials)
            share = binomtest(hits, len(trials)).proportion_ci()            # Clopper & Pearson 1934
            p_values.append(binomtest(hits, len(trials), alternative="greater" if kind == "ABX" else "two-sided").pvalue)
            found.append({"test": kind, "sounds": f"{one} {'against' if kind == 'ABX' else 'rather than'} {other}",
                          "listeners": len({row["listener"] for row in trials}), "trials": len(trials),
                          "result": f"{100 * hits / len(trials):.0f} %{' right' * (kind == 'ABX')}",
                          "95 % interval": f"{100 * share.low:.0f} to {100 * share.high:.0f} %"})
        out += [row | {"p": f"{p:.2g}"} for row, p in zip(found, holm(p_values) if p_values else ())]
    scores = pd.DataFrame([row for row in rows if row["test"] == "MUSHRA" and row["listener"] not in record.result["excluded"]],
                          columns=["listener", "take", "score"])
    for take, given in scores.groupby("take", sort=False):
        interval = t_interval(given.groupby("listener").score.mean())
        out.append({"test": "MUSHRA", "sounds": take, "listeners": interval.n, "trials": len(given), "result": f"{interval.mean:.1f}",
                    "95 % interval": f"{interval.low:.1f} to {interval.high:.1f}" if np.isfinite(interval.low) else "one listener",
                    "p": ""})
    return pd.DataFrame(out, columns=["test", "sounds", "listeners", "trials", "result", "95 % interval", "p"])


def report_of(study: Study) -> str:
    """The command that makes a study's report."""
    return f"make report STUDY={study.name}" if study.corpus == EMBEDDED else results.run_of(study)


def main() -> int:
    parser = argparse.ArgumentParser("python -m lib.report.listeners", description=(
        "Enter what listeners answered in the blind tests of a report into its study. All files are given at once: they replace "
        "what the study had of listeners."))
    parser.add_argument("files", nargs="+", type=Path, metavar="CSV", help="as the report's listening room gave it, one a listener")
    parser.add_argument("--study", default="quick", help="whose report was heard; without it %(default)s")
    parser.add_argument("--corpus", help="the folder of your own speech that it was about")
    given = parser.parse_args()
    try:
        chosen = study(given.study, corpus=given.corpus)
        lines = lines_of(results.read(chosen))
        if not lines:
            raise ValueError(f"study {chosen.name} holds no sentences to hear: run it first ({report_of(chosen)})")
        record = merge([read_answers(path, lines) for path in given.files], lines, chosen.label)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(record).to_string(index=False))
    if out := record.result["excluded"]:
        print(f"scores do not count, since the hidden reference got less than {LEAST} in more than {SHARE:.0%} of the trials: "
              f"{', '.join(out)}")
    print(f"{record.name}, in study {chosen.label}: {report_of(chosen)} shows it")
    return 0
