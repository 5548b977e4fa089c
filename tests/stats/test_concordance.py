"""How much a column tells: held against scikit-learn, scipy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from sterling.stats.concordance import agreement, bin_column, bin_means, explained, purity_bound


@settings(deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_the_concordance_of_classes_is_the_area_under_the_roc_curve(seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    label = random.permutation(np.arange(60) % 3 == 0).astype(float)
    score = random.integers(0, 5, 60).astype(float) if ties else random.normal(size=60)
    found = agreement(label, score, np.arange(60), error_rate=0.05)
    assert found.value == pytest.approx(roc_auc_score(label, score))
    assert found.lower <= found.value <= found.upper


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_the_concordance_of_numbers_is_spearman_s_rank_correlation(seed: int) -> None:
    random = np.random.default_rng(seed)
    label, score = random.normal(size=50), random.integers(0, 8, 50).astype(float)
    found = agreement(label, score, np.arange(50), error_rate=0.05)
    assert 2 * found.value - 1 == pytest.approx(stats.spearmanr(label, score).statistic)


def test_without_clusters_the_variance_is_delong_s() -> None:
    random = np.random.default_rng(2)
    label = (random.random(300) < 0.3).astype(float)
    score = label + random.normal(0, 1.5, 300)
    ones, zeros = score[label == 1], score[label == 0]
    wins = (ones[:, None] > zeros[None, :]) + 0.5 * (ones[:, None] == zeros[None, :])
    variance = wins.mean(axis=1).var() / len(ones) + wins.mean(axis=0).var() / len(zeros)
    found = agreement(label, score, np.arange(300), error_rate=0.05)
    assert (found.value - found.lower) / stats.norm.ppf(0.95) == pytest.approx(np.sqrt(variance * 300 / 299))


def test_bounds_err_at_about_their_rate_where_rows_of_a_day_depend_on_each_other() -> None:
    random = np.random.default_rng(3)
    missed, repetitions = 0, 300
    for _ in range(repetitions):
        day = np.repeat(np.arange(40), 12)
        shared = random.normal(0, 1, 40)[day]
        label = (random.random(480) < 1 / (1 + np.exp(-shared))).astype(float)
        missed += agreement(label, random.normal(0, 1, 40)[day], day, error_rate=0.05).lower > 0.5
    assert missed / repetitions < 0.09


@given(st.integers(1, 40), st.integers(0, 40))
def test_the_bound_of_a_share_is_clopper_and_pearson_s(rows: int, hits: int) -> None:
    hits = min(hits, rows)
    wanted = stats.beta.ppf(0.05, hits, rows - hits + 1) if hits else 0.0
    assert purity_bound(hits, rows, error_rate=0.05) == pytest.approx(wanted)


def test_bins_hold_quantiles_of_numbers_values_of_categories_and_what_is_missing() -> None:
    every = np.ones(1_000, bool)
    values = np.random.default_rng(1).normal(size=1_000)
    values[:50] = np.nan
    bins = bin_column(values, category=False, reference=every)
    counts = np.bincount(bins.code, minlength=bins.size)
    assert (bins.size, counts[-1]) == (33, 50)
    assert counts[:-1].max() - counts[:-1].min() <= 2
    few = bin_column(np.array([3.0, 1.0, 3.0, np.nan]), category=False, reference=np.ones(4, bool))
    assert few.code.tolist() == [1, 0, 1, 2]


def test_a_category_that_training_did_not_see_is_a_bin_of_its_own() -> None:
    bins = bin_column(np.array([0.0, 1.0, 7.0]), category=True, reference=np.array([True, True, False]))
    assert bins.code.tolist() == [0, 1, 2]


def test_a_bin_of_few_rows_is_shrunk_towards_the_overall_mean_and_only_chosen_rows_count() -> None:
    bins = bin_column(np.array([0.0, 0.0, 1.0, 1.0]), category=True, reference=np.ones(4, bool))
    fit = np.array([True, True, True, False])
    means = bin_means(bins, np.array([1.0, 1.0, 0.0, 9.0]), fit)
    assert means[0] == pytest.approx((2 + 10 * 2 / 3) / 12)
    assert means[2] == means[3] == pytest.approx((0 + 10 * 2 / 3) / 11)


def test_what_is_random_explains_nothing_and_a_step_explains_all() -> None:
    random = np.random.default_rng(4)
    values = random.normal(size=5_000)
    every = np.ones(5_000, bool)
    assert explained(bin_column(random.normal(size=5_000), category=False, reference=every), values) < 0.01
    assert explained(bin_column(values, category=False, reference=every), np.round(values > 0).astype(float)) > 0.9


def test_one_class_tells_nothing() -> None:
    assert agreement(np.zeros(9), np.arange(9.0), np.arange(9), error_rate=0.05) == (0.5, 0.0, 1.0)
