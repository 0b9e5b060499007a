"""The exported page as people use it, in headless Chromium: to sort, filter, fold, print, by key, in the dark, on a phone."""
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from browser import AXE, Tab, needs_axe, needs_chromium, opened
from lib import records
from lib.report import figures, findings, html
from lib.report.page import export
from lib.report.room import Line, Take, room

pytestmark = [pytest.mark.long, needs_chromium]

COLUMN = "[...document.querySelectorAll('#times tbody tr:not([hidden])')].map(row => row.cells[{}].textContent)"
HEAD = "document.querySelectorAll('#times th')[{}]"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A page with every kind of element, beside the run that it names."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTS_WORKSPACE", str(folder))
        run = records.save("train", {"a": 1}, {})
        figures.style()
        figure, axis = plt.subplots(figsize=(13, 4))
        axis.plot([1, 10], [3, 4], color=figures.colour("mamba"), label="mamba")
        axis.imshow(np.eye(3), extent=(4, 5, 3, 4))
        axis.set(title="A line rises", xlabel="seconds", ylabel="loss")
        drawn = figures.keep(figure, "quick", "line").data
        times = pd.DataFrame({"core": ["b", "a", "c", "a"], "time": ["1,398 ms", "not measured", "2 s", "900 ms"],
                              "verdict": ["reproduced", "undecided", "undecided", "reproduced"], "runs": [run.name] * 4})
        tone = np.sin(np.arange(12_000) / 20).astype(np.float32)
        said = room([Line("one", "kot", "k o t", (Take("the speech itself", tone, "k o t", run.name), Take("mamba", tone, "k t", run.name)))])
        wide = pd.DataFrame([{f"a long name of a column {i}": "a long cell" for i in range(12)}])
        cells = [new_markdown_cell("# A report\n\nOne answer, [in a fold](#deep)."), new_markdown_cell("## Numbers\n\nWords."),
                 new_code_cell(outputs=[shown(f"<div id=\"times\">{html.table(times, 'Times', filters=('verdict', 'core'))}</div>"),
                                        new_output("display_data", {"image/svg+xml": drawn}),
                                        shown(findings.shown(findings.Finding("one", "", "Mamba-2 of 3M gets 7.9 % wrong in 60 seconds.",
                                                                              "Words.", plt.figure, runs=(run.name,)), "quick"))]),
                 new_markdown_cell("## Sound"), new_code_cell(outputs=[
                     shown(f'<div class="players"><figure><figcaption>a tone</figcaption>'
                           f'{html.audio(tone, "a tone")}</figure></div>'),
                     shown(said),
                     new_output("stream", name="stdout", text="printed " * 40)]),
                 new_markdown_cell("### Everything else"), new_code_cell(outputs=[
                     shown(html.fold("outer", html.table(wide, "Wide"), html.fold("inner", '<h4 id="deep">Deep</h4><p>hidden words</p>')))]),
                 new_markdown_cell("## Last\n\n" + "Words and more words. " * 400)]
        path = folder / "figures" / "quick" / "page.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return export(path, path.with_suffix(".html"))


def shown(markup: str) -> nbformat.NotebookNode:
    return new_output("display_data", {"text/html": markup})


@pytest.fixture
def tab(report: Path, request) -> Iterator[Tab]:
    """The page, opened as the test asks; at the end nothing was loaded and nothing went wrong."""
    with opened(report, **getattr(request, "param", {})) as tab:
        yield tab
        assert tab.page.requests == [] and tab.page.errors == []


def focused(tab: Tab) -> str:
    return tab.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()")


def test_a_column_sorts_by_value_with_what_is_missing_last(tab):
    orders = []
    for _ in range(3):
        tab.evaluate(HEAD.format(1) + ".querySelector('button').click()")
        orders.append((tab.evaluate(HEAD.format(1) + ".ariaSort"), tab.evaluate(COLUMN.format(1))))
    assert orders == [("ascending", ["900 ms", "1,398 ms", "2 s", "not measured"]),
                      ("descending", ["2 s", "1,398 ms", "900 ms", "not measured"]),
                      (None, ["1,398 ms", "not measured", "2 s", "900 ms"])]
    tab.evaluate(HEAD.format(0) + ".querySelector('button').click()")
    assert tab.evaluate(COLUMN.format(0)) == ["a", "a", "b", "c"]
    assert tab.evaluate("document.querySelector('[role=status]').textContent") == "sorted by core, ascending"


def test_a_table_shows_the_rows_that_were_chosen(tab):
    def choose(which: int, value: str) -> tuple[list[str], str]:
        tab.evaluate(f"select = document.querySelectorAll('.filters select')[{which}]; select.value = '={value}';"
                     "select.dispatchEvent(new Event('change'))")
        return tab.evaluate(COLUMN.format(1)), tab.evaluate("document.querySelector('.filters output').textContent")

    labels = "[...document.querySelectorAll('.filters label')].map(label => label.firstChild.textContent.trim())"
    assert tab.evaluate(labels) == ["verdict", "core"]
    assert tab.evaluate("[...document.querySelector('.filters select').options].map(o => o.text)") == ["all", "reproduced", "undecided"]
    assert choose(0, "undecided") == (["not measured", "2 s"], "2 of 4")
    assert choose(1, "a") == (["not measured"], "1 of 4")
    assert choose(0, "reproduced") == (["900 ms"], "1 of 4")


def test_the_page_works_by_keys_alone(tab):
    tab.press("Tab")
    assert focused(tab) == "Skip to the content"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().top >= 0")
    tab.press("Enter", "\r")
    tab.press("Tab")
    assert focused(tab) == "in a fold"
    while focused(tab) != "time":
        tab.press("Tab")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.press("Enter", "\r")
    assert tab.evaluate(COLUMN.format(1))[0] == "900 ms"
    while focused(tab) != "copy " + tab.evaluate("document.querySelector('.run').textContent"):
        tab.press("Tab")
        assert focused(tab) != "Skip to the content"
    while focused(tab) != "outer":
        tab.press("Tab")
    tab.press("Enter", "\r")
    assert tab.evaluate("document.querySelector('details:has(#deep)').open")


@pytest.mark.parametrize("tab", [{"fragment": "#deep"}], indirect=True)
def test_a_link_opens_the_folds_around_its_target(tab):
    folds = "[...document.querySelectorAll('details:has(#deep)')].map(fold => fold.open)"
    assert tab.evaluate(folds) == [True, True]
    tab.evaluate("document.querySelectorAll('main details').forEach(fold => { fold.open = false; }); location.hash = ''")
    tab.evaluate("document.querySelector('main p a').click(); new Promise(done => setTimeout(done, 300))")
    assert tab.evaluate(folds) == [True, True]
    assert tab.evaluate("document.querySelector('#deep').checkVisibility()")


def test_a_record_opens_and_its_name_copies(tab, report):
    link, name = tab.evaluate("(run => [run.getAttribute('href'), run.textContent])(document.querySelector('.run'))")
    assert json.loads((report.parent / link).read_text())["kind"] == "train"
    tab.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    tab.evaluate("document.querySelector('.cited button').click()")
    assert tab.evaluate("navigator.clipboard.readText()") == name
    assert tab.evaluate("document.querySelector('[role=status]').textContent") == f"copied {name}"
    tab.evaluate("document.querySelector('#times tbody td.number').click()")
    assert tab.evaluate("navigator.clipboard.readText()") == f"1,398 ms ({name})"
    assert tab.evaluate("[...document.querySelectorAll('.finding .copies')].map(number => number.textContent)") == ["7.9 %", "60"]
    tab.evaluate("document.querySelector('.finding .copies').click()")
    assert tab.evaluate("navigator.clipboard.readText()") == f"7.9 % ({name})"


@pytest.mark.parametrize("tab", [{"width": width, "dark": dark} for width in (390, 1440) for dark in (False, True)], indirect=True)
def test_the_page_fits_and_its_text_stands_out(tab, request):
    given = request.node.callspec.params["tab"]
    tab.evaluate("document.querySelectorAll('main details').forEach(fold => { fold.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert tab.evaluate("document.querySelector('nav details').open") is (given["width"] == 1440)
    ink, paper, text = tab.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor,"
                                    "getComputedStyle(document.querySelector('.figure text')).fill]")
    assert text == ink and (sum(map(int, paper[4:-1].split(","))) < 150) is given["dark"]
    tab.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))")      # the observer of sizes comes after
    stops = "[...document.querySelectorAll('.scroll')].map(box => [box.tabIndex, box.scrollWidth > box.clientWidth])"
    assert all((index == 0) is wide for index, wide in tab.evaluate(stops))
    smallest = tab.evaluate("Math.min(...[...document.querySelectorAll('.figure text')].map(t => t.getBoundingClientRect().height))")
    assert smallest > 9, "a figure's text cannot be read"


def test_what_is_printed_is_the_whole_page(tab):
    pdf = base64.b64decode(tab.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") > 1
    assert tab.evaluate("document.querySelector('details:has(#deep)').open") is False
    tab.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    hidden = "['nav', 'audio', '.filters', '.cited button'].filter(name => document.querySelector(name).checkVisibility())"
    assert tab.evaluate(hidden) == [] and tab.evaluate("document.querySelector('#deep').checkVisibility()")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_sound_waits_until_it_is_asked_for(tab):
    assert tab.evaluate("[...document.querySelectorAll('audio')].map(player => player.readyState)") == [0, 0, 0]


@needs_axe
@pytest.mark.parametrize("tab", [{"width": width, "dark": dark} for width in (390, 1440) for dark in (False, True)], indirect=True)
def test_axe_finds_nothing_serious(tab):
    tab.evaluate("document.querySelectorAll('main details').forEach(fold => { fold.open = true; })")
    tab.evaluate(AXE.read_text(encoding="utf-8") + "; new Promise(done => setTimeout(done, 100))")
    passed, found = tab.evaluate("axe.run().then(result => [result.passes.length, result.violations.map(one => [one.impact, one.id,"
                                 "one.nodes.map(node => node.html)])])")
    assert passed > 20 and [one for one in found if one[0] in ("serious", "critical")] == []
