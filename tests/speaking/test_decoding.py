"""Generation: a memorised clip is said, sampling does what its parameters say, seeds repeat."""
import numpy as np
import pytest
import torch

from lib.config import ModelConfig, TrainConfig
from lib.data.audio import flac, read_flac
from lib.data.text import encode
from lib.metrics.speech import token_match
from lib.models.codec_lm import BINS, CodecLM
from lib.models.cores import CORES
from lib.speaking import decoding
from lib.speaking.decoding import Sampling, draw, generate, generate_batch
from lib.training.memorise import load_model, train


@pytest.mark.parametrize("core", ["transformer", "mamba_conv", "mamba"])
@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_a_causal_model_says_the_clip_that_it_memorised(core, pattern, clips):
    config = TrainConfig(ModelConfig(core, pattern=pattern), clips=1, steps=150, learning_rate=5e-4)
    record = train(config, clips[:1], [])
    assert record.result["memorised"]["accuracy"] >= 0.999
    codes, figures = generate(load_model(record), clips[0].text, 40)
    assert token_match(clips[0].codes, codes) == 1.0
    assert codes.shape[0] == 4 and figures["frames"] == codes.shape[1] <= 40


@pytest.mark.parametrize("regime", ["causal", "as_reported"])
@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_greedy_generation_is_the_argmax_given_what_was_said(regime, pattern):
    model = CodecLM(ModelConfig("mamba_conv", regime=regime, pattern=pattern)).eval()
    torch.nn.init.constant_(model.end.bias, -50.0)              # never ends by itself
    codes, figures = generate(model, "ala ma kota", 6)
    assert codes.shape == (4, 6) and not figures["ended"] and codes.min() >= 0 and codes.max() < 1024
    again, _ = generate(model, "ala ma kota", 6)
    assert np.array_equal(codes, again)


def test_generation_ends_when_the_model_says_so():
    model = CodecLM(ModelConfig("mamba")).eval()
    torch.nn.init.constant_(model.end.bias, 50.0)
    codes, figures = generate(model, "ala", 30)
    assert codes.shape == (4, 1) and figures["ended"]


@pytest.mark.parametrize("end,frames", [(0.5, 30), (0.2, 1), (0.9, 30), (0.1, 1)])
def test_a_text_ends_where_the_end_is_more_likely_than_asked(end, frames):
    model = CodecLM(ModelConfig("mamba")).eval()
    torch.nn.init.zeros_(model.end.weight)
    torch.nn.init.constant_(model.end.bias, np.log(0.3 / 0.7))
    assert generate(model, "ala", 30, Sampling(end=end))[0].shape == (4, frames)


@pytest.mark.parametrize("core", ["transformer", "mamba_conv"])
@torch.inference_mode()
def test_guidance_takes_what_the_text_brings_several_times(core):
    model = CodecLM(ModelConfig(core, "matched-1m", dropped=0.1)).double().eval()
    torch.nn.init.constant_(model.end.bias, -50.0)
    codes, _ = generate(model, "ala ma kota", 6, Sampling(guidance=2.5))
    said, text = torch.from_numpy(codes.astype(np.int64))[None], torch.tensor([encode("ala ma kota", model.config.alphabet, "pl")])
    told, without = (model(said, text, kept=torch.tensor([kept]))[0] for kept in (True, False))
    assert torch.equal((without + 2.5 * (told - without)).argmax(-1), said)
    assert np.array_equal(generate(model, "ala ma kota", 6, Sampling(guidance=1.0))[0], generate(model, "ala ma kota", 6)[0])
    silent, _ = generate(model, "ala ma kota", 6, Sampling(guidance=0.0))       # as if nothing had been told
    said = torch.from_numpy(silent.astype(np.int64))[None]
    assert torch.equal(model(said, text, kept=torch.tensor([False]))[0].argmax(-1), said)


def test_guidance_needs_a_model_that_was_trained_without_its_text_too():
    with pytest.raises(ValueError, match="train it with dropped above 0"):
        generate(CodecLM(ModelConfig("mamba")).eval(), "ala", 5, Sampling(guidance=2.0))
    with pytest.raises(ValueError, match="cannot be dropped"):
        CodecLM(ModelConfig("mamba", "matched-1m", conditioning="prefix", dropped=0.1))


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("pattern", ["parallel", "delay"])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0, top_k=50, seed=7)])
@pytest.mark.parametrize("conditioning", ["pooled", "prefix"])
def test_a_text_in_a_batch_is_said_as_it_is_alone(core, pattern, sampling, conditioning):
    model = CodecLM(ModelConfig(core, "matched-3m", pattern=pattern, conditioning=conditioning)).eval()
    torch.nn.init.normal_(model.end.weight, std=0.3)                    # ends here and there
    torch.nn.init.constant_(model.end.bias, -5.0)
    texts = ["ala", "ala ma kota", "kot", "a kot ma alę i psa", "nic"]
    together = generate_batch(model, texts, 24, sampling)
    for text, (codes, figures) in zip(texts, together, strict=True):
        alone, expected = generate(model, text, 24, sampling)
        assert np.array_equal(codes, alone) and codes.shape[1] == figures["frames"]
        assert (figures["frames"], figures["ended"]) == (expected["frames"], expected["ended"])


@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_each_row_of_a_batch_ends_at_its_own_end(pattern, monkeypatch):
    model = CodecLM(ModelConfig("mamba", pattern=pattern)).eval()
    late, step, calls = 3 * (pattern == "delay"), model.step, []

    def ends(previous, state):
        calls.append(1)
        return step(previous, state)[0], torch.tensor([1.0, -1.0, 1.0 if len(calls) == 5 + late else -1.0])
    monkeypatch.setattr(model, "step", ends)
    said = generate_batch(model, ["ala", "ma", "kota"], 8)
    assert [codes.shape for codes, _ in said] == [(4, 1), (4, 8), (4, 5)] and len(calls) == 8 + late
    assert [figures["ended"] for _, figures in said] == [True, False, True]


def test_sampling_is_repeatable_and_depends_on_the_seed():
    model = CodecLM(ModelConfig("transformer")).eval()
    said = [generate(model, "ala", 5, Sampling(temperature=1.0, seed=seed))[0] for seed in (1, 1, 2)]
    assert np.array_equal(said[0], said[1]) and not np.array_equal(said[0][:, :1], said[2][:, :1])


def test_top_k_and_top_p_keep_the_likeliest():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05]).repeat(4000, 1)
    generator = torch.Generator().manual_seed(0)

    def seen(**sampling):
        return set(draw(p.log(), Sampling(temperature=1.0, **sampling), generator).tolist())
    assert seen() == {0, 1, 2, 3} and seen(top_k=2) == {0, 1} and seen(top_k=1) == {0}
    assert seen(top_p=0.5) == {0} and seen(top_p=0.6) == {0, 1} and seen(top_p=0.9) == {0, 1, 2}
    drawn = draw(p.log(), Sampling(temperature=1.0), generator)
    assert (drawn == 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert (draw(p.log(), Sampling(temperature=0.25), generator) == 0).float().mean() > 0.8
    assert draw(p.log(), Sampling(), generator).unique().tolist() == [0]


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.7, 1.0), (1.0, 0.5)])
def test_a_repetition_aware_draw_takes_what_is_too_frequent_again_from_the_whole_distribution(temperature, top_p):
    """Against a plain loop over tokens: more than one of the last ten frames is more than a tenth of them."""
    rows, bins, seed = 400, 6, 3
    logits = 2 * torch.randn(rows, bins)
    said = torch.randint(bins, (rows, 25))
    said[:200, -10:] = torch.randint(bins, BINS, (200, 10))             # of the first half nothing was said lately
    said[:100, -10] = said[:100, -1] = logits[:100].argmax(-1)          # but in two frames of ten
    said[100:200, -11] = said[100:200, -1] = logits[100:200].argmax(-1)  # or in one, and one before them
    generator = torch.Generator().manual_seed(seed)
    first = draw(logits, Sampling(temperature, top_p=top_p), generator)
    again = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    expected = [int(new) if frames[-10:].count(int(old)) / 10 > 0.1 else int(old)
                for frames, old, new in zip(said.tolist(), first, again)]
    drawn = draw(logits, Sampling(temperature, top_p=top_p, repetition_aware=True), torch.Generator().manual_seed(seed), said)
    assert drawn.tolist() == expected
    assert (drawn[100:200] == first[100:200]).all() and (drawn[:100] != first[:100]).any()


@pytest.mark.parametrize("regime", ["causal", "as_reported"])
@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_a_draw_knows_the_frames_that_its_own_text_has_said(regime, pattern, monkeypatch):
    """Each token drawn comes back as the last frame of its row at the next draw, whatever is said beside it."""
    model, drawn, told = CodecLM(ModelConfig("mamba_conv", regime=regime, pattern=pattern)).eval(), [], []
    torch.nn.init.constant_(model.end.bias, -50.0)

    def remembered(logits, sampling, generator, said):
        told.append(said.clone())
        drawn.append(draw(logits, sampling, generator, said))
        return drawn[-1]
    monkeypatch.setattr(decoding, "draw", remembered)
    sampling = Sampling(1.0, repetition_aware=True, seed=5)
    together = generate_batch(model, ["ala", "ala ma kota"], 6, sampling)
    frames = 6 + 3 * (pattern == "delay")
    assert len(told) == 2 * frames and all(said.shape == (4, 1 + i // 2) for i, said in enumerate(told))
    for i in range(2 * (frames - 1)):
        late = torch.arange(4) > i // 2 if pattern == "delay" else torch.zeros(4, dtype=torch.bool)
        assert torch.equal(told[i + 2][:, -1], drawn[i].masked_fill(late, 1024))
    for text, (codes, _) in zip(["ala", "ala ma kota"], together):
        assert np.array_equal(codes, generate(model, text, 6, sampling)[0])


@pytest.mark.parametrize("wrong", [dict(temperature=-1), dict(temperature=float("nan")), dict(top_k=0), dict(top_p=0.0), dict(top_p=1.5),
                                   dict(repetition_aware=True)])
def test_impossible_sampling_is_refused(wrong):
    with pytest.raises(ValueError, match="temperature is at least 0"):
        Sampling(**wrong)


def test_unknown_character_in_typed_text_is_named():
    model = CodecLM(ModelConfig("mamba")).eval()
    with pytest.raises(ValueError, match="ß"):
        generate(model, "straße", 5)


def test_flac_there_and_back():
    audio = np.sin(np.arange(2400) / 9).astype(np.float32) * 0.5
    assert np.abs(read_flac(flac(audio)) - audio).max() < 2 / 32768
