"""What one waveform says of another: mel spectrograms, intelligibility, spectral distance, token agreement."""
from collections.abc import Sequence
from operator import eq
from typing import NamedTuple

import numpy as np
import parselmouth
from numba import njit
from pystoi import stoi as _stoi
from scipy.fft import dct
from scipy.signal import resample_poly, stft
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

MEL_STEP = 320 / 24_000     # seconds between the frames of log_mel
CEPSTRAL_DB = 10 * np.sqrt(2) / np.log(10)      # dB for a Euclidean distance of cepstra (Kubichek 1993)


def mel_filterbank(bands: int, window: int, rate: int = 24_000) -> np.ndarray:
    """Triangular filters (bands, window // 2 + 1), evenly spaced on the mel scale m = 2595 log10(1 + f / 700)."""
    edges = 700 * (10 ** (np.linspace(0, np.log10(1 + rate / 1400), bands + 2)) - 1)
    bins = np.linspace(0, rate / 2, window // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(rising, falling), 0, None)


def log_mel(audio: np.ndarray, bands: int = 80, window: int = 1024, hop: int = 320, rate: int = 24_000) -> np.ndarray:
    """Log-mel spectrogram (bands, frames) in dB of audio (samples,)."""
    audio = np.pad(audio, (0, max(0, window - len(audio))))
    _, _, spectrum = stft(audio, rate, nperseg=window, noverlap=window - hop)
    return 20 * np.log10(mel_filterbank(bands, window, rate) @ np.abs(spectrum) + 1e-5)


def stoi(reference: np.ndarray, other: np.ndarray, rate: int = 24_000) -> float:
    """Short-time objective intelligibility, 0..1, over the shorter of two aligned signals (Taal et al. 2011)."""
    length = min(len(reference), len(other))
    return float(_stoi(reference[:length], other[:length], rate))


def pesq(reference: np.ndarray, other: np.ndarray) -> float:
    """Wide-band PESQ, 1.0 to 4.6, of aligned signals at 24 kHz, compared at 16 kHz (ITU-T P.862.2). ImportError where
    the package is not installed: it compiles C."""
    from pesq import pesq as measure
    length = min(len(reference), len(other))
    return float(measure(16_000, *(resample_poly(x[:length], 2, 3) for x in (reference, other)), "wb"))


def _pitch(audio: np.ndarray, rate: int) -> parselmouth.Pitch:
    audio = np.pad(audio.astype(float), (0, max(0, rate // 10 - len(audio))))       # Praat refuses less than 50 ms
    return parselmouth.Sound(audio, rate).to_pitch_ac(time_step=0.01, pitch_floor=60, pitch_ceiling=600)


def pitch(audio: np.ndarray, rate: int = 24_000) -> np.ndarray:
    """F0 in Hz every 10 ms (frames,), 0 where unvoiced, by autocorrelation (Boersma 1993)."""
    return _pitch(audio, rate).selected_array["frequency"]


def voiced_cents(audio: np.ndarray) -> np.ndarray:
    """F0 every 10 ms where voiced (voiced frames,), in cents over 100 Hz."""
    found = pitch(audio)
    return 1200 * np.log2(found[found > 0] / 100)


def longest_silence(audio: np.ndarray, rate: int = 24_000) -> float:
    """Seconds of the longest stretch of audio (samples,), between what is heard first and last, that lies 40 dB under its loudest
    10 ms; all of it where nothing is heard."""
    frame = rate // 100
    loud = np.square(audio[:len(audio) // frame * frame].reshape(-1, frame)).mean(1)
    heard = np.flatnonzero(loud > 1e-4 * loud.max(initial=0.0))
    return float(np.diff(heard).max(initial=1) - 1) / 100 if len(heard) else len(audio) / rate


def jumps(audio: np.ndarray, joins: Sequence[int], voiced: int = 25, rate: int = 24_000) -> tuple[list[float], list[float]]:
    """By how much level (dB) and F0 (cents) change at each join, a place in audio (samples,), wherever in a pause: the medians over
    so many voiced 10 ms after it, the first of them, less those over the last before it. A join with nothing voiced on either side
    is left out."""
    contour = _pitch(audio, rate)
    f0, at = contour.selected_array["frequency"], contour.xs()
    half = rate // 100                                                  # samples: 20 ms around each frame
    squared = np.concatenate([[0], np.cumsum(audio.astype(float) ** 2)])
    ends = [np.clip((at * rate).astype(int) + by, 0, len(audio)) for by in (-half, half)]
    level = 10 * np.log10((squared[ends[1]] - squared[ends[0]]) / (2 * half) + 1e-12)
    levels, pitches, of_voice = [], [], np.flatnonzero(f0 > 0)
    for join in joins:
        first = np.searchsorted(at[of_voice], join / rate)
        before, after = of_voice[max(0, first - voiced):first], of_voice[first:first + voiced]
        if len(before) and len(after):
            levels.append(float(np.median(level[after]) - np.median(level[before])))
            pitches.append(float(1200 * np.log2(np.median(f0[after]) / np.median(f0[before]))))
    return levels, pitches


def pitch_error(reference: np.ndarray, other: np.ndarray) -> float | None:
    """Root mean square difference of F0 in cents, over the frames in which two aligned signals are voiced; None where
    they never are together."""
    a, b = (pitch(x) for x in (reference, other))
    frames = min(len(a), len(b))
    return _cents(a[:frames], b[:frames])


def _cents(a: np.ndarray, b: np.ndarray) -> float | None:
    voiced = (a > 0) & (b > 0)
    return float(np.sqrt(np.mean((1200 * np.log2(a[voiced] / b[voiced])) ** 2))) if voiced.any() else None


def _cepstra(reference: np.ndarray, other: np.ndarray, coefficients: int = 13) -> tuple[np.ndarray, np.ndarray]:
    """Cepstral coefficients 1..13 of both signals, each (frames, 13).

    What lies 60 dB under the reference's peak is silence in both: a codec's hiss there would outweigh all speech.
    """
    mels = [log_mel(x) for x in (reference, other)]
    floor = mels[0].max() - 60
    # c_m of log|S| = c_0 / 2 + sum c_m cos: then MCD is the root mean square difference of the smoothed spectra in dB
    a, b = (dct(np.maximum(mel, floor) * np.log(10) / 20, axis=0)[1:coefficients + 1].T / len(mel) for mel in mels)
    return a, b


def mel_cepstral_distortion(reference: np.ndarray, other: np.ndarray) -> float:
    """MCD in dB of aligned signals over cepstral coefficients 1..13 (Kubichek 1993); no time warping."""
    a, b = _cepstra(reference, other)
    frames = min(len(a), len(b))
    return float(CEPSTRAL_DB * np.linalg.norm(a[:frames] - b[:frames], axis=1).mean())


@njit(cache=True)
def warp(cost: np.ndarray) -> np.ndarray:
    """The cheapest path (steps, 2) through a cost (n, m) from corner to corner, each step on by one in either or both
    (dynamic time warping, Sakoe & Chiba 1978; all steps weigh the same)."""
    n, m = cost.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    for i in range(n):
        for j in range(m):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    path, i, j, step = np.empty((n + m - 1, 2), np.int64), n - 1, m - 1, n + m - 2
    path[step] = i, j
    while i or j:
        both, first, second = total[i, j], total[i, j + 1], total[i + 1, j]
        if both <= first and both <= second:
            i, j = i - 1, j - 1
        elif first <= second:
            i -= 1
        else:
            j -= 1
        step -= 1
        path[step] = i, j
    return path[step:]


def _warped(reference: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The path (steps, 2) along which the frames of two signals are most alike, and their distances in dB (steps,)."""
    cost = CEPSTRAL_DB * cdist(*_cepstra(reference, other))
    path = warp(cost)
    return path, cost[path[:, 0], path[:, 1]]


def warped_distortion(reference: np.ndarray, other: np.ndarray) -> float | None:
    """MCD in dB, mean over the path that warps the time of one signal to the other's; None for a silent reference."""
    return float(_warped(reference, other)[1].mean()) if reference.any() else None


def warped_pitch_error(reference: np.ndarray, other: np.ndarray, rate: int = 24_000) -> float | None:
    """Root mean square difference of F0 in cents along the path of `warped_distortion`, over what is voiced in both;
    None where nothing is."""
    path, _ = _warped(reference, other)
    found = []
    for audio, frames in zip((reference, other), path.T):
        contour = _pitch(audio, rate)
        nearest = np.abs(contour.xs() - MEL_STEP * frames[:, None]).argmin(1)
        found.append(contour.selected_array["frequency"][nearest])
    return _cents(*found)


class Edits(NamedTuple):
    """What makes one sequence the other."""
    deletions: int
    insertions: int
    substitutions: int


@njit(cache=True)
def _alignment(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cost = np.empty((len(a) + 1, len(b) + 1), np.int64)
    cost[:, 0], cost[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(len(a)):
        for j in range(len(b)):
            cost[i + 1, j + 1] = min(cost[i, j] + (a[i] != b[j]), cost[i, j + 1] + 1, cost[i + 1, j] + 1)
    path, i, j, step = np.full((len(a) + len(b), 2), -1), len(a), len(b), len(a) + len(b)
    while i or j:
        step -= 1
        if i and j and cost[i, j] == cost[i - 1, j - 1] + (a[i - 1] != b[j - 1]):
            i, j = i - 1, j - 1
            path[step] = i, j
        elif i and cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
            path[step, 0] = i
        else:
            j -= 1
            path[step, 1] = j
    return path[step:]


def alignment(a: Sequence, b: Sequence) -> list[tuple]:
    """Pairs of a symbol of `a` and what it is in `b`, in order: (x, None) is deleted, (None, y) inserted, (x, y) the same or
    substituted, with the fewest edits that make `a` `b` (Levenshtein 1966); of several such alignments the one that, from the
    end, substitutes before it deletes and deletes before it inserts."""
    index = {symbol: i for i, symbol in enumerate({*a, *b})}
    path = _alignment(*(np.array([index[symbol] for symbol in x], np.int64) for x in (a, b)))
    return [(a[i] if i >= 0 else None, b[j] if j >= 0 else None) for i, j in path]


def edits(a: Sequence, b: Sequence) -> Edits:
    """The deletions from `a`, insertions and substitutions of its alignment with `b`."""
    pairs = alignment(a, b)
    deletions, insertions = (sum(pair[side] is None for pair in pairs) for side in (1, 0))
    return Edits(deletions, insertions, sum(x != y for x, y in pairs) - deletions - insertions)


def edit_distance(a: Sequence, b: Sequence) -> int:
    """The fewest edits that make one sequence the other."""
    return sum(edits(a, b))


def longest_repeat(phonemes: Sequence[str]) -> int:
    """The most phonemes in a row that say whole n-grams again right after the first time, n being any: 4 of a b a b a b."""
    most = 0
    for n in range(1, len(phonemes) // 2 + 1):
        run = 0
        for same in map(eq, phonemes, phonemes[n:]):
            run = (run + 1) * same
            most = max(most, run // n * n)
    return most


def loop(text: Sequence[str], heard: Sequence[str]) -> int:
    """By how many phonemes the longest repeat that is heard is longer than the text's own."""
    return max(0, longest_repeat(heard) - longest_repeat(text))


def distribution_distance(a: np.ndarray, b: np.ndarray) -> float | None:
    """1-Wasserstein distance of two samples, in their unit: by how much the values of one must move, on average, to be
    distributed as the other's (Villani 2009); None where one is empty."""
    return float(wasserstein_distance(a, b)) if len(a) and len(b) else None


def phoneme_error(references: Sequence[Sequence[str]], heard: Sequence[Sequence[str]]) -> float:
    """Edits per phoneme of the references, over all sentences together: it may pass 1."""
    edits = sum(edit_distance(a, b) for a, b in zip(references, heard, strict=True))
    return edits / sum(map(len, references))


def token_match(reference: np.ndarray, generated: np.ndarray) -> float:
    """Share of the reference's tokens (codebooks, frames) that `generated` has in the same place; absent ones count as wrong."""
    frames = min(reference.shape[1], generated.shape[1])
    return float((reference[:, :frames] == generated[:, :frames]).sum() / reference.size)
