"""Both codecs: shapes, files, damage. Meta's format is tried with a file of that format and random weights."""
import shutil

import numpy as np
import pytest
import torch

from lib.data import codec as codecs
from lib.data.codec import EMBEDDED, FrameCodec, load_codec
from lib.data.corpus import sentences, speak
from lib.metrics.speech import stoi


@pytest.fixture(autouse=True)
def fresh():
    load_codec.cache_clear()


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A file as Meta publishes it, random weights."""
    torch.manual_seed(0)
    model = codecs.import_encodec().EncodecModel.encodec_model_24khz(pretrained=False)
    for name, buffer in model.named_buffers():
        if name.endswith("embed"):
            buffer.normal_()
    path = tmp_path_factory.mktemp("encodec") / "mine.th"
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 640, 7777])
def test_frames_are_samples_over_320_rounded_up(samples, official):
    audio = (0.1 * np.random.default_rng(0).normal(size=samples)).astype(np.float32)
    for codec in (load_codec(), load_codec(str(official))):
        codes = codec.encode(audio, 4)
        assert codes.shape == (4, -(-samples // 320)) and codes.dtype == np.int16
        assert 0 <= codes.min() and codes.max() < 1024
        assert codec.decode(codes).shape == (codes.shape[1] * 320,)


def test_fewer_codebooks_are_the_first_of_more():
    audio = next(speak(sentences("test")[:1], "pl")).audio
    codec = load_codec()
    assert np.array_equal(codec.encode(audio, 8)[:2], codec.encode(audio, 2))


def test_a_sentence_is_intelligible_after_the_round_trip():
    codec = load_codec()
    for clip in speak(sentences("test")[:3], "pl"):
        assert stoi(clip.audio, codec.decode(codec.encode(clip.audio, 4))) > 0.75


def test_overlap_add_inverts_the_spectrum():
    model, audio = FrameCodec(), torch.randn(2, 320 * 9)
    spectrum = model.spectrum(audio)
    model.decoder = torch.nn.Identity()
    head = torch.cat([spectrum.abs().clamp_min(1e-9).log() + 3, spectrum.angle() / torch.pi], -1)
    back = model.synthesise(head)
    torch.testing.assert_close(back[:, 640:-640], audio[:, 640:-640], atol=1e-4, rtol=1e-3)


def test_commitment_reaches_the_encoder_from_every_codebook():
    model = FrameCodec().train()
    latent = torch.randn(2, 40, 96)
    model.quantise(latent, 8)                                   # initialise the codebooks
    x = latent.clone().requires_grad_()
    residual, gradients = x.transpose(1, 2), []
    for layer in model.quantiser.layers:
        quantised, _, loss = layer(residual)
        gradients.append(torch.autograd.grad(loss.sum(), x, retain_graph=True)[0].abs().sum().item())
        residual = residual - quantised.detach()
    assert all(g > 0 for g in gradients)
    y = latent.clone().requires_grad_()
    quantised, codes, _ = model.quantise(y, 4)
    quantised.sum().backward()
    assert torch.equal(y.grad, torch.ones_like(y)) and codes.shape == (4, 2, 40)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "flipped in a weight", "empty", "of another kind"])
def test_a_damaged_codec_file_is_one_clear_line(damage, tmp_path):
    path = tmp_path / "codec.safetensors"
    content = bytearray(EMBEDDED.read_bytes())
    if damage == "flipped":
        content[9] ^= 0x40                                      # in the header
    elif damage == "flipped in a weight":
        content[-1] ^= 1
    elif damage == "of another kind":
        from safetensors.torch import save
        content = save({"x": torch.zeros(3)})
    path.write_bytes({"truncated": content[:5000], "empty": b""}.get(damage, content))
    with pytest.raises(ValueError, match="cannot be used .* restore it with git, or train it with `make codec`") as error:
        load_codec(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_unknown_codec_and_damaged_or_absent_pretrained_files(tmp_path, official, monkeypatch):
    with pytest.raises(ValueError, match="no codec 'opus': choose embedded, encodec_24khz, or the path"):
        load_codec("opus")
    wrong = tmp_path / "encodec_24khz-d7cc33bc.th"
    shutil.copy(official, wrong)
    with pytest.raises(ValueError, match="damaged .its sha256 does not begin with d7cc33bc.: fetch it again"):
        load_codec(str(wrong))
    cut = tmp_path / "cut.th"
    cut.write_bytes(official.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="cannot be used") as error:
        load_codec(str(cut))
    assert "\n" not in str(error.value)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def no_network(*_, **__):
        raise OSError("no route")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    with pytest.raises(ValueError, match="could not be downloaded .* give the path of encodec_24khz-d7cc33bc.th"):
        load_codec("encodec_24khz")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_is_not_executed(tmp_path):
    import pickle
    evil = tmp_path / "evil.th"
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return open, (str(marker), "w")
    evil.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="cannot be used"):
        load_codec(str(evil))
    assert not marker.exists()


@pytest.mark.parametrize("codes", [np.zeros((4, 0), int), np.full((4, 3), 1024), np.full((4, 3), -1), np.zeros(7, int)])
def test_codes_out_of_range_are_refused(codes):
    with pytest.raises(ValueError, match="values 0..1023"):
        load_codec().decode(codes)
