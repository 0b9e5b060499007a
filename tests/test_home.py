"""A user whose home cannot be written, nor the repository, as in many containers."""
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lib.config import REPOSITORY

KERNEL = """
import torch
from lib.models.linear import _frame_linear, frame_linear
with torch.no_grad():
    y = frame_linear(torch.ones(1, 3), torch.tensor([[1., 2, 3]]))
assert y.tolist() == [[6]] and sum(_frame_linear.stats.cache_misses.values()) == 1, _frame_linear.stats
"""
NOTEBOOK = KERNEL + "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.close()"

pytestmark = pytest.mark.long


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody can write; pytest's own can be entered only by who runs the tests."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def run(code: str, workspace: Path, temporary: Path) -> subprocess.CompletedProcess:
    """Python without a home; where root runs the tests, as a user who may read everything and owns nothing."""
    env = {name: value for name, value in os.environ.items()
           if name not in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "IPYTHONDIR", "TRITON_CACHE_DIR")}
    env |= {"HOME": "/nonexistent", "TTS_WORKSPACE": str(workspace), "TMPDIR": str(temporary)}
    user = []
    if os.geteuid() == 0:
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        if not shutil.which("setpriv") or subprocess.run([*user, "true"], capture_output=True).returncode:
            pytest.skip("root cannot give up its rights here: setpriv is missing or may not keep dac_read_search")
    return subprocess.run([*user, sys.executable, "-c", code], env=env, cwd=REPOSITORY, capture_output=True, text=True)


def test_notebooks_run_without_a_word_and_keep_kernels_in_the_workspace(shared):
    notebooks = shared / "notebooks"
    notebooks.mkdir()
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    cells = [new_code_cell("study = 'quick'", metadata={"tags": ["parameters"]}), new_code_cell(NOTEBOOK)]
    nbformat.write(new_notebook(cells=cells, metadata=metadata), notebooks / "01_first.ipynb")
    done = run("import sys\nfrom pathlib import Path\nfrom lib import run\n"
               f"run.NOTEBOOKS = Path({str(notebooks)!r})\nsys.exit(run.main(['--study', 'smoke']))", shared, shared)
    assert done.returncode == 0 and done.stderr == "", done.stderr + done.stdout
    executed = nbformat.read(shared / "figures" / "smoke" / "notebooks" / "01_first.ipynb", as_version=4)
    assert [output for cell in executed.cells for output in cell.get("outputs", [])] == []
    assert list((shared / "data" / "cache" / "numba").rglob("linear._frame_linear*.nbc"))


def test_kernels_compile_where_nothing_of_the_project_can_be_written(shared):
    workspace, temporary = shared / "workspace", shared / "temporary"
    workspace.mkdir(mode=0o555)
    temporary.mkdir()
    temporary.chmod(0o777)
    done = run(KERNEL + f"assert _frame_linear._cache.cache_path.startswith({str(temporary)!r})", workspace, temporary)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert list(workspace.iterdir()) == list(temporary.iterdir()) == []
