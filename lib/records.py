"""Run records: what was run, on what, what came out. Found by content, written atomically, damage noticed."""
import hashlib
import json
import os
import platform
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from .config import REPOSITORY, workspace


class Damaged(ValueError):
    """A stored file does not hold what was written to it."""


def digest(value: object) -> str:
    """sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file, as `sha256sum` prints it."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def code_digest(*patterns: str) -> str:
    """sha256 over the sources of `lib` that match, so that a fix never reuses a stale run."""
    return digest([file_digest(p) for p in sorted({p for q in patterns for p in (REPOSITORY / "lib").glob(q)})])


def write_atomic(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all: a temporary file beside it, flushed to disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


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
        return folder(self.kind, self.key)

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
    key = digest(identity)
    path = folder(kind, key) / "record.json"
    return load(path) if path.exists() else None


def load(path: Path) -> Record:
    """Read a record and check it against its own digest."""
    try:
        stored = json.loads(path.read_bytes())
        claimed = stored.pop("digest")
        if digest(stored) != claimed:
            raise ValueError("digest")
        return Record(**stored)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is damaged ({error}): delete {path.parent} and run the notebook again") from None


def save(kind: str, identity: dict, result: dict, files: dict[str, bytes] | None = None) -> Record:
    """Write a run: its files first, the record last, so that a record that exists is whole."""
    key = digest(identity)
    where = folder(kind, key)
    files = files or {}
    for name, content in files.items():
        write_atomic(where / name, content)
    stored = json.loads(json.dumps({
        "kind": kind, "key": key, "identity": identity, "environment": environment(), "result": result,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds")}))
    write_atomic(where / "record.json", json.dumps({**stored, "digest": digest(stored)}, indent=1).encode())
    return Record(**stored)


def environment_identity() -> dict:
    """The part of the environment on which a timing depends: a record made on other hardware is not reused."""
    here = environment()
    return {k: here[k] for k in ("device", "processor", "cores", "threads", "torch", "numba")}


def figures_root(study: str) -> Path:
    return workspace() / "figures" / study


def note(study: str, role: str, runs: list[Record]) -> None:
    """Enter runs into the study's manifest under a role; the report reads no run that is not in it."""
    path = figures_root(study) / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else {}
    manifest[role] = [run.name for run in runs]
    write_atomic(path, json.dumps(manifest, indent=1).encode())


def noted(study: str) -> dict[str, list[Record]]:
    """The runs of a study's manifest by role."""
    path = figures_root(study) / "manifest.json"
    if not path.exists():
        raise ValueError(f"study {study} has no runs yet: run notebooks 01 to 06 first (python -m lib.run --study {study})")
    return {role: [load(runs_root() / name / "record.json") for name in names]
            for role, names in json.loads(path.read_text()).items()}
