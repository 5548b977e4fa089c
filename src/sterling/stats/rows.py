"""Rows of one evaluation: labels, probabilities and weights, checked; sorted once; and put into bins of equal mass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BadRowsError",
    "Floats",
    "Ints",
    "OneClassError",
    "Ordered",
    "Rows",
    "bin_sums",
    "bins_of_steps",
    "calibration_bins",
    "check_numbers",
    "check_rows",
    "cluster_codes",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class BadRowsError(ValueError):
    """Labels, probabilities or weights that cannot be rows of one evaluation."""


class OneClassError(BadRowsError):
    """Rows of a single class, where the metric needs both."""


class Rows(NamedTuple):
    """Checked rows of one evaluation, each array of shape (rows,) and type float64."""

    y: Floats
    """Labels, 0 or 1."""
    p: Floats
    """Predicted probability of label 1, in [0, 1]."""
    weights: Floats
    """Multiplicities, 0 or more, of which at least one is positive."""


def check_rows(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> Rows:
    """Return labels, probabilities and weights as float64 arrays of one length.

    Args:
        y: Labels, shape (rows,); 0 and 1, or False and True.
        p: Probabilities of label 1, shape (rows,), in [0, 1].
        weights: Multiplicities, shape (rows,), 0 or more; 1 each by default.

    Raises:
        BadRowsError: if the arrays are empty, not one-dimensional, of different lengths, not finite, or out of range;
            the message names the first bad value and its row.

    Example:
        >>> check_rows([0, 1], [0.2, 0.7]).weights.tolist()
        [1.0, 1.0]
    """
    rows = _rows(y, p, weights, "probability")
    _refuse("y", rows.y, (rows.y == 0) | (rows.y == 1), "Labels are 0 and 1.")
    _refuse("p", rows.p, (rows.p >= 0) & (rows.p <= 1), "Probabilities lie in [0, 1].")
    return rows


def check_numbers(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> Rows:
    """Return measured numbers, predicted ones and weights as float64 arrays of one length.

    Args:
        y: What was measured, shape (rows,), finite.
        p: What was predicted, shape (rows,), finite.
        weights: Multiplicities, shape (rows,), 0 or more; 1 each by default.

    Raises:
        BadRowsError: as `check_rows` does.

    Example:
        >>> check_numbers([3, -1], [2.5, 0]).y.tolist()
        [3.0, -1.0]
    """
    rows = _rows(y, p, weights, "prediction")
    for name, values in (("y", rows.y), ("p", rows.p)):
        _refuse(name, values, np.isfinite(values), "Numbers are finite.")
    return rows


def _rows(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None, what: str) -> Rows:
    labels, predicted = _column("y", y), _column("p", p)
    multiplicities = np.ones(len(labels)) if weights is None else _column("weights", weights)
    lengths = {"y": len(labels), "p": len(predicted), "weights": len(multiplicities)}
    if len(set(lengths.values())) > 1:
        raise BadRowsError(f"Different numbers of rows: {lengths}. Pass one label, one {what} and one weight a row.")
    if not len(labels):
        raise BadRowsError("No rows. A metric needs at least one.")
    _refuse("weights", multiplicities, (multiplicities >= 0) & np.isfinite(multiplicities), "Weights are 0 or more.")
    if not multiplicities.any():
        raise BadRowsError("All weights are 0. A metric needs at least one row with a positive weight.")
    return Rows(labels, predicted, multiplicities)


def cluster_codes(clusters: ArrayLike, rows: int) -> tuple[Ints, int]:
    """Number the clusters from 0 in their own order; return the number of each row's cluster, and how many there are.

    Args:
        clusters: Cluster of each row: numbers, texts or times, none missing.
        rows: How many rows there are.

    Raises:
        BadRowsError: if a cluster is missing, of another type, or there is not one a row.

    Example:
        >>> codes, count = cluster_codes(["tue", "mon", "tue"], 3)
        >>> codes.tolist(), count
        ([1, 0, 1], 2)
    """
    column = np.asarray(clusters)
    if column.shape != (rows,):
        raise BadRowsError(f"clusters has shape {column.shape}, and there are {rows} rows. Pass one cluster a row.")
    missing: NDArray[np.bool_] = (column == None) | (column != column)  # noqa: E711, PLR0124  elementwise; only NaN and NaT differ from themselves
    if missing.any():
        raise BadRowsError(
            f"clusters is missing in row {int(np.argmax(missing))} ({int(missing.sum())} such rows). Name every row's cluster."
        )
    try:
        names, codes = np.unique(column, return_inverse=True)
    except TypeError as error:
        raise BadRowsError(
            f"clusters holds values that cannot be compared: {error}. Use one type for all rows."
        ) from error
    return codes.astype(np.int64), len(names)


def calibration_bins(p: Floats, weights: Floats, bins: int) -> Ints:
    """Bin of each row, 0 to bins - 1: bins of equal mass in the order of the probabilities, ties never divided.

    A value belongs to the bin in which the middle of its mass lies, so that the bins depend on nothing but the
    weighted distribution of the probabilities: not on the order of rows, nor on whether a row is repeated or weighted.

    Args:
        p: Probabilities, shape (rows,).
        weights: Multiplicities, shape (rows,).
        bins: Number of bins, at least 1. Fewer distinct probabilities leave bins empty.

    Example:
        >>> calibration_bins(np.array([0.9, 0.1, 0.1, 0.4]), np.ones(4), 2).tolist()
        [1, 0, 0, 1]
    """
    order = Ordered(p)
    return order.spread(bins_of_steps(order.by_step(weights), bins))


class Ordered:
    """Rows sorted by probability once, with rows of equal probability as one step."""

    def __init__(self, p: Floats) -> None:
        self._rows = np.argsort(p, kind="stable")
        ordered = p[self._rows]
        starts = np.empty(len(p), dtype=np.bool_)
        starts[0] = True
        np.not_equal(ordered[1:], ordered[:-1], out=starts[1:])
        self._starts = np.flatnonzero(starts)
        self._all_distinct = len(self._starts) == len(p)

    def by_step(self, values: Floats) -> Floats:
        """Sum values of rows over each step, in rising order of probability."""
        ordered = values[self._rows]
        return ordered if self._all_distinct else np.add.reduceat(ordered, self._starts)

    def spread(self, of_steps: Ints) -> Ints:
        """Give each row what its step has."""
        of_rows = np.empty(len(self._rows), dtype=np.int64)
        of_rows[self._rows] = np.repeat(of_steps, np.diff(self._starts, append=len(self._rows)))
        return of_rows


def bins_of_steps(mass: Floats, bins: int) -> Ints:
    """Bin of each step of `Ordered`, from the mass of the steps; see `calibration_bins`."""
    through = np.cumsum(mass)
    middle = 2 * through - mass
    bin_of: Ints = np.minimum(np.floor_divide(bins * middle, 2 * through[-1]), bins - 1).astype(np.int64)
    return bin_of


def bin_sums(values: Floats, bin_of: Ints, bins: int) -> Floats:
    """Sum values of rows over each bin, shape (bins,)."""
    sums: Floats = np.bincount(bin_of, weights=values, minlength=bins).astype(np.float64)
    return sums


def _column(name: str, values: ArrayLike) -> Floats:
    try:
        column: NDArray[Any] = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadRowsError(f"{name} does not hold numbers: {error}. Pass an array of shape (rows,).") from error
    if column.ndim != 1:
        raise BadRowsError(f"{name} has shape {column.shape}. Pass an array of shape (rows,).")
    return column


def _refuse(name: str, values: Floats, good: NDArray[np.bool_], rule: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise BadRowsError(f"{name} is {float(values[row])!r} in row {row} ({int((~good).sum())} such rows). {rule}")
