"""Multiclass classification: which of several will it be, and how likely is each?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sterling.core.errors import DataError
from sterling.project.tasks import METRICS_OF, MOST_CLASSES
from sterling.project.tasks import Multiclass as Wanted
from sterling.stats.calibration import reliability_curve
from sterling.stats.decisions import DECISION_METRICS
from sterling.stats.multiclass import METRICS, MOST_CALIBRATED, counts_of, of_class
from sterling.tasks.task import (
    CALIBRATION_BINS,
    CONFIDENCE,
    Clusters,
    Floats,
    Measured,
    bins_of,
    compared,
    measured,
    not_measured,
)

MOST_SHOWN = 50
"""Classes of a confusion matrix that is kept whole; of more, and in every list of classes, the most frequent count."""
MOST_CONFUSIONS = 10
_TOO_MANY = f"Its bounds are computed for {MOST_CALIBRATED} classes at most."


class Multiclass:
    """Labels as places among classes, -1 for one that is none of them, and a probability for each class.

    Args:
        classes: Names of the classes; none where they are not known yet.

    Example:
        >>> task = Multiclass(("AA", "UA"))
        >>> task.score(np.array([0.0, 1.0]), np.array([[0.75, 0.25], [0.5, 0.5]]))["accuracy"]
        0.5
    """

    metrics: tuple[str, ...] = METRICS_OF[Wanted]
    slice_metrics: tuple[str, ...] = ("accuracy",)

    def __init__(self, classes: tuple[str, ...] = ()) -> None:
        self.classes = classes

    def check_labels(self, label: Floats, *, where: str) -> None:
        """Refuse labels that nothing can be learnt from.

        Raises:
            DataError: if there are none, all are alike, one is of no class, or there are too many classes.

        Example:
            >>> Multiclass(("AA", "UA")).check_labels(np.array([1.0, 1.0]), where="before 2013-09-01")
            Traceback (most recent call last):
            sterling.core.errors.DataError: All 2 labels known before 2013-09-01 are 'UA'. Training needs two classes at least.
        """
        if not len(label):
            raise DataError(f"No label is known {where}, so there is nothing to train on.")
        if strange := int((label < 0).sum()):
            raise DataError(
                f"{strange:,} of {len(label):,} labels known {where} are none of Multiclass.classes, "
                f"{', '.join(self.classes[:20])}. Name them too, or write a label that is null for them."
            )
        if len(self.classes) > MOST_CLASSES:
            raise DataError(
                f"The labels known {where} are of {len(self.classes):,} classes, and Multiclass takes {MOST_CLASSES} at most. "
                "Group the rare ones in the label, such as CASE WHEN code IN ('A', 'B') THEN code ELSE 'other' END."
            )
        if (label == label[0]).all():
            only = self.classes[int(label[0])]
            raise DataError(
                f"All {len(label):,} labels known {where} are {only!r}. Training needs two classes at least."
            )

    def summary(self, label: Floats) -> dict[str, Any]:
        """How many there are of each class."""
        counts = np.bincount(label[label >= 0].astype(np.int64), minlength=len(self.classes)).tolist()
        return class_counts(dict(zip(self.classes, counts, strict=True)))

    def score(self, label: Floats, predicted: Floats) -> dict[str, float]:
        """The metrics without intervals; one that is undefined on these rows is left out."""
        one = bool((label == label[0]).all())
        left_out = {name for name in self.metrics if METRICS[name].needs_both_classes} if one else set[str]()
        return {name: METRICS[name].function(label, predicted) for name in self.metrics if name not in left_out}

    def measure(
        self, metric: str, label: Floats, predicted: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """A metric with its bounds; where all rows get the same probabilities, the macro ROC AUC is one half by definition."""
        if metric == "macro_roc_auc" and (predicted == predicted[0]).all() and (label != label[0]).any():
            half, count = 0.5, len(np.unique(clusters))
            return Measured(
                half, half, half, CONFIDENCE, half, half, error_rate, len(label), count,
                "by definition: the same probabilities for all rows",
            )  # fmt: skip
        if metric == "ece" and predicted.shape[1] > MOST_CALIBRATED:
            return not_measured(_TOO_MANY, error_rate, rows=len(label), clusters=len(np.unique(clusters)))
        return measured(METRICS[metric], label, predicted, clusters, error_rate=error_rate)

    def compare(
        self, metric: str, label: Floats, ours: Floats, theirs: Floats, clusters: Clusters, *, error_rate: float
    ) -> Measured:
        """The difference of a metric on the same rows, ours minus theirs, with its bounds."""
        if metric == "ece" and ours.shape[1] > MOST_CALIBRATED:
            return not_measured(_TOO_MANY, error_rate, rows=len(label), clusters=len(np.unique(clusters)))
        return compared(METRICS[metric], label, ours, theirs, clusters, error_rate=error_rate)

    def calibration(self, label: Floats, predicted: Floats, clusters: Clusters) -> dict[str, Any]:
        """For each class that is shown, bins of equal mass in the order of its probability, the lowest first."""
        found = [
            {"class": self.classes[place], "bins": bins_of(reliability_curve(
                of_class(label, place), predicted[:, place], clusters, bins=CALIBRATION_BINS, confidence=CONFIDENCE
            ))}
            for place in self._shown(label)
        ]  # fmt: skip
        return {"classes": found}

    def by_class(self, label: Floats, predicted: Floats, clusters: Clusters, *, error_rate: float) -> dict[str, Any]:
        """What is right and what is mistaken for what, class by class, as JSON.

        Args:
            label: Places of the classes, shape (rows,).
            predicted: Probabilities, shape (rows, classes).
            clusters: Cluster of each row, shape (rows,).
            error_rate: Error rate of each one-sided bound.
        """
        said = predicted.argmax(axis=1)
        right, named, came = counts_of(label, said, len(self.classes), np.zeros(len(label), np.int64), 1)[:, 0]
        shown = self._shown(label)
        classes = []
        for place in shown:
            ours, acted = of_class(label, place), of_class(said.astype(np.float64), place)
            shares = {
                name: _share(measured(DECISION_METRICS[name], ours, acted, clusters, error_rate=error_rate), value)
                for name, value in (("precision", _ratio(right, named, place)), ("recall", _ratio(right, came, place)))
            }
            counts = {"rows": int(came[place]), "predicted": int(named[place]), "right": int(right[place])}
            classes.append({"class": self.classes[place], **counts, **shares})
        return {
            "rows": len(label), "classes": classes, "not_shown": len(self.classes) - len(shown),
            "confusion": self._confusion(label, said), "confused": list(self._confused(label, said)),
        }  # fmt: skip

    def _shown(self, label: Floats) -> list[int]:
        """Places of the most frequent classes, in the order of the classes."""
        counts = np.bincount(label[label >= 0].astype(np.int64), minlength=len(self.classes))
        return sorted(np.argsort(-counts, kind="stable")[:MOST_SHOWN].tolist())

    def _confusion(self, label: Floats, said: Clusters) -> list[list[int]] | None:
        """Rows by the class that came and the one that was said; None for too many classes."""
        size, known = len(self.classes), label >= 0
        if size > MOST_SHOWN:
            return None
        cells = label[known].astype(np.int64) * size + said[known]
        found: list[list[int]] = np.bincount(cells, minlength=size * size).reshape(size, size).tolist()
        return found

    def _confused(self, label: Floats, said: Clusters) -> Iterator[dict[str, Any]]:
        """The mistakes that are made most often, the first one first."""
        wrong = (label >= 0) & (label != said)
        pairs, counts = np.unique(np.stack([label[wrong], said[wrong]]), axis=1, return_counts=True)
        for place in np.argsort(-counts, kind="stable")[:MOST_CONFUSIONS]:
            came, instead = (self.classes[int(one)] for one in pairs[:, place])
            yield {"came": came, "said": instead, "rows": int(counts[place])}


def class_counts(counts: Mapping[str, int]) -> dict[str, Any]:
    """How many labels there are of each class, as JSON: of the most frequent ones, and how many there are.

    Example:
        >>> class_counts({"AA": 3, "UA": 4})
        {'classes': {'UA': 4, 'AA': 3}, 'class_count': 2}
    """
    most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return {"classes": dict(most[:MOST_SHOWN]), "class_count": len(counts)}


def _ratio(right: Floats, of: Floats, place: int) -> float | None:
    return float(right[place] / of[place]) if of[place] else None


def _share(found: Measured, value: float | None) -> dict[str, Any]:
    """A share with its interval; the share itself stands even where nothing tells how uncertain it is."""
    return {"value": value, "low": found.low, "high": found.high, "reason": found.reason}
