"""Quantile regression: how much will it be, and between what?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sterling.project.tasks import METRICS_OF, level_name
from sterling.project.tasks import Quantiles as Wanted
from sterling.stats.intervals import TooFewClustersError
from sterling.stats.means import Groups, group_clusters, mean_interval
from sterling.stats.pinball import intervals_of, quantile_metrics, row_pinball
from sterling.stats.rows import Floats as Numbers
from sterling.tasks.regression import REGRESSION
from sterling.tasks.task import CONFIDENCE, Clusters, Floats, Measured, compared, measured


class Quantiles:
    """Labels that are numbers, and a quantile of them at each level, shape (rows, levels).

    Args:
        levels: The levels, rising.

    Example:
        >>> task = Quantiles((0.1, 0.9))
        >>> task.score(np.array([1.0, 5.0]), np.array([[0.0, 2.0], [0.0, 2.0]]))["coverage"]
        0.5
    """

    metrics: tuple[str, ...] = METRICS_OF[Wanted]
    slice_metrics: tuple[str, ...] = ("pinball", "coverage")

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = tuple(levels)
        self._metrics = quantile_metrics(self.levels)

    def check_labels(self, label: Floats, *, where: str) -> None:
        """Refuse labels that nothing can be learnt from, as a regression does.

        Raises:
            DataError: if there are none, or all are alike.
        """
        REGRESSION.check_labels(label, where=where)

    def summary(self, label: Floats) -> dict[str, Any]:
        """Mean, standard deviation and quartiles."""
        return REGRESSION.summary(label)

    def score(self, label: Floats, predicted: Floats) -> dict[str, float]:
        """The metrics without intervals."""
        return {name: self._metrics[name].function(label, predicted) for name in self.metrics}

    def measure(
        self, metric: str, label: Floats, predicted: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """A metric with its bounds."""
        return measured(self._metrics[metric], label, predicted, clusters, error_rate=error_rate)

    def compare(
        self, metric: str, label: Floats, ours: Floats, theirs: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """The difference of a metric on the same rows, ours minus theirs, with its bounds."""
        return compared(self._metrics[metric], label, ours, theirs, clusters, error_rate=error_rate)

    def calibration(self, label: Floats, predicted: Floats, clusters: Clusters) -> dict[str, Any]:
        """For each level the share of labels at or below its quantile, and for each interval the share inside, as JSON."""
        groups: Groups | None = None
        reason: str | None = None
        try:
            groups = group_clusters(clusters, len(label))
        except TooFewClustersError as error:
            reason = str(error)
        levels = [
            {
                "level": level_name(level), "nominal": level,
                "pinball": float(row_pinball(label, predicted[:, [place]], (level,)).mean()),
                **_share(label <= predicted[:, place], groups),
            }
            for place, level in enumerate(self.levels)
        ]  # fmt: skip
        intervals = [
            {
                "lower": level_name(self.levels[one.lower]), "upper": level_name(self.levels[one.upper]),
                "nominal": one.nominal, "width": float((predicted[:, one.upper] - predicted[:, one.lower]).mean()),
                **_share((predicted[:, one.lower] <= label) & (label <= predicted[:, one.upper]), groups),
            }
            for one in intervals_of(self.levels)
        ]  # fmt: skip
        return {
            "rows": len(label),
            "confidence": CONFIDENCE,
            "levels": levels,
            "intervals": intervals,
            "reason": reason,
        }


def _share(inside: np.ndarray[tuple[int], np.dtype[np.bool_]], groups: Groups | None) -> dict[str, float | None]:
    """A share of rows with its interval, within 0 and 1; none where too few clusters tell how uncertain it is."""
    flags: Numbers = inside.astype(np.float64)
    if groups is None:
        return {"share": float(flags.mean()), "low": None, "high": None}
    found = mean_interval(flags, groups, confidence=CONFIDENCE)
    return {"share": found.value, "low": max(0.0, found.low), "high": min(1.0, found.high)}
