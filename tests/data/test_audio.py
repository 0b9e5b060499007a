"""Sound files: every format at every rate, and every file that is no clip, named with the way out."""
import io
import os
import struct

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


def uncounted(audio: np.ndarray, **mode) -> bytes:
    """An MP3 as it comes out of a pipe: without the first frame, which counts the others."""
    file = io.BytesIO()
    soundfile.write(file, audio, 24_000, format="MP3", **mode)
    content = file.getvalue()
    return content[content.find(content[:2], 4):]


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("tag, trailer", [
    (b"", b""), (b"ID3\4\0\0\0\0\0\x23" + bytes(35), b""), (b"", b"TAG" + bytes(125)),
    (b"ID3\4\0\0\0\0\x0f\x76" + bytes(2038), b"TAG" + bytes(125))])
def test_an_mp3_without_a_count_of_its_frames_is_read_whole(mode, tag, trailer, tmp_path):
    sound = np.concatenate([tone(1, 24_000), (0.2 * np.random.default_rng(0).normal(size=24_000)).clip(-1, 1),
                            tone(1, 24_000, 880)])
    (tmp_path / "a.mp3").write_bytes(tag + uncounted(sound, bitrate_mode=mode) + trailer)
    audio = read_audio(tmp_path / "a.mp3")
    assert 0 <= len(audio) - len(sound) < 3 * 576
    last = np.abs(np.fft.rfft(audio[-20_000:-4_000]))
    assert abs(last.argmax() * 24_000 / 16_000 - 880) < 3


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9, 0.99])
def test_an_mp3_without_a_count_that_was_cut_off(part, tmp_path):
    content = uncounted(tone(2, 24_000), bitrate_mode="CONSTANT", compression_level=0.5)
    step = content.find(content[:2], 4)
    (tmp_path / "a.mp3").write_bytes(content[:int(part * len(content)) // step * step + step // 2])
    assert "cut off: its last frame" in refused(tmp_path / "a.mp3")


@pytest.mark.parametrize("rate, channels", [(8_000, 1), (11_025, 2), (16_000, 1), (22_050, 2), (32_000, 1), (44_100, 2),
                                            (48_000, 1)])
def test_the_frames_of_an_mp3_are_counted_at_every_rate(rate, channels, tmp_path):
    content = encoded("mp3", np.stack([tone(1, rate)] * channels, 1), rate)
    header = content[:2]
    (tmp_path / "a.mp3").write_bytes(content[content.find(header, 4):])
    audio = read_audio(tmp_path / "a.mp3")
    assert 0 <= len(audio) / SAMPLE_RATE - 1 < 3 * 1152 / rate
    assert np.abs(audio[6000:18000]).max() == pytest.approx(0.4, rel=0.1)


def test_an_mp3_without_a_count_that_is_damaged_in_the_middle(tmp_path):
    content = bytearray(uncounted(tone(2, 24_000)))
    at = content.find(content[:2], len(content) // 2)
    content[at:at + 4] = b"junk"
    (tmp_path / "a.mp3").write_bytes(content)
    assert f"damaged or cut off (after {at:,} bytes)" in refused(tmp_path / "a.mp3")


def test_an_mp3_without_a_count_that_is_too_long(tmp_path):
    (tmp_path / "a.mp3").write_bytes(uncounted(np.tile(tone(1, 24_000), 31)))
    assert "too long (31." in refused(tmp_path / "a.mp3")


@pytest.mark.parametrize("riff, data, words", [
    (0, 0xFFFFFFFF, None), (0xFFFFFFFF, 0xFFFFFFFF, None),
    (0, 96_000, "cut off"), (0xFFFFFFFF, 96_000, "cut off"), (48_036, 96_000, "cut off")])
def test_the_sizes_that_a_wav_claims(riff, data, words, tmp_path):
    content = encoded("wav", tone(1, 24_000), 24_000)
    (tmp_path / "a.wav").write_bytes(content[:4] + struct.pack("<I", riff) + content[8:40] + struct.pack("<I", data)
                                     + content[44:])
    if words:
        assert words in refused(tmp_path / "a.wav")
    else:
        assert len(read_audio(tmp_path / "a.wav")) == 24_000


def test_a_flac_that_does_not_say_how_long_it_is(tmp_path):
    content = bytearray(encoded("flac", tone(1, 24_000), 24_000))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    assert "does not say how long it is" in refused(tmp_path / "a.flac")


def test_other_formats_cannot_show_that_they_were_cut_off_and_are_refused(tmp_path):
    for name in ("AIFF", "W64", "RF64"):
        soundfile.write(tmp_path / "a.wav", tone(1, 24_000), 24_000, format=name)
        assert f"another format ({name}): convert it" in refused(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_channels_whose_sum_overflows(rate, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full((rate, 2), 3e38), rate, subtype="FLOAT")
    assert "no numbers" in refused(tmp_path / "a.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, 24_000), 24_000)
    (tmp_path / "a.wav").chmod(0)
    assert "cannot be read (Permission denied): make it readable" in refused(tmp_path / "a.wav")


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    assert "no file" in refused(tmp_path / "a.wav")


def test_flac_there_and_back_and_what_is_none():
    audio = tone(0.1, SAMPLE_RATE) * 4
    assert np.abs(read_flac(flac(audio)) - audio.clip(-1, 1)).max() < 2 / 32768
    for wrong in (np.zeros(0), np.zeros((2, 5)), np.array([0.0, np.nan])):
        with pytest.raises(ValueError, match="one finite row is needed"):
            flac(wrong)
