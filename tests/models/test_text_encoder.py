"""The text encoders: what pads a text changes nothing, and what a character sees."""
import pytest
import torch

from lib.config import ModelConfig
from lib.metrics.cost import parameters
from lib.models.codec_lm import CodecLM
from lib.models.text_encoder import ENCODERS, TextEncoder

PADDING = 9


def encoder(name: str) -> TextEncoder:
    return TextEncoder(PADDING, 16, 24, name).double().eval()


@pytest.mark.parametrize("name", ENCODERS)
@torch.inference_mode()
def test_a_text_is_what_it_is_without_its_padding(name):
    one, text = encoder(name), torch.randint(PADDING, (3, 12))
    for row, length in enumerate((12, 5, 1)):
        text[row, length:] = PADDING
        torch.testing.assert_close(one(text)[row, :length], one(text[[row], :length])[0])
        torch.testing.assert_close(one.pooled(text)[row], one.pooled(text[[row], :length])[0])


@torch.inference_mode()
def test_by_convolution_a_character_sees_four_on_either_side():
    one, text = encoder("conv"), torch.randint(PADDING, (1, 20))
    other = text.clone()
    other[0, 10] = (text[0, 10] + 1) % PADDING
    assert (one(text) != one(other)).any(-1)[0].nonzero().flatten().tolist() == list(range(6, 15))


@pytest.mark.parametrize("width", [96, 128])
def test_the_encoders_weigh_alike(width):
    seed, conv = (parameters(ENCODERS[name](width)) for name in ("mamba_conv", "conv"))
    assert conv == pytest.approx(seed, rel=0.06)


def test_an_unknown_encoder_is_one_line():
    with pytest.raises(ValueError, match="^no encoder 'lstm' of the text: choose mamba_conv or conv$"):
        CodecLM(ModelConfig(size="matched-1m", encoder="lstm"))
