"""The command that speaks: what it writes and where, what it reads, and what it says when something is wrong."""
import errno
import io
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from lib import speak
from lib.config import REPOSITORY
from lib.data.audio import SAMPLE_RATE, encoded, wav_header
from lib.speaking.sampling import Sampling
from lib.speaking.stream import Place

TONE = (0.5 * np.sin(np.arange(5 * SAMPLE_RATE) / 20)).astype(np.float32)
SAMPLES = encoded(TONE, "RAW")


class Tone:
    language, said, digest = "Polish", [], "d"

    def say(self, text, sampling, state):
        self.said.append(text)
        return TONE

    def stream(self, text, sampling, state, place, keep):
        """As many tones as the text has lines; one of "?" cannot be spoken."""
        for number, line in enumerate("".join(text).splitlines(), 1):
            if line == "?":
                raise ValueError("not in the alphabet: '?'")
            self.said.append(line)
            if number > place.sentences:
                if keep:
                    keep(Place(number, line, len(TONE) * (number - place.sentences) + place.samples))
                yield TONE


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command, its speaker a tone; a function that runs it and gives its exit code."""
    folder = tmp_path / "study" / "checkpoints"
    folder.mkdir(parents=True)
    for core in ("conv", "mamba", "transformer"):
        (folder / f"{core}.safetensors").touch()
    rows = [("conv", 0.2), ("mamba", 0.05), ("mamba", 0.15), ("transformer", 0.01), ("transformer", 0.3), ("lstm", 0.0)]
    (folder.parent / "results.csv").write_text("core,metric,value,pair,run\nconv,decode_ms,0.001,0,r\n" + "".join(
        f"{core},phoneme_error_predicted,{value},0,r\n" for core, value in rows))
    monkeypatch.setattr(speak, "read_checkpoint", lambda path: Tone())
    monkeypatch.setattr(Tone, "said", [])

    def run(*arguments) -> int:
        monkeypatch.setattr("sys.argv", ["speak", *map(str, arguments), "--checkpoints", str(folder)])
        return speak.main()
    return run


@pytest.mark.parametrize("ending,kind,bits,error", [("flac", "FLAC", "PCM_16", 2 ** -14), ("wav", "WAV", "PCM_16", 2 ** -14),
                                                    ("ogg", "OGG", "VORBIS", 0.05), ("MP3", "MP3", "MPEG_LAYER_III", 0.05)])
def test_the_ending_says_what_is_written(ending, kind, bits, error, run, tmp_path, capsys):
    out = tmp_path / f"said.{ending}"
    assert run("Ala ma kota.", "--out", out) == 0
    assert capsys.readouterr() == (f"{out}: spoken in Polish by mamba, 5.0 s\n", "")
    about, (sound, rate) = soundfile.info(out), soundfile.read(out)
    assert (about.format, about.subtype, about.channels, rate) == (kind, bits, 1, SAMPLE_RATE)
    assert len(sound) == len(TONE) and np.abs(sound - TONE)[100:-100].max() < error


def test_options_say_how_it_draws(run, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Tone, "say", lambda self, text, *how: seen.append(how) or TONE)
    assert run("Ala.", "--out", tmp_path / "a.wav", "--core", "masked/mamba", "--temperature", 0.5, "--seed", 3, "--repetition-aware",
               "--end", 0.3, "--guidance", 2, "--rounds", 8, "--between", "carried") == 0
    assert seen == [(Sampling(0.5, seed=3, repetition_aware=True, end=0.3, guidance=2.0, rounds=8), "carried")]


def test_minutes_of_vorbis_are_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Tone, "say", lambda self, text, *how: np.tile(TONE, 60))
    assert run("Ala.", "--out", tmp_path / "long.ogg") == 0
    assert soundfile.info(tmp_path / "long.ogg").frames == 60 * len(TONE)


@pytest.mark.parametrize("out,words", [
    ("said.txt", "choose one of .flac, .wav, .ogg, .mp3"), ("said", "choose one of .flac"), ("there", "is a folder"),
    ("nowhere/said.wav", "nowhere: make it first"), ("/dev/full", "/dev/full cannot be written: No space left")])
def test_what_cannot_be_written_is_told_in_one_line(out, words, run, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert run("Ala.", "--out", tmp_path / out) == 1
    said, error = capsys.readouterr()
    assert words in error and error.count("\n") == 1 and not said
    assert sorted(tmp_path.rglob("*")) == before and (Tone.said == []) == (out != "/dev/full")


def test_a_failed_write_names_the_path_and_not_the_workspace(run, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    monkeypatch.setattr("lib.files.os.replace", full)
    assert run("Ala.", "--out", tmp_path / "said.wav") == 1
    assert capsys.readouterr().err == f"{tmp_path}/said.wav cannot be written: {os.strerror(errno.EDQUOT)}\n"
    assert not list(tmp_path.glob("*said*"))


def test_standard_output_takes_a_wav_and_no_words(run, capfdbinary):
    assert run("Ala.", "--out", "-") == 0
    said, error = capfdbinary.readouterr()
    sound, rate = soundfile.read(io.BytesIO(said))
    assert np.abs(sound - TONE).max() < 2 ** -14 and rate == SAMPLE_RATE
    assert error == b"standard output: spoken in Polish by mamba, 5.0 s\n"


def through_a_pipe(run, path, take: int, *arguments) -> tuple[int, bytes]:
    """The exit code of the command that writes into a named pipe, and what its reader took before it closed it."""
    os.mkfifo(path)
    taken = []

    def read():
        with open(path, "rb", buffering=0) as pipe:
            while len(taken) < take and (part := pipe.read(1 << 16)):
                taken.append(part)
    reader = threading.Thread(target=read)
    reader.start()
    code = run(*(arguments or ["Ala."]), "--out", path)
    reader.join()
    assert path.is_fifo()
    return code, b"".join(taken)


@pytest.mark.parametrize("name,kind", [("pipe", "WAV"), ("pipe.flac", "FLAC")])
def test_a_named_pipe_stays_one_and_takes_the_sound(name, kind, run, tmp_path, capsys):
    code, taken = through_a_pipe(run, tmp_path / name, take=1 << 30)
    with soundfile.SoundFile(io.BytesIO(taken)) as sound:
        assert code == 0 and sound.format == kind and len(sound.read()) == len(TONE)
    assert capsys.readouterr().out.startswith(f"{tmp_path / name}: spoken")


def test_a_reader_that_closes_the_pipe_ends_it_in_one_line(run, tmp_path, capsys):
    code, taken = through_a_pipe(run, tmp_path / "pipe", take=1)
    assert code == 1 and taken
    assert capsys.readouterr().err == f"{tmp_path}/pipe cannot be written: Broken pipe\n"


def test_a_stream_is_a_wav_of_the_same_samples(run, tmp_path, capfdbinary):
    assert run("a\nb", "--stream", "--out", tmp_path / "streamed.wav") == 0 and run("a", "--out", tmp_path / "whole.wav") == 0
    streamed, whole = (soundfile.read(tmp_path / f"{name}.wav", dtype="int16") for name in ("streamed", "whole"))
    assert np.array_equal(streamed[0], np.tile(whole[0], 2)) and streamed[1] == whole[1] == SAMPLE_RATE
    content = (tmp_path / "streamed.wav").read_bytes()
    assert content[44:] == SAMPLES * 2 and content[:44] == wav_header(2 * len(TONE))
    capfdbinary.readouterr()
    assert run("a\nb", "--stream") == 0                                 # to standard output, whose length is not known
    said, error = capfdbinary.readouterr()
    assert said == wav_header() + SAMPLES * 2 and error == b"standard output: spoken in Polish by mamba, 10.0 s\n"
    assert np.abs(soundfile.read(io.BytesIO(said))[0] - np.tile(TONE, 2)).max() < 2 ** -14
    assert run("a", "--stream", "--pcm") == 0 and capfdbinary.readouterr().out == SAMPLES
    assert run("a", "--stream", "--pcm", "--out", tmp_path / "samples") == 0 and (tmp_path / "samples").read_bytes() == SAMPLES


@pytest.mark.parametrize("arguments,code,words", [
    (("--stream", "--out", "said.flac"), 1, "can be written as it comes: choose .wav"), (("--pcm",), 2, "--pcm goes with --stream"),
    (("--state", "s"), 2, "--state goes with --stream"), (("--between", "kept"), 2, "invalid choice: 'kept'"),
    (("--stream", "--out", "/dev/full"), 1, "/dev/full cannot be written: No space left")])
def test_a_stream_that_cannot_be_is_told_in_one_line(arguments, code, words, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        ended = run("Ala.", *arguments)
    except SystemExit as error:
        ended = error.code
    said, error = capsys.readouterr()
    assert ended == code and words in error and error.count("\n") == code and not said


def test_a_stream_is_no_text_for_a_terminal(run, monkeypatch, capsys):
    monkeypatch.setattr(speak.os, "isatty", lambda handle: True)
    assert run("Ala.", "--stream") == 1
    assert capsys.readouterr() == ("", "standard output is a terminal: send it to a player, as in | aplay, or name a file with --out\n")


def test_what_was_spoken_before_an_error_stays_whole(run, tmp_path, capsys):
    assert run("a\nb\n?\nc", "--stream", "--out", tmp_path / "said.wav", "--state", tmp_path / "state") == 1
    assert capsys.readouterr().err == "not in the alphabet: '?'\n"
    sound, _ = soundfile.read(tmp_path / "said.wav")
    assert len(sound) == 2 * len(TONE) and Tone.said == ["a", "b"] and (tmp_path / "state").is_file()
    assert run("?", "--stream", "--out", tmp_path / "nothing.wav") == 1 and not (tmp_path / "nothing.wav").exists()


def test_a_state_file_says_where_the_text_goes_on(run, tmp_path, capsys):
    state = tmp_path / "state"
    code, taken = through_a_pipe(run, tmp_path / "pipe", 1 << 30, "a\nb\n?", "--stream", "--pcm", "--state", state)
    assert code == 1 and taken == SAMPLES * 2
    (tmp_path / "pipe").unlink()
    code, taken = through_a_pipe(run, tmp_path / "pipe", 1 << 30, "a\nb\nc", "--stream", "--pcm", "--state", state)
    assert code == 0 and taken == SAMPLES
    capsys.readouterr()
    assert run("a", "--stream", "--pcm", "--state", state, "--between", "carried", "--out", tmp_path / "b.pcm") == 1
    assert run("a", "--stream", "--pcm", "--state", state, "--temperature", "1", "--out", tmp_path / "b.pcm") == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{state} is the state of another way between sentences: give the same one, or name another file",
        f"{state} is the state of another way of drawing: give the same one, or name another file"]


def test_a_reader_that_closes_a_stream_ends_it_in_one_line_and_the_state_is_of_what_it_took(run, tmp_path, capsys):
    state = tmp_path / "state"
    code, taken = through_a_pipe(run, tmp_path / "pipe", 5, "\n".join("abcdef"), "--stream", "--pcm", "--state", state)
    assert code == 1 and capsys.readouterr().err == f"{tmp_path}/pipe cannot be written: Broken pipe\n"
    whose = {"core": "d", "way between sentences": "reset", "way of drawing": speak.described(speak.Sampling())}
    assert 1 <= speak.read_place(state, whose).sentences < 6


def test_the_default_core_makes_the_fewest_errors(run, tmp_path, capsys):
    results = tmp_path / "study" / "results.csv"
    assert run("Ala.", "--out", tmp_path / "a.wav") == 0 and "by mamba," in capsys.readouterr().out
    for content in ("core,metric,value\nconv,phoneme_error_predicted,?\n", "nothing", "\xff", None):
        results.unlink() if content is None else results.write_text(content, encoding="latin-1")
        assert run("Ala.", "--out", tmp_path / "a.wav") == 0 and "by conv," in capsys.readouterr().out


def test_help_tells_the_language_the_cores_and_where_text_comes_from(run, capsys):
    with pytest.raises(SystemExit) as ended:
        run("-h")
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    for words in ("Polish", "one of mamba, transformer, conv; without it mamba", "standard input", "--temperature", "--seed",
                  ".flac, .wav, .ogg, .mp3", "without it speech.flac"):
        assert words in said


def test_without_a_text_the_usage_is_told(run, monkeypatch, capsys):
    monkeypatch.setattr(speak, "_piped", lambda: False)
    with pytest.raises(SystemExit) as ended:
        run()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.startswith("usage: python -m lib.speak TEXT [--core") and error.count("\n") == 2


@pytest.mark.parametrize("text", [("-",), ()])
def test_text_comes_from_standard_input(text, run, tmp_path, capsys):
    given, kept = tmp_path / "text", os.dup(0)
    try:
        for content, code in (("Zażółć.\nGęślą jaźń.".encode(), 0), (b"za\xbf", 1)):
            given.write_bytes(content)
            with open(given) as file:
                os.dup2(file.fileno(), 0)
            assert run(*text, "--out", tmp_path / "a.wav") == code
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert Tone.said == ["Zażółć.\nGęślą jaźń."]
    assert capsys.readouterr().err == "standard input is not UTF-8 (its byte 3): convert it\n"


def test_from_a_pipe_into_a_pipe():
    done = subprocess.run([sys.executable, "-m", "lib.speak", "--out", "-"], input=b"Ala ma kota.", cwd=REPOSITORY,
                          capture_output=True)
    sound, rate = soundfile.read(io.BytesIO(done.stdout))
    assert (done.returncode, rate) == (0, SAMPLE_RATE) and 0.7 < len(sound) / rate < 2 and np.abs(sound).max() > 0.1
    assert done.stderr.decode().startswith("standard output: spoken in Polish by mamba, ")


def test_a_sentence_of_standard_input_is_spoken_before_the_next_one_comes():
    """By the command, whose reader then goes away, and of which Ctrl-C is an end in one line too."""
    for end, code, words in (("close", 1, b"standard output cannot be written: Broken pipe\n"), ("interrupt", 130, b"interrupted\n")):
        process = subprocess.Popen([sys.executable, "-m", "lib.speak", "--stream", "--pcm"], cwd=REPOSITORY, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(b"Ala ma kota.\n")
        process.stdin.flush()
        sound = np.frombuffer(process.stdout.read(24_000), "<i2")       # half a second
        assert np.abs(sound).max() > 1000
        if end == "close":
            process.stdout.close()
            process.stdin.write(b"Pies.\n" * 50)
            process.stdin.flush()
        else:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == code and process.stderr.read() == words
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


@pytest.mark.parametrize("text", [
    "Good morning, how are you?", "The weather is nice today.", "What is this?", "She was reading when they came home.",
    "This is a sentence with more than ten words, because it has a longer story.", "Have you seen the quick brown fox?",
    "I would like to know where the station is.", "It is raining and we have no umbrella.", "Who is there?",
    "Their dog had been at the river.", "The cat sat on a mat.", "My name is John.", "It was a dark night.", "Hello, world!", "Good morning!",
    "I love to read books."])
def test_english_is_noticed(text, run, tmp_path, capsys):
    assert run(text, "--out", tmp_path / "a.wav") == 0
    error = capsys.readouterr().err
    assert "looks like English" in error and "by Polish rules" in error and error.count("\n") == 1


@pytest.mark.parametrize("text", [
    "Ala ma kota.", "To on, a to my.", "Mam na imie Max i mam xero.", "Do domu to on nie idzie.", "Kocham was, a wy mnie.",
    "Zaraz wracam, bo my tu no tak.", "Czesc, jak sie masz?", "Ten film to The Ring, ogladam go z tata i z mama.",
    "Film The Ring ogladam dzis wieczorem.", "Go to na to, a by to my.", "He was a Świętopełk, and that is the end.", "Vademecum i quiz, a do tego fax."])
def test_polish_without_diacritics_is_not_taken_for_english(text, run, tmp_path, capsys):
    assert run(text, "--out", tmp_path / "a.wav") == 0 and not capsys.readouterr().err
