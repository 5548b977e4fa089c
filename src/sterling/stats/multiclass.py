"""Metrics of probabilities of several classes: the place of each row's class, its probabilities and weights in, one number out.

Labels are places among the classes, 0 to classes - 1, and -1 for a class that the model does not know, to which it gives no
probability: under every metric such a row is an error. Probabilities are of shape (rows, classes), and each row's sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sterling.stats.leave_one_out import LeaveOneOut, Left, leave_one_out_mean, ordered_pairs
from sterling.stats.metrics import ECE_BINS, Evaluator, Metric
from sterling.stats.rows import (
    BadRowsError,
    Floats,
    Ints,
    OneClassError,
    Ordered,
    Rows,
    bin_sums,
    bins_of_steps,
    check_numbers,
)

__all__ = [
    "METRICS",
    "MOST_CALIBRATED",
    "accuracy",
    "brier",
    "check_classes",
    "classwise_calibration_error",
    "counts_of",
    "log_loss",
    "macro_f1",
    "macro_roc_auc",
    "of_class",
    "row_surprise",
]

MOST_CALIBRATED = 60
"""With more classes than this the classwise calibration error is not computed: its bounds weigh every pair of bins."""
_APART = 1e-6
_LEAST = float(np.finfo(np.float64).eps)


def check_classes(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> Rows:
    """Return places, probabilities and weights as float64 arrays.

    Args:
        y: Place of each row's class, shape (rows,); -1 for one that is unknown.
        p: Probabilities, shape (rows, classes), two classes at least.
        weights: Multiplicities, shape (rows,), 0 or more; 1 each by default.

    Raises:
        BadRowsError: if they are no rows of one evaluation; the message names the first bad row.

    Example:
        >>> check_classes([0, -1], [[0.25, 0.75], [1, 0]]).p.shape
        (2, 2)
    """
    found = np.asarray(p, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] < 2:
        raise BadRowsError(
            f"p has shape {found.shape}. Pass probabilities of shape (rows, classes), two classes at least."
        )
    labels = check_numbers(y, np.zeros(len(found)), weights)
    known = np.isin(labels.y, np.arange(-1, found.shape[1]))
    if not known.all():
        row = int(np.argmin(known))
        raise BadRowsError(
            f"y is {labels.y[row]:g} in row {row}. A class is its place, 0 to {found.shape[1] - 1}, or -1."
        )
    good = ((found >= 0) & (found <= 1)).all(axis=1) & (np.abs(found.sum(axis=1) - 1) <= _APART)
    if not good.all():
        row = int(np.argmin(good))
        raise BadRowsError(f"p is {found[row].tolist()} in row {row}. Probabilities lie in [0, 1] and sum to 1.")
    return Rows(labels.y, found, labels.weights)


def log_loss(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean negative log of the probability of the class that came, in nats. At least 0.

    Probabilities below the machine epsilon of float64 count as that, as in scikit-learn.

    Args:
        y: Places of the classes, shape (rows,).
        p: Probabilities, shape (rows, classes).
        weights: Multiplicities, shape (rows,); 1 each by default.

    References:
        Good (1952), JRSS B 14(1), 107–114.

    Example:
        >>> round(log_loss([0, 2], [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]), 4)
        0.6931
    """
    return _mean(row_surprise, y, p, weights)


def brier(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean of the squared differences of probabilities and what came, summed over the classes. In [0, 2].

    Args:
        y: Places of the classes, shape (rows,).
        p: Probabilities, shape (rows, classes).
        weights: Multiplicities, shape (rows,); 1 each by default.

    References:
        Brier (1950), Monthly Weather Review 78(1), eq. 2.

    Example:
        >>> brier([0, 1], [[0.5, 0.5], [0.5, 0.5]])
        0.5
    """
    return _mean(_squares, y, p, weights)


def accuracy(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Share of rows whose most probable class came; of equal ones the first counts. In [0, 1].

    Args:
        y: Places of the classes, shape (rows,).
        p: Probabilities, shape (rows, classes).
        weights: Multiplicities, shape (rows,); 1 each by default.

    Example:
        >>> accuracy([0, 1], [[0.5, 0.5], [0.5, 0.5]])
        0.5
    """
    return _mean(_right, y, p, weights)


def macro_f1(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean over classes of 2 x both / (said + came), where a row is said to be of its most probable class. In [0, 1].

    A class that neither came nor was said takes no part, as in scikit-learn.

    Args:
        y: Places of the classes, shape (rows,).
        p: Probabilities, shape (rows, classes).
        weights: Multiplicities, shape (rows,); 1 each by default.

    References:
        Sokolova & Lapalme (2009), Information Processing & Management 45(4), table 3, as the mean of each class's F1;
        Opitz & Burst (2019), arXiv:1911.03347, on why of the two forms this one.

    Example:
        >>> round(macro_f1([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), 4)
        0.6667
    """
    rows = check_classes(y, p, weights)
    return _prepare_f1(rows.y, rows.p)(rows.weights)


def macro_roc_auc(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean over classes of the chance that a row of the class has a higher probability of it than a row of another. In [0, 1].

    Each class is held against the rest; one without a row takes no part.

    Args:
        y: Places of the classes, shape (rows,).
        p: Probabilities, shape (rows, classes).
        weights: Multiplicities, shape (rows,); 1 each by default.

    Raises:
        OneClassError: if all rows are of one class.

    References:
        Fawcett (2006), Pattern Recognition Letters 27(8), section 9, unweighted; what weighs classes by their share or
        compares them pair by pair (Hand & Till 2001, Machine Learning 45) is another number.

    Example:
        >>> macro_roc_auc([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        0.5
    """
    rows = check_classes(y, p, weights)
    return _prepare_roc_auc(rows.y, rows.p)(rows.weights)


def classwise_calibration_error(
    y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None, *, bins: int = ECE_BINS
) -> float:
    """Mean over classes of the calibration error of each class against the rest. In [0, 1].

    Each class has its own bins of equal mass, and the upward bias of `calibration_error`.

    Args:
        y: Places of the classes, shape (rows,).
        p: Probabilities, shape (rows, classes).
        weights: Multiplicities, shape (rows,); 1 each by default.
        bins: Number of bins of each class.

    References:
        Kull et al. (2019), NeurIPS 32, definition 3, on bins of equal mass.

    Example:
        >>> classwise_calibration_error([0, 0, 1, 1], [[0.5, 0.5]] * 4, bins=2)
        0.0
    """
    rows = check_classes(y, p, weights)
    return _prepare_ece(rows.y, rows.p, bins)(rows.weights)


def of_class(y: Floats, place: int) -> Floats:
    """1 for the rows of a class, 0 for the others."""
    ours: Floats = (y == place).astype(np.float64)
    return ours


def counts_of(y: Floats, said: Ints, classes: int, groups: Ints, group_count: int) -> NDArray[np.float64]:
    """Rows that are right, said and came, by group and class; shape (3, groups, classes).

    Args:
        y: Places of the classes that came, shape (rows,).
        said: Places of the classes that were said, shape (rows,).
        classes: Number of classes.
        groups: Group of each row, shape (rows,).
        group_count: Number of groups.
    """
    cells, size = groups * classes, group_count * classes
    right, known = said == y, y >= 0
    found = (
        np.bincount((cells + said)[right], minlength=size),
        np.bincount(cells + said, minlength=size),
        np.bincount((cells + y.astype(np.int64))[known], minlength=size),
    )
    return np.stack(found).astype(np.float64).reshape(3, group_count, classes)


def _mean(of_rows: Callable[[Floats, Floats], Floats], y: ArrayLike, p: ArrayLike, weights: ArrayLike | None) -> float:
    rows = check_classes(y, p, weights)
    return _mean_of(of_rows(rows.y, rows.p))(rows.weights)


def _mean_of(values: Floats) -> Evaluator:
    return lambda weights: float(weights @ values) / float(weights.sum())


def _of_truth(y: Floats, p: Floats) -> Floats:
    """Probability of the class that came; 0 for one that is unknown."""
    found = p[np.arange(len(p)), np.maximum(y, 0).astype(np.int64)]
    truth: Floats = np.where(y >= 0, found, 0.0)
    return truth


def row_surprise(y: Floats, p: Floats) -> Floats:
    """Log loss of each row; see `log_loss`."""
    surprise: Floats = -np.log(np.clip(_of_truth(y, p), _LEAST, 1 - _LEAST))
    return surprise


def _squares(y: Floats, p: Floats) -> Floats:
    squares: Floats = np.square(p).sum(axis=1) - 2 * _of_truth(y, p) + 1.0
    return squares


def _right(y: Floats, p: Floats) -> Floats:
    right: Floats = (p.argmax(axis=1) == y).astype(np.float64)
    return right


def _f1(counts: NDArray[np.float64]) -> Floats:
    """Macro F1 of counts of shape (3, ..., classes)."""
    right, both = counts[0], counts[1] + counts[2]
    share = np.divide(2 * right, both, out=np.zeros_like(right), where=both > 0)
    found: Floats = share.sum(axis=-1) / np.maximum((both > 0).sum(axis=-1), 1)
    return found


def _prepare_f1(y: Floats, p: Floats) -> Evaluator:
    said, classes = p.argmax(axis=1), p.shape[1]

    def evaluate(weights: Floats) -> float:
        right, came = said == y, np.maximum(y, 0).astype(np.int64)
        known = weights * (y >= 0)
        counts = np.stack(
            [bin_sums(weights * right, said, classes), bin_sums(weights, said, classes), bin_sums(known, came, classes)]
        )
        return float(_f1(counts))

    return evaluate


def _leave_f1(y: Floats, p: Floats, groups: Ints, count: int) -> Left:
    counts = counts_of(y, p.argmax(axis=1), p.shape[1], groups, count)
    total = counts.sum(axis=1, keepdims=True)
    return Left(float(_f1(total)[0]), _f1(total - counts))


def _prepare_roc_auc(y: Floats, p: Floats) -> Evaluator:
    present = [int(place) for place in np.unique(y) if place >= 0]
    orders = {place: Ordered(np.ascontiguousarray(p[:, place])) for place in present}

    def evaluate(weights: Floats) -> float:
        found = []
        for place, order in orders.items():
            ours = of_class(y, place)
            positive, negative = order.by_step(weights * ours), order.by_step(weights * (1 - ours))
            pairs = float(positive.sum()) * float(negative.sum())
            if pairs > 0:
                found.append(float(positive @ (np.cumsum(negative) - negative / 2)) / pairs)
        if not found:
            raise OneClassError("Macro ROC AUC is undefined: every row is of one class. It needs rows of several.")
        return float(np.mean(found))

    return evaluate


def _leave_roc_auc(y: Floats, p: Floats, groups: Ints, count: int) -> Left:
    present = [int(place) for place in np.unique(y) if place >= 0]
    found = [ordered_pairs(of_class(y, place), np.ascontiguousarray(p[:, place]), groups, count) for place in present]
    whole = [one.right / one.pairs for one in found if one.pairs > 0]
    right, pairs = (np.array([one[place] for one in found]).reshape(len(found), count) for place in (2, 3))
    there = pairs > 0
    if not whole or not there.any(axis=0).all():
        raise OneClassError(
            "Macro ROC AUC is undefined: every row is of one class, or would be without one of the clusters."
        )
    areas = np.divide(right, pairs, out=np.zeros_like(right), where=there)
    return Left(float(np.mean(whole)), areas.sum(axis=0) / there.sum(axis=0))


def _prepare_ece(y: Floats, p: Floats, bins: int = ECE_BINS) -> Evaluator:
    places = range(p.shape[1])
    orders = [Ordered(np.ascontiguousarray(p[:, place])) for place in places]
    gaps = [p[:, place] - of_class(y, place) for place in places]

    def evaluate(weights: Floats) -> float:
        found = 0.0
        for order, gap in zip(orders, gaps, strict=True):
            mass = order.by_step(weights)
            of_bins = bin_sums(order.by_step(weights * gap), bins_of_steps(mass, bins), bins)
            found += float(np.abs(of_bins).sum()) / float(mass.sum())
        return found / len(orders)

    return evaluate


def _metric(
    name: str, function: Callable[..., float], prepare: Callable[[Floats, Floats], Evaluator], leave: LeaveOneOut | None,
    *, greater: bool, highest: float = 1.0, several: bool = False, bins: int | None = None,
) -> Metric:  # fmt: skip
    return Metric(
        name, _LABELS[name], function, prepare, greater_is_better=greater, needs_both_classes=several, lowest=0.0,
        highest=highest, bins=bins, leave_one_out=leave, check=check_classes,
    )  # fmt: skip


_LABELS = {
    "log_loss": "Log loss", "accuracy": "Accuracy", "macro_f1": "Macro F1", "macro_roc_auc": "Macro ROC AUC",
    "brier": "Brier score", "ece": f"Classwise calibration error ({ECE_BINS} bins of equal mass)",
}  # fmt: skip


def _of_rows(of_rows: Callable[[Floats, Floats], Floats]) -> tuple[Callable[[Floats, Floats], Evaluator], LeaveOneOut]:
    return lambda y, p: _mean_of(of_rows(y, p)), leave_one_out_mean(of_rows)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            _metric("log_loss", log_loss, *_of_rows(row_surprise), greater=False, highest=float("inf")),
            _metric("accuracy", accuracy, *_of_rows(_right), greater=True),
            _metric("macro_f1", macro_f1, _prepare_f1, _leave_f1, greater=True),
            _metric("macro_roc_auc", macro_roc_auc, _prepare_roc_auc, _leave_roc_auc, greater=True, several=True),
            _metric("brier", brier, *_of_rows(_squares), greater=False, highest=2.0),
            _metric("ece", classwise_calibration_error, _prepare_ece, None, greater=False, bins=ECE_BINS),
        )
    }
)
"""The metrics of probabilities of several classes, by name."""
