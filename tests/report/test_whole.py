"""Notebook 07 on made-up records: without what it may lack, with whatever numbers the records hold, and of a trial."""
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from itertools import cycle
from types import SimpleNamespace

import numpy as np
import pytest
from bs4 import BeautifulSoup
from IPython.display import HTML
from matplotlib import pyplot as plt
from safetensors.numpy import save

from lib import records
from lib.config import REPOSITORY, Study, TrainConfig, study
from lib.data.corpus import Clip
from lib.data.tokens import Tokens
from lib.report import figures, reference, results, verdicts
from lib.report.claims import CORES
from lib.training.memorise import runs_of

CLIPS = [Clip(f"t{i}", f"kot <b>{i}", None) for i in range(5)]
CODES = np.arange(40).reshape(4, 10).astype(np.int16)
SPEED = {"transformer": 10.0, "mamba_conv": 6.0, "mamba": 7.0}
TRAINED = ("02", "03", "04")
EVERYTHING = ("01", *TRAINED, "05", "06")


def change(value: object, odd: Callable[[float], float]) -> object:
    """A result with every measured number changed: those that are not whole."""
    if isinstance(value, dict):
        return {k: change(v, odd) for k, v in value.items()}
    if isinstance(value, list):
        return [change(v, odd) for v in value]
    return odd(value) if isinstance(value, float) else value


def make(chosen: Study, notebooks: tuple[str, ...] = EVERYTHING, odd: Callable[[float], float] = lambda x: x) -> None:
    """What the notebooks would leave behind: two seeds a core, the hybrid faster, two processes of every timing."""
    def done(role: str, result: dict, identity: dict | None = None, files: dict | None = None) -> records.Record:
        run = records.save(role.split("/")[0], {"of": chosen.label, "role": role} | (identity or {}), change(result, odd), files)
        manifest[role] = [*manifest.get(role, []), run]
        return run

    manifest: dict[str, list[records.Record]] = {}
    if "01" in notebooks:
        done("corpus", {"name": "made up", "speech": "made-up speech", "language": "pl", "alphabet": "ab c", "set_aside": {},
                        "splits": {"test": {"clips": 5, "frames": 50}}})
    cores = [core for core, notebook in zip(CORES, TRAINED) if notebook in notebooks]
    for core in cores:
        for config in runs_of(chosen, core):
            run = done(f"train/{core}", training(core, config), {"config": asdict(config)})
            if "06" not in notebooks:
                continue
            said = [{"id": clip.id, "token_match": 0.9 - 0.01 * config.seed, "tokens_per_s": 1e3 / SPEED[core] + config.seed,
                     "frames": 10, "reference_frames": 10, "ended": True, "real_time_factor": 0.5} for clip in CLIPS]
            role = f"{core}/{config.model.regime}"
            done(f"listen/{role}", {"train": run.name, "sentences": said}, {"seed": config.seed},
                 {"codes.safetensors": save({clip.id: CODES for clip in CLIPS})})
            if not config.seed:
                done(f"influence/{role}", {"train": run.name, "model": asdict(config.model), "moved": [[0.0, 1.0], [0.0, 0.0]], "leak": 0.0})
    if "05" in notebooks:
        for role, result in profiles().items():
            done(role, result)
    for role, runs in manifest.items():
        records.note(chosen.label, role, runs)


def training(core: str, config: TrainConfig) -> dict:
    return {"steps": 3, "history": {"loss": [3.0, 2.0, 1.0], "accuracy": [[0.1, 0.2], [0.5, 0.5], [0.9, 1.0]]},
            "training_s": 6.0 * SPEED[core],
            "steps_to": {"0.5": 2, "0.9": 3 + config.seed, "0.95": 4 + config.seed, "0.999": None},
            "memorised": {"loss": 0.2 + 0.01 * config.seed, "accuracy": 0.99}, "unseen": {"accuracy": 0.01},
            "parameters": 2000 if core == "transformer" else 1000, "core_parameters": 1500 if core == "transformer" else 500}


def profiles() -> dict[str, dict]:
    """The results of notebook 05."""
    steps = [{core: {part: [ms + 0.1 * i] * 3 for part in results.TIMES} for core, ms in SPEED.items()} for i in range(2)]
    lengths = [{core: [{"frames": n, "step_ms": [n * ms + i], "decode_ms": [ms + i + n / 1e3]} for n in (75, 300, 4800)]
                for core, ms in SPEED.items()} for i in range(2)]
    memory = {core: [{"process": i, "frames": 300, "train_peak": ms * 1e6 + i, "train_average": ms * 1e6, "decode_peak": ms * 1e6,
                      "state_bytes": 500} for i in range(2)] for core, ms in SPEED.items()}
    timed = {"size": "made-up", "processes": steps, "decoded": 300, "parameters": dict.fromkeys(CORES, 9), "core_parameters": dict.fromkeys(CORES, 5),
             "sound": {"codec": "c", "frames": 4, "streams": True, "ms": [[3.0], [4.0]]}}
    quality = {"group": "g", "voice": "v", "id": "t", "codebooks": 4, "stoi": 0.9, "mcd_db": 3.0, "f0_cents": 20.0}
    return {"steps": timed, "steps_matched": timed, "lengths": {"size": "made-up", "processes": lengths},
            "memory": {"size": "made-up", "cores": memory}, "memory_lengths": {"size": "made-up", "cores": memory},
            "codec": {"seconds": 4.0, "encode_ms": [5.0], "decode_ms": [6.0]},
            "codec_quality": {"codec": "c", "frames": 10, "perplexity": [5.0], "kilobits_per_s": {"4": 3.0},
                              "rows": [quality, quality | {"codebooks": 0}]}}


@pytest.fixture
def report(monkeypatch, capsys) -> Callable[..., str]:
    """Execute the code of notebook 07 on a study here: all that it shows as text, its figures drawn where that is asked
    for, else named."""
    corpus = SimpleNamespace(codec=None, silent="made-up codes", frame_rate=75, memorised=lambda n: CLIPS[:n],
                             unseen=lambda n: CLIPS[n:], tokens=lambda clip: Tokens(clip.id, clip.text, CODES, "c"))
    shown = []
    monkeypatch.setattr("lib.data.corpus.load_corpus", lambda _: corpus)
    monkeypatch.setattr("IPython.display.display", lambda *objects: shown.extend(objects))
    monkeypatch.setattr(figures, "style", lambda: None)         # its layout takes most of the time

    def execute(name: str, draw: bool = False) -> str:
        shown.clear()
        if not draw:
            monkeypatch.setattr(figures, "keep", lambda figure, study, name, alt=None: [plt.close(figure), HTML(f"<p>figure {name}</p>")][1])
        cells = json.loads((REPOSITORY / "notebooks" / "07_report.ipynb").read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        space = {}
        for source in code[:1] + [f"study = {name!r}"] + code[1:]:
            exec(source, space)
        html = "\n".join(one.data for one in shown if isinstance(one.data, str))
        return BeautifulSoup(html, "html.parser").get_text("\n") + capsys.readouterr().out
    return execute


def test_a_trial_shows_numbers_and_judges_nothing(report):
    for name in ("smoke", "quick"):
        make(study(name))
    judged, trial = report("quick"), report("smoke")
    assert "Mamba + convolution is ahead in" in judged and "is faster at" in judged and "least training time at 300" in judged
    assert re.search(r"Of the original report's \d+ claims [1-9]\d* are reproduced", judged)
    assert trial.startswith("This is a trial of the pipeline.") and "a trial of the pipeline" not in judged
    for word in ("ahead", "are reproduced", "is better", "undecided", "is faster", "contradicts itself", "least training time"):
        assert word not in trial, word
    assert "no choice: a trial of the pipeline" in trial
    assert "mamba_conv takes 40 % less time per training step than transformer (40 to 40 % over 2 processes of one day on one machine)" in trial
    assert "figure original" in judged and "figure original" not in trial and "figure leak" in trial
    read = results.read(study("smoke"))
    judgements = verdicts.judgements(read)
    assert {j.verdict for j in judgements} == {"not comparable"} 
    assert all(j.explanation.startswith("A trial of the pipeline.") for j in judgements)


def test_a_trial_is_not_published(monkeypatch, capsys):
    make(study("smoke"))
    monkeypatch.setattr("sys.argv", ["reference", "--study", "smoke"])
    assert reference.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("study smoke is a trial of the pipeline") and len(error.splitlines()) == 1


@pytest.mark.parametrize("notebooks, corpus, words", [
    ((), None, "no corpus has been prepared and no core has been trained in study quick yet: run notebooks 01 to 04 first "
               "(python -m lib.run --study quick --only 01 02 03 04)"),
    (("01",), None, "no core has been trained in study quick yet: run notebooks 02 to 04 first "
                    "(python -m lib.run --study quick --only 02 03 04)"),
    (("02", "05", "06"), None, "no corpus has been prepared in study quick yet: run notebook 01 first "
                               "(python -m lib.run --study quick --only 01)"),
    (("01",), "/my speech", "--study quick --corpus '/my speech' --only 02 03 04)"),
])
def test_what_must_be_run_first_is_one_line(notebooks, corpus, words):
    chosen = study("quick", corpus=corpus)
    make(chosen, notebooks)
    with pytest.raises(ValueError) as error:
        results.read(chosen, "corpus", "train")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_study_that_was_not_heard_is_not_published():
    make(study("quick"), ("01", "02", "05"))
    (records.figures_root("quick") / "report.html").write_text("")
    with pytest.raises(ValueError, match="not every core has been heard in study quick yet: run notebook 06 first"):
        reference.publish(study("quick"))


@pytest.mark.parametrize("notebooks, there, absent", [
    (("01", "02"), ("run notebook 05 first", "run notebook 06 first", "Not measured: step_ms of mamba_conv"),
     ("is ahead", "One training step and decoding")),
    (("01", "03", "06"), ("run notebook 05 first", "Free-running, greedy"), ("is ahead", "run notebook 06")),
    (("01", "02", "05", "06"), ("is ahead in time per training step", "Not measured: token_match of mamba_conv"), ("run notebook",)),
    (("01", *TRAINED, "05"), ("is ahead in time per training step", "run notebook 06 first"),
     ("run notebook 05", "Free-running, greedy")),
    (("01", *TRAINED, "06"), ("undecided", "run notebook 05 first"), ("run notebook 06",)),
])
def test_a_report_stands_without_some_notebooks(notebooks, there, absent, report):
    make(study("quick"), notebooks)
    text = report("quick")
    assert all(word in text for word in there), [word for word in there if word not in text]
    assert not any(word in text for word in absent), [word for word in absent if word in text]


@pytest.mark.parametrize("odd", [lambda x: np.nan, lambda x: 0.0, lambda x, by=cycle((np.inf, -1)): x * next(by)],
                         ids=["nan", "zero", "mixed"])
@pytest.mark.filterwarnings("ignore")
def test_a_report_stands_whatever_the_numbers_are(odd, report):
    make(study("quick"), odd=odd)
    text = report("quick", draw=True)
    assert "No verdict on time per training step" in text and "not comparable" in text
    assert re.search(r"Of the original report's \d+ claims", text)
