"""Which phoneme each frame of codes is of: so few frames are heard at once that none can be taken for its neighbour."""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .codec_lm import BINS


class Aligner(nn.Module):
    """Codes (batch, codebooks, frames) to logits (batch, frames, classes). A frame is judged by two on each side of it.
    `share` is what part of the frames each class has, as far as is known."""

    def __init__(self, codebooks: int, classes: int, width: int = 192, layers: int = 2, dropout: float = 0.3):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(BINS, width) for _ in range(codebooks))
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=codebooks ** -0.5)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers + 1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        self.register_buffer("share", torch.full((classes,), 1 / classes))

    def forward(self, codes: Tensor) -> Tensor:
        x = torch.stack([embed(codes[:, k]) for k, embed in enumerate(self.embeddings)]).sum(0)    # (batch, frames, width)
        for conv, norm in zip(self.convs, self.norms):
            x = x + self.dropout(F.relu(conv(norm(x).mT).mT))
        return self.head(self.norms[-1](x))

    def likelihood(self, logits: Tensor, scale: float = 0.5) -> Tensor:
        """Log-likelihoods of the classes, of their shape, but for what is the same for all: the posterior over a power of the
        class's share of the frames (Bourlard and Morgan 1994), without which what is frequent spreads over its neighbours."""
        return logits.log_softmax(-1) - scale * self.share.log()
