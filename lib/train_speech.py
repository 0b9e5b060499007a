"""Training on many phrases, a batch a step, to be judged on sentences never heard. Resumable; a finished run is a record."""
import time
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from . import checkpoint, records
from .config import ALIGNED, ModelConfig, SpeechConfig
from .data.codec import load_codec
from .data.phrases import Phrase, alphabet, guide, phrases, plan
from .data.text import encode
from .data.tokens import START, delay, fingerprint
from .metrics import cost
from .models.codec_lm import CodecLM, Guide, losses
from .progress import progress_bar
from .train import DEVICE, build, descend, flops, make_optimiser

POOL = 16               # batches' worth of phrases that are sorted by length before they are cut into batches
CODE = ("models/*.py", "train.py", "train_speech.py", "data/phrases.py")     # what a run depends on


@dataclass(frozen=True)
class Speech:
    """What is trained on and judged by."""
    train: int = 9600           # texts: some take more than 4 seconds to say, and are left out
    validation: int = 32
    test: int = 32
    voice: str = "pl"
    codec: str = "embedded"
    hearing: int = 1200         # sentences of the recogniser's
    hearing_steps: int = 500


@dataclass(frozen=True)
class Data:
    train: list[Phrase]
    validation: list[Phrase]
    test: list[Phrase]
    made_with: str              # digest of the codec's weights

    @cached_property
    def digest(self) -> str:
        return records.digest([[p.text, fingerprint(p.codes), [(g.characters, g.phonemes) for g in p.groups]]
                               for part in (self.train, self.validation, self.test) for p in part])


def load_data(speech: Speech) -> Data:
    codec = load_codec(speech.codec)
    return Data(*(phrases(split, getattr(speech, split), speech.voice, codec) for split in ("train", "validation", "test")),
                codec.digest)


def model_config(data: Data, core: str, conditioning: str, units: str = "characters", **fields) -> ModelConfig:
    """The matched model of the study of speech, with the alphabet of its units."""
    symbols = {"alphabet": alphabet(data.train + data.validation + data.test)} if units == "phonemes" else {}
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
    """Codes (batch, codebooks, frames) padded with START, lengths (batch,), text (batch, symbols) and the guide."""
    codes, text, where, timing = zip(*examples)
    lengths = torch.tensor([len(w) for w in where])
    padded = pad_sequence([c.T for c in codes], batch_first=True, padding_value=START).transpose(1, 2)
    texts = pad_sequence(text, batch_first=True, padding_value=config.vocabulary)
    told = Guide(pad_sequence(where, batch_first=True).to(DEVICE), pad_sequence(timing, batch_first=True).to(DEVICE))
    return padded.to(DEVICE), lengths.to(DEVICE), texts.to(DEVICE), told


def slices(items: list, size: int) -> list[list]:
    return [items[i:i + size] for i in range(0, len(items), size)]


def order(lengths: list[int], batch: int, steps: int, seed: int) -> list[list[int]]:
    """Which phrases each step sees: shuffled passes in which a batch holds phrases of like length; the same for every
    core."""
    random, steps_done = np.random.default_rng(seed), []
    while len(steps_done) < steps:
        shuffled = random.permutation(len(lengths)).tolist()
        pools = [sorted(pool, key=lengths.__getitem__) for pool in slices(shuffled, POOL * batch)]
        whole = [group for pool in pools for group in slices(pool, batch) if len(group) == batch]
        if not whole:
            raise ValueError(f"{len(lengths)} phrases do not fill a batch of {batch}: train on more")
        steps_done += [whole[i] for i in random.permutation(len(whole))]
    return steps_done[:steps]


def rate(config: SpeechConfig, step: int) -> float:
    """The learning rate of a step: linear warm-up, constant, linear cool-down to a twentieth."""
    left = (config.steps - step) / max(1, round(config.cooldown * config.steps))
    return config.learning_rate * min(1, (step + 1) / max(1, config.warmup), max(0.05, left))


@torch.inference_mode()
def evaluate(model: CodecLM, examples: list[Example]) -> dict:
    """Teacher-forced cross-entropy per token and accuracy of each codebook, mean over phrases."""
    rows = []
    for one in examples:
        codes, lengths, text, told = collate([one], model.config)
        cross_entropy, _, right = losses(*model(codes, text, told), codes, lengths)
        rows.append(torch.cat([cross_entropy[None], right]))
    mean = torch.stack(rows).mean(0)
    return {"loss": mean[0].item(), "per_codebook": mean[1:].tolist()}


def costs(model: CodecLM, one: Example) -> dict:
    """FLOPs of training on a frame, counted over an utterance, and bytes of decoding state after 4 seconds and 64."""
    codes, lengths, text, told = collate([one], model.config)

    def step() -> None:
        cross_entropy, end_loss, _ = losses(*model(codes, text, told), codes, lengths)
        (cross_entropy + end_loss).backward()
    frames = codes.shape[2]
    return {"training_flops_per_frame": flops(model, step, 1, frames) / frames,
            "state_bytes": {str(n): model.core.state_bytes(n) for n in (300, 4800)}}


def identity(config: SpeechConfig, speech: Speech, data: Data) -> dict:
    """What a run depends on: not on who hears it."""
    return {"config": asdict(config), "voice": speech.voice, "codec_name": speech.codec, "data": data.digest,
            "codec": data.made_with, "code": records.code_digest(*CODE)}


def train_speech(config: SpeechConfig, speech: Speech, data: Data, checkpoint_seconds: float = 60.0) -> records.Record:
    """The finished run of this configuration: found, resumed or trained."""
    what = identity(config, speech, data)
    if finished := records.find("speech", what):
        return finished
    path = records.folder("speech", records.digest(what)) / "checkpoint.safetensors"
    torch.manual_seed(config.seed)
    model = build(config.model)
    optimiser = make_optimiser(model, config)
    progress = {"loss": [], "frames": [], "seconds": [], "cpu_seconds": [], "validation": [], "resumed": 0}
    if path.exists():
        progress = checkpoint.read(path, model, optimiser)
        progress["resumed"] += 1
    train, validation = ([example(p, config.model) for p in part] for part in (data.train, data.validation))
    sequence = order([len(where) for _, _, where, _ in train], config.batch, config.steps, config.seed)
    bar = progress_bar(config.steps, f"{config.model.core} {config.model.conditioning} {config.learning_rate:g}",
                       len(progress["loss"]))
    saved = time.monotonic()
    for step in range(len(progress["loss"]), config.steps):
        begin, cpu = time.perf_counter(), time.process_time()
        codes, lengths, text, told = collate([train[i] for i in sequence[step]], config.model)
        cross_entropy, end_loss, _ = losses(*model(codes, text, told), codes, lengths)
        descend(model, optimiser, cross_entropy + end_loss, config.clip_norm, rate(config, step))
        progress["loss"].append(cross_entropy.item())
        progress["frames"].append(int(lengths.sum()))
        progress["seconds"].append(time.perf_counter() - begin)
        progress["cpu_seconds"].append(time.process_time() - cpu)
        if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
            progress["validation"].append({"step": step + 1, **evaluate(model, validation)})
        bar.set_postfix(loss=f"{progress['loss'][-1]:.3f}", refresh=False)
        bar.update()
        if time.monotonic() - saved >= checkpoint_seconds:
            checkpoint.write(path, model, optimiser, progress)
            saved = time.monotonic()
    bar.close()
    result = {"parameters": cost.parameters(model), "core_parameters": cost.parameters(model.core),
              "test": evaluate(model, [example(p, config.model) for p in data.test]),
              "phrases": len(train), "train_frames": sum(len(where) for _, _, where, _ in train), **progress}
    result |= costs(model, train[sequence[0][0]])
    record = records.save("speech", what, result, {"model.safetensors": save(model.state_dict())})
    path.unlink(missing_ok=True)
    return record


def read_config(fields: dict) -> SpeechConfig:
    """The configuration that `asdict` made these fields of."""
    model = dict(fields["model"])
    if not isinstance(model["alphabet"], str):
        model["alphabet"] = tuple(model["alphabet"])
    return SpeechConfig(**{**fields, "model": ModelConfig(**model)})


def load_speech(record: records.Record) -> CodecLM:
    """The trained model of a run, ready to speak."""
    model = build(read_config(record.identity["config"]).model).eval()
    checkpoint.load_weights(model, record)
    return model
