"""The shell and every core: sizes, causality, step by step against all at once."""
from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from lib.config import RECIPE, ModelConfig
from lib.metrics.cost import parameters
from lib.models.attention import Attention, banded, rotate, turns
from lib.models.codec_lm import START, CodecLM, losses
from lib.models.cores import AS_REPORTED, CORES, LACKING, SIZES, Core, build_core
from lib.models.feed_forward import FeedForward
from lib.models.linear import Linear, frame_linear, frame_linear_reference
from lib.models.mamba import Mamba
from lib.models.norm import EPS, RMSNorm

CAUSAL = [(core, size) for core in CORES for size in SIZES if core not in LACKING.get(size, ())]
SHELLED = [("transformer", "seed"), ("mamba_conv", "seed"), ("interleaved", "matched-1m")]    # the shell's tests take these
REPORTED = [(core, size) for core in AS_REPORTED for size in SIZES]
IN_SHELL = [(*one, "causal") for one in SHELLED] + [(*one, "as_reported") for one in REPORTED]
MATCHED = [one for one in CAUSAL if one[1] != "seed"]
WINDOW, FRAMES = 5, 13      # frames of a window, which go round it twice and a half
# every core at every size, plain and by the whole recipe; each ingredient alone; windows and states of other sizes
CONFIGS = [
    *(dict(core=core, size=size) for core, size in CAUSAL),
    *(dict(core=core, size=size, recipe=RECIPE) for core, size in MATCHED),
    *(dict(core="transformer", size="matched-1m", recipe=(ingredient,)) for ingredient in RECIPE),
    *(dict(core=core, size="matched-1m", recipe=RECIPE, window=WINDOW)
      for core in ("transformer", "transformer_conv", "interleaved")),
    dict(core="transformer", size="seed", window=WINDOW),
    dict(core="transformer", size="matched-1m", recipe=RECIPE, rotary=False),
    *(dict(core=core, size="matched-1m", recipe=RECIPE, state=state)
      for core in ("mamba", "mamba_conv", "interleaved") for state in (4, 64)),
    *(dict(core=core, size="matched-1m", recipe=RECIPE, layers=layers)
      for core, layers in (("transformer", 2), ("mamba", 3), ("mamba_conv", 8), ("interleaved", 8))),
]
either_conditioning = pytest.mark.parametrize("conditioning", ["pooled", "prefix"])
# parameters, and a weighted sum of what comes out, from before there was a recipe: the reference was trained so
BEFORE = [
    ("transformer", "seed", True, 3_162_624, -0.9164703947027064),
    ("transformer", "seed", False, 3_162_624, -2.2954384146527644),
    ("transformer", "matched-3m", True, 3_159_552, -5.958958513532423),
    ("transformer", "matched-3m", False, 3_159_552, -5.4369843587591475),
    ("transformer", "matched-1m", True, 1_385_600, 2.955114206071599),
    ("transformer", "matched-1m", False, 1_385_600, 2.8857210954263337),
    ("mamba_conv", "seed", True, 594_432, -1.9027981013008208),
    ("mamba_conv", "seed", False, 594_432, -2.019494955660818),
    ("mamba_conv", "matched-3m", True, 3_177_872, 3.952192640595685),
    ("mamba_conv", "matched-3m", False, 3_177_872, 4.019559318365339),
    ("mamba_conv", "matched-1m", True, 1_380_704, -4.447018304733335),
    ("mamba_conv", "matched-1m", False, 1_380_704, -4.585330475761857),
    ("mamba", "seed", True, 438_272, -2.8196761693786456),
    ("mamba", "matched-3m", True, 3_164_176, -1.0790153660496387),
    ("mamba", "matched-1m", True, 1_386_048, 0.5887058809343202),
    ("conv", "seed", True, 3_159_680, 0.19704293043268706),
    ("conv", "matched-3m", True, 3_159_680, 0.19704293043268706),
    ("conv", "matched-1m", True, 1_373_376, -0.44975230265205823),
    ("transformer_conv", "matched-3m", True, 3_160_384, -1.8327674445218065),
    ("transformer_conv", "matched-1m", True, 1_380_064, -1.3003585888825633),
    ("pointwise", "seed", True, 3_155_456, -7.334107252307376),
    ("pointwise", "matched-3m", True, 3_155_456, -7.334107252307376),
    ("pointwise", "matched-1m", True, 1_382_528, 0.9060663661615127),
    ("mamba_conv_3_5", "matched-3m", True, 3_164_432, 1.1942657432628323),
    ("mamba_conv_5_7", "matched-3m", True, 3_164_112, -0.8249378593184531),
    ("mamba_conv_7_9", "matched-3m", True, 3_150_112, 2.7130746965936616),
    ("mamba_conv_9_11", "matched-3m", True, 3_177_152, 1.804919296094642),
]
SEED_TOTALS = {"transformer": 5_735_297, "mamba_conv": 3_165_569}


def name(config: dict) -> str:
    return " ".join("+".join(value) if isinstance(value, tuple) else str(value) for value in config.values())


@pytest.fixture(scope="module", params=CONFIGS, ids=name)
def config(request) -> dict:
    return request.param


@pytest.fixture(scope="module")
def core(config) -> Core:
    """Every core of CONFIGS, built once for all tests that take it; they leave it as it is."""
    torch.manual_seed(0)
    return build_core(config["core"], causal=True, **{k: v for k, v in config.items() if k != "core"})


@pytest.fixture(scope="module")
def exact(core) -> Core:
    return deepcopy(core).double()


def model(core: str, size: str, regime: str = "causal", conditioning: str = "pooled") -> CodecLM:
    return CodecLM(ModelConfig(core, size, regime, conditioning=conditioning)).eval()


def numbers(state) -> list[torch.Tensor]:
    """All tensors in a state."""
    if isinstance(state, torch.Tensor):
        return [state]
    parts = state if isinstance(state, list) else vars(state).values() if hasattr(state, "__dict__") else []
    return [tensor for part in parts for tensor in numbers(part)]


def stepped(core: Core, x: torch.Tensor, state: list) -> torch.Tensor:
    """What it gives for x (batch, frames, width), frame by frame."""
    return torch.stack([core.step(frame, state) for frame in x.unbind(1)], 1)


def inputs(frames: int, batch: int = 2, characters: int = 7):
    return torch.randint(1024, (batch, 4, frames)), torch.randint(43, (batch, characters))


def frames_of(config: dict, batch: int, frames: int = FRAMES) -> torch.Tensor:
    return torch.randn(batch, frames, SIZES[config["size"]].width, dtype=torch.double)


@torch.inference_mode()
def test_step_by_step_is_the_full_forward_and_leaves_its_state(exact, config):
    x, more = frames_of(config, 2), frames_of(config, 2, 1)[:, 0]
    for frames in (1, 3, FRAMES):                                       # fewer than a window and a kernel are wide, and more
        at_once, by_step = exact.initial_state(2, FRAMES + 1), exact.initial_state(2, FRAMES + 1)
        assert_close(stepped(exact, x[:, :frames], by_step), exact(x[:, :frames], at_once), atol=1e-9, rtol=1e-7)
        for a, b in zip(numbers(at_once), numbers(by_step), strict=True):
            assert_close(a, b)
        assert_close(exact.step(more, at_once), exact.step(more, by_step))


def test_with_gradients_stepping_is_the_same(exact, config):
    x = frames_of(config, 2, 4)
    with torch.inference_mode():
        by_kernel = stepped(exact, x, exact.initial_state(2, 4))
    assert_close(stepped(exact, x, exact.initial_state(2, 4)).detach(), by_kernel)


@torch.inference_mode()
def test_in_float32_stepping_is_the_full_forward_and_the_exact_one(core, exact, config):
    x = frames_of(config, 2).float()
    y = stepped(core, x, core.initial_state(2, FRAMES))
    assert_close(y, core(x), atol=1e-5, rtol=1e-5)
    assert_close(y, exact(x.double()).float(), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_row_of_a_batch_steps_to_the_bits_that_it_has_alone(core, config):
    x = frames_of(config, 3, 7).float()
    together = stepped(core, x, core.initial_state(3, 7))
    for row in range(3):
        assert torch.equal(together[[row]], stepped(core, x[[row]], core.initial_state(1, 7)))


@torch.inference_mode()
def test_a_row_of_a_batch_is_what_it_is_alone(exact, config):
    x = frames_of(config, 3)
    assert_close(exact(x), torch.cat([exact(row[None]) for row in x]))


@torch.inference_mode()
def test_output_sees_no_later_frame(exact, config):
    """And every later one sees it: with a window, through the layers on top of each other."""
    x = frames_of(config, 2)
    changed = x.clone()
    changed[:, 4] = frames_of(config, 2, 1)[:, 0]
    moved = (exact(x) - exact(changed)).abs().amax((0, 2)) > 1e-12
    assert not moved[:4].any() and moved[4]
    assert moved[5:].all() or config["core"] == "pointwise"


def test_every_parameter_gets_a_gradient(core, config):
    core.zero_grad()
    y = core(frames_of(config, 2, 9).float())
    (y * torch.randn_like(y)).sum().backward()
    assert [n for n, p in core.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_state_bytes_are_what_one_more_sequence_adds_to_the_state(core, config):
    one, two = (sum(t.numel() * t.element_size() for t in numbers(core.initial_state(n, 50))) for n in (1, 2))
    assert core.state_bytes(50) == two - one
    if config["core"] == "pointwise":
        assert numbers(core.initial_state(2, 9)) == []
    if "window" in config:
        assert core.state_bytes(50) == core.state_bytes(5000)


@pytest.mark.parametrize("recipe", [(), RECIPE, *((ingredient,) for ingredient in RECIPE)], ids="+".join)
@pytest.mark.parametrize("size", [size for size in SIZES if size != "seed"])
def test_at_a_matched_size_parameters_are_the_transformers_within_one_percent(size, recipe):
    with torch.device("meta"):
        transformer = parameters(build_core("transformer", size, True, recipe))
        for core, (_, shapes) in CORES.items():
            for state in shapes[size].channels or [None] if size in shapes else ():
                count = parameters(build_core(core, size, True, recipe, state=state))
                assert count == pytest.approx(transformer, rel=0.01), (core, state)


@pytest.mark.parametrize("core, layers", [(core, layers) for core in ("transformer", "mamba_conv", "mamba", "conv", "pointwise")
                                          for layers in (1, 3, 8)] + [("interleaved", 8)])
def test_a_core_of_other_layers_weighs_the_same(core, layers):
    with torch.device("meta"):
        usual, other = (build_core(core, "matched-1m", True, RECIPE, layers=n) for n in (None, layers))
    assert parameters(other) == pytest.approx(parameters(usual), rel=0.01)
    assert len(other.layers) == layers * len(usual.layers) // CORES[core][1]["matched-1m"].layers


@pytest.mark.parametrize("core,size", SHELLED)
@either_conditioning
@pytest.mark.parametrize("characters,frames", [(1, 1), (7, 2), (7, 13)])
@torch.inference_mode()
def test_the_shell_step_by_step_is_its_full_forward(core, size, conditioning, characters, frames):
    lm, (codes, text) = model(core, size, conditioning=conditioning).double(), inputs(frames, characters=characters)
    logits, end = lm(codes, text)
    state, previous = lm.initial_state(text, frames), torch.full((2, 4), START)
    for t in range(frames):
        step_logits, step_end = lm.step(previous, state)
        assert_close(step_logits, logits[:, :, t], atol=1e-9, rtol=1e-7)
        assert_close(step_end, end[:, t], atol=1e-9, rtol=1e-7)
        previous = codes[:, :, t]


@torch.inference_mode()
def test_a_row_of_a_batch_decodes_to_the_bits_that_it_has_alone():
    lm, (codes, text) = model("interleaved", "matched-1m"), inputs(9, batch=3)
    text[0, 3:] = text[2, 5:] = 43
    together, alone = lm.initial_state(text, 9), [lm.initial_state(row[None], 9) for row in text]
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
@pytest.mark.parametrize("build", [
    lambda: Mamba(32), lambda: Mamba(24, 37), lambda: Mamba(24, 37, d_state=5), lambda: Attention(64, 8, True, True),
    lambda: Attention(48, 3, True, False), lambda: Attention(48, 3, True, True, qk_norm=True),
    lambda: Attention(48, 3, True, True, window=6), lambda: Attention(24, 3, True, False, qk_norm=True, window=1)])
@pytest.mark.parametrize("scale", [1, 6])
@torch.inference_mode()
def test_one_frame_by_the_kernel(build, scale, start, dtype, tolerance):
    """Against float64 in torch, relative to the largest number; after frames at once or none, at large values too."""
    def agrees(got, want):
        assert (got.double() - want).abs().max() <= tolerance * want.abs().max()

    layer = build().to(dtype)
    for scales in [p for n, p in layer.named_parameters() if "_norm" in n]:
        torch.nn.init.normal_(scales)
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
    for got, want in zip(numbers(states[0]), numbers(states[1]), strict=True):
        agrees(got, want)


def test_training_after_decoding():
    lm, (codes, text) = model("transformer", "matched-3m"), inputs(9)
    with torch.inference_mode():
        lm(codes, text)
    lm(codes, text)[0].sum().backward()


@pytest.mark.parametrize("core,size", SHELLED)
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


@pytest.mark.parametrize("core,size,regime", IN_SHELL)
@torch.inference_mode()
def test_in_the_shell_a_row_of_a_batch_is_what_it_is_alone(core, size, regime):
    lm, (codes, text) = model(core, size, regime, "prefix").double(), inputs(5, batch=3)
    lengths = (3, 7, 1) if regime == "causal" else (7, 7, 7)
    for row, length in enumerate(lengths):
        text[row, length:] = 43
    logits, end = lm(codes, text)
    for row, length in enumerate(lengths):
        alone, alone_end = lm(codes[[row]], text[[row], :length])
        torch.testing.assert_close(logits[[row]], alone, atol=1e-9, rtol=1e-7)
        torch.testing.assert_close(end[[row]], alone_end, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("core,size,regime", IN_SHELL)
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
def test_what_pads_a_prefix_is_not_read():
    lm, (_, text) = model("transformer", "matched-3m", conditioning="prefix"), inputs(1)
    assert parameters(lm) == parameters(model("transformer", "matched-3m"))
    padded = torch.cat([text, torch.full((2, 2), 43)], 1)
    first = [lm.step(torch.full((2, 4), START), lm.initial_state(t, 1))[0] for t in (text, padded)]
    torch.testing.assert_close(*first)


@pytest.mark.parametrize("core,size,regime", IN_SHELL)
@torch.inference_mode()
def test_after_prefixes_of_unequal_length_a_row_steps_as_it_does_alone(core, size, regime):
    if regime != "causal":
        pytest.skip("has no steps")
    lm, (codes, text) = model(core, size, conditioning="prefix").double(), inputs(9, batch=3)
    lengths = (3, 7, 1)
    for row, length in enumerate(lengths):
        text[row, length:] = 43
    state = lm.initial_state(text, 6 + 9)
    said = torch.nn.functional.pad(codes, (7, 6), value=START)          # frame t of a row is at t + 7
    told = [lm.step(torch.stack([said[row, :, t - length + 7] for row, length in enumerate(lengths)]), state)[0]
            for t in range(15)]         # the row with the shortest text, a character, begins at once
    for row, length in enumerate(lengths):
        alone = lm.initial_state(text[[row], :length], 9)
        begin = lm.step(torch.full((1, 4), START), alone)[0]
        steps = [begin, *(lm.step(codes[[row], :, t], alone)[0] for t in range(8))]
        torch.testing.assert_close(torch.stack(told[length - 1:length + 8])[:, [row]], torch.stack(steps), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("core,size,causal,count,total", BEFORE)
@torch.no_grad()
def test_without_a_recipe_a_core_is_what_it_was(core, size, causal, count, total):
    built = build_core(core, size, causal).double()
    x = torch.randn(2, 23, SIZES[size].width, dtype=torch.double)
    y = built(x)
    assert parameters(built) == count
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.double).view_as(y)
    assert (y * weights).sum().item() == pytest.approx(total, rel=1e-9)


def test_seed_sizes():
    assert parameters(build_core("transformer", "seed", True)) == 3_162_624
    for core, total in SEED_TOTALS.items():
        assert parameters(model(core, "seed")) == pytest.approx(total, rel=0.01)
    assert parameters(build_core("mamba_conv", "seed", True)) == pytest.approx(592_896, rel=0.01)


@pytest.mark.parametrize("core,size", SHELLED)
def test_every_parameter_of_the_shell_gets_a_gradient(core, size):
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
    def turned(x: torch.Tensor, at: int) -> torch.Tensor:
        return rotate(x, turns(at, at + 1, 16, x.dtype, x.device))
    q, k = torch.randn(1, 1, 1, 16).double(), torch.randn(1, 1, 1, 16).double()
    near = (turned(q, 5) * turned(k, 3)).sum()
    far = (turned(q, 905) * turned(k, 903)).sum()
    torch.testing.assert_close(near, far)


@pytest.mark.parametrize("batch,frames,window", [(2, 1, 1), (1, 4, 9), (2, 9, 9), (2, 10, 9), (3, 30, 7), (1, 23, 1),
                                                 (1, 36, 9)])
def test_a_window_is_a_band_of_softmax_attention(batch, frames, window):
    q, k, v = (torch.randn(batch, 3, frames, 8, dtype=torch.double, requires_grad=True) for _ in range(3))
    band = torch.ones(frames, frames, dtype=torch.bool).tril().triu(1 - window)
    want = (q @ k.mT / 8 ** 0.5).masked_fill(~band, float("-inf")).softmax(-1) @ v
    got, dy = banded(q, k, v, window), torch.randn(batch, 3, frames, 8, dtype=torch.double)
    assert_close(got, want)
    for a, b in zip(torch.autograd.grad(got, (q, k, v), dy), torch.autograd.grad(want, (q, k, v), dy)):
        assert_close(a, b)


def test_normed_queries_and_keys_attend_alike_at_any_scale():
    layer, x = Attention(32, 4, causal=True, rotary=True, qk_norm=True).double(), torch.randn(2, 11, 32, dtype=torch.double)
    before = layer(x)
    with torch.no_grad():
        layer.qkv.weight[:64] *= 300
        layer.qkv.bias[:64] *= 300
    assert_close(layer(x), before, atol=1e-4, rtol=1e-4)                # but for the norm's epsilon
    with torch.no_grad():
        layer.k_norm.weight *= 2
    assert (layer(x) - before).abs().max() > 1e-2


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 2e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 5, 192), (2, 4, 9, 24)])
def test_rms_norm_and_its_gradients(shape, dtype, tolerance):
    layer = RMSNorm(shape[-1]).to(dtype)
    torch.nn.init.normal_(layer.weight)
    x, dy = (torch.randn(2, *shape, dtype=dtype).transpose(0, 1) for _ in range(2))     # rows that do not lie side by side
    x[:, 1] *= 1e3
    x.requires_grad_()
    wide = x.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    want = F.rms_norm(wide[0], shape[-1:], wide[1], EPS)
    exact = (want, *torch.autograd.grad(want, wide, dy.double()))
    y = layer(x)
    with torch.inference_mode():
        assert_close(layer(x), y, atol=tolerance, rtol=tolerance)
    for a, b in zip((y, *torch.autograd.grad(y, (x, layer.weight), dy)), exact):
        assert a.dtype == dtype and (a.double() - b).abs().max() <= tolerance * b.abs().max().clamp_min(1)


def test_a_gated_feed_forward_is_swiglu():
    layer, x = FeedForward(6, 10, gated=True), torch.randn(2, 3, 6)
    w, v = layer.up.weight.chunk(2)
    assert_close(layer(x), (F.silu(x @ w.T) * (x @ v.T)) @ layer.down.weight.T)
    assert parameters(layer) == 3 * 6 * 10


@pytest.mark.parametrize("core,count,last", [
    ("transformer", 8, "feed_forward.down"), ("transformer_conv", 8, "attention.fuse"), ("mamba", 6, "mamba.out_proj"),
    ("mamba_conv", 4, "fuse"), ("interleaved", 8, "feed_forward.down")])
def test_scaled_init_shrinks_what_writes_into_the_residual_stream(core, count, last):
    plain, scaled = {}, {}
    for kept, recipe in ((plain, ()), (scaled, ("scaled_init",))):
        torch.manual_seed(0)
        kept |= build_core(core, "matched-1m", True, recipe).named_parameters()
    smaller = [name for name in plain if not torch.equal(plain[name], scaled[name])]
    assert len({name.rsplit(".", 1)[0] for name in smaller}) == count and any(last in name for name in smaller)
    for name in smaller:
        assert_close(scaled[name] * count ** 0.5, plain[name])


def test_weights_from_before_the_feed_forward_had_a_name_are_loaded():
    lm, other = model("transformer", "matched-1m"), model("transformer", "matched-1m")
    lm.load_state_dict({name.replace("feed_forward.", ""): w for name, w in other.state_dict().items()})
    for a, b in zip(lm.parameters(), other.parameters()):
        assert torch.equal(a, b)


@torch.inference_mode()
@pytest.mark.parametrize("rotary", [True, False])
def test_attention_without_positions_does_not_know_in_which_order_what_came_before_came(rotary):
    core = build_core("transformer", "matched-1m", causal=True, rotary=rotary).double()
    x, attention = torch.randn(1, 9, 192).double(), core.layers[0].attention
    other = torch.cat([x[:, :8].flip(1), x[:, 8:]], 1)
    assert torch.allclose(attention(x)[:, -1], attention(other)[:, -1]) == (not rotary)


def test_a_cache_is_no_larger_than_its_window_and_refuses_what_it_has_no_room_for():
    layer, x = Attention(24, 3, causal=True, rotary=True, window=4), torch.randn(1, 24)
    assert layer.initial_state(1, 1000).cache.shape == (1, 6, 4, 8)
    state = layer.initial_state(1, 3)                                   # which will not do for a window of 4
    for _ in range(3):
        layer.step(x, state)
    with pytest.raises(ValueError, match="the cache holds 3 frames: ask initial_state for more"):
        layer.step(x, state)
    with pytest.raises(ValueError, match="the cache holds 3 frames"):
        layer(x.expand(1, 4, 24), layer.initial_state(1, 3))


@pytest.mark.parametrize("change,words", [
    (dict(core="transformr"), "no core 'transformr': choose one of"),
    (dict(size="large"), "no size 'large': choose one of"),
    (dict(regime="open"), "no regime 'open'"),
    *[(dict(core=core, size="matched-3m", regime="as_reported"), f"the core {core} has no regime as_reported")
      for core in CORES if core not in AS_REPORTED],
    *[(dict(core=core, size=size), f"the core {core} has no size {size}: choose matched-3m")
      for size in LACKING for core in LACKING[size]],
    (dict(size="matched-1m", recipe=("rmsnorm", "gelu")), "no 'gelu' in a recipe: choose from scaled_init, rmsnorm"),
    (dict(size="matched-1m", layers=0), "0 layers of the core transformer: give 1 or more"),
    (dict(size="matched-1m", layers=12), "12 layers of the core transformer have no room at size matched-1m: take fewer"),
    (dict(core="interleaved", size="matched-1m", layers=6), "6 layers of the core interleaved: give 4, 8, 12"),
    (dict(recipe=("rmsnorm",)), "the size seed is as the original report had it: take a matched size for a recipe"),
    (dict(core="mamba", size="matched-1m", window=9), "the core mamba has no attention, so no window"),
    (dict(core="mamba", size="matched-1m", rotary=False), "the core mamba has no attention, so no positions to leave out"),
    (dict(rotary=False), "the size seed has the original report's learned positions: take a matched size"),
    (dict(window=0), "a window of 0 frames"),
    (dict(window=9, regime="as_reported"), "a window of 9 frames: .* the regime causal"),
    (dict(core="conv", size="matched-1m", state=64), "the core conv has no state of 64 .*: choose a core with Mamba"),
    (dict(core="mamba", state=4), "the core mamba has no state of 4 at size seed: choose 16"),
    (dict(core="mamba", size="matched-1m", state=8), "no state of 8 at size matched-1m: choose 16 or 4 or 64"),
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
