"""The recipe: which model is trained, against which baselines, and how it is validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.tasks import Binary, Regression, Task
from sterling.project.times import micros


class Prior(Definition, frozen=True):
    """What the labels are on average in training, for every row: the least that a model must beat."""


class Logistic(Definition, frozen=True):
    """L2-penalised logistic regression on standardised numbers and one-hot categories.

    Args:
        c: Inverse strength of the penalty, positive.
    """

    c: float = 1.0

    def check(self) -> None:
        """Refuse a strength that is none."""
        if self.c <= 0:
            raise InvalidDefinitionError(f"Logistic.c is {self.c}. It is the inverse strength of the penalty, above 0.")


class Ridge(Definition, frozen=True):
    """L2-penalised linear regression of a number on standardised numbers and one-hot categories.

    Args:
        strength: Strength of the penalty on the weights, in rows; at least 0.
    """

    strength: float = 1.0

    def check(self) -> None:
        """Refuse a strength below 0."""
        if self.strength < 0:
            raise InvalidDefinitionError(f"Ridge.strength is {self.strength}. It is 0 or more.")


class LightGBM(Definition, frozen=True):
    """Gradient-boosted trees; the defaults are robust ones for some 10,000 to some million rows.

    Args:
        trees: Number of trees.
        leaves: Leaves of a tree at most.
        learning_rate: Shrinkage, in (0, 1].
        min_rows_per_leaf: Rows in a leaf at least.
        feature_fraction: Share of the features that a tree sees, in (0, 1].
        bagging_fraction: Share of the rows that a tree sees, in (0, 1].
        l2: Penalty on leaf values.
        category_smoothing: Smoothing of category statistics (LightGBM's ``cat_smooth``).
    """

    trees: int = 300
    leaves: int = 31
    learning_rate: float = 0.05
    min_rows_per_leaf: int = 100
    feature_fraction: float = 0.6
    bagging_fraction: float = 0.8
    l2: float = 5.0
    category_smoothing: float = 50.0

    def check(self) -> None:
        """Refuse sizes below what makes a tree, and shares outside (0, 1]."""
        for field, least in {"trees": 1, "leaves": 2, "min_rows_per_leaf": 1}.items():
            if getattr(self, field) < least:
                raise InvalidDefinitionError(f"LightGBM.{field} is {getattr(self, field)}. It is at least {least}.")
        for field in ("learning_rate", "feature_fraction", "bagging_fraction"):
            if not 0 < getattr(self, field) <= 1:
                raise InvalidDefinitionError(f"LightGBM.{field} is {getattr(self, field)}. It lies in (0, 1].")


class Custom(Definition, frozen=True):
    """A trainer of the project's own; its code and its attributes are part of the project's hash.

    Args:
        trainer: An object with ``fit(self, rows: sterling.models.TrainingRows) -> sterling.models.Predictor``, of a
            class defined in the project. What it returns must be one of Sterling's predictors, which are data.
        name: Name of the model in tables.
    """

    trainer: Any
    name: str

    def check(self) -> None:
        """Refuse an object that cannot be trained."""
        if not callable(getattr(self.trainer, "fit", None)):
            raise InvalidDefinitionError(f"Custom({self.name!r}): {self.trainer!r} has no method fit(rows).")


CANDIDATE = "candidate"
Trainer = Prior | Logistic | Ridge | LightGBM | Custom


class TimeSeriesSplit(Definition, frozen=True):
    """Rolling-origin folds before the holdout: train on what was known, judge the block that follows.

    Args:
        folds: Number of folds, at least 1.
        block: Length of each judged block.
        gap: Time between the end of training and the start of the block.
    """

    folds: int
    block: str = "28d"
    gap: str = "0d"

    def check(self) -> None:
        """Refuse no folds and what is no duration."""
        if self.folds < 1:
            raise InvalidDefinitionError(f"TimeSeriesSplit.folds is {self.folds}. It is at least 1.")
        for field in ("block", "gap"):
            micros(getattr(self, field), field=f"TimeSeriesSplit.{field}")


class Recipe(Definition, frozen=True):
    """What is trained.

    Args:
        model: The candidate.
        baselines: What it is compared with, on the same rows; None for the task's own ladder: `Prior`, and `Logistic`
            for a condition or `Ridge` for a number.
        cv: Validation on earlier blocks; None for the holdout alone.
    """

    model: Trainer = LightGBM()
    baselines: Sequence[Trainer] | None = None
    cv: TimeSeriesSplit | None = None

    def check(self) -> None:
        """Refuse two models of one name."""
        names = [model_name(model) for model in (self.model, *(self.baselines or ()))]
        if CANDIDATE in names:
            raise InvalidDefinitionError(
                f"A Custom model is called {CANDIDATE!r}, as the recipe's model is. Rename it."
            )
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidDefinitionError(f"Two models of the recipe are called {twice[0]!r}.")

    def ladder(self, task: Task) -> tuple[Trainer, ...]:
        """The baselines, those of the task where none are named.

        Example:
            >>> [model_name(trainer) for trainer in Recipe().ladder(Regression())]
            ['prior', 'ridge']
        """
        if self.baselines is not None:
            return tuple(self.baselines)
        return (Prior(), Logistic()) if isinstance(task, Binary) else (Prior(), Ridge())

    def trainers(self, task: Task) -> tuple[Trainer, ...]:
        """The candidate, and its baselines."""
        return (self.model, *self.ladder(task))


def fits_task(trainer: Trainer, task: Task) -> None:
    """Refuse a trainer that answers another kind of question.

    Raises:
        InvalidDefinitionError: naming one that fits.
    """
    if isinstance(task, Binary) and isinstance(trainer, Ridge):
        raise InvalidDefinitionError("Ridge predicts a number, and Project.task is Binary. Use Logistic.")
    if isinstance(task, Regression) and isinstance(trainer, Logistic):
        raise InvalidDefinitionError("Logistic predicts a condition, and Project.task is Regression. Use Ridge.")


def model_name(trainer: Trainer) -> str:
    """Name of a model in tables.

    Example:
        >>> model_name(LightGBM(trees=10))
        'lightgbm'
    """
    return trainer.name if isinstance(trainer, Custom) else type(trainer).__name__.lower()
