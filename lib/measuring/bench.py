"""`make bench`: what this project computes, timed beside what others compute the same with, in one table.

In every comparison the contenders run in turn (A B A B), warm, in this process; the ratio is the peer's median over
ours. A core's training step also stands beside its floor: the time that the bytes it must move and the FLOPs it must do
take at the bandwidth of a large copy and the rate of a large product, measured in the same turns.
"""
from .. import command

if __name__ == "__main__":
    command.run("lib.measuring.bench")

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from statistics import median

import pandas as pd
import torch
from torch import Tensor, nn

from .. import records
from ..config import ModelConfig, TrainConfig
from ..data.codec import import_past_torchaudio
from ..metrics import cost
from ..models.build import DEVICE, build
from ..models.cores import SIZES, Core, build_core
from ..models.scan import selective_scan, selective_scan_reference
from ..progress import progress_bar
from ..training.optimiser import flops, make_optimiser
from .profile import code_of, decode_times, timed

CORES, SEED, MATCHED = ("transformer", "mamba_conv", "mamba"), "seed", "matched-3m"
ROUNDS = 6                  # timed runs of each contender, after one to warm up
SECONDS = 8                 # of a contender in one comparison, after which it is through
DECODED = 16                # frames of a timed decoding
RERUN = 1200                # frames up to which decoding without a cache is timed
QUADRATIC = 1_000_000       # layers × batch × frames² up to which a loop over slices of one (batch, channels, frames,
                            # states) is timed: the gradient of each slice is as large as what it was cut from
CHANNELS, STATES = 512, 16  # of the scan
SIDE = 2048                 # of the square matrices of the product that gives the rate
COPIED = 2 ** 26            # float32 numbers of the copy that gives the bandwidth


def scan_materialised(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """The algorithm of mamba_ssm's selective_scan_ref: decay and input of all steps at once, then a loop over them."""
    decay = torch.exp(torch.einsum("bld,dn->bdln", dt, A))
    inputs = torch.einsum("bld,bln,bld->bdln", dt, B, x)
    h, ys = 0, []
    for t in range(x.shape[1]):
        h = decay[:, :, t] * h + inputs[:, :, t]                        # (batch, channels, states)
        ys.append(torch.einsum("bdn,bn->bd", h, C[:, t]))
    return torch.stack(ys, 1) + D * x


def scan_mambapy(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """mambapy's parallel scan, prepared as mambapy does."""
    from mambapy.pscan import pscan
    h = pscan(torch.exp(dt[..., None] * A), dt[..., None] * B[:, :, None] * x[..., None])
    return (h @ C[..., None])[..., 0] + D * x                           # h (batch, length, channels, states)


def scan_contenders() -> dict[str, Callable[..., Tensor]]:
    """Ways from x, dt, A, B, C, D (as in lib.models.scan) to y, ours first."""
    contenders = {"ours": lambda *s: selective_scan(*s)[0], "plain loop": lambda *s: selective_scan_reference(*s)[0],
                  "mambapy pscan": scan_mambapy, "selective_scan_ref": scan_materialised}
    if DEVICE.type == "cuda":
        with suppress(ImportError):         # without mamba_ssm, ours is the Triton scan
            from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

            from ..models.scan_triton import selective_scan_triton
            contenders["mamba_ssm"] = lambda x, dt, A, B, C, D: selective_scan_fn(x.mT, dt.mT, A, B.mT, C.mT, D).mT
            contenders["our Triton scan"] = lambda *s: selective_scan_triton(*s)[0]
    return contenders


@dataclass
class Prefix:
    x: Tensor           # (batch, capacity, width)
    frames: int = 0     # there so far


class TorchEncoder(nn.Module):
    """nn.TransformerEncoder of our transformer's shape under a float mask. It decodes by running the prefix again."""

    def __init__(self, core: Core):
        super().__init__()
        ours = core.layers[0]
        down = ours.feed_forward.down
        width, hidden = down.out_features, down.in_features
        layer = nn.TransformerEncoderLayer(width, ours.attention.heads, hidden, dropout=0, batch_first=True,
                                           norm_first=ours.pre_norm)
        self.layers = nn.TransformerEncoder(layer, len(core.layers), nn.LayerNorm(width) if ours.pre_norm else None,
                                            enable_nested_tensor=False)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:                             # (batch, frames, width)
        return self.layers(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device))

    def initial_state(self, batch: int, frames: int) -> list[Prefix]:
        return [Prefix(next(self.parameters()).new_zeros(batch, frames, self.width))]

    def step(self, x: Tensor, state: list[Prefix]) -> Tensor:           # (batch, width)
        prefix, = state
        prefix.x[:, prefix.frames] = x
        prefix.frames += 1
        return self(prefix.x[:, :prefix.frames])[:, -1]


class HuggingFaceMamba(nn.Module):
    """As many Hugging Face Mamba blocks as our core has, of the same shape, as they run without kernels."""

    def __init__(self, core: Core):
        super().__init__()
        hf = import_past_torchaudio("transformers.models.mamba.modeling_mamba")
        hf.logging.set_verbosity_error()                                # else it lists the kernels it misses
        ours = core.layers[0].mamba
        self.config = hf.MambaConfig(hidden_size=ours.in_proj.in_features, state_size=ours.d_state,
                                     conv_kernel=ours.d_conv, num_hidden_layers=len(core.layers))
        self.config.intermediate_size = ours.d_inner
        self.layers = nn.ModuleList(hf.MambaBlock(self.config, i) for i in range(len(core.layers)))
        for layer in self.layers:
            layer.mixer.init_mamba_weights()
        self.cache = hf.DynamicCache

    def forward(self, x: Tensor, cache=None) -> Tensor:                 # (batch, frames, width)
        for layer in self.layers:
            x = layer(x, cache=cache)
        return x

    def initial_state(self, batch: int, frames: int) -> list:
        return [self.cache(config=self.config)]

    def step(self, x: Tensor, state: list) -> Tensor:                   # (batch, width)
        return self(x[:, None], cache=state[0])[:, 0]


PEERS = {"transformer": ("nn.TransformerEncoder", TorchEncoder), "mamba": ("Hugging Face Mamba", HuggingFaceMamba)}


def in_turn(contenders: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """What each contender returns, its milliseconds, run after run; the first turn warms up and does not count. One
    that has taken SECONDS, and has two runs, runs no more."""
    runs, spent = {name: [] for name in contenders}, dict.fromkeys(contenders, 0.0)
    for turn in range(1 + ROUNDS):
        for name, run in contenders.items():
            if len(runs[name]) < 2 or spent[name] < SECONDS:
                begin = time.perf_counter()
                milliseconds = run()
                if turn:
                    runs[name].append(milliseconds)
                    spent[name] += time.perf_counter() - begin
    return runs


def row(what: str, size: str, batch: int, frames: int, ours: list[float], peer: str = "", theirs: list[float] = (),
        note: str = "", floor: dict | None = None) -> dict:
    """A line of the table, in milliseconds: `ratio` says how many times longer the peer takes, `over_floor` how many
    times longer we take than the floor. A peer without runs was left out."""
    ours, theirs = ({"median": median(ms), "min": min(ms), "max": max(ms), "n": len(ms), "runs": ms} if ms else None
                    for ms in (ours, theirs))
    return {"what": what, "size": size, "batch": batch, "frames": frames, "ours": ours, "peer": peer, "theirs": theirs,
            "ratio": theirs["median"] / ours["median"] if theirs else None, "floor": floor,
            "note": note or ("left out: too slow" if peer and not theirs else ""),
            "over_floor": ours["median"] / floor["ms"] if floor else None}


def scan(batch: int, frames: int) -> list[dict]:
    """Rows of the selective scan, forward and backward, against every other way to compute it."""
    sizes = (batch, frames, CHANNELS), (batch, frames, STATES)
    x, dy, B, C, D = (torch.randn(s, device=DEVICE) for s in (sizes[0], sizes[0], sizes[1], sizes[1], (CHANNELS,)))
    dt = torch.empty_like(x).uniform_(1e-3, 1e-1)
    A = -torch.arange(1, STATES + 1, device=DEVICE).float().repeat(CHANNELS, 1)
    inputs = [s.requires_grad_() for s in (x, dt, A, B, C, D)]
    contenders = scan_contenders()
    runs = in_turn({name: lambda f=f: timed(lambda: torch.autograd.grad(f(*inputs), inputs, dy))[1]
                    for name, f in contenders.items()
                    if name != "selective_scan_ref" or batch * frames ** 2 <= QUADRATIC})
    return [row("selective_scan", f"{CHANNELS} × {STATES}", batch, frames, runs["ours"], name, runs.get(name, []))
            for name in contenders if name != "ours"]


def training_step(core: nn.Module, x: Tensor) -> Callable[[], float]:
    """A call that takes a training step of a core on x (batch, frames, width) and returns its milliseconds."""
    core, optimiser, dy = core.to(DEVICE), make_optimiser(core, TrainConfig()), torch.randn_like(x)

    def step() -> None:
        core(x).backward(dy)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        x.grad = None
    return lambda: timed(step)[1]


def core_floor(core: Core, x: Tensor, rate: float, bandwidth: float) -> dict:
    """The least milliseconds of a training step on x, at `rate` FLOPs and `bandwidth` bytes a second, and why."""
    batch, frames, _ = x.shape
    counted = flops(core, lambda: core(x).sum().backward(), batch, frames)
    moved = cost.training_bytes(cost.parameters(core), cost.saved_bytes(lambda: core(x), core))
    return {"ms": 1e3 * max(counted / rate, moved / bandwidth), "flops": counted, "bytes": moved, "rate": rate,
            "bandwidth": bandwidth}


def new_cores(size: str) -> dict[str, Core]:
    return {name: build_core(name, size, causal=True).to(DEVICE) for name in CORES}


def training(size: str, batch: int, frames: int) -> list[dict]:
    """Rows of the training step (forward, backward, optimiser) of each core alone, against its peer and its floor."""
    cores, x = new_cores(size), torch.randn(batch, frames, SIZES[size].width, device=DEVICE, requires_grad=True)
    a, b, source = (torch.randn(s, device=DEVICE) for s in ((SIDE, SIDE), (SIDE, SIDE), COPIED))
    product, copy = torch.empty_like(a), torch.empty_like(source)
    contenders = {name: training_step(core, x) for name, core in cores.items()}
    for name, (peer, make) in PEERS.items():
        if name == "transformer" or len(cores[name].layers) * batch * frames ** 2 <= QUADRATIC:
            contenders[peer] = training_step(make(cores[name]), x)
    runs = in_turn(contenders | {"product": lambda: timed(lambda: torch.mm(a, b, out=product))[1],
                                 "copy": lambda: timed(lambda: copy.copy_(source))[1]})
    rate = 2 * SIDE ** 3 / (1e-3 * median(runs["product"]))
    bandwidth = 2 * 4 * COPIED / (1e-3 * median(runs["copy"]))
    peers = {name: PEERS.get(name, ("",))[0] for name in CORES}
    return [row(name, size, batch, frames, runs[name], peers[name], runs.get(peers[name], []),
                floor=core_floor(core, x, rate, bandwidth)) for name, core in cores.items()]


def decoding(size: str, frames: int) -> list[dict]:
    """Rows of decoding the last DECODED of `frames` frames, per frame: CodecLM.step with each core and each peer in
    the place of the core."""
    models = {name: build(ModelConfig(name, size)).eval() for name in CORES}
    for name, (peer, make) in PEERS.items():
        if name == "mamba" or frames <= RERUN:
            models[peer] = build(ModelConfig(name, size))
            models[peer].core = make(models[peer].core).to(DEVICE)
            models[peer].eval()
    start = frames - DECODED
    runs = in_turn({name: lambda m=m: decode_times(m, start, DECODED)["decode_ms"] for name, m in models.items()})
    peers = {name: PEERS.get(name, ("",))[0] for name in CORES}
    return [row(name, size, 1, frames, runs[name], peer, runs.get(peer, [])) for name, peer in peers.items()]


def lengths(batch: int, frames: int) -> list[dict]:
    """Rows of the training step of each core of the matched size at a length, where memory suffices: for what is saved
    for backward, which is linear in frames, and half as much again for what is in flight."""
    cores = new_cores(MATCHED)
    x, short = (torch.randn(*shape, SIZES[MATCHED].width, device=DEVICE, requires_grad=True)
                for shape in ((batch, frames), (1, min(frames, 300))))
    need = {name: 1.5 * cost.saved_bytes(lambda core=core: core(short), core) * x.numel() / short.numel()
            for name, core in cores.items()}
    runs = in_turn({name: training_step(core, x) for name, core in cores.items() if need[name] < cost.available()})
    return [row(name, MATCHED, batch, frames, runs.get(name, []),
                note="" if name in runs else f"needs {need[name] / 2 ** 30:.0f} GiB") for name in cores]


COMPARISONS = (
    *(("scan and its gradient", scan, a) for a in ((8, 300), (1, 300), (1, 3000))),
    *(("training step", training, (size, batch, 300)) for size in (SEED, MATCHED) for batch in (8, 1)),
    *(("decoding, per frame", decoding, a) for a in (
        (SEED, 300), *((MATCHED, frames) for frames in (300, 1200, 4800, 12_000, 24_000, 48_000)))),
    *(("training step against length", lengths, a) for a in (
        (8, 1200), (8, 4800), (1, 1200), (1, 4800), (1, 12_000))),
)


def spread_over_floor(rows: list[dict]) -> list[dict]:
    """For each size and shape how far the cores' steps are above their floors, and the largest ratio between cores."""
    shapes = {}
    for r in rows:
        if r["floor"]:
            shapes.setdefault((r["size"], r["batch"], r["frames"]), {})[r["what"]] = r["over_floor"]
    return [{"size": size, "batch": batch, "frames": frames, "over_floor": over,
             "largest_ratio": max(over.values()) / min(over.values())}
            for (size, batch, frames), over in shapes.items()]


def table(rows: list[dict]) -> str:
    """The rows as text: median (least to most, number of runs) in milliseconds."""
    def number(x: float | None) -> str:
        return "" if x is None else f"{x:,.0f}" if x >= 100 else f"{x:.3g}"

    def times(t: dict | None) -> str:
        return f"{number(t['median'])} ({number(t['min'])} to {number(t['max'])}, n = {t['n']})" if t else ""

    return pd.DataFrame([{
        "what": f"{r['group']}: {r['what']}", "size": r["size"], "batch": r["batch"], "frames": r["frames"],
        "ours, ms": times(r["ours"]), "peer": r["peer"], "peer, ms": times(r["theirs"]) or r["note"],
        "peer / ours": number(r["ratio"]), "floor, ms": number(r["floor"] and r["floor"]["ms"]),
        "step / floor": number(r["over_floor"])} for r in rows]).to_string(index=False)


def identity() -> dict:
    """What a bench depends on; the hash is its record's key."""
    return {"comparisons": [(group, *arguments) for group, _, arguments in COMPARISONS], "rounds": ROUNDS,
            "seconds": SECONDS, "peers": {p: _version(p) for p in ("mambapy", "transformers")},
            "here": records.environment_identity(),
            "code": [records.code_digest("measuring/bench.py"),
                     code_of([asdict(ModelConfig(core, size)) for core in CORES for size in (SEED, MATCHED)])]}


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)


def bench() -> records.Record:
    """Measure everything anew, and store it in place of an earlier bench of the same code on the same machine."""
    what, rows, bar = identity(), [], progress_bar(len(COMPARISONS), "bench", unit="comparison")
    for group, measure, arguments in COMPARISONS:
        torch.manual_seed(0)
        rows += [{"group": group} | r for r in measure(*arguments)]
        bar.update()
    bar.close()
    return records.save("bench", what, {"rows": rows, "floors": spread_over_floor(rows)})


def main() -> None:
    argparse.ArgumentParser(prog="python -m lib.measuring.bench", description=__doc__.splitlines()[0]).parse_args()
    record = bench()
    print(table(record.result["rows"]))
    for f in record.result["floors"]:
        over = ", ".join(f"{core} {times:.1f}" for core, times in f["over_floor"].items())
        print(f"step / floor, {f['size']}, {f['batch']} × {f['frames']}: {over}; "
              f"largest ratio {f['largest_ratio']:.2f}")
    print(", ".join(f"{name} {value}" for name, value in record.environment.items()))
    print(record.folder / "record.json")
