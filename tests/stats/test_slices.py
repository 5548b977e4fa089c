"""Bad segments are found by search, and hardly ever where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from sterling.stats import search, segments
from sterling.stats.axes import Axis, category_axis, number_axis
from sterling.stats.intervals import TooFewClustersError
from sterling.stats.rows import OneClassError
from sterling.stats.slices import find_slices
from tests.stats.slice_simulations import WORLDS, World, draw, searched


@pytest.mark.parametrize("world", ["independent", "30 days"])
def test_where_no_segment_is_bad_hardly_ever_one_is_named(world: str) -> None:
    rng = np.random.default_rng(11)
    small = WORLDS[world]._replace(rows=2_000)
    named = sum(bool(searched(rng, small, features=5).found) for _ in range(40))
    assert named <= 5  # more have a chance of 1.4 % at a rate of 5 %


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_the_rate_of_false_finds_is_at_most_what_is_asked_for(world: str) -> None:
    rng, runs = np.random.default_rng(12), 100
    named = sum(bool(searched(rng, WORLDS[world]._replace(rows=4_000)).found) for _ in range(runs))
    assert named <= 11  # more have a chance of .4 % at a rate of 5 %


def test_a_bad_segment_is_found_and_described_and_nothing_else_is_named() -> None:
    rng = np.random.default_rng(3)
    hits = others = 0
    for _ in range(20):
        drawn = draw(rng, World(effect="normal"), shift=1.0)
        found = find_slices(drawn.y, drawn.p, drawn.clusters, drawn.axes).found
        own = [one for one in found if ("wide", "w3") in one.where]
        hits += bool(own)
        others += len(found) - len(own)
        for one in own[:1]:
            assert one.direction == "too low"
            assert one.low < one.gap < one.high
            assert one.low > 0
            assert one.rows <= drawn.inside.sum()
    assert hits >= 17
    assert others <= 3


def test_scores_that_say_more_than_they_know_in_a_segment_are_too_sure() -> None:
    rng = np.random.default_rng(4)
    odds, segment = rng.normal(0, 2, 12_000), rng.integers(0, 6, 12_000)
    y = (rng.random(12_000) < expit(np.where(segment == 2, 0.0, odds))).astype(float)
    found = find_slices(y, expit(odds), np.arange(12_000) // 300, {"sensor": category_axis(segment, "abcdef")}).found
    assert [(one.where, one.direction) for one in found] == [((("sensor", "c"),), "too sure")]
    assert found[0].excess > 0.2


def test_a_score_that_is_off_everywhere_has_no_bad_segment() -> None:
    rng = np.random.default_rng(5)
    odds, groups = rng.normal(-1, 1, 8_000), rng.integers(0, 8, 8_000)
    y = (rng.random(8_000) < expit(odds)).astype(float)
    search = find_slices(
        y, expit(0.5 * odds + 1.3), np.arange(8_000) // 200, {"group": category_axis(groups, "abcdefgh")}
    )
    assert not search.found
    assert search.slope == pytest.approx(2.0, abs=0.15)


def test_the_statistic_is_the_score_test_of_a_logistic_regression_with_robust_errors() -> None:
    """The same by hand: indicator less its projection on intercept and slope, times residual, summed by cluster."""
    rng = np.random.default_rng(6)
    odds, values, day = rng.normal(-1, 1, 3_000), rng.integers(0, 8, 3_000), np.arange(3_000) // 100
    y = (rng.random(3_000) < expit(odds + 1.2 * (values == 1))).astype(float)
    found, *_ = find_slices(y, expit(odds), day, {"v": category_axis(values, "abcdefgh")}).found
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], y)
    fitted = model.predict_proba(odds[:, None])[:, 1]
    design, weight = np.column_stack([np.ones(3_000), odds]), fitted * (1 - fitted)
    inside = (values == 1).astype(float)
    shared = np.linalg.solve(design.T @ (design * weight[:, None]), design.T @ (weight * inside))
    scores = np.bincount(day, (inside - design @ shared) * (y - fitted))
    error = np.sqrt(max(np.sum(scores**2), np.sum(weight * (inside - design @ shared) ** 2)))
    assert found.where == (("v", "b"),)
    assert found.gap == pytest.approx(np.mean((y - fitted)[values == 1]), rel=1e-4)
    reach = (found.high - found.low) / 2
    critical = reach * inside.sum() / error
    assert 2 < critical < 3.5  # of 16 statistics, of which 8 have two sides
    assert found.low == pytest.approx(found.gap - reach)


def test_the_bulk_and_the_single_statistic_agree() -> None:
    drawn = draw(np.random.default_rng(7), World(effect="normal", rows=3_000), shift=0.5)
    codes = np.unique(drawn.clusters, return_inverse=True)[1]
    sample = segments.sample_of(drawn.y, drawn.p, codes, codes.max() + 1, 50)
    judged = [one for cells in segments.cells_in_chunks(sample, drawn.axes) for one in cells.judged()]
    assert len(judged) > 200
    for one in judged[::7]:
        again = search._again(one, sample, segments.shared_by(sample), drawn.axes)
        assert again.direction == one.direction
        assert again.statistic == pytest.approx(one.statistic, abs=1e-4)


def test_two_bad_segments_are_both_named_and_their_overlap_is_not() -> None:
    rng = np.random.default_rng(8)
    left, right, odds = rng.integers(0, 8, 20_000), rng.integers(0, 8, 20_000), rng.normal(-1, 1, 20_000)
    y = (rng.random(20_000) < expit(odds + 1.0 * (left == 0) - 1.0 * (right == 0))).astype(float)
    axes = {"left": category_axis(left, "abcdefgh"), "right": category_axis(right, "abcdefgh")}
    found = find_slices(y, expit(odds), np.arange(20_000) // 500, axes).found
    assert {one.where for one in found} == {(("left", "a"),), (("right", "a"),)}
    assert {one.direction for one in found} == {"too low", "too high"}


def test_on_real_data_a_model_that_never_saw_a_part_is_found_to_be_wrong_there() -> None:
    data = load_breast_cancer()
    rng = np.random.default_rng(9)
    rows = rng.integers(0, len(data.target), 6_000)
    x, y = data.data[rows, :3], data.target[rows].astype(float)
    p = cross_val_predict(LogisticRegression(max_iter=1_000), x, y, method="predict_proba")[:, 1]
    site = rng.integers(0, 5, len(y))
    worse = np.where(site == 4, expit(logit(np.clip(p, 1e-6, 1 - 1e-6)) + 1.5), p)
    axes = {"site": category_axis(site, "abcde"), "radius": number_axis(x[:, 0])}
    found = find_slices(y, worse, np.arange(len(y)) // 150, axes).found
    assert (("site", "e"),) in {one.where for one in found}


def test_segments_that_are_too_small_are_not_tried() -> None:
    axis = category_axis(np.arange(1_000) // 50, [f"v{k}" for k in range(20)])
    rng = np.random.default_rng(10)
    y, p, day = (rng.random(1_000) < 0.5).astype(float), np.full(1_000, 0.5), np.arange(1_000) % 20
    assert find_slices(y, p, day, {"v": axis}).tried == 0
    assert find_slices(y, p, day, {"v": axis}, least_rows=40).tried == 20


def test_too_few_clusters_and_one_class_are_refused() -> None:
    y, p = np.tile([0.0, 1.0], 50), np.full(100, 0.5)
    with pytest.raises(TooFewClustersError, match="needs at least 8"):
        find_slices(y, p, np.arange(100) // 20, {})
    with pytest.raises(OneClassError, match="All 100 labels are 1"):
        find_slices(np.ones(100), p, np.arange(100), {})


def test_a_number_is_cut_at_its_quantiles_and_few_values_are_kept() -> None:
    axis = number_axis(np.array([0.0] * 90 + [1.0, 2, 3, 4, 5, 6, 7, 8, 9, np.nan]))
    assert axis.names == ("below 1", "1 and more", "missing")
    assert np.bincount(axis.single).tolist() == [90, 9, 1]
    assert number_axis(np.array([0.0, 1.0, 1.0])).names == ("0", "1")
    assert number_axis(np.arange(800.0)).names[0] == "below 99.88"
    assert np.bincount(number_axis(np.arange(800.0)).single).tolist() == [100] * 8


def test_rare_values_of_a_category_are_in_no_pair() -> None:
    codes = np.repeat(np.arange(20), np.arange(20, 0, -1))
    axis: Axis = category_axis(codes, [f"v{k}" for k in range(20)])
    assert axis.pair_names == tuple(f"v{k}" for k in range(12))
    assert (axis.pair[codes >= 12] == -1).all()
