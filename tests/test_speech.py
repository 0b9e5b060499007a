"""Synthesis: the same samples every time, in any order; events; measures of sound."""
import numpy as np
import pytest

from lib.data.speech import SAMPLE_RATE, Utterance, synthesise
from lib.metrics import speech

SAID = [Utterance("Źdźbło trawy leży na chodniku."), Utterance("dwa koty", "pl+Annie", rate=140, pitch=60),
        Utterance("gość", "pl+Mario")]


def test_reproducible_to_the_sample_in_any_order():
    first, again = list(synthesise(SAID)), list(synthesise(SAID[::-1]))[::-1]
    for a, b in zip(first, again):
        assert np.array_equal(a.audio, b.audio) and a.words == b.words and a.phonemes == b.phonemes
    assert not np.array_equal(first[0].audio[:5000], first[1].audio[:5000])


def test_words_and_phonemes_have_their_times():
    speech = next(synthesise(SAID[:1]))
    assert [w for _, w in speech.words] == ["Źdźbło", "trawy", "leży", "na", "chodniku"]
    times = [t for t, _ in speech.phonemes]
    assert times == sorted(times) and 0 <= times[0] and times[-1] < speech.seconds
    assert 20 < len(times) < 32 and speech.audio.dtype == np.float32 and np.abs(speech.audio).max() <= 1
    assert 1.5 < speech.seconds < 3.5


def test_unknown_voice_is_named():
    with pytest.raises(ValueError, match="no espeak-ng voice 'pl.annie' .names are case-sensitive"):
        list(synthesise([Utterance("a", "pl+annie")]))


def test_stoi_falls_with_noise_and_is_one_for_the_same():
    audio = next(synthesise(SAID[:1])).audio
    noise = np.random.default_rng(0).normal(size=len(audio)).astype(np.float32)
    scores = [speech.stoi(audio, audio + level * noise) for level in (0, 0.02, 0.2)]
    assert scores[0] == pytest.approx(1, abs=1e-6) and scores[0] > scores[1] > scores[2]


def test_mel_cepstral_distortion():
    audio = next(synthesise(SAID[:1])).audio
    assert speech.mel_cepstral_distortion(audio, audio) == 0
    noisy = audio + 0.1 * np.random.default_rng(0).normal(size=len(audio))  # well above the floor of log_mel
    assert speech.mel_cepstral_distortion(noisy, 0.5 * noisy) < 0.1         # a gain is no distortion
    assert speech.mel_cepstral_distortion(audio, audio[::-1]) > 3


def test_mel_cepstral_distortion_is_the_distance_of_smooth_spectra_in_decibels(monkeypatch):
    band = np.arange(80)[:, None] + 0.5
    spectra = iter([np.zeros((80, 5)), 6 * np.sqrt(2) * np.cos(3 * np.pi * band / 80) * np.ones((1, 5))])
    monkeypatch.setattr(speech, "log_mel", lambda _: next(spectra))
    assert speech.mel_cepstral_distortion(np.zeros(1), np.zeros(1)) == pytest.approx(6)     # a cosine of 6 dB rms


def test_log_mel_finds_a_tone_where_it_is():
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    mel = speech.log_mel(tone)
    band = mel[:, 30].argmax()
    filters = speech.mel_filterbank(80, 1024)
    assert mel.shape[0] == 80 and abs(filters[band].argmax() * SAMPLE_RATE / 1024 - 1000) < 60


def test_token_match_counts_absent_frames_as_wrong():
    reference = np.arange(8).reshape(2, 4)
    assert speech.token_match(reference, reference) == 1
    assert speech.token_match(reference, reference[:, :3]) == 0.75
    assert speech.token_match(reference, np.pad(reference, ((0, 0), (0, 9)))) == 1
    assert speech.token_match(reference, reference + 1) == 0
