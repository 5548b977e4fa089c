"""XGBoost: trained by the library, kept as a `Forest` whose sums, log odds or numbers, are its own, bit for bit."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import numpy as np

from sterling.core.errors import DataError, MissingExtraError
from sterling.models.boosting import directions
from sterling.models.columns import Matrix
from sterling.models.forest import LEAF, Forest, Tree
from sterling.models.lightgbm_library import let_waiting_threads_sleep
from sterling.models.rows import TrainingRows
from sterling.models.weights import Weights
from sterling.project.tasks import Binary
from sterling.project.trainers import XGBoost

_COMPARED = 2_000
"""Training rows on which the sums are compared with the library's."""


def fit_xgboost(trainer: XGBoost, rows: TrainingRows, weights: Weights) -> Forest:
    """Train on one thread, since its sums depend on how many there are.

    Raises:
        MissingExtraError: if XGBoost is not installed.
        DataError: if there is no feature, or the forest answers otherwise than the library.
    """
    let_waiting_threads_sleep()
    try:
        import xgboost as xgb
    except ImportError:
        raise MissingExtraError(
            "sl.XGBoost needs the extra 'xgboost'. Install it with: pip install 'sterling-ml[xgboost]'"
        ) from None
    if not rows.columns:
        raise DataError("XGBoost needs at least one feature.")
    condition = isinstance(rows.task, Binary)
    kinds = ["c" if column.kind == "category" else "q" for column in rows.columns]
    parameters: dict[str, Any] = {
        "objective": "binary:logistic" if condition else "reg:squarederror", "tree_method": "hist", "nthread": 1, "seed": rows.seed, "verbosity": 0,
        "max_depth": trainer.depth, "learning_rate": trainer.learning_rate, "lambda": trainer.l2,
        "min_child_weight": trainer.min_child_weight, "colsample_bytree": trainer.feature_fraction,
        "subsample": trainer.bagging_fraction,
    }  # fmt: skip
    if trainer.monotone:
        parameters["monotone_constraints"] = tuple(directions(trainer.monotone, rows, "XGBoost"))

    mean = float(np.average(rows.label, weights=weights.rows))
    start = math.log(mean / (1 - mean)) if condition else mean
    base = float(np.float32(start))  # where trees start from, in our rounding and not the library's

    def table(matrix: Matrix, label: Any = None, weight: Any = None) -> Any:
        margin = np.full(len(matrix), base, dtype=np.float32)
        return xgb.DMatrix(
            matrix, label, weight=weight, base_margin=margin, feature_types=kinds, enable_categorical=True, nthread=1
        )

    booster = xgb.train(parameters, table(rows.matrix, rows.label, weights.rows), trainer.trees)
    forest = _forest(json.loads(bytes(booster.save_raw("json"))), base, "logit" if condition else "sum")
    some = rows.matrix[:: max(1, len(rows.matrix) // _COMPARED)]
    theirs = booster.predict(table(some), output_margin=True)
    if not np.array_equal(forest.sums(some), theirs):
        worst = float(np.abs(forest.sums(some) - theirs).max())
        raise DataError(
            f"The trees of XGBoost {xgb.__version__} as data answer otherwise than the library, by up to {worst:g} in {'log odds' if condition else 'the number'}. "
            "Use sl.LightGBM, or an XGBoost that Sterling was tested with: 3.0 to 3.2."
        )
    return forest


def _forest(document: dict[str, Any], base: float, link: Literal["logit", "sum"]) -> Forest:
    trees = document["learner"]["gradient_booster"]["model"]["trees"]
    return Forest(tuple(map(_tree, trees)), single=True, strict=True, base=base, link=link)


def _tree(found: dict[str, Any]) -> Tree:
    """A tree with its nodes in an order in which children follow their parents."""
    order = [0]
    for node in order:
        if found["left_children"][node] != LEAF:
            order += [found["left_children"][node], found["right_children"][node]]
    place = {node: number for number, node in enumerate(order)} | {LEAF: LEAF}
    sets: dict[int, tuple[int, ...]] = {}
    for node, start, size in zip(
        found["categories_nodes"], found["categories_segments"], found["categories_sizes"], strict=True
    ):
        sets[node] = tuple(found["categories"][start : start + size])
    leaf = {node: found["left_children"][node] == LEAF for node in order}
    compared = {node: not leaf[node] and node not in sets for node in order}
    return Tree(
        tuple(0 if leaf[node] else found["split_indices"][node] for node in order),
        tuple(float(np.float32(found["split_conditions"][node])) if compared[node] else 0.0 for node in order),
        tuple(place[found["left_children"][node]] for node in order),
        tuple(place[found["right_children"][node]] for node in order),
        tuple(bool(found["default_left"][node]) for node in order),
        tuple(float(np.float32(found["split_conditions"][node])) if leaf[node] else 0.0 for node in order),
        tuple(sets.get(node) for node in order),
    )
