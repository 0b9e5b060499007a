"""An executed notebook as one page that asks the network for nothing."""
import base64
import os
import re
from pathlib import Path
from urllib.parse import quote

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from ..files import write_atomic
from ..records import found
from .claims import HOW, named, sized

TEMPLATE = Path(__file__).parent / "template"
SHOWN = {"text/plain", "text/html", "image/png", "image/svg+xml"}   # what an output of a notebook may be, the tags of its HTML:
TAG = re.compile("</?(?:a|audio|b|br|caption|code|del|details|div|em|figcaption|figure|h[1-6]|i|img|ins|li|ol|p|pre|small|span|"
                 "strong|sub|summary|sup|table|tbody|td|th|thead|tr|ul)(?: (?:alt|aria-label|class|colspan|controls|"
                 "data-(?:filters|line|reference|room|runs|seconds|t|take)|id|lang|preload|role|rowspan|scope|tabindex)"
                 '(?:="[^"<>]*")?| src="data:(?:audio/flac|image/png);base64,[A-Za-z0-9+/=]*"| href="#[a-z]*")*>')
# and those of its figures, in which nothing refers to anything outside
SHAPE = re.compile("</?(?:clipPath|defs|g|image|path|pattern|rect|svg|text|tspan|use)(?: (?:aria-label|class|d|font-family|height|"
                   "id|patternUnits|role|stroke-linejoin|transform|viewBox|width|x|xmlns|xmlns:xlink|y)=\"[^\"<>]*\"|"
                   r' (?:clip-path|fill|style)="(?:[\w #%.,:;-]|url\(#\w+\))*"|'
                   r' xlink:href="(?:#\w+|data:image/png;base64,[A-Za-z0-9+/=\s]*)")*/?>')
RUN = re.compile("([a-z_]+/[0-9a-f]{12})")      # how a run record is named
NAME = re.compile(r"(?<![\w./\"'-])(?:transformer\w*|mamba\w*|interleaved|pointwise)"              # of a core, as it says long texts,
                  rf"(?: \((?:{'|'.join(HOW)})\))?(?![\w./\"'-])|\bmatched-\d+m\b|\bsize seed\b")       # or of a size
RECORD = re.compile(rf'href="[^"]*?{RUN.pattern}/record\.json"')    # and linked to


def export(notebook: Path, out: Path) -> Path:
    """An executed notebook as one HTML file, without its code and without sections in which nothing was shown; ValueError where
    it would load anything. Names of run records become links to them."""
    exporter = HTMLExporter(template_name=TEMPLATE.name, extra_template_basedirs=[str(TEMPLATE.parent)],
                            embed_images=True, exclude_input=True, exclude_anchor_links=True,
                            exclude_input_prompt=True, exclude_output_prompt=True)
    executed = nbformat.read(notebook, as_version=4)
    executed.cells = [cell for section in _shown(executed.cells) for cell in section]
    own = {kind: "\n".join(path.read_text(encoding="utf-8") for path in sorted(TEMPLATE.glob(f"*.{kind}"))) for kind in ("css", "js")}
    page = BeautifulSoup(exporter.from_notebook_node(executed, resources=own)[0], "html.parser")
    if page.h1:
        page.title.string = page.h1.get_text()
    _place_figures(page)
    _fill_contents(page)
    _name(page)
    _link_runs(page, out.parent)
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
    return all(data.keys() <= SHOWN and "<" not in SHAPE.sub("", TAG.sub("", data.get("text/html", "")))
               and "<" not in SHAPE.sub("", data.get("image/svg+xml", "")) for data in shown)


def _place_figures(page: BeautifulSoup) -> None:
    """Figures whose SVG can do nothing become a part of the page; what has no description is named after the heading above it."""
    for image in page.select('img[src^="data:image/svg+xml;base64,"]'):
        svg = base64.b64decode(image["src"].partition(",")[2]).decode()
        if "<" not in SHAPE.sub("", svg):
            image.replace_with(BeautifulSoup(svg, "html.parser"))
    for image in page.select('img[alt^="No description"], svg.figure[aria-label=""]'):
        heading = image.find_previous(["h1", "h2", "h3", "h4"])
        image["alt" if image.name == "img" else "aria-label"] = f"Figure: {heading.get_text()}" if heading else "Figure"
    for figure in page.select("svg.figure"):
        figure.wrap(page.new_tag("div", attrs={"class": "scroll", "role": "region", "tabindex": "0",
                                               "aria-label": figure["aria-label"]}))


def _fill_contents(page: BeautifulSoup) -> None:
    """Links to the sections, in the page's <nav>."""
    for i, heading in enumerate(page.select("h2"), 1):
        heading["id"] = heading.get("id") or f"section-{i}"
        link = page.new_tag("a", href=f"#{heading['id']}")
        link.string = heading.get_text()
        page.nav.details.append(link)


def _name(page: BeautifulSoup) -> None:
    """Cores and sizes by the names that a reader knows them by; code keeps its own."""
    for text in page.main.find_all(string=True):
        if text.find_parent(["code", "pre", "script", "style"]):
            continue
        words = NAME.sub(lambda name: sized(named(name[0])), text)
        if text.parent.name in ("td", "th"):        # of nothing else
            words = "original" if (text.parent.name, text) == ("td", "seed") else named(words)
        if words != text:
            text.replace_with(words)
    for element in page.main.select("[aria-label], [alt]"):
        for said in element.attrs.keys() & {"aria-label", "alt"}:
            element[said] = NAME.sub(lambda name: sized(named(name[0])), element[said])


def _link_runs(page: BeautifulSoup, folder: Path) -> None:
    """Names of run records in the text of a page in a folder become links to the records that are there."""
    for text in page.main.find_all(string=RUN):
        if text.find_parent(["a", "script", "style", "svg"]):
            continue
        parts = RUN.split(text)
        for i in range(1, len(parts), 2):
            if where := found(parts[i]):
                link = page.new_tag("a", attrs={"class": "run", "href": quote(os.path.relpath(where / "record.json", folder))})
                link.string, parts[i] = parts[i], link
        text.replace_with(*parts)
