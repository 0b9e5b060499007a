"""What the codec does to speech: the ceiling of every sound in the report, measured on sentences no model trains on."""
from itertools import islice

import numpy as np

from . import records
from .config import Study
from .data.codec import FRAME_RATE
from .data.corpus import Corpus
from .data.tokens import encoded, fingerprint
from .metrics.speech import mel_cepstral_distortion, stoi
from .progress import progress_bar

COUNTS = (2, 4, 8)


def codec_quality(study: Study, corpus: Corpus) -> records.Record | None:
    """STOI and mel-cepstral distortion of the round trip with 2, 4 and 8 codebooks, and how evenly codes are used.

    None where the corpus holds codes and no sound.
    """
    codec = corpus.codec
    clips = [c for c in islice(corpus.clips("test"), study.codec_sentences) if c.audio is not None]
    if codec is None or not clips:
        return None
    what = {"codec": codec.identity, "audio": [fingerprint(c.audio) for c in clips], "counts": COUNTS,
            "code": records.code_digest("preprocess.py", "data/codec.py", "metrics/speech.py")}
    finished = records.find("codec_quality", what)
    if finished:
        return finished
    rows, used = [], []
    bar = progress_bar(len(COUNTS) * len(clips), "codec")
    for clip in clips:
        for codebooks in COUNTS:
            codes = encoded(fingerprint(clip.audio), codec, lambda: clip.audio)[:codebooks]
            back = codec.decode(codes)[:len(clip.audio)]
            rows.append({"id": clip.id, "codebooks": codebooks, "stoi": stoi(clip.audio, back),
                         "mcd_db": mel_cepstral_distortion(clip.audio, back)})
            bar.update()
        used.append(codes)
    bar.close()
    return records.save("codec_quality", what, {
        "codec": codec.name, "rows": rows, "perplexity": [perplexity(row) for row in np.concatenate(used, 1)],
        "frames": sum(c.shape[1] for c in used), "kilobits_per_s": {c: c * 10 * FRAME_RATE / 1000 for c in COUNTS}})


def perplexity(codes: np.ndarray) -> float:
    """exp of the entropy of one codebook's use: as many codes, evenly used, would be as varied."""
    p = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(np.exp(-(p * np.log(p)).sum()))
