"""Both codecs: shapes, files, damage. Meta's format is tried with a file of that format and random weights."""
import shutil

import numpy as np
import pytest
import torch

from lib.data.codec import EMBEDDED, FrameCodec, _unpacked, load_codec
from lib.data.corpus import sentences, speak
from lib.metrics.speech import stoi


@pytest.fixture(autouse=True)
def fresh():
    load_codec.cache_clear()


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
    frames = torch.fft.irfft(model.spectrum(audio), norm="ortho") * model.window
    total = model.overlap_add(frames)
    back = (total[:-1] / total[-1].clamp_min(1e-3))[:, 480:-480]
    torch.testing.assert_close(back[:, 640:-640], audio[:, 640:-640], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 60])
@pytest.mark.parametrize("at_a_time", [1, 2, 7])
def test_a_stream_gives_the_same_samples_as_decoding_at_once(frames, at_a_time):
    codec, codes = load_codec(), np.random.default_rng(frames).integers(0, 1024, (4, frames))
    stream = codec.stream()
    parts = [stream.step(codes[:, i:i + at_a_time]) for i in range(0, frames, at_a_time)] + [stream.close()]
    np.testing.assert_allclose(np.concatenate(parts), codec.decode(codes), atol=1e-5)


def test_a_stream_is_three_and_a_half_frames_late_and_never_wrong_about_the_future():
    codec, codes = load_codec(), np.random.default_rng(0).integers(0, 1024, (8, 40))
    stream = codec.stream()
    assert [len(stream.step(codes[:, i:i + 1])) for i in range(6)] == [0, 0, 0, 160, 320, 320]
    changed = codes.copy()
    changed[:, 20:] = 0
    settled = 20 * 320 - 1120
    same, other = codec.decode(codes), codec.decode(changed)
    np.testing.assert_allclose(same[:settled], other[:settled], atol=1e-5)
    assert abs(same[settled:] - other[settled:]).max() > 1e-3


def test_only_the_embedded_format_streams_and_an_empty_stream_closes(official):
    assert len(load_codec().stream().close()) == 0
    with pytest.raises(ValueError, match="codec mine does not stream: use one of the embedded codec's format"):
        load_codec(str(official)).stream()
    with pytest.raises(ValueError, match="values 0..1023"):
        load_codec().stream().step(np.full((4, 1), 1024))


def test_fewer_codebooks_keep_the_codes_in_a_batch_of_mixed_counts():
    model = FrameCodec().eval()
    latent = torch.randn(3, 40, model.quantiser.up.shape[2])
    quantised, codes, _ = model.quantiser(latent, torch.tensor([2, 4, 8]))
    for clip, count in enumerate((2, 4, 8)):
        alone = model.quantiser.encode(latent[clip:clip + 1], count)
        assert torch.equal(alone[:, 0], codes[:count, clip])
        torch.testing.assert_close(model.quantiser.decode(alone)[0], quantised[clip])


def test_gradients_reach_every_codebook_and_the_encoder():
    model = FrameCodec().train()
    latent = torch.randn(2, 40, model.quantiser.up.shape[2], requires_grad=True)
    quantised, _, loss = model.quantiser(latent, torch.tensor([8, 8]))
    (quantised.square().mean() + loss).backward()
    for gradient in (latent.grad, *(p.grad for p in model.quantiser.parameters())):
        assert (gradient.flatten(1).abs().sum(1) > 0).all()


def test_codes_out_of_use_are_put_onto_frames():
    model = FrameCodec().train()
    latent = torch.randn(8, 80, model.quantiser.up.shape[2]) * 0.01 + 1        # all alike: random codes would collapse
    used = []
    for _ in range(2):
        _, codes, _ = model.quantiser(latent, torch.full((8,), 8))
        used.append(len(codes[0].unique()))             # the later ones follow once the first has settled
    assert used[0] < 10 and used[1] > 200


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


def test_any_flipped_bit_is_noticed(tmp_path):
    content = EMBEDDED.read_bytes()
    header, generator = 8 + int.from_bytes(content[:8], "little"), np.random.default_rng(0)
    for place in [*generator.integers(header, size=100), *generator.integers(len(content), size=100)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        with pytest.raises(ValueError, match="contents are not what was written"):
            _unpacked(bytes(flipped))
    path = tmp_path / "codec.safetensors"
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match="cannot be used .its contents are not what was written.: restore it with git"):
        load_codec(str(path))


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
