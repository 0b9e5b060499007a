"""The controls of the notebooks: what their handlers show, and what is seen while they work."""
from dataclasses import asdict
from types import SimpleNamespace

import ipywidgets as widgets
import numpy as np
import pytest
from matplotlib import pyplot as plt

from lib import records
from lib.config import TrainConfig, study
from lib.data.audio import flac
from lib.data.corpus import Clip
from lib.data.tokens import Tokens
from lib.measuring.listening import sound_file
from lib.report import controls
from lib.report.results import of_runs
from lib.speaking.sampling import Sampling

SOUND = np.sin(np.arange(2400) / 10).astype(np.float32)


@pytest.fixture
def shown(monkeypatch) -> list:
    """What was put into the output last."""
    last = []
    monkeypatch.setattr(controls, "display", lambda *objects: last.__setitem__(slice(None), objects))
    return last


@pytest.fixture
def box(monkeypatch, tmp_path) -> SimpleNamespace:
    """A text box whose core `says` what is set, and the state of its controls while that was said."""
    made = SimpleNamespace(says=lambda text: SOUND, seen=[])

    def say(text: str, sampling: Sampling, state: str) -> np.ndarray:
        made.seen.append((made.button.disabled, made.button.description, made.text.disabled, made.core.disabled, sampling, state))
        return made.says(text)

    monkeypatch.setattr(controls, "read_checkpoint", lambda path: SimpleNamespace(say=say))
    monkeypatch.setattr(controls, "language_of", lambda path: "Polish")
    row, made.output = controls.text_box({name: tmp_path / f"{name}.safetensors" for name in (
        "mamba_conv", "guidance/mamba", "masked/mamba")}).children
    made.text, made.core, made.state, made.temperature, made.end, made.guidance, made.rounds, made.button = row.children
    return made


def ready(box: SimpleNamespace) -> bool:
    return not (box.button.disabled or box.text.disabled or box.core.disabled) and box.button.description == "Speak"


def test_the_button_is_still_and_says_so_until_the_sound_is_there(box, shown, capsys):
    box.text.value, box.state.value, box.temperature.value, box.end.value = "kot <b>", "window", 0.7, 0.3
    box.button.click()
    assert box.seen == [(True, "speaking …", True, True, Sampling(0.7, end=0.3), "window")] and ready(box)
    assert "speaking …" in capsys.readouterr().out
    sound, = shown
    assert "<audio" in sound.data and "kot &lt;b&gt;" in sound.data


def test_guidance_and_rounds_are_offered_to_the_cores_that_take_them_alone(box):
    assert [label for label, _ in box.core.options] == ["Mamba + convolution", "Mamba, guidance", "Mamba, masked"]
    offered = {}
    for core in ("mamba_conv", "guidance/mamba", "masked/mamba", "mamba_conv"):
        box.core.value = core
        offered[core] = [name for name in ("state", "guidance", "rounds") if getattr(box, name).layout.display != "none"]
        for control, value in ((box.guidance, 2.0), (box.rounds, 8), (box.state, "carried")):
            if control.layout.display != "none":
                control.value = value
        box.button.click()
    assert offered == {"mamba_conv": ["state"], "guidance/mamba": ["state", "guidance"], "masked/mamba": ["rounds"]}
    assert [(sampling, state) for *_, sampling, state in box.seen] == [
        (Sampling(), "carried"), (Sampling(guidance=2.0), "carried"), (Sampling(rounds=8), "reset"), (Sampling(), "carried")]


@pytest.mark.parametrize("language, value, hint", [("Polish", "Dzień dobry, mówi sieć neuronowa.", "a text in Polish"),
                                                   ("it", "", "a text in it"), ("", "", "a text in its language")])
def test_the_text_that_stands_in_the_box_is_in_the_language_of_the_cores(language, value, hint, monkeypatch, tmp_path):
    monkeypatch.setattr(controls, "language_of", lambda path: language)
    text = controls.text_box({"mamba": tmp_path / "mamba.safetensors"}).children[0].children[0]
    assert (text.value, text.placeholder) == (value, hint)


@pytest.mark.parametrize("error, line", [
    (ValueError("nothing to speak in '...'"), "<p>nothing to speak in &#x27;...&#x27;</p>"),
    (RuntimeError("two\n  lines"), "<p>RuntimeError two lines</p>"), (KeyError("x"), "<p>KeyError &#x27;x&#x27;</p>"),
    (FileNotFoundError(2, "No such file", "a.flac"), "<p>FileNotFoundError [Errno 2] No such file: &#x27;a.flac&#x27;</p>"),
    (KeyboardInterrupt(), "<p>KeyboardInterrupt</p>"), (ValueError(), "<p>ValueError</p>")])
def test_whatever_is_raised_is_one_line_and_the_button_works_again(error, line, box, shown):
    def fail(text: str) -> np.ndarray:
        raise error

    box.says = fail
    box.button.click()
    assert [one.data for one in shown] == [line] and ready(box)
    box.says = lambda text: SOUND
    box.button.click()
    assert "<audio" in shown[0].data and len(box.seen) == 2 and ready(box)


@pytest.fixture
def heard() -> tuple:
    """A report of one core in one regime that said the first of two sentences; the sentences, their codes, a corpus."""
    run = records.save("train", {"config": asdict(TrainConfig())}, {})
    report = of_runs(study("smoke"), [run])
    report.heard[run.name] = records.save("listen", {}, {}, {sound_file("t0"): flac(SOUND)})
    clips = [Clip("t0", "kot <b>", SOUND), Clip("t1", "pies", SOUND)]
    tokens = [Tokens(clip.id, clip.text, np.zeros((4, 8), np.int16), "c") for clip in clips]
    return report, clips, tokens, SimpleNamespace(sound=lambda codes, codec: SOUND)


def test_the_browser_shows_what_is_chosen_and_is_still_while_it_draws(heard, shown, monkeypatch):
    states, drawn = [], controls.figures.sounds
    monkeypatch.setattr(controls.figures, "sounds", lambda *given: [states.append([c.disabled for c in turned]), drawn(*given)][1])
    turned = []
    *turned, output = controls.browser(*heard).children
    sentence, core, regime = turned
    assert core.options == (("Transformer", "transformer"),) and isinstance(output, widgets.Output)
    picture, sound = shown
    assert picture.data.startswith("<svg") and sound.data.count("<audio") == 3 and "kot &lt;b&gt;" in sound.data
    regime.value = "as reported"
    assert [one.data for one in shown] == ["<p>Transformer did not say this in the regime as reported</p>"]
    regime.value = "causal"
    assert shown[1].data == sound.data and states[-1] == [True] * 3
    sentence.value = 1                                                      # which it was not heard with
    assert [one.data for one in shown] == ["<p>Transformer did not say this in the regime causal</p>"]
    assert not any(c.disabled for c in turned) and not plt.get_fignums()


def test_a_sound_that_is_damaged_is_one_line_in_the_browser(heard, shown):
    path, = heard[0].heard.values()
    (path.folder / sound_file("t0")).write_bytes(b"")
    controls.browser(*heard)
    line, = shown
    assert "is missing or damaged" in line.data and "\n" not in line.data


def test_codebooks_are_kept_as_chosen(heard, shown):
    kept = []
    corpus = SimpleNamespace(sound=lambda codes, codec: (kept.append(codes.shape), SOUND)[1])
    *controlled, _ = controls.codebooks(*heard[1:3], corpus).children
    controlled[1].value = 3
    assert kept == [(1, 8), (3, 8)] and (controlled[1].min, controlled[1].max) == (1, 4)
    assert shown[0].data.startswith("<svg") and "3 of 4 codebooks: kot &lt;b&gt;" in shown[1].data


def test_a_trained_run_speaks_at_the_temperature_chosen(heard, shown, monkeypatch):
    report, _, tokens, _ = heard
    seen = []

    def generate(model: object, text: str, frames: int, sampling) -> tuple:
        seen.append((model, text, frames, sampling.temperature))
        return np.zeros((4, 8), np.int16), {"seconds": 0.25}

    monkeypatch.setattr(controls, "load_model", lambda run: run.name)
    monkeypatch.setattr(controls, "generate", generate)
    runs = report.causal["transformer"]
    run, sentence, temperature, _ = controls.temperature(runs, tokens, SimpleNamespace(sound=heard[3].sound, codec=1), 9).children
    temperature.value = 0.7
    assert seen == [(runs[0].name, "kot <b>", 9, 0.0), (runs[0].name, "kot <b>", 9, 0.7)]
    assert [label for label, _ in run.options] == ["causal, seed 0"] and len(sentence.options) == 2
    assert "<p>100.0% of its tokens are the clip's own; 8 frames of 8, 0.2 s to say.</p>" in shown[0].data and "<audio" in shown[0].data


def test_costs_are_read_between_the_lengths_that_were_measured(shown):
    run = records.save("lengths", {}, {"processes": [{core: [
        {"frames": n, "step_ms": [cost * n * factor], "decode_ms": [1.0]} for n in (75, 300)] for core, cost in (("mamba", 1), ("transformer", 2))}
        for factor in (0.9, 1.0, 1.1)]})
    length, _ = controls.at_length(run, 75).children
    assert (length.min, length.max) == (1, 4) and "<td class=\"number\">75.0</td>" in shown[0].data
    length.value = 2                                                        # 150 frames, halfway on a logarithmic scale
    assert "150.0</td>" in shown[0].data and "300.0</td>" in shown[0].data and run.name in shown[0].data
