"""Speech that came without times: against espeak-ng's own times, and what is set aside."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from corpora import make_tokens
from lib import config, records
from lib.data.audio import SAMPLE_RATE
from lib.data.codec import load_codec
from lib.data.corpus import load_corpus
from lib.data.phrases import PAUSE, Group, Phrase, phrases
from lib.data.speech import Speech, Utterance, synthesise
from lib.metrics.monotonic import log_likelihood
from lib.models.aligner import Aligner
from lib.training import alignment

KOT = (Group("kot", (("k", 3), ("ˈɔ", 5), ("t", 2))), Group(", ", (("_", 4),)), Group("pies", (("p", 2), ("ɛ", 6))))


def test_every_separator_and_both_ends_may_be_a_pause():
    groups = alignment.untimed((KOT[0], Group(" ", ()), KOT[2]))
    assert [g.characters for g in groups] == [" ", "kot", " ", "pies", " "]
    assert [g.phonemes for g in groups[::2]] == [(("_", 0),)] * 3 and groups[1].phonemes == (("k", 0), ("ˈɔ", 0), ("t", 0))


def test_times_come_back_and_pauses_without_time_leave_nothing():
    groups = alignment.untimed(KOT)
    timed = alignment.timed(groups, [0, 3, 5, 2, 4, 2, 6, 7])
    assert timed == (*KOT, Group(" ", (("_", 7),)))
    assert alignment.timed(alignment.untimed((KOT[0], Group(" ", ()), KOT[2])), [0, 3, 5, 2, 0, 2, 6, 0]) == (
        KOT[0], Group(" ", ()), KOT[2])


def test_a_phoneme_lasts_as_many_frames_as_the_clip_has_time_for():
    states, optional = np.array([0, 4, 5, 0]), np.array([True, False, False, True])
    for frames, row in ((20, [0, 4, 4, 4, 5, 5, 5, 0]), (6, [0, 4, 4, 5, 5, 0]), (2, [0, 4, 5, 0])):
        held, may = alignment.held(states, optional, frames)
        assert held.tolist() == row and may.tolist() == [state == 0 for state in row]


def test_the_gradient_is_that_of_the_forward_sum():
    """Of the likelihood of all paths in float64, less that of all classes."""
    torch.manual_seed(0)
    model = Aligner(2, 5, width=8).double().eval()
    states, optional = np.array([0, 3, 1, 0, 4]), np.array([True, False, False, True, False])
    one = (torch.randint(1024, (2, 17)), states, optional)
    loss, frames = alignment.forward_sum(model, [one], 0.0)
    loss.backward()
    ours = model.head.weight.grad.clone()
    model.zero_grad()
    logits = model(one[0][None])[0]
    held, may = alignment.held(states, optional, 17)
    total = log_likelihood(logits.log_softmax(-1)[:, held] - 0.5 * model.share.log()[held], may)
    (-total / 17).backward()
    torch.testing.assert_close(ours, model.head.weight.grad, atol=1e-12, rtol=1e-9)
    assert frames.sum().item() == pytest.approx(17) and frames[2] == 0


def test_batches_hold_clips_of_like_length_and_about_as_many_frames():
    lengths = [100, 1500, 90, 110, 1400, 700] * 9
    for batch in alignment.batches(lengths, 0):
        sizes = [lengths[i] for i in batch]
        assert (sum(sizes) <= alignment.FRAMES or len(batch) == 1) and len(batch) == len(set(batch)) and sizes == sorted(sizes)
    assert len(alignment.batches(lengths, 0)) == alignment.STEPS
    assert {i for batch in alignment.batches(lengths, 0) for i in batch} == set(range(len(lengths)))


def test_sentences_are_read_one_by_one_and_a_dash_is_no_word():
    said = ["jeden kot.", "- dwa psy!"]
    groups = alignment.words_of(list(zip(said, synthesise(Utterance(text, "pl") for text in said))))
    assert "".join(g.characters for g in groups) == "jeden kot. - dwa psy!"
    said = {g.characters: "".join(name for name, _ in g.phonemes) for g in groups if any(name != "_" for name, _ in g.phonemes)}
    assert said == {"jeden": "jˈɛdɛn", "kot": "kˈɔt", "- dwa": "dvˈa", "psy": "psˈɨ"}
    with pytest.raises(ValueError, match="espeak-ng (says nothing|reads it in other words): '!'"):
        alignment.words_of([("!", Speech(np.zeros(SAMPLE_RATE, np.float32), [], [(0.0, "")]))])


def made_up(count: int) -> tuple[list[Phrase], list[list[int]]]:
    """Made-up phrases of five phonemes, whose codes tell them and are noisy, between two silences; and the true onsets."""
    random, out, truth = np.random.default_rng(0), [], []
    for number in range(count):
        names = [str(n) for n in random.integers(5, size=random.integers(4, 9))]
        frames = random.integers(3, 12, size=len(names) + 2)
        row = np.repeat([9, *map(int, names), 9], frames) * 3 + random.integers(3, size=frames.sum())
        groups = alignment.untimed((Group("word", tuple((name, 0) for name in names)),))
        out.append(Phrase(str(number), "word", groups, np.stack([row, random.integers(50, size=len(row))]).astype(np.int16)))
        truth.append(np.cumsum(frames)[:-2].tolist())
    return out, truth


def test_times_are_found_and_strangers_transcripts_fit_worse(monkeypatch, tmp_path):
    monkeypatch.setattr(alignment, "STEPS", 100)
    monkeypatch.setattr(alignment, "FRAMES", 300)
    said, truth = made_up(60)
    wrong = replace(said[0], groups=said[1].groups)
    names = alignment.classes(said)
    assert names == ("_", "0", "1", "2", "3", "4")
    examples = [alignment.example(p, names) for p in [wrong, *said[1:]]]
    model, _ = alignment.learn(examples[1:], len(names), tmp_path / "checkpoint")
    cuts, times = alignment.cut(model, examples)
    assert all(frames.sum() == codes.shape[1] for frames, (codes, _, _) in zip(cuts, examples))
    off = [np.abs(np.cumsum(frames)[:-2] - onsets) for frames, onsets in zip(cuts[1:], truth[1:])]
    # doubled phonemes have no boundary that anything could tell
    assert np.median(np.concatenate(off)) == 0 and np.mean(np.concatenate(off) <= 3) > 0.95
    fits = [alignment.fit_of(model, codes, states, frames) for frames, (codes, states, _) in zip(cuts, examples)]
    strangers = alignment.against_strangers(model, examples, times)
    assert max(fits) <= 0 and fits[0] < np.median(fits) + (np.median(strangers) - np.median(fits)) / 3 < np.percentile(fits, 10)


def test_what_is_too_short_for_its_phonemes_does_not_fit():
    model = Aligner(2, 3).eval()
    one = (torch.zeros(2, 2, dtype=torch.long), np.array([1, 2, 1]), np.zeros(3, bool))
    (frames,), _ = alignment.cut(model, [one])
    assert not frames.any() and alignment.fit_of(model, *one[:2], frames) == -np.inf


@pytest.fixture
def learned(monkeypatch) -> list:
    """The corpora that were aligned, nothing being learned."""
    done = []
    monkeypatch.setattr(alignment, "_align", lambda corpus, voice, path: (done.append(corpus), ({}, {}))[1])
    return done


def test_an_alignment_is_found_while_clips_texts_and_splits_are_the_same(tmp_path, monkeypatch, learned):
    random = np.random.default_rng(0)
    clips = [(f"c{i}", f"zdanie {'bardzo ' * i}długie", random.integers(1024, size=(8, 40))) for i in range(8)]

    def found(name: str, texts: dict | None = None, codes: dict | None = None, codec: str = "mine", **asked) -> records.Record:
        rows = [(id, (texts or {}).get(id, text), (codes or {}).get(id, one)) for id, text, one in clips]
        make_tokens(tmp_path / name / "own", rows, codec, language="pl")
        return alignment.aligned(load_corpus(config.study("smoke", corpus=str(tmp_path / name / "own"), **asked)))

    first = found("a")
    monkeypatch.setattr(records, "code_digest", lambda *patterns: "code that says the same in other words")
    again = found("b")
    assert learned[0].record.key != load_corpus(config.study("smoke", corpus=str(tmp_path / "b" / "own"))).record.key
    assert again.key == first.key and len(learned) == 1
    others = [found("text", {"c3": "inne zdanie"}), found("codes", codes={"c3": clips[3][2][:, ::-1]}), found("codec", codec="other"),
              found("language", language="cs"), found("splits", {"c3": "zdanie długie"})]
    assert len({first.key, *(one.key for one in others)}) == 6 == len(learned)


def test_where_no_text_fits_nothing_is_kept_and_that_is_recorded(tmp_path):
    """More phonemes than frames, of most clips: what cannot be cut at all is not kept as if it took no time."""
    clips = [(f"c{i}", "konstantynopolitańczykowianeczka " * 9 + f"{'a' * (i + 1)}", np.full((8, 30), i)) for i in range(8)]
    make_tokens(tmp_path / "own", clips, "mine", language="pl")
    corpus = load_corpus(config.study("smoke", corpus=str(tmp_path / "own")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "STEPS", 2)
        record = alignment.aligned(corpus)
    assert record.result["clips"] == 0 and alignment.phrases_of(record) == []
    assert record.result["set_aside"] == {"its text does not fit": 8}


@pytest.mark.long
def test_the_times_of_speech_are_found_without_being_told(tmp_path):
    """Of 600 phrases by espeak-ng, 30 of them with the text of another: the onsets against its own."""
    said = phrases("train", 800, "pl", load_codec())[:600]
    untimed = [replace(p, groups=alignment.untimed(tuple(Group(g.characters, tuple(
        (name, 0) for name, _ in g.phonemes if name != PAUSE)) for g in p.groups))) for p in said]
    for i in range(30):
        untimed[i] = replace(untimed[i], groups=untimed[i + 300].groups)
    names = alignment.classes(untimed)
    examples = [alignment.example(p, names) for p in untimed]
    model, _ = alignment.learn(examples, len(names), tmp_path / "checkpoint")
    cuts, times = alignment.cut(model, examples)
    off = []
    for p, frames, (_, states, _) in list(zip(said, cuts, examples))[30:]:
        lasting = [(name, n) for g in p.groups for name, n in g.phonemes]
        onsets = np.cumsum([0, *(n for _, n in lasting)])[:-1][[name != PAUSE for name, _ in lasting]]
        off.append(np.abs(np.cumsum([0, *frames])[:-1][states != 0] - onsets))
    off = np.concatenate(off)
    assert np.median(off) <= 1 and np.mean(off <= 3) > 0.95, (np.median(off), np.mean(off <= 3))
    fits = [alignment.fit_of(model, codes, states, frames) for frames, (codes, states, _) in zip(cuts, examples)]
    least = np.median(fits) + alignment.APART * (np.median(alignment.against_strangers(model, examples, times)) - np.median(fits))
    assert np.mean(np.array(fits[:30]) < least) > 0.6 and np.mean(np.array(fits[30:]) < least) < 0.01
