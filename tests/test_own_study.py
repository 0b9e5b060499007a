"""The study of speech on an own corpus: of codes whose codec nobody has, and of sound, at its smallest."""
import numpy as np
import pytest

from corpora import make_ljspeech, make_tokens
from lib import config, records
from lib.data.codec import load_codec
from lib.data.phrases import Phrase, phrases
from lib.report import findings, prose, results, speech
from lib.study import obstacle, speak_and_judge
from lib.training import speech as training

SMALL = dict(parts=["headline"], speech_seeds=1, speech_steps=3, speech_cores=["transformer", "pointwise"], rates=[8e-3], tested=4,
             judged=3, drawn=2, hearing=40, own_hearing_steps=6)


def study_of(folder, **more) -> config.Study:
    return config.study("standard", corpus=str(folder), **SMALL, **more)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["codes", "sound"])
def test_a_corpus_of_ones_own_is_aligned_spoken_and_judged(kind, tmp_path):
    codec = load_codec()
    said = phrases("train", 90, "pl", codec)[:60]
    if kind == "codes":
        slower = [(p.id, p.text, p.codes[:4, np.arange(0, p.codes.shape[1], 1.5).astype(int)].astype(np.int64)) for p in said]
        make_tokens(tmp_path / "own", slower, "somebody's", language="pl", frame_rate=50)
        study = study_of(tmp_path / "own")
    else:
        make_ljspeech(tmp_path / "own", [(p.id, p.text, codec.decode(p.codes)) for p in said])
        study = study_of(tmp_path / "own", language="pl")
    assert obstacle(study) == ""
    speak_and_judge(study, study.speech_cores)
    report = results.read(study)
    report.corpus = records.save("corpus", {}, {"speech": "an own corpus", "language": "pl",
                                                "frame_rate": 50 if kind == "codes" else 75})
    heard = {said.result["config"]["model"]["core"]: said for said in report.said["headline"]}
    assert set(heard) == {"transformer", "pointwise"} and report.alignment.result["voice"] == "pl"
    rows = heard["transformer"].result["rows"]
    assert {(row["split"], row["durations"]) for row in rows} == {("test", "given"), ("test", "predicted"), ("validation", "given")}
    assert all(np.isnan(row["mcd_db"]) == (kind == "codes") and row["phonemes"] > 5 for row in rows)
    assert any(name.endswith(".flac") for name in heard["transformer"].files) == (kind == "sound")
    assert {row["what"] for row in report.bounds.result["rows"]} == {"codec", "untrained", *(["speech"] if kind == "sound" else [])}
    assert report.longer == [] and speech.deaf(report)                  # after so few steps
    words = speech.protocol(report)
    assert "minutes of the corpus heard in training" in words and "with the phonemes of espeak-ng's voice pl (alignment/" in words
    assert "too much to judge cores by" in findings.quality(report).said
    assert {c.metric for c in speech.comparisons(report)} <= {"held_out_loss"}


@pytest.mark.parametrize("kept, words", [
    ({"train": 31, "validation": 4, "test": 4}, "the study of speech needs 32 clips to train on that their text fits: there are 31"),
    ({"train": 36, "validation": 0, "test": 4}, ""), ({"train": 34, "validation": 0, "test": 4},
     "the study of speech needs 32 clips to train on that their text fits: there are 30"),
    ({"train": 40, "validation": 4, "test": 0}, "no study of speech: corpus own has no clip of split test that is aligned: add some"),
    ({"train": 0, "validation": 0, "test": 0}, "no study of speech: corpus own has no clip of split train that is aligned: add some")])
def test_what_only_the_alignment_shows_is_said_and_stands_in_the_report(kept, words, tmp_path, monkeypatch):
    make_tokens(tmp_path / "own", [(f"c{i}", f"zdanie {'bardzo ' * i}długie", np.zeros((4, 40), np.int64)) for i in range(60)],
                "somebody's", language="pl")
    said = [Phrase(f"{split}{i}", "kot", (), np.zeros((4, 9), np.int16), split) for split, n in kept.items() for i in range(n)]
    monkeypatch.setattr(training, "aligned", lambda corpus: None)
    monkeypatch.setattr(training, "phrases_of", lambda record: said)
    assert obstacle(study_of(tmp_path / "own")) == words


def test_the_report_says_why_there_is_no_study_of_speech():
    study = config.study("standard")
    why = records.save("obstacle", {"study": study.label}, {"why": "the study of speech needs 32 clips: there are 0"})
    records.note(study.label, "obstacle", [why])
    report = results.read(study)
    report.corpus = records.save("corpus", {}, {"speech": "an own corpus", "language": "pl"})
    assert "The study of speech needs 32 clips: there are 0." in prose.limits(report)
    report.speech["headline"] = [records.save("speech", {"config": {"steps": 3}}, {})]          # learned since
    assert not any(words.startswith("The study of speech needs") for words in prose.limits(report))


def test_what_keeps_a_corpus_from_being_spoken_is_said(tmp_path):
    clips = [(f"c{i}", f"zdanie {'bardzo ' * i}długie", np.zeros((4, 40), np.int64)) for i in range(50)]
    make_tokens(tmp_path / "few", clips[:30], "somebody's", language="pl")
    assert obstacle(study_of(tmp_path / "few")) == "the study of speech needs 32 clips of at most 20 s to train on: there are 24"
    for name, more, words in (("a", {"language": ""}, "needs to know the language: give it (language)"),
                              ("b", {"language": "nn"}, "espeak-ng does not speak language 'nn'")):
        make_tokens(tmp_path / name, clips, "somebody's", **{"language": "pl", **more})
        assert words in obstacle(study_of(tmp_path / name))
    for frame_rate, frames in ((75, 1501), (50, 1001)):
        folder = tmp_path / f"long{frame_rate}"
        make_tokens(folder, [(id, text, np.zeros((4, frames), int)) for id, text, _ in clips], "somebody's", language="pl",
                    frame_rate=frame_rate)
        assert obstacle(study_of(folder)) == "the study of speech needs 32 clips of at most 20 s to train on: there are 0"
    assert obstacle(config.study("smoke")) == "study smoke holds no study of speech"
