"""Speech as it is said: from what a frame is told of the text to samples, frame by frame, and from sound to sound."""
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from .. import records
from ..data.audio import SAMPLE_RATE
from ..data.codec import Codec
from ..data.tokens import undelay
from ..models.codec_lm import START, CodecLM
from .recorded import attention_states, stepper, untold
from .sampling import WINDOW, Sampling, draw

SILENCE = 10 ** (-40 / 20)              # of the loudest sample so far
MARGIN, FADE = SAMPLE_RATE * 30 // 1000, SAMPLE_RATE * 5 // 1000    # samples of a silence that stay, and that fade


@dataclass(frozen=True)
class Place:
    """Where a text stands that is being said: after so many sentences, with all that the next one needs."""
    sentences: int = 0
    text: str = ""                      # digest of those sentences
    samples: int = 0                    # that were given out of it
    ended: bool = False                 # there was no next one
    tensors: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def after(self, sentence: str, tensors: dict[str, Tensor] | None = None) -> "Place":
        """The place after one more sentence."""
        return Place(self.sentences + 1, records.digest([self.text, sentence]), tensors=tensors or {})

    def packed(self, whose: dict) -> bytes:
        """A state file, of what is said as `whose` (JSON) has it."""
        about = {"whose": whose, "sentences": self.sentences, "text": self.text, "samples": self.samples, "ended": self.ended}
        return save(self.tensors, {"about": json.dumps(about)})


def read_place(path: Path, whose: dict) -> Place:
    """The place of a state file; one line of ValueError where it is another's, or not whole."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
        place = Place(about["sentences"], about["text"], about["samples"], about["ended"], load_file(path))
        others = [name for name, value in whose.items() if about["whose"][name] != value]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no state file, or damaged ({str(error).splitlines()[0]}): delete it, or name another") from None
    if others:
        raise ValueError(f"{path} is the state of another {others[0]}: give the same one, or name another file")
    return place


class Whole:
    """In the place of a stream of a codec that cannot: all sound comes at the end."""

    def __init__(self, codec: Codec):
        self._codec, self._codes = codec, []

    def step(self, codes: np.ndarray) -> np.ndarray:
        self._codes.append(codes)
        return np.zeros(0, np.float32)

    def close(self) -> np.ndarray:
        return self._codec.decode(np.concatenate(self._codes, 1))

    def state(self) -> dict[str, Tensor]:
        raise ValueError(f"codec {self._codec.name} does not stream: its place in a text cannot be kept within the text")


class Voice:
    """A text being said: a step takes what its next frame is told of the text and gives the samples that are settled then.

    The codec takes its codes frame by frame, so that the samples are the same, whoever asks for how many at once."""

    def __init__(self, model: CodecLM, codec: Codec, sampling: Sampling, frames: int, window: int | None = None,
                 tensors: dict[str, Tensor] | None = None):
        """With room for so many frames at first; attention reads the last `window`. It goes on from what `tensors` gave."""
        self.model, self.sampling, self.window = model, sampling, window
        self.late = (model.codebooks - 1) * (model.config.pattern == "delay")       # frames that the last codebook is late
        said = int(tensors["frames"]) if tensors and not window else 0
        text, told = torch.zeros(1, 1).long(), model.heads.weight.new_zeros(1, 1, model.heads.in_features)
        if sampling.guidance != 1:
            text, told = untold(model, text, told)
        self.state = model.initial_state(text.to(told.device), max(frames, said) + self.late, told)
        self.caches = list(attention_states(self.state.core))
        self.generator = torch.Generator().manual_seed(sampling.seed)
        self.codes = torch.full((1, model.codebooks, 1), START, device=told.device)     # the last that were drawn
        try:
            self.stream = codec.stream()
        except ValueError:
            self.stream = Whole(codec)
        self._step = stepper(model, self.state, window, sampling.guidance)
        if tensors:
            self._restore(tensors)

    @torch.inference_mode()
    def step(self, told: Tensor) -> tuple[np.ndarray, bool]:
        """Samples (n,) that the next frame settles, which is `told` (width,) of the text; and whether the model would end
        with the frame that is complete then, `late` frames before."""
        self._make_room()
        self.state.text[0] = told
        logits, end = self._step(self.codes[..., -1])
        drawn = draw(logits[0], self.sampling, self.generator, self.codes[0]).to(self.codes.device)     # (codebooks,)
        if early := self.state.frames <= self.late:
            drawn[self.state.frames:] = START                           # codebook k begins k frames late
        self.codes = torch.cat([self.codes, drawn[None, :, None]], 2)[..., -max(WINDOW, self.late + 1):]
        if early:
            return np.zeros(0, np.float32), False
        frame = self.codes[0, :, -1 - self.late:]
        return self.stream.step((undelay(frame) if self.late else frame).cpu().numpy()), end.item() > self.sampling.end_logit

    def close(self) -> np.ndarray:
        """The last samples (n,)."""
        return self.stream.close()

    def _make_room(self) -> None:
        """Twice as much, where a cache of all frames is full."""
        if full := [cache for cache in self.caches if cache.frames == cache.room != cache.window]:
            for cache in full:
                cache.cache = F.pad(cache.cache, (0, 0, 0, cache.room))
            self._step = stepper(self.model, self.state, self.window, self.sampling.guidance)

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all that the next step needs."""
        caches = [cache.cache for cache in self.caches]
        core = {name: part[:, :, :self.state.frames] if any(part is cache for cache in caches) else part
                for name, part in _tensors(self.state.core, "core")}
        what = core | {f"codec.{name}": part for name, part in self.stream.state().items()} | {
            "codes": self.codes, "generator": self.generator.get_state(), "frames": torch.tensor(self.state.frames)}
        return {name: part.detach().clone().contiguous() for name, part in what.items()}

    @torch.inference_mode()
    def _restore(self, tensors: dict[str, Tensor]) -> None:
        for name, part in _tensors(self.state.core, "core"):
            part[tuple(map(slice, tensors[name].shape))] = tensors[name].to(part.device)
        self.state.frames = int(tensors["frames"])
        for cache in self.caches:
            cache.frames = self.state.frames
        self.codes = tensors["codes"].to(self.codes.device)
        self.generator.set_state(tensors["generator"])
        self.stream.restore({name[6:]: part for name, part in tensors.items() if name.startswith("codec.")})
        self._step = stepper(self.model, self.state, self.window, self.sampling.guidance)       # which counts from here


def _tensors(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a core's state, by name."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, list):
        for i, part in enumerate(state):
            yield from _tensors(part, f"{name}.{i}")
    elif is_dataclass(state):
        for one in fields(state):
            yield from _tensors(getattr(state, one.name), f"{name}.{one.name}")


class Joints:
    """Sounds one after the other as they come, with pauses between what is heard of one and of the next.

    Heard is what is less than 40 dB under the loudest so far, of this sound or of those before. At a joint at most MARGIN
    samples of silence stay of a sound, faded: so many at its end are held back until they are followed by what is heard.
    """

    def __init__(self, tensors: dict[str, Tensor] | None = None):
        """It goes on from what `tensors` gave."""
        self.held = np.zeros(0, np.float32)
        self.loudest = np.float32(0)
        self.first = self.last = -1     # that are heard, of what is held; -1 where nothing yet
        self.between = False            # before what is heard first of a sound
        self.pause = 0                  # samples that are due then
        if tensors:
            self.held, self.loudest = tensors["held"].numpy().copy(), tensors["loudest"].numpy()[()]
            self.first, self.last, between, self.pause = tensors["numbers"].tolist()
            self.between = bool(between)

    def add(self, sound: np.ndarray) -> np.ndarray:
        """Samples (n,) that the next ones of a sound, (samples,), settle."""
        loudness = np.abs(sound)
        loudest = np.maximum.accumulate(np.append(self.loudest, loudness))
        heard = np.flatnonzero(loudness >= SILENCE * loudest[1:]) + len(self.held)
        self.held, self.loudest = np.append(self.held, sound), loudest[-1]
        if len(heard):
            self.first, self.last = heard[0] if self.first < 0 else self.first, heard[-1]
        due = np.zeros(0, np.float32)
        if self.between:
            if self.first < 0:
                self.held = self.held[-MARGIN:]
                return due
            start = max(0, self.first - MARGIN)
            if len(self.held) < start + FADE:
                return due
            self.between, due = False, np.zeros(max(0, self.pause - (self.first - start)), np.float32)
            self.held, self.last = self.held[start:], self.last - start
            self.held[:FADE] *= np.linspace(0, 1, FADE, dtype=np.float32)
        quiet = len(self.held) - 1 - self.last
        out, self.held = np.split(self.held, [max(0, len(self.held) - max(FADE, quiet - MARGIN + FADE))])
        self.last -= len(out)
        return np.append(due, out)

    def end(self, pause: int) -> np.ndarray:
        """The last samples of a sound, which another follows after a pause of so many samples, and what is sure of that."""
        kept = np.zeros(0, np.float32)
        if self.between:                # nothing was heard of it
            pause += self.pause
        else:
            kept = self.held[:max(0, self.last + 1 + MARGIN)]
            kept[-FADE:] *= np.linspace(1, 0, len(kept[-FADE:]), dtype=np.float32)
            pause -= len(kept) - 1 - self.last
        sure = max(0, pause - MARGIN)
        self.held, self.first, self.last, self.between, self.pause = self.held[:0], -1, -1, True, pause - sure
        return np.append(kept, np.zeros(sure, np.float32))

    def close(self) -> np.ndarray:
        """The last samples of the last sound."""
        return self.held

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all that the next sound needs."""
        numbers = [int(self.first), int(self.last), int(self.between), int(self.pause)]
        return {"held": torch.from_numpy(self.held.copy()), "loudest": torch.tensor(self.loudest), "numbers": torch.tensor(numbers)}
