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
from matplotlib import pyplot as plt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lib import records
from lib.report import figures, html, page

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
    assert player["aria-label"] == ATTACK and player["preload"] == "none" and player.has_attr("controls")


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
    script, = page.select("script")
    assert "alert(" not in script.text and str(page).count("alert(1)") == 3
    assert "secret" not in str(page) and "a warning" not in str(page)
    assert [a.text for a in page.nav.select("a")] == ["One", "Two & three"]
    assert all(page.find(id=a["href"][1:]) for a in page.nav.select("a"))


def test_cores_and_sizes_have_a_readers_names_and_code_keeps_its_own(tmp_path: Path):
    table = html.table(pd.DataFrame({"core": ["mamba_conv_3_5", "interleaved", "pointwise"], "size": ["seed", "matched-3m", "large"],
                                     "seed": [0, 1, 2]}), "")
    said = "mamba_conv against transformer (a mamba_conv-like one), size matched-1m and size seed; mamba (carried) against pointwise"
    page = export(tmp_path, new_markdown_cell("`mamba_conv`, seed 3, interleaved"), new_code_cell(outputs=[
        output(text_html=table), output(text_html=f"<p>{said}</p><code>--cores mamba_conv</code>")]))
    assert [cell.text for cell in page.select("td")] == [
        "Mamba + convolutions 3 and 5", "original", "0", "Mamba with attention", "3M", "1", "control", "large", "2"]
    assert [cell.text for cell in page.select("th")] == ["core", "size", "seed"]
    assert page.main.select("p")[-1].text == "Mamba + convolution against Transformer (a mamba_conv-like one), size 1M and size original; " \
        "Mamba on one state against control"
    assert [code.text for code in page.main.select("code")] == ["mamba_conv", "--cores mamba_conv"]
    assert "seed 3, Mamba with attention" in page.main.text


def test_a_page_loads_nothing_and_brings_no_foreign_script(tmp_path: Path):
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "m"}, "text/plain": "Box()"}
    page = export(tmp_path, new_markdown_cell("## Loss\n[a paper](https://example.org) $x^2$"), new_code_cell(outputs=[
        output(image_png=PNG), output(text_html="<script>const own = 1</script><p>kept</p>"),
        new_output("display_data", widget), new_output("display_data", {"application/javascript": "alert(1)"}),
        new_output("display_data", {"image/png": PNG}, metadata={"image/png": {"alt": "A falling line"}})]))
    assert [s.text for s in page.select("script")[:-1]] == ["const own = 1"] and "Box()" not in str(page)
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


def drawn(alt: str | None = None) -> str:
    """A figure with everything that the report's figures have, and words from outside."""
    figures.style()
    figure, (axis, other) = plt.subplots(1, 2)
    axis.plot([1, 2], [3, 4], "k.-", label=f"{ATTACK} $x^2$")
    axis.imshow(np.eye(3), aspect="auto")
    axis.bar([0], [1], hatch="/")
    axis.fill_between([0, 1], 0, 1, color="grey", alpha=0.2)
    axis.set(title=ATTACK, xlabel="seconds", ylabel="loss -- <!-- nats", yscale="symlog")
    axis.legend()
    other.plot([1, 10], [3, 4], "--", label="dashed")
    other.set(xscale="log")
    return figures.picture(figure, alt).data


FIGURE = drawn()
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
    ({"application_javascript": "alert(1)"}, False), ({"text_html": html.fold(ATTACK, PLAYER, "<h3 id=\"a\">b</h3>")}, True),
    ({"image_svg+xml": FIGURE}, True), ({"text_html": html.fold("numbers", FIGURE)}, True),
    ({"image_svg+xml": "<svg><script>alert(1)</script></svg>"}, False), ({"image_svg+xml": '<svg onload="alert(1)"/>'}, False),
    ({"image_svg+xml": '<svg class="a" onload="alert(1)"/>'}, False), ({"image_svg+xml": "<svg><style>@import 'a'</style></svg>"}, False),
    ({"image_svg+xml": '<image xlink:href="https://example.org/i.png"/>'}, False), ({"image_svg+xml": '<use href="a.svg#b"/>'}, False),
    ({"image_svg+xml": '<image xlink:href="data:image/svg+xml;base64,AAAA"/>'}, False),
    ({"image_svg+xml": '<path style="fill: url(https://example.org/a#b)"/>'}, False),
    ({"image_svg+xml": '<path style="fill: \\75rl(a)"/>'}, False), ({"image_svg+xml": '<path style="fill: &#117;rl(a)"/>'}, False),
    ({"image_svg+xml": "<svg><foreignObject><p>text</p></foreignObject></svg>"}, False),
    ({"image_svg+xml": '<svg><animate attributeName="href" to="javascript:alert(1)"/></svg>'}, False),
    ({"image_svg+xml": "<svg><p>text</p></svg>"}, False)])
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


def test_a_column_that_is_not_there_filters_nothing():
    frame = pd.DataFrame({"claim": ["c01"], "verdict": ["reproduced"], "section": ["cost"]})
    box = BeautifulSoup(html.table(frame, "Claims", filters=("section", "verdict")), "html.parser").div
    assert box["data-filters"] == "2 1" and box["aria-label"] == "Claims" and box["tabindex"] == "0"
    with pytest.raises(ValueError, match="no column 'seed' to filter 'Claims' by: there are claim, verdict, section"):
        html.table(frame, "Claims", filters=("verdict", "seed"))


def test_a_column_is_set_by_what_is_in_it():
    shown = BeautifulSoup(html.table(pd.DataFrame({"time": ["1,398 ms", "not measured"]}), "Times"), "html.parser")
    assert len(shown.select("td.number")) == 2
    told = BeautifulSoup(html.table(pd.DataFrame({"why": ["word " * 30], "core": ["mamba"]}), "Claims"), "html.parser")
    assert [cell.get("class") for cell in told.select("td")] == [["words"], None]


def test_a_figure_is_text_in_the_ink_of_the_page():
    svg = BeautifulSoup(FIGURE, "html.parser").svg
    assert ATTACK in svg.get_text(" ") and "seconds" in svg.get_text(" ") and not svg.select("script, style, metadata")
    assert svg["aria-label"].startswith(f"{ATTACK}: loss -- <!-- nats against seconds") and svg["role"] == "img"
    assert "dashed" in svg["aria-label"] and drawn("what it <shows>").count('aria-label="what it &lt;shows') == 1
    assert svg["fill"] == "currentColor" and "stroke: currentColor" in FIGURE and "#000000" not in FIGURE
    assert drawn() == FIGURE and len(svg.select("image")) == 1
    ids = [tag["id"] for tag in svg.select("[id]")]
    assert len(ids) == len(set(ids))
    assert {tag["xlink:href"][1:] for tag in svg.select("use")} <= set(ids)


def test_a_figure_is_kept_and_shown_as_it_is_kept(workspace):
    figure, axis = plt.subplots()
    axis.set(title="A line", xlabel="x")
    shown = figures.keep(figure, "quick", "line")
    assert (workspace / "figures" / "quick" / "line.svg").read_text() == shown.data and 'aria-label="A line: x"' in shown.data
    assert not plt.get_fignums()


def test_figures_that_can_do_nothing_are_a_part_of_the_page(tmp_path: Path):
    loud = '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>'
    nameless = re.sub('aria-label="[^"]*"', 'aria-label=""', FIGURE)
    shown = export(tmp_path, new_markdown_cell("## Loss"), new_code_cell(outputs=[
        output(**{"image_svg+xml": FIGURE}), output(**{"image_svg+xml": loud}), output(text_html=html.fold("folded", nameless))]))
    first, folded = shown.select("svg")
    assert first.parent["aria-label"] == first["aria-label"] and first.parent["class"] == ["scroll"]
    assert folded["aria-label"] == folded.parent["aria-label"] == "Figure: Loss" and folded.parent.parent.name == "details"
    image, = shown.select("img")
    assert image["alt"] == "Figure: Loss" and base64.b64decode(image["src"].partition(",")[2]).decode() == loud


def test_cores_have_colours_of_their_own_that_can_be_seen_on_both_backgrounds():
    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    papers = re.findall(r"--paper: (#\w+)", (page.TEMPLATE / "style.css").read_text())
    inks = [figures.colour(core) for core in ("transformer", "mamba_conv", "mamba", "interleaved", "pointwise")]
    assert len(set(inks)) == 5 and len(papers) == 2
    for ink in figures.PALETTE:
        for paper in papers:
            dark, light = sorted((luminance(ink), luminance(paper)))
            assert (light + 0.05) / (dark + 0.05) >= 3, (ink, paper)


def test_names_of_runs_become_links_where_the_records_are(tmp_path: Path, workspace):
    run = records.save("train", {"a": 1}, {})
    frame = pd.DataFrame({"run": [f"{run.name}, train/{'0' * 12}"]})
    (workspace / "figures" / "quick").mkdir(parents=True)
    path = workspace / "figures" / "quick" / "page.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(outputs=[output(text_html=html.table(frame, f"Of <b>{run.name}</b>"))])]), path)
    written = page.export(path, path.with_suffix(".html")).read_text()
    links = BeautifulSoup(written, "html.parser").select("main a")
    assert [link.text for link in links] == [run.name] * 2 and "0" * 12 in written
    assert (path.parent / links[0]["href"]).resolve() == run.folder / "record.json"
    published = BeautifulSoup(page.RECORD.sub(r'href="runs/\1/record.json"', written), "html.parser")
    assert published.main.a["href"] == f"runs/{run.name}/record.json"
