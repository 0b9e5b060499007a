"""The shell and every core: sizes, causality, step by step against all at once."""
from copy import deepcopy

import pytest
import torch

from lib.config import ModelConfig
from lib.metrics.cost import parameters
from lib.models.attention import Attention
from lib.models.codec_lm import START, CodecLM, losses
from lib.models.cores import AS_REPORTED, CORES, LACKING, SIZES, build_core
from lib.models.linear import Linear, frame_linear, frame_linear_reference
from lib.models.mamba import Mamba

CAUSAL = [(core, size) for core in CORES for size in SIZES if core not in LACKING.get(size, ())]
REPORTED = [(core, size) for core in AS_REPORTED for size in SIZES]
ALL = [(*one, "causal") for one in CAUSAL] + [(*one, "as_reported") for one in REPORTED]
either_conditioning = pytest.mark.parametrize("conditioning", ["pooled", "prefix"])
SEED_TOTALS = {"transformer": 5_735_297, "mamba_conv": 3_165_569}


def model(core: str, size: str, regime: str = "causal", conditioning: str = "pooled") -> CodecLM:
    return CodecLM(ModelConfig(core, size, regime, conditioning=conditioning)).eval()


def numbers(state) -> list[torch.Tensor]:
    """All tensors in a state."""
    if isinstance(state, torch.Tensor):
        return [state]
    parts = state if isinstance(state, list) else vars(state).values() if hasattr(state, "__dict__") else []
    return [tensor for part in parts for tensor in numbers(part)]


def inputs(frames: int, batch: int = 2, characters: int = 7):
    return torch.randint(1024, (batch, 4, frames)), torch.randint(43, (batch, characters))


@pytest.mark.parametrize("core,size", CAUSAL)
@either_conditioning
@pytest.mark.parametrize("characters,frames", [(1, 1), (7, 1), (1, 2), (7, 5), (7, 37)])
@torch.inference_mode()
def test_step_by_step_is_the_full_forward(core, size, conditioning, characters, frames):
    lm, (codes, text) = model(core, size, conditioning=conditioning).double(), inputs(frames, characters=characters)
    logits, end = lm(codes, text)
    state, previous = lm.initial_state(text, frames), torch.full((2, 4), START)
    for t in range(frames):
        step_logits, step_end = lm.step(previous, state)
        torch.testing.assert_close(step_logits, logits[:, :, t], atol=1e-9, rtol=1e-7)
        torch.testing.assert_close(step_end, end[:, t], atol=1e-9, rtol=1e-7)
        previous = codes[:, :, t]


@pytest.mark.parametrize("core,size", CAUSAL)
@torch.inference_mode()
def test_in_float32_stepping_is_the_full_forward_and_the_exact_one(core, size):
    lm, (codes, text) = model(core, size), inputs(37)
    before = torch.cat([torch.full((2, 4, 1), START), codes[..., :-1]], 2)
    state, full = lm.initial_state(text, 37), lm(codes, text)[0]
    stepped = torch.stack([lm.step(frame, state)[0] for frame in before.unbind(2)], 2)
    for want in (full, lm.double()(codes, text)[0].float()):
        torch.testing.assert_close(stepped, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("core,size", CAUSAL)
@pytest.mark.parametrize("frames", [1, 2, 3, 20])
@pytest.mark.parametrize("grad", [False, True])                         # without gradients a step takes the kernels
def test_forward_leaves_the_state_that_stepping_leaves(core, size, frames, grad):
    with torch.inference_mode(not grad):
        built, width = build_core(core, size, True).double(), SIZES[size].width
        x, more = torch.randn(2, frames, width, dtype=torch.double), torch.randn(2, width, dtype=torch.double)
        at_once, stepped = built.initial_state(2, 25), built.initial_state(2, 25)
        y = built(x, at_once)
        torch.testing.assert_close(torch.stack([built.step(f, stepped) for f in x.unbind(1)], 1), y)
        for a, b in zip(numbers(at_once), numbers(stepped), strict=True):
            torch.testing.assert_close(a, b)
        torch.testing.assert_close(built.step(more, at_once), built.step(more, stepped))


@pytest.mark.parametrize("core,size", CAUSAL)
@torch.inference_mode()
def test_a_row_of_a_batch_decodes_to_the_bits_that_it_has_alone(core, size):
    lm, (codes, text) = model(core, size), inputs(12, batch=3)
    text[0, 3:] = text[2, 5:] = 43
    together, alone = lm.initial_state(text, 12), [lm.initial_state(row[None], 12) for row in text]
    for frame in codes.unbind(2):
        logits, end = lm.step(frame, together)
        single = [lm.step(row[None], state) for row, state in zip(frame, alone)]
        assert torch.equal(logits, torch.cat([one for one, _ in single]))
        assert torch.equal(end, torch.cat([one for _, one in single]))


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("batch,groups,out,width", [(1, 1, 33, 7), (3, 1, 5, 256), (2, 8, 32, 96), (3, 40, 1, 4)])
@torch.inference_mode()
def test_linear_map_of_a_frame(batch, groups, out, width, dtype, tolerance):
    x, weight = torch.randn(batch, 2 * groups * width).to(dtype).chunk(2, 1)[1], torch.randn(groups * out, width).to(dtype)
    for bias in (None, torch.randn(groups * out).to(dtype)):
        want = frame_linear_reference(x.double(), weight.double(), None if bias is None else bias.double(), groups)
        for way in (frame_linear, frame_linear_reference):
            got = way(x, weight, bias, groups)
            assert got.dtype == dtype
            torch.testing.assert_close(got.double(), want, atol=tolerance, rtol=tolerance)


def test_linear_is_nn_linear_and_has_its_gradients():
    ours, x = Linear(6, 5), torch.randn(3, 6, requires_grad=True)
    expected = torch.nn.functional.linear(x, ours.weight, ours.bias)
    for a, b in zip(torch.autograd.grad(ours(x).sum(), (x, ours.weight, ours.bias)),
                    torch.autograd.grad(expected.sum(), (x, ours.weight, ours.bias))):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("start", [0, 7, 300])
@pytest.mark.parametrize("build", [lambda: Mamba(32), lambda: Mamba(24, 37), lambda: Attention(64, 8, True, True),
                                   lambda: Attention(48, 3, True, False)])
@pytest.mark.parametrize("scale", [1, 6])
@torch.inference_mode()
def test_one_frame_by_the_kernel(build, scale, start, dtype, tolerance):
    """Against float64 in torch, relative to the largest number; after frames at once or none, at large values too."""
    def agrees(got, want):
        assert (got.double() - want).abs().max() <= tolerance * want.abs().max()

    layer = build().to(dtype)
    exact = deepcopy(layer).double()
    width = (layer.in_proj if isinstance(layer, Mamba) else layer.qkv).in_features
    before, frames = scale * torch.randn(3, start, width), scale * torch.randn(9, 3, width)
    states = [one.initial_state(3, start + 9) for one in (layer, exact)]
    if start:
        layer(before.to(dtype), states[0])
        exact(before.double(), states[1])
    for frame in frames:
        got, want = layer.step(frame.to(dtype), states[0]), exact.step_reference(frame.double(), states[1])
        assert got.dtype == dtype
        agrees(got, want)
    for name, got in vars(states[0]).items():
        agrees(torch.as_tensor(got), torch.as_tensor(getattr(states[1], name)))


def test_training_after_decoding():
    lm, (codes, text) = model("transformer", "matched-3m"), inputs(9)
    with torch.inference_mode():
        lm(codes, text)
    lm(codes, text)[0].sum().backward()


@pytest.mark.parametrize("core,size", CAUSAL)
@either_conditioning
@torch.inference_mode()
def test_causal_output_sees_no_later_frame(core, size, conditioning):
    lm, (codes, text) = model(core, size, conditioning=conditioning), inputs(20)
    changed = codes.clone()
    changed[:, :, 11] = (changed[:, :, 11] + 1) % 1024
    (before, _), (after, _) = lm(codes, text), lm(changed, text)
    assert torch.equal(before[:, :, :12], after[:, :, :12])     # frame 11 itself is a target of output 11, not an input
    assert not torch.allclose(before[:, :, 12], after[:, :, 12])


@pytest.mark.parametrize("core,reach", [("pointwise", 1), ("conv", 49)])
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_a_frame_reaches_just_so_many_outputs(core, size, reach):
    built, x = build_core(core, size, True).double(), torch.randn(2, 70, SIZES[size].width, dtype=torch.double)
    changed = x.clone()
    changed[:, 11] += 1
    moved = (built(x) != built(changed)).any(-1)                        # (batch, frames)
    assert moved.tolist() == [[11 <= t < 11 + reach for t in range(70)]] * 2


def test_pointwise_has_no_state():
    built = build_core("pointwise", "matched-3m", True)
    assert numbers(built.initial_state(2, 9)) == [] and built.state_bytes(9) == 0


@pytest.mark.parametrize("core,kernels", [("mamba", []), ("mamba_conv", [3]), ("mamba_conv_3_5", [3, 5]),
                                          ("mamba_conv_9_11", [9, 11])])
def test_the_hybrid_has_a_convolution_for_each_kernel(core, kernels):
    layer = build_core(core, "matched-3m", True).layers[0]
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters() if not name.startswith("mamba.")}
    expected = {"norm.weight": (256,), "norm.bias": (256,)}
    for i, kernel in enumerate(kernels):
        expected |= {f"conv{i or ''}.conv.weight": (256, 32, kernel), f"conv{i or ''}.conv.bias": (256,),
                     "fuse.weight": (256, 256 * (1 + len(kernels))), "fuse.bias": (256,)}
    assert shapes == expected


@pytest.mark.parametrize("core,size", REPORTED)
@either_conditioning
@torch.inference_mode()
def test_as_reported_output_sees_its_own_target(core, size, conditioning):
    lm, (codes, text) = model(core, size, "as_reported", conditioning), inputs(20)
    changed = codes.clone()
    changed[:, :, 11] = (changed[:, :, 11] + 1) % 1024
    (before, _), (after, _) = lm(codes, text), lm(changed, text)
    assert not torch.allclose(before[:, :, 11], after[:, :, 11])
    with pytest.raises(ValueError, match="no state"):
        lm.initial_state(text, 20)


@pytest.mark.parametrize("core,size,regime", ALL)
@torch.inference_mode()
def test_a_row_of_a_batch_is_what_it_is_alone(core, size, regime):
    lm, (codes, text) = model(core, size, regime, "prefix").double(), inputs(5, batch=3)
    lengths = (3, 7, 1) if regime == "causal" else (7, 7, 7)
    for row, length in enumerate(lengths):
        text[row, length:] = 43
    logits, end = lm(codes, text)
    for row, length in enumerate(lengths):
        alone, alone_end = lm(codes[[row]], text[[row], :length])
        torch.testing.assert_close(logits[[row]], alone, atol=1e-9, rtol=1e-7)
        torch.testing.assert_close(end[[row]], alone_end, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("core,size,regime", [one for one in ALL if one[0] != "pointwise"])
def test_every_frame_reads_the_prefix(core, size, regime):
    lm, (codes, text) = model(core, size, regime, "prefix"), inputs(20)
    changed = text.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 43
    logits = lm(codes, text)[0]
    moved = (logits - lm(codes, changed)[0]).abs().amax((1, 3))         # (batch, frames)
    assert (moved > 0).all()
    logits[:, :, -1].square().sum().backward()
    still = [n for n, p in lm.text_encoder.named_parameters() if not p.grad.abs().sum() > 0]
    assert still == []


@torch.inference_mode()
def test_a_prefix_is_decoded_for_texts_of_one_length():
    lm, (codes, text) = model("transformer", "matched-3m", conditioning="prefix"), inputs(1)
    assert parameters(lm) == parameters(model("transformer", "matched-3m"))
    padded = torch.cat([text, torch.full((2, 2), 43)], 1)
    first = [lm.step(torch.full((2, 4), START), lm.initial_state(t, 1))[0] for t in (text, padded)]
    torch.testing.assert_close(*first)
    padded[0, 4:] = 43
    with pytest.raises(ValueError, match="texts of 4 to 7 characters"):
        lm.initial_state(padded, 1)


def test_seed_sizes():
    assert parameters(build_core("transformer", "seed", True)) == 3_162_624
    for core, total in SEED_TOTALS.items():
        assert parameters(model(core, "seed")) == pytest.approx(total, rel=0.01)
    assert parameters(build_core("mamba_conv", "seed", True)) == pytest.approx(592_896, rel=0.01)


@pytest.mark.parametrize("size", [size for size in SIZES if size != "seed"])
def test_matched_sizes_have_equal_parameters_within_one_percent(size):
    counts = [parameters(build_core(core, size, True)) for core in CORES if core not in LACKING.get(size, ())]
    assert max(counts) / min(counts) < 1.01


@pytest.mark.parametrize("core,size", CAUSAL)
def test_every_parameter_gets_a_gradient(core, size):
    lm, (codes, text) = model(core, size), inputs(9)
    cross_entropy, end_loss, _ = losses(*lm(codes, text), codes, torch.tensor([9, 9]))
    (cross_entropy + end_loss).backward()
    still = [n for n, p in lm.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_padding_of_a_shorter_clip_changes_neither_its_loss_nor_its_text():
    lm, (codes, text) = model("mamba_conv", "seed"), inputs(12, batch=1)
    padded = torch.cat([codes, torch.full((1, 4, 5), START)], 2)
    padded_text = torch.cat([text, torch.full((1, 6), 43)], 1)
    lengths = torch.tensor([12])
    alone = losses(*lm(codes, text), codes, lengths)
    beside = losses(*lm(padded, padded_text), padded, lengths)
    for a, b in zip(alone, beside):
        torch.testing.assert_close(a, b)


def test_accuracy_counts_right_tokens_per_codebook():
    codes = torch.tensor([[[1, 2, START], [3, 4, START]]])
    logits = torch.zeros(1, 2, 3, 1024)
    for k, t, token in ((0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 9)):
        logits[0, k, t, token] = 9
    _, _, right = losses(logits, torch.zeros(1, 3), codes, torch.tensor([2]))
    assert right.tolist() == [1.0, 0.5]


def test_state_bytes_are_what_one_more_sequence_adds_to_the_state():
    for core, size in CAUSAL:
        built = build_core(core, size, True)
        one, two = (sum(t.numel() * t.element_size() for t in numbers(built.initial_state(n, 50))) for n in (1, 2))
        assert built.state_bytes(50) == two - one, (core, size)


def test_mamba_has_the_parameters_of_mamba_ssm():
    shapes = {name: tuple(p.shape) for name, p in Mamba(256).named_parameters()}
    assert shapes == {"A_log": (512, 16), "D": (512,), "in_proj.weight": (1024, 256), "conv1d.weight": (512, 1, 4),
                      "conv1d.bias": (512,), "x_proj.weight": (48, 512), "dt_proj.weight": (512, 16),
                      "dt_proj.bias": (512,), "out_proj.weight": (256, 512)}
    assert parameters(Mamba(256)) == 437_760


def test_attention_with_the_fused_kernel_is_softmax_attention():
    attention = Attention(32, 4, causal=True, rotary=False).double()
    x = torch.randn(2, 11, 32, dtype=torch.double)
    q, k, v = (t.unflatten(-1, (4, 8)).transpose(1, 2) for t in attention.qkv(x).chunk(3, -1))
    scores = (q @ k.mT / 8 ** 0.5).masked_fill(torch.ones(11, 11).triu(1).bool(), float("-inf"))
    expected = attention.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), expected)


def test_rotary_attention_depends_on_distance_alone():
    from lib.models.attention import rotate
    q, k = torch.randn(1, 1, 1, 16).double(), torch.randn(1, 1, 1, 16).double()
    near = (rotate(q, 5) * rotate(k, 3)).sum()
    far = (rotate(q, 905) * rotate(k, 903)).sum()
    torch.testing.assert_close(near, far)


@pytest.mark.parametrize("change,words", [
    (dict(core="transformr"), "no core 'transformr': choose one of"),
    (dict(size="large"), "no size 'large': choose one of"),
    (dict(regime="open"), "no regime 'open'"),
    *[(dict(core=core, size="matched-3m", regime="as_reported"), f"the core {core} has no regime as_reported")
      for core in CORES if core not in AS_REPORTED],
    *[(dict(core=core, size=size), f"the core {core} has no size {size}: choose matched-3m")
      for size in LACKING for core in LACKING[size]],
    (dict(conditioning="suffix"), "no conditioning 'suffix': choose one of pooled, prefix")])
def test_unknown_names_are_one_clear_line(change, words):
    with pytest.raises(ValueError, match=words) as error:
        CodecLM(ModelConfig(**change))
    assert "\n" not in str(error.value)


def test_learned_positions_refuse_more_frames_than_they_have():
    lm, (codes, text) = model("mamba", "seed"), inputs(1001, batch=1)
    with pytest.raises(ValueError, match="positions for 1000"):
        lm(codes, text)


@torch.inference_mode()
def test_learned_positions_count_the_prefix():
    lm, (codes, text) = model("mamba", "seed", conditioning="prefix"), inputs(994, batch=1)
    lm(codes[..., 1:], text)
    with pytest.raises(ValueError, match="7 characters and 994 frames: .* positions for 1000"):
        lm(codes, text)
    state = lm.initial_state(text, 994)
    state.frames = 993
    with pytest.raises(ValueError, match="7 characters and 994 frames: .* positions for 1000"):
        lm.step(codes[:, :, 0], state)
