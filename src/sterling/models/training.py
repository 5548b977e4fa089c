"""Training: from a recipe's trainer and rows to a model, the same bytes from the same rows every time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sterling.core.errors import InvalidDefinitionError
from sterling.core.processors import free_threads
from sterling.models.answers import Answers
from sterling.models.blas import blas_kernels
from sterling.models.boosting import Earlier, Fitted, fit_lightgbm, fit_shallow
from sterling.models.calibrated import shift_curve, shifted
from sterling.models.ensemble import fit_ensemble
from sterling.models.logistic import fit_logistic, fit_multinomial, fit_ridge
from sterling.models.model import Model
from sterling.models.predictors import Constant, Number, Predictor
from sterling.models.quantiles import fit_quantile_leaves, fit_quantile_ridge, fit_quantile_trees, unconditional
from sterling.models.rows import TrainingRows
from sterling.models.rule import fit_rule
from sterling.models.several import Constants
from sterling.models.sklearn_trees import fit_sklearn
from sterling.models.weights import weights_of
from sterling.models.xgboost_trees import fit_xgboost
from sterling.project.recipe import (
    Custom,
    Ensemble,
    LightGBM,
    Logistic,
    Prior,
    Ridge,
    Rule,
    ShallowTree,
    Sklearn,
    Trainer,
    XGBoost,
)
from sterling.project.tasks import Binary, Multiclass, Quantiles, Task


class Trained(NamedTuple):
    """A model, and what its training found on the way.

    Attributes:
        model: The model.
        found: How its size was found, as JSON; empty where it was given.
        earlier: What a model that did not see the newest labels says of their rows; None where there is none.
    """

    model: Model
    found: dict[str, Any]
    earlier: Earlier | None


def fit(trainer: Trainer, rows: TrainingRows, *, threads: int | None = None) -> Model:
    """Train.

    Args:
        trainer: What the recipe says.
        rows: What to train on; the labels differ.
        threads: Threads that trees are trained on, by default those that nothing else keeps busy; the model does not depend on them.

    Raises:
        DataError: if the rows do not suffice.
        InvalidDefinitionError: if a project's own trainer returns something else than a predictor.

    Example:
        >>> import numpy as np
        >>> rows = TrainingRows((), np.empty((4, 0)), np.array([0.0, 0.0, 0.0, 1.0]), seed=0)
        >>> fit(Prior(), rows).predictor
        Constant(probability=0.25)
    """
    return train(trainer, rows, threads=threads).model


def train(trainer: Trainer, rows: TrainingRows, *, threads: int | None = None) -> Trained:
    """Train as `fit` does, and say what was found on the way."""
    if isinstance(rows.task, Quantiles) and len(rows.task.levels) > 1:
        return _quantiles(trainer, rows, threads or free_threads())
    if isinstance(trainer, LightGBM | Ensemble):
        fitted = _boosted(trainer, rows, threads or free_threads())
        return Trained(
            Model(rows.columns, shifted(fitted.trees, fitted.shift), rows.outputs), fitted.found, _earlier(fitted)
        )
    return Trained(Model(rows.columns, _predictor(trainer, rows, threads), rows.outputs), {}, None)


def _boosted(trainer: LightGBM | Ensemble, rows: TrainingRows, threads: int) -> Fitted:
    return (
        fit_ensemble(trainer, rows, threads) if isinstance(trainer, Ensemble) else fit_lightgbm(trainer, rows, threads)
    )


def _quantiles(trainer: Trainer, rows: TrainingRows, threads: int) -> Trained:
    match trainer:
        case LightGBM():
            joined, found, earlier = fit_quantile_trees(trainer, rows, threads)
            return Trained(Model(rows.columns, joined, rows.outputs), found, earlier)
        case Prior():
            predictor: Predictor = unconditional(rows)
        case Ridge():
            predictor = fit_quantile_ridge(trainer, rows)
        case ShallowTree():
            predictor = fit_quantile_leaves(trainer, rows, threads)
        case _:
            assert isinstance(trainer, Custom)
            predictor = _own(trainer, rows)
    return Trained(Model(rows.columns, predictor, rows.outputs), {}, None)


def kernel(trainer: Trainer) -> str | None:
    """The BLAS that a training goes through, on whose rounding its last bits depend; None where it uses none."""
    return blas_kernels() if isinstance(trainer, Logistic | Ridge | Sklearn) else None


def _predictor(trainer: Trainer, rows: TrainingRows, threads: int | None) -> Predictor:
    match trainer:
        case Prior():
            return _prior(rows)
        case Ridge():
            return fit_ridge(trainer, rows)
        case Rule():
            return fit_rule(trainer, rows)
        case Logistic() | XGBoost() | Sklearn():
            return _weighted(trainer, rows)
        case ShallowTree():
            return fit_shallow(trainer, rows, threads or free_threads())
        case _:
            assert isinstance(trainer, Custom)
            return _own(trainer, rows)


def _prior(rows: TrainingRows) -> Predictor:
    match rows.task:
        case Binary():
            return Constant(float(rows.label.mean()))
        case Multiclass(classes=classes):
            counts = np.bincount(rows.label.astype(np.int64), minlength=len(classes))
            return Constants(tuple((counts / len(rows.label)).tolist()))
        case _:
            return Number(float(rows.label.mean()))


def _weighted(trainer: Logistic | XGBoost | Sklearn, rows: TrainingRows) -> Predictor:
    weights = weights_of(rows, weight=trainer.weight, positive_weight=trainer.positive_weight)
    match trainer:
        case Logistic() if isinstance(rows.task, Multiclass):
            return fit_multinomial(trainer, rows, weights.rows)
        case Logistic():
            return shifted(fit_logistic(trainer, rows, weights.rows), weights.shift)
        case XGBoost():
            return shifted(fit_xgboost(trainer, rows, weights), weights.shift)
        case Sklearn():
            return shifted(fit_sklearn(trainer, rows, weights), weights.shift)


def _own(trainer: Custom, rows: TrainingRows) -> Predictor:
    predictor: Predictor = trainer.trainer.fit(rows)
    if (found := getattr(predictor, "answers", None)) not in (None, answers_of(rows.task)):
        raise InvalidDefinitionError(
            f"{trainer.name!r} answers with a {found}, and the task asks for a {answers_of(rows.task)}."
        )
    return predictor


def answers_of(task: Task) -> Answers:
    """What a model of a task answers with."""
    match task:
        case Binary():
            return "probability"
        case Multiclass():
            return "probabilities"
        case Quantiles():
            return "numbers"
        case _:
            return "number"


def _earlier(fitted: Fitted) -> Earlier | None:
    """What the earlier trees say, led back to the true shares as the model is."""
    if fitted.earlier is None or fitted.shift == 0:
        return fitted.earlier
    return Earlier(fitted.earlier.chosen, shift_curve(fitted.shift).map(fitted.earlier.predicted))
