"""Segments in which a model is wrong, found by search, with the chance of finding one where there is none held down.

A segment with a high loss need not be the model's fault: where labels are near coin flips, the best model has a high
loss. So a segment is called bad where labels deviate from what the model itself says of its rows, after one correction
of all its scores together (intercept and slope on the log odds): labels come up more often than it says (too low), less
often (too high), or its scores are more extreme than what happens (too sure). A calibrated model has no such segment.

Every value of every feature and every pair of values is tried. The sums of residuals by cluster are symmetric about 0
where a segment is not bad; the largest of all sums over their standard errors is compared with the largest after the signs of whole
clusters are flipped at random, for all segments together, so that how they overlap is taken into account.

References:
    What a bad segment is: Hébert-Johnson, Kim, Reingold & Rothblum (2018), ICML, multicalibration; correction: Cox (1958),
    Biometrika 45, 562–565. Largest statistic: Westfall & Young (1993), Resampling-Based Multiple Testing, section 2.6;
    Romano & Wolf (2005), JASA 100, 94–108. Flipped signs: Canay, Romano & Shaikh (2017), Econometrica
    85(3), 1013–1030, of clusters; Hemerik, Goeman & Finos (2020), JRSS B 82(3), 841–864, of scores whose correction was fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sterling.stats.axes import Axis
from sterling.stats.intervals import FEWEST_CLUSTERS, TooFewClustersError
from sterling.stats.jackknife import merge_clusters
from sterling.stats.rows import Floats, OneClassError, check_rows, cluster_codes
from sterling.stats.search import Named, search_segments
from sterling.stats.segments import Direction, sample_of

__all__ = ["BadSlice", "Search", "find_slices"]


class BadSlice(NamedTuple):
    """A segment in which the model is wrong."""

    where: tuple[tuple[str, str], ...]
    """Feature and value, one or two of them."""
    direction: Direction
    """In which way it is wrong."""
    rows: int
    """Rows in the segment."""
    clusters: int
    """Clusters, or groups of clusters, among them."""
    observed: float
    """Share of positive rows."""
    predicted: float
    """Mean score, as the model gave it."""
    gap: float
    """Observed share minus the mean score after the correction of all scores together."""
    low: float
    """Lower end of the gap's interval, which holds for all segments at once."""
    high: float
    """Upper end of it."""
    excess: float
    """Log loss above what the corrected scores say that it would be, in nats a row."""
    p_value: float
    """Chance of a largest statistic like this one where no segment is bad, in (0, 1]."""


class Search(NamedTuple):
    """What a search found."""

    found: tuple[BadSlice, ...]
    """Bad segments, the clearest first; each is still wrong when those before it are corrected."""
    tried: int
    """Segments that were judged, each in three directions."""
    intercept: float
    """Correction of all scores: log odds at even odds of the model."""
    slope: float
    """Correction of all scores: log odds for each of the model's; below 1 where it is too sure everywhere."""


def find_slices(
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
) -> Search:
    """Search every value of every feature, and every pair of values, for bad segments.

    Where no segment is bad, any is found with probability ``error_rate`` at most, as far as sums of residuals by cluster
    are symmetric; simulated in docs/statistics.md. Where some are, the chance of naming any other one is bounded alike.

    Args:
        y: Labels, 0 and 1, shape (rows,).
        p: Scores, probabilities of label 1, shape (rows,).
        clusters: Cluster of each row, shape (rows,).
        axes: Features, cut into values.
        error_rate: Chance of finding a segment where there is none, in (0, 1).
        least_rows: Rows of the smallest segment that matters.
        least_share: The same as a share of all rows; the larger of both counts.
        most: Segments that are named at most.
        seed: Seed of the flips.

    Raises:
        TooFewClustersError: with fewer than `FEWEST_CLUSTERS` clusters.
        OneClassError: if all labels are alike.
        BadRowsError: if the rows are no evaluation.

    Example:
        >>> from sterling.stats.axes import category_axis
        >>> rng = np.random.default_rng(0)
        >>> p, carrier = rng.uniform(0.1, 0.5, 6_000), rng.integers(0, 5, 6_000)
        >>> y = rng.random(6_000) < np.where(carrier == 3, p + 0.2, p)
        >>> found, = find_slices(y, p, np.arange(6_000) // 200, {"carrier": category_axis(carrier, "ABCDE")}).found
        >>> found.where, found.direction, found.p_value
        ((('carrier', 'D'),), 'too low', 0.002)
    """
    rows = check_rows(y, p)
    codes, count = cluster_codes(clusters, len(rows.y))
    if count < FEWEST_CLUSTERS:
        raise TooFewClustersError(f"{count} clusters. A search for bad segments needs at least {FEWEST_CLUSTERS}.")
    if rows.y.min() == rows.y.max():
        raise OneClassError(f"All {len(rows.y):,} labels are {rows.y[0]:g}. A search for bad segments needs both.")
    least = max(least_rows, int(least_share * len(rows.y)))
    sample = sample_of(rows.y, rows.p, *merge_clusters(codes, count), least)
    searched = search_segments(sample, axes, error_rate=error_rate, most=most, seed=seed)
    found = tuple(_described(one, sample.y, sample.p) for one in searched.named)
    return Search(found, searched.tried, float(sample.weights[0]), float(sample.weights[1]))


def _described(one: Named, y: Floats, p: Floats) -> BadSlice:
    inside, corrected = one.inside, one.sample.corrected[one.inside]
    logit = np.log(corrected / (1 - corrected))
    return BadSlice(
        one.where, one.direction, int(inside.sum()), one.clusters, float(y[inside].mean()), float(p[inside].mean()),
        one.gap, one.low, one.high, float(np.mean(-one.sample.residual[inside] * logit)), one.p_value,
    )  # fmt: skip
