"""A core that speaks any sentence: its checkpoint, the command, the text box; and the leak audit."""
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from lib import speak
from lib.config import ModelConfig, SpeechConfig, TrainConfig, study
from lib.data.audio import SAMPLE_RATE, read_flac
from lib.data.codec import load_codec
from lib.data.phrases import phrases
from lib.measuring.influence import FRAMES, influence
from lib.report.listening import text_box
from lib.speaking.speaker import checkpoints, read_checkpoint, write_checkpoint
from lib.training.durations import train_durations
from lib.training.memorise import train
from lib.training.speech import Data, Speech, train_speech


@pytest.fixture
def checkpoint(workspace, monkeypatch):
    """A core that learned next to nothing, and can be asked to speak."""
    monkeypatch.setattr("lib.training.durations.STEPS", 5)
    codec = load_codec("embedded")
    few = phrases("test", 6, "pl", codec)
    data = Data(few, few[:1], few[:1], codec.digest)
    config = SpeechConfig(ModelConfig("mamba_conv", "matched-1m", pattern="delay", conditioning="word", codebooks=2), steps=1, batch=2)
    run = train_speech(config, Speech(6, 1, 1, "pl", "embedded", 3, 3), data)
    durations = train_durations(config.model, data)
    path = write_checkpoint(workspace / "checkpoints" / "mamba_conv.safetensors", run, durations)
    kept = workspace / "kept"       # the reference study has the record of a run, and its checkpoint
    shutil.copytree(run.folder, kept / "runs" / run.name, ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.rmtree(run.folder)
    monkeypatch.setattr("lib.records.REFERENCE", kept / "runs")
    monkeypatch.setattr("lib.speaking.speaker.REFERENCE", path.parent)
    again = write_checkpoint(kept / "again" / path.name, train_speech(config, Speech(6, 1, 1, "pl", "embedded", 3, 3), data), durations)
    assert again.read_bytes() == path.read_bytes()
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
    (text, core, button), output = box.children[0].children, box.children[1]
    assert core.options == ("mamba_conv",)
    text.value = "kot"
    button.click()
    assert "no core can speak" in text_box({}).value.lower()
    assert output is not None


def test_checkpoints_are_the_study_s_before_the_reference(checkpoint, workspace):
    folder = workspace / "figures" / "smoke" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "mamba_conv.safetensors").write_bytes(checkpoint.read_bytes())
    assert checkpoints(study("smoke")) == {"mamba_conv": folder / "mamba_conv.safetensors"}


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
