"""How much each training row counts, and how probabilities are led back where positives were made to count more."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError
from sterling.models.expression import compiled, computed
from sterling.models.rows import TrainingRows


class Weights(NamedTuple):
    """Weights of rows.

    Attributes:
        rows: Shape (rows,), not negative; None where every row counts alike.
        shift: What the weight of positives adds to the log odds, to be taken off again; 0 for none.
    """

    rows: NDArray[np.float64] | None
    shift: float


def weights_of(
    rows: TrainingRows, *, weight: str | None, positive_weight: float | Literal["balanced"] | None
) -> Weights:
    """The weights that a trainer asks for.

    Training on positives that count w times gives w times the odds, so log w is what there is to take off.

    Args:
        rows: The rows.
        weight: SQL over features.
        positive_weight: Weight of a positive row, or ``"balanced"``.

    Raises:
        DataError: if a weight is null or negative, or all are 0.

    References:
        Elkan (2001), The foundations of cost-sensitive learning, IJCAI, theorem 2; King & Zeng (2001), Logistic
        regression in rare events data, Political Analysis 9(2), eq. 7.
    """
    found = None if weight is None else _by_expression(rows, weight)
    if positive_weight is None:
        return Weights(found, 0.0)
    counts = np.ones(len(rows.label)) if found is None else found
    positive, negative = float(counts[rows.label == 1].sum()), float(counts[rows.label == 0].sum())
    if positive_weight == "balanced" and not (positive > 0 and negative > 0):
        raise DataError("positive_weight is 'balanced', and the rows of one class weigh nothing together.")
    times = negative / positive if positive_weight == "balanced" else positive_weight
    return Weights(np.where(rows.label == 1, times * counts, counts), math.log(times))


def _by_expression(rows: TrainingRows, sql: str) -> NDArray[np.float64]:
    found = np.array(computed(compiled(sql, rows.columns, place="weight"), rows.matrix), dtype=np.float64)
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        shown = "null" if np.isnan(found[wrong][0]) else f"{found[wrong][0]:g}"
        raise DataError(
            f"The weight {sql!r} is {shown} in {int(wrong.sum()):,} of {len(found):,} training rows. A weight is a number "
            "of 0 or more: coalesce(…, 1) says what counts where it is null."
        )
    if not found.any():
        raise DataError(f"The weight {sql!r} is 0 in every training row.")
    return found
