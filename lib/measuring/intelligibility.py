"""What a trained run says of sentences that it never heard, and how much of it is understood.

Each test sentence is said twice where the conditioning is aligned: with the durations that espeak-ng gave it, and with
predicted ones. The ceiling is the codec's resynthesis of the sentence itself; the floors are an untrained model, and
what the model said for another sentence.
"""
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from safetensors.numpy import save

from .. import records
from ..config import ALIGNED, ModelConfig, described
from ..data.audio import SAMPLE_RATE, flac
from ..data.codec import FRAME_RATE, Codec, load_codec
from ..data.corpus import OwnCorpus, sentences
from ..data.phrases import LONGEST, Phrase, phrases, plan, texts
from ..data.speech import Utterance, synthesise
from ..data.text import encode, normalise
from ..metrics.speech import (
    distribution_distance,
    edits,
    longest_silence,
    loop,
    phoneme_error,
    voiced_cents,
    warped_distortion,
    warped_pitch_error,
)
from ..models.build import build
from ..models.codec_lm import CodecLM
from ..models.cores import attends
from ..models.durations import Durations
from ..models.recogniser import Recogniser
from ..progress import progress_bar
from ..speaking.decoding import behaviour, decode, joined, longest_of, speak
from ..speaking.sampling import Sampling
from ..training.durations import load_durations, predicted_plan, train_durations
from ..training.own_recogniser import code_features, train_own_recogniser
from ..training.recogniser import Settings, load_recogniser, recognise, train_recogniser
from ..training.recogniser import durations as heard_durations
from ..training.speech import Data, Speech, load_speech, speech_config
from .codec_quality import mos
from .listening import CODES, sound_file

BATCH = 16          # sentences said at once
SOUNDS = 4          # sentences of a list whose sound is kept
VALIDATION = 12     # validation sentences that are said
LONG_TEXTS = 4      # of the greatest length
WAYS = {"headline": {"greedy": Sampling(), **{
            f"temperature {t:g}{', repetition-aware' if aware else ''}": Sampling(t, repetition_aware=aware)
            for t in (0.7, 1.0) for aware in (False, True)},
            **{f"greedy, an end from {end:g}": Sampling(end=end) for end in (0.1, 0.9)}},
        "guidance": {f"guidance {s:g}": Sampling(guidance=s) for s in (0.5, 1, 1.5, 2, 3)},
        "masked": {f"{n} round{'s' * (n > 1)}": Sampling(rounds=n) for n in (1, 2, 4, 8, 16, 32)}}      # by part of the study
FRAMES = {"frame by frame": Sampling()}         # of a run that the masked ones stand beside


@dataclass(frozen=True)
class Judge:
    """What a run is judged by: the recogniser, the codec that makes sound of codes, and the list of hard sentences."""
    record: records.Record
    recogniser: Recogniser
    codec: Codec | None         # None where a corpus holds codes and nobody has what made them: then codes are heard
    hard: list[Phrase] = field(default_factory=list)
    voice: str = ""             # espeak-ng's, that says what is to be said
    corpus: OwnCorpus | None = None     # or whose clips say it

    @classmethod
    def of(cls, speech: Speech, data: Data) -> "Judge":
        if data.corpus:
            record = train_own_recogniser(speech, data, Settings(speech.hearing, speech.hearing_steps))
            return cls(record, load_recogniser(record), data.corpus.codec, corpus=data.corpus)
        codec = load_codec(speech.codec)
        record = train_recogniser(speech.voice, codec, Settings(speech.hearing, speech.hearing_steps))
        return cls(record, load_recogniser(record), codec, phrases("hard", speech.test, speech.voice, codec), speech.voice)

    def sound(self, codes: np.ndarray) -> np.ndarray | None:
        """Audio (samples,) of codes (codebooks, frames), where there is what makes it."""
        return self.codec and self.codec.decode(codes)

    def references(self, said: Iterable[Phrase]) -> Iterator[np.ndarray | None]:
        """The sentences as espeak-ng, or the corpus, says them; None where that has no sound."""
        if self.corpus:
            return (self.corpus.audio(p.file) for p in said)
        return (speech.audio for speech in synthesise(Utterance(p.text, self.voice) for p in said))

    def hear(self, phrase: Phrase, codes: np.ndarray, audio: np.ndarray | None, reference: np.ndarray | None) -> dict:
        """Errors among the phonemes that are heard, in the codes where there is no sound, and how far that is from the
        reference's."""
        heard = recognise(self.recogniser, audio) if audio is not None else self.recogniser.read(
            torch.from_numpy(code_features(codes)))
        wrong = edits(phrase.phonemes, heard)
        return {"phonemes": len(phrase.phonemes), "errors": sum(wrong), **wrong._asdict(), "heard": " ".join(heard),
                "loop": loop(phrase.phonemes, heard), **apart(reference, audio)}

    def distances(self, sounds: list[np.ndarray], references: list[np.ndarray]) -> dict:
        """How far F0 and the time from phoneme to phoneme are distributed from the references', over all sentences; nothing where
        one of them has no sound."""
        if any(sound is None for sound in (*sounds, *references)):
            return {}
        f0, durations = ([np.concatenate([[], *map(measure, said)]) for said in (sounds, references)]
                         for measure in (voiced_cents, lambda audio: heard_durations(self.recogniser, audio)))
        return {"f0_distance_cents": distribution_distance(*f0), "duration_distance_ms": distribution_distance(*durations)}


def apart(reference: np.ndarray | None, audio: np.ndarray | None) -> dict[str, float]:
    """How far a sound is from the reference, and by how many seconds its longest silence is longer; nan where one of them is
    missing."""
    if reference is None or audio is None:
        return dict.fromkeys(("mcd_db", "f0_cents", "silence_s"), np.nan)
    return {"mcd_db": warped_distortion(reference, audio), "f0_cents": warped_pitch_error(reference, audio),
            "silence_s": longest_silence(audio) - longest_silence(reference)}


@cache
def hearing(codec: Codec | None) -> list[str]:
    """What is measured of fixed codes and sounds, to the digits that float32 has alike on every processor."""
    if codec is None:
        return [f"{code_features(np.arange(12).reshape(2, 6)).std():.3g}"]
    codes = (37 * np.arange(80).reshape(2, 40) % 1024).astype(np.int16)
    one, other = codec.decode(codes), codec.decode(codes[:, ::-1])
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    low, high = (sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 9)).astype(np.float32) / 4 for hertz in (120, 150))
    measured = (one.std(), warped_distortion(one, other), warped_pitch_error(low, high),
                distribution_distance(voiced_cents(low), voiced_cents(high)))
    return [f"{x:.3g}" for x in measured] + [str(n) for n in (*edits("abcdef", "bxdeff"), loop("abab", "cabababa"))]


@cache
def _categories() -> dict[str, str]:
    return {normalise(s.text): s.category for s in sentences("hard")}


def category(phrase: Phrase) -> str:
    """What makes a phrase hard: nothing, where it is not of the hard list."""
    return _categories().get(phrase.text, "")


def sayable(said: Iterable[Phrase], config: ModelConfig) -> list[Phrase]:
    """Those whose phonemes a model knows, where it is told of phonemes."""
    return [p for p in said if config.units != "phonemes"
            or {name for group in p.groups for name, _ in group.phonemes}.issubset(config.alphabet)]


def say(model: CodecLM, wanted: list[Phrase], durations: Durations | None = None, sampling: Sampling = Sampling(),
        batch: int = BATCH) -> list[tuple[np.ndarray, dict]]:
    """Codes of each sentence, so many at once, and how it went, with the frames that it should have taken; with `durations`, a
    predictor, in its time instead of espeak-ng's."""
    config, said = model.config, []
    for group in (wanted[i:i + batch] for i in range(0, len(wanted), batch)):
        if config.conditioning in ALIGNED:
            plans = [plan(p.groups, config) for p in group]
            plans = [predicted_plan(durations, *p) if durations else p for p in plans]
            said += speak(model, [[p] for p in plans], sampling)
            expected = [sum(span.frames for span in spans) for _, spans in plans]
        else:
            expected = [p.codes.shape[1] for p in group]
            ids = [torch.tensor(encode(p.text, config.alphabet, config.language)) for p in group]
            said += decode(model, ids, list(map(longest_of, expected)), sampling)
        for (_, went), frames in zip(said[-len(group):], expected):
            went["expected"] = frames
    return said


def predictor(run: records.Record, data: Data) -> records.Record | None:
    """The duration predictor of a run, where its conditioning needs one."""
    model = speech_config(run).model
    return train_durations(model, data) if model.conditioning in ALIGNED else None


def heard_identity(run: records.Record, data: Data, judge: Judge) -> dict:
    durations = predictor(run, data)
    return {"run": run.key, "weights": run.files, "judge": judge.record.key, "durations": durations and durations.key,
            "hard": [p.text for p in judge.hard],
            "behaviour": [behaviour(speech_config(run).model), *hearing(judge.codec)]}


def listen_to(run: records.Record, speech: Speech, data: Data, judge: Judge) -> records.Record:
    """What a run says of the test and the hard sentences, and at given durations of the validation sentences, judged: a row
    a sentence, and what is measured of all sentences of a pass together."""
    what = heard_identity(run, data, judge)
    if finished := records.find("said", what):
        return finished
    config, durations, model = speech_config(run), predictor(run, data), load_speech(run)
    rows, passes, codes, files = [], [], {}, {}
    lists = {"test": data.test, "validation": data.validation[:VALIDATION], "hard": sayable(judge.hard, config.model)}
    todo = [("test", "", None), ("validation", "", None), ("hard", "", None)]
    if durations:
        predicted = load_durations(durations)
        todo = [("test", "given", None), ("test", "predicted", predicted), ("validation", "given", None),
                ("hard", "predicted", predicted)]
    bar = progress_bar(len(todo), f"listening to {config.model.core}", unit="pass")
    for split, name, times in todo:
        kept = SOUNDS if split != "validation" else 0
        heard, sounds, distances = judged(judge, lists[split], say(model, lists[split], times), kept)
        rows += [{"split": split, "durations": name, **row} for row in heard]
        passes.append({"split": split, "durations": name, **distances})
        for number, (phrase, (said, audio)) in enumerate(zip(lists[split], sounds)):
            key = f"{phrase.id}-{name}" if name else phrase.id
            codes[key] = said
            if number < kept and audio is not None:
                files[sound_file(key)] = flac(audio)
        bar.update()
    bar.close()
    shuffled = shuffled_error([r for r in rows if r["split"] == "test" and r["durations"] != "predicted"], data.test)
    return records.save("said", what, {"train": run.name, "config": asdict(config), "judge": judge.record.name,
                                       "durations": durations and durations.name, "shuffled_text": shuffled, "rows": rows,
                                       "passes": passes}, files | {CODES: save(codes)})


def judged(judge: Judge, wanted: list[Phrase], said: list[tuple[np.ndarray, dict]],
           kept: int) -> tuple[list[dict], list[tuple[np.ndarray, np.ndarray | None]], dict]:
    """What is heard of some sentences as they were said, a row each; codes and sounds; and what is measured of all
    together. Of the first `kept` also the quality that DistillMOS predicts, where it is installed."""
    sounds, spoken, rows = [(codes, judge.sound(codes)) for codes, _ in said], list(judge.references(wanted)), []
    for number, (phrase, reference, (codes, audio), (_, went)) in enumerate(zip(wanted, spoken, sounds, said)):
        quality = mos(reference, audio) if number < kept and audio is not None and find_spec("distillmos") else None
        rows.append({"id": phrase.id, "category": category(phrase), "text": phrase.text,
                     "reference_frames": phrase.codes.shape[1], **went, **judge.hear(phrase, codes, audio, reference), "mos": quality})
    return rows, sounds, judge.distances([audio for _, audio in sounds], spoken)


def shuffled_error(rows: list[dict], wanted: list[Phrase]) -> float:
    """Phoneme error where each sentence is held against what was said for the next one."""
    return phoneme_error([p.phonemes for p in wanted], [r["heard"].split() for r in rows[1:] + rows[:1]])


def draw_and_judge(run: records.Record, speech: Speech, data: Data, judge: Judge, sentences: int,
                   part: str, batch: int = BATCH) -> records.Record:
    """What a run of a part says of the first test sentences and of the hard list in each of its WAYS, at predicted durations, so
    many sentences at once, judged."""
    config, durations = speech_config(run).model, predictor(run, data)
    ways = FRAMES if (part, config.regime) == ("masked", "causal") else WAYS[part]
    lists = {"test": data.test[:sentences], "hard": sayable(judge.hard, config)}
    what = {"run": run.key, "weights": run.files, "judge": judge.record.key, "durations": durations and durations.key,
            "ways": {way: described(sampling) for way, sampling in ways.items()},
            "sentences": [p.text for wanted in lists.values() for p in wanted], **({"batch": batch} if batch != BATCH else {}),
            "behaviour": [behaviour(config, samplings=tuple(ways.values())), *hearing(judge.codec)]}
    if finished := records.find("drawn", what):
        return finished
    model, times = load_speech(run), durations and load_durations(durations)
    rows, passes = [], []
    bar = progress_bar(len(ways) * len(lists), f"drawing, {config.core}", unit="pass")
    for way, sampling in ways.items():
        for split, wanted in lists.items():
            heard, _, distances = judged(judge, wanted, say(model, wanted, times, sampling, batch), SOUNDS)
            rows += [{"way": way, "split": split, **row} for row in heard]
            passes.append({"way": way, "split": split, **distances})
            bar.update()
    bar.close()
    return records.save("drawn", what, {"train": run.name, "core": config.core, "rows": rows, "passes": passes})


def bounds(config: ModelConfig, speech: Speech, data: Data, judge: Judge) -> records.Record:
    """The ceiling and the floor on the test sentences: speech itself, the codec's round trip, an untrained model; and the
    first two on the hard ones."""
    what = {"model": described(config), "speech": described(replace(speech, own=None)), "data": data.digest, "judge": judge.record.key,
            "hard": [p.text for p in judge.hard], "behaviour": [behaviour(config), *hearing(judge.codec)]}
    if finished := records.find("bounds", what):
        return finished
    torch.manual_seed(0)
    floor = [codes for codes, _ in say(build(config).eval(), data.test)]
    result, files = {}, {}
    for name, wanted in (("rows", data.test), ("hard", judge.hard)):
        result[name] = []
        for number, (phrase, reference) in enumerate(zip(wanted, judge.references(wanted))):
            takes = {} if reference is None else {"speech": (phrase.codes, reference)}
            takes |= {kind: (codes, judge.sound(codes)) for kind, codes in (
                ("codec", phrase.codes[:config.codebooks]), *([("untrained", floor[number])] if name == "rows" else []))}
            for kind, (codes, audio) in takes.items():
                result[name].append({"id": phrase.id, "category": category(phrase), "what": kind, "text": phrase.text,
                                     **judge.hear(phrase, codes, audio, reference)})
                if number < SOUNDS and audio is not None:
                    files[sound_file(f"{phrase.id}-{kind}")] = flac(audio)
    return records.save("bounds", what, result, files)


def cut(said: list[Phrase], seconds: int) -> list[list[Phrase]]:
    """Phrases in a row, as texts of as near to so many seconds as whole phrases are."""
    texts, frames = [[]], 0
    for phrase in said:
        more = phrase.codes.shape[1]
        if texts[-1] and frames + more / 2 > seconds * FRAME_RATE:
            texts.append([])
            frames = 0
        texts[-1].append(phrase)
        frames += more
    return texts


def longer(run: records.Record, speech: Speech, judge: Judge, lengths: tuple[int, ...]) -> records.Record:
    """How much is understood of texts of so many seconds, at espeak-ng's durations: the same phrases, none of which training
    saw, cut into texts of each length. A row a text and way of saying it: `carried` through it on one state; `window`, the
    same while attention reads no more frames at once than it did in training; `restarted` at each sentence, as the speaker
    does; and of a model whose attention has no positions, `without positions` alone: carried too. `codec` is the ceiling. But
    for `restarted`, a text of several sentences is kept from ending before the last is half said: what would end early is not
    seen there."""
    config = speech_config(run).model
    saw = {*texts("train", speech.train), *texts("recogniser", speech.hearing)}
    made = phrases("longer", LONG_TEXTS * max(lengths), speech.voice, judge.codec, saw)    # none is as short as a second
    made = sayable(made, config)
    ends = np.cumsum([p.codes.shape[1] for p in made])
    made = made[:int(np.searchsorted(ends, LONG_TEXTS * max(lengths) * FRAME_RATE)) + 1]
    what = {"run": run.key, "weights": run.files, "judge": judge.record.key, "lengths": lengths,
            "phrases": [p.text for p in made],
            "behaviour": [*(behaviour(config, w) for w in (None, 5)), *hearing(judge.codec)]}
    if finished := records.find("longer", what):
        return finished
    model, rows, files = load_speech(run), [], {}
    ways = ("without positions",)
    if config.rotary:
        ways = ("carried", "restarted", *(["window"] if attends(model.core) and config.window is None else []))
    bar = progress_bar(len(ways) * len(lengths), f"long texts, {config.core}", unit="length")
    if "restarted" in ways:                                             # is as it is whatever the length of its text
        alone = {p.id: said for p, said in zip(made, say(model, made))}
    for seconds in lengths:
        cuts = cut(made, seconds)
        for way in ("codec", *ways):
            if way == "codec":
                said = [(np.concatenate([p.codes[:config.codebooks] for p in text], 1), {}) for text in cuts]
            elif way == "restarted":
                said = [joined([alone[p.id] for p in text]) for text in cuts]
            else:
                planned = [[plan(p.groups, config) for p in text] for text in cuts]
                said = [one for i in range(0, len(cuts), BATCH) for one in speak(
                    model, planned[i:i + BATCH], window=LONGEST if way == "window" else None)]
            for number, (text, (codes, went)) in enumerate(zip(cuts, said)):
                sound, wanted = judge.codec.decode(codes), [phoneme for p in text for phoneme in p.phonemes]
                wrong = edits(wanted, recognise(judge.recogniser, sound))
                rows.append({"seconds": seconds, "way": way, "text": number, "phonemes": len(wanted), "errors": sum(wrong),
                             **wrong._asdict(), "said": codes.shape[1], "expected": sum(p.codes.shape[1] for p in text),
                             "ended": went.get("ended")})
                if way != "codec" and not number and seconds == max(lengths):
                    files[f"longer-{way}.flac"] = flac(sound)
            bar.update(way != "codec")
    bar.close()
    return records.save("longer", what, {"train": run.name, "core": config.core, "rows": rows}, files)
