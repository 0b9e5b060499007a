"""CONTRIBUTING.md does what it says: its files and changes are made in a copy of the project, and work there."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.config import REPOSITORY

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
METRIC = """
import numpy as np
from lib.measuring.intelligibility import Judge
from lib.data.phrases import Group, Phrase
from lib.models.recogniser import Recogniser
judge = Judge(None, Recogniser(("a", "b")).eval(), None)
sound = np.sin(np.arange(24_000) / 20).astype(np.float32) / 4
heard = judge.hear(Phrase("p", "a", (Group("a", (("a", 9),)),), np.zeros((8, 9), np.int16)), None, sound / 2, sound)
assert abs(heard["louder_db"] + 6.02) < 0.01, heard
"""
LAYOUT = """
import sys
from pathlib import Path
import numpy as np, soundfile
from lib.data.layouts import Entry, SetAside, entries, recognise
folder = Path(sys.argv[1]) / "mine"
(folder / "recordings").mkdir(parents=True)
soundfile.write(folder / "recordings" / "one.wav", np.zeros(24_000), 24_000)
(folder / "transcripts.tsv").write_text("one.wav\\tala ma kota\\ntwo.wav\\tnie ma\\n", encoding="utf-8")
one, two = entries(recognise(folder))
assert one == Entry("one", "ala ma kota", "recordings/one.wav") and isinstance(two, SetAside), (one, two)
"""


@pytest.fixture(scope="module")
def changed(tmp_path_factory) -> Path:
    """A copy of the project with everything that the page writes."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("lib", "tests", "data"):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "runs", "cache"))
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    for path, content in re.findall(r"```python (\S+)\n(.*?)```", TEXT, re.DOTALL):
        (copy / path).write_text(content, encoding="utf-8")
    for diff in re.findall(r"```diff\n(.*?)```", TEXT, re.DOTALL):
        subprocess.run(["git", "apply", "--unidiff-zero", "-"], cwd=copy, input=diff, text=True, check=True,
                       env={**os.environ, "GIT_CEILING_DIRECTORIES": str(copy.parent)})
    return copy


def run(copy: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=copy, text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(copy)})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_a_new_core_passes_the_tests_of_all_cores(changed):
    run(changed, "-m", "pytest", "tests/models/test_models.py", "tests/speaking/test_recorded.py", "-q", "-x", "-k", "mean",
        "-p", "no:cacheprovider")


@pytest.mark.long
def test_a_new_metric_is_in_every_row_of_what_was_heard(changed):
    run(changed, "-c", METRIC)


def test_a_new_layout_is_recognised_and_read(changed, tmp_path):
    run(changed, "-c", LAYOUT, str(tmp_path))
