"""Builds a corpus of each layout from clips: (id, text, audio at 24 kHz), or (id, text, codes)."""
import csv
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


def make_mailabs(folder: Path, clips: list, ending: str = "wav", **sound) -> None:
    """Ids are speaker_book_number; the first speaker is a woman, the others are men."""
    for speaker in dict.fromkeys(id.split("_")[0] for id, _, _ in clips):
        for book in dict.fromkeys(id.split("_")[1] for id, _, _ in clips):
            part = [clip for clip in clips if clip[0].startswith(f"{speaker}_{book}_")]
            sex = "female" if clips[0][0].startswith(f"{speaker}_") else "male"
            if part:
                path = folder / "by_book" / sex / speaker / f"book{book}"
                make_ljspeech(path, part, ending, **sound)
                (path / "metadata.csv").write_text("".join(f"{id}|{text}|{text}\n" for id, text, _ in part), encoding="utf-8")


def make_vctk(folder: Path, clips: list, ending: str = "flac", microphones: tuple[str, ...] = ("_mic1", "_mic2"), **sound) -> None:
    """Ids are speaker_number."""
    for id, text, audio in clips:
        speaker = id.split("_")[0]
        for microphone in microphones:
            _write(folder / "wav48_silence_trimmed" / speaker / f"{id}{microphone}.{ending}", audio, **sound)
        (folder / "txt" / speaker).mkdir(parents=True, exist_ok=True)
        (folder / "txt" / speaker / f"{id}.txt").write_text(f"{text}\n", encoding="utf-8")


def make_libritts(folder: Path, clips: list, ending: str = "wav", **sound) -> None:
    """Ids are speaker_chapter_number; splits as in `make_common_voice`."""
    for i, (id, text, audio) in enumerate(clips):
        speaker, chapter, _ = id.split("_")
        path = folder / f"{SPLITS[i % 6]}-clean" / speaker / chapter
        _write(path / f"{id}.{ending}", audio, **sound)
        (path / f"{id}.normalized.txt").write_text(text, encoding="utf-8")
        (path / f"{id}.original.txt").write_text(f"original {text}", encoding="utf-8")


def make_librispeech(folder: Path, clips: list, ending: str = "flac", **sound) -> None:
    """The same, with ids speaker-chapter-number."""
    for i, (id, text, audio) in enumerate(clips):
        speaker, chapter, number = id.split("_")
        path = folder / f"{SPLITS[i % 6]}-clean" / speaker / chapter
        _write(path / f"{speaker}-{chapter}-{number}.{ending}", audio, **sound)
        with open(path / f"{speaker}-{chapter}.trans.txt", "a", encoding="utf-8") as file:
            file.write(f"{speaker}-{chapter}-{number} {text}\n")


def make_audiofolder(folder: Path, clips: list, ending: str = "wav", lines: bool = False, column: str = "text",
                     splits: tuple[str, ...] = SPLITS, **sound) -> None:
    """A folder with a metadata.csv, or metadata.jsonl, for each split; all in one where a split has no name."""
    rows: dict[str, list[dict]] = {}
    for i, (id, text, audio) in enumerate(clips):
        split = splits[i % len(splits)].replace("dev", "validation")
        _write(folder / split / f"{id}.{ending}", audio, **sound)
        rows.setdefault(split, []).append({"file_name": f"{id}.{ending}", column: text, "speaker_id": id.split("_")[0]})
    for split, found in rows.items():
        path = folder / split / f"metadata.{'jsonl' if lines else 'csv'}"
        with open(path, "w", encoding="utf-8", newline="") as file:
            if lines:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
            else:
                writer = csv.DictWriter(file, found[0])
                writer.writeheader()
                writer.writerows(found)
