"""A recogniser of phonemes: how well it reads generated speech is how intelligible that speech is.

Convolutions alone (Collobert et al. 2016) and connectionist temporal classification (CTC; Graves et al. 2006). A step
hears 0.7 s of sound, too little to guess a sentence by; with a bidirectional GRU in place of the last layers training
took about four times as long to the same loss.
"""
from collections.abc import Iterable
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLANK = 0           # the class of no phoneme; phoneme i is class i + 1


class Recogniser(nn.Module):
    """Log-mel frames (batch, frames, bands) to logits (batch, ceil(frames / 2), 1 + phonemes), two frames a step.

    What lies beyond a clip's length is masked before each layer, so that a clip in a batch is read as it is alone.
    """

    def __init__(self, phonemes: tuple[str, ...], bands: int = 80, width: int = 192, layers: int = 6, kernel: int = 5,
                 dropout: float = 0.1):
        super().__init__()
        self.phonemes = tuple(phonemes)
        self.stem = nn.Conv1d(bands, width, kernel, 2, padding=kernel // 2)
        self.convs = nn.ModuleList([nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(layers + 1)])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 1 + len(self.phonemes))

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and how many of them each clip has (batch,), of frames and how many each clip has (batch,)."""
        x = self.stem(_masked(mel, lengths).transpose(1, 2)).transpose(1, 2)
        lengths = (lengths + 1) // 2
        for conv, norm in zip(self.convs, self.norms):
            x = x + self.dropout(F.relu(conv(_masked(norm(x), lengths).transpose(1, 2)).transpose(1, 2)))
        return self.head(self.norms[-1](x)), lengths

    @torch.inference_mode()
    def path(self, mel: Tensor) -> list[int]:
        """The likeliest class of each step of one clip (frames, bands)."""
        logits, _ = self(mel[None], torch.tensor([len(mel)]))
        return logits[0].argmax(-1).tolist()

    def read(self, mel: Tensor) -> list[str]:
        """The phonemes of one clip (frames, bands): its path, collapsed."""
        return [self.phonemes[i - 1] for i in collapse(self.path(mel))]


def _masked(x: Tensor, lengths: Tensor) -> Tensor:      # (batch, frames, width)
    return x * (torch.arange(x.shape[1]) < lengths[:, None])[..., None].to(x)


def collapse(classes: Iterable[int]) -> list[int]:
    """The labelling of a CTC path: repeats are one, blanks none (Graves et al. 2006, section 3.1)."""
    return [c for c, _ in groupby(classes) if c != BLANK]


def ctc_loss(logits: Tensor, lengths: Tensor, targets: list[Tensor]) -> Tensor:
    """Negative log-likelihood a phoneme of targets (phonemes,) as classes, given logits (batch, steps, classes)."""
    return F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), torch.cat(targets), lengths,
                      torch.tensor([len(t) for t in targets]), BLANK, zero_infinity=True)
