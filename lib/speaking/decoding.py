"""Free-running generation: each frame is predicted from the frames that the model itself produced."""
import time
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .. import records
from ..config import ALIGNED, ModelConfig, described
from ..data.phrases import Plan, Span, guide
from ..data.text import encode
from ..data.tokens import cached, undelay
from ..models.codec_lm import BINS, START, CodecLM, Guide
from .masked import fill
from .recorded import stepper, untold
from .sampling import Sampling, draw


def generate(model: CodecLM, text: str, frames: int, sampling: Sampling = Sampling()) -> tuple[np.ndarray, dict]:
    """Codes (codebooks, at most `frames`) int16 that the model says for `text`, and how it went."""
    return generate_batch(model, [text], frames, sampling)[0]


def generate_batch(model: CodecLM, texts: list[str], frames: int,
                   sampling: Sampling = Sampling()) -> list[tuple[np.ndarray, dict]]:
    """What `generate` gives for each of `texts`, all at once, to rounding; each ends where it ends."""
    ids = [torch.tensor(encode(text, model.config.alphabet, model.config.language)) for text in texts]
    return decode(model, ids, [frames] * len(ids), sampling)


def longest_of(frames: int) -> int:
    """Frames after which speech that should take so many is cut off: a quarter and half a second more."""
    return frames + frames // 4 + 38


@torch.inference_mode()
def told(model: CodecLM, said: Plan) -> Tensor:
    """What each frame of a sentence is told of its text, (frames, width)."""
    (ids, spans), device = said, model.offsets.device
    where, timing = (torch.from_numpy(x)[None] for x in guide(spans))
    return model.told(torch.tensor([ids], device=device), Guide(where.to(device), timing.to(model.heads.weight)))[0]


@torch.inference_mode()
def speak(model: CodecLM, texts: list[list[Plan]], sampling: Sampling = Sampling(),
          window: int | None = None) -> list[tuple[np.ndarray, dict]]:
    """What the model says for each text, a list of sentences, all texts at once. Sentences are encoded one by one, as in
    training; the core goes through all of them, attention reading the last `window` frames where that is given. A text of
    several sentences is kept from ending before the second half of the last, however sure the model is that it is done;
    it ends at the latest where `longest_of` has it. A masked model says one sentence after the other, each in its time."""
    if model.config.regime == "masked":
        return [joined([fill(model, told(model, sentence), sampling) for sentence in text]) for text in texts]
    parts = [[told(model, sentence) for sentence in text] for text in texts]
    rows = [torch.cat(sentences) for sentences in parts]
    last = [len(row) - len(said[-1]) // 2 if len(said) > 1 else 0 for row, said in zip(rows, parts)]
    longest = max(map(len, rows))
    filled = torch.stack([torch.cat([row, row[-1:].expand(longest - len(row), -1)]) for row in rows])
    symbols = [torch.tensor([i for ids, _ in text for i in ids]) for text in texts]
    return decode(model, symbols, [longest_of(len(row)) for row in rows], sampling, filled, last, window)


def joined(said: list[tuple[np.ndarray, dict]]) -> tuple[np.ndarray, dict]:
    """Sentences as one text, which ended by itself where all of them did."""
    codes, seconds = np.concatenate([codes for codes, _ in said], 1), sum(went["seconds"] for _, went in said)
    return codes, {"frames": codes.shape[1], "seconds": seconds, "ended": all(went["ended"] for _, went in said),
                   "tokens_per_s": codes.size / seconds}


@torch.inference_mode()
def decode(model: CodecLM, texts: list[Tensor], limits: list[int], sampling: Sampling,
           told: Tensor | None = None, open_until: list[int] | None = None,
           window: int | None = None) -> list[tuple[np.ndarray, dict]]:
    """Codes (codebooks, frames) int16, at most so many frames, for each text (symbols,), and how it went; `told` is what
    each frame is told of the text, (batch, frames, width), none ends before the frame `open_until`, and attention reads
    the last `window` frames.

    In the causal regime each frame is one step on a state; as reported the whole prefix is run again, with nothing
    after it, since such a core has no state.
    """
    delayed = (model.codebooks - 1) * (model.config.pattern == "delay")         # frames that the last codebook is late
    causal, device = model.config.regime == "causal", model.offsets.device
    begins = [0] * len(texts)                       # a text that stands before its frames, and is longer, is still read then
    if causal and model.config.conditioning == "prefix":
        begins = [len(text) - min(map(len, texts)) for text in texts]
    steps = max(map(sum, zip(limits, begins))) + delayed
    ids = pad_sequence(texts, batch_first=True, padding_value=model.config.vocabulary).to(device)
    codes = torch.full((len(texts), model.codebooks, steps + 1), START, device=device)  # frame 0 is the start
    generators = [torch.Generator().manual_seed(sampling.seed) for _ in texts]
    begin = time.perf_counter()
    if sampling.guidance != 1:
        ids, told = untold(model, ids, told)
    step = stepper(model, model.initial_state(ids, steps, told), window, sampling.guidance) if causal else None
    ends: dict[int, tuple[int, float, bool]] = {}                       # of each row: frames, seconds, by itself
    for t in range(steps):
        if causal:
            logits, end = step(codes[:, :, t])
        else:
            logits, end = model(codes[:, :, 1:t + 2], ids)              # the last of these frames is still to come
            logits, end = logits[:, :, -1], end[:, -1]
        codes[:, :, t + 1] = torch.stack([
            draw(of_row, sampling, generator, said).to(device) if t >= first else said[:, -1]
            for of_row, generator, said, first in zip(logits, generators, codes[:, :, :t + 1], begins)])
        for row, (said, first) in enumerate(zip(end.tolist(), begins)):
            frame = t - first
            if frame < delayed:
                codes[row, max(0, frame + 1):, t + 1] = START           # codebook k begins k frames late
                continue
            ended = said > sampling.end_logit and frame >= (open_until[row] + delayed if open_until else 0)
            if ended or frame + 1 == limits[row] + delayed:
                ends.setdefault(row, (frame + 1, time.perf_counter() - begin, ended))
        if len(ends) == len(texts):
            break
    results = []
    for row, said in enumerate(codes.cpu()):
        length, seconds, ended = ends[row]
        said = said[:, begins[row] + 1:][:, :length]
        said = (undelay(said) if delayed else said).clamp_max(BINS - 1)
        made = said.shape[1]
        results.append((said.numpy().astype(np.int16), {
            "frames": made, "seconds": seconds, "ended": ended, "tokens_per_s": made * model.codebooks / seconds}))
    return results


USUAL = Sampling(), Sampling(0.8, 50, 0.95)


@cache
def behaviour(config: ModelConfig, window: int | None = None, samplings: tuple[Sampling, ...] = USUAL) -> str:
    """What an untrained model of a configuration says in float64, greedy and sampled: a digest, kept for as long as no
    source of models and speaking says anything else."""
    what = {"says": described(config), "window": window, "samplings": [described(s) for s in samplings],
            "torch": torch.__version__,
            "code": records.code_digest("models/*.py", "speaking/*.py", "data/phrases.py", "data/tokens.py")}
    return cached(what, lambda: _behaviour(config, window, samplings).encode()).decode()


def _behaviour(config: ModelConfig, window: int | None, samplings: tuple[Sampling, ...]) -> str:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = CodecLM(config).double().eval()
    ids, said = [i % config.vocabulary for i in range(7)], []
    for sampling in samplings:
        if config.conditioning in ALIGNED:
            sentence = ids, [Span(3, 6), Span(4, 7)]
            said += speak(model, [[sentence, sentence], [sentence]], sampling, window)
        else:
            said += decode(model, [torch.tensor(ids)], [12], sampling, window=window)
    return records.digest([codes.tolist() for codes, _ in said])
