"""A quick model on a sample, to see what some columns tell together; it is no candidate and nothing of it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.processors import available_threads
from sterling.models.columns import Matrix
from sterling.models.lightgbm_library import let_waiting_threads_sleep

Rows = NDArray[np.bool_]


def quick_scores(
    matrix: Matrix,
    label: NDArray[np.float64],
    fit: Rows,
    judged: Rows,
    *,
    categorical: Sequence[int] = (),
    additive: bool = False,
    thorough: bool = False,
    seed: int = 0,
    classes: int = 0,
) -> NDArray[np.float64]:
    """Scores of some rows by boosted trees that others trained.

    Args:
        matrix: Shape (rows, columns); NaN where missing, categories as whole numbers.
        label: Shape (rows,): 0 and 1, or numbers.
        fit: The rows that train.
        judged: The rows that are scored.
        categorical: Places of the categories.
        additive: Trees of one split each, so that no two columns act together.
        thorough: More and larger trees, for many rows.
        seed: Seed of everything random.
        classes: How many classes the labels are places of; 0 where they are none.

    Returns:
        Shape (judged rows,): the probability of 1, or the expected number; (judged rows, classes) of classes.
    """
    known = label[fit]
    if classes and (matrix.shape[1] == 0 or len(known) < 20):
        return np.tile(np.bincount(known.astype(np.int64), minlength=classes) / len(known), (int(judged.sum()), 1))
    if matrix.shape[1] == 0 or len(known) < 20 or (known == known[0]).all():
        return np.full(int(judged.sum()), float(known.mean()) if len(known) else 0.0)
    let_waiting_threads_sleep()
    import lightgbm as lgb

    least = min(100, max(3, len(known) // 50))
    parameters: dict[str, Any] = {
        **_objective(known, classes), "deterministic": True,
        "force_col_wise": True, "seed": seed, "num_threads": available_threads(), "verbosity": -1,
        "num_leaves": 2 if additive else 63 if thorough else 15, "learning_rate": 0.2 if additive or thorough else 0.15, "min_data_in_leaf": least,
        "feature_fraction": 1.0 if thorough else 0.7, "lambda_l2": 1.0, "max_bin": 255 if thorough else 63, "cat_smooth": 20.0, "feature_pre_filter": False,
    }  # fmt: skip
    data = lgb.Dataset(matrix[fit], known, categorical_feature=list(categorical), params=parameters)
    booster = lgb.train(parameters, data, num_boost_round=60 if additive or thorough else 40)
    scores: NDArray[np.float64] = np.asarray(booster.predict(matrix[judged]), np.float64)
    return scores


def _objective(known: NDArray[np.float64], classes: int) -> dict[str, Any]:
    if classes:
        return {"objective": "multiclass", "num_class": classes}
    return {"objective": "binary" if set(np.unique(known)) <= {0.0, 1.0} else "regression"}
