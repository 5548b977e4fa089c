"""Logistic regression on standardised numbers and one-hot categories, with a weight of its own for what is missing."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError
from sterling.models.blas import one_blas_thread
from sterling.models.columns import Column, Matrix
from sterling.models.predictors import CategoryTerm, Linear, NumberTerm
from sterling.models.rows import TrainingRows
from sterling.project.recipe import Logistic

_MOST_ITERATIONS = 1_000


def fit_logistic(trainer: Logistic, rows: TrainingRows, weights: NDArray[np.float64] | None = None) -> Linear:
    """Fit by L-BFGS on one BLAS thread, whose number the last bits of the weights depend on.

    Raises:
        DataError: if it does not converge.
    """
    import scipy.sparse as sp
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if not rows.columns:
        raise DataError("Logistic needs at least one feature.")
    blocks = [_block(column, rows.matrix[:, place]) for place, column in enumerate(rows.columns)]
    model = LogisticRegression(C=trainer.c, max_iter=_MOST_ITERATIONS)
    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(sp.hstack([block.design for block in blocks], format="csr"), rows.label, weights)
        except ConvergenceWarning:
            raise DataError(f"Logistic did not converge in {_MOST_ITERATIONS} steps. Lower c={trainer.c:g}.") from None
    ends = np.cumsum([block.design.shape[1] for block in blocks])
    parts = np.split(model.coef_[0], ends[:-1])
    return Linear(float(model.intercept_[0]), tuple(b.term(w) for b, w in zip(blocks, parts, strict=True)))


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A number's part of the design: its standard score, then 1 where it is missing, if it ever is."""

    design: Any
    center: float
    scale: float

    def term(self, weights: NDArray[np.float64]) -> NumberTerm:
        return NumberTerm(self.center, self.scale, float(weights[0]), float(weights[1]) if len(weights) > 1 else 0.0)


@dataclass(frozen=True, slots=True)
class _Categories:
    """A category's part of the design: a column for each category, then one for missing, if it ever is."""

    design: Any
    count: int

    def term(self, weights: NDArray[np.float64]) -> CategoryTerm:
        values = weights.tolist()
        return CategoryTerm(tuple(values[: self.count]), values[self.count] if len(values) > self.count else 0.0)


def _block(column: Column, values: Matrix) -> _Numbers | _Categories:
    import scipy.sparse as sp

    missing = np.isnan(values)
    if column.kind == "category":
        count = len(column.categories)
        places = np.where(missing, count, values).astype(np.int64)
        shape = (len(values), count + bool(missing.any()))
        return _Categories(sp.csr_matrix((np.ones(len(values)), (np.arange(len(values)), places)), shape=shape), count)
    seen = values[~missing]
    center = float(seen.mean()) if len(seen) else 0.0
    scale = (float(seen.std()) if len(seen) else 0.0) or 1.0
    score = np.where(missing, 0.0, (values - center) / scale)
    return _Numbers(sp.csr_matrix(np.column_stack([score, missing] if missing.any() else [score])), center, scale)
