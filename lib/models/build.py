"""Models where they are trained and run."""
import torch

from ..config import ModelConfig
from .codec_lm import CodecLM

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(config: ModelConfig) -> CodecLM:
    return CodecLM(config).to(DEVICE)
