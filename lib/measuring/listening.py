"""The listening run that every sound of a memorised clip in the report comes from."""
import time

import numpy as np
from safetensors.numpy import save

from .. import records
from ..config import TrainConfig, described, restored
from ..data.audio import flac, read_flac
from ..data.corpus import Corpus
from ..data.tokens import Tokens
from ..files import file_name
from ..metrics.speech import token_match
from ..speaking.decoding import behaviour, generate
from ..speaking.sampling import Sampling
from ..training.memorise import load_model

CODES = "codes.safetensors"     # of a listening run: what was said for each sentence, (codebooks, frames)


def listen(run: records.Record, tokens: list[Tokens], corpus: Corpus, frames: int,
           sampling: Sampling = Sampling()) -> records.Record:
    """What a trained run says for each of `tokens`' texts: codes, sound (FLAC) where there is a codec, and figures."""
    what = {"run": run.key, "weights": run.files, "sentences": [[t.id, t.digest] for t in tokens], "frames": frames,
            "sampling": described(sampling), "codec": corpus.codec.identity if corpus.codec else None,
            "behaviour": behaviour(restored(TrainConfig, run.identity["config"]).model)}
    if finished := records.find("listen", what):
        return finished
    model = load_model(run)
    generate(model, tokens[0].text, 8, sampling)                        # warm up
    rows, said, files = [], {}, {}
    for one in tokens:
        codes, figures = generate(model, one.text, frames, sampling)
        figures["real_time_factor"] = figures["seconds"] / (figures["frames"] / corpus.frame_rate)
        said[file_name(one.id)] = codes
        if corpus.codec:
            begin = time.perf_counter()
            audio = corpus.sound(codes, run.result["codec"])
            figures["codec_seconds"] = time.perf_counter() - begin
            files[sound_file(one.id)] = flac(audio)
        rows.append({"id": one.id, "text": one.text, "reference_frames": one.codes.shape[1],
                     "token_match": token_match(one.codes, codes), **figures})
    return records.save("listen", what, {"train": run.name, "model": run.identity["config"]["model"],
                                         "seed": run.identity["config"]["seed"], "sentences": rows},
                        files | {CODES: save(said)})


def sound_file(sentence: str) -> str:
    """Name of the sound of a sentence in a listening run; ids of a user's corpus are data, not paths."""
    return file_name(sentence) + ".flac"


def sound(run: records.Record, sentence: str) -> np.ndarray:
    """Audio (samples,) at 24 kHz of a sentence in a run that keeps it."""
    return read_flac(run.file(sound_file(sentence)).read_bytes())
