"""The recogniser: CTC by hand, clips in a batch as alone, three phrases learned by heart, found again."""
import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from killing import Killed
from lib import files
from lib.data.codec import load_codec
from lib.data.phrases import PAUSE
from lib.data.speech import Utterance, synthesise
from lib.metrics.speech import phoneme_error
from lib.models.recogniser import BLANK, Recogniser, collapse, ctc_loss
from lib.training import recogniser as training
from lib.training.recogniser import Settings, augmented, batch, examples, features, learn, recognise

SAID = ["dwa koty śpią.", "gość czeka.", "żółw idzie."]


@pytest.fixture
def model() -> Recogniser:
    return Recogniser(("a", "k", "ɔ"), width=16, layers=2).eval()


def test_two_frames_a_step(model):
    for frames in (1, 2, 7, 8):
        logits, lengths = model(torch.randn(2, frames, 80), torch.tensor([frames, 1]))
        assert logits.shape == (2, -(-frames // 2), 4) and lengths.tolist() == [-(-frames // 2), 1]


def test_a_clip_in_a_batch_is_read_as_alone(model):
    clips = [torch.randn(n, 80) for n in (31, 8, 1, 20)]
    padded = pad_sequence(clips, batch_first=True, padding_value=9.0)       # what lies behind a clip must not matter
    logits, lengths = model(padded, torch.tensor([len(c) for c in clips]))
    for clip, together, length in zip(clips, logits, lengths):
        alone, _ = model(clip[None], torch.tensor([len(clip)]))
        torch.testing.assert_close(together[:length], alone[0])


@pytest.mark.parametrize("path, labelling", [
    ([], []), ([0, 0], []), ([1, 1, 0, 1, 2, 2], [1, 1, 2]), ([0, 3, 3, 0, 0, 3], [3, 3]), ([2, 1, 1, 2], [2, 1, 2])])
def test_collapse(path, labelling):
    assert collapse(path) == labelling


def test_reading_names_the_likeliest_phonemes(model, monkeypatch):
    path = torch.tensor([BLANK, 2, 2, BLANK, 2, 3, BLANK])
    monkeypatch.setattr(model, "forward", lambda mel, lengths: (torch.eye(4)[path][None], lengths))
    assert model.read(torch.zeros(14, 80)) == ["k", "k", "ɔ"]


def test_loss_is_the_likelihood_of_all_paths_that_collapse_to_the_target():
    logits = torch.randn(1, 3, 3)
    p = logits[0].softmax(-1)
    total = sum(p[0, a] * p[1, b] * p[2, c] for a in range(3) for b in range(3) for c in range(3)
                if collapse([a, b, c]) == [2, 1])
    loss = ctc_loss(logits, torch.tensor([3]), [torch.tensor([2, 1])])
    assert loss.item() == pytest.approx(-total.log().item() / 2, rel=1e-5)


def test_augmentation_keeps_the_sound_and_changes_its_length():
    mel = features(np.random.default_rng(0).normal(size=48_000).astype(np.float32) * 0.1)
    out = [augmented(mel, np.random.default_rng(seed)) for seed in range(8)]
    assert all(o.dtype == np.float32 and o.shape[1] == 80 and np.isfinite(o).all() for o in out)
    assert all(0.84 < len(o) / len(mel) < 1.21 for o in out) and len({len(o) for o in out}) > 4
    assert np.array_equal(out[0], augmented(mel, np.random.default_rng(0)))


def test_examples_are_heard_as_spoken_and_through_the_codec():
    phonemes, heard = examples(SAID[:2], "pl", load_codec(), seed=0)
    assert len(heard) == 4 and PAUSE not in phonemes and "" not in phonemes and not any(p[0] in "ˈˌ" for p in phonemes)
    assert torch.equal(heard[0].target, heard[1].target) and not np.array_equal(heard[0].mel, heard[1].mel)
    assert [phonemes[c - 1] for c in heard[2].target] == ["ɡ", "ɔ", "ɕ", "tɕ", "tʃ", "ɛ", "k", "a"]
    mel, lengths, targets = batch(heard, 3, np.random.default_rng(0))
    assert mel.shape == (3, max(lengths), 80) and len(targets) == 3
    assert all((row[n:] == 0).all() and row[n - 1].any() for row, n in zip(mel, lengths))


@pytest.fixture(scope="module")
def three() -> tuple[tuple[str, ...], list[training.Example]]:
    return examples(SAID, "pl", load_codec(), seed=0)


def test_three_phrases_are_learned_by_heart(three, tmp_path):
    phonemes, heard = three
    model = Recogniser(phonemes, width=64, layers=3)
    references = [[phonemes[c - 1] for c in e.target] for e in heard[::2]]
    audio = [speech.audio for speech in synthesise(Utterance(text, "pl") for text in SAID)]
    assert phoneme_error(references, [recognise(model.eval(), a) for a in audio]) > 0.7
    history = learn(model, heard, Settings(0, 150, batch=6, warmup=10), tmp_path / "checkpoint.safetensors")
    assert len(history["loss"]) == 150 and history["training_s"] > 0
    assert phoneme_error(references, [recognise(model, a) for a in audio]) < 0.1


def test_a_stopped_training_ends_as_one_that_was_not(three, tmp_path, monkeypatch, killed_after):
    phonemes, heard = three

    def trained(name: str) -> tuple[Recogniser, dict]:
        torch.manual_seed(0)
        model = Recogniser(phonemes, width=16, layers=1)
        return model, learn(model, heard, Settings(0, 8, batch=2), tmp_path / name)

    whole, history = trained("whole")
    killed_after(5)
    with pytest.raises(Killed):
        trained("stopped")
    killed_after(None)
    batches = []
    monkeypatch.setattr(training, "batch", lambda *a: batches.append(batch(*a)) or batches[-1])
    resumed, again = trained("stopped")
    assert len(batches) == 3 and again["loss"] == history["loss"]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters()))


def test_found_again_and_loaded(monkeypatch):
    monkeypatch.setattr(training, "texts", lambda split, count: SAID)
    spoken_ = training.phrases
    monkeypatch.setattr(training, "phrases", lambda split, count, voice, codec: spoken_(split, 2, voice, codec))
    settings = Settings(sentences=3, steps=3, batch=2)
    record = training.train_recogniser("pl", load_codec(), settings)
    assert not (record.folder / "checkpoint.safetensors").exists()
    for split in ("validation", "test"):
        result = record.result[split]
        assert set(result["error"]) == {"speech", "codec_2", "codec_4", "codec_8"} and len(result["sentences"]) == 2
        edits = sum(s["errors"]["codec_4"] for s in result["sentences"])
        assert result["error"]["codec_4"] == edits / sum(s["phonemes"] for s in result["sentences"])
    monkeypatch.setattr(training, "learn", None)          # found, it is not trained again
    assert training.train_recogniser("pl", load_codec(), settings) == record
    model = training.load_recogniser(record)
    assert model.phonemes == tuple(record.result["phonemes"]) and not model.training
    (record.folder / training.WEIGHTS).write_bytes(b"x")
    with pytest.raises(files.Damaged, match="missing or damaged"):
        training.load_recogniser(record)
