"""How a token is drawn from its logits."""
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.codec_lm import BINS


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: greedy at temperature 0; else among the `top_k` likeliest, and the fewest that hold `top_p`."""
    temperature: float = 0.0
    top_k: int = BINS
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if not self.temperature >= 0 or not 1 <= self.top_k <= BINS or not 0 < self.top_p <= 1:
            raise ValueError(f"{self}: temperature is at least 0, top_k 1 to {BINS}, top_p above 0 and at most 1")


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Tokens (…) from logits (…, bins). Nucleus sampling after Holtzman et al. 2020."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = logits.cpu()                                               # the generator's device: same draws everywhere
    sorted_logits, tokens = (logits / sampling.temperature).sort(-1, descending=True)
    p = sorted_logits.softmax(-1)
    p[..., sampling.top_k:] = 0
    p[p.cumsum(-1) - p >= sampling.top_p] = 0                           # the likeliest always stays
    chosen = torch.multinomial(p.flatten(0, -2), 1, generator=generator).view(*p.shape[:-1], 1)
    return tokens.gather(-1, chosen)[..., 0]
