"""What metrics are called, and which way is better."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class MetricName(NamedTuple):
    """A metric as people read it.

    Attributes:
        label: Its name.
        more_is_better: Which way is better.
        meaning: What it says, in a few words.
    """

    label: str
    more_is_better: bool
    meaning: str


METRICS = {
    "roc_auc": MetricName("ROC AUC", True, "chance that a positive scores above a negative"),
    "average_precision": MetricName("average precision", True, "precision, averaged over recall"),
    "log_loss": MetricName("log loss", False, "surprise at what happened, in nats"),
    "accuracy": MetricName("accuracy", True, "share of rows whose most probable class came"),
    "macro_f1": MetricName("macro F1", True, "harmonic mean of precision and recall, averaged over classes"),
    "macro_roc_auc": MetricName("macro ROC AUC", True, "ROC AUC of each class against the rest, averaged"),
    "brier": MetricName("Brier score", False, "mean squared error of the probabilities"),
    "ece": MetricName("calibration error", False, "mean gap between predicted and observed shares"),
    "rmse": MetricName("RMSE", False, "root of the mean squared error"),
    "mae": MetricName("MAE", False, "mean absolute error"),
    "r2": MetricName("R²", True, "share of the variance that is explained"),
    "pinball": MetricName("pinball loss", False, "loss of the quantiles, averaged over levels"),
    "coverage": MetricName("coverage", True, "share of labels between the lowest and the highest quantile"),
    "width": MetricName("width", False, "how far the lowest and the highest quantile lie apart"),
}

DECISIONS = {
    "value": MetricName("value", True, "what 1,000 decisions are worth"),
    "precision": MetricName("precision", True, "share of those acted on to whom it happens"),
    "recall": MetricName("recall", True, "share of those to whom it happens who are acted on"),
    "f1": MetricName("F1", True, "harmonic mean of precision and recall"),
    "lift": MetricName("lift", True, "precision over the share to whom it happens"),
    "false_positive_rate": MetricName("false positive rate", False, "share of the others who are acted on"),
    "selection_rate": MetricName("selection rate", False, "share of all who are acted on"),
}
"""Metrics of what a policy decides; of a selection rate more is neither better nor worse, and only a limit on it is."""
_ALL = METRICS | DECISIONS


def label(metric: str) -> str:
    """Name of a metric for people; its own name where it has no other.

    Example:
        >>> label("roc_auc"), label("gini")
        ('ROC AUC', 'gini')
    """
    return _ALL[metric].label if metric in _ALL else metric


def more_is_better(metric: str) -> bool:
    """Whether more of a metric is better.

    Raises:
        KeyError: for a metric that is not named here, since guessing would turn a verdict round.

    Example:
        >>> more_is_better("roc_auc"), more_is_better("ece")
        (True, False)
    """
    return _ALL[metric].more_is_better


def rank(metric: str) -> tuple[int, str]:
    """Place of a metric in every table; those that are not named here come last, by name.

    Example:
        >>> rank("roc_auc") < rank("ece") < rank("gini")
        True
    """
    return (list(_ALL).index(metric) if metric in _ALL else len(_ALL)), metric


def in_order(metrics: Iterable[str]) -> tuple[str, ...]:
    """Metrics in the order of every table, each once.

    Example:
        >>> in_order(["ece", "gini", "roc_auc", "ece"])
        ('roc_auc', 'ece', 'gini')
    """
    return tuple(sorted(set(metrics), key=rank))
