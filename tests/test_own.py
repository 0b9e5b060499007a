"""The whole pipeline on speech of one's own: every layout, and what cannot be used, through the real runner."""
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from browser import inspect_page, needs_chromium
from corpora import make_common_voice, make_ljspeech, make_mls, make_tokens
from lib.config import REPOSITORY
from lib.data.codec import load_codec
from lib.data.speech import Utterance, synthesise

SCRIPT = "<script>alert(1)</script>"
TEXTS = ("One small step.", "A quiet morning.", f"Seven {SCRIPT} bottles.", "Rain on the roof.", "An open door.",
         "The last $\\frac{ train.", "Bread and butter.", "Cold water.", "A long way home.", "Left or right?")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def spoken() -> list[tuple[str, str, np.ndarray]]:
    """English sentences by three voices; what is written in them beside words is not said."""
    said = [t.replace(SCRIPT, "").replace("$\\frac{", "") for t in TEXTS]
    voices = [Utterance(text, f"en{('', '+f2', '+m3')[i % 3]}") for i, text in enumerate(said)]
    return [(f"{i % 3}_7_{i:03}", text, speech.audio) for i, (text, speech) in enumerate(zip(TEXTS, synthesise(voices)))]


def run(workspace, corpus, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "lib.run", "--study", "smoke", "--corpus", str(corpus), "-p", "seeds", "1",
                           "-p", "cores", "transformer,mamba_conv", *arguments], cwd=REPOSITORY, text=True,
                          capture_output=True, env={**os.environ, "TTS_WORKSPACE": str(workspace)})


def make_codes(folder, clips) -> None:
    codec = load_codec()
    make_tokens(folder, [(id, text, codec.encode(audio, 8)) for id, text, audio in clips], codec="dac_44khz")


@pytest.mark.parametrize("make, arguments, only, sounds", [
    (make_ljspeech, ("-p", "conditioning", "prefix"), (), 2 + 4),
    (make_common_voice, ("-p", "pattern", "delay"), ("01", "02", "03", "07"), 2),
    (make_mls, ("-p", "hold_out", "speaker", "--codec", "OFFICIAL"), ("01", "02", "03", "07"), 2),
    (make_codes, ("-p", "conditioning", "prefix", "-p", "pattern", "delay"), ("01", "02", "03", "06", "07"), 0)])
@needs_chromium
def test_a_report_on_every_layout(make, arguments, only, sounds, spoken, official, tmp_path):
    make(tmp_path / "mine", spoken)
    arguments = [str(official) if a == "OFFICIAL" else a for a in arguments]
    done = run(tmp_path, tmp_path / "mine", *arguments, *(("--only", *only) if only else ()))
    assert done.returncode == 0, done.stderr + done.stdout
    path, = (tmp_path / "figures").glob("smoke-mine-*/report.html")
    page, text = inspect_page(path), path.read_text()
    assert page.requests == [] and page.errors == []
    assert len(page.audio_seconds) == 2 * sounds and all(page.audio_seconds)     # two sentences
    assert "<script>alert" not in text and "corpus mine" in text
    assert ("dac_44khz, a codec that is not known here" in text) == (make is make_codes)


@pytest.mark.parametrize("make, words", [
    (lambda folder: None, "no folder"), (lambda folder: folder.mkdir(), "mine is empty"),
    (lambda folder: make_ljspeech(folder, [("a", "ab", np.zeros(24_000, np.float32))]), "no clip of corpus .*silent"),
])
def test_what_cannot_be_used_is_one_clear_line(make, words, tmp_path):
    make(tmp_path / "mine")
    done = run(tmp_path, tmp_path / "mine", "--only", "01")
    said = [line for line in done.stderr.strip().splitlines() if "src/signaler.cpp" not in line]   # libzmq's, of a kernel ended while busy
    assert done.returncode == 1 and len(said) == 1, done.stderr
    assert re.search(words, done.stderr) and str(tmp_path / "mine") in done.stderr
    assert not list((tmp_path / "data").rglob("record.json"))
