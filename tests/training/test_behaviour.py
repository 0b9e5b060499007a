"""Runs are found as long as the code would compute the same: what changes a run's identity, and what does not."""
import random
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from lib import records
from lib.config import CONDITIONING, ModelConfig, SpeechConfig, TrainConfig, described, restored
from lib.models import cores
from lib.models.attention import Attention
from lib.models.codec_lm import CodecLM
from lib.models.pointwise import PointwiseLayer
from lib.training import behaviour as module
from lib.training import optimiser, speech
from lib.training.speech import Data, Speech

CONFIG = SpeechConfig(ModelConfig("transformer", "matched-1m", pattern="delay", conditioning="word", codebooks=2))
DATA, MATERIAL = Data([], [], [], "a codec"), Speech(1, 1, 1, "pl", "embedded", 1, 1)
REFERENCE = sorted(records.REFERENCE.glob("speech/*/record.json"))


@pytest.fixture
def identity(tmp_path, monkeypatch):
    """A function that says what a run of a configuration depends on, computed anew each time it is asked."""
    folders = iter(range(99))

    def fresh(config: SpeechConfig = CONFIG, data: Data = DATA) -> dict:
        monkeypatch.setenv("TTS_WORKSPACE", str(tmp_path / str(next(folders))))
        module._kept.cache_clear()
        return speech.identity(config, MATERIAL, data)
    yield fresh
    module._kept.cache_clear()


def described_by(path) -> tuple[records.Record, dict]:
    """A record of the reference, and what today's code makes of the run that it describes."""
    record = records.load(path)
    about = replace(DATA, made_with=record.identity["codec"])
    about.__dict__["digest"] = record.identity["data"]
    return record, speech.identity(restored(SpeechConfig, record.identity["config"]), MATERIAL, about)


def another_core(monkeypatch) -> None:
    monkeypatch.setitem(cores.CORES, "mine", (lambda shape, o: [PointwiseLayer(o.width, 8)], {"matched-1m": cores.Shape(1)}))
    assert cores.build_core("mine", "matched-1m", causal=True)


def another_conditioning(monkeypatch) -> None:
    monkeypatch.setitem(CONDITIONING, "mine", "the text, told in another way")
    assert CodecLM(replace(CONFIG.model, conditioning="mine"))


def found_with(another, paths, monkeypatch) -> None:
    """With one more in the registry, today's code finds each of these runs."""
    module._kept.cache_clear()
    another(monkeypatch)
    for path in paths:
        record, what = described_by(path)
        assert records.find("speech", what) == record, record.identity["config"]["model"]


@pytest.mark.parametrize("another", [another_core, another_conditioning])
def test_with_one_more_in_a_registry_runs_of_the_reference_are_found(another, monkeypatch):
    found_with(another, random.Random(0).sample(REFERENCE, 4), monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("another", [another_core, another_conditioning])
def test_with_one_more_in_a_registry_every_run_of_the_reference_is_found(another, monkeypatch):
    assert len(REFERENCE) > 50
    found_with(another, REFERENCE, monkeypatch)


def test_the_same_again_is_the_same(identity):
    assert identity() == identity()
    assert identity(replace(CONFIG, seed=1))["behaviour"] == identity()["behaviour"]


def eps(monkeypatch):
    monkeypatch.setattr(nn, "LayerNorm", partial(nn.LayerNorm, eps=1e-6))
    monkeypatch.setattr(nn, "RMSNorm", partial(nn.RMSNorm, eps=1e-6))


def initialisation(monkeypatch):
    usual = nn.Embedding.reset_parameters

    def wider(self):
        usual(self)
        self.weight.data *= 1.001
    monkeypatch.setattr(nn.Embedding, "reset_parameters", wider)


def mask(monkeypatch):
    usual = Attention.__init__

    def seeing(self, *arguments, **named):
        usual(self, *arguments, **named)
        self.causal = False
    monkeypatch.setattr(Attention, "__init__", seeing)


def optimiser_eps(monkeypatch):
    monkeypatch.setattr(optimiser, "AdamW", partial(torch.optim.AdamW, eps=1e-7))


def schedule(monkeypatch):
    usual = speech.warm_and_cool
    monkeypatch.setattr(speech, "warm_and_cool", lambda *a, least: usual(*a, least=0.1))


def order(monkeypatch):
    usual = speech.order
    monkeypatch.setattr(speech, "order", lambda *a: usual(*a)[::-1])


@pytest.mark.parametrize("change", [eps, initialisation, mask, optimiser_eps, schedule, order])
def test_code_that_computes_something_else_finds_nothing(change, identity, monkeypatch):
    before = identity()
    change(monkeypatch)
    assert records.digest(identity()) != records.digest(before)


def test_other_data_or_another_codec_finds_nothing(identity):
    changed = replace(DATA, made_with="another codec")
    assert len({records.digest(i) for i in (identity(), identity(data=changed), identity(replace(CONFIG, learning_rate=1e-3)))}) == 3


def test_a_field_that_came_later_is_left_out_where_it_says_what_was_done_before():
    config = TrainConfig(ModelConfig("mamba"))
    later = {f.name for f in ModelConfig.__dataclass_fields__.values() if "before" in f.metadata}
    assert not later & described(ModelConfig(**{n: ModelConfig.__dataclass_fields__[n].metadata["before"] for n in later})).keys()
    assert restored(TrainConfig, described(config)) == config
    assert restored(SpeechConfig, described(CONFIG)) == CONFIG


def test_comments_and_docstrings_of_what_is_timed_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "REPOSITORY", tmp_path)
    (tmp_path / "lib").mkdir()
    digests = []
    for i, source in enumerate(('"""A."""\ndef f(x):\n    """B."""\n    return x + 1\n', "def f(x):\n    return (x\n            + 1)    # C\n",
                                "def f(x):\n    return x + 2\n")):
        (tmp_path / "lib" / f"{i}.py").write_text(source)
        digests.append(records.code_digest(f"{i}.py"))
    assert digests[0] == digests[1] != digests[2]
