"""What repeated measurements allow to be said: Student-t over seeds, Holm, bootstrap over the utterances of a seed;
power laws through a curve.

A percentile bootstrap over three seeds calls a difference where there is none 24 % of the time; t keeps its 5 %.
"""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Interval:
    mean: float
    low: float      # nan where n is 1: one value says nothing about its spread
    high: float
    n: int


def _values(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"expected a list of numbers, got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"value {np.flatnonzero(~np.isfinite(array))[0]} is not a finite number")
    return array


def _pairs(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = _values(a), _values(b)
    if len(a) != len(b):
        raise ValueError(f"pairs need equal lengths, got {len(a)} and {len(b)}")
    return a, b


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean and Student-t interval of independent values (Student 1908); one value has no interval (nan)."""
    x = _values(values)
    n, mean = len(x), float(x.mean())
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * stats.sem(x)) if n > 1 else np.nan
    return Interval(mean, mean - half, mean + half, n)


def finite_interval(values: ArrayLike, level: float = 0.95) -> Interval | None:
    """`t_interval`; None where there is no value, or one that is not a finite number."""
    x = np.asarray(values, dtype=float)
    return t_interval(x, level) if x.size and np.isfinite(x).all() else None


def paired_difference(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """t interval of a - b over pairs that share a seed or a process."""
    a, b = _pairs(a, b)
    return t_interval(a - b, level)


def paired_saving(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """t interval of 1 - b / a over pairs: how much less b is than a, as a fraction of a."""
    a, b = _pairs(a, b)
    if (a <= 0).any():
        raise ValueError("a saving is relative to positive values, and not all of these are")
    return t_interval(1 - b / a, level)


def separated(interval: Interval) -> bool:
    """Whether 0 lies outside the interval; never with fewer than two values."""
    return interval.n > 1 and (interval.low > 0 or interval.high < 0)


def paired_p(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided p of the paired t test of a against b; nan for one pair."""
    a, b = _pairs(a, b)
    if len(a) > 1 and np.ptp(a - b) == 0:       # no spread: the t statistic is 0 / 0 or infinite
        return float(a[0] == b[0])
    return float(stats.ttest_rel(a, b).pvalue) if len(a) > 1 else np.nan


def holm(p_values: ArrayLike) -> np.ndarray:
    """Step-down adjusted p values, in the order given (Holm 1979)."""
    p = _values(p_values)
    if ((p < 0) | (p > 1)).any():
        raise ValueError("a p value lies between 0 and 1")
    order = np.argsort(p)
    return np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)[np.argsort(order)]


def _curves(x: ArrayLike, *ys: ArrayLike) -> list[np.ndarray]:
    """The logarithms of rising x (n,) and of each y (n,)."""
    curves = [_pairs(x, y)[1] for y in (x, *ys)]
    if any((c <= 0).any() for c in curves) or (np.diff(curves[0]) <= 0).any():
        raise ValueError("a power law needs x rising, and all values positive")
    return [np.log(c) for c in curves]


def exponent(x: ArrayLike, y: ArrayLike) -> float:
    """p of the power law y = c x^p that fits best: the slope of log y against log x by least squares."""
    if len(x) < 2:
        raise ValueError("an exponent needs at least two points")
    return float(np.polyfit(*_curves(x, y), 1)[0])


def crossings(x: ArrayLike, a: ArrayLike, b: ArrayLike) -> list[float]:
    """Every x at which the lower of the curves a and b changes; between two points each is taken for a power law."""
    x, a, b = _curves(x, a, b)
    above = a - b
    at = np.flatnonzero((above[1:] > 0) != (above[:-1] > 0))
    part = above[at] / (above[at] - above[at + 1])
    return np.exp(x[at] + part * (x[at + 1] - x[at])).tolist()


def bootstrap(values: ArrayLike, statistic: Callable, seed: int, level: float = 0.95) -> Interval:
    """Percentile bootstrap of `statistic` over the utterances of one seed (Efron 1979); nan bounds for one value."""
    x = _values(values)
    if len(x) == 1:
        return Interval(float(statistic(x)), np.nan, np.nan, 1)
    low, high = stats.bootstrap((x,), statistic, confidence_level=level, method="percentile",
                                rng=np.random.default_rng(seed)).confidence_interval
    return Interval(float(statistic(x)), float(low), float(high), len(x))
