"""HTML that stands alone: players, tables and folds. The page's script makes tables sort and filter; without it they are whole."""
import base64
import re
from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from ..data.audio import SAMPLE_RATE, flac

NUMBER = re.compile(r"[-−+±<>≈~]?\s*\d.{,24}$|[-–—]?$|not measured$")    # a cell of a column of numbers: short, begins like one
SENTENCE = 90       # characters from which on a cell is one


class Html(str):
    """A table cell that is HTML already."""


def audio(samples: np.ndarray, label: str = "", rate: int = SAMPLE_RATE) -> str:
    """A player with the samples (frames,) embedded as 16-bit FLAC; beyond full scale they are clipped."""
    try:
        data = base64.b64encode(flac(np.asarray(samples, np.float32), rate)).decode()
    except ValueError as error:
        raise ValueError(f"no playable sound {label!r}: {error}") from None
    named = f' aria-label="{escape(label)}"' if label else ""
    return f'<audio controls preload="none"{named} src="data:audio/flac;base64,{data}"></audio>'


def table(frame: pd.DataFrame, caption: str, filters: Sequence[str] = (), runs: Sequence[str] = ()) -> str:
    """The columns of a frame, without its index; all text is escaped except cells that are `Html`.

    Where it is too wide it scrolls by itself. The page chooses its rows by the values of the columns in `filters`. A number
    copies itself with the runs that its row names; those of rows that name none may be said in `runs`."""
    if unknown := [name for name in filters if name not in frame.columns]:
        raise ValueError(f"no column {unknown[0]!r} to filter {caption!r} by: there are {', '.join(map(str, frame.columns))}")
    rows = list(frame.itertuples(index=False, name=None))
    styles = [_style(column) for column in zip(*rows)] or [""] * len(frame.columns)
    cells = [[cell if isinstance(cell, Html) else escape(str(cell)) for cell in row] for row in rows]
    head = "".join(f'<th scope="col"{s}>{escape(str(name))}</th>' for name, s in zip(frame.columns, styles))
    rows_of = [f' data-runs="{escape(names)}"' for names in runs] or [""] * len(cells)
    body = "".join(f"<tr{of}>" + "".join(f"<td{s}>{c}</td>" for c, s in zip(row, styles)) + "</tr>\n"
                   for row, of in zip(cells, rows_of, strict=True))
    chosen = f' data-filters="{" ".join(str(list(frame.columns).index(name)) for name in filters)}"' if filters else ""
    return (f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"{chosen}>\n<table>\n'
            f"<caption>{escape(caption)}</caption>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>")


def _style(cells: Sequence[object]) -> str:
    """How a column is set: numbers to the right, sentences not too narrow."""
    if all(NUMBER.match(str(cell)) for cell in cells):
        return ' class="number"'
    return ' class="words"' if any(len(cell) > SENTENCE for cell in map(str, cells)) else ""


def fold(summary: str, *parts: str) -> str:
    """Parts that are HTML, hidden until somebody opens the summary, which is text, follows a link into them or prints."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n" + "\n".join(parts) + "\n</details>"
