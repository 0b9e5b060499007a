"""Sound files: what a clip of an own corpus must be, and the FLAC in which every sound is kept."""
import io
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

SAMPLE_RATE = 24_000
SHORTEST, LONGEST = 0.3, 30.0       # seconds
SILENCE = 10 ** (-50 / 20)          # peak, of full scale
RATES = (4_000, 384_000)


class Unusable(ValueError):
    """Why a clip is set aside, and what to do about it, in one line."""


def read_audio(path: Path) -> np.ndarray:
    """Audio (samples,) float32 at 24 kHz of a WAV, FLAC, OGG or MP3 file, channels averaged; Unusable where it is none.

    A file that was cut off is noticed, but for an MP3 without the header that counts its frames. Nothing of a file
    that is too long is decoded.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() or not size:
            raise Unusable("empty, or no file: record or copy it again")
        with soundfile.SoundFile(path) as file:
            rate, frames = file.samplerate, file.frames
            _check(path, size, rate, frames)
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, EOFError) as error:
        raise Unusable(f"cannot be decoded ({str(error).split(': ')[-1].strip('. ')}): it is cut off, or not the "
                       "WAV, FLAC, OGG or MP3 that it should be") from None
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror or error}): make it readable") from None
    if len(samples) < frames:
        raise Unusable(f"cut off: it holds {len(samples):,} of {frames:,} samples; copy it again")
    if not np.isfinite(samples).all():
        raise Unusable("holds samples that are no numbers: export it again")
    audio = samples.mean(1)
    if rate != SAMPLE_RATE:
        shared = gcd(rate, SAMPLE_RATE)
        audio = resample_poly(audio, SAMPLE_RATE // shared, rate // shared)
    if np.abs(audio).max() < SILENCE:
        raise Unusable("silent: its peak is under -50 dB of full scale")
    return audio.astype(np.float32)


def _check(path: Path, size: int, rate: int, frames: int) -> None:
    """Refuse by what the file says of itself, before any of it is decoded."""
    if not RATES[0] <= rate <= RATES[1]:
        raise Unusable(f"sample rate out of range ({rate}): export it with one of {RATES[0]:,} to {RATES[1]:,}")
    whole = _whole(path, size)
    if whole > size:
        raise Unusable(f"cut off: it holds {size:,} of at least {whole:,} bytes; copy it again")
    seconds = frames / rate
    if not SHORTEST <= seconds <= LONGEST:
        raise Unusable(f"too {'short' if seconds < SHORTEST else 'long'} ({seconds:,.2f} s): clips of {SHORTEST:g} to "
                       f"{LONGEST:g} s are used")


def _whole(path: Path, size: int) -> int:
    """Bytes that a WAV's header or an OGG's last page promise, 0 where nothing does."""
    with open(path, "rb") as file:
        head = file.read(8)
        file.seek(max(0, size - 66_000))            # an OGG page is at most 65,307 bytes
        tail = file.read()
    if head[:4] == b"RIFF":
        claimed = int.from_bytes(head[4:], "little")
        return 0 if claimed in (0, 0xFFFFFFFF) else claimed + 8
    if head[:4] == b"OggS":
        page = tail[tail.rfind(b"OggS"):]
        lacing = page[27:27 + page[26]] if len(page) > 26 else b""
        ends = len(page) > 26 and page[5] & 4       # the flag of the last page of a stream
        return size + (0 if ends and len(page) >= 27 + page[26] + sum(lacing) else 1)
    return 0


def flac(audio: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """16-bit FLAC of audio (samples,); beyond full scale it is clipped."""
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1 or not audio.size or not np.isfinite(audio).all():
        raise ValueError(f"samples of shape {audio.shape}: one finite row is needed")
    file = io.BytesIO()
    soundfile.write(file, audio.clip(-1, 1), rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def read_flac(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]
