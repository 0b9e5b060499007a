"""A core that speaks any text: its sentences and pauses, its checkpoint, the command, the text box; and the leak audit."""
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib import records, speak
from lib.config import ModelConfig, SpeechConfig, TrainConfig, study
from lib.data.audio import SAMPLE_RATE, read_flac
from lib.data.codec import FRAME_RATE, load_codec
from lib.data.phrases import PAUSE, Group, phrases, say
from lib.data.phrases import plan as given_plan
from lib.data.reading import say_apart, sentences
from lib.measuring.influence import FRAMES, influence
from lib.models.codec_lm import CodecLM
from lib.models.durations import Durations
from lib.report.controls import text_box
from lib.speaking.speaker import REFERENCE, Speaker, checkpoints, language_of, read_checkpoint, write_checkpoint, write_errors
from lib.training.durations import predicted_plan, train_durations
from lib.training.memorise import train
from lib.training.speech import Data, Speech, train_speech

SAID = "Ala, kot. Kot! Ala."
CONFIG = ModelConfig("mamba_conv", "matched-1m", pattern="delay", conditioning="word", codebooks=2)
ALPHABET = tuple(sorted({PAUSE} | {name for group in say(SAID, "pl")[0] for name, _ in group.phonemes}))


@pytest.fixture
def untrained() -> Speaker:
    """Knows the phonemes of SAID, babbles, and never ends by itself."""
    model = CodecLM(replace(CONFIG, units="phonemes", alphabet=ALPHABET)).eval()
    torch.nn.init.constant_(model.end.bias, -50.0)
    return Speaker(model, Durations(len(ALPHABET)).eval(), load_codec("embedded"), "pl")


def silences(audio: np.ndarray, least: float) -> list[float]:
    """Seconds of the silences within audio that last so long: windows of 5 ms 40 dB under the peak."""
    loudest = np.abs(audio[:len(audio) // 120 * 120]).reshape(-1, 120).max(1)
    heard = np.flatnonzero(loudest > loudest.max() / 100)
    return [0.005 * (n - 1) for n in np.diff(heard) if 0.005 * (n - 1) >= least]


@pytest.mark.parametrize("core", ["mamba", "transformer"])
def test_pauses_are_heard_as_long_as_espeak_ng_makes_them(core):
    text = "Wróbel strzepnął wodę. Gdzie kupiłaś sukienkę? Uciekajmy, zaraz lunie deszcz! Tak."
    said = read_checkpoint(REFERENCE / f"{core}.safetensors").say(text)
    comma, = (g.frames / FRAME_RATE for sentence in say_apart(sentences(text), "pl") for g in sentence.groups if g.characters == ", ")
    assert silences(said, 0.15) == pytest.approx([0.4, 0.4, comma, 0.44], abs=0.04)


def test_durations_are_predicted_but_for_pauses(untrained):
    groups, _ = say("Ala, kot.", "pl")
    given = given_plan(groups, untrained.model.config)
    predicted, said = predicted_plan(untrained.durations, *given), untrained.plan(groups)
    assert given[0] == predicted[0] == said[0]
    for group, own, guessed, span in zip(groups, given[1], predicted[1], said[1], strict=True):
        assert span == (guessed if group.characters.isalpha() else own)
    assert any(own != guessed for own, guessed in zip(given[1], predicted[1]))


def spoken(*frames: int) -> tuple[Group, ...]:
    """Words and what separates them, by turns, of so many frames."""
    return tuple(Group(", ", ((PAUSE, n),)) if i % 2 else Group("a", (("ˈa", n),)) for i, n in enumerate(frames))


@pytest.mark.parametrize("frames,parts,pauses", [
    ((200, 15, 85), [(200, 15, 85)], [7]), ((200, 15, 86), [(200, 3), (86,)], [15, 7]),
    ((400, 9, 100, 4), [(400, 9, 100, 4)], [7]), ((200, 15, 150, 20, 160, 3), [(200, 3), (150, 3), (160, 3)], [15, 20, 7]),
    ((100, 40, 90, 12, 120, 30), [(100, 40, 90, 3), (120, 30)], [12, 7])])
def test_a_sentence_longer_than_training_is_cut_at_its_pauses(frames, parts, pauses, untrained):
    ids, spans = given_plan(spoken(*frames), untrained.model.config)
    cut = untrained.cut((ids, spans), 7)
    assert [tuple(span.frames for span in spans) for (_, spans), _ in cut] == parts
    assert [pause for _, pause in cut] == pauses
    assert [i for (part, _), _ in cut for i in part] == ids
    assert all(len(part) == sum(span.symbols for span in spans) for (part, spans), _ in cut)


@pytest.fixture
def checkpoint(workspace, monkeypatch):
    """A core that learned next to nothing, and can be asked to speak."""
    monkeypatch.setattr("lib.training.durations.STEPS", 5)
    codec = load_codec("embedded")
    few = phrases("test", 6, "pl", codec)
    data = Data(few, few[:1], few[:1], codec.digest)
    config = SpeechConfig(CONFIG, steps=1, batch=2)
    run = train_speech(config, Speech(6, 1, 1, "pl", "embedded", 3, 3), data)
    durations = train_durations(config.model, data)
    path = write_checkpoint(workspace / "checkpoints", "mamba_conv", run, durations)
    kept = workspace / "kept"       # the reference study has the record of a run, and its checkpoint
    shutil.copytree(run.folder, kept / "runs" / run.name, ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.rmtree(run.folder)
    monkeypatch.setattr("lib.records.REFERENCE", kept / "runs")
    monkeypatch.setattr("lib.speaking.speaker.REFERENCE", path.parent)
    again = train_speech(config, Speech(6, 1, 1, "pl", "embedded", 3, 3), data)
    assert write_checkpoint(kept / "again", "mamba_conv", again, durations).read_bytes() == path.read_bytes()
    assert not write_checkpoint(kept / "again", "guidance/mamba_conv", again, durations).exists()       # of which it kept none
    return path


def test_a_checkpoint_speaks_and_is_half_as_large(checkpoint):
    speaker = read_checkpoint(checkpoint)
    audio = speaker.say("Dzień dobry, mam 3 koty.")
    assert audio.ndim == 1 and 0 < len(audio) / SAMPLE_RATE < 30 and np.isfinite(audio).all()
    assert np.array_equal(audio, read_checkpoint(checkpoint).say("Dzień dobry, mam 3 koty."))
    numbers = sum(p.numel() for module in (speaker.model, speaker.durations) for p in module.parameters())
    assert checkpoint.stat().st_size < 2.1 * numbers
    longer = speaker.say("Dzień dobry, mam 3 koty. Czy to pies?")
    assert np.isfinite(longer).all() and len(longer) > 0


def test_the_command_writes_a_sound_or_says_what_is_wrong(checkpoint, workspace, monkeypatch, capsys):
    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["generate", *arguments, "--checkpoints", str(checkpoint.parent)])
        return speak.main()
    out = workspace / "said.flac"
    assert run("Ala ma kota.", "--core", "mamba_conv", "--out", str(out)) == 0
    assert 0 < len(read_flac(out.read_bytes())) / SAMPLE_RATE < 30 and "said.flac" in capsys.readouterr().out
    for arguments, words in ((("Ala.", "--core", "lstm"), "no core 'lstm'"), (("...", "--core", "mamba_conv"), "nothing to speak"),
                             (("Ala.", "--core", "mamba_conv", "--temperature", "-1"), "temperature is at least 0")):
        assert run(*arguments) == 1
        error = capsys.readouterr().err
        assert words in error and len(error.strip().splitlines()) == 1


def test_the_language_of_a_checkpoint_is_read_without_its_weights(tmp_path):
    assert language_of(REFERENCE / "mamba.safetensors") == "Polish"
    about = {"about": json.dumps({"config": {"model": {"language": "it"}}})}
    save_file({"a": torch.zeros(1)}, tmp_path / "it.safetensors", about)
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    assert [language_of(tmp_path / f"{name}.safetensors") for name in ("it", "cut", "gone")] == ["it", "", ""]


def test_a_checkpoint_that_is_not_whole_is_refused(checkpoint):
    whole = checkpoint.read_bytes()
    for content in (whole[:-7], b"", whole.replace(b'"codec_digest\\": \\"', b'"codec_digest\\": \\"0', 1)):
        checkpoint.write_bytes(content)
        with pytest.raises(ValueError, match="make it again"):
            read_checkpoint(checkpoint)
    checkpoint.write_bytes(whole)
    tensors = load_file(checkpoint)
    save_file({k: v for k, v in tensors.items() if "heads" not in k}, checkpoint)
    with pytest.raises(ValueError, match="damaged or of another version"):
        read_checkpoint(checkpoint)


def test_the_text_box_says_a_sentence_and_escapes_it(checkpoint):
    box = text_box({"mamba_conv": checkpoint})
    (text, core, state, temperature, end, *_, button), output = box.children[0].children, box.children[1]
    assert core.options == (("Mamba + convolution", "mamba_conv"),) and (temperature.value, end.value) == (0.0, 0.5) and state.options == ("reset", "carried", "window")
    text.value = "kot"
    button.click()
    assert "no core can speak" in text_box({}).value.lower()
    assert output is not None


def test_the_core_that_is_taken_unasked_is_the_one_with_the_least_error(checkpoint, monkeypatch):
    chosen = study("standard")
    folder = records.figures_root(chosen.label) / "checkpoints"
    folder.mkdir(parents=True)
    for core in ("mamba", "mamba_conv", "transformer", "conv"):
        shutil.copy(checkpoint, folder / f"{core}.safetensors")
    assert list(checkpoints(chosen))[0] == "conv"                       # by name, where nothing was heard
    for core, seeds in {"mamba": (2, 4), "transformer": (1, 3), "mamba_conv": (5,)}.items():
        records.note(chosen.label, f"said/headline/{core}", [records.save("said", {"core": core, "seed": seed}, {
            "config": {"model": {"core": core}, "seed": seed}, "rows": [
                {"split": split, "durations": durations, "phonemes": 10, "errors": wrong if split == "test" else 10 - wrong}
                for split in ("test", "hard") for durations, wrong in (("given", 10 - errors), ("predicted", errors))]})
            for seed, errors in enumerate(seeds)])
    write_errors(chosen)
    assert list(checkpoints(chosen)) == ["transformer", "mamba", "mamba_conv", "conv"]
    monkeypatch.setattr("sys.argv", ["speak", "kot", "--checkpoints", str(folder)])
    assert speak._arguments().core == text_box(checkpoints(chosen)).children[0].children[1].value == "transformer"


def test_checkpoints_are_the_study_s_before_the_reference(checkpoint, workspace):
    folder = workspace / "figures" / "smoke" / "checkpoints"
    folder.mkdir(parents=True)
    names = ("mamba_conv", "guidance/mamba", "masked/conv", "masked/mamba")
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.safetensors").write_bytes(checkpoint.read_bytes())
    assert checkpoints(study("smoke")) == {name: folder / f"{name}.safetensors" for name in names}


@pytest.mark.parametrize("core,regime,leaks", [("transformer", "causal", False), ("mamba_conv", "causal", False),
                                               ("mamba", "causal", False), ("transformer", "as_reported", True),
                                               ("mamba_conv", "as_reported", True)])
def test_a_leak_is_seen_where_there_is_one(core, regime, leaks, clips):
    run = train(TrainConfig(ModelConfig(core, regime=regime), clips=1, steps=1), clips[:1], [])
    audit = influence(run, clips[0])
    frames = min(FRAMES, clips[0].codes.shape[1])
    assert np.shape(audit.result["moved"]) == (frames, frames)
    assert (audit.result["leak"] > 0) == leaks
    assert np.triu(np.array(audit.result["moved"]), 1).any()            # and what came before does move it
    assert influence(run, clips[0]) == audit
