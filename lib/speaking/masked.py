"""Masked decoding: all frames of a sentence at once, those of which the model is surest first, codebook after codebook (Chang et al.
2022, MaskGIT, section 3.2; Borsos et al. 2023, SoundStorm, section 3.3)."""
import math
import time

import numpy as np
import torch
from torch import Tensor

from ..models.codec_lm import START, CodecLM
from .sampling import Sampling, draw


@torch.inference_mode()
def fill(model: CodecLM, told: Tensor, sampling: Sampling) -> tuple[np.ndarray, dict]:
    """Codes (codebooks, frames) int16 of a sentence whose frames are `told` (frames, width) so much of its text, and how it went:
    the first codebook in `sampling.rounds` rounds, each other in one. After round r of R so great a share of the frames is still
    hidden as the cosine of r / R quarter turns."""
    frames, generator = len(told), torch.Generator().manual_seed(sampling.seed)
    codes = torch.full((1, model.codebooks, frames), START, device=told.device)
    begin = time.perf_counter()
    for k in range(model.codebooks):
        rounds = sampling.rounds if k == 0 else 1
        for done in range(1, rounds + 1):
            logits = model.given(codes, told[None])[0][0, k]            # (frames, 1024)
            known = codes[0, k] != START                                # (frames,); they stay
            drawn = torch.where(known, codes[0, k], draw(logits, sampling, generator).to(told.device))
            sure = logits.log_softmax(-1).gather(-1, drawn[:, None])[:, 0].masked_fill(known, math.inf)
            left = int(frames * math.cos(math.pi / 2 * done / rounds) + 1e-9)
            surest = sure.argsort(descending=True, stable=True)[:frames - left]
            codes[0, k, surest] = drawn[surest]
    seconds = time.perf_counter() - begin
    return codes[0].cpu().numpy().astype(np.int16), {
        "frames": frames, "seconds": seconds, "ended": True, "tokens_per_s": frames * model.codebooks / seconds}
