"""The text encoder that all cores share: characters through one block, the original report's or a plain convolution."""
from torch import Tensor, nn
from torch.nn import functional as F

from .conv import GroupedConv
from .mamba_conv import MambaConvBlock


class ConvBlock(nn.Module):
    """x + fuse(convolution(x)), of the seed block's parameters within 6 %: each character sees four on
    either side. What pads a text is 0 when it comes in, so what a text is does not depend on its padding."""

    def __init__(self, width: int):
        super().__init__()
        self.conv, self.fuse = GroupedConv(width, 9, groups=1, look_ahead=True), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:                             # (batch, characters, width)
        return self.norm(x + self.fuse(self.conv(x)))


ENCODERS = {"mamba_conv": lambda width: MambaConvBlock(width, kernels=(3,), look_ahead=True), "conv": ConvBlock}


class TextEncoder(nn.Module):
    """Character ids (batch, characters), padded with `vocabulary` at the end, to (batch, characters, width).

    The convolution looks ahead: all of the text is known before the first frame. Every vector that leaves is brought
    to a fixed scale: as it comes, texts differ in the pooled one by a tenth of what code embeddings differ by, and a
    model that memorised three clips says the same one for every text. After 400 steps that still happened to one core
    of three at scale 1; at scale 2 every core was slower to learn the clips.
    """

    SCALE = 1.5

    def __init__(self, vocabulary: int, text_width: int, width: int, encoder: str = "mamba_conv"):
        super().__init__()
        if encoder not in ENCODERS:
            raise ValueError(f"no encoder {encoder!r} of the text: choose {' or '.join(ENCODERS)}")
        self.padding = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, text_width, padding_idx=vocabulary)
        self.block = ENCODERS[encoder](text_width)
        self.project = nn.Linear(text_width, width)

    def _scaled(self, encoded: Tensor) -> Tensor:                       # (…, text width) to (…, width)
        x = self.project(encoded)
        return self.SCALE * F.layer_norm(x, x.shape[-1:])

    def forward(self, text: Tensor) -> Tensor:
        return self._scaled(self.block(self.embedding(text)))

    def pooled(self, text: Tensor) -> Tensor:
        """One vector for each text, the mean of its characters: (batch, width)."""
        present = (text != self.padding)[..., None]                     # (batch, characters, 1)
        encoded = self.block(self.embedding(text)) * present
        return self._scaled(encoded.sum(1) / present.sum(1))
