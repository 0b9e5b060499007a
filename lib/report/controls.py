"""What a reader turns in a live notebook: each control shows at once what it changes. Nothing in a batch."""
import os
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from ..data.corpus import Clip, Corpus
from ..data.tokens import Tokens
from ..metrics.speech import token_match
from ..records import Record
from ..speaking.decoding import generate
from ..speaking.sampling import Sampling
from ..speaking.speaker import STATES, language_of, read_checkpoint
from ..training.memorise import load_model
from . import figures
from .claims import named
from .html import table
from .listening import of_regime, players, waves
from .results import Report, curve, swept

LIVE = not os.environ.get("TTS_BATCH")      # somebody is there to turn them


def chooser(controls: dict[str, widgets.Widget], work: Callable[..., tuple]) -> widgets.Widget:
    """Controls, and below them what `work` gives for their values, each by its name; again whenever one changes."""
    output = widgets.Output()

    def draw(_: object = None) -> None:
        _answer(output, tuple(controls.values()), "drawing …", lambda: work(**{name: c.value for name, c in controls.items()}))

    for name, control in controls.items():
        control.description = name
        control.observe(draw, "value")
    draw()
    return widgets.VBox([*controls.values(), output])


def _cores(cores: Iterable[str]) -> widgets.Dropdown:
    """A choice of cores, one for guidance or a masked one being named as masked/mamba."""
    names = {core: core.rpartition("/") for core in cores}
    return widgets.Dropdown(options=[(", ".join(filter(None, (named(core), way))), name) for name, (way, _, core) in names.items()])


def _sentences(texts: Sequence[str]) -> widgets.Dropdown:
    return widgets.Dropdown(options=[(text, i) for i, text in enumerate(texts)])


def codebooks(clips: list[Clip], tokens: list[Tokens], corpus: Corpus) -> widgets.Widget:
    """Choose a sentence and how many codebooks are kept; see and hear what is left of it."""
    def kept(sentence: int, codebooks: int) -> tuple:
        clip, one = clips[sentence], tokens[sentence]
        sounds = {} if clip.audio is None else {"speech": clip.audio}
        sounds[f"{codebooks} of {len(one.codes)} codebooks"] = corpus.sound(one.codes[:codebooks], one.codec)
        return figures.picture(figures.sounds(sounds, clip.text)), HTML(players(sounds, clip.text))

    return chooser({"sentence": _sentences([clip.text for clip in clips]),
                    "codebooks": widgets.IntSlider(1, 1, len(tokens[0].codes), continuous_update=False)}, kept)


def temperature(runs: list[Record], tokens: list[Tokens], corpus: Corpus, frames: int) -> widgets.Widget:
    """Choose a run, a sentence and a temperature; hear what the trained model says of it, and how much of that is the clip's.
    At most so many frames."""
    def said(run: int, sentence: int, temperature: float) -> tuple:
        one = tokens[sentence]
        codes, told = generate(load_model(runs[run]), one.text, frames, Sampling(temperature))
        words = (f"{token_match(one.codes, codes):.1%} of its tokens are the clip's own; {codes.shape[1]} frames of "
                 f"{one.codes.shape[1]}, {told['seconds']:.1f} s to say.")
        sound = players({"said": corpus.sound(codes, one.codec)}, one.text) if corpus.codec else ""
        return (HTML(f"<p>{words}</p>{sound}"),)

    names = [f"{run.identity['config']['model']['regime'].replace('_', ' ')}, seed {run.identity['config']['seed']}" for run in runs]
    return chooser({"run": widgets.Dropdown(options=[(name, i) for i, name in enumerate(names)]),
                    "sentence": _sentences([one.text for one in tokens]),
                    "temperature": widgets.FloatSlider(0.0, min=0.0, max=1.5, step=0.1, continuous_update=False)}, said)


def at_length(lengths: Record, frame_rate: float) -> widgets.Widget:
    """Choose a length; see what each core takes there, between the lengths that were measured as they lie on a logarithmic scale."""
    cores, measured = swept(lengths)

    def taken(seconds: float) -> tuple:
        frames = seconds * frame_rate

        def of(core: str, part: str) -> str:
            points = {n: np.median(times) for n, times in curve(lengths, core, part).items()}
            return f"{np.exp(np.interp(np.log(frames), np.log(list(points)), np.log(list(points.values())))):.1f}"

        rows = [{"core": core, "training step, ms": of(core, "step_ms"), "decoding of a frame, ms": of(core, "decode_ms")}
                for core in cores]
        return (HTML(table(pd.DataFrame(rows), f"At {frames:,.0f} frames, batch 1 ({lengths.name})")),)

    low, high = (n / frame_rate for n in (measured[0], measured[-1]))
    return chooser({"seconds": widgets.FloatSlider(low, min=low, max=high, step=0.5, continuous_update=False)}, taken)


def browser(report: Report, clips: list[Clip], tokens: list[Tokens], corpus: Corpus) -> widgets.Widget:
    """Choose a sentence, a core and a regime; see and hear it beside the ground truth and the codec's round trip."""
    def chosen(sentence: int, core: str, regime: str) -> tuple:
        clip, name = clips[sentence], of_regime(core, regime)
        everything = waves(report, clip, tokens[sentence], corpus)
        if name not in everything:
            raise ValueError(f"{named(core)} did not say this in the regime {regime}")
        sounds = {k: everything[k] for k in ("speech", "codec", name) if k in everything}
        return figures.picture(figures.sounds(sounds, clip.text)), HTML(players(sounds, clip.text))

    return chooser({"sentence": _sentences([clip.text for clip in clips]),
                    "core": _cores(core for core, _, _ in report.regimes()),
                    "regime": widgets.Dropdown(options=["causal", "as reported"])}, chosen)


def text_box(files: dict[str, Path]) -> widgets.Widget:
    """Type a text, choose a core among the checkpoints, which are of one language, what becomes of its state between sentences, how
    freely it draws and how soon it ends, of one trained for it how often the text is taken, of a masked one in how many rounds it
    speaks; hear it."""
    if not files:
        return widgets.Label("No core can speak yet: run the study of speech first (make report STUDY=standard).")
    language = language_of(next(iter(files.values())))
    text = widgets.Text(value="Dzień dobry, mówi sieć neuronowa." if language == "Polish" else "",
                        placeholder=f"a text in {language or 'its language'}", description="say", layout={"width": "60%"})
    core = _cores(files)
    core.description = "core"
    state = widgets.Dropdown(options=STATES, description="state")
    temperature = widgets.FloatSlider(0.0, min=0.0, max=1.5, step=0.1, description="temperature")
    end = widgets.FloatSlider(0.5, min=0.05, max=0.95, step=0.05, description="end from")
    guidance = widgets.FloatSlider(1.0, min=0.5, max=3.0, step=0.5, description="guidance")
    rounds = widgets.Dropdown(options=(1, 2, 4, 8, 16, 32), description="rounds")
    button, output = widgets.Button(description="Speak"), widgets.Output()

    def offer(_: object = None) -> None:
        """Only what the core can take."""
        way = core.value.rpartition("/")[0]
        for control, taken, usual in ((guidance, way == "guidance", 1.0), (rounds, way == "masked", 1),
                                      (state, way != "masked", STATES[0])):
            control.layout.display, control.value = None if taken else "none", control.value if taken else usual

    core.observe(offer, "value")
    offer()

    def said() -> tuple:
        sampling = Sampling(temperature.value, end=end.value, guidance=guidance.value, rounds=rounds.value)
        audio = read_checkpoint(files[core.value]).say(text.value, sampling, state.value)
        return (HTML(players({named(core.value): audio}, text.value)),)

    controls = text, core, state, temperature, end, guidance, rounds, button
    button.on_click(lambda _: _answer(output, controls, "speaking …", said))
    return widgets.VBox([widgets.HBox(controls, layout={"flex_flow": "row wrap"}), output])


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
