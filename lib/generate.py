"""Free-running generation, frame by frame, and the listening run that every sound in the report comes from.

`python -m lib.generate "Dzień dobry." --core mamba_conv` writes a sentence, spoken by a core of the reference study.
"""
import argparse
import sys
import time
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from . import records
from .data.audio import SAMPLE_RATE, flac
from .data.corpus import Corpus
from .data.phrases import Plan, Span, guide
from .data.text import encode
from .data.tokens import Tokens, undelay
from .graphs import stepper
from .metrics.speech import token_match
from .models.codec_lm import BINS, START, CodecLM, Guide
from .train import load_model

CODES = "codes.safetensors"     # of a listening run: what was said for each sentence, (codebooks, frames)


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: greedy at temperature 0; else among the `top_k` likeliest, and the fewest that hold `top_p`."""
    temperature: float = 0.0
    top_k: int = BINS
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if self.temperature < 0 or not 1 <= self.top_k <= BINS or not 0 < self.top_p <= 1:
            raise ValueError(f"{self}: temperature is at least 0, top_k 1 to {BINS}, top_p above 0 and at most 1")


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Tokens (…) from logits (…, bins). Nucleus sampling after Holtzman et al. 2020."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = logits.cpu()                                               # the generator's device: same draws everywhere
    sorted_logits, tokens = (logits / sampling.temperature).sort(-1, descending=True)
    p = sorted_logits.softmax(-1)
    p[..., sampling.top_k:] = 0
    p[p.cumsum(-1) - p >= sampling.top_p] = 0                           # the likeliest always stays
    chosen = torch.multinomial(p.flatten(0, -2), 1, generator=generator).view(*p.shape[:-1], 1)
    return tokens.gather(-1, chosen)[..., 0]


def generate(model: CodecLM, text: str, frames: int, sampling: Sampling = Sampling()) -> tuple[np.ndarray, dict]:
    """Codes (codebooks, at most `frames`) int16 that the model says for `text`, and how it went."""
    return generate_batch(model, [text], frames, sampling)[0]


def generate_batch(model: CodecLM, texts: list[str], frames: int,
                   sampling: Sampling = Sampling()) -> list[tuple[np.ndarray, dict]]:
    """What `generate` gives for each of `texts`, all at once; each ends where it ends."""
    ids = [torch.tensor(encode(text, model.config.alphabet, model.config.language)) for text in texts]
    return decode(model, ids, [frames] * len(ids), sampling)


def longest_of(frames: int) -> int:
    """Frames after which speech that should take so many is cut off: a quarter and half a second more."""
    return frames + frames // 4 + 38


@torch.inference_mode()
def speak(model: CodecLM, texts: list[list[Plan]], sampling: Sampling = Sampling(),
          window: int | None = None) -> list[tuple[np.ndarray, dict]]:
    """What the model says for each text, a list of sentences, all texts at once. Sentences are encoded one by one, as in
    training; the core goes through all of them, attention reading the last `window` frames where that is given. It ends
    by itself within the second half of the last, at the latest where `longest_of` has it."""
    device = model.offsets.device

    def told(ids: list[int], spans: list[Span]) -> Tensor:              # (frames, width)
        return model.told(torch.tensor([ids], device=device), Guide(*(torch.from_numpy(x)[None].to(device)
                                                                      for x in guide(spans))))[0]
    parts = [[told(*sentence) for sentence in text] for text in texts]
    rows = [torch.cat(sentences) for sentences in parts]
    last = [len(row) - len(said[-1]) // 2 if len(said) > 1 else 0 for row, said in zip(rows, parts)]
    longest = max(map(len, rows))
    filled = torch.stack([torch.cat([row, row[-1:].expand(longest - len(row), -1)]) for row in rows])
    symbols = [torch.tensor([i for ids, _ in text for i in ids]) for text in texts]
    return decode(model, symbols, [longest_of(len(row)) for row in rows], sampling, filled, last, window)


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
    steps, device = max(limits) + delayed, model.offsets.device
    ids = pad_sequence(texts, batch_first=True, padding_value=model.config.vocabulary).to(device)
    codes = torch.full((len(texts), model.codebooks, steps + 1), START, device=device)  # frame 0 is the start
    generators = [torch.Generator().manual_seed(sampling.seed) for _ in texts]
    causal = model.config.regime == "causal"
    begin = time.perf_counter()
    step = stepper(model, model.initial_state(ids, steps, told), window) if causal else None
    ends: dict[int, tuple[int, float, bool]] = {}                       # of each row: frames, seconds, by itself
    for t in range(steps):
        if causal:
            logits, end = step(codes[:, :, t])
        else:
            logits, end = model(codes[:, :, 1:t + 2], ids)              # the last of these frames is still to come
            logits, end = logits[:, :, -1], end[:, -1]
        codes[:, :, t + 1] = torch.stack([draw(*row) for row in zip(logits, repeat(sampling), generators)])
        if t < delayed:
            codes[:, t + 1:, t + 1] = START                             # codebook k begins k frames late
            continue
        for row, said in enumerate(end.tolist()):
            ended = said > 0 and t >= (open_until[row] + delayed if open_until else 0)
            if ended or t + 1 == limits[row] + delayed:
                ends.setdefault(row, (t + 1, time.perf_counter() - begin, ended))
        if len(ends) == len(texts):
            break
    results = []
    for row, said in enumerate(codes.cpu()):
        length, seconds, ended = ends[row]
        said = (undelay(said[:, 1:length + 1]) if delayed else said[:, 1:length + 1]).clamp_max(BINS - 1)
        made = said.shape[1]
        results.append((said.numpy().astype(np.int16), {
            "frames": made, "seconds": seconds, "ended": ended, "tokens_per_s": made * model.codebooks / seconds}))
    return results


def listen(run: records.Record, tokens: list[Tokens], corpus: Corpus, frames: int,
           sampling: Sampling = Sampling()) -> records.Record:
    """What a trained run says for each of `tokens`' texts: codes, sound (FLAC) where there is a codec, and figures."""
    what = {"run": run.key, "weights": run.files, "sentences": [[t.id, t.digest] for t in tokens], "frames": frames,
            "sampling": asdict(sampling), "codec": corpus.codec.identity if corpus.codec else None,
            "code": records.code_digest("models/*.py", "generate.py", "graphs.py", "data/codec.py")}
    finished = records.find("listen", what)
    if finished:
        return finished
    model = load_model(run)
    generate(model, tokens[0].text, 8, sampling)                        # warm up
    rows, said, files = [], {}, {}
    for one in tokens:
        codes, figures = generate(model, one.text, frames, sampling)
        figures["real_time_factor"] = figures["seconds"] / (figures["frames"] / corpus.frame_rate)
        said[records.file_name(one.id)] = codes
        if corpus.codec:
            begin = time.perf_counter()
            audio = corpus.sound(codes, run.result["codec"])
            figures["codec_seconds"] = time.perf_counter() - begin
            files[sound_file(one.id)] = flac(audio)
        rows.append({"id": one.id, "text": one.text, "reference_frames": one.codes.shape[1],
                     "token_match": token_match(one.codes, codes), **figures})
    return records.save("listen", what, {"train": run.name, "model": run.identity["config"]["model"],
                                         "seed": run.identity["config"]["seed"], "sentences": rows},
                        files | {CODES: save(said)})


def sound_file(sentence: str) -> str:
    """Name of the sound of a sentence in a listening run; ids of a user's corpus are data, not paths."""
    return records.file_name(sentence) + ".flac"


def main() -> int:
    from .speaker import REFERENCE, read_checkpoint     # which speaks by this module
    parser = argparse.ArgumentParser(prog="lib.generate", description="Speak a sentence with a trained core.")
    parser.add_argument("text")
    parser.add_argument("--core", default="transformer")
    parser.add_argument("--checkpoints", type=Path, default=REFERENCE, help="folder of <core>.safetensors")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("speech.flac"))
    given = parser.parse_args()
    try:
        speaker = read_checkpoint(given.checkpoints / f"{given.core}.safetensors")
        audio = speaker.say(given.text, Sampling(given.temperature, seed=given.seed))
        records.write_atomic(given.out.resolve(), flac(audio))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.out}: {len(audio) / SAMPLE_RATE:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
