"""What a trained run says of sentences that it never heard, and how much of it is understood.

Each sentence is said twice where the conditioning is aligned: with the durations that espeak-ng gave it, and with
predicted ones. The ceiling is the codec's resynthesis of the sentence itself; the floors are an untrained model, and
what the model said for another sentence.
"""
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import torch
from safetensors.numpy import save

from .. import records
from ..config import ALIGNED, ModelConfig, described
from ..data.audio import SAMPLE_RATE, flac
from ..data.codec import FRAME_RATE, Codec, load_codec
from ..data.phrases import LONGEST, Phrase, phrases, plan
from ..data.speech import Utterance, synthesise
from ..data.text import encode
from ..metrics.speech import edit_distance, phoneme_error, warped_distortion, warped_pitch_error
from ..models.attention import Attention
from ..models.build import build
from ..models.codec_lm import CodecLM
from ..models.durations import Durations
from ..models.recogniser import Recogniser
from ..progress import progress_bar
from ..speaking.decoding import behaviour, decode, longest_of, speak
from ..speaking.sampling import Sampling
from ..training.durations import load_durations, predicted_plan, train_durations
from ..training.recogniser import Settings, load_recogniser, recognise, train_recogniser
from ..training.speech import Data, Speech, load_speech, speech_config
from .listening import CODES, sound_file

BATCH = 16          # sentences said at once
SOUNDS = 4          # test sentences whose sound is kept
VALIDATION = 12     # validation sentences that are said
LONG_TEXTS = 3      # of the greatest length


@dataclass(frozen=True)
class Judge:
    """What hears: the recogniser, and the codec that makes sound of codes."""
    record: records.Record
    recogniser: Recogniser
    codec: Codec

    @classmethod
    def of(cls, speech: Speech) -> "Judge":
        codec = load_codec(speech.codec)
        record = train_recogniser(speech.voice, codec, Settings(speech.hearing, speech.hearing_steps))
        return cls(record, load_recogniser(record), codec)

    def hear(self, phrase: Phrase, audio: np.ndarray, reference: np.ndarray) -> dict:
        """Errors among the phonemes that are heard, and how far the sound is from the reference's."""
        heard = recognise(self.recogniser, audio)
        return {"phonemes": len(phrase.phonemes), "errors": edit_distance(phrase.phonemes, heard), "heard": " ".join(heard),
                "mcd_db": warped_distortion(reference, audio), "f0_cents": warped_pitch_error(reference, audio)}


@cache
def hearing(codec: Codec) -> list[str]:
    """What is measured of fixed codes and sounds, to the digits that float32 has alike on every processor."""
    codes = (37 * np.arange(80).reshape(2, 40) % 1024).astype(np.int16)
    one, other = codec.decode(codes), codec.decode(codes[:, ::-1])
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    low, high = (sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 9)).astype(np.float32) / 4 for hertz in (120, 150))
    measured = one.std(), warped_distortion(one, other), warped_pitch_error(low, high)
    return [f"{x:.3g}" for x in measured] + [str(edit_distance("abcd", "bxd"))]


def references(said: Iterable[Phrase], voice: str) -> list[np.ndarray]:
    """The sentences as espeak-ng says them."""
    return [speech.audio for speech in synthesise(Utterance(p.text, voice) for p in said)]


def say(model: CodecLM, wanted: list[Phrase], durations: Durations | None = None,
        sampling: Sampling = Sampling()) -> list[tuple[np.ndarray, dict]]:
    """Codes of each sentence and how it went; with `durations`, a predictor, in its time instead of espeak-ng's."""
    config, said = model.config, []
    for group in (wanted[i:i + BATCH] for i in range(0, len(wanted), BATCH)):
        if config.conditioning in ALIGNED:
            plans = [plan(p.groups, config) for p in group]
            said += speak(model, [[predicted_plan(durations, *p) if durations else p] for p in plans], sampling)
        else:       # one at a time: after a prefix, texts of one length alone go together
            for p in group:
                ids = torch.tensor(encode(p.text, config.alphabet, config.language))
                said += decode(model, [ids], [longest_of(p.codes.shape[1])], sampling)
    return said


def predictor(run: records.Record, data: Data) -> records.Record | None:
    """The duration predictor of a run, where its conditioning needs one."""
    model = speech_config(run).model
    return train_durations(model, data) if model.conditioning in ALIGNED else None


def heard_identity(run: records.Record, data: Data, judge: Judge) -> dict:
    durations = predictor(run, data)
    return {"run": run.key, "weights": run.files, "judge": judge.record.key, "durations": durations and durations.key,
            "behaviour": [behaviour(speech_config(run).model), *hearing(judge.codec)]}


def listen_to(run: records.Record, speech: Speech, data: Data, judge: Judge) -> records.Record:
    """What a run says of the test sentences, and at given durations of the validation sentences, judged."""
    what = heard_identity(run, data, judge)
    if finished := records.find("said", what):
        return finished
    config, durations, model = speech_config(run), predictor(run, data), load_speech(run)
    rows, codes, files = [], {}, {}
    passes = [("test", "", None), ("validation", "", None)]
    if durations:
        passes = [("test", "given", None), ("test", "predicted", load_durations(durations)), ("validation", "given", None)]
    bar = progress_bar(len(passes), f"listening to {config.model.core}", unit="pass")
    for split, name, times in passes:
        wanted = data.test if split == "test" else data.validation[:VALIDATION]
        for number, (phrase, sound, (said, went)) in enumerate(
                zip(wanted, references(wanted, speech.voice), say(model, wanted, times))):
            audio = judge.codec.decode(said)
            key = f"{phrase.id}-{name}" if name else phrase.id
            codes[key] = said
            if number < SOUNDS and split == "test":
                files[sound_file(key)] = flac(audio)
            rows.append({"id": phrase.id, "split": split, "durations": name, "text": phrase.text, **went,
                         **judge.hear(phrase, audio, sound)})
        bar.update()
    bar.close()
    shuffled = shuffled_error([r for r in rows if r["split"] == "test" and r["durations"] != "predicted"], data.test)
    return records.save("said", what, {"train": run.name, "config": asdict(config), "judge": judge.record.name,
                                       "durations": durations and durations.name, "shuffled_text": shuffled, "rows": rows},
                        files | {CODES: save(codes)})


def shuffled_error(rows: list[dict], wanted: list[Phrase]) -> float:
    """Phoneme error where each sentence is held against what was said for the next one."""
    return phoneme_error([p.phonemes for p in wanted], [r["heard"].split() for r in rows[1:] + rows[:1]])


def bounds(config: ModelConfig, speech: Speech, data: Data, judge: Judge) -> records.Record:
    """The ceiling and the floor on the test sentences: speech itself, the codec's round trip, an untrained model."""
    what = {"model": described(config), "speech": asdict(speech), "data": data.digest, "judge": judge.record.key,
            "behaviour": [behaviour(config), *hearing(judge.codec)]}
    if finished := records.find("bounds", what):
        return finished
    torch.manual_seed(0)
    untrained = build(config).eval()
    rows, files = [], {}
    sound = references(data.test, speech.voice)
    for number, (phrase, reference, (said, _)) in enumerate(zip(data.test, sound, say(untrained, data.test))):
        for name, audio in (("speech", reference), ("codec", judge.codec.decode(phrase.codes[:config.codebooks])),
                            ("untrained", judge.codec.decode(said))):
            rows.append({"id": phrase.id, "what": name, "text": phrase.text, **judge.hear(phrase, audio, reference)})
            if number < SOUNDS:
                files[sound_file(f"{phrase.id}-{name}")] = flac(audio)
    return records.save("bounds", what, {"rows": rows}, files)


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
    """How much is understood of texts of so many seconds, at espeak-ng's durations: the same phrases, cut into texts of
    each length. With attention also where it reads no more frames at once than it did in training."""
    config = speech_config(run)
    made = phrases("longer", LONG_TEXTS * max(lengths), speech.voice, judge.codec)     # none is as short as a second
    ends = np.cumsum([p.codes.shape[1] for p in made])
    made = made[:int(np.searchsorted(ends, LONG_TEXTS * max(lengths) * FRAME_RATE)) + 1]
    what = {"run": run.key, "weights": run.files, "judge": judge.record.key, "lengths": lengths,
            "phrases": [p.text for p in made],
            "behaviour": [*(behaviour(config.model, w) for w in (None, 5)), *hearing(judge.codec)]}
    if finished := records.find("longer", what):
        return finished
    model, rows, files = load_speech(run), [], {}
    windows = (None, LONGEST) if any(isinstance(part, Attention) for part in model.core.modules()) else (None,)
    bar = progress_bar(len(windows) * len(lengths), f"long texts, {config.model.core}", unit="length")
    for window in windows:
        for seconds in lengths:
            texts = cut(made, seconds)
            said = [codes for i in range(0, len(texts), BATCH) for codes, _ in speak(
                model, [[plan(p.groups, config.model) for p in text] for text in texts[i:i + BATCH]], window=window)]
            heard = {"error": said,
                     "ceiling": [np.concatenate([p.codes[:config.model.codebooks] for p in text], 1) for text in texts]}
            row = {"seconds": seconds, "window": window, "texts": len(texts),
                   "frames": sum(p.codes.shape[1] for p in made), "said": sum(codes.shape[1] for codes in said)}
            for name, codes in heard.items():
                sounds = [judge.codec.decode(c) for c in codes]
                wanted = [[phoneme for p in text for phoneme in p.phonemes] for text in texts]
                row[name] = phoneme_error(wanted, [recognise(judge.recogniser, sound) for sound in sounds])
                if name == "error" and seconds == max(lengths):
                    files[f"longer{window or ''}.flac"] = flac(sounds[0])
            rows.append(row)
            bar.update()
    bar.close()
    return records.save("longer", what, {"train": run.name, "core": config.model.core, "lengths": rows}, files)
