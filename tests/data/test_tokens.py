"""Delay, batches, the cache, and codes that stay with their codec."""
import random

import numpy as np
import pytest
import torch

from lib.config import ModelConfig
from lib.data.corpus import Clip, EmbeddedCorpus
from lib.data.tokens import START, collate, delay, undelay


class FakeCodec:
    """Counts what it is asked for; code k of frame t is k + t."""
    name, digest, calls = "fake", "f" * 64, 0
    identity = {"codec": "fake", "weights": digest}

    def encode(self, audio, codebooks):
        self.calls += 1
        return (np.arange(codebooks)[:, None] + np.arange(len(audio) // 320)).astype(np.int16)

    def decode(self, codes):
        return np.zeros(codes.shape[1] * 320, np.float32)


@pytest.mark.parametrize("shape", [(4, 1), (1, 5), (4, 9), (3, 8, 2), (2, 4, 30)])
def test_delay_there_and_back(shape):
    codes = torch.randint(1024, shape)
    late = delay(codes)
    assert torch.equal(undelay(late), codes)
    assert late.shape[-1] == shape[-1] + shape[-2] - 1
    for k in range(shape[-2]):
        assert torch.equal(late[..., k, k:k + shape[-1]], codes[..., k, :])
        assert (late[..., k, :k] == START).all() and (late[..., k, k + shape[-1]:] == START).all()


def test_collate_pads_codes_and_text(clips):
    codes, lengths, text = collate(clips, ModelConfig())
    assert codes.shape == (3, 4, 13) and lengths.tolist() == [9, 11, 13] and text.shape == (3, 11)
    assert (codes[0, :, 9:] == START).all() and (codes[0, :, :9].numpy() == clips[0].codes).all()
    assert collate(clips, ModelConfig(pattern="delay"))[1].tolist() == [12, 14, 16]
    with pytest.raises(ValueError, match="no codebook pattern 'late'"):
        collate(clips, ModelConfig(pattern="late"))


def corpus(codec: FakeCodec, codebooks: int = 4) -> EmbeddedCorpus:
    return EmbeddedCorpus(None, codec, codebooks, codec.digest)


def test_cache_serves_once_and_names_and_rebuilds_a_damaged_entry(workspace):
    codec, clip = FakeCodec(), Clip("a", "ala", np.random.default_rng(0).normal(size=3200).astype(np.float32))
    first = corpus(codec).tokens(clip)
    assert np.array_equal(corpus(codec).tokens(clip).codes, first.codes) and codec.calls == 1
    assert np.array_equal(corpus(codec, 2).tokens(clip).codes, first.codes[:2]) and codec.calls == 1
    entry, = (p for p in (workspace / "data" / "cache").rglob("*") if p.is_file())
    random.seed(0)
    content = entry.read_bytes()
    for calls in range(2, 102):                                 # a hundred flipped bits are a hundred noticed
        damaged = bytearray(content)
        damaged[random.randrange(len(content))] ^= 1 << random.randrange(8)
        entry.write_bytes(damaged)
        with pytest.warns(UserWarning, match=f"{entry} is damaged: it is made again"):
            assert np.array_equal(corpus(codec).tokens(clip).codes, first.codes)
        assert codec.calls == calls and entry.read_bytes() == content
    entry.write_bytes(content[:len(content) // 2])
    with pytest.warns(UserWarning, match="damaged: it is made again"):
        corpus(codec).tokens(clip)


def test_other_audio_is_another_entry():
    codec = FakeCodec()
    for value in (0.1, 0.2):
        corpus(codec).tokens(Clip("a", "ala", np.full(640, value, np.float32)))
    assert codec.calls == 2


def test_tokens_of_another_codec_are_not_decoded():
    with pytest.raises(ValueError, match="made with codec aaaaaaaaaaaa, those of this corpus with ffffffffffff"):
        corpus(FakeCodec()).sound(np.zeros((4, 3), np.int16), "a" * 64)
