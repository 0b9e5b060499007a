"""Monotonic alignment against enumeration of all paths, and against the gradient of the likelihood in float64."""
from itertools import product

import numpy as np
import pytest
import torch

from lib.metrics.monotonic import log_likelihood, posterior, segments

CASES = [(frames, states, pattern) for frames, states in ((1, 1), (2, 1), (3, 3), (5, 3), (7, 4), (6, 5), (9, 2))
         for pattern in range(4)]


def made(frames: int, states: int, pattern: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([frames, states, pattern])
    optional = [np.zeros(states, bool), np.arange(states) % 2 == 0, np.arange(states) % 2 == 1, np.arange(states) == states - 1][pattern]
    return random.normal(size=(frames, states)), optional & (states > 1)


def paths(frames: int, optional: np.ndarray) -> list[tuple[int, ...]]:
    """All ways to share frames out; two optional states in a row are not both left out by `posterior`, nor are there such."""
    return [d for d in product(range(frames + 1), repeat=len(optional)) if sum(d) == frames and all(n or o for n, o in zip(d, optional))]


@pytest.mark.parametrize("frames, states, pattern", CASES)
def test_the_posterior_is_the_gradient_of_the_likelihood_of_all_paths(frames, states, pattern):
    logp, optional = made(frames, states, pattern)
    ways, expected = paths(frames, optional), np.zeros((frames, states))
    scores = []
    for way in ways:
        row = np.repeat(np.arange(states), way)
        scores.append(logp[np.arange(frames), row].sum())
        expected[np.arange(frames), row] += np.exp(scores[-1])
    if not ways:
        assert not posterior(logp, optional).any()
        return
    given = torch.tensor(logp, requires_grad=True)
    total = log_likelihood(given, optional)
    total.backward()
    assert total.item() == pytest.approx(np.logaddexp.reduce(scores), abs=1e-12)
    np.testing.assert_allclose(given.grad, expected / np.exp(scores).sum(), atol=1e-12)
    np.testing.assert_allclose(posterior(logp, optional), expected / np.exp(scores).sum(), atol=1e-12)


@pytest.mark.parametrize("frames, states, pattern", CASES)
@pytest.mark.parametrize("most", [2, 9])
def test_segments_are_the_likeliest_of_all_paths(frames, states, pattern, most):
    logp, optional = made(frames, states, pattern)
    lasting = np.random.default_rng(1).normal(size=(states, most + 1))

    def score(way: tuple[int, ...]) -> float:
        row = np.repeat(np.arange(states), way)
        return logp[np.arange(frames), row].sum() + sum(lasting[s, n] for s, n in enumerate(way) if n)

    ways = [way for way in paths(frames, optional) if max(way) <= most]
    assert tuple(segments(logp, optional, lasting)) == (max(ways, key=score) if ways else (0,) * states)


def test_a_long_clip_does_not_underflow():
    logp = np.full((1500, 200), -40.0)
    logp[np.arange(1500), np.arange(1500) * 200 // 1500] = 0.0
    found = posterior(logp, np.zeros(200, bool))
    assert found.sum() == pytest.approx(1500) and found[np.arange(1500), np.arange(1500) * 200 // 1500].min() > 0.999
    assert set(segments(logp, np.zeros(200, bool), np.zeros((200, 20)))) == {7, 8}
