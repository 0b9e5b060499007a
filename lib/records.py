"""Run records: what was run, on what, what came out. Found by content, written atomically, damage noticed."""
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from .config import REPOSITORY, workspace

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFERENCE = REPOSITORY / "figures" / "reference" / "runs"       # records of the committed study, most without files
KEPT = ("speech", "said", "longer")     # kinds of which the record says enough: the study of speech adds to those
PART = ".part"              # ends the name of what is being written, and of what a killed process left of it


class Damaged(ValueError):
    """A stored file does not hold what was written to it."""


class Unwritable(OSError):
    """A file could not be written: why, and the way out, in one line."""

    def __init__(self, path: Path, error: OSError):
        way = "free some space" if error.errno in FULL else "make it writable"
        super().__init__(f"{path} cannot be written ({error.strerror or error}): {way}, or set TTS_WORKSPACE to "
                         "another folder, and run the same command again")


def digest(value: object) -> str:
    """sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(*patterns: str) -> str:
    """sha256 over the sources of `lib` that match, so that a fix never reuses a stale run."""
    return digest([file_digest(p) for p in sorted({p for q in patterns for p in (REPOSITORY / "lib").glob(q)})])


def file_name(id: str) -> str:
    """A file name for a foreign id: the id itself where it is a plain word, else a readable stem and its digest."""
    if re.fullmatch(r"(?!.*-[0-9a-f]{16}$)[A-Za-z0-9_][A-Za-z0-9_-]{0,59}", id):
        return id
    stem = re.sub(r"[^A-Za-z0-9]+", "_", id)[:40].strip("_") or "id"
    return f"{stem}-{hashlib.sha256(id.encode(errors='surrogatepass')).hexdigest()[:16]}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system says against writing `path` becomes Unwritable."""
    try:
        yield
    except Unwritable:
        raise
    except OSError as error:
        raise Unwritable(path, error) from error


def write_atomic(path: Path, content: bytes, durable: bool = True) -> Path:
    """Write a file whole or not at all: a temporary file beside it, flushed to disk if `durable`, then renamed."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(PART, f".{path.name[:200]}.", path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                _hold(file.fileno())
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
                os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return path


def _hold(handle: int) -> None:
    """Say to `sweep` that somebody is writing; a file system that cannot lock is not swept either."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder beside what will be moved out of it; afterwards it is gone, at the latest when a run sweeps."""
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(PART, ".", parent))
    handle = os.open(path, os.O_RDONLY)
    try:
        _hold(handle)
        yield path
    except OSError as error:
        raise Unwritable(parent, error) if error.errno in FULL else error
    finally:
        os.close(handle)
        shutil.rmtree(path, ignore_errors=True)


def sweep(root: Path) -> None:
    """Remove what killed processes left half-written below `root`; what somebody is writing stays."""
    for folder, folders, files in os.walk(root):
        for name in [n for n in folders + files if n.startswith(".") and n.endswith(PART)]:
            path = Path(folder, name)
            with suppress(OSError):
                handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                finally:
                    os.close(handle)


def seal(payload: bytes) -> bytes:
    """The payload behind its sha256: `unseal` notices whatever happens to it."""
    return hashlib.sha256(payload).digest() + payload


def unseal(path: Path) -> bytes:
    """The payload of a sealed file, Damaged where it is not the one that was sealed."""
    content = path.read_bytes()
    payload = content[32:]
    if hashlib.sha256(payload).digest() != content[:32]:
        raise Damaged(f"{path} is damaged: delete it and run the same command again; it is made again")
    return payload


def environment() -> dict:
    """Hardware, versions and threads: what a timing depends on besides the code."""
    import torch
    cuda = torch.cuda.is_available()
    return {"device": torch.cuda.get_device_name() if cuda else "cpu", "processor": _processor(),
            "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system(),
            "python": platform.python_version(),
            **{p: metadata.version(p) for p in ("torch", "numpy", "numba", "encodec", "espeakng-loader")}}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@dataclass(frozen=True)
class Record:
    """One finished run: `identity` is what was asked for (its hash is the key), `result` what came out."""
    kind: str
    key: str
    identity: dict
    environment: dict
    result: dict
    files: dict         # name -> sha256 of each file beside the record
    created: str

    @property
    def name(self) -> str:
        """How the report cites this run."""
        return f"{self.kind}/{self.key[:12]}"

    @property
    def folder(self) -> Path:
        return _found(self.name) or folder(self.kind, self.key)

    def file(self, name: str) -> Path:
        """Path of a file of this run, after checking that it is the one that was written."""
        path = self.folder / name
        if not path.exists() or file_digest(path) != self.files[name]:
            raise Damaged(f"{path} is missing or damaged: delete {self.folder} and run the notebook again")
        return path


def runs_root() -> Path:
    return workspace() / "data" / "runs"


def folder(kind: str, key: str) -> Path:
    return runs_root() / kind / key[:12]


def find(kind: str, identity: dict) -> Record | None:
    """The finished run with this identity, None where there is none, Damaged where its record is not whole."""
    where = _found(f"{kind}/{digest(identity)[:12]}")
    return load(where / "record.json") if where else None


def _found(name: str) -> Path | None:
    """The folder of the run cited so: of this workspace, else of the reference."""
    roots = (runs_root(), REFERENCE) if name.split("/")[0] in KEPT else (runs_root(),)
    return next((root / name for root in roots if (root / name / "record.json").exists()), None)


def load(path: Path) -> Record:
    """Read a record and check it against its own digest."""
    try:
        content = path.read_bytes()
        stored = json.loads(content)
        if _packed({k: v for k, v in stored.items() if k != "digest"}) != content:
            raise ValueError("digest")
        stored.pop("digest")
        return Record(**stored)
    except FileNotFoundError:
        raise Damaged(f"{path} is missing: run the notebooks from 01 on again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is damaged ({error}): delete {path.parent} and run the notebook again") from None


def _packed(stored: dict) -> bytes:
    """A record as its file holds it."""
    return json.dumps({**stored, "digest": digest(stored)}, indent=1).encode()


def save(kind: str, identity: dict, result: dict, files: dict[str, bytes | Path] | None = None) -> Record:
    """Write a run: its files first, the record last, so that a record that exists is whole.

    A file is given as its content, or as the path of one that is moved into place (see `scratch`).
    """
    key = digest(identity)
    where = folder(kind, key)
    digests = {}
    for name, content in (files or {}).items():
        if isinstance(content, Path):
            digests[name] = _move(content, where / name)
        else:
            write_atomic(where / name, content)
            digests[name] = hashlib.sha256(content).hexdigest()
    stored = json.loads(json.dumps({
        "kind": kind, "key": key, "identity": identity, "environment": environment(), "result": result,
        "files": digests, "created": datetime.now(timezone.utc).isoformat(timespec="seconds")}))
    write_atomic(where / "record.json", _packed(stored))
    return Record(**stored)


def _move(source: Path, path: Path) -> str:
    """Move a finished file into place, flushed to disk; its sha256."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(source, "rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        os.replace(source, path)
    return sha256


def environment_identity() -> dict:
    """The part of the environment on which a timing depends: a record made on other hardware is not reused."""
    here = environment()
    return {k: here[k] for k in ("device", "processor", "cores", "threads", "torch", "numba")}


def figures_root(study: str) -> Path:
    return workspace() / "figures" / study


def note(study: str, role: str, runs: list[Record]) -> None:
    """Enter runs into the study's manifest under a role; the report reads no run that is not in it."""
    manifest = _manifest(study) | {role: [run.name for run in runs]}
    write_atomic(figures_root(study) / "manifest.json", json.dumps(manifest, indent=1).encode())


def noted(study: str) -> dict[str, list[Record]]:
    """The runs of a study's manifest by role."""
    manifest = _manifest(study)
    if not manifest:
        raise ValueError(f"study {study} has no runs yet: run notebooks 01 to 06 first "
                         f"(python -m lib.run --study {study})")
    return {role: [load((_found(name) or runs_root() / name) / "record.json") for name in names]
            for role, names in manifest.items()}


def _manifest(study: str) -> dict[str, list[str]]:
    path = figures_root(study) / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        if not all(isinstance(name, str) for names in dict(manifest).values() for name in list(names)):
            raise ValueError("not lists of names")
        return manifest
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise Damaged(f"{path} is damaged ({error}): delete it and run the notebooks from 01 on again; finished runs "
                      "are found, not repeated") from None
