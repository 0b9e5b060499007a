"""The listening room: sentences and what says them, side by side, loudness matched, with what was heard and a spectrogram.

What `room` gives is text, pictures and players, and works as it is; template/room.js makes of it a room in which one switches
between takes at a position and listens blind, and says how. `lib.report.listeners` reads what a blind test gave.
"""
import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from ..data.audio import SAMPLE_RATE
from ..data.phrases import spoken
from ..data.speech import Utterance, synthesise
from ..measuring.listening import sound, sound_file
from ..metrics.speech import alignment, log_mel
from ..records import Record, digest
from .claims import named
from .html import audio, fold
from .listening import equally_loud
from .results import Report
from .speech import first_seeds

REFERENCE, CODEC = "the speech itself", "after the codec"       # the first takes of a line
ANCHOR = "3.5 kHz anchor"       # a sound of MUSHRA that the browser makes of the first
RANGE, LEVELS = 72, 18          # dB of a spectrogram, and the steps that they are drawn in
OPEN = 4                        # lines that are not folded
TEMPLATE = Path(__file__).parent / "template"


@dataclass(frozen=True)
class Take:
    """A sentence as it was said once."""
    label: str
    audio: np.ndarray           # (samples,) float32 at 24 kHz
    heard: str = ""             # the phonemes that the recogniser heard, spaces between them; "" where that is not known
    record: str = ""            # name of the run that it comes from


@dataclass(frozen=True)
class Line:
    """A sentence and its takes."""
    id: str
    text: str
    wanted: str                 # the phonemes of the text, spaces between them; "" where they are not known
    takes: tuple[Take, ...]
    language: str = "pl"        # as HTML names it


def lines_of(report: Report) -> list[Line]:
    """All sentences of the study of speech whose sound is kept: the speech itself, after the codec, and by the first seed of
    every core at predicted durations. None where there is no such study."""
    if report.bounds is None:
        return []
    rows = report.bounds.result["rows"] + report.bounds.result.get("hard", [])
    kept = [row for row in rows if row["what"] == "speech" and sound_file(f"{row['id']}-speech") in report.bounds.files]
    of_bounds = {(row["id"], row["what"]): row.get("heard", "") for row in rows}
    first = first_seeds(report)
    of_core = {(core, row["id"]): row["heard"] for core, said in first.items() for row in said.result["rows"]
               if row["durations"] == "predicted"}
    out, trained = [], report.speech.get("headline")
    voice = trained[0].identity["voice"] if trained else report.study.voice
    for row, wanted in zip(kept, _phonemes([row["text"] for row in kept], voice)):
        name = row["id"]
        takes = [_take(label, report.bounds, f"{name}-{what}", of_bounds[name, what])
                 for label, what in ((REFERENCE, "speech"), (CODEC, "codec"))]
        takes += [_take(named(core), said, f"{name}-predicted", of_core.get((core, name), "")) for core, said in first.items()
                  if sound_file(f"{name}-predicted") in said.files]
        # espeak-ng may be another than the one that the errors were counted with
        out.append(Line(name, row["text"], " ".join(wanted) if len(wanted) == row["phonemes"] else "", tuple(takes),
                        report.corpus.result["language"] if report.corpus else "pl"))
    return out


def _take(label: str, run: Record, name: str, heard: str) -> Take:
    return Take(label, sound(run, name), heard, run.name)


def _phonemes(texts: Iterable[str], voice: str) -> list[list[str]]:
    """What a recogniser should hear of each text."""
    return [spoken(name for _, name in said.phonemes if name) for said in synthesise(Utterance(text, voice) for text in texts)]


def key(lines: list[Line]) -> str:
    """What a blind test of these lines is known by: its sentences, and the runs behind its takes."""
    return digest([[line.id, [[take.label, take.record] for take in line.takes]] for line in lines])[:12]


def room(lines: list[Line]) -> str:
    """Sentences × takes as HTML without script or style: players of equal loudness, what was heard, spectrograms."""
    if not lines:
        return ""
    written = [_line(line) for line in lines]
    more = written[OPEN:]
    folded = fold(f"{len(more)} more sentence{'s' * (len(more) > 1)}", *more) if more else ""
    # the t quantiles of a mean over 2, 3, ... sentences, for the script
    quantiles = " ".join(f"{t:.4f}" for t in stats.t.ppf(0.975, range(1, len(lines))))
    return (f'<div class="room" data-room="{key(lines)}" data-reference="{REFERENCE}" data-t="{quantiles}">'
            f'<p class="note">Of each the phonemes that the recogniser heard: <del>struck out</del> what is missing, '
            f'<ins>underlined</ins> what was heard in its place or beside. All are equally loud.</p>'
            f'{"".join(written[:OPEN])}{folded}</div>')


def live(lines: list[Line]) -> str:
    """`room` with its style and script, for a notebook that runs."""
    style, script = ((TEMPLATE / name).read_text(encoding="utf-8") for name in ("room.css", "room.js"))
    return f"<style>{style}</style>{room(lines)}<script>{script}</script>"


def _line(line: Line) -> str:
    sounds = equally_loud([take.audio for take in line.takes])
    mels = [log_mel(sound, bands=48) for sound in sounds]                   # each (bands, frames)
    loudest, frames = (max(size(mel) for mel in mels) for size in (np.max, lambda mel: mel.shape[1]))
    takes = "".join(
        f'<figure class="take" data-take="{escape(take.label)}">'
        f'<figcaption>{escape(take.label)}</figcaption>'
        f'<img alt="Spectrogram of {escape(take.label)}, {len(sound) / SAMPLE_RATE:.1f} s" src="{_picture(mel - loudest, frames)}">'
        f'{audio(sound, f"{take.label}: {line.text}")}{_transcript(line, take)}<small>{escape(take.record)}</small></figure>'
        for take, sound, mel in zip(line.takes, sounds, mels))
    return (f'<div class="line" data-line="{escape(line.id)}" data-seconds="{max(map(len, sounds)) / SAMPLE_RATE:.5f}">'
            f'<h3 lang="{line.language}">{escape(line.text)}</h3><div class="takes">{takes}</div></div>')


def _picture(mel: np.ndarray, frames: int) -> str:
    """A log-mel spectrogram (bands, frames) in dB under the loudest, as the address of a picture so many frames wide."""
    padded = np.pad(mel, ((0, 0), (0, frames - mel.shape[1])), constant_values=-RANGE)
    file = io.BytesIO()
    plt.imsave(file, np.ceil(padded / RANGE * LEVELS), cmap="magma", vmin=-LEVELS, vmax=0, origin="lower", format="png",
               metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _transcript(line: Line, take: Take) -> str:
    """What was heard; where the text's phonemes are known, what is missing in it struck out and what is wrong underlined."""
    if not take.heard:
        return ""
    wanted, heard = line.wanted.split(), take.heard.split()
    if not wanted:
        return f'<p class="heard">{escape(take.heard)}</p>'
    pairs = alignment(wanted, heard)
    wrong = sum(x != y for x, y in pairs)
    words = []
    for same, run in groupby(pairs, lambda pair: pair[0] == pair[1]):
        missing, there = (escape(" ".join(filter(None, side))) for side in zip(*run))
        words.append(there if same else " ".join(f"<{tag}>{part}</{tag}>" for tag, part in (("del", missing), ("ins", there)) if part))
    verdict = f"{wrong} of {len(wanted)} wrong" if wrong else f"all {len(wanted)} right"
    return f'<p class="heard"><strong>{verdict}:</strong> {" ".join(words)}</p>'
