"""Training on phrases: what a frame is told, batches, schedule, resumption, durations, speaking by a plan."""
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from killing import Killed
from lib import records
from lib.config import ALIGNED, ModelConfig, SpeechConfig
from lib.data.phrases import LONGEST, PAUSE, Group, Phrase, plan
from lib.data.shards import Shards, append
from lib.measuring.intelligibility import cut
from lib.models.codec_lm import START, CodecLM, losses
from lib.models.durations import Durations, duration_loss
from lib.speaking.decoding import speak
from lib.training import speech as train_speech
from lib.training.durations import collate as collate_durations
from lib.training.durations import example as duration_example
from lib.training.durations import load_durations, predicted_plan, train_durations
from lib.training.speech import Data, Speech, collate, example, load_speech, order, rate

MATERIAL = Speech(10, 2, 2, "pl", "embedded", 3, 3)
PHONEMES = (PAUSE, "a", "k", "m", "t", "ˈɔ")


def phrase(number: int, words: int = 2) -> Phrase:
    """A made-up phrase of kot and ma, of its own length."""
    groups = [Group(" ", ((PAUSE, 2),))]
    for _ in range(words):
        groups += [Group("kot", (("k", 2), ("ˈɔ", 4 + number % 3), ("t", 2))), Group(" ", ()), Group("ma", (("m", 3), ("a", 4)))]
        groups += [Group(", ", ((PAUSE, 3),))]
    frames = sum(g.frames for g in groups)
    codes = np.random.default_rng(number).integers(0, 1024, (8, frames)).astype(np.int16)
    return Phrase(f"p{number}", "".join(g.characters for g in groups), tuple(groups), codes)


def config(conditioning: str, core: str = "mamba_conv", pattern: str = "delay") -> ModelConfig:
    alphabet = {"units": "phonemes", "alphabet": PHONEMES} if conditioning in ("phoneme", "neighbours") else {}
    return ModelConfig(core, "matched-1m", pattern=pattern, conditioning=conditioning, **alphabet)


@pytest.mark.parametrize("conditioning", ALIGNED)
@pytest.mark.parametrize("core", ["transformer", "mamba_conv", "mamba", "pointwise"])
@torch.inference_mode()
def test_step_by_step_is_the_whole_forward(core, conditioning):
    model = CodecLM(config(conditioning, core)).double().eval()
    codes, lengths, text, at = collate([example(phrase(n, 1 + n), model.config) for n in range(3)], model.config)
    at = at._replace(timing=at.timing.double())
    logits, end = model(codes, text, at)
    state, previous = model.initial_state(text, codes.shape[2], model.told(text, at)), torch.full((3, 4), 1024)
    for t in range(codes.shape[2]):
        step_logits, step_end = model.step(previous, state)
        for row in range(3):
            if t < lengths[row]:
                torch.testing.assert_close(step_logits[row], logits[row, :, t], atol=1e-9, rtol=1e-7)
                torch.testing.assert_close(step_end[row], end[row, t], atol=1e-9, rtol=1e-7)
        previous = codes[:, :, t]


@pytest.mark.parametrize("conditioning,reach", [("phoneme", (0, 0)), ("neighbours", (-1, 2))])
@torch.inference_mode()
def test_a_frame_is_told_of_just_these_phonemes(conditioning, reach):
    model = CodecLM(config(conditioning))
    codes, _, text, told = collate([example(phrase(0, 3), model.config)], model.config)
    changed = text.clone()
    changed[0, 7] = (changed[0, 7] + 1) % len(PHONEMES)
    moved = (model.told(text, told) != model.told(changed, told)).any(-1)[0]
    at = told.where[0]
    assert moved.tolist() == [7 - reach[1] <= s <= 7 - reach[0] for s in at.tolist()]


def test_without_a_guide_an_aligned_model_says_what_it_needs():
    model = CodecLM(config("word"))
    with pytest.raises(ValueError, match="conditioning word needs a guide"):
        model(torch.zeros(1, 4, 5, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long))


@pytest.mark.parametrize("conditioning", ("prefix", *ALIGNED))
def test_a_phrase_in_a_padded_batch_has_the_loss_it_has_alone(conditioning):
    model = CodecLM(config(conditioning)).double()
    examples = [example(phrase(n, 1 + n), model.config) for n in range(2)]

    def logits_of(batch):
        codes, lengths, text, told = collate(batch, model.config)
        return model(codes, text, told._replace(timing=told.timing.double())), codes, lengths
    (logits, end), codes, lengths = logits_of(examples)
    for row, one in enumerate(examples):
        (alone, alone_end), one_codes, one_lengths = logits_of([one])
        frames = int(lengths[row])
        a = losses(logits[[row], :, :frames], end[[row], :frames], codes[[row], :, :frames], lengths[[row]])
        for x, y in zip(a, losses(alone, alone_end, one_codes, one_lengths)):
            torch.testing.assert_close(x, y)


def test_order_is_the_seed_s_alone_and_batches_hold_like_lengths():
    lengths = np.random.default_rng(0).integers(50, 300, 500).tolist()
    batches = order(lengths, 12, 100, seed=3)
    assert batches == order(lengths, 12, 100, seed=3) != order(lengths, 12, 100, seed=4)
    assert len(batches) == 100 and {len(b) for b in batches} == {12}
    first = [i for b in batches[:40] for i in b]
    assert len(set(first)) == len(first)                                # a pass repeats nothing
    assert np.mean([np.ptp([lengths[i] for i in b]) for b in batches]) < 60
    with pytest.raises(ValueError, match="5 phrases do not fill a batch of 12"):
        order(lengths[:5], 12, 1, 0)


def test_the_rate_warms_up_stays_and_cools_down():
    config = SpeechConfig(steps=100, warmup=10, cooldown=0.2, learning_rate=1.0)
    rates = [rate(config, step) for step in range(100)]
    assert rates[0] == 0.1 and rates[9:81] == [1.0] * 72 and rates[90] == 0.5 and rates[99] == 0.05
    assert max(rates) == 1.0


@pytest.fixture
def data(monkeypatch) -> Data:
    monkeypatch.setattr("lib.training.durations.STEPS", 200)
    monkeypatch.setattr("lib.training.durations.BATCH", 16)
    made = [phrase(n, 1 + n % 3) for n in range(14)]
    return Data(made[:10], made[10:12], made[12:], "c" * 64)


def settings(**fields) -> SpeechConfig:
    return SpeechConfig(config("word"), **{"steps": 4, "batch": 4, "validate_every": 2, "warmup": 2, **fields})


def test_a_run_is_found_again_and_a_stopped_one_ends_as_if_it_had_not_been(data, workspace, monkeypatch, killed_after):
    whole = train_speech.train_speech(settings(), MATERIAL, data)
    assert train_speech.train_speech(settings(), MATERIAL, data) == whole
    assert [v["step"] for v in whole.result["validation"]] == [2, 4] and len(whole.result["loss"]) == 4
    assert whole.result["core_parameters"] < whole.result["parameters"]
    monkeypatch.setenv("TTS_WORKSPACE", str(workspace / "other"))

    killed_after(3)
    with pytest.raises(Killed):
        train_speech.train_speech(settings(), MATERIAL, data)
    killed_after(None)
    resumed = train_speech.train_speech(settings(), MATERIAL, data)
    assert resumed.result["resumed"] == 1
    for key in ("loss", "validation", "frames"):
        assert resumed.result[key] == whole.result[key]
    for name, weights in load_speech(whole).state_dict().items():
        assert torch.equal(weights, load_speech(resumed).state_dict()[name])


@pytest.fixture
def sharded(data, workspace, monkeypatch) -> Data:
    """The same phrases to train on and more, in shards of a few."""
    monkeypatch.setattr("lib.data.shards.SHARD", 5000)
    monkeypatch.setattr("lib.data.shards.POOL", 2)
    append(workspace / "shards", [phrase(n, 1 + n % 3) for n in range(60)], data.made_with)
    return replace(data, train=Shards(workspace / "shards"))


def test_a_run_on_shards_is_found_again_and_goes_on_with_the_very_same_batches(sharded, workspace, monkeypatch, killed_after):
    assert sharded.train.count > 4
    settings_ = settings(steps=6, batch=1)
    whole = train_speech.train_speech(settings_, MATERIAL, sharded)
    assert train_speech.train_speech(settings_, MATERIAL, sharded) == whole
    monkeypatch.setenv("TTS_WORKSPACE", str(workspace / "other"))
    killed_after(4)
    with pytest.raises(Killed):
        train_speech.train_speech(settings_, MATERIAL, sharded)
    killed_after(None)
    resumed = train_speech.train_speech(settings_, MATERIAL, sharded)
    assert resumed.result["resumed"] == 1
    for key in ("loss", "validation", "frames", "phrases", "train_frames", "training_flops_per_frame"):
        assert resumed.result[key] == whole.result[key]
    assert whole.result["phrases"] == 60 and len({*whole.result["loss"]}) == 6
    for name, weights in load_speech(whole).state_dict().items():
        assert torch.equal(weights, load_speech(resumed).state_dict()[name])


def test_a_step_on_shards_has_the_examples_and_at_most_the_frames_of_a_batch(sharded):
    one = settings(batch=1)
    read, again, texts = train_speech.reader(sharded.train, one), train_speech.reader(sharded.train, one), []
    late = one.model.codebooks - 1
    for i in range(8):
        examples = read(i)
        longest = max(len(where) for _, _, where, _ in examples) - late
        assert longest * len(examples) <= LONGEST
        texts.append([text.tolist() for _, text, _, _ in examples])
    for i in (5, 6, 2):
        assert [text.tolist() for _, text, _, _ in again(i)] == texts[i]
    assert sum(map(len, texts)) > 16
    known = {tuple(codes.flatten().tolist()) for codes, *_ in (example(p, one.model) for p in sharded.train)}
    assert {tuple(codes.flatten().tolist()) for codes, *_ in read(0)} <= known


def test_a_run_on_shards_depends_on_what_is_in_them(sharded, data, workspace):
    def key(d: Data, **fields) -> str:
        return records.digest(train_speech.identity(settings(**fields), MATERIAL, d))
    listed, before, seeded = key(replace(data, train=list(sharded.train))), key(sharded), key(sharded, seed=1)
    append(workspace / "shards", [phrase(100)], data.made_with)
    grown = replace(data, train=Shards(workspace / "shards"))
    assert len({listed, before, seeded, key(grown)}) == 4
    assert train_speech.model_config(sharded, "mamba", "phoneme", "phonemes").alphabet == PHONEMES


def test_a_run_that_was_kept_without_its_weights_is_trained_again_to_speak(data, workspace, monkeypatch):
    run, kept = train_speech.train_speech(settings(), MATERIAL, data), workspace / "reference"
    monkeypatch.setattr(records, "REFERENCE", kept)
    shutil.move(run.folder, kept / run.name)
    (kept / run.name / "model.safetensors").unlink()
    assert train_speech.train_speech(settings(), MATERIAL, data) == run and run.stripped
    again = train_speech.train_speech(settings(), MATERIAL, data, to_speak=True)
    assert again.key == run.key and not again.stripped and load_speech(again)


def test_a_run_depends_on_what_it_learns_from(data):
    def key(d: Data = data, **fields) -> str:
        return records.digest(train_speech.identity(settings(**fields), MATERIAL, d))
    changed = replace(data, train=[replace(data.train[0], codes=data.train[0].codes + 1), *data.train[1:]])
    timed = replace(data.train[0], groups=data.train[0].groups[::-1])
    assert len({key(), key(seed=1), key(changed), key(replace(data, train=[timed, *data.train[1:]]))}) == 4


def test_training_drops_the_share_of_texts_that_is_asked_for(data, monkeypatch):
    seen, forward = [], CodecLM.forward
    monkeypatch.setattr(CodecLM, "forward", lambda self, codes, text, told=None, kept=None: (
        seen.append(kept) if self.training else None, forward(self, codes, text, told, kept))[1])
    for dropped in (0.0, 0.3):
        train_speech.train_speech(replace(settings(steps=40, batch=5), model=replace(config("word"), dropped=dropped)), MATERIAL, data)
        kept, seen = [k for k in seen if k is not None], []
        assert len(kept) == (40 if dropped else 0)
    share = torch.stack(kept).double().mean().item()
    assert 0.6 < share < 0.8 and len({tuple(k.tolist()) for k in kept}) > 5


@pytest.mark.parametrize("core", ["transformer", "mamba_conv", "mamba", "pointwise"])
def test_a_masked_run_learns_and_is_found_again(core, data):
    model = replace(config("word", core, pattern="parallel"), regime="masked")
    settings = SpeechConfig(model, steps=30, batch=4, validate_every=10, warmup=2)
    run = train_speech.train_speech(settings, MATERIAL, data)
    *_, last = run.result["validation"]
    assert np.mean(run.result["loss"][-8:]) < np.mean(run.result["loss"][:8]) - 0.3
    assert np.isfinite(last["loss"]) and len(last["per_codebook"]) == 4 and np.isfinite(last["per_codebook"]).all()
    assert run.result["state_bytes"] == {} and train_speech.train_speech(settings, MATERIAL, data) == run
    causal = replace(settings, model=replace(model, regime="causal"))
    assert train_speech.identity(causal, MATERIAL, data)["behaviour"] != train_speech.identity(settings, MATERIAL, data)["behaviour"]


def test_a_masked_batch_is_cut_to_its_shortest_row():
    examples = [example(phrase(n, 1 + n), replace(config("word", pattern="parallel"), regime="masked")) for n in range(3)]
    codes, lengths, _, told = collate(examples, replace(config("word", pattern="parallel"), regime="masked"))
    shortest = min(len(where) for _, _, where, _ in examples)
    assert codes.shape[2] == told.where.shape[1] == told.timing.shape[1] == shortest and lengths.tolist() == [shortest] * 3
    assert not (codes == START).any() and torch.equal(codes[2], examples[2][0][:, :shortest])


def test_durations_are_learned_and_what_rounding_loses_is_kept(data):
    for conditioning in ("word", "phoneme"):
        run = train_durations(config(conditioning), data)
        assert train_durations(config(conditioning), data) == run
        assert run.result["test"]["mean_error_frames"] < 1.5            # they span 2 to 9 frames
        ids, spans = plan(data.test[0].groups, config(conditioning))
        same, predicted = predicted_plan(load_durations(run), ids, spans)
        assert same == ids and [s.symbols for s in predicted] == [s.symbols for s in spans]
        assert abs(sum(s.frames for s in predicted) - sum(s.frames for s in spans)) <= 0.15 * data.test[0].codes.shape[1]


def test_durations_of_a_padded_text_are_those_it_has_alone(data):
    model = Durations(config("word").vocabulary).eval()
    symbols, *_ = collate_durations([duration_example(p, config("word")) for p in data.train[:3]], model.padding)
    with torch.inference_mode():
        together = model(symbols)
        for row, p in zip(together, data.train[:3]):
            alone = model(torch.tensor([plan(p.groups, config("word"))[0]]))[0]
            torch.testing.assert_close(row[:len(alone)], alone)
            assert not row[len(alone):].any()


def test_duration_loss_is_zero_for_what_is_true_alone():
    true = torch.tensor([0.0, 3.0, 9.0])
    assert duration_loss(true, true) == 0 < duration_loss(true + 1, true)


@pytest.mark.parametrize("pattern", ["parallel", "delay"])
def test_speaking_by_a_plan_ends_at_the_latest_behind_it(data, pattern):
    torch.manual_seed(0)
    model = CodecLM(config("word", pattern=pattern)).eval()
    with torch.no_grad():
        model.end.bias.fill_(-50)                                       # it never says that it is done
    plans = [[plan(p.groups, model.config)] for p in data.test]
    together = speak(model, plans)
    for (codes, went), p, one in zip(together, data.test, plans):
        frames = p.codes.shape[1]
        assert codes.shape == (4, frames + frames // 4 + 38) and not went["ended"]
        (alone, _), = speak(model, [one])
        assert np.array_equal(alone, codes)
    with torch.no_grad():
        model.end.bias.fill_(50)
    assert all(codes.shape == (4, 1) and went["ended"] for codes, went in speak(model, plans))
    (codes, went), = speak(model, [[plans[0][0], plans[1][0]]])         # it may end within the last sentence alone
    first, last = (p.codes.shape[1] for p in data.test[:2])
    assert codes.shape == (4, first + last - last // 2 + 1) and went["ended"]


@torch.inference_mode()
def test_each_sentence_of_a_text_is_encoded_as_if_alone(data, monkeypatch):
    model = CodecLM(config("word")).eval()
    sentences, told = [plan(p.groups, model.config) for p in data.test[:3]], []
    monkeypatch.setattr("lib.speaking.decoding.decode", lambda model, ids, limits, sampling, rows, last, window: told.append(last) or rows)
    together = speak(model, [sentences, sentences[:1]])
    before, last = (sum(s.frames for _, spans in part for s in spans) for part in (sentences[:-1], sentences[-1:]))
    assert told == [[before + last - last // 2, 0]]
    assert together.shape[:2] == (2, sum(s.frames for _, spans in sentences for s in spans))
    alone = torch.cat([speak(model, [[sentence]])[0] for sentence in sentences])
    assert torch.equal(together[0], alone)
    first = sum(s.frames for s in sentences[0][1])
    assert torch.equal(together[1, :first], alone[:first]) and (together[1, first:] == alone[first - 1]).all()


def test_long_texts_are_the_same_phrases_cut_as_near_to_their_length_as_they_go():
    rng = np.random.default_rng(0)
    said = [replace(phrase(i, 1), codes=np.zeros((8, n), np.int16)) for i, n in enumerate(rng.integers(100, 300, 40))]
    for seconds in (1, 4, 10, 60):
        texts = cut(said, seconds)
        assert [p.id for text in texts for p in text] == [p.id for p in said]
        for text in texts[:-1]:
            frames, last = sum(p.codes.shape[1] for p in text), text[-1].codes.shape[1]
            assert frames - seconds * 75 <= last / 2 or len(text) == 1
            assert frames > seconds * 75 - 150
