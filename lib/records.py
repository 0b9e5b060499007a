"""Run records: what was run, on what, what came out. Found by content, written atomically, damage noticed.

A run is found again as long as today's code would compute the same. Its identity, whose hash is its key, holds its
configuration, data and codec, and how the code behaves: a few numbers that it gives on fixed data (lib.training.behaviour,
lib.measuring.hearing). What is cheap to make again, and what depends on how fast the code is, holds a digest of the code.
"""
import ast
import hashlib
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from .config import REPOSITORY, workspace
from .files import Damaged, file_digest, move, write_atomic

REFERENCE = REPOSITORY / "figures" / "reference" / "runs"       # records of the committed study, most without files
KEPT = ("speech", "said", "drawn", "longer", "joins", "recogniser", "codec_quality")  # kinds that a study finds there


def digest(value: object) -> str:
    """sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def code_digest(*patterns: str) -> str:
    """sha256 over what the sources of `lib` that match say to Python: comments, docstrings and layout do not count."""
    return digest([_syntax(path) for path in sorted({p for q in patterns for p in (REPOSITORY / "lib").glob(q)})])


@cache
def _syntax(path: Path) -> str:
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            del body[0]
    return digest(ast.dump(tree))


def stable(numbers: Iterable[float]) -> list[str]:
    """Numbers computed in float64, to the digits that do not depend on the processor: others differ in the 13th."""
    return [f"{number:.8g}" for number in numbers]


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
        return found(self.name) or folder(self.kind, self.key)

    @property
    def stripped(self) -> bool:
        """Whether this is a run of the reference that is kept without its files."""
        return self.folder.is_relative_to(REFERENCE) and not all((self.folder / name).exists() for name in self.files)

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
    where = found(f"{kind}/{digest(identity)[:12]}")
    return load(where / "record.json") if where else None


def found(name: str) -> Path | None:
    """The folder of the run cited so: of this workspace, else of the reference; None where it is in neither."""
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
            digests[name] = move(content, where / name)
        else:
            write_atomic(where / name, content)
            digests[name] = hashlib.sha256(content).hexdigest()
    stored = json.loads(json.dumps({
        "kind": kind, "key": key, "identity": identity, "environment": environment(), "result": result,
        "files": digests, "created": datetime.now(UTC).isoformat(timespec="seconds")}))
    write_atomic(where / "record.json", _packed(stored))
    return Record(**stored)


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
    """The runs of a study's manifest by role, those of the published one where it is named "reference"; none where there is no
    manifest."""
    _, runs = _places(study)
    return {role: [load((found(name) or runs / name) / "record.json") for name in names]
            for role, names in _manifest(study).items()}


def _places(study: str) -> tuple[Path, Path]:
    """The folder that a study's manifest is in, and the one of its runs."""
    return (REFERENCE.parent, REFERENCE) if study == REFERENCE.parent.name else (figures_root(study), runs_root())


def _manifest(study: str) -> dict[str, list[str]]:
    path = _places(study)[0] / "manifest.json"
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
