"""CodecLM: the shell that every core is put into. Frame t is predicted from the frames before it and the text."""
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ModelConfig
from .cores import SIZES, build_core
from .text_encoder import MambaConvTextEncoder

BINS = 1024
START = BINS        # start of an utterance, and padding


@dataclass
class DecodingState:
    core: Any
    text: Tensor        # (batch, width)
    frames: int = 0


class CodecLM(nn.Module):
    """Codes (batch, codebooks, frames) and text (batch, characters) to logits (batch, codebooks, frames, 1024)."""

    def __init__(self, config: ModelConfig, vocabulary: int):
        super().__init__()
        if config.regime not in ("causal", "as_reported"):
            raise ValueError(f"no regime {config.regime!r}: choose causal or as_reported")
        if config.conditioning != "pooled":
            raise ValueError(f"no conditioning {config.conditioning!r}: choose pooled")
        self.config, self.codebooks = config, config.codebooks
        self.core = build_core(config.core, config.size, config.regime == "causal")
        size = SIZES[config.size]
        self.text_encoder = MambaConvTextEncoder(vocabulary, size.text_width, size.width)
        # one table of 1025 rows and one head of 1024 rows for each codebook, stored one under the other
        self.embedding = nn.Embedding(self.codebooks * (BINS + 1), size.width)
        self.heads = nn.Linear(size.width, self.codebooks * BINS)
        self.end = nn.Linear(size.width, 1)
        self.positions = nn.Embedding(size.positions, size.width) if size.positions else None
        self.register_buffer("offsets", torch.arange(self.codebooks)[:, None] * (BINS + 1), persistent=False)

    def _embed(self, codes: Tensor, text: Tensor, start: int = 0) -> Tensor:
        """Frames (batch, codebooks, frames) to core input (batch, frames, width), text added to each."""
        frames = codes.shape[2]
        x = self.embedding(codes + self.offsets).mean(1) + text[:, None]
        if self.positions is not None:
            limit = self.positions.num_embeddings
            if start + frames > limit:
                raise ValueError(f"{start + frames} frames: size {self.config.size} has positions for {limit}; "
                                 "take a matched size")
            x = x + self.positions.weight[start:start + frames]
        return x

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.heads(x).unflatten(-1, (self.codebooks, BINS)).movedim(-2, 1)
        return logits, self.end(x)[..., 0]

    def forward(self, codes: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing: logits of each frame of `codes` given the frames before it, and of the end, (batch, frames)."""
        before = F.pad(codes[..., :-1], (1, 0), value=START)
        return self._read(self.core(self._embed(before, self.text_encoder(text))))

    def initial_state(self, text: Tensor, frames: int) -> DecodingState:
        """State before the first frame, with room for `frames` frames."""
        return DecodingState(self.core.initial_state(len(text), frames), self.text_encoder(text))

    def step(self, previous: Tensor, state: DecodingState) -> tuple[Tensor, Tensor]:
        """Logits (batch, codebooks, 1024) of the next frame given the previous one, (batch, codebooks)."""
        x = self._embed(previous[:, :, None], state.text, state.frames)[:, 0]
        state.frames += 1
        return self._read(self.core.step(x, state.core))


def losses(logits: Tensor, end: Tensor, codes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy per token, loss of the end, and tokens right per codebook (codebooks,).

    `codes` (batch, codebooks, frames) hold START where there is nothing to predict; `lengths` (batch,) are the frames
    of each utterance, the last of which is its end.
    """
    present = codes != START
    cross_entropy = F.cross_entropy(logits.movedim(-1, 1), codes.masked_fill(~present, -100), ignore_index=-100)
    at = torch.arange(end.shape[1], device=end.device)
    inside, last = at < lengths[:, None], (at == lengths[:, None] - 1).to(end.dtype)
    end_loss = F.binary_cross_entropy_with_logits(end[inside], last[inside])
    right = ((logits.argmax(-1) == codes) & present).sum((0, 2)) / present.sum((0, 2))
    return cross_entropy, end_loss, right
