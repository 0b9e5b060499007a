"""Builds a corpus of each layout from clips: (id, text, audio at 24 kHz), or (id, text, codes)."""
import json
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

SPLITS = ("train", "train", "train", "dev", "test", "test")


def _write(path: Path, audio: np.ndarray, rate: int = 24_000, channels: int = 1, **format) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shared = gcd(rate, 24_000)
    audio = resample_poly(audio, rate // shared, 24_000 // shared)
    soundfile.write(path, np.stack([audio] * channels, 1), rate, **format)


def make_ljspeech(folder: Path, clips: list, ending: str = "wav", **sound) -> None:
    for id, _, audio in clips:
        _write(folder / "wavs" / f"{id.replace('/', '_')}.{ending}", audio, **sound)
    (folder / "metadata.csv").write_text("".join(f"{id}|{text}\n" for id, text, _ in clips), encoding="utf-8")


def make_common_voice(folder: Path, clips: list, ending: str = "mp3", locale: str = "en", **sound) -> None:
    """Every six clips are three of training, one of validation, two of test; each speaker has one clip in two."""
    lines = {split: ["client_id\tpath\tsentence\tlocale"] for split in dict.fromkeys(SPLITS)}
    for i, (id, text, audio) in enumerate(clips):
        _write(folder / "clips" / f"{id}.{ending}", audio, **sound)
        lines[SPLITS[i % 6]].append(f"speaker{i % 2}\t{id}.{ending}\t{text}\t{locale}")
    for split, rows in lines.items():
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_mls(folder: Path, clips: list, ending: str = "flac", **sound) -> None:
    """Ids are speaker_book_number."""
    for id, _, audio in clips:
        speaker, book, _ = id.split("_")
        _write(folder / "audio" / speaker / book / f"{id}.{ending}", audio, **sound)
    (folder / "transcripts.txt").write_text("".join(f"{id}\t{text}\n" for id, text, _ in clips), encoding="utf-8")


def make_tokens(folder: Path, clips: list, codec: str, codebooks: int | None = None, frame_rate: float = 75,
                language: str = "en") -> None:
    (folder / "codes").mkdir(parents=True)
    for id, _, codes in clips:
        np.save(folder / "codes" / f"{id}.npy", codes)
    (folder / "metadata.csv").write_text("".join(f"{id}|{text}\n" for id, text, _ in clips), encoding="utf-8")
    (folder / "corpus.json").write_text(json.dumps({"codec": codec, "codebooks": codebooks or len(clips[0][2]),
                                                    "frame_rate": frame_rate, "language": language}))
