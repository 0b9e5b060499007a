"""A trained core that speaks any sentence: its weights and its duration predictor's in one float16 file."""
import csv
import json
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import inf
from pathlib import Path
from statistics import mean

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from .. import records
from ..config import REPOSITORY, SpeechConfig, Study, restored
from ..data.audio import SAMPLE_RATE
from ..data.codec import HOP, Codec, load_codec
from ..data.phrases import LONGEST, Group, Plan, Span, plan, say_apart
from ..data.text import encode
from ..files import write_atomic
from ..models.build import build
from ..models.codec_lm import CodecLM
from ..models.durations import Durations
from ..training.durations import load_durations, predicted_plan
from ..training.speech import load_speech
from .decoding import speak
from .sampling import Sampling

REFERENCE = REPOSITORY / "figures" / "reference" / "checkpoints"
BATCH = 16                              # sentences said at once
LEAST_PAUSE, END = 10, 3                # frames of a pause at which a sentence may be cut, and of what then is left of it
SILENCE = 10 ** (-40 / 20)              # of the peak
MARGIN, FADE = SAMPLE_RATE * 30 // 1000, SAMPLE_RATE * 5 // 1000    # samples of a silence that stay, and that fade


@dataclass(frozen=True)
class Speaker:
    model: CodecLM
    durations: Durations
    codec: Codec
    voice: str

    @property
    def language(self) -> str:
        return _in_words(self.model.config.language)

    def say(self, text: str, sampling: Sampling = Sampling(), carry: bool = False, window: int | None = None) -> np.ndarray:
        """Audio (samples,) at 24 kHz of a text: phonemes and pauses are espeak-ng's, the durations of phonemes predicted.

        Each sentence is said by itself, as in training, and one that takes longer than any of training in parts, cut at its
        pauses. With `carry` the core goes through the whole text, attention reading the last `window` frames where that is
        given. ValueError where the text cannot be spoken."""
        language = self.model.config.language
        if language == "pl":
            encode(text)
        sentences = [(self.plan(sentence.groups), sentence.pause) for sentence in say_apart(text, self.voice, language)]
        if carry:
            (codes, _), = speak(self.model, [[lengthened(*sentence) for sentence in sentences]], sampling, window)
            return self.codec.decode(codes)
        parts = [part for said, pause in sentences for part in self.cut(said, pause)]
        batches = [[[said] for said, _ in parts[i:i + BATCH]] for i in range(0, len(parts), BATCH)]
        codes = [codes for batch in batches for codes, _ in speak(self.model, batch, sampling, window)]
        return joined([self.codec.decode(c) for c in codes], [pause * HOP for _, pause in parts[:-1]])

    def plan(self, groups: tuple[Group, ...]) -> Plan:
        """The plan of a sentence with the durations of its phonemes predicted; its pauses are as long as espeak-ng's."""
        ids, spans = plan(groups, self.model.config)
        _, predicted = predicted_plan(self.durations, ids, spans)
        return ids, [own if silent else span for own, span, silent in zip(spans, predicted, self._silent(ids, spans))]

    def cut(self, said: Plan, pause: int) -> list[tuple[Plan, int]]:
        """A plan in parts of at most LONGEST frames, cut at the pauses nearest to the middle where there are any, and the
        frames of the pause after each: `pause` after the last."""
        ids, spans = said
        ends, silent = list(accumulate(span.frames for span in spans)), self._silent(ids, spans)
        pauses = [i for i in range(1, len(spans) - 1) if silent[i] and spans[i].frames >= LEAST_PAUSE]
        if ends[-1] <= LONGEST or not pauses:
            return [(said, pause)]
        at = min(pauses, key=lambda i: abs(ends[i] - ends[-1] / 2))
        symbols = sum(span.symbols for span in spans[:at + 1])
        first = ids[:symbols], [*spans[:at], replace(spans[at], frames=END)]
        return self.cut(first, spans[at].frames) + self.cut((ids[symbols:], spans[at + 1:]), pause)

    def _silent(self, ids: list[int], spans: list[Span]) -> list[bool]:
        """Whether a span has no letter and no phoneme: what separates words, where a span is no more than a word."""
        names = [self.model.config.alphabet[i] for i in ids]
        edges = accumulate((span.symbols for span in spans), initial=0)
        return [not any(map(str.isalpha, "".join(names[begin:end]))) for begin, end in pairwise(edges)]


def lengthened(said: Plan, pause: int) -> Plan:
    """The plan with its last span longer by a pause."""
    ids, spans = said
    return ids, [*spans[:-1], replace(spans[-1], frames=spans[-1].frames + pause)]


def joined(sounds: list[np.ndarray], pauses: list[int]) -> np.ndarray:
    """Sounds (samples,) one after the other, with pauses of so many samples between what is heard of one and of the next."""
    out = sounds[:1]
    for sound, pause in zip(sounds[1:], pauses):
        out[-1], after = _faded(out[-1])
        backwards, before = _faded(sound[::-1])
        out += [np.zeros(max(0, pause - after - before), np.float32), backwards[::-1]]
    return np.concatenate(out)


def _faded(sound: np.ndarray) -> tuple[np.ndarray, int]:
    """The sound without all but at most MARGIN samples of its silence at the end, faded there; and how many those are."""
    heard = np.flatnonzero(np.abs(sound) >= SILENCE * np.abs(sound).max())[-1] + 1
    sound = sound[:heard + MARGIN].copy()
    sound[-FADE:] *= np.linspace(1, 0, len(sound[-FADE:]), dtype=np.float32)
    return sound, len(sound) - heard


def checkpoints(study: Study) -> dict[str, Path]:
    """Core -> file of the cores that can speak, as `by_error` has them: the study's, else the reference study's."""
    return by_error(records.figures_root(study.label) / "checkpoints") or by_error(REFERENCE)


def by_error(folder: Path) -> dict[str, Path]:
    """Core -> file of the checkpoints in a folder: the core with the least phoneme error at predicted durations first, mean
    over its runs in results.csv beside the folder; those without one last, by name."""
    errors: dict[str, list[float]] = {}
    try:
        with open(folder.resolve().parent / "results.csv", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["metric"] == "phoneme_error_predicted":
                    errors[row["core"]] = [*errors.get(row["core"], []), float(row["value"])]
    except (OSError, KeyError, TypeError, ValueError):
        errors = {}
    found = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    return dict(sorted(found.items(), key=lambda item: mean(errors.get(item[0], [inf]))))


def write_errors(study: Study) -> None:
    """What `by_error` reads: the phoneme error of each run of the headline that was listened to so far."""
    lines = ["core,metric,value,pair,run"]
    for role, heard in records.noted(study.label).items():
        for said in heard if role.startswith("said/headline/") else ():
            rows = [row for row in said.result["rows"] if (row["split"], row["durations"]) == ("test", "predicted")]
            wrong, config = sum(row["errors"] for row in rows), said.result["config"]
            if rows:
                lines.append(f"{config['model']['core']},phoneme_error_predicted,{wrong / sum(row['phonemes'] for row in rows)},"
                             f"seed {config['seed']},{said.name}")
    write_atomic(records.figures_root(study.label) / "results.csv", "\n".join([*lines, ""]).encode())


def write_checkpoint(path: Path, run: records.Record, durations: records.Record) -> Path:
    """A run and its duration predictor as one file, float16; the reference study's, where it kept no more of the run."""
    if run.folder.is_relative_to(records.REFERENCE):
        return write_atomic(path, (REFERENCE / path.name).read_bytes())
    tensors = {f"{name}/{key}": value.half() for name, module in (
        ("model", load_speech(run)), ("durations", load_durations(durations))) for key, value in module.state_dict().items()}
    about = {"config": run.identity["config"], "voice": run.identity["voice"], "codec": run.identity["codec_name"],
             "codec_digest": run.identity["codec"], "run": run.name}
    return write_atomic(path, save(tensors, {"about": json.dumps(about)}))


def language_of(path: Path) -> str:
    """The language of a checkpoint, "" where it cannot be read: `read_checkpoint` says why."""
    try:
        with safe_open(path, "pt") as file:
            return _in_words(json.loads(file.metadata()["about"])["config"]["model"]["language"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return ""


def _in_words(language: str) -> str:
    return {"pl": "Polish"}.get(language, language)


def read_checkpoint(path: Path) -> Speaker:
    """The speaker of a file; one line of ValueError where there is none, or it is not whole."""
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob("*.safetensors"))
        raise ValueError(f"no core {path.stem!r} in {path.parent}: " + (
            f"choose one of {', '.join(there)}" if there else "run the study of speech first (make report STUDY=standard)"))
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
        tensors = {name: value.float() for name, value in load_file(path).items()}
        model = build(restored(SpeechConfig, about["config"]).model).eval()
        durations = Durations(model.config.vocabulary).eval()
        for name, module in (("model", model), ("durations", durations)):
            module.load_state_dict({k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or of another version ({str(error).splitlines()[0]}): make it again") from None
    codec = load_codec(about["codec"])
    if codec.digest != about["codec_digest"]:
        raise ValueError(f"{path} was trained on the codes of another codec ({about['codec_digest'][:12]}): make it again")
    return Speaker(model, durations, codec, about["voice"])
