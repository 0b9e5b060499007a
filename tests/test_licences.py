"""What the project says of licences, its own and those of what it imports."""
import re
import subprocess
import sys
import tomllib

import yaml

from lib.config import REPOSITORY

DEFAULT_PATH = """
import importlib, pkgutil, sys
import numpy as np
import lib, lib.records
for module in pkgutil.walk_packages(lib.__path__, "lib."):
    if module.name != "lib.models.scan_triton":     # Triton is no requirement
        importlib.import_module(module.name)
from lib.data.codec import HOP, load_codec
codec = load_codec()
codes = codec.encode(np.zeros(3 * HOP - 1, np.float32), 4)
assert codes.shape == (4, 3) and codec.decode(codes).shape == (3 * HOP,)
assert lib.records.environment()["encodec"]
print([name for name in sys.modules if name.split(".")[0] == "encodec"])
"""


def test_the_default_path_never_imports_encodec():
    """Its licence forbids commercial use."""
    done = subprocess.run([sys.executable, "-c", DEFAULT_PATH], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_the_licence_is_the_same_everywhere():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert project["license"] == citation["license"] == "GPL-3.0-or-later"
    assert project["version"] == citation["version"] and citation["cff-version"] == "1.2.0"
    file, = project["license-files"]
    assert re.match(r"\s+GNU GENERAL PUBLIC LICENSE\s+Version 3, 29 June 2007\n", (REPOSITORY / file).read_text())


def test_the_licence_of_every_requirement_is_told():
    section = (REPOSITORY / "README.md").read_text().partition("## Licences\n")[2].lower()
    required = re.findall(r"^([\w-]+)==", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    named = {"torch": "pytorch"}
    assert [name for name in required if not re.search(rf"\b{named.get(name, name)}\b", section)] == []
