"""Training on many phrases, a batch a step, to be judged on sentences never heard."""
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .. import records
from ..config import ALIGNED, ModelConfig, SpeechConfig, Study, described, restored
from ..data.codec import load_codec
from ..data.corpus import OwnCorpus, load_corpus
from ..data.phrases import LONGEST, Phrase, alphabet, guide, phrases, plan
from ..data.shards import Sampler, Shards
from ..data.text import encode
from ..data.tokens import START, delay, fingerprint
from ..metrics import cost
from ..models.build import DEVICE, build
from ..models.codec_lm import CodecLM, Guide, losses
from .alignment import aligned, phrases_of
from .behaviour import behaviour
from .checkpoint import load_weights
from .loop import History, finished, fit, warm_and_cool
from .masking import hidden, hide
from .optimiser import flops, make_optimiser

HIDDEN = 0.7            # of the frames of a codebook, where a masked model is evaluated
POOL = 16               # batches' worth of phrases that are sorted by length before they are cut into batches


@dataclass(frozen=True)
class Speech:
    """What is trained on and judged by; a Study says how much of each."""
    train: int                  # texts: some take more than 4 seconds to say, and are left out
    validation: int
    test: int
    voice: str
    codec: str
    hearing: int                # sentences of the recogniser's
    hearing_steps: int
    own: Study | None = field(default=None, metadata={"before": None})     # whose own corpus it is


@dataclass(frozen=True)
class Data:
    train: list[Phrase] | Shards
    validation: list[Phrase]
    test: list[Phrase]
    made_with: str              # digest of the codec's weights
    corpus: OwnCorpus | None = None     # that it is from, where that is one's own

    @cached_property
    def digest(self) -> str:
        first, listed = [], (self.train, self.validation, self.test)
        if isinstance(self.train, Shards):
            first, listed = [self.train.digest], listed[1:]
        return records.digest(first + [[p.text, fingerprint(p.codes), [(g.characters, g.phonemes) for g in p.groups]]
                                       for part in listed for p in part])


def load_data(speech: Speech) -> Data:
    if speech.own:
        return own_data(speech)
    codec = load_codec(speech.codec)
    return Data(*(phrases(split, getattr(speech, split), speech.voice, codec) for split in ("train", "validation", "test")),
                codec.digest)


def own_data(speech: Speech) -> Data:
    """The phrases of an own corpus, with the times that were learned for them, in its splits; where there is no validation,
    one in ten of those to train on is held out for it."""
    corpus = load_corpus(speech.own)
    parts: dict[str, list[Phrase]] = {"train": [], "validation": [], "test": []}
    for phrase in phrases_of(aligned(corpus)):
        parts[phrase.split].append(phrase)
    if not parts["validation"]:
        parts["validation"], parts["train"] = parts["train"][::10], [p for i, p in enumerate(parts["train"]) if i % 10]
    if empty := [split for split, some in parts.items() if not some]:
        raise ValueError(f"corpus {corpus.record.result['name']} has no clip of split {empty[0]} that is aligned: add some")
    return Data(*(some[:getattr(speech, split)] for split, some in parts.items()), corpus.made_with, corpus)


def model_config(data: Data, core: str, conditioning: str, units: str = "characters", **fields) -> ModelConfig:
    """The matched model of the study of speech, with the alphabet of its units."""
    symbols = {"alphabet": data.corpus.alphabet, "language": data.corpus.language} if data.corpus else {}
    if units == "phonemes":
        symbols["alphabet"] = alphabet(chain(data.train, data.validation, data.test))
    return ModelConfig(core, **{"size": "matched-1m", "pattern": "delay", **fields}, conditioning=conditioning, units=units,
                       **symbols)


Example = tuple[Tensor, Tensor, Tensor, Tensor]     # codes (codebooks, frames), text, where (frames,), timing (frames, 4)


def example(phrase: Phrase, config: ModelConfig) -> Example:
    codes = torch.from_numpy(phrase.codes[:config.codebooks].astype(np.int64))
    late = config.codebooks - 1 if config.pattern == "delay" else 0
    if config.conditioning in ALIGNED:
        ids, spans = plan(phrase.groups, config)
        where, timing = (torch.from_numpy(x) for x in guide(spans, late))
    else:
        ids, frames = encode(phrase.text, config.alphabet, config.language), codes.shape[1] + late
        where, timing = torch.zeros(frames, dtype=torch.long), torch.zeros(frames, 0)
    return delay(codes) if late else codes, torch.tensor(ids), where, timing


def collate(examples: list[Example], config: ModelConfig) -> tuple[Tensor, Tensor, Tensor, Guide]:
    """Codes (batch, codebooks, frames) padded with START, lengths (batch,), text (batch, symbols) and the guide. Masked, all are cut
    to the frames of the shortest: a core that sees all frames would see what pads."""
    codes, text, where, timing = zip(*examples)
    if config.regime == "masked":
        shortest = min(map(len, where))
        codes, where, timing = [c[:, :shortest] for c in codes], [w[:shortest] for w in where], [t[:shortest] for t in timing]
    lengths = torch.tensor([len(w) for w in where])
    padded = pad_sequence([c.T for c in codes], batch_first=True, padding_value=START).transpose(1, 2)
    texts = pad_sequence(text, batch_first=True, padding_value=config.vocabulary)
    told = Guide(pad_sequence(where, batch_first=True).to(DEVICE), pad_sequence(timing, batch_first=True).to(DEVICE))
    return padded.to(DEVICE), lengths.to(DEVICE), texts.to(DEVICE), told


def slices(items: list, size: int) -> list[list]:
    return [items[i:i + size] for i in range(0, len(items), size)]


def order(lengths: list[int], batch: int, steps: int, seed: int) -> list[list[int]]:
    """Which phrases each step sees: shuffled passes in which a batch holds phrases of like length; the same for every
    core. A batch of phrases so long that it is of more than batch times LONGEST frames is parted."""
    random, steps_done = np.random.default_rng(seed), []
    while len(steps_done) < steps:
        shuffled = random.permutation(len(lengths)).tolist()
        pools = [sorted(pool, key=lengths.__getitem__) for pool in slices(shuffled, POOL * batch)]
        whole = [part for pool in pools for group in slices(pool, batch) if len(group) == batch
                 for part in slices(group, max(1, min(batch, batch * LONGEST // max(lengths[i] for i in group))))]
        if not whole:
            raise ValueError(f"{len(lengths)} phrases do not fill a batch of {batch}: train on more")
        steps_done += [whole[i] for i in random.permutation(len(whole))]
    return steps_done[:steps]


def sampler(train: Shards, config: SpeechConfig) -> Sampler:
    """Batches of shards, of at most the frames of `batch` of the longest phrases of the study."""
    return Sampler(train, config.batch * LONGEST, config.seed)


def reader(train: list[Phrase] | Shards, config: SpeechConfig) -> Callable[[int], list[Example]]:
    """What gives the examples of each step, from any on; of phrases in shards those of no other step are in memory."""
    if not isinstance(train, Shards):
        examples = [example(p, config.model) for p in train]
        sequence = order([len(where) for _, _, where, _ in examples], config.batch, config.steps, config.seed)
        return lambda i: [examples[j] for j in sequence[i]]
    batches, at = iter(()), -1

    def read(i: int) -> list[Example]:
        nonlocal batches, at
        if i != at:
            batches = sampler(train, config).read(i)
        at = i + 1
        return [example(p, config.model) for p in next(batches)]
    return read


def rate(config: SpeechConfig, step: int) -> float:
    """The learning rate of a step: linear warm-up, constant, linear cool-down to a twentieth."""
    return warm_and_cool(step, config.steps, config.learning_rate, config.warmup, config.cooldown, least=0.05)


@torch.inference_mode()
def evaluate(model: CodecLM, examples: list[Example]) -> dict:
    """Teacher-forced cross-entropy per token and accuracy of each codebook, mean over phrases; and the former of each. Masked, each
    codebook is asked for in turn, HIDDEN of its frames."""
    of_one = _of_masked if model.config.regime == "masked" else _of_frames
    table = torch.stack([of_one(model, *collate([one], model.config)) for one in examples])     # (phrases, 1 + codebooks)
    mean = table.mean(0)
    return {"loss": mean[0].item(), "per_codebook": mean[1:].tolist(), "losses": table[:, 0].tolist()}


def _of_frames(model: CodecLM, codes: Tensor, lengths: Tensor, text: Tensor, told: Guide) -> Tensor:
    cross_entropy, _, right = losses(*model(codes, text, told), codes, lengths)
    return torch.cat([cross_entropy[None], right])


def _of_masked(model: CodecLM, codes: Tensor, lengths: Tensor, text: Tensor, told: Guide) -> Tensor:
    random, found = np.random.default_rng(0), []
    for k in range(model.codebooks):
        seen, asked = hide(codes, np.array([k]), np.array([HIDDEN]), random)
        cross_entropy, _, right = losses(*model(seen, text, told), asked, lengths)
        found.append(torch.stack([cross_entropy, right[k]]))
    cross_entropy, right = torch.stack(found).T                         # (codebooks,) each
    return torch.cat([cross_entropy.mean()[None], right])


def costs(model: CodecLM, one: Example) -> dict:
    """FLOPs of training on a frame, counted over an utterance, and bytes of decoding state after 4 seconds and 64."""
    codes, lengths, text, told = collate([one], model.config)

    def step() -> None:
        cross_entropy, end_loss, _ = losses(*model(codes, text, told), codes, lengths)
        (cross_entropy + end_loss).backward()
    frames = codes.shape[2]
    return {"training_flops_per_frame": flops(model, step, 1, frames) / frames,
            "state_bytes": {str(n): model.core.state_bytes(n) for n in (300, 4800) if model.core.causal}}


def identity(config: SpeechConfig, speech: Speech, data: Data) -> dict:
    """What a run depends on: not on who hears it."""
    schedule = [rate(config, round(share * (config.steps - 1))) for share in (0, 0.02, 0.5, 0.9, 1)]
    batches = [i for batch in order([3, 1, 4, 1, 5, 9, 2, 6], 2, 5, 0) for i in batch]
    if isinstance(data.train, Shards):
        batches = np.concatenate(next(sampler(data.train, config).pools(0))[1])[:100].tolist()
    masks = []
    if config.model.regime == "masked":
        masks = [part.double().mean().item() for part in hidden(torch.arange(60).view(2, 3, 10), np.random.default_rng(0))]
    return {"config": described(config), "voice": speech.voice, "codec_name": speech.codec, "data": data.digest,
            "codec": data.made_with, "behaviour": behaviour(config) + records.stable(schedule + batches + masks)}


def train_speech(config: SpeechConfig, speech: Speech, data: Data, to_speak: bool = False) -> records.Record:
    """The finished run of this configuration: found, resumed or trained. Where it is to speak, one of the reference that is
    kept without its weights is trained again."""
    return finished("speech", identity(config, speech, data), lambda path: _train(config, data, path), to_speak)


def _train(config: SpeechConfig, data: Data, path: Path) -> tuple[dict, dict[str, bytes]]:
    torch.manual_seed(config.seed)
    model = build(config.model)
    validation, test = ([example(p, config.model) for p in part] for part in (data.validation, data.test))
    read = reader(data.train, config)

    def step(i: int) -> tuple[Tensor, dict]:
        codes, lengths, text, told = collate(read(i), config.model)
        kept = None
        if dropped := config.model.dropped:
            kept = torch.from_numpy(np.random.default_rng([config.seed, i]).random(len(codes)) >= dropped).to(DEVICE)
        seen, asked = (codes, codes) if config.model.regime != "masked" else hidden(
            codes, np.random.default_rng([config.seed, i, 1]))
        cross_entropy, end_loss, _ = losses(*model(seen, text, told, kept), asked, lengths)
        return cross_entropy + end_loss, {"loss": cross_entropy, "frames": int(lengths.sum())}

    def validate(i: int, history: History) -> None:
        if (i + 1) % config.validate_every == 0 or i + 1 == config.steps:
            heard = evaluate(model, validation)
            history.setdefault("validation", []).append({"step": i + 1, "loss": heard["loss"], "per_codebook": heard["per_codebook"]})

    frames = data.train.frames if isinstance(data.train, Shards) else np.array([p.codes.shape[1] for p in data.train])
    late = config.model.codebooks - 1 if config.model.pattern == "delay" else 0
    history = fit(model, make_optimiser(model, config), config.steps, step, path,
                  f"{config.model.core} {config.model.conditioning} {config.learning_rate:g}", config.clip_norm,
                  partial(rate, config), validate)
    return {"parameters": cost.parameters(model), "core_parameters": cost.parameters(model.core), "test": evaluate(model, test),
            "phrases": len(data.train), "train_frames": int(frames.sum()) + late * len(frames), **history,
            **costs(model, read(0)[0])}, {"model.safetensors": save(model.state_dict())}


def speech_config(record: records.Record) -> SpeechConfig:
    """The configuration of a training run."""
    return restored(SpeechConfig, record.identity["config"])


def load_speech(record: records.Record) -> CodecLM:
    """The trained model of a run, ready to speak."""
    model = build(speech_config(record).model).eval()
    load_weights(model, record)
    return model
