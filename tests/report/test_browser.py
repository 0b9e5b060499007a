"""The exported page in headless Chromium, with the network off."""
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from browser import inspect_page, needs_chromium
from lib.report import html
from lib.report.page import export

pytestmark = [pytest.mark.long, needs_chromium]


def test_an_exported_page_plays_offline(tmp_path: Path):
    tones = [np.sin(np.arange(seconds * 24_000) / 20) * 0.5 for seconds in (1, 2)]
    players = "".join(html.audio(tone, "a <b>tone</b>") for tone in tones)
    notebook = new_notebook(cells=[
        new_markdown_cell("# Two tones\n\n## Listen\n\nPress play."),
        new_code_cell("players", outputs=[new_output("display_data", {"text/html": players}),
                                          new_output("stream", name="stdout", text="<script>broken(</script>")])])
    nbformat.write(notebook, tmp_path / "tones.ipynb")
    page = inspect_page(export(tmp_path / "tones.ipynb", tmp_path / "tones.html"), tmp_path / "tones.png")
    assert page.requests == [] and page.errors == []
    assert page.audio_seconds == [1.0, 2.0]
    assert (tmp_path / "tones.png").stat().st_size > 1000


def test_requests_errors_and_broken_sounds_are_noticed(tmp_path: Path):
    (tmp_path / "page.html").write_text("""<script>console.error("loud"); fetch("https://example.org/data");
        throw new Error("broken")</script><img src="https://example.org/i.png"><img src="gone.png">
        <audio src="data:audio/flac;base64,AAAA"></audio>""")
    page = inspect_page(tmp_path / "page.html")
    assert set(page.requests) == {"https://example.org/data", "https://example.org/i.png",
                                  (tmp_path / "gone.png").as_uri()}
    assert any("broken" in e for e in page.errors) and "loud" in page.errors
    assert page.audio_seconds == [0.0]


def test_a_page_that_is_not_there_is_not_a_clean_page(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="ERR_FILE_NOT_FOUND"):
        inspect_page(tmp_path / "gone.html")
