"""What the codec does to speech: the ceiling of every sound in the report, measured on sentences no model trains on."""
import numpy as np

from . import records
from .config import Study
from .data.codec import HOP, load_codec
from .data.corpus import sentences, speak
from .data.tokens import tokenise
from .metrics.speech import mel_cepstral_distortion, stoi
from .train import progress_bar

COUNTS = (2, 4, 8)


def codec_quality(study: Study) -> records.Record:
    """STOI and mel-cepstral distortion of the round trip with 2, 4 and 8 codebooks, and how evenly codes are used."""
    codec = load_codec(study.codec)
    clips = list(speak(sentences("test")[:study.codec_sentences], study.voice))
    what = {"codec": codec.identity, "sentences": [c.text for c in clips], "voice": study.voice, "counts": COUNTS,
            "code": records.code_digest("preprocess.py", "data/*.py", "metrics/speech.py")}
    finished = records.find("codec_quality", what)
    if finished:
        return finished
    rows, used = [], []
    bar = progress_bar(len(COUNTS) * len(clips), "codec")
    for clip in clips:
        for codebooks in COUNTS:
            codes = tokenise(clip, codec, codebooks).codes
            back = codec.decode(codes)[:len(clip.audio)]
            rows.append({"id": clip.id, "codebooks": codebooks, "stoi": stoi(clip.audio, back),
                         "mcd_db": mel_cepstral_distortion(clip.audio, back)})
            bar.update()
        used.append(codes)
    bar.close()
    kilobits = {c: c * 10 * 75 / 1000 for c in COUNTS}
    return records.save("codec_quality", what, {
        "codec": codec.name, "rows": rows, "perplexity": [perplexity(row) for row in np.concatenate(used, 1)],
        "frames": sum(c.shape[1] for c in used), "kilobits_per_s": kilobits, "hop": HOP})


def perplexity(codes: np.ndarray) -> float:
    """exp of the entropy of one codebook's use: as many codes, evenly used, would be as varied."""
    p = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(np.exp(-(p * np.log(p)).sum()))
