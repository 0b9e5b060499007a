"""The recogniser of an own corpus: it hears the corpus, as it is and through the codec; where there is no codec, its codes.

On 17 minutes of English prompts it got 29 % of the phonemes of others wrong after 1,500 steps and 25 % after 2,500. To hear ten of
espeak-ng's voices say the same texts first, for a fifth to a third of as many steps, brought nothing, nor did it on 4 minutes.
"""
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from .. import records
from ..data.codec import MAX_CODEBOOKS
from ..data.corpus import OwnCorpus
from ..data.phrases import Phrase
from ..data.tokens import START
from ..models.recogniser import Recogniser
from ..progress import progress_bar
from .loop import finished
from .recogniser import CODEBOOKS, WEIGHTS, Example, Settings, augmented, behaviour, compared, features, hidden, learn
from .speech import Data, Speech

BANDS = 256             # in which codes are heard


def code_features(codes: np.ndarray) -> np.ndarray:
    """Frames (frames, BANDS) float32 of codes (codebooks, frames): the mean of a fixed random direction for each code."""
    return sum(of[row] for of, row in zip(_directions(), codes)) / len(codes) ** 0.5


@cache
def _directions() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(MAX_CODEBOOKS, START, BANDS)).astype(np.float32)


def takes(phrase: Phrase, corpus: OwnCorpus, codebooks: int) -> dict[str, np.ndarray]:
    """What can be heard of a clip, by name, as frames (frames, bands): the speech, and the codec's round trip; of a corpus
    without sound, so many codebooks."""
    if corpus.codec is None:
        return {"codes": code_features(phrase.codes[:codebooks])}
    audio = corpus.audio(phrase.file)
    sounds = {} if audio is None else {"speech": audio}
    sounds |= {f"codec_{n}": corpus.codec.decode(phrase.codes[:n]) for n in CODEBOOKS if n <= len(phrase.codes)}
    return {name: features(sound) for name, sound in sounds.items()}


def train_own_recogniser(speech: Speech, data: Data, settings: Settings) -> records.Record:
    """The recogniser of a corpus: found, resumed or trained."""
    corpus, codebooks = data.corpus, speech.own.speech_codebooks
    what = {"data": data.digest, "voice": speech.voice, "codec": corpus.codec.identity if corpus.codec else corpus.made_with,
            "codebooks": codebooks, "settings": asdict(settings), "behaviour": behaviour(settings)}

    def train(path: Path) -> tuple[dict, dict[str, bytes]]:
        phonemes = tuple(sorted({name for part in (data.train, data.validation, data.test) for p in part for name in p.phonemes}))
        index = {name: 1 + i for i, name in enumerate(phonemes)}
        own, bands = [], 80 if corpus.codec else BANDS
        bar = progress_bar(len(data.train), "recogniser, the corpus", unit="clip")
        for p in data.train[:settings.sentences]:
            target = torch.tensor([index[name] for name in p.phonemes])
            own += [Example(mel.astype(np.float16), target) for mel in takes(p, corpus, codebooks).values()]
            bar.update()
        bar.close()
        torch.manual_seed(settings.seed)
        model = Recogniser(phonemes, bands)
        history = learn(model, own, settings, path, augmented if corpus.codec else hidden)
        return {"phonemes": phonemes, "bands": bands, **history,
                **{split: measured(model, getattr(data, split), corpus, codebooks) for split in ("validation", "test")}}, {
                    WEIGHTS: save(model.state_dict())}
    return finished("recogniser", what, train, whole=True)


def measured(model: Recogniser, judged: list[Phrase], corpus: OwnCorpus, codebooks: int) -> dict:
    """Phoneme error over all clips, and errors of each, of what can be heard of them."""
    heard: dict[str, list[list[str]]] = {}
    for p in judged:
        for name, mel in takes(p, corpus, codebooks).items():
            heard.setdefault(name, []).append(model.read(torch.from_numpy(mel)))
    return compared(judged, heard)
