"""The study of speech: which runs answer which question, at what learning rate. Every part can be run alone:

    python -m lib.study --study standard [--parts strengths] [--cores transformer,pointwise]
"""
from . import command

if __name__ == "__main__":
    command.run("lib.study")

import argparse
from dataclasses import replace

from . import config, records
from .config import ALIGNED, ONLY_PHONEMES, PARTS, RECIPES, SPREAD, WIDTHS, SpeechConfig, Study
from .measuring.intelligibility import Judge, bounds, draw_and_judge, heard_identity, listen_to, longer
from .models.cores import LACKING, WIDER, options
from .speaking.speaker import write_checkpoint
from .training.durations import train_durations
from .training.side_by_side import side_by_side
from .training.speech import Data, Speech, identity, load_data, model_config, speech_config, train_speech


def material(study: Study) -> Speech:
    """What the study trains on and judges by."""
    return Speech(study.phrases, study.judged, study.judged, study.voice, study.codec, study.hearing, study.hearing_steps)


def base(study: Study, data: Data, core: str, conditioning: str | None = None, units: str | None = None,
         size: str | None = None, recipe: tuple[str, ...] | None = None, **fields) -> SpeechConfig:
    """A run of the study: the headline's, where nothing else is said; a core that has not its size is of the matched one."""
    conditioning = conditioning or study.alignment
    if conditioning in SPREAD:
        units = units or study.units
    else:
        units = "phonemes" if conditioning in ONLY_PHONEMES else "characters"
    size = size or (study.matched if core in LACKING.get(study.speech_size, ()) else study.speech_size)
    asked = options(study, core, size) | ({} if recipe is None else {"recipe": recipe})
    model = model_config(data, core, conditioning, units, size=size, codebooks=study.speech_codebooks, **asked)
    return SpeechConfig(model, **{"steps": study.speech_steps, **fields})


def rates(study: Study, data: Data, core: str, size: str) -> list[SpeechConfig]:
    """Short runs of equal budget, one for each learning rate."""
    return [base(study, data, core, size=size, steps=study.rate_steps, learning_rate=rate) for rate in study.rates]


def rate_of(one: SpeechConfig) -> tuple[str, str]:
    """The core and the size whose learning rate a run takes: its own, and of a wider hybrid the hybrid's."""
    return "mamba_conv" if one.model.core in WIDER else one.model.core, one.model.size


def best_rate(runs: list[records.Record]) -> float:
    """The learning rate of the run with the least loss on validation."""
    best = min(runs, key=lambda run: run.result["validation"][-1]["loss"])
    return best.identity["config"]["learning_rate"]


def part(study: Study, data: Data, name: str, core: str) -> list[SpeechConfig]:
    """The runs of a core that a part of the study adds; their learning rate is still to be chosen."""
    def one(**fields) -> SpeechConfig:
        return base(study, data, core, **{"steps": study.short_steps, **fields})

    main = core in study.speech_cores
    return {
        "headline": [one(seed=seed, steps=study.speech_steps) for seed in range(study.speech_seeds)] if main else [],
        "time": [one(steps=study.control_steps)] if core == "pointwise" and study.control_steps else [],
        "strengths": [one(conditioning=c) for c in study.strengths] if main else [],
        "units": [one(units=units) for units in ("characters", "phonemes") if units != study.units] if main else [],
        "cores": [one()] if not main else [],
        "sizes": [one(size=size) for size in study.other_sizes] if core in study.cores else [],
        "widths": [one(size=study.matched, seed=seed) for seed in range(study.width_seeds)] if core in WIDTHS else [],
        "recipe": [one(recipe=recipe, beta2=beta2, steps=study.speech_steps) for recipe, beta2 in RECIPES]
                  if core == "transformer" else [],
    }[name]


def run_all(groups: dict[tuple[str, str], list[SpeechConfig]], speech: Speech, data: Data, judge: Judge | None,
            label: str) -> dict[tuple[str, str], list[records.Record]]:
    """The finished training runs of all groups of configurations, each listened to where there is a judge."""
    def done(one: SpeechConfig) -> records.Record | None:
        run = records.find("speech", identity(one, speech, data))
        return run if run and (judge is None or records.find("said", heard_identity(run, data, judge))) else None

    missing = [one for configs in groups.values() for one in configs if not done(one)]
    side_by_side(one_run, [(one, speech, judge is not None) for one in missing], label)
    return {key: [records.find("speech", identity(one, speech, data)) for one in configs] for key, configs in groups.items()}


def one_run(config: SpeechConfig, speech: Speech, listen: bool) -> None:
    """Train one run, and listen to it where that is asked for."""
    data = load_data(speech)
    run = train_speech(config, speech, data, to_speak=listen)
    if listen:
        listen_to(run, speech, data, Judge.of(speech))


def speak_and_judge(study: Study, cores: tuple[str, ...]) -> None:
    """Train what is missing of some cores, listen to it, and enter it into the study's manifest: `speech/<part>/<core>`
    are training runs, `said/<part>/<core>` what they said."""
    speech = material(study)
    data, judge = load_data(speech), Judge.of(speech)
    records.note(study.label, "recogniser", [judge.record])
    records.note(study.label, "bounds", [bounds(base(study, data, study.speech_cores[0]).model, speech, data, judge)])
    chosen = {(name, core): part(study, data, name, core) for name in study.parts for core in cores}
    # strengths keep the usual rate: the headline's is found by them, and the rates are chosen there
    tuned = {key: configs for key, configs in chosen.items() if key[0] != "strengths"}
    pairs = dict.fromkeys(rate_of(one) for configs in tuned.values() for one in configs)
    tried = {pair: rates(study, data, *pair) for pair in pairs}
    best = {}
    for (core, size), runs in run_all(tried, speech, data, None, "learning rates").items():
        records.note(study.label, f"speech/rates/{core}/{size}", runs)
        best[core, size] = best_rate(runs)
    chosen |= {key: [replace(one, learning_rate=best[rate_of(one)]) for one in configs] for key, configs in tuned.items()}
    for (name, core), runs in run_all(chosen, speech, data, judge, ", ".join(cores)).items():
        if not runs:
            continue
        records.note(study.label, f"speech/{name}/{core}", runs)
        records.note(study.label, f"said/{name}/{core}", [listen_to(run, speech, data, judge) for run in runs])
        if name == "headline":
            records.note(study.label, f"drawn/{core}", [draw_and_judge(runs[0], speech, data, judge)])
            model = speech_config(runs[0]).model
            if model.conditioning in ALIGNED:
                records.note(study.label, f"longer/{core}", [longer(run, speech, judge, study.spoken_seconds) for run in runs])
                write_checkpoint(records.figures_root(study.label) / "checkpoints" / f"{core}.safetensors", runs[0],
                                 train_durations(model, data))


def main() -> None:
    parser = argparse.ArgumentParser(prog="lib.study", description=__doc__.splitlines()[0])
    parser.add_argument("--study", default="standard", choices=config.STUDIES)
    parser.add_argument("--parts", type=lambda names: tuple(names.split(",")), help=", ".join(PARTS))
    parser.add_argument("--cores", type=lambda names: tuple(names.split(",")))
    given = parser.parse_args()
    chosen = config.study(given.study, parts=given.parts)
    speak_and_judge(chosen, given.cores or (*chosen.speech_cores, *chosen.more_cores))
