"""Masked decoding against what it says it does, written again from the papers frame by frame."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.config import ModelConfig
from lib.data.phrases import Span
from lib.models.codec_lm import START, CodecLM
from lib.speaking.decoding import speak, told
from lib.speaking.masked import fill
from lib.speaking.sampling import Sampling

PLAN = [1, 2, 3, 4], [Span(2, 7), Span(2, 6)]


@pytest.fixture
def model() -> CodecLM:
    torch.manual_seed(0)
    return CodecLM(ModelConfig("mamba", "matched-1m", "masked", conditioning="word", codebooks=3)).double().eval()


def reference(model: CodecLM, rows: torch.Tensor, rounds: int) -> np.ndarray:
    frames = len(rows)
    codes = [[START] * frames for _ in range(3)]
    for k in range(3):
        for done in range(1, (rounds if k == 0 else 1) + 1):
            logits = model.given(torch.tensor([codes]), rows[None])[0][0, k].log_softmax(-1)
            left = math.floor(frames * math.cos(math.pi / 2 * done / (rounds if k == 0 else 1)) + 1e-9)
            while codes[k].count(START) > left:
                best = max((t for t in range(frames) if codes[k][t] == START), key=lambda t: (logits[t].max().item(), -t))
                codes[k][best] = logits[best].argmax().item()
    return np.array(codes)


@pytest.mark.parametrize("rounds", [1, 2, 5, 13, 40])
@torch.inference_mode()
def test_the_surest_are_told_first_and_what_is_told_stays(model, rounds):
    rows = told(model, PLAN)
    codes, went = fill(model, rows, Sampling(rounds=rounds))
    assert np.array_equal(codes, reference(model, rows, rounds)) and codes.dtype == np.int16
    assert went["frames"] == 13 and went["ended"] and went["seconds"] > 0


@torch.inference_mode()
def test_a_text_is_its_sentences_and_draws_repeat(model):
    (codes, went), (one, _) = speak(model, [[PLAN, PLAN], [PLAN]], Sampling(1.0, seed=3, rounds=4))
    assert np.array_equal(codes, np.concatenate([one, one], 1)) and went["frames"] == 26
    assert not np.array_equal(one, speak(model, [[PLAN]], Sampling(1.0, seed=4, rounds=4))[0][0])


@torch.inference_mode()
def test_a_model_is_asked_as_often_as_there_are_rounds(model):
    asked = []
    counting = SimpleNamespace(codebooks=3, given=lambda codes, rows: (asked.append(int((codes[0, 0] == START).sum())),
                                                                       model.given(codes, rows))[1])
    fill(counting, told(model, PLAN), Sampling(rounds=4))
    assert asked == [13, *(math.floor(13 * math.cos(math.pi / 8 * n)) for n in (1, 2, 3)), 0, 0]


@pytest.mark.parametrize("fields,words", [
    ({"pattern": "delay"}, "codebooks are parallel"), ({"conditioning": "pooled"}, "frames aligned"),
    ({"core": "interleaved"}, "goes one way"), ({"core": "mamba2"}, "goes one way")])
def test_what_cannot_be_masked_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        CodecLM(ModelConfig(**{"core": "mamba", "size": "matched-1m", "regime": "masked", "conditioning": "word", **fields}))


@pytest.mark.parametrize("core,before,after", [("transformer", True, True), ("mamba_conv", True, True), ("mamba", True, True),
                                               ("pointwise", False, False)])
@torch.inference_mode()
def test_a_core_without_a_direction_sees_both_sides(core, before, after):
    torch.manual_seed(0)
    model = CodecLM(ModelConfig(core, "matched-1m", "masked", conditioning="word", codebooks=2)).double().eval()
    codes, rows = torch.randint(1024, (1, 2, 9)), torch.randn(1, 9, 192, dtype=torch.double)
    changed = codes.clone()
    changed[0, :, 4] = (changed[0, :, 4] + 1) % 1024
    moved = (model.given(codes, rows)[0] - model.given(changed, rows)[0]).abs().amax((0, 1, 3)) > 0
    assert moved.tolist() == [after] * 4 + [True] + [before] * 4
