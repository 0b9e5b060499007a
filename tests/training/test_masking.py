"""What is hidden of codes: of one codebook a share, of those above it all."""
import numpy as np
import pytest
import torch

from lib.models.codec_lm import START
from lib.training.masking import hidden, hide

CODES = torch.arange(1, 61).view(2, 3, 10)


def test_a_share_of_one_codebook_is_asked_for_and_all_above_it_is_hidden():
    codes = CODES.clone()
    codes[1, :, 8:] = START                                             # a shorter row
    seen, asked = hide(codes, np.array([1, 0]), np.array([0.5, 0.25]), np.random.default_rng(0))
    assert torch.equal(seen[0, 0], codes[0, 0]) and (seen[0, 2] == START).all() and (seen[1, 1:] == START).all()
    for row, k, n in ((0, 1, 5), (1, 0, 2)):
        hole = asked[row, k] != START
        assert hole.sum() == n and torch.equal(asked[row, k][hole], codes[row, k][hole])
        assert (seen[row, k][hole] == START).all() and torch.equal(seen[row, k][~hole], codes[row, k][~hole])
        assert (asked[row][torch.arange(3) != k] == START).all()
    assert not (asked[1, 0, 8:] != START).any()
    assert (hide(codes, np.array([2, 2]), np.array([0.0, 0.0]), np.random.default_rng(0))[1] != START).sum() == 2    # one at least


def test_the_share_follows_the_cosine_schedule_and_every_codebook_is_drawn():
    codes, random = torch.zeros(3000, 3, 100, dtype=torch.long), np.random.default_rng(0)
    asked = hidden(codes, random)[1] != START
    assert asked.any(2).sum(0).min() > 900 and (asked.any(2).sum(1) == 1).all()
    share = asked.sum((1, 2)) / 100
    assert share.mean() == pytest.approx(2 / np.pi, abs=0.02)           # the mean of a cosine over a quarter turn
    assert share.min() < 0.1 and share.max() == 1.0
