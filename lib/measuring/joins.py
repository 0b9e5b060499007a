"""What becomes of speech where one sentence follows another, as the speaker says it: each on a new state, all on one state, or on
one through which attention reads no more than in training."""
from pathlib import Path

import numpy as np

from .. import records
from ..data.audio import SAMPLE_RATE
from ..data.codec import HOP
from ..data.phrases import LONGEST, Phrase
from ..metrics.speech import edits, jumps
from ..progress import progress_bar
from ..speaking.decoding import behaviour
from ..speaking.speaker import STATES, read_checkpoint
from ..training.recogniser import recognise
from .intelligibility import Judge, hearing

SENTENCES = 5       # of a text


def _glide() -> tuple[np.ndarray, list[int]]:
    """A tone that rises, and a place in it."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    return np.sin(2 * np.pi * 100 * time * (1 + time)).astype(np.float32), [SAMPLE_RATE // 2]


def joins(paths: dict[str, Path], judge: Judge, said: list[Phrase]) -> records.Record:
    """A row a core, state and text of SENTENCES of what is `said`: phonemes and errors, by how much the level (dB) and F0 (cents)
    jump at each join, and the bytes of state at the end; and a row a text of the speech itself, each sentence by itself. Found,
    or measured."""
    speakers = {core: read_checkpoint(path) for core, path in paths.items()}
    what = {"cores": {core: speaker.digest for core, speaker in speakers.items()}, "judge": judge.record.key,
            "texts": [p.text for p in said], "sentences": SENTENCES, "jumps": records.stable(jumps(*_glide())[1]),
            "behaviour": [*(behaviour(speaker.model.config) for speaker in speakers.values()), *hearing(judge.codec)]}
    if finished := records.find("joins", what):
        return finished
    texts = [said[i:i + SENTENCES] for i in range(0, len(said) - SENTENCES + 1, SENTENCES)]
    rows, bar = [], progress_bar(len(texts) * (1 + len(speakers) * len(STATES)), "from sentence to sentence", unit="text")

    def judged(core: str, state: str, text: list[Phrase], audio: np.ndarray, at: list[int], kept: int) -> None:
        wanted = [phoneme for p in text for phoneme in p.phonemes]
        level, f0 = jumps(audio, at)
        rows.append({"core": core, "state": state, "phonemes": len(wanted),
                     "errors": sum(edits(wanted, recognise(judge.recogniser, audio))), "level_db": level, "f0_cents": f0,
                     "state_bytes": kept})
        bar.update()

    for text in texts:
        spoken = list(judge.references(text))
        judged("speech", "", text, np.concatenate(spoken), np.cumsum([len(sound) for sound in spoken[:-1]]).tolist(), 0)
        for core, speaker in speakers.items():
            for state in STATES:
                written, places = " ".join(p.text[:1].upper() + p.text[1:] for p in text), []
                audio = np.concatenate([*speaker.stream(written, state=state, keep=places.append)])
                at = [place.samples for place in places if place.sentences < places[-1].sentences]
                longest = max(np.diff([0, *at, len(audio)])) if state == "reset" else len(audio)
                frames = min(LONGEST, longest // HOP) if state == "window" else longest // HOP
                judged(core, state, text, audio, at, speaker.model.core.state_bytes(int(frames)))
    bar.close()
    return records.save("joins", what, {"rows": rows})
