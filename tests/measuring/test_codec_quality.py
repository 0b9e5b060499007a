"""What the codec is measured by and on: each measure on signals whose answer is known, and the clips that are taken."""
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile

from lib import config, records
from lib.data.audio import SAMPLE_RATE
from lib.data.codec import UNHEARD_VOICES, import_past_torchaudio
from lib.data.corpus import load_corpus, sentences, speak
from lib.measuring.codec_quality import codec_quality, measured_clips, measures
from lib.metrics.speech import pesq, pitch, pitch_error
from lib.report import figures, tables


def hum(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """A voice-like tone (samples,): ten harmonics."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.1 * sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, 11))).astype(np.float32)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return next(speak(sentences("test")[:1], "pl")).audio


def test_every_measure_is_best_of_the_speech_itself_and_worse_of_a_noisy_one(speech):
    noisy = speech + 0.05 * np.random.default_rng(0).normal(size=len(speech)).astype(np.float32)
    best = {"stoi": 1.0, "mcd_db": 0.0, "f0_cents": 0.0, "pesq": 4.64}
    for name, measure in measures().items():
        if name != "mos":
            assert measure(speech, speech) == pytest.approx(best[name], abs=0.01), name
            lost = abs(measure(speech, noisy) - best[name])
            assert lost > 0.05, name
    if "mos" in measures():
        assert 1 <= measures()["mos"](speech, speech) <= 5


def test_pesq_is_that_of_its_package(speech):
    package = pytest.importorskip("pesq", reason="pesq compiles C: requirements-dev.txt")
    from scipy.signal import resample_poly
    other = np.roll(speech, 7) + 0.01 * np.random.default_rng(0).normal(size=len(speech))
    low = [resample_poly(x, 2, 3) for x in (speech, other)]
    assert pesq(speech, other) == pytest.approx(package.pesq(16_000, *low, "wb"))


@pytest.mark.parametrize("hertz", [80, 200, 440])
def test_pitch_of_a_tone(hertz):
    voiced = pitch(hum(hertz))
    assert np.median(voiced[voiced > 0]) == pytest.approx(hertz, rel=0.005)
    assert pitch_error(hum(hertz), hum(hertz * 2 ** (1 / 12))) == pytest.approx(100, abs=5)


def test_what_is_never_voiced_has_no_pitch_error():
    assert pitch_error(np.zeros(24_000, np.float32), hum(200)) is None


def write(path: Path, audio: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, SAMPLE_RATE)


def test_recordings_are_taken_evenly_and_what_is_no_sound_is_passed_over(tmp_path):
    for i in range(9):
        write(tmp_path / "mine" / "en" / "wavs" / f"{i}.wav", hum(100 + i, 2.1))
    write(tmp_path / "mine" / "ru" / "short.wav", hum(100, 1.0))
    write(tmp_path / "mine" / "ru" / "whole.wav", hum(100, 2.1))
    (tmp_path / "mine" / "en" / "metadata.csv").write_text("0|text\n")
    study = config.study("smoke", codec_sentences=3, codec_voices=0, recordings=str(tmp_path / "mine"))
    found = [(c.group, c.id) for c in measured_clips(study, load_corpus(study)) if c.group.startswith("rec")]
    assert [group for group, _ in found] == ["recordings, en"] * 3 + ["recordings, ru"]
    assert found[-1][1] == "whole" and len({id for _, id in found}) == 4


@pytest.mark.parametrize("make, words", [
    (lambda p: write(p / "a.wav", hum(100, 2.1)), "has no folders: put recordings into one folder for each group"),
    (lambda p: write(p / "en" / "a.wav", hum(100, 1.0)), "en has no sound file that can be used: WAV, FLAC, OGG or MP3"),
])
def test_a_folder_without_recordings_is_one_clear_line(make, words, tmp_path):
    make(tmp_path / "mine")
    study = config.study("smoke", recordings=str(tmp_path / "mine"))
    with pytest.raises(ValueError, match=words):
        list(measured_clips(study, load_corpus(study)))
    with pytest.raises(ValueError, match="no folder .*nothing"):
        config.study("smoke", recordings=str(tmp_path / "nothing"))


def test_the_codec_is_measured_once_on_its_voice_and_on_voices_it_never_heard():
    study = config.study("smoke", codec_voices=2)
    corpus = load_corpus(study)
    run = codec_quality(study, corpus)
    rows = run.result["rows"]
    assert {(r["group"], r["voice"]) for r in rows} == {("voice pl", "pl")} | {
        ("unheard voices", voice) for voice in UNHEARD_VOICES[:2]}
    assert [r["codebooks"] for r in rows] == [0, 2, 4, 8] * (len(rows) // 4)
    assert all(r["stoi"] == pytest.approx(1) for r in rows if not r["codebooks"])
    assert all(r["stoi"] > 0.75 for r in rows if r["codebooks"] == 8)
    assert codec_quality(study, corpus).created == run.created
    table = tables.codec_quality(run)
    assert list(table.codebooks) == ["unprocessed", "2", "4", "8"] * 2
    drawn = figures.codec_rows(run)
    assert len(drawn.axes) == len(measures())
    plt.close(drawn)
    assert len(tables.codebook_use(run)) == 8 and all(p > 20 for p in run.result["perplexity"])


def test_a_package_that_is_not_there_leaves_torchaudio_alone():
    import sys
    before = {name for name in sys.modules if name.startswith("torchaudio")}
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        import_past_torchaudio("no_such_package")
    assert {name for name in sys.modules if name.startswith("torchaudio")} == before


def test_the_reference_holds_what_quick_and_standard_measure(monkeypatch):
    monkeypatch.setattr("lib.measuring.codec_quality.progress_bar", lambda *_, **__: pytest.fail("measured anew"))
    for name in ("quick", "standard"):
        found = codec_quality(study := config.study(name), load_corpus(study))
        assert found.folder.is_relative_to(records.REFERENCE)
        assert {row["group"] for row in found.result["rows"]} == {"voice pl", "unheard voices"}


def test_a_record_that_lacks_a_measure_is_measured_anew(monkeypatch):
    few = config.study("smoke", codec_sentences=1, codec_voices=0)
    first = codec_quality(few, load_corpus(few))
    monkeypatch.setattr("lib.measuring.codec_quality.measures", lambda: {"stoi": measures()["stoi"], "new": lambda *_: 7.0})
    again = codec_quality(few, load_corpus(few))
    assert again.key == first.key and {row["new"] for row in again.result["rows"]} == {7.0}
