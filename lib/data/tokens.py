"""Codes of clips: the cache, the delay pattern, and batches."""
import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor

from ..config import workspace
from ..records import digest, write_atomic
from .codec import Codec
from .corpus import Clip
from .text import ALPHABET, encode

START = 1024                # also where the delay pattern or a shorter clip leaves nothing to predict
TEXT_PADDING = len(ALPHABET)


@dataclass(frozen=True)
class Tokens:
    """Codes (codebooks, frames) int16 of one sentence, and the codec whose they are."""
    id: str
    text: str
    codes: np.ndarray
    codec: str              # digest of the codec's weights

    @property
    def digest(self) -> str:
        return digest([self.text, hashlib.sha256(self.codes.tobytes()).hexdigest(), self.codes.shape, self.codec])


def tokenise(clip: Clip, codec: Codec, codebooks: int) -> Tokens:
    """Codes of a clip, from the cache where these samples went through this codec before."""
    samples = hashlib.sha256(clip.audio.tobytes()).hexdigest()
    path = workspace() / "data" / "cache" / f"{digest([samples, codec.identity, codebooks])[:32]}.tokens"
    codes = _read(path)
    if codes is None:
        codes = codec.encode(clip.audio, codebooks)
        payload = save({"codes": codes})
        write_atomic(path, hashlib.sha256(payload).digest() + payload)
    return Tokens(clip.id, clip.text, codes, codec.digest)


def _read(path: Path) -> np.ndarray | None:
    """A cache entry is its own sha256 and a safetensors payload; a damaged one is named and made again."""
    if not path.exists():
        return None
    stored = path.read_bytes()
    if hashlib.sha256(stored[32:]).digest() != stored[:32]:
        warnings.warn(f"cache entry {path} is damaged: it is made again", stacklevel=3)
        return None
    return load(stored[32:])["codes"]


def sound(codes: np.ndarray, made_with: str, codec: Codec) -> np.ndarray:
    """Audio of codes, refused where another codec made them."""
    if made_with != codec.digest:
        raise ValueError(f"these tokens were made with codec {made_with[:12]}, not with {codec.name} "
                         f"({codec.digest[:12]}): load the codec that made them")
    return codec.decode(codes)


def delay(codes: Tensor) -> Tensor:
    """(…, codebooks, frames) to (…, codebooks, frames + codebooks - 1): codebook k is k frames late (Copet et al. 2023)."""
    *batch, codebooks, frames = codes.shape
    out = codes.new_full((*batch, codebooks, frames + codebooks - 1), START)
    for k in range(codebooks):
        out[..., k, k:k + frames] = codes[..., k, :]
    return out


def undelay(codes: Tensor) -> Tensor:
    """The inverse of `delay`."""
    codebooks = codes.shape[-2]
    frames = codes.shape[-1] - codebooks + 1
    return torch.stack([codes[..., k, k:k + frames] for k in range(codebooks)], -2)


def collate(tokens: list[Tokens], pattern: str) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (batch, codebooks, frames) padded with START, lengths (batch,), text (batch, characters)."""
    if pattern not in ("parallel", "delay"):
        raise ValueError(f"no codebook pattern {pattern!r}: choose parallel or delay")
    codes = [torch.from_numpy(t.codes.astype(np.int64)) for t in tokens]
    if pattern == "delay":
        codes = [delay(c) for c in codes]
    lengths = torch.tensor([c.shape[1] for c in codes])
    padded = codes[0].new_full((len(codes), len(codes[0]), int(lengths.max())), START)
    for row, c in zip(padded, codes):
        row[:, :c.shape[1]] = c
    texts = [torch.tensor(encode(t.text)) for t in tokens]
    return padded, lengths, torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=TEXT_PADDING)
