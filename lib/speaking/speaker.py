"""A trained core that speaks any sentence: its weights and its duration predictor's in one float16 file."""
import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, count, islice, pairwise
from math import inf
from pathlib import Path
from statistics import mean

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from .. import records
from ..config import REPOSITORY, SpeechConfig, Study, described, restored
from ..data.codec import HOP, Codec, load_codec
from ..data.phrases import LONGEST, Group, Plan, Span, plan
from ..data.reading import Sentence, say_apart, sentences
from ..files import write_atomic
from ..models.build import build
from ..models.codec_lm import CodecLM
from ..models.durations import Durations
from ..training.durations import load_durations, predicted_plan
from ..training.speech import load_speech
from .decoding import longest_of, told
from .masked import fill
from .sampling import Sampling
from .stream import Joints, Place, Voice

REFERENCE = REPOSITORY / "figures" / "reference" / "checkpoints"
STATES = ("reset", "carried", "window")     # what becomes of the core's state at the end of a sentence
LEAST_PAUSE, END = 10, 3                # frames of a pause at which a sentence may be cut, and of what then is left of it
SILENT = np.zeros(0, np.float32)
Said = tuple[np.ndarray, Place | None]  # samples, and where the text stands after them where that is between two sentences


@dataclass(frozen=True)
class Speaker:
    model: CodecLM
    durations: Durations
    codec: Codec
    voice: str

    @property
    def language(self) -> str:
        return _in_words(self.model.config.language)

    @cached_property
    def digest(self) -> str:
        """Of its weights, its codec and its voice."""
        weights = hashlib.sha256()
        for module in (self.model, self.durations):
            for name, tensor in module.state_dict().items():
                weights.update(name.encode() + tensor.cpu().numpy().tobytes())
        return records.digest([weights.hexdigest(), described(self.model.config), self.codec.digest, self.voice])

    def say(self, text: str | Iterable[str], sampling: Sampling = Sampling(), state: str = "reset") -> np.ndarray:
        """Audio (samples,) at 24 kHz of a text: what `stream` gives, end to end."""
        return np.concatenate([*self.stream(text, sampling, state)])

    def stream(self, text: str | Iterable[str], sampling: Sampling = Sampling(), state: str = "reset", chunk: int = 1,
               place: Place = Place(), keep: Callable[[Place], None] | None = None) -> Iterator[np.ndarray]:
        """Audio (samples,) at 24 kHz of a text as it is said, of at least `chunk` frames but at the end of a sentence: the same
        samples, whatever the chunk. A text that comes in pieces is said before it ends. Phonemes and pauses are espeak-ng's,
        the durations of phonemes predicted.

        With `state` reset each sentence is said by itself, as in training, and one that takes longer than any of training in
        parts, cut at its pauses. Carried, the core goes through the whole text, which may end in the second half of its last
        sentence at the earliest; through a window, attention there reads no more frames than in training.

        It begins at `place`, and `keep` is given the place after each sentence. ValueError where the text cannot be spoken, at
        the sentence that cannot."""
        if state not in STATES:
            raise ValueError(f"no state {state!r} across sentences: choose one of {', '.join(STATES)}")
        if (masked := self.model.config.regime == "masked") and (state != "reset" or sampling.guidance != 1):
            raise ValueError("a masked model has no state and no guidance: leave the state reset and guidance 1")
        if not masked and sampling.rounds != 1:
            raise ValueError("rounds are of a masked model: choose one (the part masked of the study of speech), or leave them 1")
        read, said = sentences(text, self.model.config.language), Place()
        for sentence in islice(read, place.sentences):
            said = said.after(sentence.text)
        if said.text != place.text or place.ended:
            raise ValueError(f"the state after sentence {place.sentences} " + (
                "is at the end of its text: give another text, and another state" if said.text == place.text else
                "belongs to another text: give that one, as it was before and perhaps longer"))
        apart, waiting, samples = say_apart(read, self.voice), [], place.samples
        for sound, reached in (self._apart(apart, sampling, place, bool(keep)) if state == "reset" else self._through(
                apart, sampling, place, bool(keep), LONGEST if state == "window" else None)):
            waiting.append(sound)
            samples += len(sound)
            if reached and keep:
                keep(replace(reached, samples=samples))
            if reached or sum(map(len, waiting)) >= chunk * HOP:
                if any(map(len, waiting)):
                    yield np.concatenate(waiting)
                waiting = []

    def _apart(self, read: Iterator[Sentence], sampling: Sampling, place: Place, keep: bool) -> Iterator[Said]:
        """Each sentence by itself, joined."""
        joints = Joints(place.tensors)
        for sentence in read:
            pause = sentence.pause if place.sentences else None
            for part, after in self.cut(self.plan(sentence.groups), 0):
                if pause is not None:
                    yield joints.end(pause * HOP), None
                pause = after
                for sound in self._said(part, sampling):
                    yield joints.add(sound), None
            place = place.after(sentence.text, joints.tensors() if keep else {})
            yield SILENT, place
        yield joints.close(), replace(place, ended=True, tensors={})

    def _said(self, part: Plan, sampling: Sampling) -> Iterator[np.ndarray]:
        """The sound of a plan, frame by frame; of a masked model all at once."""
        rows = told(self.model, part)
        if self.model.config.regime == "masked":
            yield self.codec.decode(fill(self.model, rows, sampling)[0])
            return
        voice = Voice(self.model, self.codec, sampling, limit := longest_of(len(rows)))
        for i in range(limit + voice.late):
            sound, ended = voice.step(rows[min(i, len(rows) - 1)])
            yield sound
            if ended:
                break
        yield voice.close()

    def _through(self, read: Iterator[Sentence], sampling: Sampling, place: Place, keep: bool,
                 window: int | None) -> Iterator[Said]:
        """All sentences on one state. The pause after one belongs to it: its last span waits until the next is known."""
        voice = Voice(self.model, self.codec, sampling, LONGEST + 1, window, place.tensors)
        sentence = next(read, None)
        while sentence:
            plan = self.plan(sentence.groups)
            rows, begun, following = told(self.model, plan), voice.state.frames, sentence
            pause, half, ended = len(rows) - plan[1][-1].frames, len(rows) - len(rows) // 2 + voice.late, False
            for i in count():
                if following is sentence and (ended or i >= pause):
                    following = next(read, None)
                    if following:
                        rows = told(self.model, lengthened(plan, following.pause))
                if i == len(rows) if following else ended or begun + i == longest_of(begun + len(rows)) + voice.late:
                    break
                sound, over = voice.step(rows[min(i, len(rows) - 1)])
                yield sound, None
                ended = over and i >= half
            place = place.after(sentence.text, voice.tensors() if keep and following else {})
            sentence = following
            if sentence:
                yield SILENT, place
        yield voice.close(), replace(place, ended=True)

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


def checkpoints(study: Study) -> dict[str, Path]:
    """Name -> file of all that can speak: the study's, else the reference study's."""
    return speakers(records.figures_root(study.label) / "checkpoints") or speakers(REFERENCE)


def speakers(folder: Path) -> dict[str, Path]:
    """Name -> file of the checkpoints in a folder: cores as `by_error` has them, then those for guidance and those that are
    masked, as masked/mamba."""
    return by_error(folder) | {
        f"{way}/{core}": path for way in ("guidance", "masked") for core, path in by_error(folder / way).items()}


def by_error(folder: Path, cores: Iterable[str] | None = None) -> dict[str, Path]:
    """Core -> file of the checkpoints in a folder, of some cores where they are named: the core with the least phoneme error at
    predicted durations first, mean over its runs in results.csv beside the folder; those without one last, by name."""
    errors: dict[str, list[float]] = {}
    try:
        with open(folder.resolve().parent / "results.csv", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["metric"] == "phoneme_error_predicted":
                    errors[row["core"]] = [*errors.get(row["core"], []), float(row["value"])]
    except (OSError, KeyError, TypeError, ValueError):
        errors = {}
    found = {path.stem: path for path in sorted(folder.glob("*.safetensors")) if cores is None or path.stem in cores}
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


def write_checkpoint(folder: Path, name: str, run: records.Record, durations: records.Record) -> Path:
    """A run and its duration predictor as one file in a folder, float16; the reference study's, where that kept no more of the
    run, and none where it kept none."""
    path = folder / f"{name}.safetensors"
    if run.folder.is_relative_to(records.REFERENCE):
        kept = REFERENCE / f"{name}.safetensors"
        return write_atomic(path, kept.read_bytes()) if kept.is_file() else path
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
