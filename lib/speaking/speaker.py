"""A trained core that speaks any sentence: its weights and its duration predictor's in one float16 file."""
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from .. import records
from ..config import REPOSITORY, SpeechConfig, Study, restored
from ..data.codec import Codec, load_codec
from ..data.phrases import plan, say, sentences_of
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


@dataclass(frozen=True)
class Speaker:
    model: CodecLM
    durations: Durations
    codec: Codec
    voice: str

    def say(self, text: str, sampling: Sampling = Sampling()) -> np.ndarray:
        """Audio (samples,) at 24 kHz of a text: its phonemes and pauses are espeak-ng's, their durations predicted.
        ValueError where the text cannot be spoken."""
        encode(text)
        groups, _ = say(text, self.voice)
        plans = [predicted_plan(self.durations, *plan(sentence, self.model.config)) for sentence in sentences_of(groups)]
        (codes, _), = speak(self.model, [plans], sampling)
        return self.codec.decode(codes)


def checkpoints(study: Study) -> dict[str, Path]:
    """Core -> file of the cores that can speak: the study's, else the reference study's."""
    for folder in (records.figures_root(study.label) / "checkpoints", REFERENCE):
        if found := sorted(folder.glob("*.safetensors")):
            return {path.stem: path for path in found}
    return {}


def write_checkpoint(path: Path, run: records.Record, durations: records.Record) -> Path:
    """A run and its duration predictor as one file, float16; the reference study's, where it kept no more of the run."""
    if run.folder.is_relative_to(records.REFERENCE):
        return write_atomic(path, (REFERENCE / path.name).read_bytes())
    tensors = {f"{name}/{key}": value.half() for name, module in (
        ("model", load_speech(run)), ("durations", load_durations(durations))) for key, value in module.state_dict().items()}
    about = {"config": run.identity["config"], "voice": run.identity["voice"], "codec": run.identity["codec_name"],
             "codec_digest": run.identity["codec"], "run": run.name}
    return write_atomic(path, save(tensors, {"about": json.dumps(about)}))


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
