"""Speak a text with a trained core: python -m lib.speak "Dzień dobry." --core mamba_conv --out dzien_dobry.flac"""
from . import command

if __name__ == "__main__":
    command.run("lib.speak")

import argparse
import codecs
import os
import re
import stat
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import RawIOBase
from itertools import chain
from pathlib import Path

from .config import described
from .data.audio import SAMPLE_RATE, WRITTEN, encoded, wav_header
from .data.speech import synthesiser
from .files import Unwritable, write_atomic
from .speaking.sampling import Sampling
from .speaking.speaker import REFERENCE, STATES, Speaker, read_checkpoint, speakers
from .speaking.stream import Place, read_place

STANDARD = Path("-")        # as text and as file: standard input and output
STREAMED = {".wav": "WAV"}  # what is written as it comes
# Frequent in English and no words of Polish; and words of both.
ENGLISH = set("""about am an and are at because been books could dark evening friend from good great has have he hello her him his how
    is it like love morning name nice night of old people please read said school she should some thank thanks that the their there
    these they this very want water what when where which who why with world would you your""".split())
BOTH = set("a by do go i me my no on so to was we".split())


def main() -> int:
    given = _arguments()
    try:
        to_output = given.out == STANDARD or _same(given.out, 1)
        ending = _format(given, to_output)
        text = _standard_input() if given.text in (None, str(STANDARD)) else iter([given.text])
        if not given.stream:
            text = iter(["".join(text)])
        synthesiser()                               # which starts meanwhile
        speaker = read_checkpoint(given.checkpoints / f"{given.core}.safetensors")
        text, sampling = _english_told(text, speaker.language), Sampling(
            given.temperature, seed=given.seed, repetition_aware=given.repetition_aware, end=given.end, guidance=given.guidance,
            rounds=given.rounds)
        if given.stream:
            samples = _stream(given, to_output, speaker, text, sampling)
        else:
            audio = speaker.say(next(text), sampling, given.between)
            samples = len(audio)
            _write(given.out, to_output, encoded(audio, ending))
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{_named(given.out)}: spoken in {speaker.language} by {given.core}, {samples / SAMPLE_RATE:.1f} s",
          file=sys.stderr if to_output else sys.stdout)
    return 0


def _arguments() -> argparse.Namespace:
    """What the command was given. The help lists the cores of the folder that was given."""
    folder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    folder.add_argument("--checkpoints", type=Path, default=REFERENCE, metavar="FOLDER",
                        help="where <core>.safetensors are; without it, those of the reference study")
    cores = list(speakers(folder.parse_known_args()[0].checkpoints))
    parser = argparse.ArgumentParser(
        "python -m lib.speak", "python -m lib.speak TEXT [--core CORE] [--out FILE] [--stream]; -h says more", parents=[folder],
        allow_abbrev=False, description="Speak a Polish text with a trained core. Numbers and abbreviations are written "
        "out, espeak-ng's rules give the phonemes and the pauses, and each sentence is said by itself.")
    parser.add_argument("text", nargs="?", help="in Polish; - or, in a pipe, nothing: the text is read from standard input")
    parser.add_argument("--core", default=cores[0] if cores else "transformer", help=(
        f"one of {', '.join(cores)}; without it {cores[0]}, the first: they stand in the order of their phoneme errors, where "
        "those were measured") if cores else "none is there yet: run the study of speech first")
    parser.add_argument("--out", type=Path, metavar="FILE", help=(
        f"what is written, as its ending says: {', '.join(WRITTEN)}; - is WAV to standard output; without it speech.flac, or with "
        "--stream standard output"))
    parser.add_argument("--stream", action="store_true", help="write the sound while it is spoken, and speak each sentence of "
                        "standard input when it is there: WAV, whose header knows no length before the end")
    parser.add_argument("--pcm", action="store_true", help="with --stream: no header, samples alone (16 bits, little-endian, "
                        "24 kHz, mono), whatever the ending")
    parser.add_argument("--between", choices=STATES, default=STATES[0], help="what becomes of the core's state between sentences: "
                        "it begins anew, as without it; is carried; or carried while attention reads no more than in training")
    parser.add_argument("--state", type=Path, metavar="FILE", help="with --stream: where the voice and its place in the text are "
                        "kept, after the last sentence that was written whole; where it is there, the same text goes on from it")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T",
                        help="0, as without it: always the likeliest sound; 1: drawn as likely as the core finds it")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn; without it 0")
    parser.add_argument("--repetition-aware", action="store_true", help="with a temperature: what is drawn too often in a row is "
                        "drawn once more, from all")
    parser.add_argument("--end", type=float, default=0.5, metavar="P", help="the probability from which on a frame is taken for the "
                        "last of its text; without it %(default)s")
    parser.add_argument("--guidance", type=float, default=1.0, metavar="S", help="how many times what the text brings is taken, of a "
                        "core that was trained for it, as guidance/mamba_conv; without it 1")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="in which a masked core, as masked/mamba_conv, fills the "
                        "frames of a sentence in; without it 1")
    given = parser.parse_args()
    if given.text is None and not _piped():
        parser.error("no text")
    if not given.stream and (given.pcm or given.state):
        parser.error(f"{'--pcm' if given.pcm else '--state'} goes with --stream")
    given.out = given.out or (STANDARD if given.stream else Path("speech.flac"))
    return given


def _english_told(text: Iterable[str], language: str) -> Iterator[str]:
    """The text, of which it is told where its first piece is no text of this language."""
    for number, piece in enumerate(text):
        if not number and looks_english(piece):
            print(f"this looks like English: it is read by {language} rules", file=sys.stderr)
        yield piece


def looks_english(text: str) -> bool:
    """Whether a text is very likely not Polish: no letter is Polish alone, and of the words that tell, a quarter are frequent
    English ones or have a letter that no Polish word has, one of them English."""
    words = [word for word in re.findall(r"[^\W\d_]+", text.lower()) if word not in BOTH]
    foreign = [word for word in words if word in ENGLISH or set("qvx") & set(word)]
    return len(foreign) >= len(words) / 4 and bool(ENGLISH & set(words)) and not set("ąćęłńóśźż") & set(text.lower())


def _piped() -> bool:
    """Whether standard input is a pipe, a socket or a file."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)


def _standard_input() -> Iterator[str]:
    """Standard input as it comes."""
    decoder, taken = codecs.getincrementaldecoder("utf-8")(), 0
    while True:
        content, waiting = os.read(0, 1 << 16), len(decoder.getstate()[0])
        try:
            yield decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            raise ValueError(f"standard input is not UTF-8 (its byte {taken - waiting + error.start + 1}): convert it") from None
        if not content:
            return
        taken += len(content)


def _same(path: Path, handle: int) -> bool:
    """Whether a path is what a handle is open on, as /dev/stdout is."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except OSError:
        return False


def _named(out: Path) -> str:
    return "standard output" if out == STANDARD else str(out)


def _format(given: argparse.Namespace, to_output: bool) -> str:
    """What is written: what the ending says, WAV into a pipe without one; ValueError where it cannot be written there."""
    out, written = given.out, STREAMED if given.stream else WRITTEN
    if given.stream and to_output and os.isatty(1):
        raise ValueError("standard output is a terminal: send it to a player, as in | aplay, or name a file with --out")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name a file in it")
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent}: make it first")
    if out.suffix.lower() in written:
        return written[out.suffix.lower()]
    if not (to_output or given.pcm) and (out.is_file() or not out.exists()):
        raise ValueError(f"{out} has no ending of a sound that can be written{' as it comes' * given.stream}: choose "
                         f"{'one of ' * (len(written) > 1)}{', '.join(written)}")
    return "WAV"


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """What the system says against writing becomes one line."""
    try:
        yield
    except OSError as error:
        cause = error.__cause__ if isinstance(error, Unwritable) else error
        raise OSError(f"{_named(out)} cannot be written: {cause.strerror or cause}") from None


def _write(out: Path, to_output: bool, sound: bytes) -> None:
    """Write a file whole or not at all, and into a pipe or a device as it is."""
    with _writing(out):
        if to_output or out.exists() and not out.is_file():
            with open(1 if to_output else out, "wb", closefd=not to_output) as file:
                file.write(sound)
        else:
            write_atomic(out.resolve(), sound)


def _stream(given: argparse.Namespace, to_output: bool, speaker: Speaker, text: Iterable[str], sampling: Sampling) -> int:
    """Write what is spoken as it comes, so many samples. A file is opened with the first of them; its header says how many there
    are at the end, however that comes; so is the state, of the last sentence that was written whole."""
    whose = {"core": speaker.digest, "way between sentences": given.between,
             "way of drawing": described(sampling)} if given.state else {}
    place = read_place(given.state, whose) if given.state and given.state.exists() else Place()
    places: deque[Place] = deque(maxlen=1)
    sounds = speaker.stream(text, sampling, given.between, place=place, keep=places.append if given.state else None)
    first, samples, reached = next(sounds, None), 0, None
    if first is None:
        return 0
    with _writing(given.out):
        file = open(1 if to_output else given.out, "wb", buffering=0, closefd=not to_output)
    with file:
        try:
            _put(file, given.out, b"" if given.pcm else wav_header())
            for sound in chain([first], sounds):
                _put(file, given.out, encoded(sound, "RAW"))
                samples += len(sound)
                reached = next((at for at in places if at.samples <= place.samples + samples), reached)
        finally:
            if given.out.is_file() and not (given.pcm or to_output):
                file.seek(0)
                _put(file, given.out, wav_header(samples))
            if reached:
                with _writing(given.state):
                    write_atomic(given.state.resolve(), reached.packed(whose))
    return samples


def _put(file: RawIOBase, out: Path, content: bytes) -> None:
    """Write all of it now."""
    rest = memoryview(content)
    while rest:
        with _writing(out):
            rest = rest[file.write(rest):]
