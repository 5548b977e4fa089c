"""LightGBM: finds how many trees help on the last part of the rows, then trains that many on all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError, nearest
from sterling.models.expression import compiled, computed
from sterling.models.lightgbm_library import let_waiting_threads_sleep
from sterling.models.rows import TrainingRows
from sterling.models.trees import Trees
from sterling.models.weights import weights_of
from sterling.project.tasks import Binary, Multiclass, Quantiles, Task
from sterling.project.trainers import LightGBM, ShallowTree
from sterling.stats.pinball import row_pinball

FEWEST_JUDGED = 200
"""Fewer validation rows than this say nothing of the number of trees."""
WITHOUT_VALIDATION = 200
"""Trees where there are too few rows to find their number."""
SMALLEST = 1e-15
"""Probabilities nearer to 0 or 1 than this have no larger log loss."""


class Earlier(NamedTuple):
    """What a model that did not see the newest labels says of their rows.

    Attributes:
        chosen: Shape (rows,), which of the training rows they are.
        predicted: Their probabilities, in order; shape (rows, classes) where there are several.
    """

    chosen: NDArray[np.bool_]
    predicted: NDArray[np.float64]


class Fitted(NamedTuple):
    """Trees, and how their number was found.

    Attributes:
        trees: The model.
        shift: What weights of positives added to the log odds.
        found: How their number was found, as JSON; empty where it was given.
        earlier: Predictions of the last rows by the trees that did not see them; None where there are none.
    """

    trees: Trees
    shift: float
    found: dict[str, Any]
    earlier: Earlier | None


def fit_lightgbm(trainer: LightGBM, rows: TrainingRows, threads: int) -> Fitted:
    """Train, finding the number of trees where it is not given.

    Raises:
        DataError: if there is no feature, or a weight, group or direction does not fit.
    """
    if not rows.columns:
        raise DataError("LightGBM needs at least one feature.")
    weights = weights_of(rows, weight=trainer.weight, positive_weight=trainer.positive_weight)
    parameters = _parameters(trainer, rows, threads)
    if trainer.trees is not None:
        return Fitted(_train(parameters, rows, weights.rows, trainer.trees), weights.shift, {}, None)
    parts = validation_parts(rows, trainer.validation, trainer.group)
    if isinstance(parts, str):
        trees = min(trainer.most_trees, WITHOUT_VALIDATION)
        found = {"trees": trees, "reason": parts}
        return Fitted(_train(parameters, rows, weights.rows, trees), weights.shift, found, None)
    count, loss, predicted = _find(trainer, parameters, rows, weights.rows, parts)
    found = {
        "trees": count, "loss": loss, "train_rows": int(parts.train.sum()), "rows": int(parts.judged.sum()),
        "most_trees": trainer.most_trees, "patience": trainer.patience,
    }  # fmt: skip
    earlier = Earlier(parts.judged, predicted)
    return Fitted(_train(parameters, rows, weights.rows, count), weights.shift, found, earlier)


def fit_shallow(
    trainer: ShallowTree, rows: TrainingRows, threads: int, answer: Callable[[NDArray[np.float64]], float] | None = None
) -> Trees:
    """One tree, whose leaves answer with their means; shares are drawn in by half a row of each label.

    Args:
        trainer: The tree's size.
        rows: What to train on.
        threads: Threads of the training.
        answer: What a leaf answers, of its labels; None for the mean.

    Raises:
        DataError: if there is no feature.
    """
    if not rows.columns:
        raise DataError("ShallowTree needs at least one feature.")
    several = isinstance(rows.task, Multiclass)
    same = LightGBM(
        trees=1, leaves=trainer.leaves, min_rows_per_leaf=trainer.min_rows_per_leaf, learning_rate=1.0,
        feature_fraction=1.0, bagging_fraction=1.0, l2=0.0, category_smoothing=50.0,
    )  # fmt: skip
    booster = _booster(_parameters(same, rows, threads), rows, None, 1)
    if several:
        return _shares_of_classes(booster, rows, threads)
    leaves = np.asarray(booster.predict(rows.matrix, pred_leaf=True, num_threads=threads)).ravel().astype(np.int64)
    if answer is not None:
        for leaf in np.unique(leaves):
            booster.set_leaf_output(0, int(leaf), answer(rows.label[leaves == leaf]))
        return Trees(booster.model_to_string())
    counts, sums = np.bincount(leaves), np.bincount(leaves, weights=rows.label)
    for leaf in np.flatnonzero(counts):
        if not isinstance(rows.task, Binary):
            booster.set_leaf_output(0, int(leaf), float(sums[leaf] / counts[leaf]))
            continue
        odds = (sums[leaf] + 0.5) / (counts[leaf] - sums[leaf] + 0.5)
        booster.set_leaf_output(0, int(leaf), float(np.log(odds)))
    return Trees(booster.model_to_string())


def _shares_of_classes(booster: Any, rows: TrainingRows, threads: int) -> Trees:
    """A tree for each class against the rest, whose leaves answer with the log of the class's share; softmax makes them sum to 1."""
    size = len(rows.outputs)
    leaves = np.asarray(booster.predict(rows.matrix, pred_leaf=True, num_threads=threads)).reshape(len(rows.label), -1)
    for place in range(size):
        of = leaves[:, place].astype(np.int64)
        counts, ours = np.bincount(of), np.bincount(of, weights=rows.label == place)
        for leaf in np.flatnonzero(counts):
            share = (ours[leaf] + 0.5) / (counts[leaf] + 0.5 * size)
            booster.set_leaf_output(place, int(leaf), float(np.log(share)))
    return Trees(booster.model_to_string())


class Parts(NamedTuple):
    """Rows that a number is found on, each of shape (rows,)."""

    train: NDArray[np.bool_]
    """Rows whose label was known before the judged part begins."""
    judged: NDArray[np.bool_]
    """The last rows."""


def validation_parts(rows: TrainingRows, share: float, group: str | None = None) -> Parts | str:
    """The last rows, and those before them that a training at their first moment could have used.

    Args:
        rows: In the order of their prediction.
        share: Share of the rows that is judged, in (0, 0.5].
        group: SQL over features; rows that share its value with a judged row are not trained on.

    Returns:
        The parts, or why there are none.

    Example:
        >>> rows = TrainingRows((), np.empty((1000, 0)), np.arange(1000.0) % 2, seed=0, predict_at=np.arange(1000),
        ...                     matured_at=np.arange(1000) + 50)
        >>> parts = validation_parts(rows, 0.2)
        >>> int(parts.train.sum()), int(parts.judged.sum())
        (750, 200)
    """
    count = len(rows.label)
    at = np.arange(count) if rows.predict_at is None else rows.predict_at
    matured = at if rows.matured_at is None else rows.matured_at
    start = at[max(count - int(count * share), 0) - (1 if int(count * share) == 0 else 0)]
    judged = at >= start
    train = (at < start) & (matured < start)
    if group is not None:
        named = computed(compiled_group(group, rows), rows.matrix)
        train &= ~np.isin(named, named[judged & ~np.isnan(named)])
    for name, part in (("validation", judged), ("earlier", train)):
        if part.sum() < FEWEST_JUDGED:
            return f"only {int(part.sum())} {name} rows with a label that was known in time"
        if (rows.label[part] == rows.label[part][0]).all():
            return f"all {name} rows have the label {rows.label[part][0]:g}"
    return Parts(train, judged)


def compiled_group(group: str, rows: TrainingRows) -> list[Any]:
    """A group key as a tree; a text feature alone stands for its places."""
    for place, column in enumerate(rows.columns):
        if column.name == group.strip():
            return ["column", place]
    return compiled(group, rows.columns, place="group")


def log_losses(label: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log loss of each row.

    Example:
        >>> log_losses(np.array([1.0, 0.0]), np.array([0.5, 0.5])).round(4).tolist()
        [0.6931, 0.6931]
    """
    right = np.where(label == 1, predicted, 1 - predicted)
    losses: NDArray[np.float64] = -np.log(np.maximum(right, SMALLEST))
    return losses


def losses_of(task: Task, label: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log loss of each row, or its squared error where the label is a number; predictions of classes are (rows, classes)."""
    if isinstance(task, Multiclass):
        right = predicted.reshape(len(label), -1)[np.arange(len(label)), label.astype(np.int64)]
        losses: NDArray[np.float64] = -np.log(np.maximum(right, SMALLEST))
        return losses
    if isinstance(task, Quantiles):
        return row_pinball(label, predicted.reshape(len(label), -1), task.levels)
    return log_losses(label, predicted) if isinstance(task, Binary) else np.square(label - predicted)


def _find(
    trainer: LightGBM,
    parameters: dict[str, Any],
    rows: TrainingRows,
    weights: NDArray[np.float64] | None,
    parts: Parts,
) -> tuple[int, float, NDArray[np.float64]]:
    """Number of trees, the loss there, and what they say of the judged rows.

    The loss is computed here, since LightGBM sums its own in as many parts as there are threads.
    """
    let_waiting_threads_sleep()
    import lightgbm as lgb

    label = rows.label[parts.judged]
    counts = np.ones(len(label)) if weights is None else weights[parts.judged]
    if not counts.any():
        raise DataError("The validation rows weigh nothing together. Give LightGBM trees=, or them a weight.")

    def loss(predicted: NDArray[np.float64], _: object) -> tuple[str, float, bool]:
        return "loss", float(np.average(losses_of(rows.task, label, predicted), weights=counts)), False

    train = _dataset(parameters, rows.take(parts.train), None if weights is None else weights[parts.train])
    judged = lgb.Dataset(rows.matrix[parts.judged], label, reference=train, params=parameters)
    stop = lgb.early_stopping(trainer.patience, verbose=False)
    booster = lgb.train(
        parameters | {"metric": "None"}, train, trainer.most_trees, valid_sets=[judged], feval=loss, callbacks=[stop]
    )
    count = booster.best_iteration or booster.current_iteration()
    predicted = Trees(booster.model_to_string(num_iteration=count)).predict(rows.matrix[parts.judged])
    return count, float(np.average(losses_of(rows.task, label, predicted), weights=counts)), predicted


def _train(parameters: dict[str, Any], rows: TrainingRows, weights: NDArray[np.float64] | None, trees: int) -> Trees:
    return Trees(_booster(parameters, rows, weights, trees).model_to_string())


def _booster(parameters: dict[str, Any], rows: TrainingRows, weights: NDArray[np.float64] | None, trees: int) -> Any:
    let_waiting_threads_sleep()
    import lightgbm as lgb

    return lgb.train(parameters, _dataset(parameters, rows, weights), num_boost_round=trees)


def _dataset(parameters: dict[str, Any], rows: TrainingRows, weights: NDArray[np.float64] | None) -> Any:
    import lightgbm as lgb

    categorical = list(rows.categorical)
    return lgb.Dataset(rows.matrix, rows.label, weight=weights, categorical_feature=categorical, params=parameters)


def _objective(task: Task) -> dict[str, Any]:
    match task:
        case Binary():
            return {"objective": "binary"}
        case Multiclass(classes=classes):
            return {"objective": "multiclass", "num_class": len(classes)}
        case Quantiles(levels=levels):
            (level,) = levels  # a model is of one level
            return {"objective": "quantile", "alpha": level}
        case _:
            return {"objective": "regression"}


def _parameters(trainer: LightGBM, rows: TrainingRows, threads: int) -> dict[str, Any]:
    trainer = trainer.settled(len(rows.label))
    found: dict[str, Any] = {
        **_objective(rows.task), "deterministic": True, "force_col_wise": True, "seed": rows.seed,
        "num_threads": threads, "verbosity": -1, "num_leaves": trainer.leaves, "learning_rate": trainer.learning_rate,
        "min_data_in_leaf": trainer.min_rows_per_leaf, "feature_fraction": trainer.feature_fraction,
        "bagging_fraction": trainer.bagging_fraction, "bagging_freq": 1, "lambda_l2": trainer.l2,
        "cat_smooth": trainer.category_smoothing,
    }  # fmt: skip
    if trainer.monotone:
        found["monotone_constraints"] = directions(trainer.monotone, rows, "LightGBM")
    return found


def directions(monotone: dict[str, int], rows: TrainingRows, trainer: str) -> list[int]:
    """The direction of each feature, 0 for any.

    Raises:
        DataError: if a feature is not there, or is a category, which has no order.
    """
    for name in monotone:
        if name not in rows.names:
            raise DataError(f"{trainer}.monotone names {name!r}, which is no feature. {nearest(name, rows.names)}")
        if rows.columns[rows.names.index(name)].kind == "category":
            raise DataError(f"{trainer}.monotone names {name!r}, a category, which has no order. Name numbers alone.")
    return [monotone.get(name, 0) for name in rows.names]
