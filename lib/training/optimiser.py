"""The optimiser, one step of it, and what such a step costs."""
from collections.abc import Callable

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ..config import SpeechConfig, TrainConfig
from ..metrics import cost
from ..models.attention import Attention
from ..models.mamba import Mamba
from ..models.mamba2 import Mamba2


def make_optimiser(model: nn.Module, config: TrainConfig | SpeechConfig) -> Optimizer:
    """AdamW; no weight decay on A_log, D and Mamba-2's dt_bias, as in mamba_ssm."""
    kept = [p for p in model.parameters() if getattr(p, "_no_weight_decay", False)]
    decayed = [p for p in model.parameters() if not getattr(p, "_no_weight_decay", False)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}]
    if kept:
        groups.append({"params": kept, "weight_decay": 0.0})
    return AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)


def descend(model: nn.Module, optimiser: Optimizer, loss: Tensor, clip_norm: float, rate: float | None = None) -> Tensor:
    """One step down the gradient of a loss, clipped; at a learning rate of its own where one is given. Returns the norm
    that the gradient had, ()."""
    for group in optimiser.param_groups if rate is not None else ():
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimiser.step()
    return norm


def flops(module: nn.Module, run: Callable[[], object], batch: int, frames: int) -> int:
    """FLOPs of `run`, a forward and backward of `module` over (batch, frames): products as torch counts them,
    attention and scans by their formulas."""
    counted = cost.product_flops(run)
    for part in module.modules():
        if isinstance(part, Attention):
            counted += cost.attention_flops(batch, frames, part.out.in_features)
            if part.window and part.window < frames:
                counted -= cost.attention_flops(batch, frames - part.window, part.out.in_features)
        if isinstance(part, Mamba):
            counted += cost.scan_flops(batch, frames, part.d_inner, part.d_state)
        if isinstance(part, Mamba2) and part.D.is_cpu:      # elsewhere products: torch counts ours, and misses mamba_ssm's
            counted += cost.ssd_flops(batch, frames, part.d_inner, part.d_state)
    return counted
