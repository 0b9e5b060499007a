"""Sound files: what a clip of an own corpus must be, and the FLAC in which every sound is kept."""
import io
from math import gcd
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from scipy.signal import resample_poly

SAMPLE_RATE = 24_000
SHORTEST, LONGEST = 0.3, 30.0       # seconds
SILENCE = 10 ** (-50 / 20)          # peak, of full scale
RATES = (4_000, 384_000)
FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")
WRITTEN = {f".{name.lower()}": name for name in ("FLAC", "WAV", "OGG", "MP3")       # the format that an ending stands for
           if name in soundfile.available_formats()}
UNKNOWN = 2 ** 63 - 1               # frames of a FLAC that was written into a pipe
ENOUGH = 2_000_000                  # bytes of an MP3: more than 30 seconds at 320 kbit/s
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")        # what may follow the last frame of an MP3
BITRATES = {3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),     # kbit/s of MP3, by its version
            2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}


class Unusable(ValueError):
    """Why a clip is set aside, and what to do about it, in one line."""


def read_audio(path: Path) -> np.ndarray:
    """Audio (samples,) float32 at 24 kHz of a WAV, FLAC, OGG or MP3 file, channels averaged; Unusable where it is none.

    Nothing of a file that says it is too long is decoded. A file that was cut off is noticed, unless it is an MP3
    without the header that counts its frames and ends exactly between two of them.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() or not size:
            raise Unusable("empty, or no file: record or copy it again")
        with open(path, "rb") as source, soundfile.SoundFile(_counted(source) or path) as file:
            rate, frames = file.samplerate, file.frames
            _check(file, source, size)
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, EOFError) as error:
        raise Unusable(f"cannot be decoded ({str(error).split(': ')[-1].strip('. ')}): it is cut off, or not the "
                       "WAV, FLAC, OGG or MP3 that it should be") from None
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror or error}): make it readable") from None
    if len(samples) < frames:
        raise Unusable(f"cut off: it holds {len(samples):,} of {frames:,} samples; copy it again")
    with np.errstate(over="ignore", invalid="ignore"):
        audio = samples.mean(1)
        if rate != SAMPLE_RATE:
            shared = gcd(rate, SAMPLE_RATE)
            audio = resample_poly(audio, SAMPLE_RATE // shared, rate // shared)
    if not np.isfinite(audio).all():
        raise Unusable("holds samples that are no numbers: export it again")
    if np.abs(audio).max() < SILENCE:
        raise Unusable("silent: its peak is under -50 dB of full scale")
    return audio.astype(np.float32)


def _check(file: soundfile.SoundFile, source: BinaryIO, size: int) -> None:
    """Refuse by what the file says of itself, before any of it is decoded."""
    if file.format not in FORMATS:
        raise Unusable(f"another format ({file.format}): convert it to WAV, FLAC, OGG or MP3")
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise Unusable(f"sample rate out of range ({file.samplerate}): export it with one of {RATES[0]:,} to "
                       f"{RATES[1]:,}")
    whole = _whole(source, size)
    if whole > size:
        raise Unusable(f"cut off: it holds {size:,} of at least {whole:,} bytes; copy it again")
    if file.frames == UNKNOWN:
        raise Unusable("does not say how long it is: convert it again, into a file and not through a pipe")
    seconds = file.frames / file.samplerate
    if not SHORTEST <= seconds <= LONGEST:
        raise Unusable(f"too {'short' if seconds < SHORTEST else 'long'} ({seconds:,.2f} s): clips of {SHORTEST:g} to "
                       f"{LONGEST:g} s are used")


def _whole(file: BinaryIO, size: int) -> int:
    """Bytes that a WAV's chunks or an OGG's last page promise, 0 where nothing does."""
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF":
        promised = [_end(8, head[4:8])]
        while len(promised) < 100 and len(chunk := file.read(8)) == 8:
            promised.append(_end(file.tell(), chunk[4:]))
            if chunk[:4] == b"data":
                break
            file.seek(int.from_bytes(chunk[4:], "little") + 1 & ~1, io.SEEK_CUR)
        return max(promised)
    if head[:4] == b"OggS":
        file.seek(max(0, size - 66_000))            # an OGG page is at most 65,307 bytes
        tail = file.read()
        page = tail[tail.rfind(b"OggS"):]
        lacing = page[27:27 + page[26]] if len(page) > 26 else b""
        ends = len(page) > 26 and page[5] & 4       # the flag of the last page of a stream
        return size + (0 if ends and len(page) >= 27 + page[26] + sum(lacing) else 1)
    return 0


def _end(start: int, claimed: bytes) -> int:
    """Where a chunk of a WAV ends, 0 where it was streamed and does not say."""
    length = int.from_bytes(claimed, "little")
    return 0 if length in (0, 0xFFFFFFFF) else start + length


def _counted(file: BinaryIO) -> io.BytesIO | None:
    """The MP3 with a header that counts its frames, where it has none: libsndfile guesses its length from the first
    frame's bit rate and the file's size, and drops what comes after that. None where the file can be read as it is."""
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum((b & 127) << 7 * (3 - i) for i, b in enumerate(head[6:]))
    file.seek(start)
    if not _mp3_frame(first := file.read(4)):
        return None
    data = first + file.read(ENOUGH - 4)
    at = frames = 0
    while step := _mp3_frame(data[at:at + 4]):
        if at + step > len(data) == ENOUGH:
            break
        if at + step > len(data):
            raise Unusable(f"cut off: its last frame holds {len(data) - at:,} of {step:,} bytes; copy it again")
        if not at and any(mark in data[:200] for mark in (b"Xing", b"Info", b"VBRI")):
            return None
        at, frames = at + step, frames + 1
    if len(data) < ENOUGH and data[at:].strip(b"\0") and not data.startswith(TAGS, at):
        raise Unusable(f"damaged or cut off (after {start + at:,} bytes): copy it again")
    wide, mono = data[1] & 8, data[3] >> 6 == 3
    header = bytes((data[0], data[1] | 1, 9 << 4 | data[2] & 12, data[3]))
    side = (17 if mono else 32) if wide else (9 if mono else 17)
    tag = header + bytes(side) + b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return io.BytesIO(tag.ljust(_mp3_frame(header), b"\0") + data[:at])


def _mp3_frame(header: bytes) -> int:
    """Bytes of the MP3 frame with this header of 4 bytes, 0 where it is none."""
    if len(header) < 4 or header[0] != 255 or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate, pace = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate == 3 or not 0 < pace < 15:
        return 0
    hertz = (44_100, 48_000, 32_000)[rate] >> (3 - version if version else 2)
    return (144_000 if version == 3 else 72_000) * BITRATES[version or 2][pace - 1] // hertz + (header[2] >> 1 & 1)


def flac(audio: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """16-bit FLAC of audio (samples,); beyond full scale it is clipped."""
    return encoded(audio, "FLAC", rate)


def encoded(audio: np.ndarray, kind: str, rate: int = SAMPLE_RATE) -> bytes:
    """Audio (samples,) as a file of a kind in WRITTEN, FLAC and WAV with 16 bits; beyond full scale it is clipped."""
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1 or not audio.size or not np.isfinite(audio).all():
        raise ValueError(f"samples of shape {audio.shape}: one finite row is needed")
    file, bits = io.BytesIO(), "PCM_16" if kind in ("FLAC", "WAV") else None
    with soundfile.SoundFile(file, "w", rate, 1, bits, format=kind) as sound:
        for at in range(0, len(audio), rate):       # libsndfile crashes on minutes of Vorbis at once
            sound.write(audio[at:at + rate].clip(-1, 1))
    return file.getvalue()


def read_flac(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]
