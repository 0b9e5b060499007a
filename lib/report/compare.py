"""Studies side by side: what differs in their configuration, and what they measured."""
from collections.abc import Sequence

import pandas as pd

from ..config import Study
from ..records import Record
from . import speech
from .choice import amount
from .claims import METRICS, Results, named, typical
from .results import Report, read, results

COMPARED = ("phoneme_error_given", "phoneme_error_predicted", "held_out_loss", "steps_to_95", "token_match", "step_ms", "decode_ms",
            "peak_mb")


def reports(study: Study, names: str | Sequence[str]) -> dict[str, Report]:
    """The studies of these names ("reference" is the published one), read as this one is; ValueError for one without runs."""
    found = {name: read(study, name=name) for name in (names.split(",") if isinstance(names, str) else names)}
    if empty := [name for name, report in found.items() if not report.regimes() and not report.speech]:
        raise ValueError(f"study {empty[0]} has no runs here: run it first (make report STUDY={empty[0]}), or compare others")
    return found


def differences(found: dict[str, Report]) -> pd.DataFrame:
    """The fields of the first run of each kind that are not the same in all these studies."""
    rows = {}
    for kind, first in (("memorising", _memorised), ("speech", _spoke)):
        fields = {name: _flat(run.identity["config"]) for name, report in found.items() if (run := first(report))}
        for field in dict.fromkeys(field for one in fields.values() for field in one if field not in ("core", "alphabet")):
            values = {name: str(fields.get(name, {}).get(field, "not there")) for name in found}
            if len(set(values.values())) > 1:
                rows[kind, field] = values
    return pd.DataFrame([{"of": kind, "what": field, **values} for (kind, field), values in rows.items()],
                        columns=["of", "what", *found])


def measured(found: dict[str, Report]) -> pd.DataFrame:
    """A line a metric and core: its mean and interval in each study, of times the median, least and most."""
    samples: dict[str, Results] = {name: results(report) | speech.results(report) for name, report in found.items()}
    keys = dict.fromkeys(key for metric in COMPARED for one in samples.values() for key in one if key[1] == metric)
    return pd.DataFrame([{"what": METRICS[metric].noun, "core": named(core), **{
        name: amount(metric, i) if (i := typical(metric, one.get((core, metric), []))) else "not measured"
        for name, one in samples.items()}} for core, metric in keys], columns=["what", "core", *found])


def _memorised(report: Report) -> Record | None:
    return next((runs[0] for _, _, runs in report.regimes()), None)


def _spoke(report: Report) -> Record | None:
    return next(iter(report.speech.get("headline", [])), None)


def _flat(config: dict) -> dict:
    """The fields of a configuration and of its model as one."""
    return {**{k: v for k, v in config.items() if k != "model"}, **config["model"]}
