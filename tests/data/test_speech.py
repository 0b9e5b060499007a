"""Synthesis: the same samples every time, in any order and from any place; events; measures of sound."""
import os
import shutil
from functools import cache
from itertools import product
from pathlib import Path

import espeakng_loader
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


@pytest.fixture
def relocate(tmp_path, monkeypatch):
    """Puts espeakng_loader deep in the file system, and there what is linked into it."""
    package = tmp_path / Path(*["d" * 40] * 5) / "espeakng_loader"
    package.mkdir(parents=True)
    shutil.copy(espeakng_loader.__file__, package)

    def relocate(*linked: str) -> Path:
        for path in linked:
            (package / Path(path).name).symlink_to(path)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(package.parent), os.environ.get("PYTHONPATH")])))
        return package
    return relocate


def test_a_long_path_changes_no_sample(relocate):
    """espeak-ng cuts the path of its data at 160 bytes."""
    usual = list(synthesise(SAID))
    package = relocate(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    assert len(str(package)) > 200
    for a, b in zip(usual, synthesise(SAID), strict=True):
        assert np.array_equal(a.audio, b.audio) and a.words == b.words and a.phonemes == b.phonemes
    with pytest.raises(ValueError, match="no espeak-ng voice 'pl.annie'"):
        list(synthesise([Utterance("a", "pl+annie")]))


@pytest.mark.parametrize("installed, reason", [("nothing", "libespeak-ng"), ("library", "data path not exists"),
                                               ("folder", "on .*d/espeakng_loader/espeak-ng-data:")])
def test_a_synthesiser_that_does_not_start_says_why_in_one_line(relocate, installed, reason):
    package = relocate(*[] if installed == "nothing" else [espeakng_loader.get_library_path()])
    if installed == "folder":               # of the data, with nothing in it
        (package / "espeak-ng-data").mkdir()
    with pytest.raises(ValueError, match=f"^espeak-ng did not start .*{reason}.* reinstall espeakng-loader$"):
        list(synthesise(SAID))


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


def test_warping_follows_a_slower_copy():
    quick, slow, other = (said.audio for said in synthesise(
        [Utterance(SAID[0].text), Utterance(SAID[0].text, rate=110), Utterance("dwa koty")]))
    assert speech.warped_distortion(quick, quick) == 0 and speech.warped_pitch_error(quick, quick) == 0
    warped = speech.warped_distortion(quick, slow)
    assert len(slow) > 1.2 * len(quick) and warped < 0.6 * speech.mel_cepstral_distortion(quick, slow)
    assert warped < speech.warped_distortion(quick, other)
    assert speech.warped_pitch_error(quick, slow) < 0.3 * speech.pitch_error(quick, slow)


def test_the_cheapest_path_through_a_cost():
    cost = np.array([[0, 9, 9, 9], [1, 9, 9, 9], [9, 0, 2, 9], [9, 9, 9, 0.]])
    assert speech.warp(cost).tolist() == [[0, 0], [1, 0], [2, 1], [2, 2], [3, 3]]
    assert speech.warp(np.zeros((1, 3))).tolist() == [[0, 0], [0, 1], [0, 2]]
    assert speech.warp(np.zeros((3, 3))).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_warped_pitch_error_is_the_interval_in_cents():
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    low, high = (sum(np.sin(2 * np.pi * f * k * time) / k for k in range(1, 9)) for f in (150, 150 * 2 ** (100 / 1200)))
    assert speech.warped_pitch_error(0.1 * low, 0.1 * high[:16_000]) == pytest.approx(100, abs=3)
    assert speech.warped_pitch_error(low, np.zeros(5000)) is None


@pytest.mark.parametrize("samples", [1, 300, 5000])
def test_warped_measures_of_next_to_nothing(samples):
    audio = next(synthesise(SAID[:1])).audio
    for other in (np.zeros(samples, np.float32), audio[5000:5000 + samples]):
        assert np.isfinite(speech.warped_distortion(audio, other)) and speech.warped_distortion(audio, other) > 0
        assert (speech.warped_pitch_error(audio, other) or 0) >= 0
    assert speech.warped_distortion(np.zeros(samples), audio) is None


@pytest.mark.parametrize("a, b, edits", [("", "", 0), ("kot", "kot", 0), ("", "kot", 3), ("kot", "", 3), ("kot", "kto", 2),
                                         ("kitten", "sitting", 3), ("intention", "execution", 5), ("ab", "ba", 2)])
def test_edit_distance(a, b, edits):
    assert speech.edit_distance(a, list(b)) == edits


@pytest.mark.parametrize("a, b, kinds", [("", "", (0, 0, 0)), ("", "kot", (0, 3, 0)), ("kot", "", (3, 0, 0)),
                                         ("kitten", "sitting", (0, 1, 2)), ("abcdef", "abdef", (1, 0, 0)), ("ab", "cd", (0, 0, 2)),
                                         ("abcd", "xabc", (1, 1, 0))])
def test_deletions_insertions_and_substitutions_apart(a, b, kinds):
    assert speech.edits(a, list(b)) == kinds
    deleted, inserted, _ = speech.edits(b, a)
    assert (inserted, deleted) == kinds[:2]


def test_edits_are_the_fewest_and_make_one_length_of_the_other():
    """Against the plain recursion, on every pair of some short words."""
    @cache
    def fewest(a: str, b: str) -> int:
        if not (a and b):
            return len(a) + len(b)
        return min(fewest(a[1:], b) + 1, fewest(a, b[1:]) + 1, fewest(a[1:], b[1:]) + (a[0] != b[0]))
    words = ["".join(np.random.default_rng(i).choice(list("abc"), i % 8)) for i in range(30)]
    for a, b in product(words, words):
        found = speech.edits(a, b)
        assert sum(found) == fewest(a, b) and len(a) - found.deletions + found.insertions == len(b)


@pytest.mark.parametrize("heard, repeated", [("", 0), ("kot", 0), ("aa", 1), ("ababab", 4), ("aaaa", 3), ("mamatata", 2),
                                             ("xabcabcaby", 3), ("kotkotkotkot", 9)])
def test_a_repeat_is_what_is_said_again_right_after(heard, repeated):
    assert speech.longest_repeat(heard) == repeated == speech.loop("", heard)
    assert speech.loop(heard, heard) == 0                               # the text has it too


def test_a_distance_of_distributions_is_how_far_values_must_move():
    a = np.array([1.0, 2.0, 3.0])
    assert speech.distribution_distance(a, a[::-1]) == 0 and speech.distribution_distance(a, a + 5) == pytest.approx(5)
    assert speech.distribution_distance(a, np.array([])) is None
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tones = [sum(np.sin(2 * np.pi * f * k * time) / k for k in range(1, 9)) for f in (100, 200)]
    low, high = map(speech.voiced_cents, tones)
    assert abs(low).max() < 5 and speech.distribution_distance(low, high) == pytest.approx(1200, abs=5)


def test_phoneme_error_weighs_sentences_by_their_length():
    references = [["k", "ɔ", "t"], ["a"]]
    assert speech.phoneme_error(references, references) == 0
    assert speech.phoneme_error(references, [["k", "ɔ", "t", "ɨ"], []]) == 2 / 4
    assert speech.phoneme_error([["a"]], [["b", "c", "d"]]) == 3
    with pytest.raises(ValueError):
        speech.phoneme_error(references, [[]])


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
