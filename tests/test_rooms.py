"""The rooms of lib: imports point one way, in no circle and from no function; loose files are short; a file that moves is no other."""
import ast
import os
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from lib.config import REPOSITORY

FILES = {path.relative_to(REPOSITORY).with_suffix(""): path for path in sorted((REPOSITORY / "lib").rglob("*.py"))}
MODULES = {".".join(name.parts).removesuffix(".__init__"): path for name, path in FILES.items()}
# A room imports from lower floors and from itself; loose files are rooms of their own.
FLOORS = (("lib", "config", "files", "records", "progress", "command"), ("data", "models", "metrics"), ("training",), ("speaking",),
          ("measuring",), ("study", "report", "speak"), ("run", "bench", "generate", "speech_study"))
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
LATE = {    # imports inside functions, and why they wait
    "lib.records": {"torch"},                       # commands that only read records are not to wait seconds for it
    "lib.metrics.speech": {"pesq"},                 # of requirements-dev.txt: measured where it is installed
    "lib.measuring.bench": {"mambapy.pscan", "mamba_ssm.ops.selective_scan_interface", "lib.models.scan_triton"},   # peers; CUDA
    "lib.models.scan": {"mamba_ssm.ops.selective_scan_interface", "lib.models.scan_triton"},    # needs CUDA; needs Triton
    "lib.models.ssd": {"mamba_ssm.ops.triton.ssd_combined"},                                    # needs CUDA
}


def imported(tree: ast.AST, module: str) -> set[str]:
    """The modules that a part of a module's source imports by statement, by their full names."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            modules = {f"{source}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= modules or {source}
    return found


TREES = {module: ast.parse(path.read_bytes()) for module, path in MODULES.items()}
IMPORTS = {module: {name for name in imported(tree, module) if name in MODULES} for module, tree in TREES.items()}


def room(module: str) -> str:
    return ".".join(module.split(".")[1:2]) or "lib"


def test_imports_point_one_way():
    assert len(MODULES) > 80 and {room(m) for m in MODULES} == FLOOR.keys() and sum(map(len, IMPORTS.values())) > 300
    wrong = [f"{module} imports {name}" for module, names in IMPORTS.items() for name in sorted(names)
             if room(name) != room(module) and FLOOR[room(name)] >= max(FLOOR[room(module)], 1)]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter(IMPORTS).prepare()        # imports inside functions too: a CycleError names the circle


def test_an_import_waits_in_a_function_only_for_a_reason():
    late: dict[str, set[str]] = {}
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and (names := imported(node, module)):
                late.setdefault(module, set()).update(names)
    assert late == LATE


def test_no_loose_file_is_long():
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (REPOSITORY / "lib").glob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > 250} == {} and len(lengths) > 5


@pytest.fixture
def moved(tmp_path) -> Path:
    """A copy of the project in which a file of models has another name and one of speaking is in another room, beside the reference."""
    for folder in ("lib", "tests", "data"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "runs", "cache"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "reference").symlink_to(REPOSITORY / "figures" / "reference")
    for old, new in (("models.feed_forward", "models.mlp"), ("speaking.sampling", "data.draws")):
        source, target = (tmp_path / "lib" / f"{name.replace('.', '/')}.py" for name in (old, new))
        source.rename(target)
        room, name = old.split(".")
        for path in (*(tmp_path / "lib").rglob("*.py"), *(tmp_path / "tests").rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            path.write_text(re.sub(rf"from (?:\.|\.+{room}\.|lib\.{room}\.){name} import", f"from lib.{new} import", text), encoding="utf-8")
    return tmp_path


@pytest.mark.long
def test_when_files_are_renamed_and_moved_runs_of_the_reference_are_found(moved):
    done = subprocess.run([sys.executable, "-m", "pytest", "tests/training/test_behaviour.py", "-m", "not long", "-k", "another_core",
                           "-p", "no:cacheprovider"], cwd=moved, text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(moved)})
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
