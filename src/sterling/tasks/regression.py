"""Regression: how much will it be?"""

from __future__ import annotations

from typing import Any

import numpy as np

from sterling.core.errors import DataError
from sterling.project.tasks import METRICS_OF
from sterling.project.tasks import Regression as Wanted
from sterling.stats.regression import METRICS, number_curve
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


class Regression:
    """Labels that are numbers, and the mean that is expected of them.

    Example:
        >>> Regression().score(np.array([1.0, 3.0]), np.array([2.0, 2.0]))["rmse"]
        1.0
    """

    metrics: tuple[str, ...] = METRICS_OF[Wanted]
    slice_metrics: tuple[str, ...] = ("rmse", "mae")

    def check_labels(self, label: Floats, *, where: str) -> None:
        """Refuse labels that nothing can be learnt from.

        Raises:
            DataError: if there are none, or all are alike.

        Example:
            >>> Regression().check_labels(np.array([2.5, 2.5]), where="before 2013-09-01")
            Traceback (most recent call last):
            sterling.core.errors.DataError: All 2 labels known before 2013-09-01 are 2.5. Training needs labels that differ.
        """
        if not len(label):
            raise DataError(f"No label is known {where}, so there is nothing to train on.")
        if (label == label[0]).all():
            raise DataError(
                f"All {len(label):,} labels known {where} are {label[0]:g}. Training needs labels that differ."
            )

    def summary(self, label: Floats) -> dict[str, Any]:
        """Mean, standard deviation and quartiles."""
        if not len(label):
            return {"mean": None, "deviation": None, "quartiles": None}
        quartiles = np.quantile(label, [0.0, 0.25, 0.5, 0.75, 1.0]).tolist()
        return {"mean": float(label.mean()), "deviation": float(label.std()), "quartiles": quartiles}

    def score(self, label: Floats, predicted: Floats) -> dict[str, float]:
        """The metrics without intervals; one that is undefined on these rows is left out."""
        differ = bool((label != label[0]).any())
        chosen = (METRICS[name] for name in self.metrics)
        return {
            metric.name: metric.function(label, predicted)
            for metric in chosen
            if differ or not metric.needs_both_classes
        }

    def measure(
        self, metric: str, label: Floats, predicted: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """A metric with its bounds."""
        return measured(METRICS[metric], label, predicted, clusters, error_rate=error_rate)

    def compare(
        self, metric: str, label: Floats, ours: Floats, theirs: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """The difference of a metric on the same rows, ours minus theirs, with its bounds."""
        return compared(METRICS[metric], label, ours, theirs, clusters, error_rate=error_rate)

    def calibration(self, label: Floats, predicted: Floats, clusters: Clusters) -> dict[str, Any]:
        """Bins of equal mass in the order of the predictions, the lowest first; ties are never divided."""
        found = number_curve(label, predicted, clusters, bins=CALIBRATION_BINS, confidence=CONFIDENCE)
        return {"bins": bins_of(found)}


REGRESSION: Task = Regression()
