"""What one waveform says of another: mel spectrograms, intelligibility, spectral distance, token agreement."""
import numpy as np
import parselmouth
from pystoi import stoi as _stoi
from scipy.fft import dct
from scipy.signal import resample_poly, stft


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


def pitch(audio: np.ndarray, rate: int = 24_000) -> np.ndarray:
    """F0 in Hz every 10 ms (frames,), 0 where unvoiced, by autocorrelation (Boersma 1993)."""
    return parselmouth.Sound(audio.astype(float), rate).to_pitch_ac(
        time_step=0.01, pitch_floor=60, pitch_ceiling=600).selected_array["frequency"]


def pitch_error(reference: np.ndarray, other: np.ndarray) -> float | None:
    """Root mean square difference of F0 in cents, over the frames in which two aligned signals are voiced; None where
    they never are together."""
    a, b = (pitch(x) for x in (reference, other))
    frames = min(len(a), len(b))
    a, b = a[:frames], b[:frames]
    voiced = (a > 0) & (b > 0)
    return float(np.sqrt(np.mean((1200 * np.log2(a[voiced] / b[voiced])) ** 2))) if voiced.any() else None


def mel_cepstral_distortion(reference: np.ndarray, other: np.ndarray, coefficients: int = 13) -> float:
    """MCD in dB of aligned signals over cepstral coefficients 1..13 (Kubichek 1993); no time warping.

    What lies 60 dB under the reference's peak is silence in both: a codec's hiss there would outweigh all speech.
    """
    mels = [log_mel(x) for x in (reference, other)]
    floor = mels[0].max() - 60
    # c_m of log|S| = c_0 / 2 + sum c_m cos: then MCD is the root mean square difference of the smoothed spectra in dB
    a, b = (dct(np.maximum(mel, floor) * np.log(10) / 20, axis=0)[1:coefficients + 1] / len(mel) for mel in mels)
    frames = min(a.shape[1], b.shape[1])
    difference = a[:, :frames] - b[:, :frames]
    return float(10 / np.log(10) * np.sqrt(2 * (difference ** 2).sum(0)).mean())


def token_match(reference: np.ndarray, generated: np.ndarray) -> float:
    """Share of the reference's tokens (codebooks, frames) that `generated` has in the same place; absent ones count as wrong."""
    frames = min(reference.shape[1], generated.shape[1])
    return float((reference[:, :frames] == generated[:, :frames]).sum() / reference.size)
