"""What each core costs in time and memory: measured in fresh processes, warm, with the cores in turn (A B A B).

No measurement sees what an earlier one left behind: each process is a copy of one that has imported what is needed and done
nothing. (On a GPU, which no copy can use, each starts from nothing.)
"""
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from .. import keep_freed_memory, records
from ..config import ALIGNED, PRIMARY, ModelConfig, Study, TrainConfig
from ..data.codec import BINS, FRAME_RATE, Codec, load_codec
from ..data.corpus import Corpus
from ..metrics import cost
from ..models.build import DEVICE, build
from ..models.codec_lm import TIMING, CodecLM, DecodingState, Guide, losses
from ..models.cores import LACKING
from ..progress import progress_bar
from ..speaking.recorded import Step, stepper
from ..training.memorise import model_of
from ..training.optimiser import make_optimiser

CHARACTERS = 48         # of text in every measurement
WARM_UP = 16            # frames of an utterance, before one is timed in each process
MEMORY_STEPS = 2        # training steps of a memory measurement: from the second on Adam's moments are there
LEAST_SECONDS = 0.2     # spent on each core at each length of the length curve, in each process
LEAST_ROUNDS = 3        # of all cores there: a process is its median


def words(model: CodecLM, frames: int) -> tuple[Tensor, Guide | None]:
    """Random text (1, characters) and, where the conditioning is aligned, a guide that spreads it over the frames."""
    text = torch.randint(model.config.vocabulary, (1, CHARACTERS), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    if model.config.conditioning not in ALIGNED:
        return text, None
    where = torch.arange(frames, device=DEVICE)[None] * CHARACTERS // frames
    return text, Guide(where, torch.zeros(1, frames, TIMING, device=DEVICE))


def example(model: CodecLM, frames: int) -> tuple[Tensor, Tensor, Tensor, Guide | None]:
    """Random codes (1, codebooks, frames), lengths (1,), and the text and guide of `words`."""
    codes = torch.randint(BINS, (1, model.codebooks, frames), generator=torch.Generator().manual_seed(0))
    return codes.to(DEVICE), torch.tensor([frames], device=DEVICE), *words(model, frames)


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(function: Callable):
    """What the function returns, and its milliseconds."""
    synchronise()
    begin = time.perf_counter()
    result = function()
    synchronise()
    return result, 1e3 * (time.perf_counter() - begin)


def step_times(model: CodecLM, optimiser: torch.optim.Optimizer, batch: tuple) -> dict[str, float]:
    """Milliseconds of the parts of one training step; the optimiser's part holds zeroing and clipping."""
    codes, lengths, text, guide = batch

    def forward():
        cross_entropy, end_loss, _ = losses(*model(codes, text, guide), codes, lengths)
        return cross_entropy + end_loss

    def update():
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    loss, forward_ms = timed(forward)
    _, backward_ms = timed(loss.backward)
    _, optimiser_ms = timed(update)
    return {"forward_ms": forward_ms, "backward_ms": backward_ms, "optimiser_ms": optimiser_ms,
            "step_ms": forward_ms + backward_ms + optimiser_ms}


@torch.inference_mode()
def decode_times(model: CodecLM, start: int, frames: int) -> dict[str, float]:
    """Milliseconds of what comes before the first frame, and per frame of greedy decoding `frames` frames from position
    `start`; the first, in which a GPU records the step, is not timed."""
    state, prefill_ms = timed(opening(model, start + frames))
    move(state, start)
    step = stepper(model, state)
    decode(model, step, 1)
    _, ms = timed(lambda: decode(model, step, frames - 1))
    return {"prefill_ms": prefill_ms, "decode_ms": ms / (frames - 1)}


def opening(model: CodecLM, frames: int) -> Callable[[], DecodingState]:
    """A call that makes the state before the first frame of an utterance of `frames`, from the text on."""
    text, guide = words(model, frames)
    return lambda: model.initial_state(text, frames, None if guide is None else model.told(text, guide))


def decode(model: CodecLM, step: Step, frames: int) -> None:
    """Greedy decoding of `frames` frames by steps of the model."""
    codes = torch.zeros(1, model.codebooks, dtype=torch.long, device=DEVICE)
    for _ in range(frames):
        logits, _ = step(codes)
        codes = logits.argmax(-1)


@torch.inference_mode()
def first_codes(model: CodecLM, frames: int, room: int) -> float:
    """Milliseconds from the text in hand to all codes of the first `frames` frames, of an utterance of up to `room`."""
    late = (model.codebooks - 1) * (model.config.pattern == "delay")    # frames that the last codebook is late
    begin = opening(model, room + late)
    return timed(lambda: decode(model, stepper(model, begin()), frames + late))[1]


def first_sound(codec: Codec, codebooks: int) -> tuple[int, bool]:
    """Decode frame after frame until samples come: how many frames they took, and whether the codec streams. One that
    does not decodes its first frame as a whole."""
    frame = np.zeros((codebooks, 1), np.int16)
    try:
        stream = codec.stream()
    except ValueError:
        codec.decode(frame)
        return 1, False
    frames = 1
    while not len(stream.step(frame)):
        frames += 1
    return frames, True


def move(state: DecodingState, frames: int) -> None:
    """Put a fresh decoding state at a position: a cache counts as filled; a recurrent state weighs the same anywhere."""
    state.frames = frames
    layers = list(state.core)
    for layer in layers:
        if isinstance(layer, list):             # of branches side by side
            layers += layer
        elif hasattr(layer, "frames"):
            layer.frames = state.characters + frames


def task_steps(configs: list[dict], frames: int, repeats: int, codec: str | None) -> dict:
    """Headline timings in this process: under `cores` {core: {part: [milliseconds of each repeat]}}, under `sound` those
    of the codec until it gives its first samples, how many frames it needs for them, and whether it streams.

    A core's `decode_ms` are the mean over the frames of a whole utterance; its `first_audio_ms` are from the text in hand
    to those samples: prefill, steps, codec."""
    torch.manual_seed(0)
    loaded = load_codec(codec) if codec else None
    sound = {"ms": []} if codec else None
    models = {c["core"]: build(ModelConfig(**c)) for c in configs}
    optimisers = {core: make_optimiser(model, TrainConfig()) for core, model in models.items()}
    batches = {core: example(model, frames) for core, model in models.items()}
    result = {core: {} for core in models}
    for repeat in range(-2, repeats):                                   # two warm-up rounds
        if codec:
            (needed, streams), codec_ms = timed(lambda: first_sound(loaded, configs[0]["codebooks"]))
            sound |= {"frames": needed, "streams": streams, "ms": sound["ms"] + [codec_ms] * (repeat >= 0)}
        for core, model in models.items():
            times = step_times(model, optimisers[core], batches[core])
            if repeat in (-1, 0):
                times |= decode_times(model, 0, min(frames, WARM_UP) if repeat else frames)
            if codec:
                times["first_audio_ms"] = first_codes(model, needed, frames) + codec_ms
            if repeat >= 0:
                for part, ms in times.items():
                    result[core].setdefault(part, []).append(ms)
    return {"cores": result, "sound": sound}


def task_memory(config: dict, frames: int) -> dict:
    """Bytes above this process before the model: of decoding to `frames`, then of training steps at that length."""
    keep_freed_memory(False)            # so that what is resident is in use
    with cost.measure_memory() as decoding:
        model = build(ModelConfig(**config))
        decode_times(model, frames - 8, 8)
        state_bytes = model.core.state_bytes(frames + CHARACTERS * (model.config.conditioning == "prefix"))
    del model
    with cost.measure_memory() as training:
        model = build(ModelConfig(**config))
        optimiser = make_optimiser(model, TrainConfig())
        batch = example(model, frames)
        for _ in range(MEMORY_STEPS):
            step_times(model, optimiser, batch)
    return {"frames": frames, "decode_peak": decoding.peak, "state_bytes": state_bytes,
            "train_peak": training.peak, "train_average": training.average}


def task_lengths(configs: list[dict], lengths: list[int]) -> dict:
    """Training step and decoding against length: {core: [{frames, step_ms: [...], decode_ms: [...]}]}."""
    torch.manual_seed(0)
    models = {c["core"]: build(ModelConfig(**c)) for c in configs}
    result = {core: [] for core in models}
    for frames in lengths:
        rows = {core: {"frames": frames, "step_ms": [], "decode_ms": []} for core in models}
        optimisers = {core: make_optimiser(model, TrainConfig()) for core, model in models.items()}
        batches = {core: example(model, frames) for core, model in models.items()}
        for core, model in models.items():                              # warm up this shape
            step_times(model, optimisers[core], batches[core])
            decode_times(model, frames - 16, 16)
        until, rounds = time.perf_counter() + LEAST_SECONDS * len(models), 0
        while rounds < LEAST_ROUNDS or time.perf_counter() < until:
            rounds += 1
            for core, model in models.items():
                rows[core]["step_ms"].append(step_times(model, optimisers[core], batches[core])["step_ms"])
                rows[core]["decode_ms"].append(decode_times(model, frames - 16, 16)["decode_ms"])
        for core in models:
            result[core].append(rows[core])
    return result


def task_codec(codec: str, codebooks: int, frames: int, repeats: int) -> dict:
    """Milliseconds of encoding and decoding `frames` frames."""
    loaded = load_codec(codec)
    codes = torch.randint(BINS, (codebooks, frames), generator=torch.Generator().manual_seed(0)).numpy()
    audio = loaded.decode(codes)
    loaded.encode(audio, codebooks)
    return {"decode_ms": [timed(lambda: loaded.decode(codes))[1] for _ in range(repeats)],
            "encode_ms": [timed(lambda: loaded.encode(audio, codebooks))[1] for _ in range(repeats)]}


def fresh() -> multiprocessing.context.BaseContext:
    """What starts a fresh process."""
    context = multiprocessing.get_context("spawn" if DEVICE.type == "cuda" else "forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])     # the latter is imported by an optimiser's first step
    return context


def in_fresh_process(task: Callable[..., dict], **arguments) -> dict:
    """What a task of this module returns in a process of its own."""
    with ProcessPoolExecutor(1, fresh()) as pool:
        try:
            return pool.submit(task, **arguments).result()
        except BrokenProcessPool:
            raise RuntimeError(f"{task.__name__}: its process was killed, perhaps for want of memory") from None


def models_of(study: Study, corpus: Corpus) -> list[ModelConfig]:
    """The model of each core of a study, at its size."""
    return [model_of(study, core, study.size, corpus.language, corpus.alphabet) for core in study.cores]


def equal_models(study: Study, corpus: Corpus) -> list[ModelConfig]:
    """Models with equal parameters: where the study is one of speech at the size of that, and of its cores but the control too."""
    size, spoken = (study.speech_size, study.speech_cores) if study.phrases else (study.matched, ())
    cores = dict.fromkeys((*study.cores, *(core for core in spoken if core in PRIMARY)))
    return [model_of(study, core, size, corpus.language, corpus.alphabet) for core in cores if core not in LACKING.get(size, ())]


def code_of(configs: list[dict]) -> str:
    """What the source says of everything that these models run through, and of how it is timed: a digest that another core
    does not change."""
    todo = {type(part).__module__ for config in configs for part in CodecLM(ModelConfig(**config)).modules()}
    seen = {"lib.models.cores"}                                         # the registry
    while todo := {name for name in todo if name.startswith("lib.models.")} - seen:
        seen |= todo
        todo = {getattr(value, "__module__", None) or "" for name in todo for value in vars(sys.modules[name]).values()}
    return records.code_digest("__init__.py", "measuring/profile.py", "speaking/recorded.py", "training/optimiser.py",
                               "metrics/cost.py", "data/codec.py",
                               *(name.removeprefix("lib.").replace(".", "/") + ".py" for name in seen))


def _record(name: str, configs: list[dict], settings: dict, measure: Callable[[], dict], again: str = "") -> records.Record:
    what = {"profile": name, "configs": configs, **settings, "here": records.environment_identity(),
            "code": code_of(configs)} | ({"again": again} if again else {})
    return records.find("profile", what) or records.save("profile", what, measure())


def profile_steps(study: Study, corpus: Corpus, models: list[ModelConfig]) -> records.Record:
    """Headline timings of models, one of each core: per process, core and part the milliseconds of each repeat."""
    configs, codec = [asdict(model) for model in models], corpus.codec
    size = ", ".join(dict.fromkeys(model.size for model in models))
    settings = {"frames": study.frames, "repeats": study.repeats, "processes": study.processes,
                "codec": codec and codec.identity}

    def measure() -> dict:
        bar, processes = progress_bar(study.processes, f"timing, size {size}"), []
        for _ in range(study.processes):
            processes.append(in_fresh_process(task_steps, configs=configs, frames=study.frames, repeats=study.repeats,
                                              codec=codec and codec.source))
            bar.update()
        bar.close()
        sizes = {c["core"]: (cost.parameters(m), cost.parameters(m.core))
                 for c in configs for m in [build(ModelConfig(**c))]}
        sounds = [p["sound"] for p in processes]
        return {"size": size, "processes": [p["cores"] for p in processes], "decoded": study.frames,
                "sound": codec and {"codec": codec.name, **sounds[0], "ms": [s["ms"] for s in sounds]},
                "parameters": {c: p for c, (p, _) in sizes.items()},
                "core_parameters": {c: p for c, (_, p) in sizes.items()}}
    return _record("steps", configs, settings, measure, study.again)


def profile_memory(models: list[ModelConfig], lengths: tuple[int, ...], processes: int) -> records.Record:
    """Peak and average memory of models, one of each core, at each length, each measured in `processes` fresh processes."""
    configs, size = [asdict(model) for model in models], models[0].size
    settings = {"lengths": lengths, "processes": processes}

    def measure() -> dict:
        tasks = [(process, frames, config) for process in range(processes) for frames in lengths for config in configs]
        rows: dict[str, list] = {model.core: [] for model in models}
        bar = progress_bar(len(tasks), f"memory, size {size}")
        with ThreadPoolExecutor(2) as pool:         # memory, unlike time, is the same with a neighbour
            measured = pool.map(lambda task: in_fresh_process(task_memory, config=task[2], frames=task[1]), tasks)
            for (process, _, config), row in zip(tasks, measured):
                rows[config["core"]].append({"process": process, **row})
                bar.update()
        bar.close()
        return {"size": size, "cores": rows}
    return _record("memory", configs, settings, measure)


def profile_lengths(study: Study, models: list[ModelConfig]) -> records.Record:
    """Training step and decoding time of models, one of each core, against length, in several fresh processes."""
    configs, size = [asdict(model) for model in models], models[0].size
    settings = {"lengths": study.lengths, "processes": study.length_processes}

    def measure() -> dict:
        bar, processes = progress_bar(study.length_processes, f"lengths, size {size}"), []
        for _ in range(study.length_processes):
            processes.append(in_fresh_process(task_lengths, configs=configs, lengths=study.lengths))
            bar.update()
        bar.close()
        return {"size": size, "processes": processes}
    return _record("lengths", configs, settings, measure, study.again)


def profile_codec(study: Study, corpus: Corpus) -> records.Record | None:
    """Encoding and decoding time of the codec on a clip of the headline length; None where no codec is."""
    if corpus.codec is None:
        return None
    settings = {"codec": corpus.codec.identity, "codebooks": corpus.codebooks, "frames": study.frames,
                "repeats": study.repeats}

    def measure() -> dict:
        return {"seconds": study.frames / FRAME_RATE} | in_fresh_process(
            task_codec, codec=corpus.codec.source, codebooks=corpus.codebooks, frames=study.frames, repeats=study.repeats)
    return _record("codec", [], settings, measure)
