"""The listening room in headless Chromium, with the network off: what sounds, what is kept, what comes out of a blind test."""
import json
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from scipy.stats import binomtest, t

from browser import AXE, Tab, inspect_page, needs_axe, needs_chromium, opened
from lib.report import listeners, listening, room
from lib.report.page import export
from lib.report.room import ANCHOR, CODEC, REFERENCE, Line, Take

pytestmark = [pytest.mark.long, needs_chromium]

RATE = 24_000
CSP = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; media-src data:"
# What goes to the loudspeaker is kept in window.tap, and what is rendered offline in window.rendered.
TAP = """<script>
const connect = AudioNode.prototype.connect, render = OfflineAudioContext.prototype.startRendering;
AudioNode.prototype.connect = function(to, ...more) {
  if (to === this.context.destination && this.context instanceof AudioContext) {
    window.tap ??= new AnalyserNode(this.context, {fftSize: 32768});
    connect.call(this, window.tap);
  }
  return connect.call(this, to, ...more);
};
window.rendered = [];
OfflineAudioContext.prototype.startRendering = async function() {
  const out = await render.call(this);
  window.rendered.push(out);
  return out;
};
</script>"""
OUTPUT = "(() => { const out = new Float32Array(32768); window.tap.getFloatTimeDomainData(out); return [...out]; })()"


def ramp(seconds: float, sign: int = 1) -> np.ndarray:
    """A sound whose value says where in it one is."""
    return (sign * np.linspace(0.1, 0.5, round(RATE * seconds))).astype(np.float32)


def noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, round(RATE * seconds)).astype(np.float32)


def lines(*labels: str) -> list[Line]:
    """Three sentences, noise by each of the takes."""
    return [Line(f"test-{i}", f"zdanie {i}", "z d a ɲ ɛ", tuple(
        Take(label, noise(0.6 + i / 10 + j / 20, 10 * i + j), "z d a m ɛ", f"said/{label}") for j, label in enumerate(labels)))
        for i in range(3)]


LINES = lines(REFERENCE, CODEC, "transformer", "mamba")


def page(tmp_path: Path, made: list[Line], before: str = TAP) -> Path:
    path = tmp_path / "page.html"
    path.write_text(f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
                    f'<meta http-equiv="Content-Security-Policy" content="{CSP}"><title>Room</title>{before}{room.live(made)}', encoding="utf-8")
    return path


def until(tab: Tab, condition: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not tab.evaluate(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)


def click(tab: Tab, selector: str) -> None:
    tab.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def texts(tab: Tab, selector: str) -> list[str]:
    return tab.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.textContent)")


def pressed(tab: Tab) -> list[int]:
    return tab.evaluate("[...document.querySelectorAll('figcaption button')].flatMap((one, i) => one.ariaPressed === 'true' ? [i] : [])")


def test_a_switch_comes_at_the_sample_where_the_other_was(tmp_path):
    made = [Line("t", "a", "", (Take("up", ramp(3)), Take("down", ramp(3, -1)), Take("short", ramp(1))))]
    with opened(page(tmp_path, made)) as tab:
        assert tab.evaluate("[typeof window.tap, document.querySelector('audio').decoded === undefined]") == ["undefined", True]
        tab.evaluate("document.querySelector('figcaption button').focus()")
        tab.press("1")
        until(tab, "!!window.tap && document.querySelector('.position').value > 0.4")
        tab.press("2")
        until(tab, "document.querySelector('.position').value > 0.9")
        heard = np.array(tab.evaluate(OUTPUT))
        assert tab.page.requests == [] and tab.page.errors == [] and pressed(tab) == [1]
    up, down = np.flatnonzero(heard > 0.05), np.flatnonzero(heard < -0.05)
    assert len(up) > 4000 and len(down) > 4000 and up.max() < down.min() <= up.max() + 0.01 * RATE
    first, then = (np.polyfit(at, np.abs(heard[at]), 1) for at in (up[:-200], down[200:]))
    assert first[0] == pytest.approx(then[0], rel=0.01)
    assert abs(np.polyval(first, down.min()) - np.polyval(then, down.min())) / first[0] < 2        # samples


def test_keys_switch_pause_loop_and_go_to_the_start(tmp_path):
    made = [Line("t", "a", "", (Take("one", ramp(1)), Take("two", ramp(1, -1)), Take("three", ramp(0.5))))]
    with opened(page(tmp_path, made)) as tab:
        def state() -> list:
            return [tab.evaluate("document.querySelector('.play').textContent"), *pressed(tab), tab.evaluate(
                "document.querySelectorAll('.bar button')[1].ariaPressed")]
        tab.evaluate("document.querySelector('figcaption button').focus()")
        for key, wanted in (("ArrowLeft", ["Pause", 2, "false"]), ("ArrowRight", ["Pause", 0, "false"]), ("2", ["Pause", 1, "false"]),
                            ("l", ["Pause", 1, "true"]), ("4", ["Pause", 1, "true"])):
            tab.press(key)
            assert state() == wanted, key
        assert tab.evaluate("document.activeElement.textContent") == "two"
        time.sleep(1.5)                                                     # it goes round
        assert state()[0] == "Pause"
        tab.press(" ", " ")                                                 # on the button that is chosen
        assert state() == ["Play", 1, "true"]
        tab.evaluate("document.querySelector('.position').focus()")
        tab.press("l")
        tab.press("Home")
        assert state()[2] == "false" and tab.evaluate("document.querySelector('.time').textContent") == "0.0 of 1.0 s"
        tab.press(" ", " ")
        until(tab, "document.querySelector('.play').textContent === 'Play'")        # it ends by itself, and is at its start again
        assert tab.evaluate("document.querySelector('.position').value") == "0" and tab.page.errors == []


def test_a_spectrogram_plays_from_where_it_is_pressed_and_loops_what_is_drawn_over(tmp_path):
    made = [Line("t", "a", "", (Take("one", ramp(4)), Take("two", ramp(4, -1))))]
    with opened(page(tmp_path, made)) as tab:
        box = tab.evaluate("(() => { const b = document.querySelectorAll('.view')[1].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()")

        def mouse(kind: str, share: float) -> None:
            tab.call("Input.dispatchMouseEvent", type=kind, x=box[0] + share * box[2], y=box[1] + box[3] / 2, button="left", clickCount=1)
        mouse("mousePressed", 0.5)
        mouse("mouseReleased", 0.5)
        until(tab, "!!window.tap")
        assert pressed(tab) == [1] and 2 <= float(tab.evaluate("document.querySelector('.position').value")) < 3.5
        for kind, share in (("mousePressed", 0.3), ("mouseMoved", 0.25), ("mouseReleased", 0.2)):
            mouse(kind, share)
        time.sleep(1)
        where = float(tab.evaluate("document.querySelector('.position').value"))
        assert 0.75 < where < 1.25 and tab.evaluate("document.querySelector('.part').hidden") is False
        click(tab, ".bar button:nth-child(2)")
        assert tab.evaluate("document.querySelector('.part').hidden") is True


def start(tab: Tab, kind: str, *pair: str) -> None:
    tab.evaluate(f"""(() => {{
      document.querySelector(".tests").open = true;
      const form = document.querySelector(".tests form"), [kind, a, b] = form.querySelectorAll("select");
      form.querySelector("input").value ||= "Ada, \\"L\\"";
      kind.value = {json.dumps(kind)};
      kind.onchange();
      [a.value, b.value] = {json.dumps(pair or (CODEC, "mamba"))};
      form.requestSubmit();
    }})()""")


def hear_all(tab: Tab, selector: str) -> None:
    """Choose every sound of a trial, the first once it plays."""
    for number in range(len(texts(tab, selector))):
        tab.evaluate(f"document.querySelectorAll({json.dumps(selector)})[{number}].click()")
        if not number:
            until(tab, "document.querySelector('.test .position').value > 0")
    until(tab, "!document.querySelector('.answers button').disabled")


def asked(tab: Tab) -> dict:
    test = json.loads(tab.evaluate("localStorage.getItem(Object.keys(localStorage)[0])"))["test"]
    return test["trials"][test["at"]]


def downloaded(tab: Tab, folder: Path) -> Path:
    tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    click(tab, ".tests a[download]")
    deadline = time.monotonic() + 30
    while not (found := [path for path in folder.glob("*.csv") if path.stat().st_size]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]


def test_an_abx_run_goes_on_after_a_reload_and_ends_in_its_csv(tmp_path):
    with opened(page(tmp_path, LINES)) as tab:
        start(tab, "ABX", "mamba", "transformer")
        for number in range(12):
            assert texts(tab, ".test h4") == [f"ABX, {number + 1} of 12"]
            assert tab.evaluate("document.querySelector('.answers button').disabled") is True
            assert not {"mamba", "transformer"} & set(" ".join(texts(tab, ".test")).split())
            if number == 5:
                tab.seen.discard("Page.loadEventFired")
                tab.call("Page.reload")
                tab.wait("Page.loadEventFired")
                assert texts(tab, ".test h4") == ["ABX, 6 of 12"]
            hear_all(tab, ".sounds button")
            trial = asked(tab)
            right = trial["x"] == trial["a"]
            click(tab, f".answers button:nth-child({1 if right == (number < 9) else 2})")
        result, = texts(tab, ".test > p:not([role]):not(:has(a))")
        assert f"mamba and transformer: 9 of 12 right, p = {binomtest(9, 12, alternative='greater').pvalue:.3f}" in result
        start(tab, "ABX", "transformer", "mamba")
        assert texts(tab, "[role=alert]") == ["You have done this test already."]
        rows = listeners.read_answers(downloaded(tab, tmp_path), LINES)
        assert tab.page.requests == [] and tab.page.errors == []
    assert len(rows) == 12 and {row["listener"] for row in rows} == {'Ada, "L"'} and [row["right"] for row in rows] == [True] * 9 + [False] * 3
    assert sorted(row["line"] for row in rows) == sorted(4 * [line.id for line in LINES]) and len({row["x"] for row in rows}) == 2


def test_a_preference_asks_every_sentence_in_both_orders_also_where_nothing_can_be_kept(tmp_path):
    denied = "<script>Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied'); }});</script>"
    with opened(page(tmp_path, LINES, denied)) as tab:
        start(tab, "preference", "mamba", CODEC)
        for _ in range(6):
            hear_all(tab, ".sounds button")
            click(tab, ".answers button")                                   # A is better
        result, = texts(tab, ".test > p:not([role]):not(:has(a))")
        assert "after the codec in 3 of 6, mamba in 3, p = 1.000 (exact binomial, two-sided)" in result
        rows = listeners.read_answers(downloaded(tab, tmp_path), LINES)
        assert tab.page.errors == []
    assert sorted((row["line"], row["a"]) for row in rows) == [(line.id, a) for line in LINES for a in (CODEC, "mamba")]


def test_mushra_has_a_hidden_reference_and_an_anchor_and_screens_listeners(tmp_path):
    scores = {REFERENCE: [100, 89, 95], CODEC: [80, 90, 70], "transformer": [50, 60, 70], "mamba": [40, 40, 40], ANCHOR: [0, 10, 20]}
    with opened(page(tmp_path, LINES)) as tab:
        start(tab, "MUSHRA")
        for number in range(3):
            assert len(texts(tab, ".scores button")) == 6 and not set(scores) - {REFERENCE} & set(texts(tab, ".scores button"))
            hear_all(tab, ".scores button")
            trial = asked(tab)
            assert sorted(trial["order"]) == sorted(scores)
            values = [scores[take][int(trial["line"][-1])] for take in trial["order"]]
            tab.evaluate(f"{values}.forEach((value, i) => document.querySelectorAll('.scores input')[i].value = value)")
            anchors = tab.evaluate("window.rendered.map(one => [...one.getChannelData(0)])")
            assert len(anchors) == number + 1
            reference = next(line for line in LINES if line.id == trial["line"])
            assert_anchor(np.array(anchors[-1]), listening.equally_loud([take.audio for take in reference.takes])[0])
            click(tab, ".answers button")
        table = dict(zip(texts(tab, ".test th"), zip(*[iter(texts(tab, ".test td"))] * 2)))
        half = t.ppf(0.975, 2) * 10 / np.sqrt(3)
        assert table["transformer"] == ("60.0", f"{60 - half:.1f} to {60 + half:.1f}") and table["mamba"] == ("40.0", "40.0 to 40.0")
        assert any("less than 90 in 1 of 3 trials. Over 15 %" in text for text in texts(tab, ".test p"))
        record = listeners.merge([listeners.read_answers(downloaded(tab, tmp_path), LINES)], LINES, "quick")
        assert tab.page.errors == []
    assert record.result["excluded"] == ['Ada, "L"'] and listeners.table(record).empty
    assert {(row["take"], row["line"]): row["score"] for row in record.result["rows"]} == {
        (take, f"test-{i}"): score for take, given in scores.items() for i, score in enumerate(given)}


def assert_anchor(rendered: np.ndarray, reference: np.ndarray) -> None:
    """At most 3.5 kHz wide, by the tolerances of BS.1534: 0.1 dB below, 25 dB at 4 kHz, 50 dB from 4.5 kHz on."""
    spectra = [np.abs(np.fft.rfft(x, 65_536)) for x in (reference, rendered[:len(reference) + 200])]
    hertz = np.fft.rfftfreq(65_536, 1 / RATE)

    def change(low: float, high: float) -> float:
        before, after = (np.sqrt((x[(hertz >= low) & (hertz < high)] ** 2).mean()) for x in spectra)
        return 20 * np.log10(after / before)
    assert abs(change(100, 3400)) < 0.1 and change(4000, 4100) < -25 and change(4500, 12_000) < -50


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_window(tmp_path, width):
    with opened(page(tmp_path, lines(REFERENCE, CODEC, "transformer", "mamba_conv", "mamba", "interleaved", "pointwise")), width=width) as tab:
        start(tab, "MUSHRA")
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        tops = tab.evaluate("[...document.querySelectorAll('.line')[0].querySelectorAll('.take')].map(one => one.offsetTop)")
        assert (len(set(tops)) == 1) == (width == 1440)


def test_in_the_exported_page_it_plays_too(tmp_path):
    shows = new_output("display_data", {"text/html": room.room(LINES)})
    notebook = new_notebook(cells=[new_markdown_cell("# A\n\n## Listen"), new_code_cell("room", outputs=[shows])])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    with opened(export(tmp_path / "a.ipynb", tmp_path / "a.html"), width=390) as tab:
        tab.evaluate("document.querySelector('figcaption button').focus()")
        tab.press("3")
        until(tab, "document.querySelector('.position').value > 0.2")
        assert pressed(tab)[0] == 2 and tab.page.requests == [] and tab.page.errors == []
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(tmp_path, dark):
    with opened(page(tmp_path, LINES), dark=dark) as tab:
        start(tab, "MUSHRA")
        tab.evaluate(AXE.read_text(encoding="utf-8"))
        found = tab.evaluate("axe.run('.room').then(result => result.violations.map(one => [one.impact, one.id, one.nodes.map(n => n.html)]))")
    assert [one for one in found if one[0] in ("serious", "critical")] == []


def test_without_its_script_a_room_has_players(tmp_path):
    (tmp_path / "page.html").write_text(room.room(LINES), encoding="utf-8")
    shown = inspect_page(tmp_path / "page.html")
    assert shown.requests == [] and shown.errors == []
    assert shown.audio_seconds == pytest.approx([len(take.audio) / RATE for line in LINES for take in line.takes], abs=0.01)
