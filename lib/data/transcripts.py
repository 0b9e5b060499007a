"""What the transcripts of a corpus say of each clip, and the file that each clip is in.

Text and names are data here: a file is looked for under the name it is given, never run or unpacked.
"""
import csv
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath

from .audio import ENDINGS

OTHERS = tuple(""".m4a .m4b .mp4 .m4v .mov .aac .webm .mka .mkv .wma .wmv .avi .mpg .mpeg .mp2 .flv .ogv .amr .3gp .w64 .caf .au .snd
    .sph .wv .ape .spx .tta .raw .pcm""".split())       # endings of sounds not read
SPLITS = {"train": "train", "training": "train", "dev": "validation", "val": "validation", "valid": "validation",
          "validation": "validation", "test": "test", "testing": "test", "eval": "test"}
IDS = {"id", "file", "file_id", "file_name", "filename", "name", "path", "audio", "audio_file", "audio_path", "wav", "wav_file",
       "wav_filename", "wav_path", "clip", "clip_id", "utt_id", "utterance", "utterance_id"}
BARE = re.compile(r"[^\W\d]+(?:[ -][^\W\d]+){0,2}")        # up to three words, as in the heading of a column
TEXTS = ("text", "transcription", "sentence")               # of a table for Hugging Face
HEADS = {*TEXTS, "transcript", "raw_text", "normalized_text", "normalised_text", "normalized", "normalised"}
SPEAKERS = ("speaker_id", "speaker", "client_id")
SEXES = ("female", "male", "mix")
SAMPLED = 1000      # lines by which it is told which column is the text
# The name of a file of sound or codes, or an id: one word of ASCII with a digit in it.
NAME = re.compile(rf".*({'|'.join(map(re.escape, (*ENDINGS, *OTHERS, '.npy')))})|[!-~]*[0-9][!-~]*", re.IGNORECASE)


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
    transcripts: tuple[tuple[str, str], ...]    # (file or folder of text files, split), paths in the folder
    sounds: tuple[str, ...]                     # folders of the clips
    language: str = ""                          # where the corpus says so
    text_column: str = ""                       # of its table, where it has one: a name, or column 2
    columns: str = ""                           # that the table has: their names, or how many they are
    codec: str = ""                             # of tokens, as are the next
    codebooks: int = 0
    frame_rate: float = 0.0


Lines = Iterator[tuple[str, Entry | SetAside]]      # of a transcript: the place of each, and what it says of a clip


class Files:
    """The clips of a corpus folder by name: in either form of Unicode (NFC, NFD), with their ending in any case, or without."""

    def __init__(self, folder: Path, endings: tuple[str, ...]):
        self.folder, self.endings = folder, endings
        self._names = lru_cache(8)(self._listed)        # for as long as the transcripts are read

    def find(self, *names: str) -> str:
        """Path in the corpus folder of the first of these that is there, by its own ending or another; else of the first."""
        found = next(filter(None, map(self._found, filter(inside, names))), None)
        return found or (names[0] if self._parted(names[0])[1] else names[0] + self.endings[0])

    def stem(self, name: str) -> str:
        return self._parted(name)[0]

    def unread(self, file: str) -> str:
        """The name of a sound like this one in a format that is not read, "" where there is none."""
        folder, name = os.path.split(self._parted(file)[0])
        names = self._names(folder) if inside(file) else {}
        return next((names[composed(name) + e] for e in OTHERS if composed(name) + e in names), "")

    def _parted(self, name: str) -> tuple[str, str]:
        stem, ending = os.path.splitext(name)
        return (stem, ending) if ending.lower() in (*self.endings, *OTHERS) else (name, "")

    def _found(self, name: str) -> str | None:
        stem, ending = self._parted(name)
        endings = dict.fromkeys((ending, *self.endings) if ending else self.endings)
        if exact := next((stem + e for e in endings if os.path.isfile(self.folder / (stem + e))), None):
            return exact
        folder, base = os.path.split(stem)
        folder = self._written(folder)
        names = self._names(folder)
        return next((os.path.join(folder, names[key]) for e in endings if (key := composed(base) + e.lower()) in names), None)

    def _written(self, folder: str) -> str:
        """The path of a folder in the form of Unicode that it has on disk."""
        if not folder or os.path.isdir(self.folder / folder):
            return folder
        above, name = os.path.split(folder)
        above = self._written(above)
        return os.path.join(above, self._names(above).get(composed(name), name))

    def _listed(self, folder: str) -> dict[str, str]:
        try:
            names = os.listdir(self.folder / folder)
        except (OSError, ValueError):
            return {}
        return {composed(stem) + ending.lower(): name for name in names for stem, ending in [self._parted(name)]}


def composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def inside(path: str) -> bool:
    return ".." not in PurePosixPath(path).parts and not path.startswith("/")


def walk(folder: Path, below: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Paths in a corpus folder of all files with these endings below a folder of it, sorted folder by folder."""
    for at, folders, files in os.walk(folder / below):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(endings):
                yield Path(at, name).relative_to(folder).as_posix()


def split_of(name: str) -> str:
    """The split that a folder is named after, as train-clean-100 is, or ""."""
    return SPLITS.get(re.split("[^a-z]", name.lower(), maxsplit=1)[0], "")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of every line of a transcript in UTF-8; ValueError where it is not that, or all are blank."""
    number, empty = 0, True
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                empty = empty and not text.strip()
                yield number, text
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (line {number}, byte {error.object[error.start]:#x}): convert it, for instance "
                         "with iconv -t UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): make it readable") from None
    if empty:
        raise ValueError(f"{path} is empty: it must list the clips with their text")


def rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of a transcript. A field is unquoted where the whole of it is quoted as in CSV."""
    for number, text in lines(path):
        if text.strip():
            yield number, [_unquoted(field.strip()) for field in text.split(separator)]


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"').strip() if re.fullmatch('"(?:[^"]|"")*"', field) else field


def table(path: Path) -> Iterator[tuple[int, dict | str]]:
    """(line, row) of a .tsv, .csv or .jsonl that names its columns: values by column, or why a row cannot be used."""
    if path.suffix == ".jsonl":
        for number, text in lines(path):
            if text.strip():
                yield number, _object(text) or "no object of JSON: write the line again"
        return
    found = rows(path, "\t") if path.suffix == ".tsv" else _comma_separated(path)
    head = next(found)[1]
    for number, fields in found:
        yield number, dict(zip(head, fields)) if not any(fields[len(head):]) else \
            f"more columns than the head of the table ({len(fields)} of {len(head)}): quote the text, or remove a separator"


def head_of(path: Path) -> list[str]:
    """The columns that a .tsv, .csv or .jsonl names in its first line."""
    text = next(text for _, text in lines(path) if text.strip())
    if path.suffix == ".jsonl":
        return list(_object(text) or {})
    return next(rows(path, "\t"))[1] if path.suffix == ".tsv" else [field.strip() for field in next(csv.reader([text[:10_000]]))]


def _object(text: str) -> dict | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _comma_separated(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text + "\n" for _, text in lines(path))
    try:
        yield from ((reader.line_num, [field.strip() for field in fields]) for fields in reader if fields)
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as CSV (line {reader.line_num}: {error}): close its quotation marks") from None


@dataclass(frozen=True)
class Columns:
    """Where a transcript without a table's head has its text."""
    text: tuple[int, ...]       # the text, and the one that stands for it where that is empty
    most: int                   # columns that a line has
    name: str
    all: str                    # the names of all columns, or how many they are
    head: bool                  # whether the first line only names the columns


def columns(path: Path, separator: str) -> Columns:
    """The columns of lines id, text, and perhaps the same text written out.

    The text is the column that a first line names so; without one, the first that is not made of labels (see `_labels`). The
    next column is taken in its place where it is the same text written out: where most letters of its words are in that too.
    Anything else beside the text is left alone.
    """
    sample = [fields for _, fields in islice(rows(path, separator), SAMPLED)]
    head = [name.lower() for name in sample[0]]
    named = head[0] in IDS and bool(HEADS & {*head[1:]})
    sample = sample[named:]
    usual = len(head) if named else Counter(map(len, sample)).most_common(1)[0][0]
    values = [[fields[c] for fields in sample if len(fields) > c and fields[c]] for c in range(usual)]
    choices = [c for c, name in enumerate(head) if name in HEADS] if named else \
        [c for c in range(1, usual) if not _labels(values[c], values[c + 1:])]
    first = choices[0] if choices else 1
    pairs = [fields[first:first + 2] for fields in sample if len(fields) > first + 1 and fields[first + 1]]
    text = (first + 1, first) if _written_out(pairs) else (first,)
    most = max(usual, text[0] + 1)
    return Columns(text, most, *((head[text[0]], ", ".join(head)) if named else (f"column {text[0] + 1}", str(most))), named)


def _labels(values: list[str], later: list[list[str]]) -> bool:
    """Whether the values of a column are labels: numbers, names of files, ids; or what returns, if it is one or two words or
    names, with capitals (Jan Maria Kowalski), or a later column, of as many words at least and no labels itself, has twice as many
    different ones."""
    letters, digits = (sum(map(kind, "".join(values))) for kind in (str.isalpha, str.isdigit))
    if letters <= digits or 2 * sum(1 for value in values if NAME.fullmatch(value)) > len(values):
        return True
    if 3 * len(set(values)) > 2 * len(values):
        return False
    return _words(values) <= 2 or 2 * sum(map(str.istitle, values)) > len(values) or any(
        len(set(other)) >= 2 * len(set(values)) and _words(other) >= _words(values) and not _labels(other, []) for other in later)


def _words(values: list[str]) -> float:
    """Words in a value, the mean."""
    return sum(len(value.split()) for value in values) / max(1, len(values))


def _written_out(pairs: list[list[str]]) -> bool:
    words = [(word, out.casefold()) for text, out in pairs for word in re.findall(r"[^\W\d_]+", text.casefold())]
    return 2 * sum(len(word) for word, out in words if word in out) > sum(len(word) for word, _ in words)


def _separated(layout: Layout, transcript: str, separator: str, files: Files, entry: Callable[[str, str], Entry]) -> Lines:
    """What `entry` makes of the id and the text of each line. A first line of a few bare words, for which there is no sound, is
    taken for a heading."""
    path = layout.folder / transcript
    known = columns(path, separator)
    for i, (line, (id, *texts)) in enumerate(islice(rows(path, separator), known.head, None)):
        bare = not i and not known.head and all(map(BARE.fullmatch, (id, *texts)))
        if not any(texts[known.most - 1:]):
            del texts[known.most - 1:]
        place, count, problem = f"{transcript} line {line}", len(texts) + 1, ""
        if not texts:
            problem = f"no separator: a line is id{'|' if separator == '|' else ', a tab, '}text"
        elif not known.text[-1] < count <= known.most:
            problem = f"{'more' if count > known.most else 'fewer'} columns than the other lines ({count} of {known.most}): " \
                      "correct its separators"
        text = next((texts[c - 1] for c in known.text if c < count and texts[c - 1]), "")
        found = SetAside(place, transcript, problem) if problem else entry(id, text)
        if bare and not (problem or os.path.isfile(layout.folder / found.file) or files.unread(found.file)):
            kind = "codes have" if layout.kind == "codes" else "audio has"
            found = SetAside(place, transcript, f"taken for a heading, since no {kind} that name: remove the line, or add the file")
        yield place, found


def piped(layout: Layout, transcript: str, split: str, files: Files) -> Lines:
    folder, sounds = PurePosixPath(transcript).parent, "codes" if layout.kind == "codes" else "wavs"
    speaker = _reader(Path(os.path.abspath(layout.folder / folder))) if layout.kind == "M-AILABS" else ""

    def entry(id: str, text: str) -> Entry:
        name = _without(id, sounds)
        return Entry(files.stem(name), text, files.find(f"{folder / sounds}/{name}"), split, speaker)
    return _separated(layout, transcript, "|", files, entry)


def _reader(book: Path) -> str:
    """Who reads a book of M-AILABS: its folder is in that of the speaker, or of a sex or a mixture, which names none."""
    return "" if book.parent.name in (*SEXES, "by_book") else book.parent.name


def mls(layout: Layout, transcript: str, split: str, files: Files) -> Lines:
    folder = PurePosixPath(transcript).parent / "audio"

    def entry(id: str, text: str) -> Entry:
        name = _without(id, "audio")
        speaker, *book = PurePosixPath(files.stem(name)).name.split("_")[:2]
        places = [f"{folder}/{speaker}/{book[0]}/{name}"] if book else []
        return Entry(files.stem(name), text, files.find(*places, f"{folder}/{name}") if inside(name) else f"{folder}/{name}",
                     split, speaker if book else "")
    return _separated(layout, transcript, "\t", files, entry)


def _without(name: str, folder: str) -> str:
    """A clip's name in the folder of the clips, where it is written with that."""
    return name.removeprefix("./").removeprefix(f"{folder}/")


def _tabled(path: Path, transcript: str, needed: tuple[str, str], entry: Callable[[dict], Entry]) -> Lines:
    """What `entry` makes of each row of a table that names its columns."""
    for line, row in table(path):
        place = f"{transcript} line {line}"
        problem = row if isinstance(row, str) else next((f"fewer columns than the head of the table (no {name}): add it"
                                                         for name in needed if not isinstance(row.get(name), str)), "")
        yield place, SetAside(place, transcript, problem) if problem else entry(row)


def common_voice(layout: Layout, transcript: str, split: str, files: Files) -> Lines:
    path = layout.folder / transcript
    if not {"path", "sentence"} <= set(head := head_of(path)):
        raise ValueError(f"{path} has columns {', '.join(head)[:80]!r}: path and sentence are needed")

    def entry(row: dict) -> Entry:
        name = _without(row["path"], "clips")
        return Entry(PurePosixPath(files.stem(name)).name, row["sentence"], files.find(f"clips/{name}"), split,
                     row.get("client_id", ""))
    return _tabled(path, transcript, ("path", "sentence"), entry)


def audiofolder(layout: Layout, transcript: str, split: str, files: Files) -> Lines:
    folder = PurePosixPath(transcript).parent

    def entry(row: dict) -> Entry:
        name = _without(row["file_name"], ".")
        place = str(folder / name) if name else ""
        own = split or ("" if "/" not in place else split_of(PurePosixPath(place).parts[0]))
        speaker = next((str(row[column]) for column in SPEAKERS if row.get(column)), "")
        return Entry(files.stem(place), " ".join(row[layout.text_column].split()), files.find(place), own, speaker)
    return _tabled(layout.folder / transcript, transcript, ("file_name", layout.text_column), entry)


def vctk(layout: Layout, transcript: str, split: str, files: Files) -> Lines:
    def entry(file: PurePosixPath, text: str) -> Entry:
        place = f"{layout.sounds[0]}/{file.parent.name}/{file.stem}"
        return Entry(file.stem, text, files.find(f"{place}_mic1", f"{place}_mic2", place), split, file.parent.name)
    return _texts(layout.folder, transcript, ".txt", entry)


def libritts(layout: Layout, transcript: str, split: str, files: Files) -> Lines:
    def entry(file: PurePosixPath, text: str) -> Entry:
        place = str(file)[:-len(".normalized.txt")]
        return Entry(PurePosixPath(place).name, text, files.find(place), split, (layout.folder / file).parents[1].name)
    return _texts(layout.folder, transcript, ".normalized.txt", entry)


def _texts(folder: Path, below: str, ending: str, entry: Callable[[PurePosixPath, str], Entry]) -> Lines:
    """What `entry` makes of each file that holds the text of one clip."""
    for file in walk(folder, below, (ending,)):
        try:
            text = " ".join((folder / file).read_text("utf-8-sig").split())
        except (OSError, ValueError) as error:
            yield file, SetAside(PurePosixPath(file).name, file, f"its text cannot be read ({type(error).__name__}): write it "
                                 "again in UTF-8")
        else:
            yield file, entry(PurePosixPath(file), text)


def librispeech(layout: Layout, transcript: str, split: str, files: Files) -> Lines:
    for file in walk(layout.folder, transcript, (".trans.txt",)):
        chapter = PurePosixPath(file).parent
        for line, text in lines(layout.folder / file):
            id, _, said = text.strip().partition(" ")
            if id:
                yield f"{file} line {line}", Entry(id, said.strip(), files.find(str(chapter / id)), split,
                                                   (layout.folder / chapter).parent.name)
