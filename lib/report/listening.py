"""The sounds of a sentence side by side: ground truth, codec, and every core in every regime."""
from collections.abc import Callable
from html import escape
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from IPython.display import HTML, display
from safetensors.numpy import load

from ..data.corpus import Clip, Corpus
from ..data.tokens import Tokens
from ..files import file_name
from ..measuring.listening import CODES, sound, sound_file
from ..speaking.speaker import read_checkpoint
from . import figures
from .html import audio
from .prose import heading
from .results import Report


def waves(report: Report, clip: Clip, tokens: Tokens, corpus: Corpus) -> dict[str, np.ndarray]:
    """Name -> audio (samples,): the speech, its codec round trip, and what the first run of each core said."""
    named = {} if clip.audio is None else {"speech": clip.audio}
    named |= {"codec": corpus.sound(tokens.codes, tokens.codec)}
    for core, regime, runs in report.regimes():
        heard = report.heard.get(runs[0].name)
        if heard and sound_file(clip.id) in heard.files:
            named[_name(core, regime)] = sound(heard, clip.id)
    return named


def codes(report: Report, clip: Clip, tokens: Tokens) -> dict[str, np.ndarray]:
    """Name -> codes (codebooks, frames): the corpus's own, and what the first run of each core said."""
    named = {"corpus": tokens.codes}
    for core, regime, runs in report.regimes():
        heard = report.heard.get(runs[0].name)
        said = load(heard.file(CODES).read_bytes()) if heard else {}
        if file_name(clip.id) in said:
            named[_name(core, regime)] = said[file_name(clip.id)]
    return named


def _name(core: str, regime: str) -> str:
    return core if regime == "causal" else f"{core}, {regime.replace('_', ' ')}"


def show(report: Report, clip: Clip, tokens: Tokens, corpus: Corpus) -> str:
    """Spectrograms and players of a sentence, as HTML; pictures of its codes where the corpus has no sound."""
    name, folder = f"sounds_{file_name(clip.id)}", report.study.label
    if corpus.codec is None:
        return figures.keep(figures.codes(codes(report, clip, tokens), corpus.frame_rate, clip.text), folder, name).data
    sounds = waves(report, clip, tokens, corpus)
    return figures.keep(figures.sounds(sounds, clip.text), folder, name).data + players(sounds, clip.text)


def memorised(report: Report, corpus: Corpus) -> str:
    """The sentences of the memorising part as every core says them, none picked, as HTML."""
    s, notes = report.study, ("memorised", "never trained on: a model that memorised other clips cannot say it")
    clips = corpus.memorised(s.clips) + corpus.unseen(s.listen_unseen)
    said = [heading(clip.text, notes[i >= s.clips]) + show(report, clip, corpus.tokens(clip), corpus) for i, clip in enumerate(clips)]
    return (f"<p>No sound here: {escape(corpus.silent)}.</p>" if corpus.silent else "") + "".join(said)


def players(sounds: dict[str, np.ndarray], text: str) -> str:
    """A labelled player for each sound, as HTML."""
    cells = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{audio(wave, f'{name}: {text}')}</figure>"
                    for name, wave in sounds.items())
    return f'<div class="players">{cells}</div>'


def browser(report: Report, clips: list[Clip], tokens: list[Tokens], corpus: Corpus) -> widgets.Widget:
    """Choose a sentence, a core and a regime; see and hear it beside the ground truth and the codec's round trip."""
    sentence = widgets.Dropdown(options=[(c.text, i) for i, c in enumerate(clips)], description="sentence")
    core = widgets.Dropdown(options=list(dict.fromkeys(core for core, _, _ in report.regimes())), description="core")
    regime = widgets.Dropdown(options=["causal", "as reported"], description="regime")
    controls, output = (sentence, core, regime), widgets.Output()

    def chosen() -> tuple:
        clip = clips[sentence.value]
        everything = waves(report, clip, tokens[sentence.value], corpus)
        name = _name(core.value, regime.value)
        if name not in everything:
            raise ValueError(f"{core.value} did not say this in the regime {regime.value}")
        sounds = {k: everything[k] for k in ("speech", "codec", name) if k in everything}
        return figures.picture(figures.sounds(sounds, clip.text)), HTML(players(sounds, clip.text))

    for control in controls:
        control.observe(lambda _: _answer(output, controls, "drawing …", chosen), "value")
    _answer(output, controls, "drawing …", chosen)
    return widgets.VBox([*controls, output])


def _answer(output: widgets.Output, controls: tuple[widgets.Widget, ...], waiting: str, work: Callable[[], tuple]) -> None:
    """Show what `work` gives, or in one line what it raises; until then the controls are disabled, and a button among them
    and the output say what is waited for."""
    labels = {control: control.description for control in controls if isinstance(control, widgets.Button)}
    for control in controls:
        control.disabled = True
    for button in labels:
        button.description = waiting
    output.clear_output()
    with output:
        print(waiting)
    try:
        shown = work()
    except (Exception, KeyboardInterrupt) as error:
        words = str(error).split()
        if not (words and isinstance(error, ValueError)):               # whose words say enough
            words.insert(0, type(error).__name__)
        shown = (HTML(f"<p>{escape(' '.join(words))}</p>"),)
    finally:
        for control in controls:
            control.disabled = False
        for button, label in labels.items():
            button.description = label
    output.clear_output(wait=True)
    with output:
        display(*shown)


def text_box(files: dict[str, Path]) -> widgets.Widget:
    """Type a sentence, choose a core among the checkpoints, hear it."""
    if not files:
        return widgets.Label("No core can speak yet: run the study of speech first (make report STUDY=standard).")
    text = widgets.Text(value="Dzień dobry, mówi sieć neuronowa.", description="say", layout={"width": "60%"})
    core = widgets.Dropdown(options=list(files), description="core")
    button, output = widgets.Button(description="Speak"), widgets.Output()

    def said() -> tuple:
        return (HTML(players({core.value: read_checkpoint(files[core.value]).say(text.value)}, text.value)),)

    button.on_click(lambda _: _answer(output, (text, core, button), "speaking …", said))
    return widgets.VBox([widgets.HBox([text, core, button]), output])
