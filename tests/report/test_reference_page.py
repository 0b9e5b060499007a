"""The committed page in headless Chromium, as most people will see this project: its first screen, its length, on a phone."""
import pytest

from browser import AUDIO_SECONDS, needs_chromium, opened
from lib.config import REPOSITORY

pytestmark = [pytest.mark.long, needs_chromium]

PAGE = REPOSITORY / "figures" / "reference" / "report.html"
SCREEN = 900        # CSS pixels
UNFOLD = "document.querySelectorAll('main details').forEach(fold => { fold.open = true; })"
SETTLED = "new Promise(done => requestAnimationFrame(() => setTimeout(done, 300)))"
OUTSIDE = """[...document.querySelectorAll('main *')].filter(one => one.checkVisibility() && !one.closest('.unseen')
  && one.getBoundingClientRect().right > innerWidth + 1 && !one.parentElement.closest('.scroll, .takes, pre')).map(one => one.outerHTML.slice(0, 200))"""


def test_the_answer_is_on_the_first_screen():
    with opened(PAGE, width=1440, height=SCREEN) as tab:
        ends = tab.evaluate("""['.answer .lead', '.answer ul', '.answer .figure', '.answer .players', '.answer', '.scope'].map(
          name => [name, Math.round(document.querySelector(name).getBoundingClientRect().bottom)])""")
        lines = tab.evaluate("[...document.querySelectorAll('.answer li')].map(line => line.getClientRects().length && line.textContent)")
        players = tab.evaluate("[...document.querySelectorAll('.answer .players audio')].map(one => one.getBoundingClientRect().bottom)")
    assert all(0 < end <= SCREEN for _, end in ends), ends
    assert 4 <= len(lines) <= 6 and all(lines), lines
    assert len(players) >= 3 and max(players) <= SCREEN


def test_folded_the_page_is_short_and_light():
    with opened(PAGE, width=1440, height=SCREEN) as tab:
        assert tab.evaluate("document.querySelectorAll('main details').length > 10 && !document.querySelector('main details[open]')")
        screens = tab.evaluate("document.scrollingElement.scrollHeight") / SCREEN
    assert screens <= 14
    assert PAGE.stat().st_size < 10e6


def test_nothing_leaves_the_page_and_nothing_goes_wrong():
    with opened(PAGE, width=1440, height=SCREEN) as tab:
        tab.evaluate(UNFOLD)
        seconds = tab.evaluate(AUDIO_SECONDS)
        tab.evaluate("document.scrollingElement.scrollTo(0, document.scrollingElement.scrollHeight)")
        tab.evaluate(SETTLED)
        assert tab.page.requests == [] and tab.page.errors == []
    assert len(seconds) > 20 and min(seconds) > 0


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_is_wider_than_the_screen(dark):
    with opened(PAGE, width=390, height=844, dark=dark) as tab:
        for _ in range(2):                          # folded, then not
            tab.evaluate(SETTLED)
            assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390 + 1
            assert tab.evaluate(OUTSIDE) == []
            tab.evaluate(UNFOLD)
        tables = tab.evaluate("[...document.querySelectorAll('main table')].map(one => !!one.closest('.scroll'))")
        assert len(tables) > 10 and all(tables)
        assert tab.page.errors == []
