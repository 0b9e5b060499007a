"""The leak audit: which input frames move which outputs of a trained run."""
import torch

from .. import records
from ..data.tokens import Tokens
from ..models.codec_lm import BINS
from ..training.memorise import batch, load_model

FRAMES = 40


@torch.inference_mode()
def influence(run: records.Record, tokens: Tokens) -> records.Record:
    """How much the logits of frame t move, mean over codebooks and codes, when frame s of the clip is another:
    `moved[s][t]`, over the clip's first frames. Honest is 0 wherever s is not before t."""
    what = {"run": run.key, "weights": run.files, "clip": tokens.digest, "frames": FRAMES,
            "code": records.code_digest("measuring/influence.py")}
    if finished := records.find("influence", what):
        return finished
    model = load_model(run)
    codes, _, text = batch([tokens], model.config)
    codes = codes[..., :FRAMES]
    logits, _ = model(codes, text)
    moved = []
    for s in range(codes.shape[2]):
        other = codes.clone()
        other[..., s] = (other[..., s] + BINS // 2) % BINS
        moved.append((model(other, text)[0] - logits).abs().mean((0, 1, 3)).tolist())   # (frames,)
    return records.save("influence", what, {"train": run.name, "model": run.identity["config"]["model"], "moved": moved,
                                            "leak": max(m for s, row in enumerate(moved) for m in row[:s + 1])})
