"""Neural audio codecs at 24 kHz and 75 frames a second: the embedded one and Meta's pretrained EnCodec.

Both give ceil(samples / 320) frames of `codebooks` codes in 0..1023, and share `encode` and `decode`.
"""
import hashlib
import importlib
import math
import re
import sys
import types
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import REPOSITORY
from ..files import file_digest
from .audio import SAMPLE_RATE

HOP, BINS, MAX_CODEBOOKS = 320, 1024, 8
FRAME_RATE = SAMPLE_RATE / HOP
EMBEDDED = REPOSITORY / "data" / "codec" / "embedded.safetensors"
# Variants of espeak-ng that the embedded codec never heard; training leaves out those that differ from one by little.
UNHEARD_VOICES = ("pl+steph", "pl+anika", "pl+f5", "pl+edward", "pl+victor", "pl+m6")
ENCODEC_SHA256 = "d7cc33bc"     # the prefix that Meta publishes in the file name encodec_24khz-d7cc33bc.th


def import_past_torchaudio(name: str) -> types.ModuleType:
    """A package that imports torchaudio, also where its native extension cannot load (it wants CUDA libraries; what
    needs none of it works)."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise
        for module in [m for m in sys.modules if m.split(".")[0] in ("torchaudio", name)]:
            del sys.modules[module]
    extension = types.ModuleType("torchaudio._extension")
    extension.__path__ = []
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = extension._IS_ALIGN_AVAILABLE = extension._IS_RIR_AVAILABLE = False
    extension.fail_if_no_align = lambda function: function
    extension._check_cuda_version = lambda: None
    sys.modules["torchaudio._extension"] = extension
    return importlib.import_module(name)


def import_encodec() -> types.ModuleType:
    return import_past_torchaudio("encodec")


class Quantiser(nn.Module):
    """Residual vector quantiser whose codes are unit vectors of a few dimensions (Yu et al. 2022; Kumar et al. 2023).

    Each codebook sees what those before it left over, through a projection of its own, and looks up the nearest
    direction. Only directions being compared, quiet frames do not crowd onto a few codes, and the tables are small.
    """

    def __init__(self, width: int, dimensions: int = 8):
        super().__init__()
        self.table = nn.Parameter(F.normalize(torch.randn(MAX_CODEBOOKS, BINS, dimensions), dim=-1))
        self.down = nn.Parameter(torch.randn(MAX_CODEBOOKS, width, dimensions) * width ** -0.5)
        self.bias = nn.Parameter(torch.zeros(MAX_CODEBOOKS, dimensions))
        self.up = nn.Parameter(torch.randn(MAX_CODEBOOKS, dimensions, width) * dimensions ** -0.5)
        self.register_buffer("use", torch.zeros(MAX_CODEBOOKS, BINS))   # running count of frames a step, for training

    def forward(self, latent: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantised latent (batch, frames, width) with the first `codebooks` (batch,) codebooks of each clip; codes
        (8, batch, frames); the loss that draws codes and projections together, with gradients for both."""
        residual, total, codes, loss = latent, 0.0, [], 0.0
        for i in range(MAX_CODEBOOKS):
            z = F.normalize(residual @ self.down[i] + self.bias[i], dim=-1)
            table = F.normalize(self.table[i], dim=-1)
            index = (z.detach() @ table.detach().T).argmax(-1)
            if self.training:
                self._revive(i, z.detach(), index)
            q = F.embedding(index, table)
            loss = loss + (q - z.detach()).square().sum(-1).mean() + 0.25 * (z - q.detach()).square().sum(-1).mean()
            step = (z + (q - z).detach()) @ self.up[i]                  # straight through
            residual, total = residual - step, total + step * (i < codebooks)[:, None, None]
            codes.append(index)
        return total, torch.stack(codes), loss / MAX_CODEBOOKS

    @torch.no_grad()
    def _revive(self, i: int, z: Tensor, index: Tensor) -> None:
        """Put codes that have fallen out of use onto frames of this batch."""
        self.use[i].lerp_(torch.bincount(index.flatten(), minlength=BINS).float(), 0.03)
        dead = (self.use[i] < 0.1 * index.numel() / BINS).nonzero()[:, 0]
        if len(dead):
            frames = z.flatten(0, 1)
            self.table.data[i, dead] = frames[torch.randint(len(frames), dead.shape)]
            self.use[i, dead] = index.numel() / BINS

    def encode(self, latent: Tensor, codebooks: int) -> Tensor:         # (batch, frames, width)
        residual, codes = latent, []
        for table, down, bias, up in zip(self.table[:codebooks], self.down, self.bias, self.up):
            table = F.normalize(table, dim=-1)
            codes.append(((residual @ down + bias) @ table.T).argmax(-1))
            residual = residual - table[codes[-1]] @ up
        return torch.stack(codes)                                       # (codebooks, batch, frames)

    def decode(self, codes: Tensor) -> Tensor:
        return sum(F.normalize(table[index], dim=-1) @ up for index, table, up in zip(codes, self.table, self.up))


class ConvNeXt(nn.Module):
    """Depthwise convolution over frames, then a pointwise MLP (Liu et al. 2022; over frames as in Vocos)."""

    def __init__(self, width: int, hidden: int, ahead: int = 0):
        super().__init__()
        self.ahead = ahead
        self.depthwise = nn.Conv1d(width, width, 7, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor, past: dict | None = None) -> Tensor:   # (batch, frames, width)
        y = _after(self, x, 6 - self.ahead, past)
        if past is not None and x.shape[1] == 1:                        # a convolution takes longer than the product that it is
            y = (y * self.depthwise.weight[:, 0].T).sum(1, keepdim=True) + self.depthwise.bias
        else:
            y = self.depthwise(F.pad(y, (0, 0, 0, self.ahead)).transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.down(F.gelu(self.up(self.norm(y))))


def _after(owner: object, x: Tensor, count: int, past: dict | None) -> Tensor:
    """x (batch, n, width) behind the `count` rows before it: zeros at first, then what `past` kept of the last call."""
    x = torch.cat([x.new_zeros(len(x), count, x.shape[2]) if past is None or owner not in past else past[owner], x], 1)
    if past is not None:
        past[owner] = x[:, x.shape[1] - count:]
    return x


class FrameCodec(nn.Module):
    """The embedded codec: STFT in, ConvNeXt at 75 frames/s, residual quantiser, inverse STFT out.

    Working on frames, it never runs a network at the sample rate, which is why it can be trained on a CPU core;
    the window of 1280 samples is read and written with 480 samples on either side of each hop, so that n hops are
    exactly n frames. The decoder is causal but for its first layer, which looks LOOK_AHEAD = 2 frames ahead; with
    the overlap of the windows a sample waits for at most 3.5 frames (47 ms) after the end of its own hop.
    """
    LOOK_AHEAD = 2

    def __init__(self, width: int = 256, hidden: int = 640, latent: int = 128, encoder: int = 3, decoder: int = 6,
                 window: int = 1280):
        super().__init__()
        self.window_size, bins = window, window // 2 + 1
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.encoder = nn.Sequential(nn.Linear(2 * bins, width), nn.LayerNorm(width),
                                     *[ConvNeXt(width, hidden, 3) for _ in range(encoder)], nn.LayerNorm(width),
                                     nn.Linear(width, latent))
        self.quantiser = Quantiser(latent)
        self.front = nn.Conv1d(latent, width, 1 + self.LOOK_AHEAD)
        self.decoder = nn.ModuleList([nn.LayerNorm(width), *[ConvNeXt(width, hidden) for _ in range(decoder)],
                                      nn.LayerNorm(width), nn.Linear(width, 2 * bins)])

    def spectrum(self, audio: Tensor) -> Tensor:
        """Complex STFT (batch, frames, bins) of audio (batch, frames * 320)."""
        padded = F.pad(audio, ((self.window_size - HOP) // 2,) * 2)
        return torch.fft.rfft(padded.unfold(-1, self.window_size, HOP) * self.window, norm="ortho")

    def latent(self, audio: Tensor) -> Tensor:
        s = self.spectrum(audio)
        s = s * (s.abs() + 1e-4) ** -0.6                                # compress the magnitude, keep the phase
        return self.encoder(torch.cat([s.real, s.imag], -1))            # (batch, frames, latent)

    def frames(self, latent: Tensor, past: dict | None = None) -> Tensor:
        """Windowed frames (batch, frames - 2, 1280): the first layer is a valid convolution, the rest is causal.

        The decoder gives log-magnitude and phase, as in Vocos (Siuzdak 2023): after 500 steps of training the round
        trip with 4 codebooks had STOI 0.70, against 0.53 with real and imaginary parts.
        """
        x = self.front(latent.transpose(1, 2)).transpose(1, 2)
        for layer in self.decoder:
            x = layer(x, past) if isinstance(layer, ConvNeXt) else layer(x)
        magnitude, phase = x.float().chunk(2, -1)
        spectrum = torch.polar(torch.exp((magnitude - 3).clamp_max(5)), math.pi * phase)
        return torch.fft.irfft(spectrum, n=self.window_size, norm="ortho") * self.window

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Samples (batch, (frames + 3) * 320) of windowed frames, beside their weight as a last row."""
        frames = torch.cat([frames, (self.window ** 2).expand(1, frames.shape[1], -1)])
        parts = frames.unflatten(-1, (-1, HOP))                         # (batch + 1, frames, 4, 320)
        last = parts.shape[2] - 1
        return sum(F.pad(parts[:, :, k].flatten(1), (k * HOP, (last - k) * HOP)) for k in range(last + 1))

    def synthesise(self, latent: Tensor) -> Tensor:
        """Audio (batch, frames * 320) by overlap-add of the predicted spectrum (Griffin & Lim 1984, eq. 6)."""
        total = self.overlap_add(self.frames(F.pad(latent, (0, 0, 0, self.LOOK_AHEAD))))
        side = (self.window_size - HOP) // 2
        return (total[:-1] / total[-1].clamp_min(1e-3))[:, side:-side]

    def encode_codes(self, audio: Tensor, codebooks: int) -> Tensor:    # (1, samples) -> (codebooks, 1, frames)
        return self.quantiser.encode(self.latent(audio), codebooks)

    def decode_codes(self, codes: Tensor) -> Tensor:                    # (codebooks, 1, frames) -> (1, samples)
        return self.synthesise(self.quantiser.decode(codes))

    def exported(self) -> dict[str, Tensor]:
        """What inference needs, in half precision: not the quantiser's training statistics."""
        return {k: v.detach().half().contiguous() for k, v in self.state_dict().items() if not k.endswith("use")}

    def packed(self) -> bytes:
        """The codec file: the exported tensors, and the digest of the whole file but for the digest itself."""
        content = save(self.exported(), {"digest": _NO_DIGEST.decode()})
        return content.replace(_NO_DIGEST, hashlib.sha256(content).hexdigest().encode(), 1)


_NO_DIGEST = b"0" * 64


def _unpacked(content: bytes) -> dict[str, Tensor]:
    """The tensors of `FrameCodec.packed`; the digest is checked before anything is parsed."""
    found = re.search(rb'"digest":"([0-9a-f]{64})"', content)
    if not found or hashlib.sha256(content.replace(found[1], _NO_DIGEST, 1)).hexdigest().encode() != found[1]:
        raise ValueError("its contents are not what was written")
    return load(content)


class Stream:
    """Decoding as the codes arrive: what `step` and at last `close` return is, end to end, what `decode` returns.

    A step returns as many frames as it was given, 3.5 frames late: 2 of look-ahead, 1.5 of overlapping windows.
    """

    def __init__(self, model: FrameCodec):
        self._model, self._past = model, {}
        self._waiting = torch.zeros(1, 0, model.front.in_channels)      # latents that the first layer still needs
        self._tail = torch.zeros(2, model.window_size - HOP)            # samples and weights still to be added to
        self._skip = (model.window_size - HOP) // 2                     # samples before the first

    @torch.inference_mode()
    def step(self, codes: np.ndarray) -> np.ndarray:
        """Samples (n,) that the next codes (codebooks, frames) settle."""
        _check_codes(codes)
        return self._advance(self._model.quantiser.decode(torch.from_numpy(codes.astype(np.int64))[:, None]))

    @torch.inference_mode()
    def close(self) -> np.ndarray:
        """The last samples, after the last codes."""
        if not self._waiting.shape[1]:
            return np.zeros(0, np.float32)
        last = self._advance(self._waiting.new_zeros(1, self._model.LOOK_AHEAD, self._waiting.shape[2]))
        rest = self._tail[:, self._skip:(self._model.window_size - HOP) // 2]
        return np.concatenate([last, (rest[0] / rest[1].clamp_min(1e-3)).numpy()])

    def state(self) -> dict[str, Tensor]:
        """What it knows of the codes so far, by name; the tensors are replaced by the next step, not written to."""
        past = {f"past.{i}": self._past[layer] for i, layer in enumerate(self._model.decoder) if layer in self._past}
        return {"waiting": self._waiting, "tail": self._tail, "skip": torch.tensor(self._skip), **past}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        self._waiting, self._tail, self._skip = state["waiting"], state["tail"], int(state["skip"])
        self._past = {self._model.decoder[int(name[5:])]: rows for name, rows in state.items() if name.startswith("past.")}

    def _advance(self, latent: Tensor) -> np.ndarray:
        latent = torch.cat([self._waiting, latent], 1)
        self._waiting = latent[:, -self._model.LOOK_AHEAD:]
        if latent.shape[1] <= self._model.LOOK_AHEAD:
            return np.zeros(0, np.float32)
        total = self._model.overlap_add(self._model.frames(latent, self._past))
        total[:, :self._tail.shape[1]] += self._tail
        settled, self._tail = total.tensor_split([total.shape[1] - self._tail.shape[1]], 1)
        audio = (settled[0] / settled[1].clamp_min(1e-3))[self._skip:]
        self._skip = max(0, self._skip - settled.shape[1])
        return audio.numpy()


class Codec:
    """A codec with its weights: audio (samples,) float32 at 24 kHz to codes (codebooks, frames) and back."""

    def __init__(self, name: str, path: Path, encode, decode, stream=None):
        self.name, self.source, self.digest = name, str(path), file_digest(path)
        self._encode, self._decode, self._stream = encode, decode, stream

    @property
    def identity(self) -> dict:
        return {"codec": self.name, "weights": self.digest}

    @torch.inference_mode()
    def encode(self, audio: np.ndarray, codebooks: int) -> np.ndarray:
        """Codes (codebooks, ceil(samples / 320)) as int16. One clip at a time: a batch would pad the shorter ones."""
        if not 1 <= codebooks <= MAX_CODEBOOKS:
            raise ValueError(f"{codebooks} codebooks asked for: the codec has 1 to {MAX_CODEBOOKS}")
        if audio.ndim != 1 or not len(audio):
            raise ValueError(f"audio of shape {audio.shape}: the codec takes one mono clip, (samples,)")
        frames = math.ceil(len(audio) / HOP)
        padded = np.pad(audio.astype(np.float32), (0, frames * HOP - len(audio)))
        codes = self._encode(torch.from_numpy(padded)[None], codebooks)
        return codes[:, 0].numpy().astype(np.int16)

    @torch.inference_mode()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Audio (frames * 320,) float32 of codes (codebooks, frames)."""
        _check_codes(codes)
        return self._decode(torch.from_numpy(codes.astype(np.int64))[:, None])[0].numpy()

    def stream(self) -> Stream:
        """Decode frame by frame (the embedded codec's format only)."""
        if not self._stream:
            raise ValueError(f"codec {self.name} does not stream: use one of the embedded codec's format")
        return self._stream()


def _check_codes(codes: np.ndarray) -> None:
    if codes.ndim != 2 or not codes.size or codes.min() < 0 or codes.max() >= BINS:
        raise ValueError(f"codes of shape {codes.shape}: the codec takes (codebooks, frames) with values 0..{BINS - 1}")


@cache
def load_codec(name: str = "embedded") -> Codec:
    """`embedded`, `encodec_24khz` (downloaded), or the path of a file of either format."""
    if name == "embedded":
        return _load_frame_codec("embedded", EMBEDDED)
    if name == "encodec_24khz":
        return _load_encodec(_download_encodec())
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"no codec {name!r}: choose embedded, encodec_24khz, or the path of a codec file")
    return _load_frame_codec(path.stem, path) if path.suffix == ".safetensors" else _load_encodec(path)


def downloaded() -> Path:
    """Where Meta's file is, once it was downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "encodec_24khz-d7cc33bc.th"


def _load_frame_codec(name: str, path: Path) -> Codec:
    model = FrameCodec().eval()
    try:
        weights = _unpacked(path.read_bytes())
        missing, unexpected = model.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
        if unexpected or any(k in model.exported() for k in missing):
            raise ValueError("its tensors are not those of the embedded codec")
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"codec file {path} cannot be used ({reason}): restore it with git, or train it with "
                         "`make codec`") from None
    return Codec(name, path, model.encode_codes, model.decode_codes, lambda: Stream(model))


def _download_encodec() -> Path:
    encodec = import_encodec()
    target = downloaded()
    if not target.exists():
        try:
            encodec.EncodecModel.encodec_model_24khz(pretrained=True)
        except Exception as error:
            raise ValueError(f"encodec_24khz could not be downloaded ({type(error).__name__}): give the path of "
                             f"{target.name} as the codec, or use the embedded one") from None
    return target


def _load_encodec(path: Path) -> Codec:
    """Meta's file format, read without executing anything; the official file is known by its digest."""
    model = import_encodec().EncodecModel.encodec_model_24khz(pretrained=False)
    official = file_digest(path).startswith(ENCODEC_SHA256)
    if path.stem.endswith(ENCODEC_SHA256) and not official:
        raise ValueError(f"codec file {path} is damaged (its sha256 does not begin with {ENCODEC_SHA256}): fetch it again")
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"codec file {path} cannot be used ({type(error).__name__}: {reason[:120]}): give the path of "
                         "encodec_24khz-d7cc33bc.th, or use the embedded codec") from None
    vq = model.eval().quantizer.vq
    return Codec("encodec_24khz" if official else path.stem, path,
                 lambda audio, codebooks: vq.encode(model.encoder(audio[:, None]), codebooks),
                 lambda codes: model.decoder(vq.decode(codes))[:, 0])

