"""The shell and every core: sizes, causality, step by step against all at once."""
import pytest
import torch

from lib.config import ModelConfig
from lib.metrics.cost import parameters
from lib.models.attention import Attention
from lib.models.codec_lm import START, CodecLM, losses
from lib.models.cores import CORES, SIZES, build_core
from lib.models.mamba import Mamba

CAUSAL = [(core, size) for core in CORES for size in SIZES]
REPORTED = [(core, size) for core in ("transformer", "mamba_conv") for size in SIZES]
ALL = [(*one, "causal") for one in CAUSAL] + [(*one, "as_reported") for one in REPORTED]
either_conditioning = pytest.mark.parametrize("conditioning", ["pooled", "prefix"])
SEED_TOTALS = {"transformer": 5_735_297, "mamba_conv": 3_165_569}


def model(core: str, size: str, regime: str = "causal", conditioning: str = "pooled") -> CodecLM:
    return CodecLM(ModelConfig(core, size, regime, conditioning=conditioning)).eval()


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
@either_conditioning
@torch.inference_mode()
def test_causal_output_sees_no_later_frame(core, size, conditioning):
    lm, (codes, text) = model(core, size, conditioning=conditioning), inputs(20)
    changed = codes.clone()
    changed[:, :, 11] = (changed[:, :, 11] + 1) % 1024
    (before, _), (after, _) = lm(codes, text), lm(changed, text)
    assert torch.equal(before[:, :, :12], after[:, :, :12])     # frame 11 itself is a target of output 11, not an input
    assert not torch.allclose(before[:, :, 12], after[:, :, 12])


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


@pytest.mark.parametrize("core,size,regime", ALL)
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


def test_matched_sizes_have_equal_parameters_within_one_percent():
    counts = [parameters(build_core(core, "matched-3m", True)) for core in CORES]
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


def test_state_bytes_are_those_of_the_state():
    for core, size in CAUSAL:
        built = build_core(core, size, True)

        def count(value) -> int:
            if isinstance(value, torch.Tensor):
                return value.numel() * value.element_size()
            return sum(map(count, vars(value).values())) if hasattr(value, "__dict__") else 0
        assert built.state_bytes(50) == sum(map(count, built.initial_state(1, 50))), (core, size)


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
    (dict(core="mamba", regime="as_reported"), "no regime as_reported"),
    (dict(conditioning="suffix"), "no conditioning 'suffix': choose pooled or prefix")])
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
