"""What the codec does to speech: the ceiling of every sound in the report, measured on sentences no model trains on."""
import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly

from .. import records
from ..config import EMBEDDED, Study
from ..data.audio import LONGEST, SAMPLE_RATE, Unusable, read_audio
from ..data.codec import FRAME_RATE, UNHEARD_VOICES, Codec, import_past_torchaudio
from ..data.corpus import Corpus, sentences, speak
from ..data.tokens import encoded, fingerprint
from ..metrics.learning import perplexity
from ..metrics.speech import mel_cepstral_distortion, pesq, pitch_error, stoi
from ..progress import progress_bar

COUNTS = (2, 4, 8)
SHORTEST = 2.0          # seconds of a recording: a shorter one is too little for some measures
UNPROCESSED = 0         # codebooks of the audio itself: what every measure says where nothing is lost


@dataclass(frozen=True)
class Measured:
    """A clip that the codec is measured on: audio (samples,) at 24 kHz, its group, and the voice or file it comes from."""
    group: str
    voice: str
    id: str
    audio: np.ndarray


@cache
def _mos_model() -> torch.nn.Module:
    with redirect_stdout(io.StringIO()):            # it says where its weights are
        return import_past_torchaudio("distillmos").ConvTransformerSQAModel().eval()


@torch.inference_mode()
def mos(_: np.ndarray, audio: np.ndarray) -> float:
    """Quality from 1 to 5 that DistillMOS predicts for audio (samples,) at 24 kHz by itself (Stahl & Gamper 2025)."""
    return _mos_model()(torch.from_numpy(resample_poly(audio, 2, 3)).float()[None]).item()


def measures() -> dict[str, Callable[[np.ndarray, np.ndarray], float | None]]:
    """What is measured of (speech, the same after the codec). PESQ and MOS only where their packages are installed."""
    packages = {"pesq": ("pesq", pesq), "mos": ("distillmos", mos)}
    return {"stoi": stoi, "mcd_db": mel_cepstral_distortion, "f0_cents": pitch_error,
            **{name: function for name, (package, function) in packages.items() if find_spec(package)}}


def measured_clips(study: Study, corpus: Corpus) -> Iterator[Measured]:
    """Test sentences by the study's voice, a few of them by voices that the embedded codec never heard, recordings."""
    group = f"voice {study.voice}" if study.corpus == EMBEDDED else "test clips"
    for clip in islice(corpus.clips("test"), study.codec_sentences):
        if clip.audio is not None:
            yield Measured(group, study.voice if study.corpus == EMBEDDED else "", clip.id, clip.audio)
    if study.corpus == EMBEDDED:
        few = sentences("test")[:max(1, study.codec_sentences // 4)]
        for voice in UNHEARD_VOICES[:study.codec_voices]:
            yield from (Measured("unheard voices", voice, clip.id, clip.audio) for clip in speak(few, voice))
    if study.recordings:
        yield from _recordings(Path(study.recordings), study.codec_sentences)


def _recordings(folder: Path, count: int) -> Iterator[Measured]:
    """From each folder in `folder`, up to `count` sound files of at least 2 seconds, evenly over their names."""
    groups = sorted(p for p in folder.iterdir() if p.is_dir())
    if not groups:
        raise ValueError(f"{folder} has no folders: put recordings into one folder for each group, such as en/ and ru/")
    for group in groups:
        paths, found = sorted(p for p in group.rglob("*") if p.is_file()), 0
        for start, stop in pairwise(np.linspace(0, len(paths), count + 1).astype(int)):
            for path in paths[start:stop]:
                with suppress(Unusable):
                    audio = read_audio(path)
                    if len(audio) >= SHORTEST * SAMPLE_RATE:
                        found += 1
                        yield Measured(f"recordings, {group.name}", "", path.stem, audio)
                        break
        if not found:
            raise ValueError(f"{group} has no sound file that can be used: WAV, FLAC, OGG or MP3 of {SHORTEST:g} to "
                             f"{LONGEST:g} seconds")


def _behaviour(codec: Codec) -> list[str]:
    """What is measured of a tone and its round trip, to the digits that processors have alike."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = (sum(np.sin(2 * np.pi * k * (110 + 40 * time) * time) / k for k in range(1, 9)) / 4).astype(np.float32)
    back = codec.decode(codec.encode(tone, COUNTS[0]))[:len(tone)]
    return [f"{measure(tone, back):.2g}" for measure in (stoi, mel_cepstral_distortion, pitch_error)]


def codec_quality(study: Study, corpus: Corpus) -> records.Record | None:
    """Every measure of the round trip with 2, 4 and 8 codebooks and of the unprocessed audio, and how codes are used.

    None where the corpus holds codes and no sound.
    """
    codec = corpus.codec
    clips = list(measured_clips(study, corpus)) if codec else []
    if not clips:
        return None
    chosen = measures()
    what = {"codec": codec.identity, "clips": [[c.group, c.voice, c.id, fingerprint(c.audio)] for c in clips],
            "counts": COUNTS, "behaviour": _behaviour(codec)}
    finished = records.find("codec_quality", what)
    if finished and chosen.keys() <= finished.result["rows"][0].keys():      # of more packages than are here, perhaps
        return finished
    rows, used = [], []
    bar = progress_bar(len(clips), "codec", unit="clip")
    for clip in clips:
        codes = encoded(fingerprint(clip.audio), codec, lambda clip=clip: clip.audio)
        for codebooks in (UNPROCESSED, *COUNTS):
            back = codec.decode(codes[:codebooks])[:len(clip.audio)] if codebooks else clip.audio
            rows.append({"group": clip.group, "voice": clip.voice, "id": clip.id, "codebooks": codebooks,
                         **{name: measure(clip.audio, back) for name, measure in chosen.items()}})
        used.append(codes)
        bar.update()
    bar.close()
    everything = np.concatenate(used, 1)
    return records.save("codec_quality", what, {
        "codec": codec.name, "rows": rows, "perplexity": [perplexity(row) for row in everything],
        "frames": everything.shape[1], "kilobits_per_s": {c: c * 10 * FRAME_RATE / 1000 for c in COUNTS}})
