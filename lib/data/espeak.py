"""The synthesiser's own process: reads utterances as JSON lines, writes audio and events.

Run as `python -m lib.data.espeak`. It imports neither NumPy nor torch, because it forks: espeak-ng keeps a random
state between utterances, so each one is spoken by a fresh fork of a parent that was seeded once.
"""
import ctypes
import json
import os
import struct
import sys

import espeakng_loader

SYNCHRONOUS, PHONEME_EVENTS, PHONEME_IPA, DONT_EXIT = 2, 0x0001, 0x0002, 0x8000
UTF8, RATE, PITCH = 1, 1, 3
WORD, PHONEME = 1, 7


class Event(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("string", ctypes.c_char * 8)]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


def initialise() -> tuple[ctypes.CDLL, int]:
    """The library, seeded, and its sample rate. The process moves into the data folder: espeak-ng cuts its path at 160
    bytes. RuntimeError, in one line, where espeak-ng does not start."""
    try:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        os.chdir(espeakng_loader.get_data_path())
    except (OSError, RuntimeError) as error:
        raise RuntimeError(f"espeak-ng did not start ({error}): reinstall espeakng-loader") from None
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, b".", PHONEME_EVENTS | PHONEME_IPA | DONT_EXIT)
    if rate <= 0:
        raise RuntimeError(f"espeak-ng did not start on {os.getcwd()}: reinstall espeakng-loader")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    return library, rate


def speak(library: ctypes.CDLL, text: str, voice: str, rate: int, pitch: int) -> tuple[bytes, list]:
    """16-bit mono samples and events [kind, sample, text position, text length or phoneme]."""
    audio, events = [], []

    def receive(samples, count, event):
        if samples and count > 0:
            audio.append(ctypes.string_at(samples, 2 * count))
        i = 0
        while event[i].type:
            e = event[i]
            if e.type == WORD:
                events.append(["word", e.sample, e.text_position - 1, e.length])
            elif e.type == PHONEME:
                events.append(["phoneme", e.sample, e.text_position - 1, e.string.decode("utf-8", "replace")])
            i += 1
        return 0

    callback = CALLBACK(receive)
    library.espeak_SetSynthCallback(callback)
    variant = voice.partition("+")[2]       # espeak-ng takes an unknown variant in silence and speaks without it
    known = not variant or os.path.isfile(os.path.join(espeakng_loader.get_data_path(), "voices", "!v", variant))
    if not known or library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"no espeak-ng voice {voice!r} (names are case-sensitive)")
    library.espeak_SetParameter(RATE, rate, 0)
    library.espeak_SetParameter(PITCH, pitch, 0)
    encoded = text.encode() + b"\0"
    if library.espeak_Synth(encoded, len(encoded), 0, 1, 0, UTF8, None, None) != 0:
        raise RuntimeError(f"espeak-ng could not speak {text!r}")
    return b"".join(audio), events


def _answer(header: dict, audio: bytes = b"") -> bytes:
    head = json.dumps(header).encode()
    return struct.pack("<II", len(head), len(audio)) + head + audio


def main() -> None:
    try:
        library, rate = initialise()
    except RuntimeError as error:
        if not sys.stdin.buffer.readline():
            sys.exit(str(error))
        sys.stdout.buffer.write(_answer({"error": str(error)}))         # whoever asks is told why
        return
    for line in sys.stdin.buffer:
        request = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                audio, events = speak(library, **request)
                answer = _answer({"rate": rate, "events": events}, audio)
            except Exception as error:
                answer = _answer({"error": str(error)})
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(answer)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            sys.stdout.buffer.write(pipe.read())
        os.waitpid(child, 0)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
