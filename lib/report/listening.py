"""The sounds of a sentence side by side: ground truth, codec, and every core in every regime."""
from html import escape

import numpy as np
from pyloudnorm import Meter
from safetensors.numpy import load
from scipy.signal import resample_poly

from ..data.audio import SAMPLE_RATE
from ..data.corpus import Clip, Corpus
from ..data.tokens import Tokens
from ..files import file_name
from ..measuring.listening import CODES, sound, sound_file
from . import figures
from .claims import named
from .html import audio
from .prose import heading
from .results import Report

LOUDNESS, PEAK = -23.0, -1.0    # LUFS that sounds are brought to (EBU R 128), dB of full scale that none may pass


def waves(report: Report, clip: Clip, tokens: Tokens, corpus: Corpus) -> dict[str, np.ndarray]:
    """Name -> audio (samples,): the speech, its codec round trip, and what the first run of each core said."""
    named = {} if clip.audio is None else {"speech": clip.audio}
    named |= {"codec": corpus.sound(tokens.codes, tokens.codec)}
    for core, regime, runs in report.regimes():
        heard = report.heard.get(runs[0].name)
        if heard and sound_file(clip.id) in heard.files:
            named[of_regime(core, regime)] = sound(heard, clip.id)
    return named


def codes(report: Report, clip: Clip, tokens: Tokens) -> dict[str, np.ndarray]:
    """Name -> codes (codebooks, frames): the corpus's own, and what the first run of each core said."""
    named = {"corpus": tokens.codes}
    for core, regime, runs in report.regimes():
        heard = report.heard.get(runs[0].name)
        said = load(heard.file(CODES).read_bytes()) if heard else {}
        if file_name(clip.id) in said:
            named[of_regime(core, regime)] = said[file_name(clip.id)]
    return named


def of_regime(core: str, regime: str) -> str:
    return named(core) if regime == "causal" else f"{named(core)}, {regime.replace('_', ' ')}"


def show(report: Report, clip: Clip, tokens: Tokens, corpus: Corpus) -> str:
    """Spectrograms and players of a sentence, as HTML; pictures of its codes where the corpus has no sound."""
    name, folder = f"sounds_{file_name(clip.id)}", report.study.label
    if corpus.codec is None:
        shown = codes(report, clip, tokens)
        return figures.keep(figures.codes(shown, corpus.frame_rate, clip.text), folder, name,
                            f"Codes of {', '.join(shown)}: {clip.text}").data
    sounds = waves(report, clip, tokens, corpus)
    drawn = figures.keep(figures.sounds(sounds, clip.text), folder, name, f"Spectrograms of {', '.join(sounds)}: {clip.text}")
    return drawn.data + players(sounds, clip.text)


def memorised(report: Report, corpus: Corpus) -> str:
    """The sentences of the memorising part as every core says them, none picked, as HTML."""
    s, notes = report.study, ("memorised", "never trained on: a model that memorised other clips cannot say it")
    clips = corpus.memorised(s.clips) + corpus.unseen(s.listen_unseen)
    said = [heading(clip.text, notes[i >= s.clips]) + show(report, clip, corpus.tokens(clip), corpus) for i, clip in enumerate(clips)]
    return (f"<p>No sound here: {escape(corpus.silent)}.</p>" if corpus.silent else "") + "".join(said)


def equally_loud(sounds: list[np.ndarray]) -> list[np.ndarray]:
    """Sounds (samples,) at 24 kHz brought to one loudness (ITU-R BS.1770): to LOUDNESS, or as near to it as lets the true peak
    of none pass PEAK. Less than a block of 0.4 s is measured as if it went on; silence stays silent."""
    meter, block = Meter(SAMPLE_RATE), int(0.4 * SAMPLE_RATE)
    with np.errstate(divide="ignore"):
        loud = np.array([meter.integrated_loudness(np.resize(x, max(len(x), block)).astype(float)) for x in sounds])
        peaks = np.array([20 * np.log10(np.abs(resample_poly(x, 4, 1)).max()) for x in sounds])
    heard, gains = np.isfinite(loud), np.ones(len(sounds))
    target = min([LOUDNESS, *(PEAK + loud[heard] - peaks[heard])])
    gains[heard] = 10 ** ((target - loud[heard]) / 20)
    return [(gain * x).astype(np.float32) for gain, x in zip(gains, sounds)]


def players(sounds: dict[str, np.ndarray], text: str) -> str:
    """A labelled player for each sound, all equally loud, as HTML."""
    cells = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{audio(wave, f'{name}: {text}')}</figure>"
                    for name, wave in zip(sounds, equally_loud(list(sounds.values()))))
    return f'<div class="players">{cells}</div>'
