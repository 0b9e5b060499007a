"""CodecLM: the shell that every core is put into. Frame t is predicted from the frames before it and the text."""
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ..config import ALIGNED, CONDITIONING, ONLY_PHONEMES, ModelConfig
from .cores import AS_REPORTED, SIZES, build_core
from .linear import Linear
from .text_encoder import TextEncoder

BINS = 1024
START = BINS        # start of an utterance, and padding
REGIMES = ("causal", "as_reported", "masked")
TIMING = 4          # numbers that tell a frame where in its span it is


class Guide(NamedTuple):
    """Which symbol of the text each frame is at, and where in its span it is (lib.data.phrases.guide)."""
    where: Tensor       # (batch, frames)
    timing: Tensor      # (batch, frames, TIMING)


class Aligned(nn.Module):
    """What a frame is told of the phoneme that is said: its name, or also its neighbours' and the timing."""

    def __init__(self, vocabulary: int, width: int, neighbours: bool):
        super().__init__()
        self.padding = vocabulary
        self.offsets = (0, -1, 1, 2) if neighbours else (0,)
        self.symbols = nn.ModuleList(nn.Embedding(vocabulary + 1, width) for _ in self.offsets)

    def forward(self, text: Tensor, where: Tensor) -> Tensor:           # (batch, symbols), (batch, frames)
        padded = F.pad(text, (1, 2), value=self.padding)
        return sum(table(padded.gather(1, where + 1 + offset)) for table, offset in zip(self.symbols, self.offsets))


@dataclass
class DecodingState:
    core: Any
    text: Tensor | None     # (batch, frames or 1, width), added to each frame; None where it stands before them
    characters: int = 0     # of text that stand before the frames, of the shortest
    frames: int = 0         # of audio so far, after the shortest
    rest: Tensor | None = None      # (batch, characters, width), of longer texts: what is read in place of the first frames
    unread: Tensor | None = None    # (batch,), how many of these are a row's own


class CodecLM(nn.Module):
    """Codes (batch, codebooks, frames) and text (batch, characters) to logits (batch, codebooks, frames, 1024).

    Conditioning `pooled` adds the mean of the encoded text to every frame; the aligned ones add what a Guide says of
    each frame; `prefix` puts the encoded characters before the frames, in one sequence. Each row's frames follow its
    last character, and what pads a shorter text comes after the frames: a causal core never reads it. As reported, a
    core reads it, so there a row is exactly what it is alone only among texts of its own length.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        if config.regime not in REGIMES:
            raise ValueError(f"no regime {config.regime!r}: choose one of {', '.join(REGIMES)}")
        if config.regime == "as_reported" and config.core not in AS_REPORTED:
            raise ValueError(f"the core {config.core} has no regime as_reported: choose causal")
        if config.regime == "masked" and (config.pattern, config.conditioning in ALIGNED) != ("parallel", True):
            raise ValueError(f"masked, codebooks are parallel and frames aligned, not {config.pattern} and {config.conditioning}")
        if config.conditioning not in CONDITIONING:
            raise ValueError(f"no conditioning {config.conditioning!r}: choose one of {', '.join(CONDITIONING)}")
        if config.dropped and config.conditioning == "prefix":
            raise ValueError("a text that stands before the frames cannot be dropped: choose another conditioning")
        self.config, self.codebooks = config, config.codebooks
        self.core = build_core(config.core, config.size, config.regime == "causal", config.recipe,
                               config.window, config.state, config.layers, config.rotary)
        size = SIZES[config.size]
        if config.conditioning in ONLY_PHONEMES:
            self.text_encoder = Aligned(config.vocabulary, size.width, config.conditioning == "neighbours")
        else:
            self.text_encoder = TextEncoder(config.vocabulary, size.text_width, size.width, config.encoder)
        timed = config.conditioning in ALIGNED and config.conditioning != "phoneme"
        self.timing = nn.Linear(TIMING, size.width) if timed else None
        # one table of 1025 rows and one head of 1024 rows for each codebook, stored one under the other
        self.embedding = nn.Embedding(self.codebooks * (BINS + 1), size.width)
        self.heads = Linear(size.width, self.codebooks * BINS)
        self.end = Linear(size.width, 1)
        self.positions = nn.Embedding(size.positions, size.width) if size.positions else None
        self.register_buffer("offsets", torch.arange(self.codebooks)[:, None] * (BINS + 1), persistent=False)

    def _embed(self, codes: Tensor, text: Tensor | None = None) -> Tensor:
        """Frames (batch, codebooks, frames) to (batch, frames, width), with what each is told of the text."""
        x = self.embedding(codes + self.offsets).mean(1)
        return x if text is None else x + text

    def told(self, text: Tensor, guide: Guide | None = None) -> Tensor:
        """What each frame is told of the text: (batch, frames or 1, width)."""
        if self.config.conditioning == "pooled":
            return self.text_encoder.pooled(text)[:, None]
        if guide is None:
            raise ValueError(f"conditioning {self.config.conditioning} needs a guide: which symbol each frame is at")
        if isinstance(self.text_encoder, Aligned):
            told = self.text_encoder(text, guide.where)
        else:
            told = self.text_encoder(text).take_along_dim(guide.where[..., None], 1)
        return told if self.timing is None else told + self.timing(guide.timing)

    def told_alone(self, text: Tensor) -> Tensor:
        """What `told` says of each row by itself, without what pads it: (batch, 1, width), where frames are not aligned."""
        return torch.cat([self.told(row[None, row != self.text_encoder.padding]) for row in text])

    def _place(self, x: Tensor, characters: int = 0, start: int = 0) -> Tensor:
        """Core input (batch, length, width), from position `start` on, plus learned positions where there are any."""
        if self.positions is None:
            return x
        end, limit = start + x.shape[1], self.positions.num_embeddings
        if end > limit:
            what = f"{characters} characters and {end - characters} frames" if characters else f"{end} frames"
            raise ValueError(f"{what}: size {self.config.size} has positions for {limit}; take a matched size")
        return x + self.positions.weight[start:end]

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.heads(x).unflatten(-1, (self.codebooks, BINS)).movedim(-2, 1)
        return logits, self.end(x)[..., 0]

    def given(self, codes: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of each frame of `codes`, and of the end, where each is `told` (batch, frames or 1, width) so much of the text:
        given the frames before it, or masked, given all of them, START where a code is hidden."""
        seen = codes if self.config.regime == "masked" else F.pad(codes[..., :-1], (1, 0), value=START)
        return self._read(self.core(self._place(self._embed(seen, told))))

    def forward(self, codes: Tensor, text: Tensor, guide: Guide | None = None, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Teacher forcing: logits of each frame of `codes` given those before it, or masked, given those that are not hidden; and
        of the end, (batch, frames). Rows that are not `kept` (batch,) are told nothing of their text."""
        if self.config.conditioning != "prefix":
            told = self.told(text, guide)
            return self.given(codes, told if kept is None else told * kept[:, None, None])
        before = F.pad(codes[..., :-1], (1, 0), value=START)
        characters, frames = text.shape[1], codes.shape[2]
        padding = F.pad(text == self.text_encoder.padding, (0, frames))  # (batch, characters + frames)
        order = padding.byte().argsort(dim=1, stable=True)[..., None]   # a row's characters, its frames, then padding
        x = torch.cat([self.text_encoder(text), self._embed(before)], 1).take_along_dim(order, 1)
        y = self.core(self._place(x, characters))
        return self._read(y.take_along_dim(order.argsort(1)[:, characters:], 1))

    def initial_state(self, text: Tensor, frames: int, told: Tensor | None = None) -> DecodingState:
        """State before the first frame, with room for `frames` frames. A prefix has gone through the core by then, of texts of
        several lengths as much as the shortest has: the rest of a longer one is read in place of its row's first frames. Where
        each frame is `told` of the text, what the last one is told holds for all that follow."""
        if self.config.conditioning != "prefix":
            return DecodingState(self.core.initial_state(len(text), frames), self.told_alone(text) if told is None else told)
        rows = [self.text_encoder(row[None, row != self.text_encoder.padding])[0] for row in text]     # (characters, width) each
        characters = min(map(len, rows))
        state = DecodingState(self.core.initial_state(len(rows), characters + frames), None, characters)
        self.core(self._place(torch.stack([row[:characters] for row in rows]), characters), state.core)
        if any(len(row) > characters for row in rows):
            state.rest = pad_sequence([row[characters:] for row in rows], batch_first=True)
            state.unread = torch.tensor([len(row) - characters for row in rows], device=text.device)
        return state

    def step(self, previous: Tensor, state: DecodingState) -> tuple[Tensor, Tensor]:
        """Logits (batch, codebooks, 1024) of the next frame given the previous one, (batch, codebooks); of a row whose text is
        not yet read to its end, of no meaning."""
        at = state.characters + state.frames
        told = None if state.text is None else state.text[:, min(state.frames, state.text.shape[1] - 1)][:, None]
        x = self._embed(previous[:, :, None], told)
        if state.rest is not None and state.frames < state.rest.shape[1]:
            x = torch.where((state.frames < state.unread)[:, None, None], state.rest[:, state.frames, None], x)
        x = self._place(x, state.characters, at)[:, 0]
        state.frames += 1
        return self._read(self.core.step(x, state.core))


def losses(logits: Tensor, end: Tensor, codes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy per token, loss of the end, and tokens right per codebook (codebooks,).

    `codes` (batch, codebooks, frames) hold START where there is nothing to predict; `lengths` (batch,) are the frames
    of each utterance, the last of which is its end.
    """
    present = codes != START
    # in the order that the heads left them in: no copy
    cross_entropy = F.cross_entropy(logits.movedim(1, 2).flatten(0, 2), codes.masked_fill(~present, -100).mT.flatten(),
                                    ignore_index=-100)
    at = torch.arange(end.shape[1], device=end.device)
    inside, last = at < lengths[:, None], (at == lengths[:, None] - 1).to(end.dtype)
    end_loss = F.binary_cross_entropy_with_logits(end[inside], last[inside])
    right = ((logits.argmax(-1) == codes) & present).sum((0, 2)) / present.sum((0, 2))
    return cross_entropy, end_loss, right
