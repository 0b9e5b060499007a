"""Whatever is killed, and whenever: the same command goes on from there and ends with what an unbroken run gives."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.torch import load

from conftest import run_smoke, start_smoke
from lib import files, records
from lib.config import REPOSITORY

pytestmark = [pytest.mark.long, pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")]
KILLS = {"01": 2, "02": 3, "03": 3, "04": 3, "05": 3, "06": 3, "07": 3}       # 20; about as long as each notebook takes
LONGEST = 20.0          # seconds: half of the kills come earlier than the middle of this, or of the notebook
MEASURED = {"seconds", "training_s", "resumed", "tokens_per_s", "real_time_factor", "codec_seconds"}


def processes(workspace: Path) -> list[int]:
    """Every process that was started for this workspace and lives."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"TTS_WORKSPACE={workspace}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def killed(process: subprocess.Popen, moment: float, workspace: Path, everything: bool) -> bool:
    """Whether the process was still there at that moment to be killed: alone, or with all that it had started."""
    try:
        process.wait(moment)
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        for pid in processes(workspace) if everything else []:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        return True


def computed(value: object) -> object:
    """A result without what no two runs share: seconds, memory, how often it was resumed."""
    if isinstance(value, dict):
        return {k: computed(v) for k, v in value.items() if k not in MEASURED}
    return [computed(v) for v in value] if isinstance(value, list) else value


def whole(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, dict]:
    """Runs by role and everything else that two runs share, after checking that every file is whole."""
    monkeypatch.setenv("TTS_WORKSPACE", str(workspace))
    for path in workspace.rglob("*.json"):
        json.loads(path.read_bytes())
    for path in (workspace / "data" / "runs").rglob("record.json"):
        record = records.load(path)
        assert {p.name for p in record.folder.iterdir()} == {"record.json", *record.files}
        assert all(record.file(name) for name in record.files)
    assert [p.name for p in workspace.rglob(".*")] == [".lock"]
    folder = workspace / "figures" / "smoke"
    written = [p for p in folder.rglob("*") if not p.match("*.failed.ipynb")]
    roles = {role: [(run.name, run.identity, run.files, None if run.kind == "profile" else computed(run.result))
                    for run in runs] for role, runs in records.noted("smoke").items()}
    return roles, {"stages": list(json.loads((folder / "stages.json").read_bytes())),
                   "files": sorted(str(p.relative_to(folder)) for p in written),
                   "cache": sorted(p.name for p in (workspace / "data" / "cache").rglob("*"))}


def test_a_study_killed_at_20_random_moments_ends_as_an_unbroken_one(smoke, tmp_path, monkeypatch):
    draw = random.Random(0)
    for run in sorted((smoke / "data" / "runs" / "profile").iterdir())[2:]:     # of timings only two are made again
        shutil.copytree(run, tmp_path / "data" / "runs" / "profile" / run.name)
    stages = json.loads((smoke / "figures" / "smoke" / "stages.json").read_bytes())
    for (number, kills), seconds in zip(KILLS.items(), stages.values(), strict=True):
        longest = min(seconds + 2, LONGEST)
        while kills:
            process = start_smoke(tmp_path, "--only", number)
            if killed(process, draw.uniform(0, longest), tmp_path, everything=kills % 2 == 0):
                kills -= 1
            else:                                       # nothing was left to do
                assert process.returncode == 0, process.communicate()
                longest /= 2
        done = run_smoke(tmp_path, "--only", number)
        assert done.returncode == 0, done.stderr + done.stdout
    roles, rest = whole(smoke, monkeypatch)
    again, rest_again = whole(tmp_path, monkeypatch)
    assert again == roles and rest_again == rest
    assert processes(tmp_path) == []


TRAIN = """
import numpy as np
from lib.config import ModelConfig, TrainConfig
from lib.data.tokens import Tokens
from lib.training import loop
from lib.training.memorise import train
loop.CHECKPOINT_SECONDS, real = 0.1, loop.descend
def first(*arguments):
    loop.descend = real
    print("started", flush=True)
    return real(*arguments)
loop.descend = first
random = np.random.default_rng(0)
clips = [Tokens(str(i), "ala ma kota", random.integers(0, 1024, (4, 9)).astype(np.int16), "c" * 64) for i in range(3)]
config = TrainConfig(ModelConfig("mamba_conv"), clips=3, steps=60, accuracy=2)
train(config, clips, clips[:1])
"""


def training(workspace: Path) -> subprocess.Popen:
    """A training in a process of its own that has begun its first step, or ended."""
    process = subprocess.Popen([sys.executable, "-c", TRAIN], cwd=REPOSITORY, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env={**os.environ, "TTS_WORKSPACE": str(workspace)})
    process.stdout.readline()
    return process


def test_a_training_killed_at_random_moments_ends_bit_identical(tmp_path, monkeypatch):
    trained = []
    for name, kills in (("unbroken", 0), ("killed", 4)):
        workspace, draw = tmp_path / name, random.Random(0)
        while kills and killed(training(workspace), draw.uniform(0.2, 1.5), workspace, everything=False):
            kills -= 1
        process = training(workspace)
        error = process.communicate()[1]
        assert process.returncode == 0, error
        monkeypatch.setenv("TTS_WORKSPACE", str(workspace))
        files.sweep(workspace)
        record = records.load(next(workspace.rglob("record.json")))
        assert {p.name for p in record.folder.iterdir()} == {"record.json", "model.safetensors"}
        trained.append((record.key, computed(record.result), load(record.file("model.safetensors").read_bytes())))
    (key, result, weights), (again, result_again, weights_again) = trained
    assert again == key and result_again == result and record.result["resumed"] > 0
    assert all((weights[name] == weights_again[name]).all() for name in weights)
