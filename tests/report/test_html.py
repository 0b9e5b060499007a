"""Players, tables and the exported page: nothing from outside becomes markup, nothing is loaded from outside."""
import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lib.report import html, page

ATTACK = '"><script>alert(1)</script>'
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def export(tmp_path: Path, *cells) -> BeautifulSoup:
    path = tmp_path / "page.ipynb"
    nbformat.write(new_notebook(cells=list(cells), metadata={"widgets": {
        "application/vnd.jupyter.widget-state+json": {"version_major": 2, "version_minor": 0, "state": {}}}}), path)
    return BeautifulSoup(page.export(path, tmp_path / "page.html").read_text(), "html.parser")


def output(**data) -> nbformat.NotebookNode:
    return new_output("display_data", {name.replace("_", "/", 1): value for name, value in data.items()})


def test_audio_comes_back_within_16_bits():
    samples = np.random.default_rng(0).uniform(-0.7, 0.7, 24_000).astype(np.float32)
    samples[:2] = 3, -3
    player = BeautifulSoup(html.audio(samples, ATTACK), "html.parser").audio
    data = base64.b64decode(player["src"].removeprefix("data:audio/flac;base64,"))
    decoded, rate = soundfile.read(io.BytesIO(data))
    assert rate == 24_000 and soundfile.info(io.BytesIO(data)).subtype == "PCM_16"
    np.testing.assert_allclose(decoded, samples.clip(-1, 1), atol=2 / 32768)
    assert player["aria-label"] == ATTACK and player["preload"] == "metadata" and player.has_attr("controls")


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros((2, 100)), np.array([0.0, np.nan])])
def test_what_cannot_be_played_is_refused(samples):
    with pytest.raises(ValueError, match="no playable sound 'clip'"):
        html.audio(samples, "clip")


def test_table_escapes_all_but_html_cells():
    frame = pd.DataFrame({"core": [ATTACK, html.Html("<b>mamba</b>")], ATTACK: ["< 1.5 ms", "−2"]})
    shown = BeautifulSoup(html.table(frame, ATTACK), "html.parser")
    assert not shown.select("script") and shown.caption.text == ATTACK
    assert [cell.text for cell in shown.select("td")] == [ATTACK, "< 1.5 ms", "mamba", "−2"]
    assert shown.b.text == "mamba" and [c.text for c in shown.select("td.number")] == ["< 1.5 ms", "−2"]
    assert [c.text for c in shown.select("th")] == ["core", ATTACK]


def test_a_table_without_rows_keeps_its_heads():
    assert html.table(pd.DataFrame(columns=["a", "b"]), "none").count("<th ") == 2


def test_text_and_titles_are_escaped(tmp_path: Path):
    page = export(tmp_path, new_markdown_cell("# A `<script>` in the title\n## One\n## Two & three"),
                  new_code_cell("secret = 1", outputs=[
                      new_output("stream", name="stdout", text=ATTACK), output(text_plain=ATTACK),
                      new_output("error", ename="E", evalue=ATTACK, traceback=[ATTACK]),
                      new_output("stream", name="stderr", text="a warning")]))
    assert page.html["lang"] == "en" and page.title.text == "A <script> in the title"
    assert not page.select("script") and str(page).count("alert(1)") == 3
    assert "secret" not in str(page) and "a warning" not in str(page)
    assert [a.text for a in page.nav.select("a")] == ["One", "Two & three"]
    assert all(page.find(id=a["href"][1:]) for a in page.nav.select("a"))


def test_a_page_loads_nothing_and_brings_no_foreign_script(tmp_path: Path):
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "m"}, "text/plain": "Box()"}
    page = export(tmp_path, new_markdown_cell("## Loss\n[a paper](https://example.org) $x^2$"), new_code_cell(outputs=[
        output(image_png=PNG), output(text_html="<script>const own = 1</script><p>kept</p>"),
        new_output("display_data", widget), new_output("display_data", {"application/javascript": "alert(1)"}),
        new_output("display_data", {"image/png": PNG}, metadata={"image/png": {"alt": "A falling line"}})]))
    assert [s.text for s in page.select("script")] == ["const own = 1"] and "Box()" not in str(page)
    assert not page.select("script[src], link, iframe") and not re.search(r"url\(|@import", str(page.style))
    assert all(e["src"].startswith("data:") for e in page.select("[src]"))
    assert [i["alt"] for i in page.select("img")] == ["Figure: Loss", "A falling line"]
    assert "default-src 'none'" in page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]


@pytest.mark.parametrize("markup", ['<img src="https://example.org/i.png">', '<script src="x.js"></script>',
                                    '<link rel="stylesheet" href="//example.org/s.css">'])
def test_what_would_be_loaded_is_refused(tmp_path: Path, markup: str):
    with pytest.raises(ValueError, match="would load"):
        export(tmp_path, new_code_cell(outputs=[output(text_html=markup)]))
    assert not (tmp_path / "page.html").exists()


PLAYER = html.audio(np.zeros(2400, np.float32), 'a "tone"')


@pytest.mark.parametrize("shown, inert", [
    ({"text_html": f"<div class=\"players\"><figure>{PLAYER}</figure></div>"}, True),
    ({"text_html": html.table(pd.DataFrame({ATTACK: [ATTACK, "1"]}), ATTACK), "text_plain": ATTACK}, True),
    ({"image_png": PNG, "text_plain": "<Figure>"}, True), ({"text_plain": "<script>"}, True),
    ({"text_html": "<script>alert(1)</script>"}, False), ({"text_html": "<p onclick='alert(1)'>text</p>"}, False),
    ({"text_html": '<p class="a"onclick="alert(1)">text</p>'}, False),
    ({"text_html": "<p\nonclick=alert(1)>text</p>"}, False),
    ({"text_html": "<img src=x onerror=alert(1) "}, False), ({"text_html": "<!--><svg onload=alert(1)>-->"}, False),
    ({"text_html": '<audio src="https://example.org/a.flac"></audio>'}, False), ({"text_html": "<P>text</P>"}, False),
    ({"text_html": '<audio src="data:text/html;base64,AAAA"></audio>'}, False), ({"text_markdown": "text"}, False),
    ({"application_javascript": "alert(1)"}, False), ({"image_svg+xml": "<svg/>"}, False)])
def test_what_a_notebook_shows_is_inert_where_it_can_do_nothing(shown, inert):
    cells = [new_markdown_cell("<script>"), new_code_cell("0", outputs=[new_output("stream", text="<script>")]),
             new_code_cell("1", outputs=[output(**shown)])]
    assert page.inert(new_notebook(cells=cells)) is inert


def test_a_section_in_which_nothing_was_shown_is_left_out(tmp_path):
    def shown(text):
        return new_code_cell(outputs=[output(text_html=f"<p>{text}</p>")])

    cells = [new_markdown_cell("# Title"), new_code_cell(), new_markdown_cell("## Kept"), shown("one"), new_markdown_cell("Prose."),
             new_markdown_cell("## Empty\nwith prose"), new_code_cell(), new_markdown_cell("### Empty below"), new_code_cell(),
             new_markdown_cell("## Empty itself"), new_code_cell(), new_markdown_cell("### Full below"), shown("two"),
             new_markdown_cell("### Empty beside"), new_code_cell(), new_markdown_cell("## Words alone"), new_markdown_cell("More.")]
    headings = [h.get_text() for h in export(tmp_path, *cells).select("h1, h2, h3")]
    assert headings == ["Title", "Kept", "Empty itself", "Full below", "Words alone"]
