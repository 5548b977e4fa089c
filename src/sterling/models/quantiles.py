"""Quantiles: a model for each level, joined, and sorted where they cross.

Models of different levels are trained apart, so that for some rows a higher level's quantile comes out lower. Sorting the
numbers of a row never makes them worse: the sorted ones are at least as near to the true quantiles, at any distance.

References:
    Quantile regression: Koenker & Bassett (1978), Econometrica 46(1), 33–50; sorting: Chernozhukov, Fernández-Val &
    Galichon (2010), Econometrica 78(3), 1093–1125, proposition 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sterling.models.boosting import Earlier, fit_lightgbm, fit_shallow
from sterling.models.columns import Matrix
from sterling.models.logistic import fit_ridge
from sterling.models.predictors import Linear, Predictor
from sterling.models.rows import TrainingRows
from sterling.models.several import Constants, Joined
from sterling.project.tasks import Quantiles, Regression, level_name
from sterling.project.trainers import LightGBM, Ridge, ShallowTree


def fit_quantile_trees(
    trainer: LightGBM, rows: TrainingRows, threads: int
) -> tuple[Joined, dict[str, Any], Earlier | None]:
    """Boosted trees for each level, each with a number of trees of its own; what was found, and the earlier predictions.

    Raises:
        DataError: as `fit_lightgbm` does.
    """
    fitted = [fit_lightgbm(trainer, replace(rows, task=Quantiles((level,))), threads) for level in levels_of(rows)]
    joined = Joined(tuple(one.trees for one in fitted), "sorted")
    found: dict[str, Any] = {}
    if fitted[0].found:
        names = [level_name(level) for level in levels_of(rows)]
        trees = dict(zip(names, (one.found["trees"] for one in fitted), strict=True))
        found = fitted[0].found | {"trees": sum(trees.values()), "by_level": trees}
        if "loss" in found:
            found["loss"] = float(np.mean([one.found["loss"] for one in fitted]))
    if any(one.earlier is None for one in fitted):
        return joined, found, None
    before = np.column_stack([one.earlier.predicted for one in fitted if one.earlier is not None])
    found["crossed"] = crossed(before)
    assert fitted[0].earlier is not None
    return joined, found, Earlier(fitted[0].earlier.chosen, np.sort(before, axis=1))


def crossed(quantiles: Matrix) -> float:
    """Share of rows in which a quantile lies below that of a lower level, shape (rows, levels).

    Example:
        >>> crossed(np.array([[1.0, 2.0], [2.0, 1.0]]))
        0.5
    """
    return float((np.diff(quantiles, axis=1) < 0).any(axis=1).mean())


def unconditional(rows: TrainingRows) -> Constants:
    """The quantiles of the training labels, for every row."""
    return Constants(tuple(np.quantile(rows.label, levels_of(rows)).tolist()), "numbers")


def fit_quantile_ridge(trainer: Ridge, rows: TrainingRows) -> Joined:
    """The expected number by a linear model, and quantiles of its residuals on top: alike wide for every row."""
    line = fit_ridge(trainer, rows)
    residual = rows.label - line.predict(rows.matrix)
    parts: list[Predictor] = [
        Linear(line.intercept + float(shift), line.terms, "number") for shift in np.quantile(residual, levels_of(rows))
    ]
    return Joined(tuple(parts), "sorted")


def fit_quantile_leaves(trainer: ShallowTree, rows: TrainingRows, threads: int) -> Joined:
    """One tree of few leaves, which answer with the quantiles of their labels.

    Raises:
        DataError: if there is no feature.
    """
    plain = replace(rows, task=Regression())
    return Joined(
        tuple(
            fit_shallow(trainer, plain, threads, lambda label, level=level: float(np.quantile(label, level)))  # type: ignore[misc]
            for level in levels_of(rows)
        ),
        "sorted",
    )


def levels_of(rows: TrainingRows) -> tuple[float, ...]:
    """The levels that the rows' task asks for."""
    assert isinstance(rows.task, Quantiles)
    return tuple(rows.task.levels)
