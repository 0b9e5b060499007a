"""What listeners answered: read, checked, screened, merged into a study."""
import json
from itertools import cycle

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from lib import config, records
from lib.report import listeners, results
from lib.report.html import table as as_html
from lib.report.room import ANCHOR, CODEC, REFERENCE, Line, Take, key

SILENCE = np.zeros(1, np.float32)
LABELS = (REFERENCE, CODEC, "transformer", "mamba")
LINES = [Line(f"test-{i}", "kot", "", tuple(Take(label, SILENCE, "", f"said/{label}") for label in LABELS)) for i in range(4)]


def write(path, rows: list[dict]):
    full = [{"room": key(LINES), "seconds": "3.5", "listener": path.stem, **row} for row in rows]
    pd.DataFrame(full, columns=listeners.COLUMNS).to_csv(path, index=False)
    return path


def abx(right: int, wrong: int) -> list[dict]:
    return [{"test": "ABX", "trial": i + 1, "line": f"test-{i % 4}", "a": "mamba", "b": "transformer", "x": "mamba",
             "answer": "mamba" if i < right else "transformer", "right": int(i < right)} for i in range(right + wrong)]


def preference(a: int, b: int) -> list[dict]:
    sides = cycle((("mamba", "transformer"), ("transformer", "mamba")))
    return [{"test": "preference", "trial": i + 1, "line": f"test-{i % 4}", "a": one, "b": other,
             "answer": "mamba" if i < a else "transformer"} for i, (one, other) in zip(range(a + b), sides)]


def mushra(**scores: list[int]) -> list[dict]:
    named = {"hidden": REFERENCE, "anchor": ANCHOR, "mamba": "mamba"}
    return [{"test": "MUSHRA", "trial": i + 1, "line": f"test-{i}", "take": named[name], "score": score}
            for name, given in scores.items() for i, score in enumerate(given)]


def test_what_listeners_answered_becomes_a_record_of_the_study(tmp_path, workspace):
    files = [write(tmp_path / "jan.csv", abx(5, 7) + preference(6, 2)), write(tmp_path / "anna.csv", abx(11, 1) + preference(7, 1))]
    record = listeners.merge([listeners.read_answers(path, LINES) for path in files], LINES, "quick")
    assert records.noted("quick")["listeners"][0].name == record.name and record.kind == "listeners"
    assert results.read(config.study("quick")).listeners.name == record.name
    assert record.result["takes"]["mamba"] == "said/mamba" and record.result["excluded"] == []
    again = listeners.merge([listeners.read_answers(path, LINES) for path in files[::-1]], LINES, "quick")
    assert again.name == record.name
    frame = listeners.table(record)
    assert list(frame.test) == ["ABX", "preference"] and list(frame.trials) == [24, 16] and list(frame.listeners) == [2, 2]
    assert list(frame.result) == ["67 % right", "81 %"] and list(frame.sounds) == ["mamba against transformer", "mamba rather than transformer"]
    assert [float(p) for p in frame.p] == pytest.approx([binomtest(16, 24, alternative="greater").pvalue, binomtest(13, 16).pvalue], rel=0.05)
    assert frame["95 % interval"][0] == "45 to 84 %" and "<td" in as_html(frame, "listeners")


def test_p_is_adjusted_over_the_pairs_of_a_test(tmp_path):
    other = [{**row, "a": "mamba", "b": CODEC, "x": "mamba", "answer": "mamba"} for row in abx(9, 3)]
    record = listeners.merge([listeners.read_answers(write(tmp_path / "a.csv", abx(9, 3) + other), LINES)], LINES, "quick")
    frame = listeners.table(record).set_index("sounds")
    assert float(frame.p["after the codec against mamba"]) == pytest.approx(2 * 0.5 ** 12, rel=0.05)
    assert float(frame.p["mamba against transformer"]) == pytest.approx(binomtest(9, 12, alternative="greater").pvalue, rel=0.05)


def test_scores_are_means_of_listeners_and_a_listener_who_misses_the_reference_does_not_count(tmp_path):
    files = [mushra(hidden=[100, 95, 90, 99], mamba=[60, 60, 70, 70], anchor=[20] * 4),
             mushra(hidden=[100, 100, 92, 90], mamba=[45, 55, 55, 45], anchor=[10] * 4),
             mushra(hidden=[100, 100, 100, 89], mamba=[1] * 4, anchor=[99] * 4)]        # below 90 in 1 of 4
    read = [listeners.read_answers(write(tmp_path / f"{name}.csv", rows), LINES) for name, rows in zip("abc", files)]
    record = listeners.merge(read, LINES, "quick")
    assert record.result["excluded"] == ["c"]
    frame = listeners.table(record).set_index("sounds")
    assert list(frame.loc["mamba"])[:4] == ["MUSHRA", 2, 8, "57.5"]
    assert frame["95 % interval"]["mamba"] == "-37.8 to 152.8"         # 57.5 ± 12.706 * 7.5
    assert frame.result[REFERENCE] == "95.8" and frame.result[ANCHOR] == "15.0"


def test_six_of_forty_trials_below_are_15_percent_and_not_more():
    low = [{"listener": "a", "take": REFERENCE, "score": 80 if i < 6 else 90} for i in range(40)]
    assert listeners.excluded(low) == [] and listeners.excluded(low[:39]) == ["a"] and listeners.excluded([]) == []


@pytest.mark.parametrize("rows, words", [
    ([], "it needs a row"), ([{**abx(1, 0)[0], "answer": "pointwise"}], "line 2: a and b are to be two sounds"),
    ([{**abx(1, 0)[0], "x": CODEC}], "line 2: a and b"), ([{**abx(1, 0)[0], "b": "mamba"}], "line 2: a and b"),
    (abx(1, 0) + [{**abx(2, 0)[1], "line": "test-9"}], "line 3: it lacks"), ([{**abx(1, 0)[0], "test": "abx"}], "it lacks"),
    ([{**abx(1, 0)[0], "listener": ""}], "it lacks a listener"), ([{**abx(1, 0)[0], "trial": "first"}], "no number"),
    ([{**abx(1, 0)[0], "seconds": "nan"}], "nothing takes nan seconds"), (mushra(mamba=[101]), "between 0 and 100"),
    ([{**mushra(mamba=[1])[0], "score": "nan"}], "between 0 and 100"), ([{**mushra(mamba=[1])[0], "take": "x"}], "'x' is none"),
    (abx(1, 0) + preference(1, 0) + abx(1, 0), "line 4: this trial was answered before"),
    ([{**abx(1, 0)[0], "room": "0"}], "another report"), (abx(1, 0) + [{**abx(2, 0)[1], "listener": "b"}], "several listeners")])
def test_what_is_wrong_with_a_file_is_said_in_a_line(tmp_path, rows, words):
    with pytest.raises(ValueError, match=words) as raised:
        listeners.read_answers(write(tmp_path / "a.csv", rows), LINES)
    assert str(raised.value).startswith(str(tmp_path / "a.csv")) and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3\n", b"\xff\xfe\x00", b"room,listener\n1,2\n"])
def test_what_is_no_csv_of_a_test_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match="is no CSV"):
        listeners.read_answers(tmp_path / "a.csv", LINES)


def test_a_listener_twice_is_refused_and_nothing_is_entered(tmp_path, workspace):
    rows = listeners.read_answers(write(tmp_path / "anna.csv", abx(3, 1)), LINES)
    with pytest.raises(ValueError, match="listener 'anna' is in two files"):
        listeners.merge([rows, rows], LINES, "quick")
    assert records.noted("quick") == {}


def test_a_study_without_sentences_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["listeners", str(write(tmp_path / "anna.csv", abx(3, 1))), "--study", "standard"])
    assert listeners.main() == 1
    assert capsys.readouterr().err.startswith("study standard holds no sentences to hear: run it first")


def test_the_report_of_an_own_corpus_is_named_by_its_folder(tmp_path, workspace, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(listeners, "lines_of", lambda report: (asked.append(report.study), LINES if len(asked) < 2 else [])[1])
    path = write(tmp_path / "anna.csv", abx(12, 0))
    monkeypatch.setattr("sys.argv", ["listeners", str(path), "--corpus", str(tmp_path / "my speech")])
    assert listeners.main() == 0
    label = config.study("quick", corpus=str(tmp_path / "my speech")).label
    assert asked[0].label == label and "listeners" in records.noted(label) and not records.noted("quick")
    command = f"python -m lib.run --study quick --corpus '{tmp_path / 'my speech'}'"
    assert capsys.readouterr().out.endswith(f"in study {label}: {command} shows it\n")
    assert listeners.main() == 1 and capsys.readouterr().err == f"study quick holds no sentences to hear: run it first ({command})\n"


def test_the_command_enters_files_and_says_what_came_out(tmp_path, workspace, monkeypatch, capsys):
    monkeypatch.setattr(listeners, "lines_of", lambda report: LINES)
    path = write(tmp_path / "anna.csv", abx(12, 0) + mushra(hidden=[50], mamba=[3]))
    monkeypatch.setattr("sys.argv", ["listeners", str(path), "--study", "quick"])
    assert listeners.main() == 0
    out = capsys.readouterr().out
    assert "100 % right" in out and "anna" in out and "listeners/" in out
    manifest = json.loads((workspace / "figures" / "quick" / "manifest.json").read_text())
    assert manifest["listeners"][0] in out
    monkeypatch.setattr("sys.argv", ["listeners", str(tmp_path / "gone.csv")])
    assert listeners.main() == 1 and capsys.readouterr().err == f"{tmp_path / 'gone.csv'} cannot be read: No such file or directory\n"
