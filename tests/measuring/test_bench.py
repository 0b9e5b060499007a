"""The peers of the bench compute what we compute, and its rows hold what the table says."""
import pytest
import torch
from torch.testing import assert_close

from lib import records
from lib.measuring import bench
from lib.metrics import cost
from lib.models.cores import build_core
from lib.models.scan import selective_scan

TORCH_NAMES = {"attention.qkv.": "self_attn.in_proj_", "attention.out.": "self_attn.out_proj.",
               "feed_forward.up.": "linear1.", "feed_forward.down.": "linear2.", "norm1.": "norm1.", "norm2.": "norm2."}


@pytest.fixture
def hugging_face():
    """The Hugging Face blocks for a core, where they import."""
    def make(core):
        try:
            return bench.HuggingFaceMamba(core)
        except ModuleNotFoundError as error:
            pytest.skip(f"the peer does not import: {error}")
    return make


@pytest.fixture
def few(monkeypatch):
    """A bench of two short rounds, on small tensors."""
    for name, value in {"ROUNDS": 2, "DECODED": 4, "CHANNELS": 32, "SIDE": 64, "COPIED": 1000}.items():
        monkeypatch.setattr(bench, name, value)


@pytest.mark.parametrize("peer", ["plain loop", "mambapy pscan", "selective_scan_ref"])
def test_the_scans_agree_with_ours_gradients_included(peer):
    if "mambapy" in peer:
        pytest.importorskip("mambapy", reason="the peer does not import")
    x, B, C, dy = (torch.randn(2, 37, n) for n in (24, 16, 16, 24))
    inputs = [x, torch.rand(2, 37, 24) / 10, -torch.rand(24, 16) * 8, B, C, torch.randn(24)]
    inputs = [s.requires_grad_() for s in inputs]
    y, y_ours = bench.scan_contenders()[peer](*inputs), selective_scan(*inputs)[0]
    assert_close(y, y_ours, rtol=1e-4, atol=1e-4)
    for gradient, ours in zip(torch.autograd.grad(y, inputs, dy), torch.autograd.grad(y_ours, inputs, dy)):
        assert_close(gradient, ours, rtol=1e-4, atol=1e-4)


def test_a_hugging_face_mixer_with_our_weights_is_our_mamba(hugging_face):
    core = build_core("mamba", "matched-3m", causal=True)
    peer, x = hugging_face(core), torch.randn(2, 21, 256)
    assert len(peer.layers) == len(core.layers)
    for ours, theirs in zip(core.layers, peer.layers):
        theirs.mixer.load_state_dict(ours.mamba.state_dict())
        assert_close(theirs.mixer(x), ours.mamba(x), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_hugging_face_step_is_its_forward(hugging_face):
    peer, x = hugging_face(build_core("mamba", "seed", causal=True)), torch.randn(2, 9, 256)
    state = peer.initial_state(2, 9)
    assert_close(torch.stack([peer.step(frame, state) for frame in x.unbind(1)], 1), peer(x), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_torch_encoder_with_our_weights_is_our_transformer_forward_and_step():
    core, x = build_core("transformer", "seed", causal=True), torch.randn(2, 13, 256)
    peer = bench.TorchEncoder(core).eval()
    for ours, theirs in zip(core.layers, peer.layers.layers):
        weights = {new + n.removeprefix(old): w for n, w in ours.state_dict().items()
                   for old, new in TORCH_NAMES.items() if n.startswith(old)}
        theirs.load_state_dict(weights)
    assert_close(peer(x), core(x), rtol=1e-4, atol=1e-5)
    state = peer.initial_state(2, 13)
    assert_close(torch.stack([peer.step(frame, state) for frame in x.unbind(1)], 1), core(x), rtol=1e-4, atol=1e-5)


def test_contenders_run_in_turn_and_a_slow_one_leaves(monkeypatch):
    monkeypatch.setattr(bench, "SECONDS", 0.1)
    monkeypatch.setattr(bench, "ROUNDS", 4)
    order = []

    def contender(name: str, seconds: float):
        def run() -> float:
            order.append(name)
            bench.time.sleep(seconds)
            return len(order)
        return run

    runs = bench.in_turn({"fast": contender("f", 0), "slow": contender("s", 0.06), "very slow": contender("v", 0.12)})
    assert "".join(order) == "fsv" + "fsv" + "fsv" + "f" + "f"
    assert runs == {"fast": [4, 7, 10, 11], "slow": [5, 8], "very slow": [6, 9]}


def test_a_row_says_how_many_times_longer_the_peer_takes():
    row = bench.row("scan", "512 × 16", 1, 300, [2.0, 1.0, 4.0], "peer", [6.0, 5.0], floor={"ms": 0.5})
    assert row["ours"] == {"median": 2, "min": 1, "max": 4, "n": 3, "runs": [2, 1, 4]}
    assert (row["ratio"], row["over_floor"]) == (2.75, 4)
    text = bench.table([{"group": "g"} | row])
    assert "2 (1 to 4, n = 3)" in text and "5.5 (5 to 6, n = 2)" in text and "2.75" in text


def test_every_row_of_a_bench_is_measured_and_stored(few, monkeypatch, hugging_face):
    pytest.importorskip("mambapy", reason="the peer does not import")
    hugging_face(build_core("mamba", "seed", causal=True))
    monkeypatch.setattr(bench, "COMPARISONS", (
        ("scan", bench.scan, (2, 5)), ("training", bench.training, ("seed", 1, 5)),
        ("decoding", bench.decoding, ("seed", 8)), ("decoding", bench.decoding, ("matched-3m", 2000)),
        ("lengths", bench.lengths, (2, 9))))
    rows = bench.bench().result["rows"]
    assert [(r["group"], r["what"], r["peer"]) for r in rows] == [
        *(("scan", "selective_scan", peer) for peer in ("plain loop", "mambapy pscan", "selective_scan_ref")),
        *((group, core, peer) for group in ("training", "decoding", "decoding")
          for core, peer in zip(bench.CORES, ("nn.TransformerEncoder", "", "Hugging Face Mamba"))),
        *(("lengths", core, "") for core in bench.CORES)]
    assert all(r["ours"]["n"] == 2 for r in rows)
    assert [r["peer"] for r in rows if r["note"]] == ["nn.TransformerEncoder"]      # 2,000 frames without a cache
    assert all(r["theirs"]["n"] == 2 and r["ratio"] > 0 for r in rows if r["peer"] and not r["note"])
    assert all(r["over_floor"] > 0 for r in rows if r["group"] == "training")


def test_a_bench_is_of_the_code_that_was_there_when_it_began(monkeypatch):
    def measure() -> list:
        monkeypatch.setattr(bench.records, "code_digest", lambda *_: "edited meanwhile")
        return []
    monkeypatch.setattr(bench, "COMPARISONS", (("edit", measure, ()),))
    began = bench.identity()
    record = bench.bench()
    assert record.identity["code"] == began["code"] != bench.identity()["code"]
    assert records.find("bench", began) == record and records.find("bench", bench.identity()) is None


def test_without_its_peers_a_bench_has_an_identity_of_its_own(monkeypatch):
    def version(package: str) -> str:
        raise bench.metadata.PackageNotFoundError(package)
    with monkeypatch.context() as patch:
        patch.setattr(bench.records, "environment_identity", dict)
        patch.setattr(bench.metadata, "version", version)
        assert bench.identity()["peers"] == {"mambapy": None, "transformers": None}


def test_slow_loops_and_cores_that_do_not_fit_are_left_out(few, monkeypatch):
    monkeypatch.setattr(bench, "QUADRATIC", 0)
    monkeypatch.setattr(cost, "available", lambda: 0)
    assert [r["peer"] for r in bench.scan(1, 3) if r["note"]] == ["selective_scan_ref"]
    assert all(r["ours"] is None and r["note"].startswith("needs") for r in bench.lengths(1, 3))


def test_the_floor_of_a_core_by_hand():
    core, x = build_core("mamba", "seed", causal=True), torch.randn(2, 10, 256, requires_grad=True)
    mamba, tokens = core.layers[0].mamba, 2 * 10
    weights = sum(p.numel() for n, p in mamba.named_parameters() if n.endswith("proj.weight"))
    floor = bench.core_floor(core, x, rate=1e9, bandwidth=1e9)
    assert floor["flops"] == 6 * weights * tokens + cost.scan_flops(2, 10, 512, 16)
    assert floor["bytes"] > 32 * cost.parameters(core)
    assert floor["ms"] == max(floor["flops"], floor["bytes"]) / 1e6
    flops = bench.core_floor(build_core("transformer", "seed", causal=True), x, 1e9, 1e9)["flops"]
    assert flops == 6 * (6 * tokens * (4 * 256 ** 2 + 2 * 256 * 512) + cost.attention_flops(2, 10, 256))
