"""A training in the middle of itself as one sealed safetensors file: weights, optimiser, random state, progress."""
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from ..files import Damaged, seal, unseal, write_atomic
from ..records import Record


def load_weights(model: nn.Module, record: Record, name: str = "model.safetensors") -> None:
    """Give the model the weights that a run kept; Damaged where they are another model's."""
    try:
        model.load_state_dict(load(record.file(name).read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        raise Damaged(f"weights of {record.name} do not fit this code ({str(error).splitlines()[0]}): delete "
                      f"{record.folder} and run the notebook again") from None


def write(path: Path, model: nn.Module, optimiser: Optimizer, progress: dict) -> None:
    """Everything needed to go on as if nothing had happened. `progress` is JSON."""
    tensors: dict[str, Tensor] = {f"model/{k}": v for k, v in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors["random"] = torch.get_rng_state()
    tensors["progress"] = torch.frombuffer(bytearray(json.dumps(progress).encode()), dtype=torch.uint8)
    write_atomic(path, seal(save({k: v.contiguous() for k, v in tensors.items()})))


def read(path: Path, model: nn.Module, optimiser: Optimizer) -> dict:
    """Restore what `write` wrote; returns its progress."""
    try:
        tensors = load(unseal(path))
        progress = json.loads(bytes(tensors["progress"].tolist()))
        model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser/"):
                _, index, key = name.split("/")
                states.setdefault(int(index), {})[key] = value
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random"])
    except Damaged:
        raise Damaged(f"checkpoint {path} is damaged: delete it and the run starts afresh") from None
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise Damaged(f"checkpoint {path} does not fit ({reason}): delete it and the run starts afresh") from None
    return progress
