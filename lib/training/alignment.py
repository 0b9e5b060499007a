"""When each phoneme of a clip is said, learned from codes and transcripts alone: for speech that came without times.

The phonemes of a text are espeak-ng's, in the language of the corpus; between two words there may be a pause. A small network
tells the phoneme of each frame, and learns from all ways to go through a transcript in order (the forward-sum loss of RAD-TTS,
Shih et al. 2021, with its beta-binomial prior to begin with). Then each clip is cut where the durations of its phonemes are
likely too, and transcripts that fit their clip no better than another's are set aside.
"""
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, lru_cache
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save
from scipy.stats import betabinom, gamma
from torch import Tensor
from torch.nn import functional as F

from .. import records
from ..data.codec import FRAME_RATE
from ..data.corpus import OwnCorpus
from ..data.phrases import PAUSE, Group, Phrase, align, grouped, listed, sentences_of
from ..data.speech import Speech, Utterance, synthesise
from ..data.text import voice_of
from ..metrics.monotonic import posterior, segments
from ..models.aligner import Aligner
from ..progress import progress_bar
from .behaviour import first_steps
from .loop import finished, fit, warm_and_cool

STEPS, FRAMES, LEARNING_RATE, WARMUP, COOLDOWN = 450, 2400, 2e-3, 50, 0.4
CODEBOOKS = 4               # that are heard, at most
HELD = 3                    # frames that a phoneme lasts at least in learning: else one frame of each is enough, and all else pause
PRIOR = 0.35                # of the steps, over which the prior fades
LONGEST = 150               # frames that a phoneme or a pause lasts at most
LEAST = -6.0                # log-probability that a pause lasts any length, at the least: pauses are of no one length
ROUNDS = 2                  # of cutting by the durations of the cuts before
WINDOW = 40                 # frames over which a transcript must fit: half a second
STRANGERS = 300             # clips that are held against another's transcript
APART = 1 / 3               # of the way from how transcripts fit to how strangers' do: below that one does not fit
LONGEST_SECONDS = 20.0      # of a clip

Example = tuple[Tensor, np.ndarray, np.ndarray]     # codes (codebooks, frames), states (states,), which are optional (states,)


def untimed(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Groups without times: every separator, one before the first word and one after the last too, may be a pause."""
    out = [Group(g.characters, tuple((name, 0) for name, _ in g.phonemes) or ((PAUSE, 0),)) for g in groups]
    edge = Group(" ", ((PAUSE, 0),))
    first, last = _says(out[0]), _says(out[-1])
    return (edge,) * first + tuple(out) + (edge,) * last


def timed(groups: tuple[Group, ...], frames: Iterable[int]) -> tuple[Group, ...]:
    """Untimed groups with the frames of each of their phonemes; of pauses that take none nothing is left."""
    left, out = iter(frames), []
    for group in groups:
        lasting = [(name, int(next(left))) for name, _ in group.phonemes]
        out.append(Group(group.characters, tuple((name, n) for name, n in lasting if n or name != PAUSE)))
    edges = (0, len(out) - 1)
    return tuple(g for i, g in enumerate(out) if g.phonemes or i not in edges or g.characters != " ")


def classes(phrases: Iterable[Phrase]) -> tuple[str, ...]:
    """The pause, and every phoneme without its stress."""
    return PAUSE, *sorted({_plain(name) for p in phrases for g in p.groups for name, _ in g.phonemes} - {PAUSE})


def _says(group: Group) -> bool:
    """Whether there is more to hear of a group than a pause."""
    return any(name != PAUSE for name, _ in group.phonemes)


def _plain(name: str) -> str:
    return name.lstrip("ˈˌ")


def example(phrase: Phrase, names: tuple[str, ...]) -> Example:
    states = np.array([names.index(_plain(name)) for g in phrase.groups for name, _ in g.phonemes])
    return torch.from_numpy(phrase.codes[:CODEBOOKS].astype(np.int64)), states, states == 0


@lru_cache(4096)
def prior(frames: int, states: int) -> np.ndarray:
    """The beta-binomial prior (frames, states) that a clip goes through its states evenly (Shih et al. 2021, section 2.3)."""
    t = np.arange(1, frames + 1)[:, None]
    return betabinom.logpmf(np.arange(states), states - 1, t, frames - t + 1)


def held(states: np.ndarray, optional: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The states and which are optional, each that is not as many times in a row as it lasts frames at least: HELD, or as many
    as leave a quarter of a clip of so many frames free."""
    times = int(np.clip(0.75 * frames / max(1, (~optional).sum()), 1, HELD))
    repeats = np.where(optional, 1, times)
    return np.repeat(states, repeats), np.repeat(optional, repeats)


def forward_sum(model: Aligner, chosen: list[Example], weight: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy a frame against the posterior of all paths through each transcript, with the prior so much weighed: its
    gradient is that of the forward-sum loss. And the frames that each class has by that posterior (classes,)."""
    lengths = [codes.shape[1] for codes, _, _ in chosen]
    logits = model(torch.stack([F.pad(codes, (0, max(lengths) - n)) for (codes, _, _), n in zip(chosen, lengths)]))
    likely, wanted = model.likelihood(logits).detach().double().numpy(), np.zeros(logits.shape)
    for row, out, (_, states, optional), n in zip(likely, wanted, chosen, lengths):
        states, optional = held(states, optional, n)
        through = row[:n, states] + (weight * prior(n, len(states)) if weight > 0 else 0)
        np.add.at(out[:n].T, states, posterior(through, optional).T)
    target = torch.from_numpy(wanted).to(logits)
    return -(target * logits.log_softmax(-1)).sum() / sum(lengths), target.sum((0, 1))


def batches(lengths: list[int], seed: int) -> list[list[int]]:
    """Clips of like length for each step, together of at most FRAMES frames where one alone is not longer."""
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(np.array(lengths)[order])
    out = []
    for first in np.random.default_rng(seed).integers(len(order), size=STEPS):
        last = np.searchsorted(ends, ends[first] - lengths[order[first]] + FRAMES, "right")
        out.append(order[first:max(last, first + 1)].tolist())
    return out


def learn(examples: list[Example], names: int, path: Path) -> tuple[Aligner, dict]:
    """A network that tells the class of each frame, and how it learned: from where the checkpoint at `path` is, if there is
    one."""
    torch.manual_seed(0)
    model = Aligner(len(examples[0][0]), names)
    sequence = batches([codes.shape[1] for codes, _, _ in examples], 0)

    def step(i: int) -> tuple[Tensor, dict]:
        torch.manual_seed(i)                            # what dropout leaves out is the same after a stop
        loss, frames = forward_sum(model, [examples[j] for j in sequence[i]], 1 - i / (PRIOR * STEPS))
        now = (frames + 1) / (frames + 1).sum()
        model.share.copy_(now if not i else (0.98 * model.share.log() + 0.02 * now.log()).softmax(0))
        return loss, {"loss": loss}

    history = fit(model.train(), _optimiser(model), STEPS, step, path, "alignment", 1.0,
                  lambda i: warm_and_cool(i, STEPS, LEARNING_RATE, WARMUP, COOLDOWN))
    return model.eval(), {"loss": history["loss"], "training_s": sum(history["seconds"])}


def _optimiser(model: Aligner) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=1e-2)


def lasting(cuts: list[np.ndarray], examples: list[Example], names: int) -> np.ndarray:
    """Log-probability that each class lasts so many frames (classes, 1 + LONGEST): a gamma distribution with the mean and the
    variance of the cuts."""
    out, times = np.zeros((names, LONGEST + 1)), [[] for _ in range(names)]
    for frames, (_, states, _) in zip(cuts, examples):
        for state, n in zip(states, frames):
            times[state] += [n] * bool(n)
    for row, seen in zip(out, times):
        if len(seen) > 1:
            mean, variance = np.mean(seen), max(np.var(seen), 1.0)
            row[1:] = gamma.logpdf(np.arange(1, LONGEST + 1), mean ** 2 / variance, scale=variance / mean)
    out[0] = np.maximum(out[0], LEAST)
    return out


@torch.inference_mode()
def heard(model: Aligner, codes: Tensor) -> np.ndarray:
    """Log-likelihood of each class at each frame (frames, classes) of codes (codebooks, frames)."""
    return model.likelihood(model(codes[None])[0]).double().numpy()


def cut(model: Aligner, examples: list[Example]) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames of each state of each clip, all 0 where its phonemes do not fit into it; and the durations by which it was cut."""
    names, likely = len(model.share), [heard(model, codes) for codes, _, _ in examples]
    times = np.zeros((names, LONGEST + 1))
    for left in range(ROUNDS, -1, -1):
        cuts = [segments(row[:, states], optional, times[states]) for row, (_, states, optional) in zip(likely, examples)]
        if left:
            times = lasting(cuts, examples, names)
    return cuts, times


def fit_of(model: Aligner, codes: Tensor, states: np.ndarray, frames: np.ndarray) -> float:
    """How well a transcript fits its clip where it fits least: by how much the class that it says is less likely than the
    likeliest, mean over WINDOW frames, at most 0."""
    if not frames.any():
        return -np.inf
    likely = heard(model, codes)
    said = likely[np.arange(len(likely)), np.repeat(states, frames)] - likely.max(1)
    return float(np.convolve(said, np.ones(n := min(WINDOW, len(said))) / n, "valid").min())


def against_strangers(model: Aligner, examples: list[Example], times: np.ndarray) -> list[float]:
    """How well the transcripts of others fit: of some clips, each with that of the clip that has the next number of states."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i][1]))
    out = []
    for i, other in list(zip(order, order[1:]))[::max(1, len(order) // STRANGERS)]:
        codes, (_, states, optional) = examples[i][0], examples[other]
        out.append(fit_of(model, codes, states, segments(heard(model, codes)[:, states], optional, times[states])))
    return [score for score in out if np.isfinite(score)]


@cache
def behaviour() -> list[str]:
    """What the first steps on two made-up clips come to, how one is cut, and what words a sentence is taken for."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = Aligner(2, 4).double().eval()
        examples = [(torch.randint(1024, (2, n)), np.arange(n // 3) % 4, np.arange(n // 3) % 4 == 0) for n in (12, 15)]
    steps = first_steps(model, _optimiser(model), lambda: forward_sum(model, examples, 0.5)[0], 1.0)
    said = sentences_of("Raz, dwa. - Trzy!")
    words = untimed(words_of(list(zip(said, synthesise(Utterance(sentence, "pl") for sentence in said)))))
    return [*steps, *records.stable(prior(5, 3)[2].tolist()), *map(str, cut(model, examples)[0][0]), *map(str, words)]


def aligned(corpus: OwnCorpus) -> records.Record:
    """The record of a corpus with the time of every phoneme: found, where clips, texts and splits are the same, or learned. Its
    phrases are those of `phrases_of`; the others are listed beside them, each with the reason."""
    voice = voice_of(corpus.language)
    clips = [[row[name] for name in ("id", "spoken", "split", "file", "frames", "sha256")] for row in _rows(corpus)]
    what = {"clips": records.digest(clips), "made_with": corpus.made_with, "voice": voice, "behaviour": behaviour(),
            "settings": [STEPS, FRAMES, LEARNING_RATE, PRIOR, ROUNDS, WINDOW, LONGEST_SECONDS, APART]}
    return finished("alignment", what, lambda path: _align(corpus, voice, path))


def _align(corpus: OwnCorpus, voice: str, path: Path) -> tuple[dict, dict[str, bytes]]:
    found, aside = _untimed(corpus, voice)
    names = classes(found)
    examples = [example(p, names) for p in found]
    model, history = learn(examples, len(names), path)
    cuts, times = cut(model, examples)
    fits = np.array([fit_of(model, codes, states, frames) for (codes, states, _), frames in zip(examples, cuts)])
    own, strangers = np.median(fits), np.median(against_strangers(model, examples, times) or [-np.inf])
    with np.errstate(invalid="ignore"):             # where the texts of most are too long for their clips
        least = own + APART * (strangers - own)
    kept = []
    for p, frames, score in zip(found, cuts, fits):
        if score == -np.inf or score < least:
            aside.append([p.id, p.file, "its text does not fit: " + ("too many phonemes for its length" if score == -np.inf else
                                                                     f"{score:.1f}, where {least:.1f} is the least")])
        else:
            kept.append(replace(p, groups=timed(p.groups, frames)))
    codes = np.concatenate([found[0].codes[:, :0], *(p.codes for p in kept)], 1)
    rows = [[p.id, p.text, p.split, p.file, listed(p.groups)] for p in kept]
    said = np.concatenate([frames[states != 0] for (_, states, _), frames in zip(examples, cuts)])
    return {"voice": voice, "phonemes": names[1:], "clips": len(kept), "frames": sum(p.codes.shape[1] for p in kept),
            "fit": {"own": own, "strangers": strangers, "least": least}, "single_frame": float((said == 1).mean()),
            "set_aside": dict(Counter(reason.split(":")[0] for _, _, reason in aside).most_common()), **history}, {
                "aligner.safetensors": save(model.state_dict()),
                "phrases.safetensors": save({"codes": torch.from_numpy(codes),
                                             "rows": torch.frombuffer(bytearray(json.dumps(rows).encode()), dtype=torch.uint8)}),
                "set_aside.tsv": "".join("\t".join(row) + "\n" for row in aside).encode()}


def _rows(corpus: OwnCorpus) -> list[dict]:
    return [row for split in ("train", "validation", "test") for row in corpus.rows(split)]


def _untimed(corpus: OwnCorpus, voice: str) -> tuple[list[Phrase], list[list[str]]]:
    """The clips of a corpus as phrases without times, and why others are none: id, file and reason."""
    rows = _rows(corpus)
    said = [sentences_of(row["spoken"]) or [row["spoken"]] for row in rows]
    speeches = synthesise(Utterance(sentence, voice) for sentences in said for sentence in sentences)
    bar, found, aside = progress_bar(len(rows), "phonemes and codes", unit="clip"), [], []
    for row, sentences in zip(rows, said):
        spoken = list(zip(sentences, islice(speeches, len(sentences))))
        bar.update()
        try:
            if row["frames"] > LONGEST_SECONDS * corpus.frame_rate:
                raise ValueError(f"longer than {LONGEST_SECONDS:g} s: cut it at its sentences")
            groups = untimed(words_of(spoken))
            found.append(Phrase(row["id"], row["spoken"], groups, corpus.codes(row), row["split"], row["file"]))
        except ValueError as error:
            aside.append([row["id"], row["file"], str(error)])
    bar.close()
    if not found:
        raise ValueError(f"no clip of corpus {corpus.record.result['name']} can be aligned: {aside[0][2] if aside else 'it has none'}")
    return found, aside


def words_of(spoken: list[tuple[str, Speech]]) -> tuple[Group, ...]:
    """The groups of sentences as espeak-ng says them, times its own. It may call a dash before a word the word: then what
    follows is, if that has letters and says nothing. ValueError where it says nothing of a sentence, or other words."""
    out: list[Group] = []
    for sentence, speech in spoken:
        try:
            groups = list(align(speech, sentence, round(speech.seconds * FRAME_RATE) + 1))
        except (ValueError, IndexError):
            raise ValueError(f"espeak-ng reads it in other words: {sentence[:60]!r}") from None
        if not any(map(_says, groups)):
            raise ValueError(f"espeak-ng says nothing: {sentence[:60]!r}")
        for i, (one, other) in enumerate(pairwise(groups)):
            if _says(one) and not _says(other) and not any(map(str.isalpha, one.characters)) and (
                    word := re.search(r"\w.*\w|\w", other.characters)):
                groups[i] = Group(one.characters + other.characters[:word.end()], one.phonemes)
                groups[i + 1] = Group(other.characters[word.end():] or " ", other.phonemes)
        if out:
            out[-1] = Group(f"{out[-1].characters} ", out[-1].phonemes)
        out += groups
    return tuple(out)


def phrases_of(record: records.Record) -> list[Phrase]:
    """The phrases of an alignment, each with its times, split and file."""
    stored, out, at = load_file(record.file("phrases.safetensors")), [], 0
    for id, text, split, file, groups in json.loads(stored["rows"].tobytes()):
        groups = grouped(groups)
        end = at + sum(g.frames for g in groups)
        out.append(Phrase(id, text, groups, stored["codes"][:, at:end], split, file))
        at = end
    return out
