"""The sounds of a sentence side by side: ground truth, codec, and every core in every regime."""
from html import escape

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display

from ..data.codec import SAMPLE_RATE, Codec
from ..data.corpus import Clip
from ..data.tokens import Tokens, sound
from ..generate import read_flac
from . import figures
from .html import audio
from .results import Report


def waves(report: Report, clip: Clip, tokens: Tokens, codec: Codec) -> dict[str, np.ndarray]:
    """Name -> audio (samples,): the speech, its codec round trip, and what the first run of each core said."""
    named = {"speech": clip.audio, "codec": sound(tokens.codes, tokens.codec, codec)}
    for core, regime, runs in report.regimes():
        heard = report.heard.get(runs[0].name)
        if heard:
            name = core if regime == "causal" else f"{core}, {regime.replace('_', ' ')}"
            named[name] = read_flac(heard.file(f"{clip.id}.flac").read_bytes())
    return named


def players(sounds: dict[str, np.ndarray], text: str) -> str:
    """A labelled player for each sound, as HTML."""
    cells = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{audio(wave, SAMPLE_RATE, f'{name}: {text}')}</figure>"
                    for name, wave in sounds.items())
    return f'<div class="players">{cells}</div>'


def browser(report: Report, clips: list[Clip], tokens: list[Tokens], codec: Codec) -> widgets.Widget:
    """Choose a sentence, a core and a regime; see and hear it beside the ground truth and the codec's round trip."""
    sentence = widgets.Dropdown(options=[(c.text, i) for i, c in enumerate(clips)], description="sentence")
    core = widgets.Dropdown(options=list(report.causal), description="core")
    regime = widgets.Dropdown(options=["causal", "as reported"], description="regime")
    output = widgets.Output()

    def show(_=None) -> None:
        i = sentence.value
        everything = waves(report, clips[i], tokens[i], codec)
        name = core.value if regime.value == "causal" else f"{core.value}, {regime.value}"
        output.clear_output(wait=True)
        with output:
            if name not in everything:
                print(f"{core.value} has no run in the regime {regime.value}")
                return
            chosen = {k: everything[k] for k in ("speech", "codec", name)}
            figure = figures.sounds(chosen, clips[i].text)
            display(figure, HTML(players(chosen, clips[i].text)))
            plt.close(figure)

    for control in (sentence, core, regime):
        control.observe(show, "value")
    show()
    return widgets.VBox([sentence, core, regime, output])
