"""Silences, and jumps of level and pitch where one stretch of sound follows another."""
import numpy as np
import pytest

from lib.metrics.speech import jumps, longest_silence

RATE = 24_000


def tone(hertz: float, seconds: float, loud: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return loud * sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 6))


def test_a_join_jumps_by_the_level_and_the_pitch_of_what_is_voiced_around_it():
    silence = np.zeros(RATE // 5)
    # quieter and higher by a fifth; then the same again after a silence; then twice as loud, and back
    sound = np.concatenate([tone(100, 1, 0.2), tone(150, 1, 0.1), silence, tone(150, 1, 0.1), tone(100, 1, 0.2)])
    level, f0 = jumps(sound, [RATE, 2 * RATE + len(silence), 3 * RATE + len(silence)])
    assert level == pytest.approx([-6.02, 0, 6.02], abs=0.3)
    assert f0 == pytest.approx([702, 0, -702], abs=10)


def test_a_join_with_nothing_voiced_on_one_side_is_left_out():
    sound = np.concatenate([np.zeros(RATE), tone(100, 1, 0.2)])
    assert jumps(sound, [RATE]) == ([], []) and jumps(sound, []) == ([], [])
    level, f0 = jumps(sound, [RATE, 3 * RATE // 2])
    assert level == pytest.approx([0], abs=0.3) and f0 == pytest.approx([0], abs=5)


def test_the_longest_silence_lies_between_what_is_heard():
    silences = [np.zeros(int(seconds * RATE)) for seconds in (0.9, 0.3, 0.4, 0.8)]
    sound = np.concatenate([silences[0], tone(100, 0.5, 0.2), silences[1], tone(100, 0.5, 0.2), silences[2], tone(100, 0.5, 0.2),
                            silences[3]])
    assert longest_silence(sound) == pytest.approx(0.4, abs=0.011)
    assert longest_silence(sound + 1e-4 * np.sin(np.arange(len(sound)))) == pytest.approx(0.4, abs=0.011)     # hiss, 50 dB under it
    assert longest_silence(tone(100, 1, 0.2)) == 0 and longest_silence(silences[0]) == pytest.approx(0.9)
    assert longest_silence(np.zeros(0)) == 0
