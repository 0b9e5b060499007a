"""The folders that speech comes in: which layout one has, and what its transcripts say of each clip.

LJSpeech               metadata.csv (id|text or id|text|normalised text, no quoting), wavs/<id>.wav
Common Voice           train.tsv, dev.tsv, test.tsv or validated.tsv (path, sentence, client_id, locale), clips/
Multilingual LibriSpeech   transcripts.txt (id, tab, text), audio/<speaker>/<book>/<id>.flac, or both in train, dev, test
tokens                 corpus.json (codec, codebooks, frame_rate, language), metadata.csv (id|text), codes/<id>.npy

Text and names are data here: no path that leaves the folder is opened, and codes are loaded without pickle.
"""
import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.lib.format import MAGIC_PREFIX, read_array

from .audio import Unusable, bounded

BINS = 1024
SOUNDS = tuple(form(e) for form in (str.lower, str.upper) for e in (".wav", ".flac", ".ogg", ".opus", ".mp3"))
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
FIELDS = {"codec": str, "codebooks": int, "frame_rate": (int, float), "language": str}      # of corpus.json


@dataclass(frozen=True)
class Entry:
    """What a transcript says of a clip; `file` is a path in the corpus folder."""
    id: str
    text: str
    file: str
    split: str = ""         # train, validation or test, where the corpus says so
    speaker: str = ""


@dataclass(frozen=True)
class SetAside:
    """A clip that is not used, and why."""
    id: str
    file: str
    reason: str


@dataclass(frozen=True)
class Layout:
    kind: str
    folder: Path
    transcripts: tuple[tuple[str, str], ...]    # (file, split), paths in the folder
    sounds: tuple[str, ...]                     # folders of the clips
    language: str = ""                          # where the corpus says so
    codec: str = ""                             # of tokens, as are the next
    codebooks: int = 0
    frame_rate: float = 0.0


Lines = Iterator[tuple[int, Entry | SetAside]]      # of a transcript: the number of each, and what it says of a clip


@dataclass(frozen=True)
class Kind:
    """A layout: what its folder holds (a name, or `.tsv` for any with that ending), what of that is where, and how a
    transcript, of a split where that is known, is read."""
    needs: tuple[str, ...]
    known_by: str                                           # in words
    lay: Callable[[Path, set[str]], Layout]
    read: Callable[[Layout, str, str], Lines]


def recognise(folder: Path) -> Layout:
    """The layout of a corpus folder: the first that is all there, else the first that is there in part; ValueError, in
    one line, where it has none that is known."""
    names = _names(folder)
    known = ", ".join(f"{name} ({kind.known_by})" for name, kind in KINDS.items())
    if not names:
        raise ValueError(f"corpus folder {folder} is empty: put a corpus there, such as {known}")
    parts = {p for p in SPLITS if p in names and {"transcripts.txt", "audio"} & _names(folder / p, part=True)}
    has = {name: [any(n.endswith(need) if need.startswith(".") else n == need for n in names) for need in kind.needs]
           for name, kind in KINDS.items()}
    chosen = "codes" if "corpus.json" in names else next((k for k in has if all(has[k])), None) or (
        "Multilingual LibriSpeech" if parts else next((k for k in has if any(has[k]) and k != "codes"), None))
    if chosen is None:
        raise ValueError(f"corpus folder {folder} has none of the known layouts: {known}")
    layout = KINDS[chosen].lay(folder, names)
    for name in (*(t for t, _ in layout.transcripts), *layout.sounds):
        if not (os.path.isdir if name in layout.sounds else os.path.exists)(folder / name):
            raise ValueError(f"{folder / name} is missing, which layout {layout.kind} needs: put it there")
    return layout


def _lay_ljspeech(folder: Path, names: set[str]) -> Layout:
    return Layout("LJSpeech", folder, (("metadata.csv", ""),), ("wavs",))


def _lay_common_voice(folder: Path, names: set[str]) -> Layout:
    tables = _tables(folder, names)
    locales = (_first_locale(folder / table) for table, _ in tables)
    return Layout("Common Voice", folder, tables, ("clips",), next(filter(None, locales), ""))


def _lay_mls(folder: Path, names: set[str]) -> Layout:
    if {"transcripts.txt", "audio"} <= names:
        return Layout("Multilingual LibriSpeech", folder, (("transcripts.txt", ""),), ("audio",))
    parts = [p for p in SPLITS if p in names and {"transcripts.txt", "audio"} & _names(folder / p, part=True)]
    return Layout("Multilingual LibriSpeech", folder, tuple((f"{p}/transcripts.txt", SPLITS[p]) for p in parts) or (
        ("transcripts.txt", ""),), tuple(f"{p}/audio" for p in parts) or ("audio",))


def _lay_codes(folder: Path, names: set[str]) -> Layout:
    return Layout("codes", folder, (("metadata.csv", ""),), ("codes",), **_described(folder / "corpus.json"))


def _names(folder: Path, part: bool = False) -> set[str]:
    """What a folder holds; a part of a corpus may turn out to be a file, which holds nothing."""
    try:
        with os.scandir(folder) as found:
            return {entry.name for entry in found}
    except FileNotFoundError:
        raise ValueError(f"no folder {folder}: give the folder of a corpus") from None
    except OSError as error:
        if part and isinstance(error, NotADirectoryError):
            return set()
        raise ValueError(f"corpus folder {folder} cannot be read ({error.strerror}): give a readable folder") from None


def _described(path: Path) -> dict:
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({str(error)[:80]}): write {', '.join(FIELDS)} there") from None
    for name, kind in FIELDS.items():
        value = values.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or not (
                value.isprintable() and (value.strip() or name == "language") if kind is str else
                0 < value <= (64 if kind is int else 10_000)):
            raise ValueError(f"{path}: {name} is {repr(value)[:80] if name in values else 'missing'}: give "
                             + ("a text" if kind is str else "a whole number from 1 to 64" if kind is int else
                                "a number above 0"))
    return {name: values[name] for name in FIELDS}


def _tables(folder: Path, names: set[str]) -> tuple[tuple[str, str], ...]:
    """Common Voice's tables: those of the splits, else validated.tsv, else the only one that lists clips."""
    splits = tuple((f"{name}.tsv", split) for name, split in SPLITS.items() if f"{name}.tsv" in names)
    if splits or "validated.tsv" in names:
        return splits or (("validated.tsv", ""),)
    tables = [n for n in sorted(names) if n.endswith(".tsv") and {"path", "sentence"} <= set(next(_rows(folder / n, "\t"))[1])]
    if len(tables) != 1:
        raise ValueError(f"corpus folder {folder} has {len(tables)} tables with columns path and sentence: one is needed, or "
                         "train.tsv, dev.tsv and test.tsv, or validated.tsv")
    return ((tables[0], ""),)


def _first_locale(table: Path) -> str:
    rows = _rows(table, "\t")
    head = next(rows)[1]
    return dict(zip(head, next(rows, (0, []))[1])).get("locale", "")


def _rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of a transcript in UTF-8; ValueError where it is empty or not that."""
    number, empty = 0, True
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    empty = False
                    yield number, text.split(separator)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (line {number}, byte {error.object[error.start]:#x}): convert it, for instance "
                         "with iconv -t UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): make it readable") from None
    if empty:
        raise ValueError(f"{path} is empty: it must list the clips with their text")


def entries(layout: Layout) -> Iterator[Entry | SetAside]:
    """Every clip that the transcripts name, in order, then every sound that they do not name."""
    seen: dict[str, str] = {}
    read = KINDS[layout.kind].read
    for transcript, split in layout.transcripts:
        for line, found in read(layout, transcript, split):
            if isinstance(found, Entry) and not (reason := _bad_name(found)):
                if found.id in seen:
                    raise ValueError(f"{layout.folder}: id {found.id!r} stands twice, in {seen[found.id]} and in "
                                     f"{transcript} line {line}: keep one")
                seen[found.id] = f"{transcript} line {line}"
                yield _checked(found, layout)
            else:
                yield SetAside(_shown(found.id), _shown(found.file), reason) if isinstance(found, Entry) else found
    if layout.kind != "Common Voice":           # whose clips/ holds more than its splits list
        for file in _files(layout):
            path = PurePosixPath(file)
            names = {path.stem, str(path.relative_to(layout.sounds[0]).with_suffix(""))} \
                if file.startswith(layout.sounds[0] + "/") else {path.stem}
            if not names & seen.keys():
                yield SetAside(_shown(path.stem), _shown(file), "no transcript: add its text, or ignore it")


def _piped(layout: Layout, transcript: str, split: str) -> Lines:
    for line, (id, *texts) in _rows(layout.folder / transcript, "|"):
        if not texts:
            yield line, SetAside(f"line {line}", transcript, "no separator: a line is id|text")
            continue
        text = texts[1] if layout.kind == "LJSpeech" and len(texts) > 1 and texts[1].strip() else texts[0]
        yield line, Entry(id.strip(), text.strip(), _find(layout, id.strip()), split)


def _common_voice(layout: Layout, transcript: str, split: str) -> Lines:
    rows = _rows(layout.folder / transcript, "\t")
    head = next(rows)[1]
    if not {"path", "sentence"} <= set(head):
        raise ValueError(f"{layout.folder / transcript} has columns {', '.join(head)[:80]!r}: path and sentence are needed")
    for line, fields in rows:
        row = dict(zip(head, fields))
        if len(fields) <= max(head.index("path"), head.index("sentence")):
            yield line, SetAside(f"{transcript} line {line}", transcript, "fewer columns than the head of the table")
            continue
        name = row["path"] if PurePosixPath(row["path"]).suffix else row["path"] + ".mp3"
        yield line, Entry(PurePosixPath(name).stem if row["path"].strip() else "", row["sentence"].strip(), f"clips/{name}",
                          split, row.get("client_id", ""))


def _mls(layout: Layout, transcript: str, split: str) -> Lines:
    folder = str(PurePosixPath(transcript).parent / "audio")
    for line, (id, *texts) in _rows(layout.folder / transcript, "\t"):
        if not texts:
            yield line, SetAside(f"{transcript} line {line}", transcript, "no separator: a line is id, a tab, text")
            continue
        speaker, *book = id.split("_")[:2]
        nested = f"{folder}/{speaker}/{book[0]}/{id}" if book else f"{folder}/{id}"
        file = next((f for f in (_find(layout, nested, ""), _find(layout, f"{folder}/{id}", ""))
                     if _inside(f) and os.path.isfile(layout.folder / f)), f"{nested}.flac") \
            if _inside(id) else f"{folder}/{id}"
        yield line, Entry(id, texts[0].strip(), file, split, speaker if book else "")


KINDS = {
    "LJSpeech": Kind(("metadata.csv", "wavs"), "metadata.csv and wavs/", _lay_ljspeech, _piped),
    "Common Voice": Kind((".tsv", "clips"), "train.tsv or validated.tsv and clips/", _lay_common_voice, _common_voice),
    "Multilingual LibriSpeech": Kind(("transcripts.txt", "audio"), "transcripts.txt and audio/", _lay_mls, _mls),
    "codes": Kind(("corpus.json", "metadata.csv", "codes"), "corpus.json, metadata.csv and codes/", _lay_codes, _piped),
}


def _find(layout: Layout, id: str, folder: str | None = None) -> str:
    """Path of a clip in the corpus folder, with the ending that it has."""
    stem = f"{layout.sounds[0]}/{id}" if folder is None else id
    endings = (".npy",) if layout.kind == "codes" else SOUNDS
    if not _inside(stem):
        return stem
    return next((stem + e for e in endings if os.path.isfile(layout.folder / (stem + e))), stem + endings[0])


def _inside(path: str) -> bool:
    return ".." not in PurePosixPath(path).parts and not path.startswith("/")


def _shown(name: str) -> str:
    """A foreign name that can be written and read in a line: a character that cannot stands there as an escape."""
    return "".join(c.encode("unicode_escape").decode() if _controls(c) else c for c in name)


def _controls(text: str) -> bool:
    """Whether a text holds control characters, or bytes of a file name that are not UTF-8."""
    return any(unicodedata.category(c) in ("Cc", "Cs") for c in text)


def _bad_name(entry: Entry) -> str:
    """Why no file is looked for under this name, "" where one is."""
    if not entry.id:
        return "no id: name its file"
    if not _inside(entry.file) or not _inside(entry.id) or "//" in entry.file:
        return "its name leaves the corpus folder: rename it"
    return "control characters in the name: rename it" if _controls(entry.id + entry.file) else ""


def _checked(entry: Entry, layout: Layout) -> Entry | SetAside:
    reason = None
    if not entry.text:
        reason = "empty text: write what is said"
    elif _controls(entry.text.replace("\t", " ")):
        reason = "control characters in the text: remove them"
    elif not os.path.isfile(layout.folder / entry.file):
        reason = "no audio for this transcript: add the file, or remove the line" if layout.kind != "codes" else \
            "no codes for this transcript: add the file, or remove the line"
    return SetAside(entry.id, entry.file, reason) if reason else entry


def _files(layout: Layout) -> Iterator[str]:
    """Paths of all sounds or codes in the corpus folder, sorted folder by folder."""
    endings = (".npy",) if layout.kind == "codes" else SOUNDS
    for sounds in layout.sounds:
        for folder, folders, files in os.walk(layout.folder / sounds):
            folders.sort()
            for name in sorted(files):
                if name.lower().endswith(endings):
                    yield Path(folder, name).relative_to(layout.folder).as_posix()


def listing(layout: Layout) -> str:
    """sha256 over name, size and time of change of all transcripts and clips: changes when any of them does."""
    total = hashlib.sha256()
    described = ("corpus.json",) if layout.kind == "codes" else ()
    for name in chain(described, (t for t, _ in layout.transcripts), _files(layout)):
        try:
            stat = (layout.folder / name).stat()
            total.update(json.dumps([name, stat.st_size, stat.st_mtime_ns]).encode())
        except OSError as error:
            total.update(json.dumps([name, error.errno]).encode())
    return total.hexdigest()


def read_codes(path: Path, layout: Layout) -> np.ndarray:
    """Codes (codebooks, frames) int16 of a clip that is already tokenised; Unusable where they cannot be."""
    try:
        with open(path, "rb") as file:
            codes = read_array(file, allow_pickle=False) if file.read(6) == MAGIC_PREFIX and not file.seek(0) else None
    except OSError as error:
        raise Unusable(f"cannot be read as an array of numbers ({error.strerror or error}): write it again") from None
    except Exception as error:      # whatever a damaged header leads to; SyntaxError and TokenError among others
        raise Unusable(f"cannot be read as an array of numbers ({' '.join(str(error).split())[:80]}): write it "
                       "again") from None
    if codes is None:
        raise Unusable("cannot be read as an array of numbers (no .npy): write it with numpy.save")
    if codes.dtype.kind not in "iu" or codes.ndim != 2:
        raise Unusable(f"no codes ({codes.dtype} of shape {codes.shape}): integers, "
                       "codebooks × frames, are needed")
    if len(codes) != layout.codebooks:
        raise Unusable(f"{len(codes)} codebooks, but corpus.json says {layout.codebooks}: correct one of them")
    if not codes.size or codes.min() < 0 or codes.max() >= BINS:
        raise Unusable("no frames: remove it" if not codes.size else
                       f"codes out of range (from {codes.min()} to {codes.max()}): 0 to {BINS - 1} are possible")
    bounded(codes.shape[1] / layout.frame_rate)
    return codes.astype(np.int16, order="C")
