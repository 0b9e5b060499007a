"""The parts of a timing are what they are called."""
import os
import signal
import time
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.config import ModelConfig, study
from lib.data.codec import EMBEDDED, Codec, load_codec
from lib.measuring import profile
from lib.models.build import build
from lib.models.codec_lm import CodecLM
from lib.speaking.recorded import attention_states


def test_the_embedded_codec_gives_its_first_samples_at_the_fourth_frame():
    assert profile.first_sound(load_codec(), 4) == (4, True)            # 3.5 frames late
    stream, frame = load_codec().stream(), np.zeros((4, 1), int)
    assert [len(stream.step(frame)) for _ in range(5)] == [0, 0, 0, 160, 320]


def test_a_codec_that_does_not_stream_decodes_its_first_frame_as_a_whole():
    decoded = []

    def decode(codes: torch.Tensor) -> torch.Tensor:
        decoded.append(codes.shape)
        return torch.zeros(1, 320)
    assert profile.first_sound(Codec("whole", EMBEDDED, None, decode), 8) == (1, False)
    assert decoded == [(8, 1, 1)]


@pytest.mark.parametrize("pattern, steps", [("parallel", 4), ("delay", 4 + 3)])
@pytest.mark.parametrize("conditioning", ["pooled", "prefix"])
def test_first_codes_are_a_prefill_and_the_steps_until_the_last_codebook_is_there(pattern, steps, conditioning, monkeypatch):
    model = CodecLM(ModelConfig("transformer", pattern=pattern, conditioning=conditioning)).eval()
    step, initial_state, calls = model.step, model.initial_state, []

    def slow(function):
        def call(*arguments):
            calls.append(function.__name__)
            time.sleep(0.01)
            return function(*arguments)
        return call
    monkeypatch.setattr(model, "step", slow(step))
    monkeypatch.setattr(model, "initial_state", slow(initial_state))
    assert 10 * (1 + steps) < profile.first_codes(model, 4, 30)
    assert calls == ["initial_state", *["step"] * steps]


def test_first_audio_holds_the_codecs_part(monkeypatch):
    configs = [vars(ModelConfig(core)) for core in ("transformer", "mamba")]

    def slow(codec: Codec, codebooks: int) -> tuple[int, bool]:
        time.sleep(0.1)
        return 2, True
    monkeypatch.setattr(profile, "first_sound", slow)
    result = profile.task_steps(configs, frames=6, repeats=2, codec=str(EMBEDDED))
    sound = result["sound"]
    assert (sound["frames"], sound["streams"], len(sound["ms"])) == (2, True, 2) and min(sound["ms"]) >= 100
    for parts in result["cores"].values():
        assert len(parts["first_audio_ms"]) == 2 and len(parts["decode_ms"]) == 1
        assert all(audio > codec for audio, codec in zip(parts["first_audio_ms"], sound["ms"]))


def test_without_a_codec_first_audio_is_left_out():
    result = profile.task_steps([vars(ModelConfig("mamba"))], frames=6, repeats=1, codec=None)
    assert result["sound"] is None and "first_audio_ms" not in result["cores"]["mamba"]


@pytest.mark.parametrize("core", ["transformer", "transformer_conv", "mamba_conv"])
def test_a_moved_state_has_its_caches_filled(core):
    model = build(ModelConfig(core=core, size="matched-1m"))
    state = model.initial_state(torch.zeros(1, 3, dtype=torch.long), 100)
    profile.move(state, 90)
    caches = list(attention_states(state.core))
    assert state.frames == 90 and len(caches) == (0 if core == "mamba_conv" else 4)
    assert all(cache.frames == state.characters + 90 for cache in caches)


def stepped(monkeypatch) -> list[int]:
    """The frame of every step of decoding from here on."""
    positions, step = [], CodecLM.step
    monkeypatch.setattr(CodecLM, "step", lambda model, previous, state: [positions.append(state.frames),
                                                                         step(model, previous, state)][1])
    return positions


def test_decoding_is_timed_over_the_whole_utterance(monkeypatch):
    """Once for the record, after a few frames to warm up: not over its first frames, which cost attention less."""
    positions = stepped(monkeypatch)
    parts = profile.task_steps([vars(ModelConfig("transformer"))], frames=70, repeats=4, codec=None)["cores"]["transformer"]
    assert positions == [*range(profile.WARM_UP), *range(70)] and len(parts["decode_ms"]) == len(parts["prefill_ms"]) == 1
    assert len(parts["step_ms"]) == 4


def test_a_frame_of_decoding_is_the_mean_over_the_frames_after_the_first(monkeypatch):
    monkeypatch.setattr(profile, "timed", lambda function: (function(), 100.0))
    assert profile.decode_times(build(ModelConfig("mamba")).eval(), 0, 5) == {"prefill_ms": 100, "decode_ms": 25}


SPEECH = ModelConfig("transformer", "matched-1m", pattern="delay", codebooks=2, units="phonemes", alphabet=("_", "a", "b"))


@pytest.mark.parametrize("conditioning", ["prefix", "utterance", "word", "phoneme", "neighbours"])
def test_the_models_of_the_study_of_speech_are_timed_whatever_their_frames_are_told(conditioning, monkeypatch):
    config, told = vars(SPEECH) | {"conditioning": conditioning}, []
    forward = CodecLM.told
    monkeypatch.setattr(CodecLM, "told", lambda model, text, guide=None: [told.append(guide), forward(model, text, guide)][1])
    monkeypatch.setattr(profile, "WARM_UP", 60)
    parts = profile.task_steps([config], frames=60, repeats=1, codec=str(EMBEDDED))["cores"]["transformer"]
    assert all(parts[part] for part in ("step_ms", "prefill_ms", "decode_ms", "first_audio_ms"))
    assert bool(told) == (conditioning != "prefix")
    assert all(guide.where[0, 0] == 0 and guide.where[0, -1] == profile.CHARACTERS - 1 for guide in told)
    assert {guide.where.shape[1] for guide in told} <= {60, 61}        # the delay makes an utterance a frame longer


def test_the_timing_of_given_models_says_their_size_and_how_much_they_decoded(monkeypatch):
    models = [SPEECH, ModelConfig("mamba", "matched-1m")]
    asked = []

    def measured(task, **arguments) -> dict:
        asked.append(arguments["configs"])
        return {"cores": {c["core"]: {} for c in arguments["configs"]}, "sound": None}
    monkeypatch.setattr(profile, "in_fresh_process", measured)
    run = profile.profile_steps(study("smoke"), SimpleNamespace(codec=None), models)
    assert (run.result["size"], run.result["decoded"], list(run.result["parameters"])) == ("matched-1m", 75, ["transformer", "mamba"])
    assert asked == [[asdict(model) for model in models]] * 2
    assert run.result["parameters"]["transformer"] == sum(p.numel() for p in CodecLM(SPEECH).parameters())


@pytest.mark.parametrize("name, phrases, size, cores", [
    ("smoke", 0, "matched-3m", ["transformer", "mamba_conv", "mamba"]), ("quick", 600, "matched-1m", ["transformer", "mamba_conv", "mamba"]),
    ("standard", 9600, "matched-1m", ["transformer", "mamba_conv", "mamba", "interleaved"])])
def test_cost_with_equal_parameters_is_of_the_models_whose_speech_is_judged(name, phrases, size, cores):
    models = profile.equal_models(study(name, phrases=phrases), SimpleNamespace(language="pl", alphabet="ab"))
    assert [model.core for model in models] == cores and {model.size for model in models} == {size}
    asked = profile.equal_models(study("quick", cores=["mamba_conv_3_5", "mamba2"]), SimpleNamespace(language="pl", alphabet="ab"))
    assert [model.core for model in asked] == ["mamba2", "transformer", "mamba_conv", "mamba"]         # the first lacks the size


def test_times_of_another_day_are_measured_once_more(monkeypatch):
    monkeypatch.setattr(profile, "in_fresh_process", lambda task, **arguments: {"cores": {}, "sound": None})
    runs = [profile.profile_steps(study("smoke", again=again), SimpleNamespace(codec=None), [SPEECH]) for again in (None, "tuesday", "tuesday")]
    assert runs[0].key != runs[1].key == runs[2].key


def left_behind() -> dict:
    """What an earlier measurement left in this process: nothing."""
    seen = vars(profile).setdefault("seen", [])
    seen.append(os.getpid())
    return {"process": os.getpid(), "before": len(seen) - 1}


def killed() -> dict:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_a_fresh_process_knows_nothing_of_an_earlier_one_nor_of_this():
    left_behind()
    first, second = profile.in_fresh_process(left_behind), profile.in_fresh_process(left_behind)
    assert first["before"] == second["before"] == 0
    assert len({first["process"], second["process"], os.getpid()}) == 3


def test_a_process_that_is_killed_is_said_to_be():
    with pytest.raises(RuntimeError, match="killed: its process was killed, perhaps for want of memory"):
        profile.in_fresh_process(killed)
