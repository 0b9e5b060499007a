"""Neural audio codecs at 24 kHz and 75 frames a second: the embedded one and Meta's pretrained EnCodec.

Both give ceil(samples / 320) frames of `codebooks` codes in 0..1023, and share `encode` and `decode`.
"""
import hashlib
import importlib
import math
import sys
import types
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import REPOSITORY
from ..records import digest, file_digest

SAMPLE_RATE, HOP, BINS, MAX_CODEBOOKS = 24_000, 320, 1024, 8
FRAME_RATE = SAMPLE_RATE / HOP
EMBEDDED = REPOSITORY / "data" / "codec" / "embedded.safetensors"
ENCODEC_SHA256 = "d7cc33bc"     # the prefix that Meta publishes in the file name encodec_24khz-d7cc33bc.th


def import_encodec() -> types.ModuleType:
    """`encodec`, also where torchaudio's native extension cannot load (it wants CUDA libraries; we need none of it)."""
    try:
        return importlib.import_module("encodec")
    except (ImportError, OSError):
        for name in [n for n in sys.modules if n.split(".")[0] in ("torchaudio", "encodec")]:
            del sys.modules[name]
    extension = types.ModuleType("torchaudio._extension")
    extension.__path__ = []
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = extension._IS_ALIGN_AVAILABLE = extension._IS_RIR_AVAILABLE = False
    extension.fail_if_no_align = lambda function: function
    extension._check_cuda_version = lambda: None
    sys.modules["torchaudio._extension"] = extension
    return importlib.import_module("encodec")


def _quantiser(width: int) -> nn.Module:
    import_encodec()
    core = importlib.import_module("encodec.quantization.core_vq")
    return core.ResidualVectorQuantization(num_quantizers=MAX_CODEBOOKS, dim=width, codebook_size=BINS,
                                           kmeans_init=True, kmeans_iters=4, decay=0.99, threshold_ema_dead_code=2)


class ConvNeXt(nn.Module):
    """Depthwise convolution over frames, then a pointwise MLP (Liu et al. 2022; over frames as in Vocos)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:                             # (batch, frames, width)
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.down(F.gelu(self.up(self.norm(y))))


class FrameCodec(nn.Module):
    """The embedded codec: STFT in, ConvNeXt at 75 frames/s, residual quantiser, inverse STFT out.

    Working on frames, it never runs a network at the sample rate, which is why it can be trained on two CPU cores;
    the window of 1280 samples is read and written with 480 samples on either side of each hop, so that n hops are
    exactly n frames.
    """

    def __init__(self, width: int = 256, hidden: int = 640, latent: int = 96, encoder: int = 3, decoder: int = 5,
                 window: int = 1280):
        super().__init__()
        self.window_size, bins = window, window // 2 + 1
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.encoder = nn.Sequential(nn.Linear(2 * bins, width), nn.LayerNorm(width),
                                     *[ConvNeXt(width, hidden) for _ in range(encoder)], nn.LayerNorm(width),
                                     nn.Linear(width, latent))
        self.quantiser = _quantiser(latent)
        self.decoder = nn.Sequential(nn.Linear(latent, width), nn.LayerNorm(width),
                                     *[ConvNeXt(width, hidden) for _ in range(decoder)], nn.LayerNorm(width),
                                     nn.Linear(width, 2 * bins))

    def spectrum(self, audio: Tensor) -> Tensor:
        """Complex STFT (batch, frames, bins) of audio (batch, frames * 320)."""
        padded = F.pad(audio, ((self.window_size - HOP) // 2,) * 2)
        return torch.fft.rfft(padded.unfold(-1, self.window_size, HOP) * self.window, norm="ortho")

    def latent(self, audio: Tensor) -> Tensor:
        s = self.spectrum(audio)
        s = s * (s.abs() + 1e-4) ** -0.6                                # compress the magnitude, keep the phase
        return self.encoder(torch.cat([s.real, s.imag], -1))            # (batch, frames, latent)

    def synthesise(self, latent: Tensor) -> Tensor:
        """Audio (batch, frames * 320) by overlap-add of the predicted spectrum (Griffin & Lim 1984, eq. 6).

        The decoder gives log-magnitude and phase, as in Vocos (Siuzdak 2023): after 500 steps of training the round
        trip with 4 codebooks had STOI 0.70, against 0.53 with real and imaginary parts.
        """
        magnitude, phase = self.decoder(latent).float().chunk(2, -1)
        spectrum = torch.polar(torch.exp((magnitude - 3).clamp_max(5)), math.pi * phase)
        frames = torch.fft.irfft(spectrum, n=self.window_size, norm="ortho") * self.window
        length = (frames.shape[1] - 1) * HOP + self.window_size
        fold = dict(output_size=(1, length), kernel_size=(1, self.window_size), stride=(1, HOP))
        audio = F.fold(frames.transpose(1, 2), **fold)[:, 0, 0]
        weight = F.fold((self.window ** 2)[None, :, None].expand(1, -1, frames.shape[1]), **fold)[:, 0, 0]
        side = (self.window_size - HOP) // 2
        return (audio / weight.clamp_min(1e-3))[:, side:-side]

    def quantise(self, latent: Tensor, codebooks: int) -> tuple[Tensor, Tensor, Tensor]:
        """Quantised latent with one straight-through gradient, codes (codebooks, batch, frames), commitment loss.

        `encodec`'s own loop subtracts the quantised value undetached, which makes the commitment gradient exactly
        zero from the second codebook on; here each residual is detached from the codes before it.
        """
        residual, total, codes, losses = latent.transpose(1, 2), 0.0, [], []
        for layer in self.quantiser.layers[:codebooks]:
            quantised, indices, loss = layer(residual)
            residual, total = residual - quantised.detach(), total + quantised.detach()
            codes.append(indices)
            losses.append(loss)
        total = total.transpose(1, 2)
        return latent + (total - latent).detach(), torch.stack(codes), torch.stack(losses).mean()

    def encode_codes(self, audio: Tensor, codebooks: int) -> Tensor:    # (1, samples) -> (codebooks, 1, frames)
        return self.quantiser.encode(self.latent(audio).transpose(1, 2), codebooks)

    def decode_codes(self, codes: Tensor) -> Tensor:                    # (codebooks, 1, frames) -> (1, samples)
        return self.synthesise(self.quantiser.decode(codes).transpose(1, 2))

    def exported(self) -> dict[str, Tensor]:
        """What inference needs, in half precision: not the quantiser's training statistics."""
        unused = ("embed_avg", "cluster_size", "inited")
        return {k: v.detach().half().contiguous() for k, v in self.state_dict().items() if not k.endswith(unused)}

    def packed(self) -> bytes:
        """The codec file: the exported tensors, with their digest beside them."""
        tensors = self.exported()
        return save(tensors, {"digest": _tensor_digest(tensors)})


def _tensor_digest(tensors: dict[str, Tensor]) -> str:
    return digest({name: hashlib.sha256(t.numpy().tobytes()).hexdigest() for name, t in tensors.items()})


class Codec:
    """A codec with its weights: audio (samples,) float32 at 24 kHz to codes (codebooks, frames) and back."""

    def __init__(self, name: str, path: Path, encode, decode):
        self.name, self.source, self.digest = name, str(path), file_digest(path)
        self._encode, self._decode = encode, decode

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
        if codes.ndim != 2 or not codes.size or codes.min() < 0 or codes.max() >= BINS:
            raise ValueError(f"codes of shape {codes.shape}: the codec takes (codebooks, frames) with values 0..{BINS - 1}")
        return self._decode(torch.from_numpy(codes.astype(np.int64))[:, None])[0].numpy()


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
        with safe_open(path, "pt") as file:
            weights, metadata = {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}
        if metadata.get("digest") != _tensor_digest(weights):
            raise ValueError("its contents are not what was written")
        missing, unexpected = model.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
        if unexpected or any(k in model.exported() for k in missing):
            raise ValueError("its tensors are not those of the embedded codec")
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"codec file {path} cannot be used ({reason}): restore it with git, or train it with "
                         "`make codec`") from None
    return Codec(name, path, model.encode_codes, model.decode_codes)


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

