import numpy as np
import pytest
from scipy.stats import ttest_ind

from lib.metrics.stats import (
    Interval,
    average,
    bootstrap,
    coverage,
    crossings,
    difference,
    exponent,
    finite_interval,
    holm,
    paired_difference,
    paired_p,
    paired_saving,
    saving,
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


def test_with_sentences_not_told_apart_a_difference_is_welchs_t_and_equivalence_two_tests_on_one_side():
    a, b, margin = np.array([[0.3], [0.5], [0.45]]), np.array([[0.2], [0.31], [0.1], [0.26]]), 0.4
    found, welch = difference(a, b), ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert (found.mean, found.df, found.n, found.m) == pytest.approx((a.mean() - b.mean(), welch.df, 3, 1))
    assert found.p_difference() == pytest.approx(welch.pvalue)
    interval, low_high = found.interval(), welch.confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((low_high.low, low_high.high)) and interval.n == 3
    sides = [ttest_ind(a[:, 0], b[:, 0] + by, equal_var=False, alternative=way).pvalue
             for by, way in ((margin, "less"), (-margin, "greater"))]
    assert found.p_equivalence(margin) == pytest.approx(max(sides)) and max(sides) < 0.05
    ninety = found.interval(0.9)
    assert found.p_equivalence(ninety.high) == pytest.approx(0.05) and found.p_equivalence(0.1) > 0.5
    assert average(a).interval() == t_interval(a[:, 0])


def mean_squares(table: np.ndarray) -> tuple[float, float]:
    """Of seeds, and of what is left, of a table (seeds, sentences), cell by cell."""
    (n, m), mean = table.shape, table.mean()
    seeds = sum(m * (row.mean() - mean) ** 2 for row in table) / (n - 1)
    left = sum((table[i, j] - table[i].mean() - table[:, j].mean() + mean) ** 2 for i in range(n) for j in range(m))
    return seeds, left / ((n - 1) * (m - 1))


def test_the_variance_is_that_of_seeds_and_of_sentences_less_what_is_in_both():
    random = np.random.default_rng(4)
    shared = random.normal(0, 9, 7)                                         # hard for both: no matter to their difference
    a, b = (random.normal(0, 2, (n, 1)) + random.normal(0, 2, 7) + shared + random.normal(0, 1, (n, 7)) for n in (3, 4))
    (seeds_a, left_a), (seeds_b, left_b), apart = mean_squares(a), mean_squares(b), a.mean(0) - b.mean(0)
    parts = [seeds_a / 21, seeds_b / 28, apart.var(ddof=1) / 7, -left_a / 21, -left_b / 28]
    found = difference(a, b)
    assert (found.mean, found.variance) == pytest.approx((a.mean() - b.mean(), sum(parts)))
    assert found.df == pytest.approx(sum(parts) ** 2 / sum(p ** 2 / df for p, df in zip(parts, (2, 3, 6, 12, 18))))
    assert found.sentences == pytest.approx(sum(parts[2:])) and (found.n, found.m) == (3, 7)
    assert difference(a + shared, b + shared).variance == pytest.approx(found.variance)
    of_one = average(a)                                                     # whose mean depends on which sentences are hard
    assert of_one.variance == pytest.approx(seeds_a / 21 + a.mean(0).var(ddof=1) / 7 - left_a / 21)


def test_the_variance_is_never_less_than_that_of_one_source_and_degrees_of_freedom_are_its():
    a = np.array([[10, 12, 8, 11, 9, 10], [11, 11, 9, 10, 9, 10], [10, 12, 8, 10, 10, 9.]])
    same = difference(a, a[::-1])                                           # no sentence is harder for one
    assert same.variance == pytest.approx(2 * a.mean(1).var(ddof=1) / 3) and same.df == pytest.approx(4) and same.sentences == 0
    level = a - a.mean(1, keepdims=True) + 10                               # no seed is better
    found = difference(level, level * 0 + 10)
    assert found.variance == pytest.approx(level.mean(0).var(ddof=1) / 6) and found.df == pytest.approx(5)


def test_errors_are_per_phoneme_over_all_sentences_and_a_long_one_weighs_more():
    phonemes, errors = np.array([10, 40, 25, 5]), np.array([[1, 4, 0, 2], [0, 7, 1, 1], [2, 3, 1, 1]])
    found = average(errors, phonemes)
    assert found.mean == pytest.approx(errors.sum() / (3 * 80))
    assert average(errors * 7, phonemes * 7) == found
    assert difference(errors, errors[::-1] + 1, phonemes).mean == pytest.approx(-4 / 80)
    rates = errors / 20
    assert average(errors, [20] * 4).variance == pytest.approx(average(rates).variance)
    random = np.random.default_rng(5)
    phonemes = random.integers(10, 60, 200)
    a, b = (random.poisson(phonemes * random.gamma(1, 0.05, 200)) for _ in range(2))
    drawn = random.integers(200, size=(4000, 200))                          # sentences anew; seeds all alike
    spread = ((a - b)[drawn].sum(1) / phonemes[drawn].sum(1)).var()
    assert difference([a, a], [b, b], phonemes).variance == pytest.approx(spread, rel=0.08)


def test_a_saving_is_relative_to_the_first_mean():
    a, b = np.array([[10.0], [11], [12]]), np.array([[8.0], [9], [8.8]])
    found = saving(a, b)
    assert found.mean == pytest.approx(1 - b.mean() / a.mean())
    random = np.random.default_rng(6)
    drawn = [1 - random.normal(b.mean(), b.std(ddof=1), (3, 4000)).mean(0) / random.normal(a.mean(), a.std(ddof=1), (3, 4000)).mean(0)
             for _ in range(3)]
    assert found.variance == pytest.approx(np.var(drawn), rel=0.1)
    assert saving(7 * a, 7 * b).variance == pytest.approx(found.variance)


# errors of three seeds on sentences, in points, with the variances that the published study shows of transformer and mamba
# with given durations: of seeds, of what sentences do to the difference, and the residuals
MEASURED = {"seeds": (0.002, 0.0), "sentences": 0.0215, "residual": (0.038, 0.047)}


def tables_with(random: np.random.Generator, seeds: int, sentences: int = 30) -> list[np.ndarray]:
    own = (MEASURED["sentences"] * random.standard_normal(sentences), 0)
    return [seed * random.standard_normal((seeds, 1)) + by_sentence + left * random.standard_normal((seeds, sentences))
            for seed, by_sentence, left in zip(MEASURED["seeds"], own, MEASURED["residual"])]


@pytest.mark.parametrize("seeds", [3, 5])
def test_an_interval_holds_for_new_seeds_and_new_sentences_where_pairs_of_seeds_do_not(seeds):
    random, both, pairs = np.random.default_rng(7), [], []
    for _ in range(800):
        a, b = tables_with(random, seeds)
        both.append(not separated(difference(a, b).interval()))
        pairs.append(not separated(paired_difference(a.mean(1), b.mean(1))))
    assert 0.945 < np.mean(both) < 0.985
    assert np.mean(pairs) < (0.945 if seeds == 3 else 0.92)


def test_coverage_draws_with_the_variances_of_the_tables():
    random = np.random.default_rng(8)
    a, b = tables_with(random, 400, 200)
    over_seeds = [coverage(a, b, 5, 600, random, interval=lambda a, b: paired_difference(a.mean(1), b.mean(1))),
                  coverage(a - a.mean(0), b, 5, 600, random, interval=lambda a, b: paired_difference(a.mean(1), b.mean(1)))]
    assert 0.85 < over_seeds[0] < 0.94 < over_seeds[1]                       # with sentences that matter, and with none
    assert coverage(a, b, 3, 600, random) == pytest.approx(0.965, abs=0.02)


def test_so_many_seeds_would_decide():
    a, b = np.array([[0.0], [1], [2]]), np.array([[-1.0], [0], [1]])         # one standard deviation apart
    assert difference(a, b).seeds_to_decide(0) == 17                        # of each group at power 0.8: the textbook's
    assert difference(a, b).seeds_to_decide(0, most=16) == np.inf
    random = np.random.default_rng(9)
    x, y = random.normal(1, 1, (17, 4000)), random.normal(0, 1, (17, 4000))
    assert np.mean(ttest_ind(x, y, equal_var=False).pvalue < 0.05) == pytest.approx(0.8, abs=0.03)
    assert difference(a, b).seeds_to_decide(0, level=0.05 / 6) > 17
    alike = difference(a, a).seeds_to_decide(1)                             # equal within one standard deviation
    x = random.normal(0, 1, (int(alike), 4000)) - random.normal(0, 1, (int(alike), 4000))
    found = [difference(p[:, None], 0 * p[:, None]).p_equivalence(1) for p in x.T[:500]]
    assert np.mean(np.array(found) < 0.05) > 0.55
    assert np.isnan(difference(a, a).seeds_to_decide(0))                    # no difference, and no margin
    hard = np.array([[0, 9, 0, 9.0], [0, 9, 1, 8], [1, 8, 0, 9]])           # sentences alone hide a difference of 0.1
    assert np.isnan(difference(hard, hard[:, ::-1] + 0.1).seeds_to_decide(1))


def test_no_spread_is_certain_and_one_seed_says_nothing():
    same = np.full((3, 4), 2.0)
    assert difference(same, same).interval() == Interval(0, 0, 0, 3)
    assert (difference(same, same).p_difference(), difference(same, same).p_equivalence(0.1)) == (1, 0)
    assert (difference(same, same + 1).p_difference(), difference(same, same + 1).p_equivalence(0.5)) == (0, 1)
    assert difference(same, same + 1).seeds_to_decide(0) == 4
    one = difference(same[:1], same)
    assert np.isnan([one.variance, one.p_difference(), one.p_equivalence(9), one.interval().low, one.seeds_to_decide(9)]).all()
    assert one.mean == 0 and one.n == 1


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
    (lambda: difference([1, 2], [[1, 2]]), "a table"),
    (lambda: difference([[1, 2]], [[1, 2, 3]]), "the same sentences, got 2 and 3"),
    (lambda: difference([[1, 2], [1, np.nan]], [[1, 2]]), "seed 1 has a value that is not a finite number"),
    (lambda: average([[1, 2]], [1, 2, 3]), "2 sentences need 2 sizes"),
    (lambda: average([[1, 2]], [1, -1]), "none below 0"),
    (lambda: average([[1, 2]], [0, 0]), "not all 0"),
    (lambda: saving([[1, -1]], [[1, 1]]), "positive"),
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
