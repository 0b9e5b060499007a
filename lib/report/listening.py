"""The sounds of a sentence side by side: ground truth, codec, and every core in every regime."""
from html import escape
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from safetensors.numpy import load

from ..data.audio import read_flac
from ..data.corpus import Clip, Corpus
from ..data.tokens import Tokens
from ..files import file_name
from ..measuring.listening import CODES, sound_file
from ..speaking.speaker import read_checkpoint
from . import figures
from .html import audio
from .results import Report


def waves(report: Report, clip: Clip, tokens: Tokens, corpus: Corpus) -> dict[str, np.ndarray]:
    """Name -> audio (samples,): the speech, its codec round trip, and what the first run of each core said."""
    named = {} if clip.audio is None else {"speech": clip.audio}
    named |= {"codec": corpus.sound(tokens.codes, tokens.codec)}
    for core, regime, runs in report.regimes():
        heard = report.heard.get(runs[0].name)
        if heard:
            named[_name(core, regime)] = read_flac(heard.file(sound_file(clip.id)).read_bytes())
    return named


def codes(report: Report, clip: Clip, tokens: Tokens) -> dict[str, np.ndarray]:
    """Name -> codes (codebooks, frames): the corpus's own, and what the first run of each core said."""
    named = {"corpus": tokens.codes}
    for core, regime, runs in report.regimes():
        heard = report.heard.get(runs[0].name)
        if heard:
            named[_name(core, regime)] = load(heard.file(CODES).read_bytes())[file_name(clip.id)]
    return named


def _name(core: str, regime: str) -> str:
    return core if regime == "causal" else f"{core}, {regime.replace('_', ' ')}"


def show(report: Report, clip: Clip, tokens: Tokens, corpus: Corpus) -> None:
    """Spectrograms and players of a sentence; pictures of its codes where the corpus has no sound."""
    name, folder = f"sounds_{file_name(clip.id)}", report.study.label
    if corpus.codec is None:
        display(figures.keep(figures.codes(codes(report, clip, tokens), corpus.frame_rate, clip.text), folder, name))
        return
    sounds = waves(report, clip, tokens, corpus)
    display(figures.keep(figures.sounds(sounds, clip.text), folder, name))
    display(HTML(players(sounds, clip.text)))


def players(sounds: dict[str, np.ndarray], text: str) -> str:
    """A labelled player for each sound, as HTML."""
    cells = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{audio(wave, f'{name}: {text}')}</figure>"
                    for name, wave in sounds.items())
    return f'<div class="players">{cells}</div>'


def browser(report: Report, clips: list[Clip], tokens: list[Tokens], corpus: Corpus) -> widgets.Widget:
    """Choose a sentence, a core and a regime; see and hear it beside the ground truth and the codec's round trip."""
    sentence = widgets.Dropdown(options=[(c.text, i) for i, c in enumerate(clips)], description="sentence")
    core = widgets.Dropdown(options=list(report.causal), description="core")
    regime = widgets.Dropdown(options=["causal", "as reported"], description="regime")
    output = widgets.Output()

    def show(_=None) -> None:
        i = sentence.value
        everything = waves(report, clips[i], tokens[i], corpus)
        name = _name(core.value, regime.value)
        output.clear_output(wait=True)
        with output:
            if name not in everything:
                print(f"{core.value} has no run in the regime {regime.value}")
                return
            chosen = {k: everything[k] for k in ("speech", "codec", name) if k in everything}
            figure = figures.sounds(chosen, clips[i].text)
            display(figure, HTML(players(chosen, clips[i].text)))
            plt.close(figure)

    for control in (sentence, core, regime):
        control.observe(show, "value")
    show()
    return widgets.VBox([sentence, core, regime, output])


def text_box(files: dict[str, Path]) -> widgets.Widget:
    """Type a sentence, choose a core among the checkpoints, hear it."""
    if not files:
        return widgets.Label("No core can speak yet: run the study of speech first (make report STUDY=standard).")
    text = widgets.Text(value="Dzień dobry, mówi sieć neuronowa.", description="say", layout={"width": "60%"})
    core = widgets.Dropdown(options=list(files), description="core")
    button, output = widgets.Button(description="Speak"), widgets.Output()

    def say(_=None) -> None:
        output.clear_output(wait=True)
        with output:
            try:
                wave = read_checkpoint(files[core.value]).say(text.value)
            except ValueError as error:
                print(error)
                return
            display(HTML(players({core.value: wave}, text.value)))

    button.on_click(say)
    return widgets.VBox([widgets.HBox([text, core, button]), output])
