"""The text encoder that all cores share: characters through one Mamba + convolution block."""
from torch import Tensor, nn
from torch.nn import functional as F

from .conv import MambaConvBlock


class MambaConvTextEncoder(nn.Module):
    """Character ids (batch, characters), padded with `vocabulary`, to one vector each, (batch, width), pooled.

    The convolution looks ahead: all of the text is known before the first frame. The pooled vector is brought to a
    fixed scale: as it comes, texts differ in it by a tenth of what code embeddings differ by, and a model that
    memorised three clips says the same one for every text. After 400 steps that still happened to one core of three
    at scale 1; at scale 2 every core was slower to learn the clips.
    """

    SCALE = 1.5

    def __init__(self, vocabulary: int, text_width: int, width: int):
        super().__init__()
        self.padding = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, text_width, padding_idx=vocabulary)
        self.block = MambaConvBlock(text_width, kernel=3, look_ahead=True)
        self.project = nn.Linear(text_width, width)

    def forward(self, text: Tensor) -> Tensor:
        present = (text != self.padding)[..., None]                     # (batch, characters, 1)
        encoded = self.block(self.embedding(text)) * present
        pooled = self.project(encoded.sum(1) / present.sum(1))          # (batch, width)
        return self.SCALE * F.layer_norm(pooled, pooled.shape[-1:])
