"""The step that a GPU records: replayed, it is CodecLM.step, frame after frame. What a CUDA graph does is done here on a
CPU by a recorder of the same rules: what runs is what was recorded, on the tensors of then, and nothing waits for a number."""
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lib.config import RECIPE, ModelConfig
from lib.data.codec import load_codec
from lib.measuring.profile import move
from lib.models.attention import Attention
from lib.models.codec_lm import BINS, CodecLM
from lib.models.cores import CORES, LACKING, SIZES
from lib.speaking import recorded as graphs
from lib.speaking.recorded import Recorded, cuda_graph, stepper
from lib.speaking.sampling import Sampling
from lib.speaking.stream import Voice

CAUSAL = [(core, size) for core in CORES for size in SIZES if core not in LACKING.get(size, ())]
EVERY = [*((core, size, "word", {}) for core, size in CAUSAL),
         *((core, size, "pooled", {"recipe": RECIPE}) for core, size in CAUSAL if size == "matched-1m"),
         *((core, size, conditioning, {}) for core, size in (("transformer", "seed"), ("interleaved", "matched-1m"))
           for conditioning in ("pooled", "prefix")),
         ("mamba", "seed", "unequal prefixes", {}), ("transformer", "matched-1m", "unequal prefixes", {}),
         *((core, "matched-1m", "prefix", {"window": 5}) for core in ("transformer", "interleaved"))]


class Recording(TorchDispatchMode):
    """Every operation on tensors while it is open; what they wrote is undone at the end."""

    def __init__(self):
        super().__init__()
        self.operations, self.before = [], []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a recorded step waits for a number")
        for argument, declared in zip(arguments, function._schema.arguments):
            if declared.alias_info and declared.alias_info.is_write:
                self.before.append((argument, argument.clone()))
        result = function(*arguments, **(named or {}))
        self.operations.append((function, arguments, named or {}, result))
        return result

    def replay(self):
        for function, arguments, named, result in self.operations:
            new = function(*arguments, **named)
            for kept, filled, declared in zip(*((r if isinstance(r, (tuple, list)) else [r]) for r in (result, new)),
                                              function._schema.returns):
                if isinstance(kept, torch.Tensor) and declared.alias_info is None:
                    kept.copy_(filled)


def record(run):
    recording = Recording()
    with recording:
        outputs = run()
    for tensor, value in reversed(recording.before):
        tensor.copy_(value)

    def replay():
        recording.replay()
        return outputs
    return replay


def made(core, size, conditioning, batch=2, frames=24, device="cpu", **fields):
    """A float64 model without gradients, and what its decoding state is made of."""
    torch.manual_seed(0)
    model = CodecLM(ModelConfig(core, size, conditioning=conditioning.split()[-1].removesuffix("es"), **fields)).double().to(device)
    model.eval().requires_grad_(False)
    told = torch.randn(batch, frames // 2, SIZES[size].width, dtype=torch.double, device=device) if conditioning == "word" else None
    text = torch.randint(40, (batch, 7), device=device)
    if conditioning == "unequal prefixes":
        text[0, 4:] = model.text_encoder.padding
    return model, (text, frames, told)


@pytest.mark.parametrize("core,size,conditioning,fields", EVERY)
def test_a_recorded_step_is_the_step_at_every_frame(core, size, conditioning, fields, monkeypatch):
    monkeypatch.setattr(graphs, "LEAST", 4)                             # caches are read at several lengths
    model, state = made(core, size, conditioning, **fields)
    codes = torch.randint(BINS, (24, 2, 4))
    expected, replayed = model.initial_state(*state), model.initial_state(*state)
    step = Recorded(model, replayed, record)
    for frame in codes:
        for theirs, ours in zip(model.step(frame, expected), step(frame)):
            assert (ours - theirs).abs().max() < 1e-12
    assert replayed.frames == expected.frames == 24
    if step.caches:
        rooms = [5] if "window" in fields else {"prefix": [8, 16, 31], "unequal prefixes": [8, 16, 28]}.get(conditioning, [4, 8, 16, 24])
        assert list(step.recordings) == rooms


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("core,size", [("transformer", "matched-1m"), ("transformer", "seed"), ("interleaved", "matched-1m")])
def test_with_a_window_a_model_steps_as_one_that_has_it(core, size, recorded, monkeypatch):
    monkeypatch.setattr(graphs, "LEAST", 4)
    model, (text, frames, _) = made(core, size, "pooled")
    codes, state = torch.randint(BINS, (frames, 2, 4)), model.initial_state(text, frames)
    step = stepper(model, state, window=5)
    if recorded:
        step = Recorded(model, state, record)
    logits = torch.stack([step(frame)[0].clone() for frame in codes], 2)            # (batch, codebooks, frames, 1024)
    assert all(cache.cache.shape[2] == 5 for cache in graphs.attention_states(state.core))
    windowed, _ = made(core, size, "pooled", window=5)                  # of the same weights
    codes = codes.permute(1, 2, 0)                                      # (batch, codebooks, frames): what comes before each
    x = windowed._place(windowed._embed(codes, windowed.told(text)))
    assert (windowed._read(windowed.core(x))[0] - logits).abs().max() < 1e-12
    assert (model._read(model.core(x))[0] - logits).abs().max() > 1e-3


@pytest.mark.parametrize("frames", [0, 3, 4, 11])
def test_a_cache_that_is_narrowed_keeps_the_last_frames(frames):
    layer, windowed = Attention(24, 3, True, True).double(), Attention(24, 3, True, True, window=4).double()
    windowed.load_state_dict(layer.state_dict())
    states, x = [one.initial_state(2, 20) for one in (layer, windowed)], torch.randn(2, 20, 24, dtype=torch.double)
    if frames:
        layer(x[:, :frames], states[0])
        windowed(x[:, :frames], states[1])
    states[0].narrow(4)
    for frame in x[:, frames:].unbind(1):
        assert torch.equal(states[0].cache, states[1].cache)
        torch.testing.assert_close(layer.step(frame, states[0]), windowed.step(frame, states[1]))
    states[1].narrow(2)                                                 # and again, from a ring
    assert torch.equal(states[1].cache, states[0].cache[:, :, [18 % 4, 19 % 4]])


@pytest.mark.parametrize("core,window", [("transformer", None), ("interleaved", 5), ("mamba_conv", None)])
def test_a_voice_that_makes_room_and_is_taken_up_again_says_the_same_by_recorded_steps(core, window, monkeypatch):
    monkeypatch.setattr(graphs, "LEAST", 4)
    monkeypatch.setattr(torch, "is_grad_enabled", lambda: True)         # no kernels, which nobody could record
    model, _ = made(core, "matched-1m", "word")
    told = torch.randn(20, SIZES["matched-1m"].width, dtype=torch.double)

    def recorded(model, state, window=None, guidance=1.0):
        for cache in graphs.attention_states(state.core) if window else ():
            cache.narrow(window)
        return Recorded(model, state, record)

    def said(taken_up: bool) -> np.ndarray:
        voice, sounds = Voice(model, load_codec(), Sampling(0.8), 6, window), []
        for i, frame in enumerate(told):
            if taken_up and i == 11:
                voice = Voice(model, load_codec(), Sampling(0.8), 6, window, voice.tensors())
            sounds.append(voice.step(frame)[0])
        return np.concatenate([*sounds, voice.close()])
    plain = said(False)
    monkeypatch.setattr("lib.speaking.stream.stepper", recorded)
    for taken_up in (False, True):
        assert np.array_equal(said(taken_up), plain)


def test_plain_steps_may_follow_recorded_ones():
    model, state = made("transformer_conv", "matched-1m", "pooled")
    codes = torch.randint(BINS, (9, 2, 4))
    expected, mixed = model.initial_state(*state), model.initial_state(*state)
    step = Recorded(model, mixed, record)
    for i, frame in enumerate(codes):
        theirs, ours = model.step(frame, expected)[0], (step(frame) if i < 5 else model.step(frame, mixed))[0]
        assert (ours - theirs).abs().max() < 1e-12


def test_a_recording_that_counts_in_python_is_found_out():
    model, state = made("transformer", "matched-1m", "pooled")
    codes = torch.randint(BINS, (2, 2, 4))
    expected, counted = model.initial_state(*state), model.initial_state(*state)
    replay = record(lambda: model.step(codes[0], counted))
    first, second = (model.step(frame, expected)[0].clone() for frame in codes)
    assert (replay()[0] - first).abs().max() < 1e-12
    codes[0] = codes[1]
    assert (replay()[0] - second).abs().max() > 1e-3


@pytest.mark.parametrize("size,conditioning,room,says", [("seed", "pooled", 1001, "size seed has positions for 1000"),
                                                         ("matched-1m", "prefix", 5, "the cache holds 12 frames")])
def test_a_frame_too_many_is_refused(size, conditioning, room, says):
    model, (text, _, _) = made("transformer", size, conditioning)
    state = model.initial_state(text, room)
    step = Recorded(model, state, record)
    if size == "seed":
        move(state, 1000)
    else:
        for _ in range(room):
            step(torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match=says):
        step(torch.zeros(2, 4, dtype=torch.long))


def test_on_a_cpu_the_step_is_the_models():
    model, state = made("mamba_conv", "matched-1m", "pooled")
    step, codes = stepper(model, model.initial_state(*state)), torch.zeros(2, 4, dtype=torch.long)
    assert not isinstance(step, Recorded)
    assert torch.equal(step(codes)[0], model.step(codes, model.initial_state(*state))[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("conditioning", ["pooled", "prefix", "word"])
def test_a_cuda_graph_is_the_step_at_every_frame(conditioning, monkeypatch):
    monkeypatch.setattr(graphs, "LEAST", 4)
    for core, size in CAUSAL:
        with torch.inference_mode():
            model, state = made(core, size, conditioning, device="cuda")
            codes = torch.randint(BINS, (24, 2, 4), device="cuda")
            expected, replayed = model.initial_state(*state), model.initial_state(*state)
            step = stepper(model, replayed)
            assert isinstance(step, Recorded) and step.record is cuda_graph
            for frame in codes:
                for theirs, ours in zip(model.step(frame, expected), step(frame)):
                    assert (ours - theirs).abs().max() < 1e-10, core
