"""The folders that speech comes in: which layout one has, and its clips (how they are read is in lib.data.transcripts).

codes                  corpus.json (codec, codebooks, frame_rate, language), metadata.csv (id|text), codes/<id>.npy
audiofolder            metadata.csv (comma-separated, with quoting) or metadata.jsonl: file_name, and text, transcription
                       or sentence; in the folder or in train, validation, test
LJSpeech               metadata.csv (id|text or id|text|normalised text), wavs/<id>.wav
Common Voice           train.tsv, dev.tsv, test.tsv or validated.tsv (path, sentence, client_id, locale), clips/
Multilingual LibriSpeech   transcripts.txt (id, tab, text), audio/<speaker>/<book>/<id>.flac, or both in train, dev, test
VCTK                   txt/<speaker>/<id>.txt, wav48_silence_trimmed/<speaker>/<id>_mic1.flac
LibriTTS               train-…, dev-…, test-… or one of them: <speaker>/<chapter>/<id>.wav, <id>.normalized.txt
LibriSpeech            the same: <speaker>/<chapter>/<id>.flac, <speaker>-<chapter>.trans.txt (id text)
M-AILABS               by_book/<sex>/<speaker>/<book>/ as LJSpeech, or a folder of this tree

Text and names are data here: no path that leaves the folder is opened, and codes are loaded without pickle.
"""
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.lib.format import MAGIC_PREFIX, read_array

from . import transcripts
from .audio import ENDINGS, Unusable, bounded
from .transcripts import SEXES, TEXTS, Entry, Files, Layout, Lines, SetAside, columns, composed, head_of, inside, split_of, walk

BINS = 1024
TABLES = {"train.tsv": "train", "dev.tsv": "validation", "test.tsv": "test"}       # of Common Voice
FIELDS = {"codec": str, "codebooks": int, "frame_rate": (int, float), "language": str}      # of corpus.json
NEAR = 100          # folders in one that is no corpus of which it is looked up whether they are
SAID = 9            # of them, how many are named
PEEKED = 4          # folders in one, from which it is told what is in all


@dataclass(frozen=True)
class Kind:
    """A layout: how a folder with these names in it is laid out, None where nothing of it is there, and how a transcript, of
    a split where that is known, is read."""
    known_by: str                                           # in words
    lay: Callable[[Path, set[str]], Layout | None]
    read: Callable[[Layout, str, str, Files], Lines]


def recognise(folder: Path) -> Layout:
    """The layout of a corpus folder: the first that is all there, also in the one language of a Common Voice archive;
    ValueError, in one line, where it has none that is known."""
    names = _names(folder)
    known = ", ".join(f"{name} ({kind.known_by})" for name, kind in KINDS.items())
    if not names:
        raise ValueError(f"corpus folder {folder} is empty: put a corpus there, such as {known}")
    layout, problem = _whole(folder, names)
    if layout:
        return layout
    inner = list(_near(folder))
    if not problem and [found.kind for found in inner] == ["Common Voice"]:
        return inner[0]
    problem = problem or f"corpus folder {folder} has none of the known layouts" + ("" if inner else f": {known}")
    fit = ", ".join(f"{found.folder.relative_to(folder)} ({found.kind})" for found in inner[:SAID])
    raise ValueError(problem + (f"; give a folder in it that has one: {fit}" if fit else "") +
                     (f" and {len(inner) - SAID} more" if inner[SAID:] else ""))


def _whole(folder: Path, names: set[str]) -> tuple[Layout | None, str]:
    """The first layout that is all there; or None, and what is wrong with the first that is there in part."""
    problem = ""
    for name in ["codes"] if "corpus.json" in names else KINDS:
        try:
            layout = KINDS[name].lay(folder, names)
        except ValueError as error:
            problem = problem or str(error)
            continue
        if layout is None:
            continue
        there = chain(((t, os.path.exists) for t, _ in layout.transcripts), ((s, os.path.isdir) for s in layout.sounds))
        missing = next((folder / part for part, check in there if not check(folder / part)), None)
        if not missing:
            return layout, ""
        problem = problem or f"{missing} is missing, which layout {name} needs: put it there"
    return None, problem


def _near(folder: Path) -> Iterator[Layout]:
    """The corpora one level below a folder, and two where what is between is none."""
    left, level = NEAR, _folders(folder)
    for _ in range(2):
        below: list[Path] = []
        for path in level[:left]:
            with suppress(ValueError):
                layout, _ = _whole(path, _names(path))
                if layout:
                    yield layout
                else:
                    below += _folders(path)
        left, level = max(0, left - len(level)), below


def _folders(folder: Path) -> list[Path]:
    with suppress(OSError), os.scandir(folder) as found:
        return sorted(Path(entry) for entry in found if os.path.isdir(entry))
    return []


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


def _lay_codes(folder: Path, names: set[str]) -> Layout | None:
    if "corpus.json" in names:
        return Layout("codes", folder, (("metadata.csv", ""),), ("codes",), **_described(folder / "corpus.json"),
                      **_columns(folder / "metadata.csv"))
    return None


def _described(path: Path) -> dict:
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({str(error)[:80]}): write {', '.join(FIELDS)} there") from None
    values = {**values, "language": values.get("language") or ""}       # that may be said with the study
    for name, kind in FIELDS.items():
        value = values.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or not (
                value.isprintable() and (value.strip() or name == "language") if kind is str else
                0 < value <= (64 if kind is int else 10_000)):
            raise ValueError(f"{path}: {name} is {repr(value)[:80] if name in values else 'missing'}: give "
                             + ("a text" if kind is str else "a whole number from 1 to 64" if kind is int else
                                "a number above 0"))
    return {name: values[name] for name in FIELDS}


def _columns(path: Path, separator: str = "|") -> dict[str, str]:
    """Which column of a transcript is the text, and of which; nothing where there is no transcript."""
    if not path.is_file():
        return {}
    found = columns(path, separator)
    return {"text_column": found.name, "columns": found.all}


def _lay_audiofolder(folder: Path, names: set[str]) -> Layout | None:
    parts = sorted((split, name) for name in names if (split := split_of(name)))
    for places in [("", "")], [(split, name) for split, name in parts]:
        found = [(split, place, table) for split, place in places for table in ("metadata.csv", "metadata.jsonl")
                 if table in (_names(folder / place, part=True) if place else names) and _is_audiofolder(folder / place / table)]
        if found:
            texts = {_text_of_table(folder / place / table) for _, place, table in found}
            if len(texts) > 1:
                raise ValueError(f"the tables of {folder} have their text in columns {', '.join(sorted(texts))}: name them alike")
            return Layout("audiofolder", folder, tuple((f"{place}/{table}".lstrip("/"), split) for split, place, table in found),
                          tuple(dict.fromkeys(place or "." for _, place, _ in found)), text_column=texts.pop(),
                          columns=", ".join(head_of(folder / found[0][1] / found[0][2])))
    return None


def _is_audiofolder(path: Path) -> bool:
    """Whether a metadata file names its columns, with commas between: no lines of id|text do."""
    head = head_of(path)
    return path.suffix == ".jsonl" or "file_name" in head or bool({*TEXTS} & {*head[1:]}) and "|" not in "".join(head)


def _text_of_table(path: Path) -> str:
    head = head_of(path)
    text = next((name for name in TEXTS if name in head), None)
    if text is None or "file_name" not in head:
        raise ValueError(f"{path} has columns {', '.join(head)[:80]!r}: file_name and one of {', '.join(TEXTS)} are needed")
    return text


def _lay_ljspeech(folder: Path, names: set[str]) -> Layout | None:
    if not {"metadata.csv", "wavs"} & names or "metadata.csv" in names and _is_audiofolder(folder / "metadata.csv"):
        return None
    return Layout("LJSpeech", folder, (("metadata.csv", ""),), ("wavs",), **_columns(folder / "metadata.csv"))


def _lay_common_voice(folder: Path, names: set[str]) -> Layout | None:
    tables = tuple((name, split) for name, split in TABLES.items() if name in names)
    if not tables and "validated.tsv" in names:
        tables = (("validated.tsv", ""),)
    if not tables:
        fit = [n for n in sorted(names) if n.endswith(".tsv") and {"path", "sentence"} <= {*head_of(folder / n)}]
        if len(fit) != 1 and "clips" in names:
            raise ValueError(f"corpus folder {folder} has {len(fit)} tables with columns path and sentence: one is needed, or "
                             "train.tsv, dev.tsv and test.tsv, or validated.tsv")
        if len(fit) != 1:
            return None
        tables = ((fit[0], ""),)
    first = (next((row for _, row in transcripts.table(folder / name) if isinstance(row, dict)), {}) for name, _ in tables)
    return Layout("Common Voice", folder, tables, ("clips",), next(filter(None, (row.get("locale") for row in first)), ""),
                  "sentence", ", ".join(head_of(folder / tables[0][0])))


def _lay_mls(folder: Path, names: set[str]) -> Layout | None:
    needs, parts = {"transcripts.txt", "audio"}, [""]
    if not needs <= names:
        parts = [part for part in ("train", "dev", "test") if part in names and needs & _names(folder / part, part=True)]
        if not parts and not needs & names:
            return None
    places = [(folder / part, f"{part}/".lstrip("/"), split_of(part)) for part in parts or [""]]
    return Layout("Multilingual LibriSpeech", folder, tuple((f"{part}transcripts.txt", split) for _, part, split in places),
                  tuple(f"{part}audio" for _, part, _ in places), **_columns(places[0][0] / "transcripts.txt", "\t"))


def _lay_vctk(folder: Path, names: set[str]) -> Layout | None:
    sounds = next((name for name in ("wav48_silence_trimmed", "wav48") if name in names), None)
    return Layout("VCTK", folder, (("txt", ""),), (sounds,)) if sounds else None


def _lay_libri(kind: str, ending: str, folder: Path, names: set[str]) -> Layout | None:
    """Speakers and their chapters in folders of splits, or in this one."""
    parts = [(name, split) for name in sorted(names) if (split := split_of(name)) and _holds(folder / name, ending)] or (
        [(".", "")] if _holds(folder, ending) else [])
    return Layout(kind, folder, tuple(parts), tuple(name for name, _ in parts)) if parts else None


def _holds(folder: Path, ending: str, depth: int = 2) -> bool:
    """Whether a file with that ending is in one of the first folders, of speakers and their chapters, below a folder."""
    with suppress(ValueError):
        if any(name.endswith(ending) for name in _names(folder, part=True)):
            return True
    return depth > 0 and any(_holds(below, ending, depth - 1) for below in _folders(folder)[:PEEKED])


def _lay_mailabs(folder: Path, names: set[str]) -> Layout | None:
    """The books of a tree that is one by the names in it, by those that lead to it, or by a file that only its books have."""
    parts = Path(os.path.abspath(folder)).parts
    if not ({"by_book", *SEXES} & {*names, *parts[-3:]} or any(
            os.path.exists(path / "metadata_mls.json") for path in (folder, *_folders(folder)[:PEEKED]))):
        return None
    books = list(_books(folder, ""))
    parts += ("by_book",) if "by_book" in names else ()
    language = parts[parts.index("by_book") - 1] if "by_book" in parts else ""
    return Layout("M-AILABS", folder, tuple((f"{book}metadata.csv", "") for book in books),
                  tuple(f"{book}wavs" for book in books), language if re.fullmatch("[a-z]{2}_[A-Z]{2}", language) else "",
                  **_columns(folder / books[0] / "metadata.csv")) if books else None


def _books(folder: Path, at: str, depth: int = 4) -> Iterator[str]:
    """Paths, each with its slash, of the folders of books: the folder itself, or some below it."""
    if {"metadata.csv", "wavs"} <= _names(folder):
        yield at
    elif depth:
        for path in _folders(folder):
            yield from _books(path, f"{at}{path.name}/", depth - 1)


KINDS = {
    "codes": Kind("corpus.json, metadata.csv and codes/", _lay_codes, transcripts.piped),
    "M-AILABS": Kind("by_book/female/<speaker>/<book>/metadata.csv and wavs/", _lay_mailabs, transcripts.piped),
    "LJSpeech": Kind("metadata.csv and wavs/", _lay_ljspeech, transcripts.piped),
    "audiofolder": Kind("metadata.csv or metadata.jsonl with file_name and text", _lay_audiofolder, transcripts.audiofolder),
    "Common Voice": Kind("train.tsv or validated.tsv and clips/", _lay_common_voice, transcripts.common_voice),
    "Multilingual LibriSpeech": Kind("transcripts.txt and audio/", _lay_mls, transcripts.mls),
    "VCTK": Kind("txt/ and wav48_silence_trimmed/", _lay_vctk, transcripts.vctk),
    "LibriTTS": Kind("train-clean-100/<speaker>/<chapter>/*.normalized.txt",
                     partial(_lay_libri, "LibriTTS", ".normalized.txt"), transcripts.libritts),
    "LibriSpeech": Kind("train-clean-100/<speaker>/<chapter>/*.trans.txt",
                        partial(_lay_libri, "LibriSpeech", ".trans.txt"), transcripts.librispeech),
}


def entries(layout: Layout) -> Iterator[Entry | SetAside]:
    """Every clip that the transcripts name, in order, then every sound that they do not name."""
    seen: dict[str, tuple[str, int]] = {}       # where an id stands, and with which text
    files = Files(layout.folder, _endings(layout))
    for transcript, split in layout.transcripts:
        for place, found in KINDS[layout.kind].read(layout, transcript, split, files):
            if isinstance(found, SetAside):
                yield found
            elif reason := _bad_name(found):
                yield SetAside(_shown(found.id), _shown(found.file), reason)
            else:
                first, text = seen.setdefault(composed(found.id), (place, hash(found.text)))
                yield _checked(found, layout, files) if first == place else SetAside(
                    found.id, found.file, f"its id stands twice (first in {first}, with "
                    f"{'the same' if text == hash(found.text) else 'another'} text): keep one")
    if layout.kind != "Common Voice":           # whose clips/ holds more than its splits list
        for file in _sounds(layout):
            stem = PurePosixPath(composed(files.stem(file)))
            if layout.kind == "VCTK" and stem.name.endswith("_mic2"):
                continue
            below = (part for part in layout.sounds if stem.is_relative_to(part))
            names = {stem.name.removesuffix("_mic1"), stem.name, str(stem), *(str(stem.relative_to(part)) for part in below)}
            if not names & seen.keys():
                yield SetAside(_shown(PurePosixPath(file).stem), _shown(file), "no transcript: add its text, or ignore it")


def _endings(layout: Layout) -> tuple[str, ...]:
    return (".npy",) if layout.kind == "codes" else ENDINGS


def _sounds(layout: Layout) -> Iterator[str]:
    """Paths of all sounds or codes in the corpus folder, sorted folder by folder."""
    return chain.from_iterable(walk(layout.folder, part, _endings(layout)) for part in layout.sounds)


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
    if not inside(entry.file) or not inside(entry.id) or "//" in entry.file:
        return "its name leaves the corpus folder: rename it"
    return "control characters in the name: rename it" if _controls(entry.id + entry.file) else ""


def _checked(entry: Entry, layout: Layout, files: Files) -> Entry | SetAside:
    reason = None
    if not entry.text:
        reason = "empty text: write what is said"
    elif _controls(entry.text.replace("\t", " ")):
        reason = "control characters in the text: remove them"
    elif not os.path.isfile(layout.folder / entry.file):
        other = files.unread(entry.file)
        reason = f"another format ({other}): convert it to WAV, FLAC, OGG or MP3" if other else \
            f"no {'codes' if layout.kind == 'codes' else 'audio'} for this transcript: add the file, or remove the line"
    return SetAside(entry.id, entry.file, reason) if reason else entry


def listing(layout: Layout) -> str:
    """sha256 over name, size and time of change of all transcripts and clips: changes when any of them does."""
    total = hashlib.sha256()
    described = ("corpus.json",) if layout.kind == "codes" else ()
    transcripts = (walk(layout.folder, t, (".txt",)) if os.path.isdir(layout.folder / t) else (t,) for t, _ in layout.transcripts)
    for name in chain(described, *transcripts, _sounds(layout)):
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
    except Exception:               # whatever a damaged header leads to; SyntaxError and TokenError among others
        raise Unusable("cannot be read as an array of numbers: it is cut off or damaged, or holds something else; write it "
                       "again with numpy.save") from None
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
