"""Training by the original report's protocol: memorise a few clips, one a step, until a pass over them is right."""
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from .. import records
from ..config import ALPHABET, ModelConfig, Study, TrainConfig, described, restored
from ..data.corpus import Corpus
from ..data.tokens import Tokens, collate
from ..metrics import cost, learning
from ..models.build import DEVICE, build
from ..models.codec_lm import CodecLM, losses
from ..models.cores import build_core, options
from .behaviour import behaviour
from .checkpoint import load_weights
from .loop import History, finished, fit
from .optimiser import make_optimiser
from .side_by_side import side_by_side

LEVELS = (0.5, 0.9, 0.95, 0.999)


def batch(tokens: list[Tokens], config: ModelConfig) -> list[Tensor]:
    """Codes (batch, codebooks, frames), lengths (batch,) and text (batch, characters), where the model is."""
    return [tensor.to(DEVICE) for tensor in collate(tokens, config)]


def study_tokens(study: Study, corpus: Corpus) -> tuple[list[Tokens], list[Tokens]]:
    """Tokens of the clips to memorise and of the sentences never trained on; an unknown core or size is refused first."""
    for core in study.cores:
        build_core(core, study.size, causal=True)
    return ([corpus.tokens(clip) for clip in corpus.memorised(study.clips)],
            [corpus.tokens(clip) for clip in corpus.unseen(study.listen_unseen)])


def model_of(study: Study, core: str, size: str, language: str = "pl", alphabet: str = ALPHABET) -> ModelConfig:
    """The model of a core in a study, for a corpus of that language and alphabet."""
    return ModelConfig(core, size, "causal", study.pattern, study.conditioning, study.codebooks, language, alphabet=alphabet,
                       **options(study, core, size))


def runs_of(study: Study, core: str, language: str = "pl", alphabet: str = ALPHABET) -> list[TrainConfig]:
    """Training runs of one core: `seeds` causal ones, and one as reported where that exists."""
    causal = TrainConfig(model_of(study, core, study.size, language, alphabet), clips=study.clips, steps=study.steps)
    return [replace(causal, seed=seed) for seed in range(study.seeds)] + (
        [replace(causal, model=replace(causal.model, regime="as_reported", window=None))] if core in study.leaking else [])


def order(clips: int, steps: int, seed: int) -> list[int]:
    """Which clip each step sees: passes over all clips, shuffled by the seed alone, so equal for every core."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = [torch.randperm(clips, generator=generator) for _ in range(-(-steps // clips))]
    return torch.cat(shuffled)[:steps].tolist()


def identity(config: TrainConfig, tokens: list[Tokens], held_out: list[Tokens]) -> dict:
    """What a run depends on; its hash is the run's key."""
    return {"config": described(config), "data": [t.digest for t in tokens], "held_out": [t.digest for t in held_out],
            "codec": tokens[0].codec, "behaviour": behaviour(config) + records.stable(order(5, 12, 0))}


@torch.inference_mode()
def evaluate(model: CodecLM, tokens: list[Tokens]) -> dict:
    """Teacher-forced cross-entropy and accuracy, per codebook and over all, mean over clips."""
    rows = []
    for one in tokens:
        codes, lengths, text = batch([one], model.config)
        cross_entropy, _, right = losses(*model(codes, text), codes, lengths)
        rows.append(torch.cat([cross_entropy[None], right]))
    mean = torch.stack(rows).mean(0)
    return {"loss": mean[0].item(), "accuracy": mean[1:].mean().item(), "per_codebook": mean[1:].tolist()}


def train(config: TrainConfig, tokens: list[Tokens], held_out: list[Tokens]) -> records.Record:
    """The finished run of this configuration on these clips: found, resumed or trained."""
    return finished("train", identity(config, tokens, held_out), lambda path: _memorise(config, tokens, held_out, path))


def train_all(configs: list[TrainConfig], tokens: list[Tokens], held_out: list[Tokens]) -> list[records.Record]:
    """The finished runs of all configurations, on as many clips as there are; what is missing is trained side by side, a run a
    thread."""
    configs = [replace(c, clips=len(tokens)) for c in configs]
    missing = [c for c in configs if not records.find("train", identity(c, tokens, held_out))]
    side_by_side([(train, c, tokens, held_out) for c in missing], "memorising")
    return [train(c, tokens, held_out) for c in configs]


def _memorise(config: TrainConfig, tokens: list[Tokens], held_out: list[Tokens], path: Path) -> tuple[dict, dict[str, bytes]]:
    torch.manual_seed(config.seed)
    model = build(config.model)
    batches = [batch([t], config.model) for t in tokens]
    sequence = order(config.clips, config.steps, config.seed)

    def step(i: int) -> tuple[Tensor, dict]:
        codes, lengths, text = batches[sequence[i]]
        cross_entropy, end_loss, right = losses(*model(codes, text), codes, lengths)
        return cross_entropy + end_loss, {"loss": cross_entropy, "accuracy": right}

    def enough(i: int, history: History) -> bool:
        """Whether the last pass was right as it went, and all clips still are with the weights that it ended with."""
        if not i or i % config.clips:
            return False
        last = learning.passes([sum(a) / len(a) for a in history["accuracy"][-config.clips:]], config.clips)[-1]
        return last >= config.accuracy and evaluate(model, tokens)["accuracy"] >= config.accuracy

    history = fit(model, make_optimiser(model, config), config.steps, step, path,
                  f"{config.model.core} {config.model.regime} seed {config.seed}", config.clip_norm, enough=enough)
    accuracy = [sum(a) / len(a) for a in history["accuracy"]]
    return {
        "steps": len(accuracy), "history": {k: history[k] for k in ("loss", "accuracy", "seconds")},
        "training_s": sum(history["seconds"]), "resumed": history["resumed"],
        "steps_to": {str(level): learning.steps_to(accuracy, config.clips, level) for level in LEVELS},
        "memorised": evaluate(model, tokens), "unseen": evaluate(model, held_out) if held_out else None,
        "parameters": cost.parameters(model), "core_parameters": cost.parameters(model.core), "codec": tokens[0].codec,
    }, {"model.safetensors": save(model.state_dict())}


def load_model(record: records.Record) -> CodecLM:
    """The trained model of a run, ready to generate."""
    model = build(restored(TrainConfig, record.identity["config"]).model).eval()
    load_weights(model, record)
    return model
