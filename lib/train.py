"""Training by the seed's protocol: memorise a few clips, one a step. Resumable, and each finished run is a record."""
import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from . import checkpoint, records
from .config import ModelConfig, Study, TrainConfig
from .data.corpus import Corpus
from .data.tokens import Tokens, collate
from .metrics import cost, learning
from .models.attention import Attention
from .models.codec_lm import CodecLM, losses
from .models.cores import build_core
from .models.mamba import Mamba
from .progress import progress_bar

LEVELS = (0.5, 0.9, 0.95, 0.999)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(config: ModelConfig) -> CodecLM:
    return CodecLM(config).to(DEVICE)


def batch(tokens: list[Tokens], config: ModelConfig) -> list[Tensor]:
    """Codes (batch, codebooks, frames), lengths (batch,) and text (batch, characters), where the model is."""
    return [tensor.to(DEVICE) for tensor in collate(tokens, config)]


def study_tokens(study: Study, corpus: Corpus) -> tuple[list[Tokens], list[Tokens]]:
    """Tokens of the clips to memorise and of the sentences never trained on; an unknown core or size is refused first."""
    for core in study.cores:
        build_core(core, study.size, causal=True)
    return ([corpus.tokens(clip) for clip in corpus.memorised(study.clips)],
            [corpus.tokens(clip) for clip in corpus.unseen(study.listen_unseen)])


def make_optimiser(model: CodecLM, config: TrainConfig) -> Optimizer:
    """AdamW; no weight decay on A_log and D, as in mamba_ssm."""
    kept = [p for p in model.parameters() if getattr(p, "_no_weight_decay", False)]
    decayed = [p for p in model.parameters() if not getattr(p, "_no_weight_decay", False)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}]
    if kept:
        groups.append({"params": kept, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)


def flops(module: nn.Module, run: Callable[[], object], batch: int, frames: int) -> int:
    """FLOPs of `run`, a forward and backward of `module` over (batch, frames): products as torch counts them,
    attention and scan by their formulas."""
    counted = cost.product_flops(run)
    for part in module.modules():
        if isinstance(part, Attention):
            counted += cost.attention_flops(batch, frames, part.out.in_features)
            if part.window and part.window < frames:
                counted -= cost.attention_flops(batch, frames - part.window, part.out.in_features)
        if isinstance(part, Mamba):
            counted += cost.scan_flops(batch, frames, part.d_inner, part.d_state)
    return counted


def order(clips: int, steps: int, seed: int) -> list[int]:
    """Which clip each step sees: passes over all clips, shuffled by the seed alone, so equal for every core."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = [torch.randperm(clips, generator=generator) for _ in range(-(-steps // clips))]
    return torch.cat(shuffled)[:steps].tolist()


def identity(config: TrainConfig, tokens: list[Tokens], held_out: list[Tokens]) -> dict:
    """What a run depends on; its hash is the run's key."""
    return {"config": asdict(config), "data": [t.digest for t in tokens], "held_out": [t.digest for t in held_out],
            "codec": tokens[0].codec, "code": records.code_digest("models/*.py", "train.py")}


def descend(model: nn.Module, optimiser: Optimizer, loss: Tensor, clip_norm: float, rate: float | None = None) -> None:
    """One step down the gradient of a loss, clipped; at a learning rate of its own where one is given."""
    for group in optimiser.param_groups if rate is not None else ():
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimiser.step()


def train_step(model: CodecLM, optimiser: Optimizer, example: list[Tensor],
               clip_norm: float) -> tuple[float, Tensor]:
    """One step on (codes, lengths, text): cross-entropy per token, and accuracy per codebook."""
    codes, lengths, text = example
    logits, end = model(codes, text)
    cross_entropy, end_loss, right = losses(logits, end, codes, lengths)
    descend(model, optimiser, cross_entropy + end_loss, clip_norm)
    return cross_entropy.item(), right


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


def train(config: TrainConfig, tokens: list[Tokens], held_out: list[Tokens],
          checkpoint_seconds: float = 20.0) -> records.Record:
    """The finished run of this configuration on these clips: found, resumed or trained."""
    what = identity(config, tokens, held_out)
    finished = records.find("train", what)
    if finished:
        return finished
    path = records.folder("train", records.digest(what)) / "checkpoint.safetensors"
    with cost.measure_memory(average=False) as memory:
        torch.manual_seed(config.seed)
        model = build(config.model)
        optimiser = make_optimiser(model, config)
        progress = {"loss": [], "accuracy": [], "seconds": [], "resumed": 0}
        if path.exists():
            progress = checkpoint.read(path, model, optimiser)
            progress["resumed"] += 1
        _memorise(model, optimiser, config, tokens, progress, path, checkpoint_seconds)
    accuracy = [sum(a) / len(a) for a in progress["accuracy"]]
    result = {
        "steps": len(accuracy), "history": {k: progress[k] for k in ("loss", "accuracy", "seconds")},
        "training_s": sum(progress["seconds"]), "resumed": progress["resumed"],
        "steps_to": {str(level): learning.steps_to(accuracy, config.clips, level) for level in LEVELS},
        "memorised": evaluate(model, tokens), "unseen": evaluate(model, held_out) if held_out else None,
        "parameters": cost.parameters(model), "core_parameters": cost.parameters(model.core),
        "peak_bytes": memory.peak, "codec": tokens[0].codec,
    }
    record = records.save("train", what, result, {"model.safetensors": save(model.state_dict())})
    path.unlink(missing_ok=True)
    return record


def _memorised(model: CodecLM, tokens: list[Tokens], progress: dict, config: TrainConfig) -> bool:
    """Whether the last pass was right as it went, and all clips still are with the weights that it ended with."""
    last = learning.passes([sum(a) / len(a) for a in progress["accuracy"]], config.clips)[-1]
    return last >= config.accuracy and evaluate(model, tokens)["accuracy"] >= config.accuracy


def _memorise(model, optimiser, config, tokens, progress, path, checkpoint_seconds) -> None:
    """Train in place, from where `progress` is to the accuracy or the steps of `config`."""
    batches = [batch([t], config.model) for t in tokens]
    sequence = order(config.clips, config.steps, config.seed)
    bar = progress_bar(config.steps, f"{config.model.core} {config.model.regime} seed {config.seed}", len(progress["loss"]))
    saved = time.monotonic()
    for step in range(len(progress["loss"]), config.steps):
        if step and step % config.clips == 0 and _memorised(model, tokens, progress, config):
            break
        begin = time.perf_counter()
        loss, right = train_step(model, optimiser, batches[sequence[step]], config.clip_norm)
        progress["seconds"].append(time.perf_counter() - begin)
        progress["loss"].append(loss)
        progress["accuracy"].append(right.tolist())
        bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{right.mean():.1%}", refresh=False)
        bar.update()
        if time.monotonic() - saved >= checkpoint_seconds:
            checkpoint.write(path, model, optimiser, progress)
            saved = time.monotonic()
    bar.close()


def load_model(record: records.Record) -> CodecLM:
    """The trained model of a run, ready to generate."""
    config = dict(record.identity["config"]["model"])
    model = build(ModelConfig(**config)).eval()
    checkpoint.load_weights(model, record)
    return model
