"""Files that are whole or not there: written atomically, sealed, swept; names that are safe."""
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PART = ".part"              # ends the name of what is being written, and of what a killed process left of it


class Damaged(ValueError):
    """A stored file does not hold what was written to it."""


class Unwritable(OSError):
    """A file could not be written: why, and the way out, in one line."""

    def __init__(self, path: Path, error: OSError):
        way = "free some space" if error.errno in FULL else "make it writable"
        super().__init__(f"{path} cannot be written ({error.strerror or error}): {way}, or set TTS_WORKSPACE to "
                         "another folder, and run the same command again")


def file_digest(path: Path) -> str:
    """sha256 of a file, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        if error.errno in FULL:
            raise Unwritable(parent, error) from error
        raise
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


def move(source: Path, path: Path) -> str:
    """Move a finished file into place, flushed to disk; its sha256."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(source, "rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        os.replace(source, path)
    return sha256
