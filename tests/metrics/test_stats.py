import numpy as np
import pytest

from lib.metrics.stats import (
    Interval,
    bootstrap,
    crossings,
    exponent,
    finite_interval,
    holm,
    paired_difference,
    paired_p,
    paired_saving,
    separated,
    t_interval,
)


def test_t_interval_matches_the_textbook():
    interval = t_interval([1, 2, 3, 4, 5])      # t(0.975, 4) = 2.776, s = 1.5811, s / sqrt 5 = 0.70711
    assert (interval.mean, interval.n) == (3, 5)
    assert interval.high - 3 == pytest.approx(2.776445 * 0.7071068, rel=1e-6) == 3 - interval.low
    assert t_interval([1, 2, 3, 4, 5], level=0.9).high - 3 == pytest.approx(2.131847 * 0.7071068, rel=1e-6)


def test_three_seeds_give_the_mean_plus_minus_2_48_s():
    values = [0.4, 1.1, 2.7]
    interval = t_interval(values)
    assert interval.high - interval.mean == pytest.approx(2.484 * np.std(values, ddof=1), rel=1e-3)


def test_one_value_has_no_interval():
    interval = t_interval([7])
    assert interval.mean == 7 and np.isnan(interval.low) and np.isnan(interval.high) and interval.n == 1
    assert not separated(interval)


def test_what_is_not_all_numbers_has_no_interval():
    assert finite_interval([1, 2, 3, 4, 5]) == t_interval([1, 2, 3, 4, 5])
    assert finite_interval([7]).mean == 7
    assert finite_interval([]) is finite_interval([1, np.nan]) is finite_interval([np.inf]) is None


def test_equal_values_have_an_interval_of_no_width():
    assert t_interval([2, 2, 2]) == Interval(2, 2, 2, 3)
    assert separated(t_interval([2, 2, 2])) and not separated(t_interval([0, 0, 0]))


def test_pairs_remove_what_they_share():
    shared = np.array([0, 100, -50, 20])
    interval = paired_difference(shared + [3.1, 2.9, 3.0, 3.2], shared)
    assert separated(interval) and interval.mean == pytest.approx(3.05)
    assert not separated(paired_difference(shared + [3.1, -2.9, 3.0, -3.2], shared))


def test_saving_is_how_much_less_the_second_is():
    interval = paired_saving([10, 20], [6, 12])
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.4, 0.4, 0.4))
    assert paired_saving([6, 12], [10, 20]).mean == pytest.approx(-2 / 3)


@pytest.mark.parametrize("seeds", [3, 5])
def test_t_keeps_its_false_positive_rate_where_a_bootstrap_over_seeds_does_not(seeds):
    random = np.random.default_rng(0)
    differences = random.normal(size=(2000, seeds))
    t_rate = np.mean([separated(t_interval(d)) for d in differences])
    assert t_rate == pytest.approx(0.05, abs=0.015)
    means = differences[:, random.integers(seeds, size=(500, seeds))].mean(-1)     # (trials, resamples)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    assert np.mean((low > 0) | (high < 0)) > 2 * t_rate


def test_p_agrees_with_the_interval():
    random = np.random.default_rng(1)
    for _ in range(200):
        a, b = random.normal(0.8, 1, 5), random.normal(0, 1, 5)
        assert (paired_p(a, b) < 0.05) == separated(paired_difference(a, b))
    assert paired_p([1, 2], [1, 2]) == 1 and paired_p([2, 3], [1, 2]) == 0 and np.isnan(paired_p([1], [2]))


def test_holm_by_hand():
    # sorted 0.005 0.01 0.03 0.04 times 4 3 2 1 = 0.02 0.03 0.06 0.04, and never below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert holm([0.2]) == pytest.approx([0.2])


@pytest.mark.parametrize("p", [-1, 0, 0.5, 1, 2, 3.25])
def test_the_exponent_of_a_power_law_is_its_power(p):
    x = np.array([75, 300, 1200, 4800])
    assert exponent(x, 0.02 * x ** float(p)) == pytest.approx(p, abs=1e-9)
    assert exponent(x * 7, 3 * x ** float(p)) == pytest.approx(p, abs=1e-9)


def test_an_exponent_through_noise_is_as_sure_as_its_interval_says():
    random, x = np.random.default_rng(3), np.array([1200.0, 2400, 4800])
    fits = [[exponent(x, x ** 1.5 * random.lognormal(0, 0.05, 3)) for _ in range(3)] for _ in range(1000)]
    intervals = [t_interval(processes) for processes in fits]
    assert np.mean([i.low <= 1.5 <= i.high for i in intervals]) == pytest.approx(0.95, abs=0.02)


def test_power_laws_cross_where_they_are_equal():
    x = np.array([75.0, 300, 1200, 4800])
    assert crossings(x, 6 * x, x ** 2 / 100) == pytest.approx([600]) == crossings(x, x ** 2 / 100, 6 * x)
    assert crossings(x, 3 * x, x ** 2 / 100) == pytest.approx([300])        # at a point that was measured
    assert crossings(x, x, 2 * x) == crossings(x, 2 * x, x) == []
    assert crossings([75], [1], [2]) == []
    assert crossings(x, 100 * x, x ** 2 / 100) == []                        # only beyond the last point


def test_every_crossing_is_found():
    x, ones = [1, 10, 100, 1000], np.ones(4)
    assert crossings(x, [0.1, 10, 0.1, 10], ones) == pytest.approx([10 ** 0.5, 10 ** 1.5, 10 ** 2.5])
    assert crossings(x, [0.5, 4, 4, 4], ones) == pytest.approx([10 ** (1 / 3)])


def test_bootstrap_is_seeded_and_covers():
    values = np.random.default_rng(2).normal(10, 2, 200)
    interval = bootstrap(values, np.mean, seed=0)
    assert interval == bootstrap(values, np.mean, seed=0) != bootstrap(values, np.mean, seed=1)
    assert interval.low < values.mean() == interval.mean < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.1)
    assert np.isnan(bootstrap([1], np.mean, seed=0).low)


@pytest.mark.parametrize("call, message", [
    (lambda: t_interval([]), "list of numbers"),
    (lambda: t_interval([[1, 2]]), "list of numbers"),
    (lambda: t_interval([1, np.nan]), "value 1 is not a finite number"),
    (lambda: paired_difference([1, np.inf], [1, 2]), "value 1 is not a finite number"),
    (lambda: paired_saving([1, 2], [1]), "equal lengths, got 2 and 1"),
    (lambda: paired_saving([0, 2], [1, 1]), "positive"),
    (lambda: paired_p([1], [1, 2]), "equal lengths"),
    (lambda: exponent([1], [1]), "at least two points"),
    (lambda: exponent([1, 1], [1, 2]), "x rising"),
    (lambda: exponent([1, 2], [0, 2]), "positive"),
    (lambda: exponent([1, 2], [1, 2, 3]), "equal lengths"),
    (lambda: crossings([1, 2], [1, 2], [1, -2]), "positive"),
    (lambda: crossings([2, 1], [1, 2], [1, 2]), "x rising"),
    (lambda: holm([]), "list of numbers"),
    (lambda: holm([0.1, 1.2]), "between 0 and 1"),
])
def test_errors_are_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
