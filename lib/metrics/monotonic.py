"""Which frames belong to which state of a row of states that are passed in order: each gets one frame or more, and one that
is optional perhaps none. What is known is how likely each frame is in each state."""
import numpy as np
import torch
from numba import njit
from torch import Tensor

NEVER = -1e30       # the logarithm of 0


@njit(cache=True)
def posterior(logp: np.ndarray, optional: np.ndarray) -> np.ndarray:
    """How probable each state is at each frame (frames, states), over all paths through states that are `optional` (states,)
    or not, from log-probabilities `logp` (frames, states): the forward-backward algorithm (Rabiner 1989, section III.B), each
    frame scaled to sum 1. It is the gradient of the log-likelihood of all paths with respect to logp. All 0 where there is
    no path."""
    frames, states = logp.shape
    p, before, after = np.empty((frames, states)), np.zeros((frames, states)), np.zeros((frames, states))
    for t in range(frames):
        p[t] = np.exp(logp[t] - logp[t].max())
    before[0, 0], after[-1, -1] = p[0, 0], 1.0
    if optional[0] and states > 1:
        before[0, 1] = p[0, 1]
    if optional[-1] and states > 1:
        after[-1, -2] = 1.0
    for t in range(1, frames):
        for s in range(states):
            reached = before[t - 1, s]
            if s > 0:
                reached += before[t - 1, s - 1]
            if s > 1 and optional[s - 1]:
                reached += before[t - 1, s - 2]
            before[t, s] = reached * p[t, s]
        before[t] /= max(before[t].sum(), 1e-300)
    for t in range(frames - 2, -1, -1):
        for s in range(states):
            left = after[t + 1, s] * p[t + 1, s]
            if s + 1 < states:
                left += after[t + 1, s + 1] * p[t + 1, s + 1]
            if s + 2 < states and optional[s + 1]:
                left += after[t + 1, s + 2] * p[t + 1, s + 2]
            after[t, s] = left
        after[t] /= max(after[t].sum(), 1e-300)
    for t in range(frames):
        before[t] *= after[t]
        before[t] /= max(before[t].sum(), 1e-300)
    return before


def log_likelihood(logp: Tensor, optional: np.ndarray) -> Tensor:
    """The log-likelihood of all paths, whose gradient `posterior` is: its slow twin."""
    states = logp.shape[1]
    skips = torch.tensor([s > 1 and bool(optional[s - 1]) for s in range(states)])
    first = torch.tensor([s == 0 or s == 1 and bool(optional[0]) for s in range(states)])
    never = logp.new_full((states,), NEVER)
    reached = torch.where(first, logp[0], never)
    for row in logp[1:]:
        one, two = (torch.cat([never[:n], reached[:-n]])[:states] for n in (1, 2))
        reached = row + torch.logsumexp(torch.stack([reached, one, torch.where(skips, two, never)]), 0)
    last = reached[-2:] if optional[-1] and states > 1 else reached[-1:]
    return torch.logsumexp(last, 0)


@njit(cache=True)
def segments(logp: np.ndarray, optional: np.ndarray, lasting: np.ndarray) -> np.ndarray:
    """Frames of each state (states,) on the likeliest path, where staying n frames in a state has the log-probability
    `lasting[state, n]` (states, 1 + most): the Viterbi algorithm for a hidden semi-Markov model (Yu 2010, section 2.2.1).
    All 0 where there is no path."""
    frames, states = logp.shape
    most = lasting.shape[1] - 1
    total = np.zeros((frames + 1, states))
    for t in range(frames):
        total[t + 1] = total[t] + logp[t]
    best, stayed = np.full((states + 1, frames + 1), NEVER), np.zeros((states + 1, frames + 1), np.int64)
    best[0, 0] = 0.0
    for s in range(states):
        for t in range(frames + 1):
            if optional[s]:
                best[s + 1, t] = best[s, t]
            for n in range(1, min(most, t) + 1):
                if best[s, t - n] > NEVER:
                    score = best[s, t - n] + total[t, s] - total[t - n, s] + lasting[s, n]
                    if score > best[s + 1, t]:
                        best[s + 1, t], stayed[s + 1, t] = score, n
    out, t = np.zeros(states, np.int64), frames
    if best[states, frames] > NEVER:
        for s in range(states, 0, -1):
            out[s - 1] = stayed[s, t]
            t -= out[s - 1]
    return out
