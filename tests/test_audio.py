"""Sound files: every format at every rate, and every file that is no clip, named with the way out."""
import io

import numpy as np
import pytest
import soundfile

from lib.data.audio import LONGEST, SAMPLE_RATE, SHORTEST, Unusable, flac, read_audio, read_flac

FORMATS = {"wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"),
           "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III")}


def tone(seconds: float, rate: int, hertz: float = 440) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encoded(ending: str, audio: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format=FORMATS[ending][0], subtype=FORMATS[ending][1])
    return file.getvalue()


def refused(path) -> str:
    with pytest.raises(Unusable) as error:
        read_audio(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("rate, channels", [(8_000, 1), (16_000, 2), (24_000, 1), (48_000, 3)])
def test_every_format_becomes_mono_at_24_khz(ending, rate, channels, tmp_path):
    if ending == "mp3" and channels > 2:
        channels = 2
    path = tmp_path / f"a.{ending}"
    path.write_bytes(encoded(ending, np.stack([tone(1, rate)] * channels, 1), rate))
    audio = read_audio(path)
    assert audio.dtype == np.float32 and audio.ndim == 1 and abs(len(audio) - SAMPLE_RATE) < 10
    spectrum = np.abs(np.fft.rfft(audio[:SAMPLE_RATE] * np.hanning(len(audio[:SAMPLE_RATE]))))
    assert abs(spectrum.argmax() - 440) <= 2
    assert np.abs(audio[6000:18000]).max() == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize("rate", [11_025, 22_050, 44_100, 12_347, 192_000])
def test_resampling_keeps_length_and_tone(rate, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(0.7, rate), rate)
    audio = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(audio[2000:-2000], tone(0.7, SAMPLE_RATE)[2000:len(audio) - 2000], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(1, 24_000), np.zeros(24_000)], 1), 24_000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), tone(1, 24_000) / 2, atol=1e-4)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_off_is_noticed(ending, part, tmp_path):
    content = encoded(ending, (0.2 * np.random.default_rng(0).normal(size=48_000)).clip(-1, 1), 24_000)
    (tmp_path / "a").write_bytes(content[:int(part * len(content))])
    assert "cut off" in refused(tmp_path / "a")


@pytest.mark.parametrize("content, words", [(b"", "empty"), (b"no sound at all" * 99, "cannot be decoded"),
                                            (b"RIFF" + bytes(60), "cannot be decoded"), (b"OggS" + bytes(60), "cannot be")])
def test_what_is_no_sound(content, words, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    assert words in refused(tmp_path / "a.wav")


def test_missing_and_folders(tmp_path):
    assert "cannot be read (No such file" in refused(tmp_path / "a.wav")
    assert "no file" in refused(tmp_path)


@pytest.mark.parametrize("audio, words", [
    (np.zeros(0), "too short (0.00 s): clips of 0.3 to 30 s are used"), (tone(0.29, 8000), "too short (0.29 s)"),
    (tone(30.1, 8000), "too long (30.10 s)"), (np.zeros(8000), "silent"), (0.002 * tone(1, 8000), "silent"),
    (np.where(np.arange(8000) == 50, np.nan, tone(1, 8000)), "no numbers"),
    (np.where(np.arange(8000) == 50, np.inf, tone(1, 8000)), "no numbers")])
def test_what_is_no_clip(audio, words, tmp_path):
    soundfile.write(tmp_path / "a.wav", audio, 8000, subtype="FLOAT")
    assert words in refused(tmp_path / "a.wav")


@pytest.mark.parametrize("seconds", [SHORTEST, LONGEST])
def test_the_limits_are_allowed(seconds, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(seconds, 8000), 8000)
    assert len(read_audio(tmp_path / "a.wav")) == seconds * SAMPLE_RATE


def test_nothing_of_an_enormous_file_is_read(tmp_path, monkeypatch):
    with open(tmp_path / "a.wav", "wb") as file:                    # three hours, in a sparse file
        soundfile.write(file, np.zeros(8), 48_000, format="WAV")
        size = 3 * 3600 * 48_000 * 2
        for at, value in ((4, size + 36), (40, size)):
            file.seek(at)
            file.write(value.to_bytes(4, "little"))
        file.truncate(44 + size)
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    assert "too long (10,800.00 s)" in refused(tmp_path / "a.wav")


def test_a_header_that_claims_the_impossible(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(1, 24_000), 24_000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[22:26] = b"\xff" * 4                                    # of the 36 bits that count the samples
    (tmp_path / "a.flac").write_bytes(content)
    assert "too long" in refused(tmp_path / "a.flac")
    soundfile.write(tmp_path / "b.wav", tone(1, 1000), 1000)
    assert "sample rate out of range (1000)" in refused(tmp_path / "b.wav")


def test_flac_there_and_back_and_what_is_none():
    audio = tone(0.1, SAMPLE_RATE) * 4
    assert np.abs(read_flac(flac(audio)) - audio.clip(-1, 1)).max() < 2 / 32768
    for wrong in (np.zeros(0), np.zeros((2, 5)), np.array([0.0, np.nan])):
        with pytest.raises(ValueError, match="one finite row is needed"):
            flac(wrong)
