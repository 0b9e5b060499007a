"""What a study is: every choice that a number in the report depends on, as frozen dataclasses."""
import dataclasses
import os
import re
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from zlib import crc32

REPOSITORY = Path(__file__).resolve().parent.parent
EMBEDDED = "embedded"           # the corpus and the codec that come with the project

ALPHABET = " aąbcćdeęfghijklłmnńoópqrsśtuvwxyzźż,.?!-:;"        # Polish, 43 symbols, by id; whoever pads uses its length

# How much a frame is told of the text, from least to most. Of the aligned ways the durations are given or predicted.
CONDITIONING = {
    "pooled": "the mean of the encoded text, on every frame",
    "prefix": "the encoded text, before the first frame",
    "utterance": "the encoded text spread evenly over the utterance",
    "word": "the encoded text spread evenly over each word, and the position in the word",
    "phoneme": "the phoneme being said, alone",
    "neighbours": "the phoneme being said, the one before, the two after, and the position in it",
}
STRENGTHS = tuple(CONDITIONING)
SPREAD = ("utterance", "word")                  # of phonemes or characters, as one chooses
ONLY_PHONEMES = ("phoneme", "neighbours")
ALIGNED = SPREAD + ONLY_PHONEMES

# Of the study of speech: the comparison itself, and what is another than in it (README.md has a line for each).
PARTS = ("headline", "budget", "time", "strengths", "prefix", "positions", "guidance", "masked", "units", "encoder", "cores", "sizes",
         "widths", "states", "layers", "recipe")
PRIMARY = ("transformer", "mamba_conv", "mamba", "interleaved")     # the cores that the question is about
WIDTHS = {"mamba": (), "mamba_conv": (3,), "mamba_conv_3_5": (3, 5), "mamba_conv_5_7": (5, 7), "mamba_conv_7_9": (7, 9),
          "mamba_conv_9_11": (9, 11)}           # kernels of the convolutions beside Mamba
# What a core of a matched size is made with today, each switched by itself: projections into the residual stream that
# start small (lib.models.cores), RMSNorm in place of LayerNorm, gated feed-forwards, and normed queries and keys.
RECIPE = ("scaled_init", "rmsnorm", "swiglu", "qk_norm")
# Recipes whose effects are told apart, each with AdamW's beta2: as before, one ingredient more, and all.
RECIPES = (((), 0.999), *(((one,), 0.999) for one in RECIPE), ((), 0.95), (RECIPE, 0.999), (RECIPE, 0.95))
MORE_CORES = ("mamba2", "conv", "transformer_conv", *list(WIDTHS)[2:])


def workspace() -> Path:
    """Folder under which data/runs, data/cache and figures are written (TTS_WORKSPACE, else the repository)."""
    return Path(os.environ.get("TTS_WORKSPACE", REPOSITORY)).resolve()


def described(config: object) -> object:
    """A configuration as a run's identity holds it. A field that came later says in its metadata what was done `before`,
    and is left out where it says just that."""
    if not is_dataclass(config):
        return config
    values = {f: getattr(config, f.name) for f in fields(config)}
    return {f.name: described(value) for f, value in values.items() if "before" not in f.metadata or value != f.metadata["before"]}


def restored(kind: type, described: dict) -> "ModelConfig | TrainConfig | SpeechConfig":
    """The configuration that was described so."""
    values = {f.name: f.metadata["before"] for f in fields(kind) if "before" in f.metadata} | described
    types = {f.name: f.type for f in fields(kind)}
    return kind(**{name: restored(types[name], value) if isinstance(value, dict) else
                   tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True)
class ModelConfig:
    core: str = "transformer"
    size: str = "seed"              # a size of lib.models.cores: seed, matched-3m
    regime: str = "causal"          # or as_reported: the core can see the frame it is asked for; or masked: it sees all but those
    pattern: str = "parallel"       # parallel, or delay: codebook k is k frames late
    conditioning: str = "pooled"    # how the text comes in: see CONDITIONING
    codebooks: int = 4
    language: str = "pl"            # whose rules write the text out
    units: str = "characters"       # what the text is made of, or phonemes
    alphabet: str | tuple[str, ...] = ALPHABET      # what the text is indexed by; of phonemes a tuple
    recipe: tuple[str, ...] = dataclasses.field(default=(), metadata={"before": ()})    # of RECIPE; none at the size seed
    window: int | None = dataclasses.field(default=None, metadata={"before": None})     # frames that attention reads; None: all
    state: int | None = dataclasses.field(default=None, metadata={"before": None})      # of a Mamba's channel; None: as usual
    layers: int | None = dataclasses.field(default=None, metadata={"before": None})     # of equal weight; None: as usual
    rotary: bool = dataclasses.field(default=True, metadata={"before": True})   # positions of attention at a matched size, or none
    dropped: float = dataclasses.field(default=0.0, metadata={"before": 0.0})   # share of texts that training tells nothing of
    encoder: str = dataclasses.field(default="mamba_conv", metadata={"before": "mamba_conv"})   # of the text: or conv

    @property
    def vocabulary(self) -> int:
        return len(self.alphabet)


@dataclass(frozen=True)
class TrainConfig:
    """The original report's protocol: memorise `clips` clips, one a step, until `accuracy` or `steps`."""
    model: ModelConfig = ModelConfig()
    clips: int = 3
    steps: int = 400
    accuracy: float = 0.999         # stop when all clips are right to this
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    clip_norm: float = 1.0
    beta2: float = dataclasses.field(default=0.999, metadata={"before": 0.999})     # of AdamW
    seed: int = 0


@dataclass(frozen=True)
class SpeechConfig:
    """Training on many phrases, to be judged on sentences never heard: warm-up, constant rate, linear cool-down."""
    model: ModelConfig = ModelConfig(size="matched-1m", pattern="delay", conditioning="word")
    steps: int = 800
    batch: int = 8                  # phrases a step
    learning_rate: float = 8e-3
    warmup: int = 50                # steps
    cooldown: float = 0.25          # share of the steps
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    beta2: float = dataclasses.field(default=0.95, metadata={"before": 0.999})      # of AdamW
    validate_every: int = 100       # steps
    seed: int = 0


@dataclass(frozen=True)
class Study:
    name: str
    trial: bool = False             # of the pipeline: its numbers mean nothing, and nothing is judged by them
    cores: tuple[str, ...] = ("transformer", "mamba_conv", "mamba")
    size: str = "seed"
    matched: str = "matched-3m"     # the size at which cost is also measured, parameters equal
    recipe: tuple[str, ...] = RECIPE    # of every model of a matched size
    window: int | None = None       # frames that attention reads at a matched size; None: all
    state: int | None = None        # of a channel of Mamba at a matched size: 4, 16 or 64; None: as usual
    seeds: int = 3
    leaking: tuple[str, ...] = ("transformer", "mamba_conv")  # also trained as reported, one seed
    pattern: str = "parallel"
    conditioning: str = "pooled"
    corpus: str = EMBEDDED          # or the folder of an own corpus
    language: str | None = None     # of an own corpus, where it does not say
    hold_out: str | None = None     # what splits do not share: sentence or speaker; None: the corpus's own splits
    codec: str = EMBEDDED           # or encodec_24khz, or the path of a codec file
    codebooks: int = 4
    voice: str = "pl"               # espeak-ng's, for the embedded corpus
    clips: int = 1                  # the original report's protocol: one clip, 1,500 steps
    steps: int = 1500
    listen_unseen: int = 2          # sentences never trained on, generated in notebook 06
    limit: int = 300                # frames after which generation is cut off
    codec_sentences: int = 8        # held-out sentences on which the codec is measured
    codec_voices: int = 6           # voices it never heard, which say a quarter of them
    recordings: str | None = None   # a folder of folders of recorded speech on which it is measured too
    phrases: int = 0                # texts of the study of speech; 0: there is none
    parts: tuple[str, ...] = PARTS  # of it
    judged: int = 32                # at most so many validation sentences
    tested: int = 100               # and test sentences
    speech_cores: tuple[str, ...] = (*PRIMARY, "pointwise")
    speech_size: str = "matched-1m"
    speech_codebooks: int = 2       # enough to be understood; each one more is a quarter of the time
    alignment: str = "word"         # the headline's conditioning
    units: str = "phonemes"         # of the text where its spans are given, or characters
    speech_seeds: int = 3
    speech_steps: int = 800
    speech_batch: int = 8           # phrases a step
    rates: tuple[float, ...] = (2e-3, 4e-3, 8e-3)   # that each core chooses from at each size, and more where one is at the edge
    rate_steps: int = 800           # of each of the runs that it chooses by
    budgets: tuple[int, ...] = ()   # other numbers of steps of the headline's run, one seed
    control_steps: int = 0          # of the control at equal time; 0: none
    short_steps: int = 800          # of the runs around the headline, one seed
    strengths: tuple[str, ...] = () # other conditionings
    strength_seeds: int = 3
    prefix_steps: int = 0           # of the text before the audio; 0: it is not tried for long
    more_cores: tuple[str, ...] = ()
    other_sizes: tuple[str, ...] = ()
    windows: tuple[int, ...] = ()   # frames that attention reads, and
    states: tuple[int, ...] = ()    # of a channel of Mamba, against quality
    depths: tuple[float, ...] = ()  # times as many layers
    width_seeds: int = 0            # of each of WIDTHS
    spoken_seconds: tuple[int, ...] = (4, 10, 30, 60)   # of texts that the headline's seeds say; (): none
    joined: int = 30                # test sentences that are said as texts of five, on a new state each or on one
    drawn: int = 32                 # at most so many test sentences that the first of them says with tokens drawn
    hearing: int = 1200             # sentences that the recogniser learns from
    hearing_steps: int = 500
    own_hearing_steps: int = 2500   # of the recogniser of an own corpus
    processes: int = 5              # fresh processes behind a headline timing
    repeats: int = 6                # timed repeats of each core in each process
    frames: int = 300               # length of the headline timing: 4 seconds
    lengths: tuple[int, ...] = (75, 300, 1200, 2400, 4800)
    memory_processes: int = 3       # fresh processes behind a headline figure of memory
    length_processes: int = 3       # fresh processes behind the curves against length
    memory_lengths: tuple[int, ...] = (300, 4800)
    latency_texts: int = 30         # test sentences on which it is measured how soon each core speaks
    streams: tuple[int, ...] = (1, 2, 4, 8)     # at once
    latency_minutes: int = 10       # of a text said on one state; 0: none
    again: str = ""                 # when all times are measured once more, such as a date: shown beside the first

    @property
    def label(self) -> str:
        """The folder of figures/ that this study writes: its name, and which own corpus it reads."""
        if self.corpus == EMBEDDED:
            return self.name
        return f"{self.name}-{re.sub(r'[^A-Za-z0-9._-]', '_', Path(self.corpus).name)}-{crc32(self.corpus.encode()):08x}"


WHY = {"windows": (75, 300), "states": (4, 64), "depths": (0.5, 2.0)}
STUDIES = {s.name: s for s in (
    Study("smoke", trial=True, seeds=2, clips=1, steps=6, listen_unseen=1, codec_sentences=2, codec_voices=1, processes=2,
          repeats=2, frames=75, limit=150, lengths=(75, 150), memory_processes=1, length_processes=1, memory_lengths=(75,),
          judged=3, tested=3, speech_cores=("transformer", "pointwise"), speech_seeds=1, speech_steps=3, rates=(1e-3, 2e-3),
          rate_steps=2, short_steps=2, strengths=("prefix",), strength_seeds=1, prefix_steps=2, windows=(20,),
          depths=(0.5,), spoken_seconds=(2,), hearing=24, hearing_steps=3, own_hearing_steps=3,
          joined=0, latency_texts=1, streams=(1,), latency_minutes=0),
    Study("quick", processes=3, repeats=4, lengths=(300, 1200, 2400), length_processes=2, memory_processes=2,
          memory_lengths=(300, 2400), phrases=600, parts=("headline",), judged=8, tested=8, speech_cores=PRIMARY[:3],
          alignment="neighbours", speech_seeds=1, speech_steps=150, speech_batch=4, rates=(8e-3,), drawn=0, spoken_seconds=(),
          own_hearing_steps=300, joined=0, latency_texts=3, streams=(1,), latency_minutes=0),
    Study("standard", phrases=9600, speech_steps=3200, budgets=(800, 1600, 6400), control_steps=5600, strengths=STRENGTHS,
          prefix_steps=4000, more_cores=MORE_CORES, other_sizes=("matched-3m", "seed"), width_seeds=3, **WHY),
    Study("full", seeds=5, processes=9, repeats=100, codec_sentences=40, phrases=24_000, speech_seeds=5, speech_steps=12_000,
          budgets=(3000, 6000, 24_000), speech_size="matched-3m", speech_codebooks=4, rate_steps=1600, control_steps=20_000,
          short_steps=3000, strengths=STRENGTHS, prefix_steps=12_000, more_cores=MORE_CORES, other_sizes=("seed", "matched-1m"),
          width_seeds=3, lengths=(75, 150, 300, 600, 1200, 2400, 4800, 9600, 19200), memory_lengths=(300, 1200, 4800, 19200), **WHY),
)}

CHOICES = {"pattern": ("parallel", "delay"), "conditioning": ("pooled", "prefix"), "alignment": ALIGNED,
           "units": ("characters", "phonemes"), "hold_out": ("sentence", "speaker")}


def study_of(parameters: dict) -> Study:
    """The study of a notebook: its variable `study`, and what other variables named like a field of it say."""
    names = {f.name for f in fields(Study)} - {"name"}
    return study(parameters["study"], **{name: parameters[name] for name in names & parameters.keys()})


def study(name: str, **overrides) -> Study:
    """The study of that name, with the fields that are not None in `overrides` replaced."""
    if name not in STUDIES:
        raise ValueError(f"no study {name!r}: choose one of {', '.join(STUDIES)}")
    known = {f.name: f.type for f in fields(Study)}
    for field, value in overrides.items():
        if field not in known or field == "name":
            raise ValueError(f"no parameter {field!r} in a study: choose one of {', '.join(known)}")
        if value is not None and known[field] in (int, int | None) and (not isinstance(value, int) or value < 0):
            raise ValueError(f"parameter {field} is {value!r}: give a whole number, 0 or more")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides.items() if v is not None}
    for field, choices in CHOICES.items():
        if field in given and given[field] not in choices:
            raise ValueError(f"no {field} {given[field]!r}: choose {' or '.join(choices)}")
    for field, whole, choices in (("parts", "the study of speech", PARTS), ("recipe", "a recipe", RECIPE)):
        if unknown := [part for part in given.get(field, ()) if part not in choices]:
            raise ValueError(f"no part {unknown[0]!r} of {whole}: choose from {', '.join(choices)}")
    for field in ("corpus", "codec", "recordings"):
        path = Path(given.get(field, EMBEDDED)).expanduser()
        if str(path) != EMBEDDED and (field != "codec" or path.is_file()):
            given[field] = str(path.resolve())
    if (recordings := given.get("recordings")) and not Path(recordings).is_dir():
        raise ValueError(f"no folder {recordings}: recordings are folders of sound files in a folder")
    return replace(STUDIES[name], **given)
