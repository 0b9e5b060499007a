"""Speech as it comes: the samples are those of the whole, however they are asked for and wherever one stops and goes on."""
from functools import cache

import numpy as np
import pytest
import torch

from lib.config import ModelConfig
from lib.data.codec import EMBEDDED, HOP, Codec, FrameCodec, Stream
from lib.data.phrases import PAUSE, say
from lib.data.reading import say_apart, sentences
from lib.models.codec_lm import CodecLM
from lib.models.cores import CORES, LACKING
from lib.models.durations import Durations
from lib.speaking import speaker as module
from lib.speaking.decoding import speak
from lib.speaking.sampling import Sampling
from lib.speaking.speaker import STATES, Speaker, lengthened
from lib.speaking.stream import FADE, MARGIN, SILENCE, Joints, Place, read_place

SAID = "Ala, kot. Kot!\n\nAla. Kot"
DRAWN = Sampling(0.8, 50, 0.95, seed=3, repetition_aware=True)
GUIDED = Sampling(0.8, 50, 0.95, seed=3, end=0.3, guidance=1.5)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Attention reads few frames through a window, and its cache has room for as few at first."""
    monkeypatch.setattr(module, "LONGEST", 20)


@cache
def codec() -> Codec:
    """Of the embedded one's format, small and untrained: a frame takes no time."""
    torch.manual_seed(0)
    model = FrameCodec(width=16, hidden=16, latent=8, encoder=1, decoder=3).eval()
    return Codec("small", EMBEDDED, model.encode_codes, model.decode_codes, lambda: Stream(model))


@cache
def alphabet() -> tuple[str, ...]:
    return tuple(sorted({PAUSE} | {name for group in say(SAID, "pl")[0] for name, _ in group.phonemes}))


def untrained(core: str = "mamba_conv", pattern: str = "delay", ends: bool = True, **fields) -> Speaker:
    """Knows the phonemes of SAID, babbles, and ends now and then or never."""
    torch.manual_seed(0)
    model = CodecLM(ModelConfig(core, "matched-1m", pattern=pattern, conditioning="word", codebooks=3, units="phonemes",
                                alphabet=alphabet(), **fields)).eval()
    torch.nn.init.normal_(model.end.weight, std=0.3 * ends)
    torch.nn.init.constant_(model.end.bias, -4.0 if ends else -50.0)
    durations = Durations(len(alphabet())).eval()
    torch.nn.init.constant_(durations.out.bias, 2.0)                    # a few frames each
    return Speaker(model, durations, codec(), "pl")


def given_out(speaker: Speaker, text=SAID, **how) -> list[np.ndarray]:
    return list(speaker.stream(text, **how))


def reference(speaker: Speaker, sampling: Sampling, state: str) -> np.ndarray:
    """SAID as whole rows of a batch, each sound decoded at once."""
    apart = list(say_apart(sentences(SAID), "pl"))
    plans = [speaker.plan(sentence.groups) for sentence in apart]
    if state == "reset":
        parts = [part for said, following in zip(plans, [*apart[1:], apart[0]]) for part in speaker.cut(said, following.pause)]
        codes = [codes for codes, _ in speak(speaker.model, [[said] for said, _ in parts], sampling)]
        return joined([speaker.codec.decode(c) for c in codes], [HOP * pause for _, pause in parts[:-1]])
    text = [lengthened(said, following.pause) for said, following in zip(plans, [*apart[1:], apart[0]])]
    (codes, _), = speak(speaker.model, [text], sampling, 20 if state == "window" else None)
    return speaker.codec.decode(codes)


def joined(sounds: list[np.ndarray], pauses: list[int]) -> np.ndarray:
    """Whole sounds one after the other, by what `Joints` says of itself."""
    out, loudest, after = [], 0.0, 0
    for number, sound in enumerate(sounds):
        level = np.maximum.accumulate(np.maximum(np.abs(sound), loudest))
        heard, loudest, sound = np.flatnonzero(np.abs(sound) >= np.float32(SILENCE) * level), level[-1], sound.copy()
        end = min(len(sound), heard[-1] + 1 + MARGIN) if number < len(pauses) else len(sound)
        if number < len(pauses):
            sound[end - FADE:end] *= np.linspace(1, 0, FADE)
        start = 0
        if number:
            start = max(0, heard[0] - MARGIN)
            sound[start:start + FADE] *= np.linspace(0, 1, FADE)
            out.append(np.zeros(max(0, pauses[number - 1] - after - (heard[0] - start)), np.float32))
        after = end - heard[-1] - 1
        out.append(sound[start:end])
    return np.concatenate(out)


@pytest.mark.parametrize("core,pattern,ends,state,sampling", [
    ("mamba_conv", "delay", True, "reset", DRAWN), ("mamba_conv", "delay", True, "carried", Sampling()),
    ("transformer", "delay", False, "reset", Sampling()), ("transformer", "delay", True, "carried", DRAWN),
    ("transformer", "delay", False, "window", Sampling()), ("interleaved", "parallel", True, "window", DRAWN),
    ("interleaved", "delay", True, "reset", GUIDED), ("transformer", "delay", True, "window", GUIDED)])
def test_streamed_and_whole_are_the_same_samples_whatever_the_chunk(core, pattern, ends, state, sampling):
    speaker = untrained(core, pattern, ends, dropped=0.1)
    whole = speaker.say(SAID, sampling, state)
    assert whole.dtype == np.float32 and len(whole) > 2 * HOP
    np.testing.assert_allclose(whole, reference(speaker, sampling, state), atol=1e-5)
    for chunk, text in ((3, SAID), (7, SAID.splitlines(keepends=True)), (1000, [SAID[:5], SAID[5:20], SAID[20:]])):
        chunks = given_out(speaker, text, sampling=sampling, state=state, chunk=chunk)
        assert np.array_equal(np.concatenate(chunks), whole)
        assert sum(len(one) < chunk * HOP for one in chunks) <= 5       # but for the ends of four sentences


@pytest.mark.parametrize("core,state", [*((core, "carried") for core in CORES if core not in LACKING["matched-1m"]),
                                        ("transformer", "window"), ("mamba_conv", "window"), ("transformer", "reset")])
def test_a_text_is_taken_up_again_after_any_sentence_bit_for_bit(core, state, tmp_path):
    speaker, places = untrained(core), []
    whole = np.concatenate(given_out(speaker, sampling=DRAWN, state=state, chunk=3, keep=places.append))
    assert [(place.sentences, place.ended) for place in places[:3] + places[-1:]] == [(1, False), (2, False), (3, False), (4, True)]
    for place in places[:3]:
        path = tmp_path / "state"
        path.write_bytes(place.packed({"core": core}))
        rest = given_out(speaker, sampling=DRAWN, state=state, chunk=7, place=read_place(path, {"core": core}))
        assert 0 < place.samples < len(whole) and np.array_equal(np.concatenate(rest), whole[place.samples:])
    with pytest.raises(ValueError, match="is at the end of its text"):
        given_out(speaker, place=places[-1])


def test_with_guidance_too_a_text_is_taken_up_again_bit_for_bit():
    speaker, places = untrained(dropped=0.1), []
    whole = np.concatenate(given_out(speaker, sampling=GUIDED, state="carried", keep=places.append))
    rest = given_out(speaker, sampling=GUIDED, state="carried", place=places[1])
    assert np.array_equal(np.concatenate(rest), whole[places[1].samples:])
    assert not np.array_equal(whole, speaker.say(SAID, DRAWN, "carried"))


def test_a_masked_core_says_each_sentence_at_once_and_is_taken_up_again():
    speaker, sampling, places = untrained("mamba", "parallel", regime="masked"), Sampling(0.8, rounds=3), []
    whole = np.concatenate(given_out(speaker, sampling=sampling, keep=places.append))
    np.testing.assert_allclose(whole, reference(speaker, sampling, "reset"), atol=1e-5)
    assert np.array_equal(np.concatenate(given_out(speaker, sampling=sampling, chunk=1000)), whole)
    assert np.array_equal(np.concatenate(given_out(speaker, sampling=sampling, place=places[1])), whole[places[1].samples:])
    assert not np.array_equal(whole, speaker.say(SAID, Sampling(0.8)))


@pytest.mark.parametrize("regime,sampling,state,words", [
    ("masked", Sampling(), "carried", "has no state"), ("masked", Sampling(guidance=2.0), "reset", "no guidance"),
    ("causal", Sampling(rounds=2), "reset", "rounds are of a masked model")])
def test_what_a_way_of_speaking_has_not_is_refused(regime, sampling, state, words):
    with pytest.raises(ValueError, match=words):
        given_out(untrained("mamba", "parallel", regime=regime), sampling=sampling, state=state)


def test_a_text_that_goes_on_is_taken_up_where_it_was_known_to():
    speaker, places = untrained(), []
    given_out(speaker, keep=places.append, state="carried")
    longer = SAID + "! Ala."
    whole = speaker.say(longer, state="carried")
    rest = given_out(speaker, longer, state="carried", place=places[1])
    assert np.array_equal(np.concatenate(rest), whole[places[1].samples:])
    with pytest.raises(ValueError, match="the state after sentence 2 belongs to another text"):
        given_out(speaker, SAID.replace("Kot!", "Kot?"), state="carried", place=places[1])


def test_a_state_file_that_is_anothers_or_not_whole_is_refused(tmp_path):
    path, whose = tmp_path / "state", {"core": untrained().digest, "way between sentences": "carried"}
    packed = Place(1, "t", tensors={"codes": torch.ones(2)}).packed(whose)
    path.write_bytes(packed)
    assert read_place(path, whose).sentences == 1
    assert untrained().digest == whose["core"]
    with pytest.raises(ValueError, match="^[^\n]*state is the state of another core: [^\n]*$"):
        read_place(path, {**whose, "core": untrained("mamba").digest})
    with pytest.raises(ValueError, match="another way between sentences"):
        read_place(path, {**whose, "way between sentences": "reset"})
    for content in (packed[:-1], b"", b"\x80\x04]", packed.replace(b"about", b"abort"), packed.replace(b"ended", b"endee")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="^[^\n]*no state file, or damaged[^\n]*$"):
            read_place(path, whose)


@pytest.mark.parametrize("core,state,grows", [("transformer", "carried", True), ("transformer", "window", False),
                                              ("mamba_conv", "carried", False), ("mamba2", "carried", False), ("interleaved", "carried", True)])
def test_what_is_kept_grows_by_the_cache_of_attention_alone(core, state, grows):
    speaker, places = untrained(core), []
    given_out(speaker, keep=places.append, state=state)
    frames = [int(place.tensors["frames"]) for place in places[:3]]
    numbers = [sum(part.numel() for name, part in place.tensors.items() if name.startswith("core")) for place in places[:3]]
    assert 20 < frames[0] < frames[1] < frames[2]
    more = [a.numel() - b.numel() for a, b in zip(places[2].tensors.values(), places[1].tensors.values())]
    assert numbers[2] - numbers[1] == sum(more)
    core_bytes = speaker.model.core.state_bytes
    assert sum(more) * 4 == (core_bytes(frames[2]) - core_bytes(frames[1]) if grows else 0)


def test_a_sentence_is_said_before_the_next_one_comes():
    speaker, come = untrained(ends=False), []

    def text():
        for piece in ("Ala, kot.\n", "Kot!\n", "Ala"):
            come.append(piece)
            yield piece
    for state in STATES:
        come.clear()
        sounds = speaker.stream(text(), state=state, chunk=1)
        heard = 0
        while len(come) < 2:
            heard += len(next(sounds))
        apart = next(say_apart(sentences("Ala, kot."), "pl"))
        said = sum(span.frames for span in speaker.plan(apart.groups)[1])
        assert heard > HOP * (said - 12)    # all but what the last codebook and the codec wait for, and a pause's first frames


def test_a_codec_that_does_not_stream_gives_each_sound_at_its_end():
    whole = untrained()
    other = Codec("other", EMBEDDED, None, lambda codes: torch.from_numpy(codec().decode(codes[:, 0].numpy()))[None])
    speaker = Speaker(whole.model, whole.durations, other, "pl")
    for state in STATES:
        np.testing.assert_allclose(speaker.say(SAID, state=state), whole.say(SAID, state=state), atol=1e-5)
    with pytest.raises(ValueError, match="codec other does not stream"):
        given_out(speaker, state="carried", keep=print)


def test_an_unknown_way_between_sentences_is_refused():
    with pytest.raises(ValueError, match="choose one of reset, carried, window"):
        given_out(untrained(), state="kept")


def test_what_cannot_be_spoken_is_told_after_what_can():
    speaker = untrained()
    sounds = speaker.stream("Ala, kot. Kot ∑.")
    assert len(next(sounds)) and np.array_equal(np.concatenate(given_out(speaker, "Ala, kot.")), speaker.say("Ala, kot."))
    with pytest.raises(ValueError, match="'∑'"):
        list(sounds)
    with pytest.raises(ValueError, match="phonemes that the model never saw"):
        given_out(speaker, "Bzy.")


def joints(sounds: list[np.ndarray], pauses: list[int], chunk: int) -> np.ndarray:
    one, out = Joints(), []
    for sound, pause in zip(sounds, [*pauses, None]):
        out += [one.add(sound[i:i + chunk]) for i in range(0, len(sound), chunk)]
        out.append(one.close() if pause is None else one.end(pause))
    return np.concatenate(out)


@pytest.mark.parametrize("chunk", [1, 7, 160, 320, 4999, 30_000])
def test_sounds_are_joined_without_clicks_however_they_come(chunk):
    at = np.arange(20_000)
    noise = np.random.default_rng(0).uniform(-4e-3, 4e-3, len(at)).astype(np.float32)
    sounds = [np.where((at >= begin) & (at < end), np.sin(at.astype(np.float32)), noise)[from_:]
              for begin, end, from_ in ((3000, 9000, 2990), (0, 20_000, 0), (700, 19_990, 0), (500, 20_000, 450))]
    pauses = [5000, 6000, 0]
    said = joints(sounds, pauses, chunk)
    assert np.array_equal(said, joints(sounds, pauses, 1 << 20))
    np.testing.assert_allclose(said, joined(sounds, pauses), atol=1e-6)
    heard = np.flatnonzero(np.abs(said) > 0.01)
    assert [n - 1 for n in np.diff(heard) if n > 1000] == pytest.approx([5000, 6000], abs=8)
    assert np.array_equal(said[:6000], sounds[0][:6000]) and np.array_equal(said[-15_000:], sounds[3][-15_000:])
    edge = 6010 + MARGIN            # the end of the first sound
    assert np.abs(np.diff(said[edge - FADE:edge + 2])).max() < 0.01 and not said[edge]
    assert np.array_equal(joints(sounds[:1], [], chunk), sounds[0])


def test_no_more_than_the_margin_of_a_silence_is_held_back():
    one, tone = Joints(), np.sin(np.arange(3000, dtype=np.float32))
    assert 0 <= len(tone) - len(one.add(tone)) <= FADE
    assert len(one.add(np.zeros(MARGIN, np.float32))) == MARGIN         # it stays, whatever follows
    assert len(one.add(np.zeros(5000, np.float32))) == 0
    assert len(one.add(tone)) == 5000 + len(tone)                       # it was a pause within the sound
    assert len(one.end(9000)) == FADE + 9000 - MARGIN                   # of which some of the next sound may be


def test_a_sound_of_which_nothing_is_heard_is_a_pause():
    tone, nothing = np.sin(np.arange(3000, dtype=np.float32)), np.zeros(999, np.float32)
    said = joints([tone, nothing, tone], [2000, 3000], 320)
    heard = np.flatnonzero(np.abs(said) > 0.01)
    assert [n - 1 for n in np.diff(heard) if n > 1000] == pytest.approx([5000], abs=8)
    assert not joints([nothing] * 3, [20, 20], 7).any()


def test_frames_of_a_word_are_not_lost():
    """What the sentences are told is as long as the sound that is said, but for the end that the model chooses."""
    speaker = untrained(ends=False)
    apart = list(say_apart(sentences(SAID), "pl"))
    plans = [speaker.plan(sentence.groups) for sentence in apart]
    frames = sum(span.frames for _, spans in plans for span in spans) + sum(sentence.pause for sentence in apart)
    assert len(speaker.say(SAID, state="carried")) == HOP * module.longest_of(frames)
