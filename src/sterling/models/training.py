"""Training: from a recipe's trainer and rows to a model, the same bytes from the same rows every time."""

from __future__ import annotations

from typing import Any

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.processors import available_threads
from sterling.models.blas import blas_kernels
from sterling.models.lightgbm_library import let_waiting_threads_sleep
from sterling.models.logistic import fit_logistic, fit_ridge
from sterling.models.model import Model
from sterling.models.predictors import Answers, Constant, Number, Predictor
from sterling.models.rows import TrainingRows
from sterling.models.trees import Trees
from sterling.project.recipe import Custom, LightGBM, Logistic, Prior, Ridge, Trainer
from sterling.project.tasks import Binary, Task


def fit(trainer: Trainer, rows: TrainingRows, *, threads: int | None = None) -> Model:
    """Train.

    Args:
        trainer: What the recipe says.
        rows: What to train on; the labels differ.
        threads: Threads that LightGBM uses, by default all; the model does not depend on them.

    Raises:
        DataError: if the rows do not suffice.
        InvalidDefinitionError: if a project's own trainer returns something else than a predictor.

    Example:
        >>> import numpy as np
        >>> rows = TrainingRows((), np.empty((4, 0)), np.array([0.0, 0.0, 0.0, 1.0]), seed=0)
        >>> fit(Prior(), rows).predictor
        Constant(probability=0.25)
    """
    return Model(rows.columns, _predictor(trainer, rows, threads or available_threads()))


def kernel(trainer: Trainer) -> str | None:
    """The BLAS that a training goes through, on whose rounding its last bits depend; None where it uses none."""
    return blas_kernels() if isinstance(trainer, Logistic | Ridge) else None


def _predictor(trainer: Trainer, rows: TrainingRows, threads: int) -> Predictor:
    match trainer:
        case Prior():
            mean = float(rows.label.mean())
            return Constant(mean) if isinstance(rows.task, Binary) else Number(mean)
        case Logistic():
            return fit_logistic(trainer, rows)
        case Ridge():
            return fit_ridge(trainer, rows)
        case LightGBM():
            return _fit_lightgbm(trainer, rows, threads)
        case Custom():
            predictor: Predictor = trainer.trainer.fit(rows)
            if (found := getattr(predictor, "answers", None)) not in (None, answers_of(rows.task)):
                raise InvalidDefinitionError(
                    f"{trainer.name!r} answers with a {found}, and the task asks for a {answers_of(rows.task)}."
                )
            return predictor


def answers_of(task: Task) -> Answers:
    """What a model of a task answers with."""
    return "probability" if isinstance(task, Binary) else "number"


def _fit_lightgbm(trainer: LightGBM, rows: TrainingRows, threads: int) -> Trees:
    let_waiting_threads_sleep()
    import lightgbm as lgb

    parameters: dict[str, Any] = {
        "objective": "binary" if isinstance(rows.task, Binary) else "regression", "deterministic": True, "force_col_wise": True, "seed": rows.seed,
        "num_threads": threads, "verbosity": -1, "num_leaves": trainer.leaves, "learning_rate": trainer.learning_rate,
        "min_data_in_leaf": trainer.min_rows_per_leaf, "feature_fraction": trainer.feature_fraction,
        "bagging_fraction": trainer.bagging_fraction, "bagging_freq": 1, "lambda_l2": trainer.l2,
        "cat_smooth": trainer.category_smoothing,
    }  # fmt: skip
    if not rows.columns:
        raise DataError("LightGBM needs at least one feature.")
    data = lgb.Dataset(rows.matrix, rows.label, categorical_feature=list(rows.categorical), params=parameters)
    return Trees(lgb.train(parameters, data, num_boost_round=trainer.trees).model_to_string())
