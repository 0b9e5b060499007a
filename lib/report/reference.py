"""Publish a finished study: `python -m lib.report.reference --study quick` (or `make reference STUDY=quick`).

Copies report, figures, samples, stage times and run records (without weights) to figures/reference/, where the study of
speech adds to them, writes all results as one CSV, and puts picture and verdict into README.md between its two markers.
"""
from .. import command

if __name__ == "__main__":
    command.run("lib.report.reference")

import argparse
import csv
import io
import shutil
import sys
import tempfile
from pathlib import Path

from ..config import REPOSITORY, Study, study
from ..files import write_atomic
from ..records import figures_root, noted
from . import findings, prose, results, speech, verdicts
from .claims import TRIAL, Results
from .page import RECORD

TARGET = REPOSITORY / "figures" / "reference"
README = REPOSITORY / "README.md"
BEGIN, END = "<!-- begin of what `make reference` writes -->", "<!-- end of what `make reference` writes -->"
LARGEST_REPORT, LARGEST = 10e6, 60e6
KEPT = "mamba_conv.safetensors"     # of the cores for guidance, and of the masked ones


def publish(chosen: Study) -> Path:
    """Fill figures/reference/ anew; the old one stays until the new one is whole. A trial of the pipeline is refused."""
    if chosen.trial:
        raise ValueError(f"study {chosen.name} is {TRIAL}, its numbers mean nothing: publish another (make reference STUDY=standard)")
    source, report = figures_root(chosen.label), results.read(chosen, "corpus", "train", "listen")
    if not (source / "report.html").exists():
        raise ValueError(f"{source / 'report.html'} is missing: run the study first (make report STUDY={chosen.name})")
    samples = results.results(report) | (speech.results(report) if "headline" in report.said else {})
    with tempfile.TemporaryDirectory(dir=TARGET.parent) as folder:
        new = Path(folder) / "reference"
        new.mkdir()
        for path in (source / "manifest.json", source / "stages.json", *source.glob("*.svg")):
            shutil.copy(path, new)
        page = (source / "report.html").read_text(encoding="utf-8")
        (new / "report.html").write_text(RECORD.sub(r'href="runs/\1/record.json"', page), encoding="utf-8")
        for run in (run for group in noted(chosen.label).values() for run in group):
            where = new / "runs" / run.name
            where.mkdir(parents=True, exist_ok=True)
            shutil.copy(run.folder / "record.json", where)
        if (source / "checkpoints").exists():
            shutil.copytree(source / "checkpoints", new / "checkpoints", ignore=_left_out)
        for core, regime, runs in report.regimes():
            heard = report.heard[runs[0].name]
            (new / "samples" / f"{core}_{regime}").mkdir(parents=True)
            for name in heard.files:
                shutil.copy(heard.file(name), new / "samples" / f"{core}_{regime}" / name)
        # beside their records, where a later study finds them
        for run in filter(None, (*speech.first_seeds(report).values(), report.recogniser, report.bounds)):
            for name in run.files:
                shutil.copy(run.file(name), new / "runs" / run.name)
        (new / "results.csv").write_text(_csv(samples), encoding="utf-8")
        size = sum(p.stat().st_size for p in new.rglob("*") if p.is_file())
        if size > LARGEST or (new / "report.html").stat().st_size > LARGEST_REPORT:
            raise ValueError(f"the reference would be {size / 1e6:.0f} MB: at most {LARGEST / 1e6:.0f}, its report "
                             f"{LARGEST_REPORT / 1e6:.0f}")
        shutil.rmtree(TARGET, ignore_errors=True)
        new.rename(TARGET)
    _update_readme(chosen, report, samples)
    return TARGET


def _left_out(folder: str, names: list[str]) -> list[str]:
    """Of the checkpoints in a folder: 5 MB each, of every way of speaking but the headline's one is enough."""
    return [] if Path(folder).name == "checkpoints" else [name for name in names if name != KEPT]


def _csv(samples: Results) -> str:
    """Every result as core, metric, value, pair, run; "> 400" where it was not reached in 400 steps."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["core", "metric", "value", "pair", "run"])
    for (core, metric), values in sorted(samples.items()):
        writer.writerows([core, metric, f"{'> ' * s.censored}{s.value!r}", s.pair, s.run] for s in values)
    return out.getvalue()


def _update_readme(chosen: Study, report: results.Report, samples: Results) -> None:
    text = README.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{README} lacks the two marker lines that the verdict goes between: {BEGIN} and {END}")
    found = findings.findings(report, verdicts.judgements(report), prose.comparisons(report, samples))
    body = "\n".join([f"**{findings.headline(report)}**", "", *(f"- {finding.line}" for finding in found if finding.line), "",
                      f"{findings.scope(report)}", "", "![Phoneme errors of each core](figures/reference/answer.svg)"])
    before, rest = text.split(BEGIN)
    write_atomic(README, f"{before}{BEGIN}\n\n{body}\n\n{END}{rest.split(END)[1]}".encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", default="quick")
    try:
        print(publish(study(parser.parse_args().study)))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
