"""Speak a text with a trained core: python -m lib.speak "Dzień dobry." --core mamba_conv --out dzien_dobry.flac"""
from . import command

if __name__ == "__main__":
    command.run("lib.speak")

import argparse
import os
import re
import stat
import sys
from pathlib import Path

from .data.audio import SAMPLE_RATE, WRITTEN, encoded
from .files import Unwritable, write_atomic
from .speaking.sampling import Sampling
from .speaking.speaker import REFERENCE, by_error, read_checkpoint

STANDARD = Path("-")        # as text and as file: standard input and output
# Frequent in English, and no words of Polish, as to, on, do, we, no, my, by and was are.
ENGLISH = set("""an and are at because been from has have he his how is it of she that the their there these they this what
    when where which who why with would you your""".split())


def main() -> int:
    given = _arguments()
    try:
        to_output = given.out == STANDARD or _same(given.out, 1)
        ending = _format(given.out, to_output)
        text = _standard_input() if given.text in (None, str(STANDARD)) else given.text
        speaker = read_checkpoint(given.checkpoints / f"{given.core}.safetensors")
        if looks_english(text):
            print(f"this looks like English: it is read by {speaker.language} rules", file=sys.stderr)
        audio = speaker.say(text, Sampling(given.temperature, seed=given.seed))
        _write(given.out, to_output, encoded(audio, ending))
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{_named(given.out)}: spoken in {speaker.language} by {given.core}, {len(audio) / SAMPLE_RATE:.1f} s",
          file=sys.stderr if to_output else sys.stdout)
    return 0


def _arguments() -> argparse.Namespace:
    """What the command was given. The help lists the cores of the folder that was given."""
    folder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    folder.add_argument("--checkpoints", type=Path, default=REFERENCE, metavar="FOLDER",
                        help="where <core>.safetensors are; without it, those of the reference study")
    cores = list(by_error(folder.parse_known_args()[0].checkpoints))
    parser = argparse.ArgumentParser(
        "python -m lib.speak", "python -m lib.speak TEXT [--core CORE] [--out FILE]; -h says more", parents=[folder],
        allow_abbrev=False, description="Speak a Polish text with a trained core. Numbers and abbreviations are written "
        "out, espeak-ng's rules give the phonemes and the pauses, and each sentence is said by itself.")
    parser.add_argument("text", nargs="?", help="in Polish; - or, in a pipe, nothing: the text is read from standard input")
    parser.add_argument("--core", default=cores[0] if cores else "transformer", help=(
        f"one of {', '.join(cores)}; without it {cores[0]}, the first: they stand in the order of their phoneme errors, where "
        "those were measured") if cores else "none is there yet: run the study of speech first")
    parser.add_argument("--out", type=Path, default=Path("speech.flac"), metavar="FILE", help=(
        f"what is written, as its ending says: {', '.join(WRITTEN)}; - is WAV to standard output; without it %(default)s"))
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T",
                        help="0, as without it: always the likeliest sound; 1: drawn as likely as the core finds it")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn; without it 0")
    given = parser.parse_args()
    if given.text is None and not _piped():
        parser.error("no text")
    return given


def looks_english(text: str) -> bool:
    """Whether a text is very likely not Polish: no letter is Polish alone, and a quarter of the words, two at least, are
    frequent English ones or have a letter that no Polish word has, one of them English."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    foreign = [word for word in words if word in ENGLISH or set("qvx") & set(word)]
    return len(foreign) >= max(2, len(words) / 4) and bool(ENGLISH & set(words)) and not set("ąćęłńóśźż") & set(text.lower())


def _piped() -> bool:
    """Whether standard input is a pipe, a socket or a file."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)


def _standard_input() -> str:
    try:
        with open(0, "rb", closefd=False) as file:
            return file.read().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not UTF-8 (its byte {error.start + 1}): convert it") from None


def _same(path: Path, handle: int) -> bool:
    """Whether a path is what a handle is open on, as /dev/stdout is."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except OSError:
        return False


def _named(out: Path) -> str:
    return "standard output" if out == STANDARD else str(out)


def _format(out: Path, to_output: bool) -> str:
    """What is written: what the ending says, WAV into a pipe without one; ValueError where it cannot be written there."""
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name a file in it")
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent}: make it first")
    if out.suffix.lower() in WRITTEN:
        return WRITTEN[out.suffix.lower()]
    if not to_output and (out.is_file() or not out.exists()):
        raise ValueError(f"{out} has no ending of a sound that can be written: choose one of {', '.join(WRITTEN)}")
    return "WAV"


def _write(out: Path, to_output: bool, sound: bytes) -> None:
    """Write a file whole or not at all, and into a pipe or a device as it is."""
    try:
        if to_output or out.exists() and not out.is_file():
            with open(1 if to_output else out, "wb", closefd=not to_output) as file:
                file.write(sound)
        else:
            write_atomic(out.resolve(), sound)
    except OSError as error:
        cause = error.__cause__ if isinstance(error, Unwritable) else error
        raise OSError(f"{_named(out)} cannot be written: {cause.strerror or cause}") from None

