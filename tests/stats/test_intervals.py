import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sterling.stats.absolute import difference_of_absolutes, gaps_of, sum_of_absolutes
from sterling.stats.intervals import (
    ClusteredInterval,
    NoVariationError,
    TooFewClustersError,
    Undefined,
    UnknownMetricError,
    difference_interval,
    metric_interval,
    slice_intervals,
)
from sterling.stats.jackknife import MOST_GROUPS, merge_clusters, spread_of, spread_of_leave_one_out
from sterling.stats.metrics import METRICS
from sterling.stats.rows import BadRowsError, OneClassError
from tests.stats.simulated import SCENARIOS, draw, error_rates, released, upper_bounds_of_slices

ROWS = draw(np.random.default_rng(11), SCENARIOS["normal"], 30, 100)
FEW = draw(np.random.default_rng(12), SCENARIOS["normal"], 8, 40)


@pytest.mark.parametrize("metric", METRICS)
def test_the_estimate_is_the_metric_and_lies_inside_its_bounds(metric: str) -> None:
    interval = metric_interval(metric, ROWS.y, ROWS.candidate, ROWS.day)
    assert interval.estimate == pytest.approx(METRICS[metric].function(ROWS.y, ROWS.candidate), rel=1e-12)
    assert interval.low <= interval.lower <= interval.estimate <= interval.upper <= interval.high
    assert (interval.rows, interval.clusters) == (len(ROWS.y), 30)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "log_loss", "brier"])
def test_the_standard_error_agrees_with_a_bootstrap_over_clusters(metric: str) -> None:
    evaluate = METRICS[metric].prepare(ROWS.y, ROWS.candidate)

    def resampled(days: NDArray[np.int64]) -> float:
        return evaluate(np.bincount(days.astype(int), minlength=30).astype(float)[ROWS.day])

    days = (np.arange(30),)
    bootstrap = stats.bootstrap(
        days, resampled, vectorized=False, n_resamples=400, method="percentile", rng=np.random.default_rng(1)
    )
    without = [evaluate((ROWS.day != day).astype(float)) for day in range(30)]
    assert spread_of_leave_one_out(without).error == pytest.approx(bootstrap.standard_error, rel=0.12)


def test_equal_symmetric_clusters_give_the_interval_of_a_one_sample_t() -> None:
    noise = np.array([-0.3, -0.2, -0.1, 0.0, 0.0, 0.1, 0.2, 0.3])
    spread = spread_of_leave_one_out((noise.sum() - noise) / 7)
    assert spread.freedom == 7
    assert spread.above(0.05) == pytest.approx(stats.t.isf(0.05, 7) * stats.sem(noise), rel=1e-12)
    assert spread.below(0.05) == pytest.approx(spread.above(0.05), rel=1e-9)


def test_skewness_reaches_further_on_its_long_side_by_the_edgeworth_term() -> None:
    contributions = np.array([-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 7.0])
    spread = spread_of(contributions)
    quantile = stats.t.isf(0.05, spread.freedom)
    skewness = stats.skew(contributions) / np.sqrt(8)
    assert spread.below(0.05) == pytest.approx(quantile * spread.error, rel=1e-12)
    assert spread.above(0.05) == pytest.approx(
        (quantile + skewness * (2 * quantile**2 + 1) / 6) * spread.error, rel=1e-12
    )


def test_a_cluster_that_carries_the_variance_costs_degrees_of_freedom() -> None:
    assert spread_of(np.array([-1.0, 1.0] * 10)).freedom == 19
    assert spread_of(np.array([-1.0, 1.0] * 9 + [-9.0, 9.0])).freedom < 6


def test_independent_rows_give_the_interval_of_delong() -> None:
    rng = np.random.default_rng(5)
    y = np.repeat([0.0, 1.0], 150)
    p = stats.norm.cdf(rng.normal(size=300) + y)
    pairs = (p[150:, None] > p[None, :150]).astype(float)
    delong = np.sqrt(np.var(pairs.mean(1), ddof=1) / 150 + np.var(pairs.mean(0), ddof=1) / 150)
    interval = metric_interval("roc_auc", y, p, np.arange(300))
    assert (interval.upper - interval.lower) / (2 * stats.norm.isf(0.05)) == pytest.approx(delong, rel=0.15)
    assert interval.method.endswith("300 clusters merged into 100")


def test_a_paired_difference_is_narrower_than_two_single_intervals() -> None:
    difference = difference_interval("log_loss", ROWS.y, ROWS.candidate, ROWS.reference, ROWS.day)
    single = metric_interval("log_loss", ROWS.y, ROWS.candidate, ROWS.day)
    assert difference.high - difference.low < (single.high - single.low) / 2


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "log_loss", "brier", "ece"])
def test_a_difference_the_other_way_round_is_its_mirror_image(metric: str) -> None:
    one = difference_interval(metric, ROWS.y, ROWS.candidate, ROWS.reference, ROWS.day)
    other = difference_interval(metric, ROWS.y, ROWS.reference, ROWS.candidate, ROWS.day)
    assert (one.estimate, one.lower, one.high) == pytest.approx((-other.estimate, -other.upper, -other.low), rel=1e-9)


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_the_same_predictions_differ_by_exactly_nothing(metric: str) -> None:
    assert difference_interval(metric, ROWS.y, ROWS.candidate, ROWS.candidate, ROWS.day)[:5] == (0, 0, 0, 0, 0)


def test_a_mean_difference_agrees_with_a_one_sample_t_of_equal_days() -> None:
    rng = np.random.default_rng(8)
    y, day = rng.integers(0, 2, 400).astype(float), np.repeat(np.arange(20), 20)
    ours, theirs = rng.random(400), rng.random(400)
    daily = ((ours - y) ** 2 - (theirs - y) ** 2).reshape(20, 20).mean(1)
    interval = difference_interval("brier", y, ours, theirs, day)
    spread = spread_of((daily - daily.mean()) / np.sqrt(20 * 19))
    assert spread.error == pytest.approx(stats.sem(daily), rel=1e-12)
    assert interval.lower == pytest.approx(daily.mean() - spread.below(0.05), rel=1e-9)


def test_the_upper_bound_of_a_calibration_error_covers_the_largest_error_over_all_doubtful_signs() -> None:
    rng = np.random.default_rng(9)
    gaps = gaps_of(rng.normal(size=(12, 5)), np.full(12, 10.0))
    assert gaps.doubtful.any()
    every = np.array(
        np.meshgrid(
            *[[1, -1] if doubtful else [sign] for doubtful, sign in zip(gaps.doubtful, gaps.signs, strict=True)]
        )
    ).reshape(5, -1)
    largest = np.sqrt(np.sum((gaps.contributions @ every) ** 2, axis=0)).max()
    assert sum_of_absolutes(gaps).spread.error == pytest.approx(largest, rel=1e-9)


def test_certain_signs_leave_no_bias_to_allow_for() -> None:
    gaps = gaps_of(np.full((10, 3), 5.0) + np.random.default_rng(1).normal(0, 0.1, (10, 3)), np.full(10, 100.0))
    assert sum_of_absolutes(gaps).excess == 0
    assert difference_of_absolutes(gaps, gaps).estimate == 0


def test_too_few_clusters_are_refused_with_what_would_work() -> None:
    inside = FEW.day < 7
    with pytest.raises(
        TooFewClustersError, match=r"^7 clusters\. An interval needs at least 8: use more data, or a smaller unit"
    ):
        metric_interval("brier", FEW.y[inside], FEW.candidate[inside], FEW.day[inside])
    with pytest.raises(TooFewClustersError, match="1 cluster"):
        difference_interval("brier", [0, 1], [0.1, 0.2], [0.2, 0.3], ["mon", "mon"])


def test_eight_clusters_are_enough() -> None:
    assert metric_interval("roc_auc", FEW.y, FEW.candidate, FEW.day).clusters == 8


def test_clusters_may_be_times_or_texts() -> None:
    dates = np.datetime64("2013-09-01") + ROWS.day
    by_number = metric_interval("brier", ROWS.y, ROWS.candidate, ROWS.day)
    assert metric_interval("brier", ROWS.y, ROWS.candidate, dates) == by_number
    assert metric_interval("brier", ROWS.y, ROWS.candidate, dates.astype(str)) == by_number


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ([1, 2, 3], r"clusters has shape \(3,\), and there are 2 rows"),
        (["mon", None], "clusters is missing in row 1"),
        ([1.0, np.nan], "clusters is missing in row 1"),
        (np.array(["2013-09-01", "NaT"], dtype="datetime64[D]"), "clusters is missing in row 1"),
        (np.array(["mon", 1], dtype=object), "cannot be compared"),
    ],
)
def test_bad_clusters_are_refused(clusters: ArrayLike, message: str) -> None:
    with pytest.raises(BadRowsError, match=message):
        metric_interval("brier", [0, 1], [0.1, 0.2], clusters)


def test_a_rate_of_zero_everywhere_has_no_interval() -> None:
    with pytest.raises(NoVariationError, match="Base rate is the same whichever of 30 clusters is left out"):
        metric_interval("base_rate", np.zeros(30), np.full(30, 0.5), np.arange(30))


def test_a_metric_at_its_best_value_keeps_its_bounds_inside_its_range() -> None:
    day = np.repeat(np.arange(10), 4)
    y = np.tile([0, 0, 1, 1], 10)
    p = np.where(y == 1, 0.9, 0.1)
    p[2] = 0.05
    interval = metric_interval("roc_auc", y, p, day)
    assert interval.estimate < 1
    assert interval.upper <= 1
    assert "own unit" in interval.method


def test_a_class_that_lives_in_one_cluster_has_no_interval() -> None:
    day = np.repeat(np.arange(10), 4)
    with pytest.raises(OneClassError, match="undefined without one of the clusters"):
        metric_interval("roc_auc", day == 0, np.linspace(0, 1, 40), day)


def test_slices_have_their_own_clusters_or_say_why_they_have_none() -> None:
    slices = {
        "all": np.ones(len(ROWS.y), bool),
        "late": ROWS.day >= 20,
        "short": ROWS.day < 5,
        "on time": ROWS.y == 0,
        "none": ROWS.day < 0,
    }
    found = slice_intervals("roc_auc", ROWS.y, ROWS.candidate, ROWS.day, slices)
    assert found["all"] == metric_interval("roc_auc", ROWS.y, ROWS.candidate, ROWS.day)
    late = found["late"]
    assert isinstance(late, ClusteredInterval)
    assert late.clusters == 10
    assert isinstance(found["short"], Undefined)
    assert found["short"].reason.startswith("5 clusters.")
    assert found["on time"] == Undefined(
        "ROC AUC is undefined: every row is negative. It needs rows of both classes.", int((ROWS.y == 0).sum()), 30
    )
    assert found["none"] == Undefined(found["none"].reason if isinstance(found["none"], Undefined) else "", 0, 0)


def test_a_slice_that_is_no_mask_is_refused() -> None:
    with pytest.raises(BadRowsError, match=r"Slice 'origin' is int64 of shape \(1,\)"):
        slice_intervals("brier", ROWS.y, ROWS.candidate, ROWS.day, {"origin": [3]})


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownMetricError, match=r"No metric 'roc-auc'\. Did you mean 'roc_auc'"):
        metric_interval("roc-auc", ROWS.y, ROWS.candidate, ROWS.day)


@pytest.mark.parametrize(("level", "value"), [("confidence", 1.0), ("error_rate", 0.5), ("error_rate", 0.0)])
def test_levels_out_of_range_are_refused(level: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{level} is {value}"):
        metric_interval("brier", ROWS.y, ROWS.candidate, ROWS.day, **{level: value})


def test_many_clusters_are_merged_into_groups_of_like_size() -> None:
    codes = np.repeat(np.arange(500), np.random.default_rng(3).integers(1, 40, 500))
    groups, count = merge_clusters(codes, 500)
    assert count == MOST_GROUPS
    sizes = np.bincount(groups)
    assert sizes.min() > 0.8 * sizes.mean()
    assert all(len(set(groups[codes == code])) == 1 for code in range(500))


def test_bounds_hold_their_error_rate_on_correlated_days() -> None:
    rates = error_rates("normal", ["roc_auc", "ece"], 10, 30, 60, seed=3, truth_draws=1)
    allowed = stats.binom.isf(1e-3, 60, 0.05) / 60
    assert max(max(rate.lower, rate.upper) for rate in rates.values()) <= allowed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal", "skewed", "calibrated"])
@pytest.mark.parametrize("days", [8, 30])
def test_bounds_hold_their_error_rate_within_monte_carlo_error(name: str, days: int) -> None:
    rates = error_rates(name, list(METRICS), days, 40, 150, seed=days, truth_draws=2)
    allowed = stats.binom.isf(1e-4, 150, 0.06) / 150
    assert {what: rate for what, rate in rates.items() if max(rate.lower, rate.upper) > allowed} == {}


@pytest.mark.slow
def test_a_bad_release_passes_all_gates_no_more_often_than_one_gate_errs_and_a_good_one_is_refused_more_often_with_more_gates() -> (
    None
):
    found = released(upper_bounds_of_slices(20, 150, seed=5), 0.1, [1, 5, 20])
    assert max(found.bad.values()) <= stats.binom.isf(1e-3, 150, 0.05) / 150
    assert found.good[1] > found.good[5] > found.good[20]
