"""The listening room as it is written: equally loud, nothing in it that could do anything, errors marked where they are."""
import base64
import io
import re

import nbformat
import numpy as np
import pytest
import soundfile
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output
from pyloudnorm import Meter

from lib import records
from lib.config import study
from lib.data.audio import flac
from lib.data.phrases import spoken
from lib.data.speech import Utterance, synthesise
from lib.metrics.speech import alignment, edits
from lib.report import listening, page, room
from lib.report.results import Report
from lib.report.room import CODEC, REFERENCE, Line, Take

ATTACK = '"><script>alert(1)</script>'


def tone(seconds: float, peak: float, hertz: float = 440) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 24_000)) / 24_000)).astype(np.float32)


def shown(*lines: Line) -> BeautifulSoup:
    return BeautifulSoup(room.room(list(lines)), "html.parser")


def samples(player) -> np.ndarray:
    return soundfile.read(io.BytesIO(base64.b64decode(player["src"].split(",")[1])))[0]


def line(*heard: str, wanted: str = "k ɔ t") -> Line:
    return Line("t", "kot", wanted, tuple(Take(f"take {i}", tone(0.5 + i / 10, 0.1 + i / 10), words, f"said/{i}") for i, words in enumerate(heard)))


def test_the_takes_of_a_line_are_equally_loud_and_none_is_clipped():
    sounds = [tone(2, 0.01), tone(1, 0.9, 2000), np.clip(3 * tone(3, 1, 100), -1, 1), tone(0.1, 0.3)]
    out, meter = listening.equally_loud(sounds), Meter(24_000)
    loud = [meter.integrated_loudness(np.resize(x, max(len(x), 9600)).astype(float)) for x in out]
    assert loud == pytest.approx([listening.LOUDNESS] * 4, abs=0.01)
    assert [len(x) for x in out] == [len(x) for x in sounds] and {x.dtype for x in out} == {np.dtype(np.float32)}


def test_what_would_be_clipped_takes_the_others_down_with_it():
    click = np.zeros(48_000, np.float32)
    click[::8000] = 0.5                     # as loud as the tone it would have a peak far over full scale
    out, meter = listening.equally_loud([click, tone(2, 0.5)]), Meter(24_000)
    loud = [meter.integrated_loudness(x.astype(float)) for x in out]
    assert loud[0] == pytest.approx(loud[1], abs=0.01) and loud[0] < listening.LOUDNESS - 3
    assert np.abs(out[0]).max() <= 10 ** (listening.PEAK / 20) + 1e-6


def test_silence_stays_silent_and_is_no_measure_for_others():
    silent, loud = listening.equally_loud([np.zeros(100, np.float32), tone(1, 0.2)])
    assert not silent.any() and Meter(24_000).integrated_loudness(loud.astype(float)) == pytest.approx(listening.LOUDNESS, abs=0.01)
    assert not listening.equally_loud([np.zeros(30_000, np.float32)])[0].any()


def test_players_hold_what_was_made_equally_loud():
    one = line("", "", "")
    players = shown(one).select("audio")
    for player, wanted in zip(players, listening.equally_loud([take.audio for take in one.takes]), strict=True):
        np.testing.assert_allclose(samples(player), wanted, atol=1 / 32768)
    assert players[0]["aria-label"] == "take 0: kot"


@pytest.mark.parametrize("heard, marked", [
    ("k ɔ t", "<strong>all 3 right:</strong> k ɔ t"),
    ("k ɔ", "<strong>1 of 3 wrong:</strong> k ɔ <del>t</del>"),
    ("k ɔ t a", "<strong>1 of 3 wrong:</strong> k ɔ t <ins>a</ins>"),
    ("k a t", "<strong>1 of 3 wrong:</strong> k <del>ɔ</del> <ins>a</ins> t"),
    ("p l a", "<strong>3 of 3 wrong:</strong> <del>k ɔ t</del> <ins>p l a</ins>")])
def test_errors_are_marked_where_they_are(heard, marked):
    assert shown(line(heard)).select_one(".heard").decode_contents() == marked


def test_without_the_text_s_phonemes_nothing_is_marked_and_what_was_not_heard_is_left_out():
    page = shown(line("k a t", "", wanted=""))
    assert [p.decode_contents() for p in page.select(".heard")] == ["k a t"]


def test_an_alignment_is_what_edits_count():
    assert alignment("kitten", list("sitting")) == [("k", "s"), ("i", "i"), ("t", "t"), ("t", "t"), ("e", "i"), ("n", "n"), (None, "g")]
    assert alignment("", "") == [] and alignment("ab", "") == [("a", None), ("b", None)]
    for a, b in (("abcd", "xabc"), ("abcabc", "cab"), ("", "ab")):
        pairs = alignment(a, b)
        assert "".join(x for x, _ in pairs if x) == a and "".join(y for _, y in pairs if y) == b
        assert sum(x != y for x, y in pairs) == sum(edits(a, b))


def test_spectrograms_of_a_line_are_on_one_scale_of_time():
    pictures = [base64.b64decode(image["src"].split(",")[1]) for image in shown(line("", "", "")).select("img")]
    sizes = {tuple(np.frombuffer(picture[16:24], ">u4")) for picture in pictures}      # width and height of the PNG
    (width, height), = sizes
    assert height == 48 and 0.7 * 75 <= width <= 0.7 * 75 + 3
    assert [image["alt"] for image in shown(line("", "")).select("img")] == ["Spectrogram of take 0, 0.5 s", "Spectrogram of take 1, 0.6 s"]


@pytest.mark.parametrize("attack", ["", ATTACK])
def test_the_room_can_do_nothing_by_itself(attack):
    html = room.room([Line(f"t{attack}", f"kot {attack}", f"k {attack}", (Take(f"a{attack}", tone(0.5, 0.1), f"t {attack}", f"said/{attack}"),))])
    notebook = new_notebook(cells=[new_code_cell("0", outputs=[new_output("display_data", {"text/html": html})])])
    assert page.inert(nbformat.from_dict(notebook)) and not BeautifulSoup(html, "html.parser").select("script, style, [style]")
    assert BeautifulSoup(html, "html.parser").select_one(".take")["data-take"] == f"a{attack}"


@pytest.mark.parametrize("markup", ['<img alt="a" src="https://example.org/a.png">', '<img src="data:image/svg+xml;base64,AAAA">',
                                    '<div data-line="a" style="color: red">', '<div data-other="a">', '<ins onclick="alert(1)">'])
def test_what_a_room_may_hold_is_not_more_than_it_needs(markup):
    shows = new_output("display_data", {"text/html": markup})
    assert not page.inert(new_notebook(cells=[new_code_cell("0", outputs=[shows])]))


def test_what_is_more_than_a_few_sentences_is_folded():
    five = [Line(f"t{i}", "kot", "", (Take("a", tone(0.5, 0.1)),)) for i in range(room.OPEN + 1)]
    assert not shown(*five[:-1]).select("details")
    folded, = shown(*five).select("details")
    assert folded.summary.text == "1 more sentence" and [line["data-line"] for line in folded.select(".line")] == [five[-1].id]


def test_of_no_lines_there_is_no_room():
    assert room.room([]) == ""
    assert room.lines_of(Report(study("standard"))) == []


def test_a_live_room_brings_style_and_script_of_its_own_and_nothing_else():
    live = BeautifulSoup(room.live([line("")]), "html.parser")
    assert len(live.select("style")) == len(live.select("script")) == 1
    script = (room.TEMPLATE / "room.js").read_text()
    assert live.script.string == script and not re.search(r"https?:|fetch\(|XMLHttp|import\(|</script", script)


@pytest.fixture
def report() -> Report:
    """Two sentences, of which the sound of one is kept; two seeds of a core."""
    made, text = Report(study("standard")), "ala ma kota."
    speech, = synthesise([Utterance(text, "pl")])
    wanted = spoken(name for _, name in speech.phonemes if name)
    rows = [{"id": name, "what": what, "text": text, "phonemes": len(wanted), "heard": what}
            for name in ("test-0000", "test-0001") for what in ("speech", "codec", "untrained")]
    sound = flac(tone(0.5, 0.1))
    made.bounds = records.save("bounds", {}, {"rows": rows}, {f"test-0000-{what}.flac": sound for what in ("speech", "codec", "untrained")})
    for seed in range(2):
        heard = [{"id": "test-0000", "split": "test", "durations": durations, "heard": f"{durations} {seed}"} for durations in ("given", "predicted")]
        made.said.setdefault("headline", []).append(records.save("said", {"seed": seed}, {
            "train": f"speech/{seed}", "config": {"model": {"core": "mamba"}}, "rows": heard},
            {f"test-0000-{durations}.flac": flac(tone(0.5, 0.1 + seed / 10)) for durations in ("given", "predicted")}))
    return made


def test_the_lines_of_a_report_are_those_whose_sound_is_kept(report):
    one, = room.lines_of(report)
    first = report.said["headline"][0]
    assert (one.id, one.text, one.wanted) == ("test-0000", "ala ma kota.", "a l a m a k ɔ t a")
    assert [(take.label, take.heard, take.record) for take in one.takes] == [
        (REFERENCE, "speech", report.bounds.name), (CODEC, "codec", report.bounds.name), ("Mamba", "predicted 0", first.name)]
    np.testing.assert_allclose(one.takes[2].audio, tone(0.5, 0.1), atol=1 / 32768)


def test_where_errors_were_counted_with_other_phonemes_none_are_marked(report):
    report.bounds.result["rows"][0]["phonemes"] += 1
    assert room.lines_of(report)[0].wanted == ""


def test_a_room_is_known_by_its_sentences_and_runs(report):
    one, = room.lines_of(report)
    assert room.key([one]) == room.key(room.lines_of(report)) == shown(one).div["data-room"]
    report.said["headline"].reverse()
    assert room.key(room.lines_of(report)) != room.key([one])
