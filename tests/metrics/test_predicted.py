"""The model of cost against what torch counts, what autograd saves, what is dispatched, and closed forms; sizes are odd."""
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib.config import ModelConfig
from lib.metrics import cost
from lib.metrics.predicted import GROWN, H100, WIDTHS, Kernel, Layer, Machine, Mamba2Layer, Model, Shell, grown, linear, seconds
from lib.models.attention import AttentionState, Place, TransformerLayer
from lib.models.codec_lm import CodecLM, losses
from lib.models.conv import ConvLayer
from lib.models.mamba2 import Mamba2Block
from lib.models.mamba_conv import MambaConvBlock
from lib.models.pointwise import PointwiseLayer

WIDTH, BATCH, FRAMES = 48, 3, 41
ATTENTION = {"heads": 4, "causal": True, "pre_norm": True, "rotary": True}
LAYERS = {
    "attention": (lambda: TransformerLayer(WIDTH, hidden=37, **ATTENTION), Layer(WIDTH, attends=True, hidden=37)),
    "a window": (lambda: TransformerLayer(WIDTH, hidden=37, window=11, **ATTENTION),
                 Layer(WIDTH, attends=True, window=11, hidden=37)),
    "attention, convolution": (lambda: TransformerLayer(WIDTH, hidden=37, kernel=3, **ATTENTION),
                               Layer(WIDTH, attends=True, convolutions=(3,), hidden=37)),
    "Mamba": (lambda: MambaConvBlock(WIDTH, (), pre_norm=True, d_inner=85, d_state=7), Layer(WIDTH, channels=85, states=7)),
    "Mamba, two convolutions": (lambda: MambaConvBlock(WIDTH, (3, 5), pre_norm=True, d_inner=85, d_state=7),
                                Layer(WIDTH, channels=85, states=7, convolutions=(3, 5))),
    "Mamba-2": (lambda: Mamba2Block(WIDTH, 85, 7, 17), Mamba2Layer(WIDTH, channels=85, states=7, heads=5)),
    "convolution": (lambda: ConvLayer(WIDTH, 7, 37), Layer(WIDTH, convolutions=(7,), hidden=37)),
    "feed-forward": (lambda: PointwiseLayer(WIDTH, 37), Layer(WIDTH, hidden=37)),
    "gated": (lambda: PointwiseLayer(WIDTH, 37, ("swiglu",)), Layer(WIDTH, hidden=37, gated=True)),
}
COMPILED = {name for name in LAYERS if "Mamba" in name}     # in kernels that torch does not see


class Dispatched(TorchDispatchMode):
    """Counts operations that are no views, and the numbers that they read and write."""
    VIEWS = ("view", "transpose", "slice", "split", "chunk", "select", "expand", "permute", "unsqueeze", "squeeze", "detach",
             "alias", "aten.t.", "as_strided", "empty", "unbind")
    launches = numbers = 0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        if not any(name in str(operation) for name in self.VIEWS):
            self.launches += 1
            moved = [leaf for leaf in tree_leaves((arguments, keywords, result)) if isinstance(leaf, Tensor)]
            self.numbers += sum(min(leaf.numel(), leaf.untyped_storage().nbytes() // leaf.element_size()) for leaf in moved)
        return result


def trained(layer: nn.Module) -> None:
    layer(torch.randn(BATCH, FRAMES, WIDTH, requires_grad=True)).sum().backward()


@pytest.fixture(params=LAYERS)
def pair(request) -> tuple[str, nn.Module, Layer]:
    make, shape = LAYERS[request.param]
    return request.param, make(), shape


def test_parameters_and_state_are_the_layers(pair):
    _, layer, shape = pair
    assert shape.parameters == cost.parameters(layer)
    assert [shape.state(n) for n in (1, 29)] == [layer.state_numbers(n) for n in (1, 29)]


def test_flops_are_those_that_torch_counts_and_closed_forms(pair):
    _, layer, shape = pair
    forward, backward = shape.training(BATCH, FRAMES)
    counted = cost.product_flops(lambda: trained(layer))
    if shape.attends:
        seen = FRAMES * (FRAMES + 1) // 2 if shape.window is None else sum(min(t, shape.window) for t in range(1, FRAMES + 1))
        whole = LAYERS["attention"][0]() if shape.window else layer     # torch leaves out its kernel, not a window's
        counted = cost.product_flops(lambda: trained(whole)) + 7 * 2 * BATCH * WIDTH * seen
    assert sum(k.flops for k in forward + backward if k.product) == counted
    # a channel of a frame: softplus of dt and bias 30, gate 19, u and D x 2, forward; backward the softplus again, two sigmoids and
    # 21; the short convolution of 4, forward 8 + 18, backward 24 + 23
    channel = BATCH * FRAMES * shape.channels
    if isinstance(shape, Mamba2Layer):              # whose norm and gate torch takes; B and C go through the convolution too
        convolved = BATCH * FRAMES * (shape.channels + 2 * shape.states)
        assert sum(k.flops for k in forward + backward if not k.product) == cost.ssd_flops(
            BATCH, FRAMES, shape.channels, shape.states) + convolved * (26 + 47)
        return
    scan = cost.scan_flops(BATCH, FRAMES, shape.channels, shape.states) if channel else 0
    assert sum(k.flops for k in forward + backward if not k.product) == scan + channel * (51 + 30 + 34 + 21 + 26 + 47)


def test_more_is_moved_than_the_floor_of_a_step(pair):
    _, layer, shape = pair
    floor = cost.training_bytes(shape.parameters, cost.saved_bytes(lambda: layer(
        torch.randn(BATCH, FRAMES, WIDTH, requires_grad=True)), layer))
    kernels = Model((shape,)).training(BATCH, FRAMES)
    assert floor < sum(4 * (k.numbers + k.float32) for k in kernels) < 6 * floor


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in COMPILED | {"a window"}])
def test_launches_and_numbers_are_those_that_torch_dispatches(name):
    make, shape = LAYERS[name]
    layer = make()
    trained(layer)                                  # so that tables are made
    layer.zero_grad()
    with Dispatched() as seen:
        trained(layer)
    forward, backward = shape.training(BATCH, FRAMES)
    assert len(forward + backward) == pytest.approx(seen.launches, rel=0.2)
    assert sum(k.numbers for k in forward + backward) == pytest.approx(seen.numbers, rel=0.15)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "a window"])
def test_launches_of_a_frame_are_those_that_torch_dispatches_without_our_kernels(name):
    make, shape = LAYERS[name]
    layer = make().bfloat16()                       # which the kernels do not take
    with torch.no_grad():
        state, x = layer.initial_state(BATCH, FRAMES), torch.randn(BATCH, WIDTH, dtype=torch.bfloat16)
        for part in state if isinstance(state, list) else [state]:
            if isinstance(part, AttentionState):        # as a GPU records it
                part.place = Place(torch.tensor([1]), FRAMES)
        layer.step(x, state)                            # after which its rotary positions are known, for all layers
        with Dispatched() as seen:
            layer.step(x, state)
    predicted = shape.decoding(BATCH, FRAMES, fused=False)
    assert len(predicted) == pytest.approx(seen.launches, rel=0.2)


def test_decoding_reads_each_weight_once_and_the_state_of_each_sequence(pair):
    _, _, shape = pair
    one, many = (sum(k.numbers for k in shape.decoding(batch, FRAMES, fused=True)) for batch in (1, 9))
    assert shape.parameters + shape.state(FRAMES) < 1.1 * one
    assert many - one > 8 * shape.state(FRAMES) * 0.9 and many < 9 * one
    longer = sum(k.numbers for k in shape.decoding(9, FRAMES + 10, fused=True))
    assert longer - many == 9 * (shape.state(FRAMES + 10) - shape.state(FRAMES))


def test_a_kernel_takes_its_launch_and_what_takes_longer():
    machine = Machine("slow", product=1000, vector=100, bandwidth=40, launch=1, replay=2, width=2, fused=True)
    assert seconds([Kernel(flops=5000, numbers=20, product=True)], machine, 1) == 1 + 5     # to move takes 1
    assert seconds([Kernel(flops=5000, numbers=20)], machine, 2) == 2 + 50
    assert seconds([Kernel(flops=5, numbers=20, float32=30), Kernel()], machine, 1) == 2 + (2 * 20 + 4 * 30) / 40
    (forward,), backward = linear(3, 5, 7)
    assert (forward.flops, forward.numbers) == (2 * 3 * 5 * 7, 3 * 5 + 3 * 7 + 5 * 7) and len(backward) == 3


def test_a_whole_model_has_its_parameters_and_its_products():
    config = ModelConfig("pointwise", "matched-1m", codebooks=3)
    model, frames = CodecLM(config), 29
    shell = Shell(192, 3, text_width=96, vocabulary=config.vocabulary, characters=17)
    shape = Model((Layer(192, hidden=896),) * 4, shell)
    assert shape.parameters == cost.parameters(model)
    codes, text = torch.randint(1024, (2, 3, frames)), torch.randint(config.vocabulary, (2, 17))

    def step() -> None:
        cross_entropy, end, _ = losses(*model(codes, text), codes, torch.tensor([frames, frames]))
        (cross_entropy + end).backward()
    counted = cost.product_flops(step)
    assert sum(k.flops for k in shape.training(2, frames) if k.product) == counted


@pytest.mark.parametrize("parameters", WIDTHS)
@pytest.mark.parametrize("core", GROWN)
def test_a_model_grows_to_the_parameters_that_are_asked_for_and_computes_six_flops_for_each(core, parameters):
    model = grown(core, parameters)
    inside = Model(model.layers)
    assert inside.parameters == pytest.approx(parameters, rel=1e-3)
    products = sum(k.flops for k in inside.training(1, 1) if k.product)
    assert products == pytest.approx(6 * parameters, rel=0.02)
    assert 0.85 * parameters / (12 * WIDTHS[parameters] ** 2) < len(model.layers) < 40
    least = 6 * parameters * 2 ** 16 / H100.product         # at the full rate of products
    assert least < model.step_seconds(H100, 128, 512) < 3 * least


def test_the_h100_is_as_published():
    assert (H100.product, H100.bandwidth, H100.width) == (989e12, 3.35e12, 2)
