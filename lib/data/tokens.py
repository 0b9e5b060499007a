"""Codes of clips: the cache, the delay pattern, and batches."""
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor

from ..config import ModelConfig, workspace
from ..files import Damaged, seal, unseal, write_atomic
from ..records import digest
from .codec import MAX_CODEBOOKS, Codec
from .text import encode

START = 1024                # also where the delay pattern or a shorter clip leaves nothing to predict


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


def cached(what: object, make: Callable[[], bytes]) -> bytes:
    """What was made before for `what` (JSON), or is made and kept now; a damaged entry is named and made again."""
    name = digest(what)
    path = workspace() / "data" / "cache" / name[:2] / name[2:34]
    try:
        return unseal(path)
    except FileNotFoundError:
        pass
    except Damaged:
        warnings.warn(f"cache entry {path} is damaged: it is made again", stacklevel=2)
    content = make()
    write_atomic(path, seal(content), durable=False)        # it verifies itself
    return content


def fingerprint(audio: np.ndarray) -> str:
    return hashlib.sha256(audio.tobytes()).hexdigest()


def encoded(samples: str, codec: Codec, read: Callable[[], np.ndarray]) -> np.ndarray:
    """All codes (8, frames) int16 of the audio with the fingerprint `samples`, which is read if they are not cached."""
    return load(cached({"samples": samples, "codec": codec.identity},
                       lambda: save({"codes": codec.encode(read(), MAX_CODEBOOKS)})))["codes"]


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


def collate(tokens: list[Tokens], config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (batch, codebooks, frames) padded with START, lengths (batch,), text (batch, characters)."""
    if config.pattern not in ("parallel", "delay"):
        raise ValueError(f"no codebook pattern {config.pattern!r}: choose parallel or delay")
    codes = [torch.from_numpy(t.codes.astype(np.int64)) for t in tokens]
    if config.pattern == "delay":
        codes = [delay(c) for c in codes]
    lengths = torch.tensor([c.shape[1] for c in codes])
    padded = codes[0].new_full((len(codes), len(codes[0]), int(lengths.max())), START)
    for row, c in zip(padded, codes):
        row[:, :c.shape[1]] = c
    texts = [torch.tensor(encode(t.text, config.alphabet, config.language)) for t in tokens]
    return padded, lengths, torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=config.vocabulary)
