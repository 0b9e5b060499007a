"""An executed notebook as one page that asks the network for nothing."""
import re
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from ..files import write_atomic

SHOWN = {"text/plain", "text/html", "image/png"}        # what an output of a notebook may be, and the tags of its HTML:
TAG = re.compile("</?(?:audio|b|br|caption|code|del|details|div|em|figcaption|figure|h[1-6]|i|img|ins|li|ol|p|pre|small|span|"
                 "strong|sub|summary|sup|table|tbody|td|th|thead|tr|ul)(?: (?:alt|aria-label|class|colspan|controls|"
                 "data-(?:line|reference|room|seconds|t|take)|lang|preload|rowspan|scope)"
                 '(?:="[^"<>]*")?| src="data:(?:audio/flac|image/png);base64,[A-Za-z0-9+/=]*")*>')


def export(notebook: Path, out: Path) -> Path:
    """An executed notebook as one HTML file, without its code and without sections in which nothing was shown; ValueError where
    it would load anything."""
    exporter = HTMLExporter(template_name="template", extra_template_basedirs=[str(Path(__file__).parent)],
                            embed_images=True, exclude_input=True, exclude_anchor_links=True,
                            exclude_input_prompt=True, exclude_output_prompt=True)
    executed = nbformat.read(notebook, as_version=4)
    executed.cells = [cell for section in _shown(executed.cells) for cell in section]
    page = BeautifulSoup(exporter.from_notebook_node(executed)[0], "html.parser")
    if page.h1:
        page.title.string = page.h1.get_text()
    _describe_images(page)
    _fill_contents(page)
    for element in page.select("[src], link[href]"):
        address = element.get("src") or element.get("href")
        if not address.startswith("data:"):
            raise ValueError(f"<{element.name}> would load {address!r}: embed it as a data: address")
    return write_atomic(out, str(page).encode())


def _shown(cells: list[NotebookNode]) -> list[list[NotebookNode]]:
    """The sections, each from its heading to the next, less those whose code shows nothing, nor that of one below them."""
    sections: list[tuple[int, list[NotebookNode]]] = [(0, [])]
    for cell in cells:
        if cell.cell_type == "markdown" and (heading := re.match("#+ ", cell.source)):
            sections.append((len(heading[0]) - 1, []))
        sections[-1][1].append(cell)
    kept, below = [], 0         # the level of the heading that was kept last
    for level, section in reversed(sections):
        code = [cell for cell in section if cell.cell_type == "code"]
        if not code or any(cell.outputs for cell in code) or below > level:
            kept.insert(0, section)
            below = level
    return kept


def inert(notebook: NotebookNode) -> bool:
    """Whether all that the cells of a notebook show is text, pictures and tags that can load and do nothing."""
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    return all(data.keys() <= SHOWN and "<" not in TAG.sub("", data.get("text/html", "")) for data in shown)


def _describe_images(page: BeautifulSoup) -> None:
    """Images without a description of their own are named after the heading above them."""
    for image in page.select('img[alt^="No description"]'):
        heading = image.find_previous(["h1", "h2", "h3", "h4"])
        image["alt"] = f"Figure: {heading.get_text()}" if heading else "Figure"


def _fill_contents(page: BeautifulSoup) -> None:
    """Links to the sections, in the page's <nav>."""
    for i, heading in enumerate(page.select("h2"), 1):
        heading["id"] = heading.get("id") or f"section-{i}"
        link = page.new_tag("a", href=f"#{heading['id']}")
        link.string = heading.get_text()
        page.nav.append(link)
