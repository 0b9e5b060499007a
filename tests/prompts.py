"""Recorded speech that a machine can install: Debian's telephone prompts as corpora of LJSpeech's layout.

    apt-get install asterisk-core-sounds-en-g722 asterisk-core-sounds-en asterisk-core-sounds-ru-g722 asterisk-core-sounds-ru
    python tests/prompts.py FOLDER

writes FOLDER/en and FOLDER/ru. Each can be a corpus of its own (`python -m lib.run --corpus FOLDER/en --language en`),
and FOLDER as a whole the recordings that the codec is measured on (`-p recordings FOLDER`).
"""
import gzip
import sys
from pathlib import Path

import av
import numpy as np
import soundfile

VOICES = {"en": "en_US_f_Allison", "ru": "ru_RU_f_IvrvoiceRU"}


def read_g722(path: Path) -> np.ndarray:
    """Audio (samples,) int16 at 16 kHz."""
    with av.open(str(path), format="g722") as file:
        frames = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
    return np.concatenate(frames) if frames else np.zeros(0, np.int16)


def convert(share: Path, language: str, folder: Path) -> int:
    """Every prompt with a transcript to WAV, listed in metadata.csv; how many there are."""
    with gzip.open(share / "doc" / f"asterisk-core-sounds-{language}" / f"core-sounds-{language}.txt.gz", "rt",
                   encoding="utf-8") as file:
        lines = [line.strip().split(": ", 1) for line in file if ": " in line and not line.startswith(";")]
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    rows = []
    for name, text in lines:
        source = share / "asterisk" / "sounds" / VOICES[language] / f"{name}.g722"
        if source.exists() and not text.startswith("["):        # [a tone] is no speech
            id = name.replace("/", "-")
            soundfile.write(folder / "wavs" / f"{id}.wav", read_g722(source), 16_000)
            rows.append(f"{id}|{text}\n")
    (folder / "metadata.csv").write_text("".join(rows), encoding="utf-8")
    return len(rows)


if __name__ == "__main__":
    share = Path(sys.argv[2] if len(sys.argv) > 2 else "/usr/share")
    for language in VOICES:
        print(language, convert(share, language, Path(sys.argv[1]) / language))
