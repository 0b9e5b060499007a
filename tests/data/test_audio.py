"""Sound files: every format at every rate, and every file that is no clip, named with the way out."""
import io
import os
import struct

import numpy as np
import pytest
import soundfile

from lib.data.audio import LONGEST, SAMPLE_RATE, SHORTEST, Unusable, flac, read_audio, read_flac

FORMATS = {"wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"),
           "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"), "aiff": ("AIFF", "PCM_16"),
           "rf64": ("RF64", "PCM_16"), "gsm.wav": ("WAV", "GSM610")}


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


@pytest.mark.parametrize("ending", [e for e in FORMATS if e != "gsm.wav"])
@pytest.mark.parametrize("rate, channels", [(8_000, 1), (16_000, 2), (24_000, 1), (48_000, 3)])
def test_every_format_becomes_mono_at_24_khz(ending, rate, channels, tmp_path):
    channels = min(channels, 2) if ending == "mp3" else channels
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
    assert not content or refused(tmp_path / "a.wav") == (      # and none of what the library says of chunks and headers
        "cannot be decoded: it is cut off or damaged, or not the WAV, AIFF, FLAC, OGG or MP3 that it should be; export it again")
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


# What writers into a pipe say: gstreamer 0, ffmpeg 2 ** 32 - 1, espeak-ng and sox 0x7FFFF000, arecord 2 ** 31.
STREAMED = (0, 2 ** 32 - 1, 2 ** 31 - 1, 2 ** 31 - 37, 0x7FFFF000, 2 ** 31, 2_000_000_000)


def claiming(ending: str, content: bytes, length: int) -> bytes:
    """The file with this length of its sound."""
    at, order, width = {"wav": (content.find(b"data") + 4, "little", 4), "aiff": (content.find(b"SSND") + 4, "big", 4),
                        "rf64": (content.find(b"ds64") + 16, "little", 8)}[ending.split(".")[-1]]
    return content[:at] + length.to_bytes(width, order) + content[at + width:]


@pytest.mark.parametrize("riff", [None, 0, 8, 2 ** 32 - 1])
@pytest.mark.parametrize("length", STREAMED)
def test_a_wav_from_a_pipe_is_as_long_as_its_file(length, riff, tmp_path):
    content = claiming("wav", encoded("wav", tone(1, 24_000), 24_000), length)
    (tmp_path / "a.wav").write_bytes(content if riff is None else content[:4] + struct.pack("<I", riff) + content[8:])
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), tone(1, 24_000), atol=1e-4)


@pytest.mark.parametrize("ending", ["wav", "float.wav", "aiff", "rf64", "gsm.wav"])
@pytest.mark.parametrize("claimed", [*STREAMED, "half"])
def test_the_file_decides_how_long_the_sound_is(ending, claimed, tmp_path):
    content = encoded(ending, tone(1, 24_000), 24_000)
    (tmp_path / "right").write_bytes(content)
    (tmp_path / "wrong").write_bytes(claiming(ending, content, len(content) // 4 * 2 if claimed == "half" else claimed))
    audio = read_audio(tmp_path / "wrong")
    assert 24_000 <= len(audio) < 24_000 + 2 * 160 + 1                  # GSM 6.10 counts in blocks of 320
    np.testing.assert_array_equal(audio, read_audio(tmp_path / "right"))


def test_gsm_is_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1, 8_000), 8_000, subtype="GSM610")
    audio = read_audio(tmp_path / "a.wav")
    assert 0 <= len(audio) - SAMPLE_RATE <= 3 * 320
    assert np.abs(np.fft.rfft(audio[:SAMPLE_RATE])).argmax() == 440


@pytest.mark.parametrize("ending", ["wav", "aiff", "rf64"])
@pytest.mark.parametrize("claimed", [48_016, 96_000, 2 ** 30 - 1])
def test_a_sound_that_is_longer_than_its_file_was_cut_off(ending, claimed, tmp_path):
    (tmp_path / "a").write_bytes(claiming(ending, encoded(ending, tone(1, 24_000), 24_000), claimed))
    assert "cut off: it holds" in refused(tmp_path / "a")


@pytest.mark.parametrize("trailer", [b"LIST" + struct.pack("<I", 400) + bytes(400), b"LIST" + struct.pack("<I", 400) + bytes(9),
                                     b"wavl" + struct.pack("<I", 8) + bytes(8), b"TAG" + b"\x55" * 125, b"\x55" * 6])
@pytest.mark.parametrize("odd", [False, True])
def test_what_follows_the_sound_of_a_wav_is_no_sound(trailer, odd, tmp_path):
    content = encoded("wav", tone(1, 24_000), 24_000)
    if odd:                                         # of 8 bits, padded or not
        file = io.BytesIO()
        soundfile.write(file, tone(1, 24_000)[:-1], 24_000, format="WAV", subtype="PCM_U8")
        content = file.getvalue()
        for end in (content.ljust(44 + 24_000, b"\0"), content[:44 + 23_999]):
            (tmp_path / "a.wav").write_bytes(end + trailer)
            assert len(read_audio(tmp_path / "a.wav")) == 23_999
    else:
        (tmp_path / "a.wav").write_bytes(content + trailer)
        assert len(read_audio(tmp_path / "a.wav")) == 24_000


def test_a_riff_that_counts_its_own_head_is_whole(tmp_path):
    content = encoded("wav", tone(1, 24_000), 24_000)
    (tmp_path / "a.wav").write_bytes(content[:4] + struct.pack("<I", len(content)) + content[8:])
    assert len(read_audio(tmp_path / "a.wav")) == 24_000


def streamed_flac(audio: np.ndarray) -> bytes:
    content = bytearray(encoded("flac", audio, 24_000))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    return bytes(content)


def test_a_flac_that_does_not_say_how_long_it_is(tmp_path):
    noise = (0.2 * np.random.default_rng(0).normal(size=30_000)).clip(-1, 1)
    content = streamed_flac(noise)
    (tmp_path / "a.flac").write_bytes(content)
    np.testing.assert_allclose(read_audio(tmp_path / "a.flac"), noise, atol=1e-4)
    (tmp_path / "a.flac").write_bytes(content[:len(content) // 2])
    assert "cut off" in refused(tmp_path / "a.flac")
    for seconds, words in ((31, "too long (31.00 s)"), (61, "too long (over 60 s)")):
        (tmp_path / "a.flac").write_bytes(streamed_flac(np.tile(tone(1, 24_000), seconds)))
        assert words in refused(tmp_path / "a.flac")
    (tmp_path / "a.flac").write_bytes(streamed_flac(tone(0.2, 24_000)))
    assert "too short (0.20 s)" in refused(tmp_path / "a.flac")


@pytest.mark.parametrize("start, name", [
    (b"\0\0\0\x20ftypM4A ", "M4A or MP4"), (b"\x1aE\xdf\xa3\x9fB\x86", "WebM or Matroska"), (b"#!AMR\n", "AMR"),
    (b"0&\xb2u\x8ef\xcf\x11", "WMA"), (b"\xff\xf1P\x80", "AAC")])
def test_formats_that_are_not_read_are_named(start, name, tmp_path):
    (tmp_path / "a.wav").write_bytes(start + bytes(5000))
    assert refused(tmp_path / "a.wav") == f"another format ({name}): convert it to WAV, FLAC, OGG or MP3"


def test_other_formats_of_the_library_cannot_show_that_they_were_cut_off_and_are_refused(tmp_path):
    for name in ("W64", "AU", "CAF"):
        soundfile.write(tmp_path / "a.wav", tone(1, 24_000), 24_000, format=name)
        assert f"another format ({name}): convert it" in refused(tmp_path / "a.wav")


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_integers_stored_as_floats_are_refused_and_a_little_over_full_scale_is_not(subtype, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.round(32_767 / 0.4 * tone(1, 24_000)), 24_000, subtype=subtype)
    assert "a peak of 32,767 times full scale: integers stored as floats; export it again" in refused(tmp_path / "a.wav")
    soundfile.write(tmp_path / "a.wav", 1.9 / 0.4 * tone(1, 24_000), 24_000, subtype=subtype)
    assert np.abs(read_audio(tmp_path / "a.wav")).max() == pytest.approx(1.9, rel=1e-3)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Syllables of a voiced sound with soft ends and pauses between them, at 24 kHz."""
    at = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (tone(seconds, SAMPLE_RATE, 180) * (0.02 + np.abs(np.sin(2 * np.pi * 2 * at)))).astype(np.float32)


@pytest.mark.parametrize("noise", [0, 1e-4, 3e-3, 1e-2])                # to 30 dB under the speech
@pytest.mark.parametrize("before, after", [(3, 0), (0, 3), (2, 4), (0.5, 0.5)])
def test_silence_around_the_speech_is_left_out(before, after, noise, tmp_path):
    random = np.random.default_rng(0)
    audio = np.concatenate([np.zeros(int(before * SAMPLE_RATE)), speech(2), np.zeros(int(after * SAMPLE_RATE))])
    audio += noise * random.normal(size=len(audio)) + 0.05              # an offset is no sound
    audio[[2000, -2000]] = 0.9                                          # nor is a click
    soundfile.write(tmp_path / "a.wav", audio, SAMPLE_RATE, subtype="FLOAT")
    kept = read_audio(tmp_path / "a.wav")
    start = audio.astype(np.float32).tobytes().find(kept.tobytes()) / 4
    assert start >= 0 and abs(start / SAMPLE_RATE - max(0, before - 0.2)) < 0.08
    assert abs(len(kept) / SAMPLE_RATE - 2 - 0.2 * ((before > 0) + (after > 0))) < 0.08


@pytest.mark.parametrize("around", [0, 0.05, 0.15])
@pytest.mark.parametrize("noise", [0, 3e-3])
def test_a_clip_with_little_silence_is_unchanged(around, noise, tmp_path):
    quiet = np.zeros(int(around * SAMPLE_RATE) + 7)
    audio = np.concatenate([quiet, speech(1.5), quiet]) + noise * np.random.default_rng(0).normal(size=36_000 + 2 * len(quiet))
    soundfile.write(tmp_path / "a.wav", audio, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), audio.astype(np.float32))


def test_a_pause_and_quiet_words_stay(tmp_path):
    audio = np.concatenate([0.05 * speech(0.5), np.zeros(SAMPLE_RATE), speech(1), np.zeros(SAMPLE_RATE), 0.05 * speech(0.5)])
    audio += 1e-4 * np.random.default_rng(0).normal(size=len(audio))    # 26 dB quieter, 26 dB over the noise
    soundfile.write(tmp_path / "a.wav", audio, SAMPLE_RATE, subtype="FLOAT")
    assert len(read_audio(tmp_path / "a.wav")) == len(audio)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_a_clip_is_as_long_as_it_is_without_its_silence(ending, tmp_path):
    for silence, said, words in ((29, 1.5, ""), (25, 31, "too long (31."), (58, 2.5, "too long (60.")):
        sound = np.concatenate([np.zeros(silence * SAMPLE_RATE), speech(said)])
        (tmp_path / "a").write_bytes(encoded(ending, sound.astype(np.float32), SAMPLE_RATE))
        if words:
            assert words in refused(tmp_path / "a")
        else:
            assert len(read_audio(tmp_path / "a")) / SAMPLE_RATE == pytest.approx(1.7, abs=0.15)


def test_no_more_than_a_minute_is_read(tmp_path, monkeypatch):
    asked, real = [], soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, frames, **how: (asked.append(frames), real(self, frames, **how))[1])
    (tmp_path / "a.flac").write_bytes(streamed_flac(np.tile(tone(1, 24_000), 70)))
    assert "too long" in refused(tmp_path / "a.flac") and asked == [60 * 24_000 + 1]


def test_clips_that_are_nothing_but_silence_once_it_is_left_out(tmp_path):
    click = np.zeros(SAMPLE_RATE)
    click[5000] = 0.5
    soundfile.write(tmp_path / "a.wav", click, SAMPLE_RATE)
    assert "silent: nothing in it lasts longer than a click" in refused(tmp_path / "a.wav")
    soundfile.write(tmp_path / "a.wav", np.concatenate([np.zeros(SAMPLE_RATE), tone(0.09, SAMPLE_RATE)]), SAMPLE_RATE)
    assert "too short without its silence (0.29 s)" in refused(tmp_path / "a.wav")


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
