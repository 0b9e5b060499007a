"""The study of speech: which runs answer which question, at what learning rate. Every part can be run alone:

    python -m lib.study --study standard [--parts strengths] [--cores transformer,pointwise]
"""
from . import command

if __name__ == "__main__":
    command.run("lib.study")

import argparse
from collections.abc import Iterable
from dataclasses import replace
from math import inf, isfinite

from . import config, records
from .config import ALIGNED, EMBEDDED, ONLY_PHONEMES, PARTS, PRIMARY, RECIPES, SPREAD, WIDTHS, ModelConfig, SpeechConfig, Study
from .data.corpus import load_corpus
from .data.text import voice_of
from .measuring.intelligibility import BATCH, Judge, bounds, draw_and_judge, heard_identity, listen_to, longer
from .measuring.joins import joins
from .models.cores import CORES, LACKING, TWO_WAY, WIDER, has, options
from .speaking.speaker import by_error, write_checkpoint, write_errors
from .training import durations
from .training.alignment import LONGEST_SECONDS, aligned
from .training.side_by_side import side_by_side
from .training.speech import Data, Speech, identity, load_data, model_config, speech_config, train_speech

LONG = ("headline", "positions")    # parts of which each run says long texts too
DRAWN = {"headline": "drawn", "guidance": "guided", "masked": "masked"}     # that say sentences in several ways, and as what
FEWEST = 4      # batches of clips to train on, of an own corpus
DROPPED = 0.1   # of the texts, where guidance is learned
ROUNDS = 5      # of trying learning rates: the best of those tried may be at the edge so often


def material(study: Study) -> Speech:
    """What the study trains on and judges by."""
    own = study.corpus != EMBEDDED
    voice = voice_of(load_corpus(study).language) if own else study.voice
    return Speech(study.phrases, study.judged, study.tested, voice, study.codec, study.hearing,
                  study.own_hearing_steps if own else study.hearing_steps, study if own else None)


def obstacle(study: Study) -> str:
    """Why a study holds no study of speech, "" where it does. Of an own corpus, when each phoneme of it is said is learned first:
    so it turns out how many clips their text fits."""
    if not study.phrases:
        return f"study {study.name} holds no study of speech"
    if study.corpus == EMBEDDED:
        return ""
    corpus, needed = load_corpus(study), FEWEST * study.speech_batch
    for split, least, use in (("train", needed, "train on"), ("test", 1, "be tested on")):
        there = sum(row["frames"] <= LONGEST_SECONDS * corpus.frame_rate for row in corpus.rows(split))
        if there < least:
            return (f"the study of speech needs {least} clip{'s' * (least > 1)} of at most {LONGEST_SECONDS:g} s to {use}: there are "
                    f"{there}")
    if not corpus.language:
        return "the study of speech needs to know the language: give it (language)"
    try:
        fitting = len(load_data(material(study)).train)
    except ValueError as error:
        return f"no study of speech: {error}"
    if fitting < needed:
        return f"the study of speech needs {needed} clips to train on that their text fits: there are {fitting}"
    return ""


def base(study: Study, data: Data, core: str, conditioning: str | None = None, units: str | None = None,
         size: str | None = None, model: dict | None = None, **fields) -> SpeechConfig:
    """A run of the study: the headline's, where nothing else is said; a core that has not its size is of the matched one.
    `model` are more fields of the model."""
    conditioning = conditioning or study.alignment
    if conditioning in SPREAD:
        units = units or study.units
    else:
        units = "phonemes" if conditioning in ONLY_PHONEMES else "characters"
    size = size or (study.matched if core in LACKING.get(study.speech_size, ()) else study.speech_size)
    asked = {"codebooks": study.speech_codebooks, **options(study, core, size), **(model or {})}
    return SpeechConfig(model_config(data, core, conditioning, units, size=size, **asked),
                        **{"steps": study.speech_steps, "batch": study.speech_batch, **fields})


def rates(study: Study, data: Data, core: str, size: str, rates: list[float]) -> list[SpeechConfig]:
    """Short runs of equal budget, one for each learning rate, the least first."""
    return [base(study, data, core, size=size, steps=study.rate_steps, learning_rate=rate) for rate in sorted(rates)]


def rate_of(one: SpeechConfig) -> tuple[str, str]:
    """The core and the size whose learning rate a run takes: its own, and of a wider hybrid the hybrid's."""
    return "mamba_conv" if one.model.core in WIDER else one.model.core, one.model.size


def validation_loss(run: records.Record) -> float:
    """The last; infinite where the run diverged."""
    loss = run.result["validation"][-1]["loss"]
    return loss if isfinite(loss) else inf


def best_rate(runs: list[records.Record]) -> float:
    """The learning rate of the run with the least loss on validation."""
    return min(runs, key=validation_loss).identity["config"]["learning_rate"]


def tune(study: Study, pairs: Iterable[tuple[str, str]], speech: Speech, data: Data) -> dict[tuple[str, str], float]:
    """The learning rate of each core and size, chosen by short runs of equal budget: while the best is at an edge of those
    tried, the next beyond it is tried too. A run that diverged is the worst. Of one rate there is no choice."""
    tried, best = {pair: list(study.rates) for pair in pairs}, {}
    if len(study.rates) == 1:
        return dict.fromkeys(tried, study.rates[0])
    for _ in range(1 if study.trial else ROUNDS):
        asked = {(core, size): rates(study, data, core, size, chosen) for (core, size), chosen in tried.items()}
        for (core, size), runs in run_all(asked, speech, data, None, "learning rates").items():
            records.note(study.label, f"speech/rates/{core}/{size}", runs)
            best[core, size] = rate = best_rate(runs)
            tried[core, size] += [rate / 2] * (rate == min(tried[core, size])) + [rate * 2] * (rate == max(tried[core, size]))
    return best


def part(study: Study, data: Data, name: str, core: str) -> list[SpeechConfig]:
    """The runs of a core that a part of the study adds; their learning rate is still to be chosen."""
    def one(**fields) -> SpeechConfig:
        return base(study, data, core, **{"steps": study.short_steps, **fields})

    def those(asked: list[dict]) -> list[SpeechConfig]:
        """The usual model, and the ones asked for that the core has; of a primary core, if there are any."""
        fields = [model for model in asked if primary and has(core, study.speech_size, **model)]
        return [one(model=model) for model in ({}, *fields)] if fields else []

    main, primary = core in study.speech_cores, core in study.speech_cores and core in PRIMARY
    usual = CORES[core][1].get(study.speech_size)
    return {
        "headline": [one(seed=seed, steps=study.speech_steps) for seed in range(study.speech_seeds)] if main else [],
        "budget": [one(steps=steps) for steps in study.budgets] if main else [],
        "time": [one(steps=study.control_steps)] if core == "pointwise" and study.control_steps else [],
        "strengths": [one(conditioning=c, seed=seed) for c in study.strengths for seed in range(study.strength_seeds)]
                     if main else [],
        "prefix": [one(conditioning="prefix", steps=study.prefix_steps)] if primary and study.prefix_steps else [],
        "positions": [one(model={"rotary": False}, seed=seed, steps=study.speech_steps) for seed in range(study.speech_seeds)]
                     if core == "transformer" and study.spoken_seconds and has(core, study.speech_size, rotary=False) else [],
        "guidance": [one(model={"dropped": DROPPED})] if main else [],
        "masked": [one(model={"regime": "masked", "pattern": "parallel", "window": None}), one()] if main and core in TWO_WAY else [],
        "units": [one(units=units) for units in ("characters", "phonemes") if units != study.units] if main else [],
        "encoder": [one(model={"encoder": encoder}) for encoder in ("mamba_conv", "conv")] if main else [],
        "cores": [one()] if not main else [],
        "sizes": [one(size=size) for size in study.other_sizes] if core in study.cores else [],
        "widths": [one(size=study.matched, seed=seed) for seed in range(study.width_seeds)] if core in WIDTHS else [],
        "states": those([{"window": window} for window in study.windows] + [{"state": state} for state in study.states]),
        "layers": those([{"layers": round(usual.layers * times)} for times in study.depths if usual]),
        "recipe": [one(model={"recipe": recipe}, beta2=beta2) for recipe, beta2 in RECIPES] if core == "transformer" else [],
    }[name]


def run_all(groups: dict[tuple[str, str], list[SpeechConfig]], speech: Speech, data: Data, judge: Judge | None,
            label: str) -> dict[tuple[str, str], list[records.Record]]:
    """The finished training runs of all groups of configurations, each listened to where there is a judge."""
    def done(one: SpeechConfig) -> records.Record | None:
        run = records.find("speech", identity(one, speech, data))
        return run if run and (judge is None or records.find("said", heard_identity(run, data, judge))) else None

    asked = dict.fromkeys(one for configs in groups.values() for one in configs)        # parts may share a run
    missing = [one for one in asked if not done(one)]
    spans = dict.fromkeys(durations.spans_of(one.model) for one in missing if judge and one.model.conditioning in ALIGNED)
    first = [(one_predictor, one, speech) for one in spans if not records.find("durations", durations.identity(one, data))]
    side_by_side([*first, *((one_run, one, speech, judge is not None) for one in missing)], label)
    return {key: [records.find("speech", identity(one, speech, data)) for one in configs] for key, configs in groups.items()}


def one_run(config: SpeechConfig, speech: Speech, listen: bool) -> None:
    """Train one run, and listen to it where that is asked for."""
    data = load_data(speech)
    run = train_speech(config, speech, data, to_speak=listen)
    if listen:
        listen_to(run, speech, data, Judge.of(speech, data))


def one_predictor(spans: ModelConfig, speech: Speech) -> None:
    """Train the duration predictor that runs are listened to with."""
    durations.train_durations(spans, load_data(speech))


def speak_and_judge(study: Study, cores: tuple[str, ...]) -> None:
    """Train what is missing of some cores, listen to it, and enter it into the study's manifest: `speech/<part>/<core>`
    are training runs, `said/<part>/<core>` what they said."""
    speech = material(study)
    data = load_data(speech)
    judge = Judge.of(speech, data)
    if judge.corpus:
        records.note(study.label, "alignment", [aligned(judge.corpus)])
    records.note(study.label, "recogniser", [judge.record])
    records.note(study.label, "bounds", [bounds(base(study, data, study.speech_cores[0]).model, speech, data, judge)])
    chosen = {(name, core): part(study, data, name, core) for name in study.parts for core in cores}
    best = tune(study, dict.fromkeys(rate_of(one) for configs in chosen.values() for one in configs), speech, data)
    chosen = {key: [replace(one, learning_rate=best[rate_of(one)]) for one in configs] for key, configs in chosen.items()}
    for (name, core), runs in run_all(chosen, speech, data, judge, ", ".join(cores)).items():
        if not runs:
            continue
        records.note(study.label, f"speech/{name}/{core}", runs)
        records.note(study.label, f"said/{name}/{core}", [listen_to(run, speech, data, judge) for run in runs])
        model = speech_config(runs[0]).model
        if name in LONG and model.conditioning in ALIGNED and study.spoken_seconds and not speech.own:      # the grammar's texts
            role = f"longer/{core}" if name == "headline" else f"longer/{core}/{name}"
            records.note(study.label, role, [longer(run, speech, judge, study.spoken_seconds) for run in runs])
        if name in DRAWN and study.drawn:       # of the headline the first seed; masked, each sentence alone, so that it has a time
            records.note(study.label, f"{DRAWN[name]}/{core}", [
                draw_and_judge(run, speech, data, judge, study.drawn, name, 1 if name == "masked" else BATCH)
                for run in (runs[:1] if name == "headline" else runs)])
        if name in DRAWN and model.conditioning in ALIGNED:
            write_checkpoint(records.figures_root(study.label) / "checkpoints", core if name == "headline" else f"{name}/{core}",
                             runs[0], durations.train_durations(model, data))
        if name == "headline" and model.conditioning in ALIGNED:
            write_errors(study)


def across_sentences(study: Study) -> records.Record | None:
    """What becomes of speech from sentence to sentence, by those cores of a study that speak; None where none does."""
    paths = by_error(records.figures_root(study.label) / "checkpoints")
    if not (paths and study.joined):
        return None
    speech = material(study)
    data = load_data(speech)
    return joins(paths, Judge.of(speech, data), data.test[:study.joined])


def main() -> None:
    parser = argparse.ArgumentParser(prog="lib.study", description=__doc__.splitlines()[0])
    parser.add_argument("--study", default="standard", choices=config.STUDIES)
    parser.add_argument("--parts", type=lambda names: tuple(names.split(",")), help=", ".join(PARTS))
    parser.add_argument("--cores", type=lambda names: tuple(names.split(",")))
    given = parser.parse_args()
    chosen = config.study(given.study, parts=given.parts)
    speak_and_judge(chosen, given.cores or (*chosen.speech_cores, *chosen.more_cores))
