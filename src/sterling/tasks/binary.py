"""Binary classification: will it happen, and how likely is it?"""

from __future__ import annotations

from typing import Any

import numpy as np

from sterling.core.errors import DataError
from sterling.project.tasks import METRICS_OF
from sterling.project.tasks import Binary as Wanted
from sterling.stats.calibration import reliability_curve
from sterling.stats.metrics import METRICS
from sterling.tasks.task import (
    CALIBRATION_BINS,
    CONFIDENCE,
    Clusters,
    Floats,
    Measured,
    Task,
    bins_of,
    compared,
    measured,
)


class Binary:
    """Labels 0 and 1, and the probability of 1.

    Example:
        >>> Binary().score(np.array([0.0, 1.0]), np.array([0.5, 0.5]))["brier"]
        0.25
    """

    metrics: tuple[str, ...] = METRICS_OF[Wanted]
    slice_metrics: tuple[str, ...] = ("roc_auc",)

    def check_labels(self, label: Floats, *, where: str) -> None:
        """Refuse labels that nothing can be learnt from.

        Raises:
            DataError: if there are none, or all are alike.

        Example:
            >>> Binary().check_labels(np.array([0.0, 0.0]), where="before 2013-09-01")
            Traceback (most recent call last):
            sterling.core.errors.DataError: All 2 labels known before 2013-09-01 are 0. Training needs both classes.
        """
        if not len(label):
            raise DataError(f"No label is known {where}, so there is nothing to train on.")
        if (label == label[0]).all():
            raise DataError(f"All {len(label):,} labels known {where} are {label[0]:g}. Training needs both classes.")

    def summary(self, label: Floats) -> dict[str, Any]:
        """How many are positive."""
        return {"positives": int(label.sum())}

    def score(self, label: Floats, predicted: Floats) -> dict[str, float]:
        """The metrics without intervals; one that is undefined on these rows is left out."""
        both = _has_both(label)
        chosen = (METRICS[name] for name in self.metrics)
        return {
            metric.name: metric.function(label, predicted) for metric in chosen if both or not metric.needs_both_classes
        }

    def measure(
        self, metric: str, label: Floats, predicted: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """A metric with its bounds; a score that is the same for every row has a ROC AUC of one half by definition."""
        if metric == "roc_auc" and (predicted == predicted[0]).all() and _has_both(label):
            half, count = 0.5, len(np.unique(clusters))
            return Measured(
                half, half, half, CONFIDENCE, half, half, error_rate, len(label), count, "by definition: one score for all rows"
            )  # fmt: skip
        return measured(metric, label, predicted, clusters, error_rate=error_rate)

    def compare(
        self, metric: str, label: Floats, ours: Floats, theirs: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """The difference of a metric on the same rows, ours minus theirs, with its bounds."""
        return compared(metric, label, ours, theirs, clusters, error_rate=error_rate)

    def calibration(self, label: Floats, predicted: Floats, clusters: Clusters) -> dict[str, Any]:
        """Bins of equal mass in the order of the predictions, the lowest first; ties are never divided."""
        found = reliability_curve(label, predicted, clusters, bins=CALIBRATION_BINS, confidence=CONFIDENCE)
        return {"bins": bins_of(found)}


BINARY: Task = Binary()


def _has_both(label: Floats) -> bool:
    return bool((label == 0).any() and (label == 1).any())
