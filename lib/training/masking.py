"""What a masked model learns from: codes of which some are hidden, to be told from the others, before and after them.

A codebook is asked for, all below it are there and all above it hidden, as in SoundStorm (Borsos et al. 2023, section 3.2)."""
import math

import numpy as np
import torch
from torch import Tensor

from ..models.codec_lm import START


def hide(codes: Tensor, codebook: np.ndarray, share: np.ndarray, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Codes (batch, codebooks, frames) as the model reads them, START where they are hidden: of each row so great a share (batch,)
    of the frames of one codebook (batch,), one at least, and all of the codebooks above it. And those that it is asked for: the
    hidden ones of that codebook, START elsewhere."""
    seen, asked = codes.clone(), torch.full_like(codes, START)
    for row, (k, part) in enumerate(zip(codebook.tolist(), share.tolist())):
        present = torch.nonzero(codes[row, k] != START)[:, 0]
        chosen = present[torch.from_numpy(random.permutation(len(present)))[:max(1, round(part * len(present)))]]
        seen[row, k, chosen], asked[row, k, chosen] = START, codes[row, k, chosen]
        seen[row, k + 1:] = START
    return seen, asked


def hidden(codes: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same of a codebook and a share that are drawn, the share by the cosine schedule (Chang et al. 2022, MaskGIT)."""
    batch, codebooks, _ = codes.shape
    return hide(codes, random.integers(codebooks, size=batch), np.cos(math.pi / 2 * random.random(batch)), random)
