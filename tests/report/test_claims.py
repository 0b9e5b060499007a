from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lib.metrics.stats import Interval
from lib.report.claims import METRICS, Claim, Sample, brief, compare, evaluate, headline, judge, load_claims, typical

CLAIMS = load_claims()
SCOPE = "made-up numbers"
SPREAD = (-0.01, 0.0, 0.01, 0.005, -0.005)


def samples(core: str, metric: str, mean: float, spread=SPREAD, pair: str = "seed") -> dict:
    return {(core, metric): [Sample(mean * (1 + d), f"{pair} {i}", f"run/{core}-{i}") for i, d in enumerate(spread)]}


def two(metric: str, transformer: float, hybrid: float, **kwargs) -> dict:
    """Both cores, the hybrid's spread in another order, so that the pairs differ."""
    return {**samples("transformer", metric, transformer, **kwargs),
            **samples("mamba_conv", metric, hybrid, **{"spread": SPREAD[::-1], **kwargs})}


def claim(kind: str, metric: str = "step_ms", **kwargs) -> Claim:
    than = "transformer" if kind in ("saving", "tie", "no_worse") else ""
    return Claim("c0", "", "", kind, metric=metric, core="mamba_conv", than=than, **kwargs)


def verdict(claim: Claim, results: dict) -> str:
    return judge(claim, results, SCOPE).verdict


def test_the_claims_are_complete_and_checked():
    assert len(CLAIMS) >= 35
    assert sorted(c.id for c in CLAIMS) == [f"c{i:02d}" for i in range(1, len(CLAIMS) + 1)]
    kinds = Counter(c.kind for c in CLAIMS)
    assert set(kinds) == {"value", "saving", "tie", "no_worse", "arithmetic", "contradiction", "none"}
    assert {c.metric for c in CLAIMS} - {""} <= set(METRICS)
    assert {c.core for c in CLAIMS} == {"transformer", "mamba_conv", ""}
    assert all(len(c.quote) < 100 for c in CLAIMS)


def test_every_arithmetic_claim_evaluates_and_most_contradict():
    judged = {c.expression: verdict(c, {}) for c in CLAIMS if c.kind == "arithmetic"}
    assert [e for e, v in judged.items() if v == "contradicts itself"] == [
        "5.19 + 8.76", "2.88 + 5.39", "1000 / 17.22", "1000 / 11.07", "4 * 75 * 4", "1 - 17.0 / 16.0"]
    assert judged["17.22 / 11.07 - 1"] == "not comparable"                  # 55 % faster and 36 % less time are one saving
    assert set(judged.values()) == {"contradicts itself", "not comparable"}


def test_without_results_no_claim_is_judged_and_each_says_what_is_missing():
    for c in CLAIMS:
        judgement = judge(c, {}, SCOPE)
        assert judgement.verdict in ("not comparable", "contradicts itself")
        assert judgement.explanation and judgement.runs == ()
        if c.metric:
            assert judgement.explanation.startswith(f"Not measured: {c.metric} of")


def test_the_seeds_own_numbers_repeated_reproduce_its_savings():
    """Results made of what it says: every saving with a number is reproduced, every absolute figure only shown."""
    said = {(c.core, c.metric): c.says for c in CLAIMS if c.kind == "value"}
    results = {}
    for (core, metric), value in said.items():
        results |= samples(core, metric, value, SPREAD if core == "transformer" else SPREAD[::-1])
    for c in CLAIMS:
        if c.kind == "saving" and c.says and {(c.core, c.metric), (c.than, c.metric)} <= said.keys() and c.direction == "less":
            assert verdict(c, results) == ("holds by construction" if c.by_construction else "reproduced"), c
        if c.kind == "value" and METRICS[c.metric].depends_on:
            judgement = judge(c, results, SCOPE)
            assert judgement.verdict == "not comparable" and "n = 5 seeds" in judgement.measured
            assert len(judgement.runs) == 5
    faster_inference = next(c for c in CLAIMS if c.direction == "more")
    assert verdict(faster_inference, results) == "not reproduced"       # 73 tokens a second are not more than 78


@pytest.mark.parametrize("expression, value", [("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("1 - 17.0 / 16.0", -0.0625)])
def test_arithmetic(expression, value):
    assert evaluate(expression) == value


@pytest.mark.parametrize("expression", ["__import__('os')", "a + 1", "2 ** 9", "'a' * 3", "True + 1", "[1]", "-1"])
def test_anything_but_arithmetic_is_refused(expression):
    with pytest.raises(ValueError, match="not plain arithmetic"):
        evaluate(expression)


def test_a_saving_and_its_reverse():
    saving = claim("saving", says=0.36)
    judgement = judge(saving, two("step_ms", 17.0, 11.0, pair="process"), SCOPE)
    assert judgement.verdict == "reproduced"
    assert judgement.measured == "35 % less (35 to 36 % over 5 processes of one day on one machine): 11 ms against 17 ms"
    assert SCOPE in judgement.explanation and len(judgement.runs) == 10
    reverse = judge(saving, two("step_ms", 11.0, 17.0), SCOPE)
    assert reverse.verdict == "not reproduced" and "the other way" in reverse.explanation
    assert reverse.measured.startswith("55 % more (54 to 55 % over 5 seeds")


def test_a_claim_s_interval_is_for_new_sentences_too():
    """Three seeds that say the same, sentence by sentence: seeds differ in nothing, sentences much."""
    effect = np.random.default_rng(0).integers(-2, 3, size=30)

    def said(core: str, errors: np.ndarray) -> dict:
        rows = tuple((f"s{i}", float(e), 10) for i, e in enumerate(errors))
        return {(core, "phoneme_error_predicted"): [Sample(errors.sum() / 300, f"seed {i}", f"run/{core}-{i}", rows) for i in range(3)]}
    results = said("transformer", 2 + 0 * effect) | said("mamba_conv", 2 + effect)
    judged = judge(claim("saving", "phoneme_error_predicted", says=0.0), results, SCOPE)
    found, = compare(results, [("mamba_conv", "transformer")], ["phoneme_error_predicted"], SCOPE)
    assert "30 sentences" in judged.measured and judged.verdict == "not reproduced" and "includes 0" in judged.explanation
    assert judged.measured.partition(":")[0].partition(" ")[2] in found.sentence.replace(" phoneme errors on unseen sentences with "
                                                                                         "predicted durations than transformer", "")


def test_a_saving_needs_half_of_what_is_said_and_separation():
    small = judge(claim("saving", says=0.36), two("step_ms", 10.0, 9.0), SCOPE)
    assert small.verdict == "not reproduced" and "less than half" in small.explanation
    noisy = judge(claim("saving", says=0.36), {**samples("transformer", "step_ms", 10, (-0.5, 0.5, 0)),
                                               **samples("mamba_conv", "step_ms", 9, (0.5, -0.5, 0))}, SCOPE)
    assert noisy.verdict == "not reproduced" and "includes 0" in noisy.explanation
    assert verdict(claim("saving", says=0.0), two("step_ms", 10.0, 9.0)) == "reproduced"


def test_more_is_a_saving_turned_round():
    more = claim("saving", "tokens_per_s", says=0.36, direction="more")
    assert verdict(more, two("tokens_per_s", 100, 140)) == "reproduced"
    assert verdict(more, two("tokens_per_s", 140, 100)) == "not reproduced"


def test_a_tie_needs_an_interval_inside_the_tolerance():
    tie = claim("tie", tolerance=0.05)
    assert verdict(tie, two("step_ms", 10.0, 10.0)) == "reproduced"
    assert verdict(tie, two("step_ms", 10.0, 8.0)) == "not reproduced"
    wide = {**samples("transformer", "step_ms", 10, (-0.2, 0.2, 0)),
            **samples("mamba_conv", "step_ms", 10, (0.2, -0.2, 0))}
    judgement = judge(tie, wide, SCOPE)
    assert judgement.verdict == "not reproduced" and "reaches beyond" in judgement.explanation
    accuracy = two("final_accuracy", 0.9995, 0.9995, spread=(0, 0, 0))
    assert verdict(claim("tie", "final_accuracy", tolerance=0.005), accuracy) == "reproduced"


def test_a_learning_value_needs_its_interval_inside_the_tolerance():
    steps = claim("value", "steps_to_100", says=200, tolerance=200)
    assert verdict(steps, samples("mamba_conv", "steps_to_100", 210)) == "reproduced"
    assert verdict(steps, samples("mamba_conv", "steps_to_100", 900)) == "not reproduced"
    accuracy = judge(claim("value", "final_accuracy", says=1.0, tolerance=0.02), samples("mamba_conv", "final_accuracy",
                                                                                        0.995), SCOPE)
    assert accuracy.verdict == "reproduced" and "to 100.00 %" in accuracy.measured      # a share ends at 1
    assert "reaches beyond" in judge(steps, samples("mamba_conv", "steps_to_100", 398), SCOPE).explanation


def test_what_is_counted_needs_one_value():
    one = dict(spread=(0,), pair="model")
    count = claim("value", "parameters", says=3165569)
    assert verdict(count, samples("mamba_conv", "parameters", 3167105, **one)) == "reproduced"
    assert verdict(count, samples("mamba_conv", "parameters", 3300000, **one)) == "not reproduced"
    fewer = judge(claim("saving", "parameters", says=0.45), two("parameters", 5735297, 3165569, **one), SCOPE)
    assert fewer.verdict == "reproduced"
    assert fewer.measured == "45 % fewer (counted): 3,165,569 against 5,735,297"


@pytest.mark.parametrize("c, results", [
    (claim("saving", says=0.36), two("step_ms", 17.0, 11.0, spread=(0,))),
    (claim("tie", tolerance=0.1), two("step_ms", 17.0, 17.0, spread=(0,))),
    (claim("value", "final_accuracy", says=1.0, tolerance=0.01), samples("mamba_conv", "final_accuracy", 1.0, (0,))),
])
def test_one_seed_gives_no_verdict(c, results):
    judgement = judge(c, results, SCOPE)
    assert judgement.verdict == "not comparable" and "One seed gives no verdict" in judgement.explanation
    assert "one seed, no interval" in judgement.measured and judgement.runs


def test_a_pair_that_one_core_lacks_is_named_and_not_dropped():
    results = two("steps_to_100", 300, 150)
    results["transformer", "steps_to_100"].pop(1)
    judgement = judge(claim("saving", "steps_to_100", says=0.5), results, SCOPE)
    assert judgement.verdict == "not comparable" and "seed 1" in judgement.explanation


def test_pairs_are_matched_by_name():
    results = two("step_ms", 10, 9)
    before = judge(claim("saving", says=0.1), results, SCOPE).measured
    results["mamba_conv", "step_ms"].reverse()
    assert judge(claim("saving", says=0.1), results, SCOPE).measured == before


@pytest.mark.parametrize("value, pair, message", [
    (float("nan"), "seed 9", "Not a finite number: final_accuracy of mamba_conv in seed 9."),
    (float("inf"), "seed 9", "Not a finite number: final_accuracy of mamba_conv in seed 9."),
    (1.0, "seed 0", "Two values of final_accuracy of mamba_conv have the same pair.")])
def test_a_bad_sample_is_not_comparable(value, pair, message):
    results = samples("mamba_conv", "final_accuracy", 1.0)
    results["mamba_conv", "final_accuracy"].append(Sample(value, pair, "run"))
    judgement = judge(claim("value", "final_accuracy", says=1.0, tolerance=0.1), results, SCOPE)
    assert (judgement.verdict, judgement.explanation, judgement.measured) == ("not comparable", message, "")


@pytest.mark.parametrize("transformer, hybrid, message", [
    (0.0, 9.0, "peak_mb of transformer in seed 1"), (-3.0, 9.0, "peak_mb of transformer in seed 1"),
    (10.0, -3.0, "peak_mb of mamba_conv in seed 1")])
def test_what_has_no_ratio_is_not_comparable_and_the_rest_is_compared(transformer, hybrid, message):
    results = {**two("step_ms", 17.0, 11.0), **two("peak_mb", 10.0, 9.0)}
    for core, value in (("transformer", transformer), ("mamba_conv", hybrid)):
        results[core, "peak_mb"][1] = replace(results[core, "peak_mb"][1], pair="seed 1", value=value)
    results["mamba_conv", "peak_mb"] = [replace(s, pair=f"seed {i}") for i, s in enumerate(results["mamba_conv", "peak_mb"])]
    judgement = judge(claim("saving", "peak_mb", says=0.2), results, SCOPE)
    assert judgement.verdict == "not comparable" and judgement.explanation == f"No ratio, since not above 0: {message}."
    time, memory = headline(results, metrics=["step_ms", "peak_mb"], scope=SCOPE)
    assert time.winner == "mamba_conv" and (memory.outcome, memory.interval, memory.winner) == ("no verdict", None, None)
    assert memory.sentence == (f"No verdict on peak memory, mamba_conv against transformer, on {SCOPE}. "
                               f"No ratio, since not above 0: {message}.")
    assert brief(memory) == "peak memory: not compared"


@pytest.mark.parametrize("transformer, hybrid, whose", [(2.0, 0.0, "mamba_conv"), (0.0, 2.0, "transformer")])
def test_a_loss_of_nothing_is_not_compared(transformer, hybrid, whose):
    results = two("final_loss", transformer, hybrid, spread=(0, 0))
    found, = headline(results, metrics=["final_loss"], scope=SCOPE)
    assert found.outcome == "no verdict" and f"No ratio, since not above 0: final_loss of {whose}" in found.sentence
    assert judge(claim("saving", "final_loss", says=0.2), results, SCOPE).verdict == "not comparable"


def exponents(core: str, *values: float) -> dict:
    return {(core, "exponent_step_time"): [Sample(value, f"process {i}", f"run/{core}") for i, value in enumerate(values)]}


def test_exponents_are_compared_by_their_difference():
    results = exponents("transformer", 1.31, 1.33, 1.35) | exponents("mamba_conv", 1.0, 1.03, 1.03)     # 0.31, 0.30, 0.32 less
    found, = headline(results, metrics=["exponent_step_time"], scope=SCOPE)
    assert found.interval.mean == pytest.approx(0.31) and found.winner == "mamba_conv"
    assert (found.interval.low, found.interval.high) == pytest.approx((0.3, 0.32))
    assert found.sentence == ("mamba_conv has 0.31 lower exponent of step time in length than transformer "
                              "(0.3 to 0.32 over 3 processes of one day on one machine) on made-up numbers: mamba_conv is better.")
    assert brief(found) == "0.31 lower exponent of step time in length (0.3 to 0.32; mamba_conv is better)"
    linear = claim("saving", "exponent_step_time", says=1.0)                 # says 1 less: a third of it is no half
    judgement = judge(linear, results, SCOPE)
    assert judgement.verdict == "not reproduced"
    assert judgement.explanation.startswith("The report says 1 lower. Separated, but by less than half of that.")
    assert judgement.measured.endswith(": 1.02 against 1.33")
    results = exponents("transformer", 1.9, 2.0, 2.1) | exponents("mamba_conv", 0.95, 1.0, 1.1)
    assert verdict(linear, results) == "reproduced"


@pytest.mark.parametrize("hybrid, transformer, amount", [
    (0.0, 0.31, "0.31 lower"), (0.31, 0.0, "0.31 higher"), (-0.2, 0.31, "0.51 lower"), (0.31, -0.2, "0.51 higher"),
    (-0.5, -0.4, "0.1 lower")])
def test_an_exponent_of_any_sign_is_compared(hybrid, transformer, amount):
    """Two short lengths on a busy machine give such."""
    results = exponents("mamba_conv", hybrid, hybrid) | exponents("transformer", transformer, transformer)
    found, = headline(results, metrics=["exponent_step_time"], scope=SCOPE)
    assert found.sentence.startswith(f"mamba_conv has {amount} exponent") and found.outcome == "better"
    judged = [judge(c, results, SCOPE) for c in CLAIMS if c.metric == "exponent_step_time"]
    assert len(judged) == 1 and all(j.measured and j.verdict != "not comparable" for j in judged)


def test_a_trial_shows_what_was_measured_and_judges_nothing():
    results = {**two("step_ms", 17.0, 11.0), **two("parameters", 20, 10, spread=(0,)), **two("peak_mb", 9.0, 9.0, spread=(0,))}
    for c in CLAIMS:
        judgement = judge(c, results, SCOPE, trial=True)
        assert judgement.verdict == "not comparable" and judgement.explanation.startswith("A trial of the pipeline.")
    judgement = judge(claim("saving", says=0.36), results, SCOPE, trial=True)
    assert judgement.measured == "35 % less (35 to 36 % over 5 seeds on one machine): 11 ms against 17 ms" and len(judgement.runs) == 10
    found = headline(results, metrics=["step_ms", "parameters", "peak_mb"], scope=SCOPE, trial=True)
    assert [c.outcome for c in found] == ["no verdict", "counted", "no verdict"]
    assert {(c.tested, c.winner) for c in found} == {(False, None)}
    assert found[0].sentence.endswith("on made-up numbers: a trial of the pipeline gives no verdict.")
    assert brief(found[0]).endswith("; a trial of the pipeline gives no verdict)") and brief(found[1]).endswith("(counted)")


@pytest.mark.parametrize("change, message", [
    ({"kind": "opinion"}, "claim c9: no kind 'opinion': choose one of value"),
    ({"metric": "speed"}, "claim c9: no metric 'speed'"),
    ({"core": "lstm"}, "claim c9: no core 'lstm': choose one of transformer, mamba_conv, mamba"),
    ({"unit": "s"}, "claim c9: no unit 's': choose one of ms"),
    ({"page": 3}, "claim c9: no field 'page'"),
    ({"says": None}, "claim c9: a value needs 'says'"),
    ({"metric": "final_accuracy", "unit": "share"}, "claim c9: a value needs 'tolerance'"),
])
def test_a_malformed_claim_is_one_clear_line(change, message):
    entry = {"id": "c9", "section": "s", "quote": "q", "kind": "value", "metric": "step_ms", "core": "mamba",
             "says": 1.0, "unit": "ms", **change}
    with pytest.raises(ValueError) as error:
        load_claims([{k: v for k, v in entry.items() if v is not None}])
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_headline_computes_its_sentences_and_reversing_the_data_reverses_them():
    ahead = headline(two("step_ms", 17.0, 10.0, pair="process"), metrics=["step_ms"], scope=SCOPE)[0]
    assert ahead.winner == "mamba_conv" and ahead.outcome == "better"
    assert ahead.sentence == ("mamba_conv takes 41 % less time per training step than transformer "
                              "(41 to 41 % over 5 processes of one day on one machine) on made-up numbers: mamba_conv is better.")
    behind = headline(two("step_ms", 10.0, 17.0, pair="process"), metrics=["step_ms"], scope=SCOPE)[0]
    assert behind.winner == "transformer" and "takes 70 % more time" in behind.sentence
    fast = headline(two("tokens_per_s", 100, 150), metrics=["tokens_per_s"], scope=SCOPE)[0]
    assert fast.winner == "mamba_conv" and "generates 50 % more tokens per second than transformer (4" in fast.sentence
    assert "over 5 seeds on one machine)" in fast.sentence
    match = headline(two("token_match", 0.9, 0.5), metrics=["token_match"], scope=SCOPE)[0]
    assert match.winner == "transformer" and "reaches 40 points lower agreement" in match.sentence


def test_times_are_told_by_their_spread_and_better_is_what_all_processes_show():
    """Median, least and most of the ratios within a process; one process that shows the other way, or none, leaves it open."""
    times = {("transformer", "step_ms"): [10, 20, 10, 40, 10], ("mamba_conv", "step_ms"): [8, 18, 9, 30, 9.9]}
    results = {key: [Sample(ms, f"process {i}", "r") for i, ms in enumerate(values)] for key, values in times.items()}
    found, = headline(results, metrics=["step_ms"], scope=SCOPE)
    assert (found.interval.mean, found.interval.low, found.interval.high) == pytest.approx((0.1, 0.01, 0.25))
    assert found.winner == "mamba_conv" and not any(word in found.sentence for word in ("p =", "interval", "separated"))
    for last in (10, 10.1):
        results["mamba_conv", "step_ms"][-1] = Sample(last, "process 4", "r")
        found, = headline(results, metrics=["step_ms"], scope=SCOPE)
        assert (found.outcome, found.winner, found.verdict) == ("undecided", None, "undecided, the 5 processes disagree")
    assert headline({key: group[:1] for key, group in results.items()}, metrics=["step_ms"], scope=SCOPE)[0].outcome == "no verdict"


def errors(core: str, table: list[list[int]], metric: str = "phoneme_error_predicted") -> dict:
    """A core's samples: errors among 100 phonemes of each sentence, a row a seed."""
    return {(core, metric): [Sample(sum(row) / (100 * len(row)), f"seed {i}", f"run/{core}-{i}",
                                    tuple((f"s{j}", wrong, 100) for j, wrong in enumerate(row))) for i, row in enumerate(table)]}


LEVEL = [[10, 12, 8, 11, 9, 10], [11, 11, 9, 10, 9, 10], [10, 12, 8, 10, 10, 9]]     # 10.0, 10.0 and 9.8 % over 6 sentences


@pytest.mark.parametrize("shift, outcome, verdict, winner", [
    (0, "equal", "equal within 1 point", None), (5, "better", "transformer is better", "transformer"),
    (-5, "better", "mamba_conv is better", "mamba_conv")])
def test_the_verdict_is_better_or_equal(shift, outcome, verdict, winner):
    other = [[wrong + shift for wrong in row] for row in LEVEL[::-1]]
    found, = headline(errors("transformer", LEVEL) | errors("mamba_conv", other), metrics=["phoneme_error_predicted"], scope=SCOPE)
    assert (found.outcome, found.winner) == (outcome, winner) and found.verdict == verdict
    assert found.interval.mean == pytest.approx(-shift / 100) and "n = 3 seeds, 6 sentences)" in found.sentence
    assert found.sentence.endswith(f"on {SCOPE}: {found.verdict}.") and found.verdict in brief(found)


def test_sentences_that_differ_widen_the_interval_and_are_said_by_all():
    """Every seed of the hybrid is better on the first sentence and worse on the last: over seeds alone it looks certain."""
    tilted = [[wrong + by for wrong, by in zip(row, (-20, -1, -1, -1, -1, 12))] for row in LEVEL]
    results = errors("transformer", LEVEL) | errors("mamba_conv", tilted)
    found, = headline(results, metrics=["phoneme_error_predicted"], scope=SCOPE)
    bare = {key: [replace(s, sentences=()) for s in group] for key, group in results.items()}
    over_seeds, = headline(bare, metrics=["phoneme_error_predicted"], scope=SCOPE)
    assert over_seeds.winner == "mamba_conv" and found.outcome == "undecided" and "would decide on 6 sentences" in found.verdict
    assert found.interval.mean == pytest.approx(over_seeds.interval.mean) == pytest.approx(0.02)
    first = results["mamba_conv", "phoneme_error_predicted"][0]
    results["mamba_conv", "phoneme_error_predicted"][0] = replace(first, sentences=first.sentences[:-1])
    found, = headline(results, metrics=["phoneme_error_predicted"], scope=SCOPE)
    assert found.outcome == "no verdict" and found.sentence.endswith("Not all said the same sentences.")
    assert typical("phoneme_error_predicted", results["mamba_conv", "phoneme_error_predicted"]) is None


def test_equal_comes_before_better():
    """A difference that is certain, and certain to be less than what was said beforehand to matter."""
    loss = {(core, "held_out_loss"): [Sample(mean + d, f"seed {i}", "r") for i, d in enumerate((0, 1e-4, -1e-4))]
            for core, mean in (("transformer", 3.0), ("mamba_conv", 3.01))}
    found, = headline(loss, metrics=["held_out_loss"], scope=SCOPE)
    assert found.interval.high < 0 and (found.outcome, found.verdict) == ("equal", "equal within 1 %")


def test_a_core_is_told_by_what_its_metric_allows():
    assert typical("step_ms", [Sample(v, f"process {i}", "r") for i, v in enumerate((5, 1, 2))]) == Interval(2, 1, 5, 3)
    assert typical("state_kb", [Sample(7, "model 0", "r")]) == Interval(7, 7, 7, 1)
    over_both = typical("phoneme_error_predicted", errors("mamba", LEVEL)["mamba", "phoneme_error_predicted"])
    assert over_both.mean == pytest.approx(0.0994, abs=1e-4) and over_both.high - over_both.mean > 0.01     # seeds alone: 0.002
    assert typical("held_out_loss", []) is typical("held_out_loss", [Sample(float("nan"), "seed 0", "r")]) is None


def test_holm_makes_more_comparisons_stricter():
    names = [f"phoneme_error_{of}" for of in ("given", "predicted", "long")]
    weak = two("phoneme_error_given", 0.10, 0.11)
    weak["mamba_conv", "phoneme_error_given"] = [replace(s, value=v) for s, v in zip(
        weak["mamba_conv", "phoneme_error_given"], (0.13, 0.11, 0.10, 0.125, 0.12))]
    alone, = headline(weak, metrics=names[:1], scope=SCOPE)
    among = headline({**weak, **two(names[1], 0.1, 0.1), **two(names[2], 0.1, 0.1)}, metrics=names, scope=SCOPE)
    assert alone.winner == "transformer" and [c.outcome for c in among] == ["undecided", "equal", "equal"]
    assert among[0].interval == alone.interval                              # which is of one comparison


def test_a_comparison_of_one_seed_says_so():
    one = headline(two("step_ms", 17, 10, spread=(0,)), metrics=["step_ms"], scope=SCOPE)
    assert one[0].outcome == "no verdict" and one[0].sentence.endswith("one seed gives no verdict.")


def test_what_was_made_so_holds_by_construction_and_says_why():
    made_so = [c for c in CLAIMS if c.by_construction]
    assert {c.id for c in made_so} == {"c02", "c07", "c08", "c51", "c52", "c57"} and all(c.why for c in made_so)
    counted = dict(spread=(0,), pair="model")
    smaller = next(c for c in made_so if c.id == "c02")
    assert verdict(smaller, two("parameters", 5735297, 3165569, **counted)) == "holds by construction"
    assert verdict(smaller, two("parameters", 100, 100, **counted)) == "not reproduced"    # and is not taken for granted


def never(core: str, steps: float, count: int = 3) -> dict:
    return {(core, "steps_to_100"): [Sample(steps, f"seed {i}", f"run/{core}-{i}", censored=True) for i in range(count)]}


def reached(core: str, *steps: float) -> dict:
    return {(core, "steps_to_100"): [Sample(value, f"seed {i}", f"run/{core}-{i}") for i, value in enumerate(steps)]}


FEWER = claim("saving", "steps_to_100", says=0.5)


@pytest.mark.parametrize("results, verdict, measured", [
    (never("mamba_conv", 400) | reached("transformer", 300, 310, 320), "not reproduced",
     "more than 29 % more (mamba_conv never in 3 of 3 seeds): > 400 steps against 310 steps"),
    (reached("mamba_conv", 190, 200, 210) | never("transformer", 400), "reproduced",
     "more than 50 % fewer (transformer never in 3 of 3 seeds): 200 steps against > 400 steps"),
    (reached("mamba_conv", 390, 392, 394) | never("transformer", 400), "not comparable",           # perhaps half, perhaps not
     "more than 2.0 % fewer (transformer never in 3 of 3 seeds): 392 steps against > 400 steps"),
    (never("mamba_conv", 400) | reached("transformer", 900, 910, 920), "not comparable",
     "less than 56 % fewer (mamba_conv never in 3 of 3 seeds): > 400 steps against 910 steps"),
    (never("mamba_conv", 400) | never("transformer", 400), "not comparable",
     "not known (mamba_conv never in 3 of 3 seeds; transformer never in 3 of 3 seeds): > 400 steps against > 400 steps"),
    (never("mamba_conv", 400) | reached("transformer", 400, 400, 400), "not reproduced",            # more than as many
     "less than 0.0 % fewer (mamba_conv never in 3 of 3 seeds): > 400 steps against 400 steps"),
    (never("mamba_conv", 400, 1) | reached("transformer", 300), "not comparable",                   # one seed
     "more than 33 % more (mamba_conv never in 1 of 1 seeds): > 400 steps against 300 steps"),
])
def test_a_saving_with_a_level_never_reached_is_judged_where_the_bound_suffices(results, verdict, measured):
    judgement = judge(FEWER, results, SCOPE)
    assert (judgement.verdict, judgement.measured) == (verdict, measured) and judgement.runs


def test_more_and_equal_are_judged_by_bounds_too():
    more = replace(FEWER, direction="more", says=0.1)
    assert verdict(more, never("mamba_conv", 400) | reached("transformer", 300, 310, 305)) == "reproduced"
    assert verdict(more, reached("mamba_conv", 300, 310, 305) | never("transformer", 400)) == "not reproduced"
    tie = claim("tie", "steps_to_100", tolerance=0.1)
    assert verdict(tie, never("mamba_conv", 400) | reached("transformer", 300, 310, 305)) == "not reproduced"
    assert verdict(tie, never("mamba_conv", 400) | reached("transformer", 395, 390, 399)) == "not comparable"


@pytest.mark.parametrize("results, says, verdict", [
    (never("mamba_conv", 400), 200, "not reproduced"),              # allowed is 0 to 400, and each took more
    (never("mamba_conv", 300), 200, "not comparable"),              # 301 would do
])
def test_a_value_never_reached_is_judged_where_the_bound_suffices(results, says, verdict):
    judgement = judge(claim("value", "steps_to_100", says=says, tolerance=200), results, SCOPE)
    assert judgement.verdict == verdict
    assert judgement.measured.startswith("> ") and judgement.measured.endswith("(mamba_conv never in 3 of 3 seeds)")


def test_one_seed_that_never_got_there_makes_the_mean_more_than_it_is_with_the_bound():
    mixed = reached("mamba_conv", 390, 395)
    mixed["mamba_conv", "steps_to_100"].append(Sample(700, "seed 2", "run", censored=True))
    judgement = judge(claim("value", "steps_to_100", says=200, tolerance=200), mixed, SCOPE)
    assert (judgement.verdict, judgement.measured) == ("not reproduced", "> 495 steps (mamba_conv never in 1 of 3 seeds)")


def test_a_comparison_names_the_seeds_that_never_got_there():
    found, = headline(never("mamba_conv", 400, 2) | reached("transformer", 300, 310), metrics=["steps_to_100"], scope=SCOPE)
    assert (found.outcome, found.winner) == ("no verdict", None)
    assert found.sentence.endswith("Never reached: steps_to_100 of mamba_conv in seed 0 (> 400 steps), steps_to_100 of mamba_conv "
                                   "in seed 1 (> 400 steps).")


def test_no_worse_looks_at_the_worse_side_alone():
    errors = claim("no_worse", "phoneme_error_predicted", tolerance=0.01)
    assert verdict(errors, two("phoneme_error_predicted", 0.30, 0.10)) == "reproduced"      # much better is no loss
    assert verdict(errors, two("phoneme_error_predicted", 0.10, 0.105)) == "reproduced"
    worse = judge(errors, two("phoneme_error_predicted", 0.10, 0.13), SCOPE)
    assert worse.verdict == "not reproduced" and "Allowed is at most 1.0 points more: it does not hold." in worse.explanation
    match = replace(errors, metric="token_match", tolerance=0.05)
    assert verdict(match, two("token_match", 0.5, 0.9)) == "reproduced"
    assert "at most 5.0 points lower: it does not hold" in judge(match, two("token_match", 0.9, 0.5), SCOPE).explanation


def test_limited_generalisation_can_fail_to_be_shown():
    limited = next(c for c in CLAIMS if c.id == "c78")
    assert verdict(limited, samples("mamba_conv", "unseen_accuracy", 0.002)) == "reproduced"
    assert verdict(limited, samples("mamba_conv", "unseen_accuracy", 0.28)) == "not reproduced"   # as in the study of speech


@pytest.mark.parametrize("claim, metric, better, worse", [
    ("c64", "held_out_loss", (3.0, 2.9), (2.9, 3.0)), ("c82", "state_kb", (2000, 200), (200, 2000)),
    ("c89", "phoneme_error_predicted", (0.08, 0.07), (0.07, 0.10))])
def test_claims_that_the_records_can_judge_are_judged(claim, metric, better, worse):
    """(the other core's value, the hybrid's)"""
    asked, shape = next(c for c in CLAIMS if c.id == claim), {"spread": (0,)} if metric == "state_kb" else {}

    def results(other: float, hybrid: float) -> dict:
        return samples(asked.than, metric, other, **shape) | samples("mamba_conv", metric, hybrid, **shape)
    assert verdict(asked, results(*better)) == "reproduced" and verdict(asked, results(*worse)) == "not reproduced"


def test_a_larger_data_set_is_no_longer_sentence():
    assert next(c for c in CLAIMS if c.id == "c84").kind == "none"
