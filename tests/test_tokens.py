"""Delay, batches, the cache, and codes that stay with their codec."""
import numpy as np
import pytest
import torch

from lib.data.corpus import Clip
from lib.data.tokens import START, collate, delay, sound, tokenise, undelay


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
    codes, lengths, text = collate(clips, "parallel")
    assert codes.shape == (3, 4, 13) and lengths.tolist() == [9, 11, 13] and text.shape == (3, 11)
    assert (codes[0, :, 9:] == START).all() and (codes[0, :, :9].numpy() == clips[0].codes).all()
    assert collate(clips, "delay")[1].tolist() == [12, 14, 16]
    with pytest.raises(ValueError, match="no codebook pattern 'late'"):
        collate(clips, "late")


def test_cache_serves_once_and_names_and_rebuilds_a_damaged_entry(workspace):
    codec, clip = FakeCodec(), Clip("a", "ala", np.random.default_rng(0).normal(size=3200).astype(np.float32))
    first = tokenise(clip, codec, 4)
    assert np.array_equal(tokenise(clip, codec, 4).codes, first.codes) and codec.calls == 1
    tokenise(clip, codec, 2)
    assert codec.calls == 2
    entries = sorted((workspace / "data" / "cache").iterdir())
    assert len(entries) == 2
    for entry in entries:
        damaged = bytearray(entry.read_bytes())
        damaged[-1] ^= 1
        entry.write_bytes(damaged)
    with pytest.warns(UserWarning, match="damaged: it is made again") as warned:
        again = tokenise(clip, codec, 4)
    assert any(e.name in str(warned[0].message) for e in entries)
    assert np.array_equal(again.codes, first.codes) and codec.calls == 3
    assert np.array_equal(tokenise(clip, codec, 4).codes, first.codes) and codec.calls == 3


def test_other_audio_is_another_entry():
    codec = FakeCodec()
    for value in (0.1, 0.2):
        tokenise(Clip("a", "ala", np.full(640, value, np.float32)), codec, 4)
    assert codec.calls == 2


def test_tokens_of_another_codec_are_not_decoded():
    with pytest.raises(ValueError, match="made with codec aaaaaaaaaaaa, not with fake"):
        sound(np.zeros((4, 3), np.int16), "a" * 64, FakeCodec())
