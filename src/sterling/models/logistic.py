"""Logistic and ridge regression on standardised numbers and one-hot categories, with a weight of its own for what is missing."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError
from sterling.models.blas import one_blas_thread
from sterling.models.columns import Column, Matrix
from sterling.models.predictors import CategoryTerm, Linear, Number, NumberTerm
from sterling.models.rows import TrainingRows
from sterling.models.several import Joined
from sterling.project.recipe import Logistic, Ridge

_MOST_ITERATIONS = 1_000
_LEAST_PENALTY = 1e-8
"""Keeps columns that say the same from having no one solution."""
_NEVER = -100.0
"""The sum of a class without a training row, whose probability is then next to nothing."""


def fit_logistic(trainer: Logistic, rows: TrainingRows, weights: NDArray[np.float64] | None = None) -> Linear:
    """Fit by L-BFGS on one BLAS thread, whose number the last bits of the weights depend on.

    Raises:
        DataError: if it does not converge.
    """
    blocks = _blocks(rows, "Logistic")
    model = _solved(trainer, blocks, rows, weights)
    return Linear(float(model.intercept_[0]), _terms(blocks, model.coef_[0]))


def fit_multinomial(trainer: Logistic, rows: TrainingRows, weights: NDArray[np.float64] | None = None) -> Joined:
    """A sum for each class, joined by softmax; fitted as `fit_logistic` does, on the classes that the rows have.

    Raises:
        DataError: if it does not converge.

    References:
        Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, eq. 4.18, with every class its own sum.
    """
    blocks = _blocks(rows, "Logistic")
    model = _solved(trainer, blocks, rows, weights)
    intercepts, coefficients = model.intercept_, model.coef_
    if len(model.classes_) == 2:  # one sum says it, that of the second class against the first
        intercepts, coefficients = np.r_[0.0, intercepts], np.vstack([np.zeros_like(coefficients), coefficients])
    parts: list[Linear | Number] = [Number(_NEVER)] * len(rows.outputs)
    for place, intercept, row in zip(model.classes_.astype(int).tolist(), intercepts, coefficients, strict=True):
        parts[place] = Linear(float(intercept), _terms(blocks, row), "number")
    return Joined(tuple(parts), "softmax")


def _solved(
    trainer: Logistic, blocks: list[_Numbers | _Categories], rows: TrainingRows, weights: NDArray[np.float64] | None
) -> Any:
    import scipy.sparse as sp
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=trainer.c, max_iter=_MOST_ITERATIONS)
    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(sp.hstack([block.design for block in blocks], format="csr"), rows.label, weights)
        except ConvergenceWarning:
            raise DataError(f"Logistic did not converge in {_MOST_ITERATIONS} steps. Lower c={trainer.c:g}.") from None
    return model


def fit_ridge(trainer: Ridge, rows: TrainingRows) -> Linear:
    """Fit by Cholesky on one BLAS thread; the intercept is not penalised.

    References:
        Hoerl & Kennard (1970), Technometrics 12(1), eq. 2.1.
    """
    import scipy.sparse as sp
    from scipy.linalg import cho_factor, cho_solve

    blocks = _blocks(rows, "Ridge")
    design = sp.hstack(
        [sp.csr_matrix(np.ones((len(rows.label), 1))), *(block.design for block in blocks)], format="csr"
    )
    penalty = np.full(design.shape[1], max(trainer.strength, _LEAST_PENALTY))
    penalty[0] = 0.0
    with one_blas_thread():
        gram = (design.T @ design).toarray() + np.diag(penalty)
        weights = cho_solve(cho_factor(gram, lower=True), np.asarray(design.T @ rows.label))
    return Linear(float(weights[0]), _terms(blocks, weights[1:]), "number")


def _blocks(rows: TrainingRows, name: str) -> list[_Numbers | _Categories]:
    if not rows.columns:
        raise DataError(f"{name} needs at least one feature.")
    return [_block(column, rows.matrix[:, place]) for place, column in enumerate(rows.columns)]


def _terms(blocks: list[_Numbers | _Categories], weights: NDArray[np.float64]) -> tuple[NumberTerm | CategoryTerm, ...]:
    ends = np.cumsum([block.design.shape[1] for block in blocks])
    return tuple(b.term(w) for b, w in zip(blocks, np.split(weights, ends[:-1]), strict=True))


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
