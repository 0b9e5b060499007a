"""Sound files: what a clip of an own corpus must be, and the FLAC in which every sound is kept."""
import io
import mmap
import struct
from math import gcd
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from scipy.ndimage import median_filter
from scipy.signal import resample_poly

SAMPLE_RATE = 24_000
SHORTEST, LONGEST = 0.3, 30.0       # seconds
READ = 2 * LONGEST                  # seconds of a file with its silence: no longer one is decoded
SILENCE = 10 ** (-50 / 20)          # peak, of full scale
LOUDEST = 2.0                       # peak of samples that are floats: a little over full scale is no harm
MARGIN = 0.2                        # seconds that stay of the silence around the speech
STEP = SAMPLE_RATE // 100           # samples, 10 ms, of which the level is taken
RATES = (4_000, 384_000)
FORMATS = ("WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG", "MP3")
ENDINGS = (".wav", ".rf64", ".aif", ".aiff", ".aifc", ".flac", ".ogg", ".oga", ".opus", ".mp3")
OTHERS = {(4, b"ftyp"): "M4A or MP4", (0, b"\x1aE\xdf\xa3"): "WebM or Matroska", (0, b"#!AMR"): "AMR", (0, b"0&\xb2u"): "WMA",
          (0, b"\xff\xf1"): "AAC", (0, b"\xff\xf9"): "AAC"}       # not read, by the bytes at a place
SOUND = {b"RIFF": ("little", b"data"), b"RF64": ("little", b"data"), b"FORM": ("big", b"SSND")}     # chunk that is the sound
ENDLESS = 2 ** 30                   # bytes, hours of speech: what a chunk that was streamed says
WRITTEN = {f".{name.lower()}": name for name in ("FLAC", "WAV", "OGG", "MP3")       # the format that an ending stands for
           if name in soundfile.available_formats()}
UNKNOWN = 2 ** 63 - 1               # frames of a FLAC that was written into a pipe
ENOUGH = 3_000_000                  # bytes of an MP3: more than a minute at 320 kbit/s
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")        # what may follow the sound
BITRATES = {3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),     # kbit/s of MP3, by its version
            2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}


class Unusable(ValueError):
    """Why a clip is set aside, and what to do about it, in one line."""


class _Private(mmap.mmap):
    """A file that can be changed without being written to; who seeks beyond its end is there."""

    def seek(self, position: int, whence: int = io.SEEK_SET) -> None:
        try:
            super().seek(position, whence)
        except ValueError:
            super().seek(0, io.SEEK_END)


class _Stream(soundfile.SoundFile):
    """Read once, from its start to its end: soundfile seeks after reading, which GSM 6.10 and streamed FLAC cannot."""

    def seekable(self) -> bool:
        return False


def read_audio(path: Path) -> np.ndarray:
    """Audio (samples,) float32 at 24 kHz of a sound file: see `read_sound`."""
    return read_sound(path)[0]


def read_sound(path: Path) -> tuple[np.ndarray, int]:
    """Audio (samples,) float32 at 24 kHz of a WAV, RF64, AIFF, FLAC, OGG or MP3 file, channels averaged, without the
    silence around the speech, and the sample rate of the file; Unusable where it is none.

    Nothing of a file that says it is too long is decoded. A file that was cut off is noticed, unless it is an MP3 or a
    FLAC without the header that counts its frames and ends exactly between two of them. Where the header of a WAV, RF64
    or AIFF does not say how long the sound is, the file does: see `_mended`.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() or not size:
            raise Unusable("empty, or no file: record or copy it again")
        with open(path, "rb") as source:
            _known(source)
            with _Stream(_counted(source) or _mended(source, size) or path) as file:
                rate, frames = file.samplerate, file.frames
                _check(file, source, size)
                samples = file.read(min(frames, int(READ * rate) + 1), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, EOFError):
        raise Unusable("cannot be decoded: it is cut off or damaged, or not the WAV, AIFF, FLAC, OGG or MP3 that it should "
                       "be; export it again") from None
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror or error}): make it readable") from None
    if frames == UNKNOWN:
        if len(samples) > READ * rate:
            raise Unusable(f"too long (over {READ:g} s): clips of {SHORTEST:g} to {LONGEST:g} s are used")
        bounded(len(samples) / rate, READ)
    elif len(samples) < frames:
        raise Unusable(f"cut off: it holds {len(samples):,} of {frames:,} samples; copy it again")
    with np.errstate(over="ignore", invalid="ignore"):
        audio = samples.mean(1)
        if rate != SAMPLE_RATE:
            shared = gcd(rate, SAMPLE_RATE)
            audio = resample_poly(audio, SAMPLE_RATE // shared, rate // shared)
    if not np.isfinite(audio).all():
        raise Unusable("holds samples that are no numbers: export it again")
    if (peak := np.abs(samples).max()) > LOUDEST:
        raise Unusable(f"a peak of {peak:,.0f} times full scale: integers stored as floats; export it again")
    if np.abs(audio).max() < SILENCE:
        raise Unusable("silent: its peak is under -50 dB of full scale")
    audio = audio.astype(np.float32)
    start, end = _speech(audio)
    if end - start < SHORTEST * SAMPLE_RATE:
        raise Unusable(f"too short without its silence ({(end - start) / SAMPLE_RATE:.2f} s): clips of {SHORTEST:g} to "
                       f"{LONGEST:g} s are used")
    bounded((end - start) / SAMPLE_RATE)
    return audio[start:end], rate


def _speech(audio: np.ndarray) -> tuple[int, int]:
    """Samples between which audio (samples,) at 24 kHz is speech, and up to MARGIN around it.

    Speech is what is less than 40 dB under the loudest and more than 8 dB over the quietest place, or less than 20 dB
    under the loudest where nothing is quiet. Levels are medians over 110 ms of the variance in 10 ms, so that a click or
    an offset is neither speech nor loud; digital silence, 60 dB under the loudest, says nothing of the noise.
    """
    whole = audio[:len(audio) // STEP * STEP].reshape(-1, STEP)                 # (frames, 10 ms)
    level = median_filter(whole.var(1, dtype=np.float64), 11, mode="nearest")   # (frames,)
    loudest = level.max()
    noise = level[level >= 1e-6 * loudest].min()
    heard = np.flatnonzero(level > max(1e-4 * loudest, min(10 ** 0.8 * noise, 1e-2 * loudest)))
    if not len(heard):
        raise Unusable("silent: nothing in it lasts longer than a click")
    margin = int(MARGIN * SAMPLE_RATE)
    start, end = heard[0] * STEP - margin, (heard[-1] + 1) * STEP + margin
    return max(0, start), min(len(audio), end)


def _known(source: BinaryIO) -> None:
    """Refuse by its first bytes a format that no library here reads."""
    head = source.read(16)
    source.seek(0)
    for (at, mark), name in OTHERS.items():
        if head.startswith(mark, at):
            raise Unusable(f"another format ({name}): convert it to WAV, FLAC, OGG or MP3")


def _check(file: soundfile.SoundFile, source: BinaryIO, size: int) -> None:
    """Refuse by what the file says of itself, before any of it is decoded."""
    if file.format not in FORMATS:
        raise Unusable(f"another format ({file.format}): convert it to WAV, FLAC, OGG or MP3")
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise Unusable(f"sample rate out of range ({file.samplerate}): export it with one of {RATES[0]:,} to "
                       f"{RATES[1]:,}")
    if file.format == "OGG" and not _ended(source, size):
        raise Unusable("cut off: its last page is missing; copy it again")
    if file.frames != UNKNOWN:
        bounded(file.frames / file.samplerate, READ)


def bounded(seconds: float, longest: float = LONGEST) -> None:
    """Refuse a clip that is too short or too long to be used."""
    if not SHORTEST <= seconds <= longest:
        raise Unusable(f"too {'short' if seconds < SHORTEST else 'long'} ({seconds:,.2f} s): clips of {SHORTEST:g} to "
                       f"{LONGEST:g} s are used")


def _mended(file: BinaryIO, size: int) -> _Private | None:
    """A WAV, RF64 or AIFF of `size` bytes whose header says the length of the sound that is there, None where it does by
    itself or is none of these; Unusable where the file was cut off.

    A chunk of sound that ends before the file does is as long as it says where another chunk or a tag follows it; where
    something else does, the sound goes on to the end of the file. So it does where the chunk would end beyond the file
    and says a gibibyte or more: who writes into a pipe cannot know the length, and gives the greatest that the field
    holds, or another great number. With any smaller number the file was cut off.
    """
    file.seek(0)
    order, name = SOUND.get(file.read(12)[:4], ("", b""))
    field, width = 0, 4
    for _ in range(100 if name else 0):
        chunk = file.read(8)
        at, length = file.tell(), int.from_bytes(chunk[4:], order)
        if chunk[:4] == b"ds64":                    # of an RF64, the length of what comes later
            field, width = at + 8, 8
        if chunk[:4] == name:
            break
        file.seek(at + length + length % 2)
    else:
        return None
    if field:
        file.seek(field)
        length = int.from_bytes(file.read(width), order)
    end, there = at + length, size - at & ~1
    if end > size and length < ENDLESS:
        raise Unusable(f"cut off: it holds {size:,} of at least {end:,} bytes; copy it again")
    if end <= size and (size - end < 8 or any(_chunk(file, start, size, order) for start in (end, end + length % 2))):
        return None
    field = field or at - 4
    content = _Private(file.fileno(), 0, access=mmap.ACCESS_COPY)       # the file stays as it is
    content[field:field + width] = there.to_bytes(width, order)
    return content


def _chunk(file: BinaryIO, start: int, size: int, order: str) -> bool:
    """Whether a chunk or a tag stands here: hardly any sound looks like a name in ASCII and a length that fits."""
    file.seek(start)
    head = file.read(8)
    return head.startswith((*TAGS, b"LIST", b"id3 ")) or (
        int.from_bytes(head[4:], order) <= size - start - 8 and all(32 <= byte < 127 for byte in head[:4]))


def _ended(file: BinaryIO, size: int) -> bool:
    """Whether an OGG has the whole last page of its stream."""
    file.seek(max(0, size - 66_000))                # a page is at most 65,307 bytes
    tail = file.read()
    page = tail[tail.rfind(b"OggS"):]
    if len(page) < 27 or not page[5] & 4:           # the flag of the last page of a stream
        return False
    return len(page) >= 27 + page[26] + sum(page[27:27 + page[26]])


def _counted(file: BinaryIO) -> io.BytesIO | None:
    """The MP3 with a header that counts its frames, where it has none: libsndfile guesses its length from the first
    frame's bit rate and the file's size, and drops what comes after that. None where the file can be read as it is."""
    file.seek(0)
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
    """Audio (samples,) as a file of a kind in WRITTEN, or RAW: samples alone. FLAC, WAV and RAW with 16 bits; beyond full scale
    it is clipped."""
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1 or not audio.size or not np.isfinite(audio).all():
        raise ValueError(f"samples of shape {audio.shape}: one finite row is needed")
    file, bits = io.BytesIO(), "PCM_16" if kind in ("FLAC", "WAV", "RAW") else None
    with soundfile.SoundFile(file, "w", rate, 1, bits, format=kind) as sound:
        for at in range(0, len(audio), rate):       # libsndfile crashes on minutes of Vorbis at once
            sound.write(audio[at:at + rate].clip(-1, 1))
    return file.getvalue()


def wav_header(samples: int | None = None, rate: int = SAMPLE_RATE) -> bytes:
    """What stands before so many 16-bit samples in a WAV; of some that are still to come it says the greatest number."""
    size = 0xFFFFFFFF if samples is None else 2 * samples
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", min(size + 36, 0xFFFFFFFF), b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16,
                       b"data", size)


def read_flac(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]
