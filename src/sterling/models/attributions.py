"""Attributions: what each feature adds to the log odds, or the number, of a row, so that they sum to the answer.

Of trees they are Shapley values of the game in which a feature that is left out is averaged over by the training rows that
reached each node (TreeSHAP, path-dependent), computed by LightGBM; of a linear model its terms, less their means over
rows of reference where such are given. They explain what the model does and not what causes the label.

References:
    Lundberg, Erion, Chen et al. (2020), Nature Machine Intelligence 2, 56–67, algorithm 2; linear models: Lundberg & Lee
    (2017), NeurIPS, corollary 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sterling.core.errors import DataError
from sterling.models.calibrated import innermost
from sterling.models.columns import Matrix
from sterling.models.model import Model
from sterling.models.predictors import Constant, Linear, Number
from sterling.models.trees import Trees


class Attributions(NamedTuple):
    """Log odds, or numbers, of some rows, by feature."""

    base: float
    """What is answered before any feature is looked at."""
    values: Matrix
    """What each feature adds, shape (rows, columns), in the order of the model's columns."""

    @property
    def total(self) -> Matrix:
        """The base and what all features add, shape (rows,): log odds of a probability, or the number that is answered."""
        total: Matrix = self.base + self.values.sum(axis=1)
        return total


def attributions(model: Model, matrix: Matrix, *, reference: Matrix | None = None) -> Attributions:
    """What each feature adds to the log odds, or the number, of each row; to those before a calibration curve, if any.

    Args:
        model: The model.
        matrix: Rows as the model's columns encode them, shape (rows, columns).
        reference: Rows whose mean contribution is the base of a linear model; by default its intercept is the base.
            Trees bring their own.

    Raises:
        DataError: if the model is of a kind that has none here.

    Example:
        >>> from sterling.models import Column, NumberTerm
        >>> model = Model((Column("wind", "number"),), Linear(-1.0, (NumberTerm(10, 5, 2.0, 0.0),)))
        >>> found = attributions(model, np.array([[15.0], [10.0]]))
        >>> found.base, found.values.tolist(), found.total.tolist()
        (-1.0, [[2.0], [0.0]], [1.0, -1.0])
    """
    if model.outputs:
        raise DataError(f"Attributions add up to one number, and the model answers with {len(model.outputs)}.")
    predictor = innermost(model.predictor)
    match predictor:
        case Constant():
            inside = np.clip(predictor.probability, 1e-15, 1 - 1e-15)
            return Attributions(float(np.log(inside / (1 - inside))), np.zeros(matrix.shape))
        case Number():
            return Attributions(predictor.value, np.zeros(matrix.shape))
        case Trees():
            found = predictor.contributions(matrix)
            return Attributions(float(found[0, -1]) if len(found) else 0.0, found[:, :-1])
        case Linear():
            found = predictor.contributions(matrix)[:, :-1]
            if reference is None:
                return Attributions(predictor.intercept, found)
            means = predictor.contributions(reference)[:, :-1].mean(axis=0)
            return Attributions(predictor.intercept + float(means.sum()), found - means)
        case _:
            raise DataError(f"A {type(predictor).__name__} has no attributions.")
