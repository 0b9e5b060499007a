"""HTML that stands alone: players, tables, and a notebook as one page that asks the network for nothing."""
import base64
import re
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from ..data.audio import SAMPLE_RATE, flac
from ..files import write_atomic

NUMBER = re.compile(r"[-−+±<>≈~]?\s*\d.{,24}$|[-–—]?$")  # a cell of a column of numbers: short, and begins like one
SHOWN = {"text/plain", "text/html", "image/png"}        # what an output of a notebook may be, and the tags of its HTML:
TAG = re.compile("</?(?:audio|b|br|caption|code|details|div|em|figcaption|figure|h[1-6]|i|li|ol|p|pre|small|span|strong|sub|"
                 "summary|sup|table|tbody|td|th|thead|tr|ul)(?: (?:aria-label|class|colspan|controls|preload|rowspan|scope)"
                 '(?:="[^"<>]*")?| src="data:audio/flac;base64,[A-Za-z0-9+/=]*")*>')


class Html(str):
    """A table cell that is HTML already."""


def audio(samples: np.ndarray, label: str = "", rate: int = SAMPLE_RATE) -> str:
    """A player with the samples (frames,) embedded as 16-bit FLAC; beyond full scale they are clipped."""
    try:
        data = base64.b64encode(flac(np.asarray(samples, np.float32), rate)).decode()
    except ValueError as error:
        raise ValueError(f"no playable sound {label!r}: {error}") from None
    named = f' aria-label="{escape(label)}"' if label else ""
    return f'<audio controls preload="metadata"{named} src="data:audio/flac;base64,{data}"></audio>'


def table(frame: pd.DataFrame, caption: str) -> str:
    """The columns of a frame, without its index; all text is escaped except cells that are `Html`."""
    rows = list(frame.itertuples(index=False, name=None))
    numeric = [all(NUMBER.match(str(cell)) for cell in column) for column in zip(*rows)]
    styles = [' class="number"' if n else "" for n in numeric] or [""] * len(frame.columns)
    cells = [[cell if isinstance(cell, Html) else escape(str(cell)) for cell in row] for row in rows]
    head = "".join(f'<th scope="col"{s}>{escape(str(name))}</th>' for name, s in zip(frame.columns, styles))
    body = "".join("<tr>" + "".join(f"<td{s}>{c}</td>" for c, s in zip(row, styles)) + "</tr>\n" for row in cells)
    return (f"<table>\n<caption>{escape(caption)}</caption>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>")


def export(notebook: Path, out: Path) -> Path:
    """An executed notebook as one HTML file, without its code; ValueError where it would load anything."""
    exporter = HTMLExporter(template_name="template", extra_template_basedirs=[str(Path(__file__).parent)],
                            embed_images=True, exclude_input=True, exclude_anchor_links=True,
                            exclude_input_prompt=True, exclude_output_prompt=True)
    page = BeautifulSoup(exporter.from_filename(str(notebook))[0], "html.parser")
    if page.h1:
        page.title.string = page.h1.get_text()
    _describe_images(page)
    _fill_contents(page)
    for element in page.select("[src], link[href]"):
        address = element.get("src") or element.get("href")
        if not address.startswith("data:"):
            raise ValueError(f"<{element.name}> would load {address!r}: embed it as a data: address")
    return write_atomic(out, str(page).encode())


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
