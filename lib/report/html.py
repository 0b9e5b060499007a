"""HTML that stands alone: players and tables."""
import base64
import re
from html import escape

import numpy as np
import pandas as pd

from ..data.audio import SAMPLE_RATE, flac

NUMBER = re.compile(r"[-−+±<>≈~]?\s*\d.{,24}$|[-–—]?$")  # a cell of a column of numbers: short, and begins like one


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
