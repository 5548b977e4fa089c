"""Segments in which predicted numbers are wrong, and segments in which their errors are larger than elsewhere.

The first are the model's fault, as in `sterling.stats.slices`: after one correction of all predictions together (level and
slope), labels lie above them (too low), below them (too high), or predictions lie further apart than what happens (too far
apart). A model that is right in the mean has no such segment, however noisy its label is.

The second need not be the model's fault: where the label itself varies more, so does every error. They say where
predictions are of less use. A segment is one where the mean absolute error exceeds that of all rows.

Both go by the same search over every value and pair of values, each at half of the error rate, so that together they name
none where there is none with the whole rate at most.

References:
    Search and flipped signs: as in `sterling.stats.slices`. Correction: Mincer & Zarnowitz (1969), in Economic Forecasts
    and Expectations, eq. 3, the regression of what happened on what was predicted. A score that is fitted by least squares
    and not by likelihood: Hemerik, Goeman & Finos (2020), JRSS B 82(3), 841–864, section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.axes import Axis
from sterling.stats.intervals import FEWEST_CLUSTERS, NoVariationError, TooFewClustersError
from sterling.stats.jackknife import merge_clusters
from sterling.stats.rows import Floats, bin_sums, calibration_bins, check_numbers, cluster_codes
from sterling.stats.search import Named, search_segments
from sterling.stats.segments import Direction, sample_of_numbers

__all__ = ["NumberSearch", "NumberSlice", "find_number_slices"]

_BINS = 10
"""Bins of predictions, in each of which the variance of a row's residual is taken as that of the bin."""
NumberDirection = Literal["too low", "too high", "too far apart", "less exact"]
_WORDS: dict[Direction, NumberDirection] = {"too low": "too low", "too high": "too high", "too sure": "too far apart"}


class NumberSlice(NamedTuple):
    """A segment in which predictions are wrong, or their errors larger than elsewhere."""

    where: tuple[tuple[str, str], ...]
    """Feature and value, one or two of them."""
    direction: NumberDirection
    """In which way predictions are wrong; ``less exact`` where errors are larger."""
    rows: int
    """Rows in the segment."""
    clusters: int
    """Clusters, or groups of clusters, among them."""
    observed: float
    """Mean of the label."""
    predicted: float
    """Mean of the predictions, as the model gave them."""
    gap: float
    """Label minus prediction in the mean, after the correction of all together; where errors are larger, the mean absolute
    error minus that of all rows."""
    low: float
    """Lower end of the gap's interval, which holds for all segments at once."""
    high: float
    """Upper end of it."""
    rmse: float
    """Root of the mean squared error in the segment."""
    mae: float
    """Mean absolute error in the segment."""
    p_value: float
    """Chance of a largest statistic like this one where no segment is off, in (0, 1]."""


class NumberSearch(NamedTuple):
    """What a search found."""

    found: tuple[NumberSlice, ...]
    """Segments in which predictions are wrong, the clearest first; each is still wrong when those before it are corrected."""
    larger: tuple[NumberSlice, ...]
    """Segments whose errors are larger than elsewhere, in the same way."""
    tried: int
    """Segments that were judged."""
    intercept: float
    """Correction of all predictions: what is expected where the model says 0."""
    slope: float
    """Correction of all predictions: how much is expected for each unit of the model's; below 1 where its predictions lie too
    far apart everywhere."""
    rmse: float
    """Root of the mean squared error of all rows."""
    mae: float
    """Mean absolute error of all rows."""


def find_number_slices(
    y: ArrayLike,
    p: ArrayLike,
    clusters: ArrayLike,
    axes: Mapping[str, Axis],
    *,
    error_rate: float = 0.05,
    least_rows: int = 100,
    least_share: float = 0.01,
    most: int = 10,
    seed: int = 0,
) -> NumberSearch:
    """Search every value of every feature, and every pair of values.

    Args:
        y: Labels, finite numbers of shape (rows,).
        p: Predictions, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        axes: Features, cut into values.
        error_rate: Chance of naming a segment of either kind where there is none, in (0, 1).
        least_rows: Rows of the smallest segment that matters.
        least_share: The same as a share of all rows; the larger of both counts.
        most: Segments of each kind that are named at most.
        seed: Seed of the flips.

    Raises:
        TooFewClustersError: with fewer than `FEWEST_CLUSTERS` clusters.
        NoVariationError: if the label is a straight line of the predictions, so that nothing is left to be explained.
        BadRowsError: if the rows are no evaluation.

    Example:
        >>> from sterling.stats.axes import category_axis
        >>> rng = np.random.default_rng(0)
        >>> p, carrier = rng.normal(20, 5, 6_000), rng.integers(0, 5, 6_000)
        >>> y = p + rng.normal(0, np.where(carrier == 1, 6, 3)) + np.where(carrier == 3, 1.0, 0.0)
        >>> found = find_number_slices(y, p, np.arange(6_000) // 200, {"carrier": category_axis(carrier, "ABCDE")})
        >>> [(one.where, one.direction) for one in (*found.found, *found.larger)]
        [((('carrier', 'D'),), 'too low'), ((('carrier', 'B'),), 'less exact')]
    """
    rows = check_numbers(y, p)
    codes, count = cluster_codes(clusters, len(rows.y))
    if count < FEWEST_CLUSTERS:
        raise TooFewClustersError(f"{count} clusters. A search for bad segments needs at least {FEWEST_CLUSTERS}.")
    group, groups = merge_clusters(codes, count)
    least, bins = max(least_rows, int(least_share * len(rows.y))), calibration_bins(rows.p, rows.weights, _BINS)
    intercept, slope, unit = _line(rows.y, rows.p)
    near = 1e-9 * max(1.0, float(np.abs(rows.y).max()))
    if unit <= near:
        raise NoVariationError("The label is a straight line of the predictions: no residual is left to be looked at.")
    center = float(rows.p.mean())
    y_, p_ = (rows.y - center) / unit, (rows.p - center) / unit
    level = (intercept + slope * center - center) / unit
    sample = sample_of_numbers(y_, p_, group, groups, least, _by_bin((y_ - level - slope * p_) ** 2, bins))
    wrong = search_segments(sample, axes, error_rate=error_rate / 2, most=most, seed=seed)

    errors = np.abs(rows.y - rows.p)
    spread = float(errors.std())
    larger: tuple[Named, ...] = ()
    if spread > near:
        sizes = (errors - errors.mean()) / spread
        size_sample = sample_of_numbers(sizes, np.zeros(len(sizes)), group, groups, least, _by_bin(sizes**2, bins))
        larger = search_segments(
            size_sample, axes, error_rate=error_rate / 2, most=most, seed=seed, directions=frozenset({"too low"})
        ).named
    return NumberSearch(
        tuple(_described(one, rows.y, rows.p, _WORDS[one.direction], unit) for one in wrong.named),
        tuple(_described(one, rows.y, rows.p, "less exact", spread) for one in larger),
        wrong.tried, intercept, slope, float(np.sqrt(np.mean((rows.y - rows.p) ** 2))), float(errors.mean()),
    )  # fmt: skip


def _line(y: Floats, p: Floats) -> tuple[float, float, float]:
    """Intercept and slope of the labels over the predictions, and the deviation of what is left."""
    away = p - p.mean()
    square = float(away @ away)
    slope = float(away @ (y - y.mean())) / square if square > 0 else 1.0
    intercept = float(y.mean() - slope * p.mean())
    return intercept, slope, float(np.std(y - intercept - slope * p))


def _by_bin(squares: Floats, bins: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    """The mean square of the bin that each row is in."""
    sums, sizes = bin_sums(squares, bins, _BINS), bin_sums(np.ones(len(squares)), bins, _BINS)
    means: Floats = np.divide(sums, sizes, out=np.zeros(_BINS), where=sizes > 0)
    return means[bins]


def _described(one: Named, y: Floats, p: Floats, direction: NumberDirection, unit: float) -> NumberSlice:
    label, predicted = y[one.inside], p[one.inside]
    return NumberSlice(
        one.where, direction, len(label), one.clusters, float(label.mean()), float(predicted.mean()),
        unit * one.gap, unit * one.low, unit * one.high, float(np.sqrt(np.mean((label - predicted) ** 2))),
        float(np.abs(label - predicted).mean()), one.p_value,
    )  # fmt: skip
