"""Trainers: what a model may be learnt by, each a definition that becomes a predictor, which is data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec.structs import replace

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.sql import columns_of

WHOLE = frozenset({"leaves", "min_rows_per_leaf"})
"""Settings of LightGBM that are whole numbers, of those that can be tuned."""
MANY_ROWS = 100_000
BY_ROWS: dict[bool, dict[str, Any]] = {
    False: {
        "leaves": 31, "min_rows_per_leaf": 20, "feature_fraction": 1.0, "l2": 1.0, "category_smoothing": 10.0,
    },
    True: {
        "leaves": 63, "min_rows_per_leaf": 100, "feature_fraction": 0.6, "l2": 5.0, "category_smoothing": 50.0,
    },
}  # fmt: skip
"""Settings of LightGBM that were best on real data of fewer than `MANY_ROWS` training rows, and of as many or more."""


class Prior(Definition, frozen=True):
    """What the labels are on average in training, for every row: the least that a model must beat."""


class Rule(Definition, frozen=True):
    """What a person would decide by: an expression over features, each answer with its share of positives in training.

    Args:
        sql: A condition, or an expression of few different values, over features: comparisons, AND, OR, NOT, IN,
            BETWEEN, IS NULL, CASE, COALESCE, ABS and arithmetic.
        name: Name of the model in tables.
    """

    sql: str
    name: str = "rule"

    def check(self) -> None:
        """Refuse what is no expression over one row."""
        columns_of(self.sql)


class Logistic(Definition, frozen=True):
    """L2-penalised logistic regression on standardised numbers and one-hot categories.

    Args:
        c: Inverse strength of the penalty, positive.
        positive_weight: How many times a positive row counts, or ``"balanced"`` for as much as all negative ones
            together; the probabilities are led back to the true shares.
        weight: How much a row counts: SQL over features, not negative.
    """

    c: float = 1.0
    positive_weight: float | Literal["balanced"] | None = None
    weight: str | None = None

    def check(self) -> None:
        """Refuse a strength that is none."""
        if self.c <= 0:
            raise InvalidDefinitionError(f"Logistic.c is {self.c}. It is the inverse strength of the penalty, above 0.")
        _check_weights(self, self.positive_weight, self.weight)


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


class ShallowTree(Definition, frozen=True):
    """One tree of few leaves, which people can read: what a model must beat to earn its size.

    Args:
        leaves: Leaves at most.
        min_rows_per_leaf: Rows in a leaf at least.
    """

    leaves: int = 8
    min_rows_per_leaf: int = 100

    def check(self) -> None:
        """Refuse sizes below what makes a tree."""
        _check_least(self, leaves=2, min_rows_per_leaf=1)


class LightGBM(Definition, frozen=True):
    """Gradient-boosted trees that find their own number; other settings follow from how many rows there are.

    Args:
        trees: Number of trees; None to find it: trees are added until the last part of the training rows is predicted
            no better, then that many are trained on all of them.
        leaves: Leaves of a tree at most; None for what `BY_ROWS` says of the number of training rows, here and below.
        learning_rate: Shrinkage, in (0, 1].
        min_rows_per_leaf: Rows in a leaf at least.
        feature_fraction: Share of the features that a tree sees, in (0, 1].
        bagging_fraction: Share of the rows that a tree sees, in (0, 1].
        l2: Penalty on leaf values.
        category_smoothing: Smoothing of category statistics (LightGBM's ``cat_smooth``).
        most_trees: Trees at most where they are found.
        patience: How many trees may bring nothing before no more are added.
        validation: Share of the rows, the last ones, that the number is found on, in (0, 0.5].
        group: SQL over features; rows that share its value with a validation row do not help to find the number.
        positive_weight: How many times a positive row counts, or ``"balanced"`` for as much as all negative ones
            together; the probabilities are led back to the true shares.
        weight: How much a row counts: SQL over features, not negative.
        monotone: Feature to 1 where the probability may only rise with it, or -1 where it may only fall.
    """

    trees: int | None = None
    leaves: int | None = None
    learning_rate: float = 0.05
    min_rows_per_leaf: int | None = None
    feature_fraction: float | None = None
    bagging_fraction: float = 0.8
    l2: float | None = None
    category_smoothing: float | None = None
    most_trees: int = 600
    patience: int = 30
    validation: float = 0.15
    group: str | None = None
    positive_weight: float | Literal["balanced"] | None = None
    weight: str | None = None
    monotone: dict[str, int] = {}

    def settled(self, rows: int) -> LightGBM:
        """The same with every setting that follows from the number of training rows.

        Example:
            >>> [LightGBM().settled(rows).leaves for rows in (99_999, 100_000)]
            [31, 63]
        """
        settings = BY_ROWS[rows >= MANY_ROWS]
        return replace(self, **{name: value for name, value in settings.items() if getattr(self, name) is None})

    def check(self) -> None:
        """Refuse sizes below what makes a tree, and shares outside (0, 1]."""
        _check_least(self, trees=1, leaves=2, min_rows_per_leaf=1, most_trees=1, patience=1)
        _check_shares(self, "learning_rate", "feature_fraction", "bagging_fraction")
        if not 0 < self.validation <= 0.5:
            raise InvalidDefinitionError(f"LightGBM.validation is {self.validation}. It lies in (0, 0.5].")
        if self.group is not None:
            if self.trees is not None:
                raise InvalidDefinitionError(
                    "LightGBM.group keeps groups apart while the number of trees is found, and trees says it already."
                )
            columns_of(self.group)
        _check_weights(self, self.positive_weight, self.weight)
        _check_directions(self, self.monotone)


class XGBoost(Definition, frozen=True):
    """XGBoost's gradient-boosted trees (extra ``xgboost``), kept as data that is served without it.

    Args:
        trees: Number of trees.
        depth: Depth of a tree at most.
        learning_rate: Shrinkage, in (0, 1].
        min_child_weight: Sum of second derivatives in a leaf at least.
        feature_fraction: Share of the features that a tree sees, in (0, 1].
        bagging_fraction: Share of the rows that a tree sees, in (0, 1].
        l2: Penalty on leaf values.
        positive_weight: How many times a positive row counts, or ``"balanced"``; the probabilities are led back.
        weight: How much a row counts: SQL over features, not negative.
        monotone: Feature to 1 where the probability may only rise with it, or -1 where it may only fall.
    """

    trees: int = 300
    depth: int = 6
    learning_rate: float = 0.05
    min_child_weight: float = 10.0
    feature_fraction: float = 0.6
    bagging_fraction: float = 0.8
    l2: float = 5.0
    positive_weight: float | Literal["balanced"] | None = None
    weight: str | None = None
    monotone: dict[str, int] = {}

    def check(self) -> None:
        """Refuse sizes below what makes a tree, and shares outside (0, 1]."""
        _check_least(self, trees=1, depth=1)
        _check_shares(self, "learning_rate", "feature_fraction", "bagging_fraction")
        _check_weights(self, self.positive_weight, self.weight)
        _check_directions(self, self.monotone)


class Sklearn(Definition, frozen=True):
    """A classifier or regressor of scikit-learn, or a pipeline that ends in one, kept as data that is served without it.

    Logistic and linear regression (plain, ridge, lasso, elastic net), decision trees, random forests, extra trees, gradient
    boosting and histogram gradient boosting have such a form; so have imputers, scalers, one-hot encoding and column transformers before them. Where the
    estimator alone takes no missing values, numbers are filled with their mean and scaled, with a flag for missing, and
    categories are one-hot.

    Args:
        estimator: The estimator, not fitted.
        name: Name of the model in tables.
        positive_weight: How many times a positive row counts, or ``"balanced"``; the probabilities are led back.
        weight: How much a row counts: SQL over features, not negative.
    """

    estimator: Any
    name: str
    positive_weight: float | Literal["balanced"] | None = None
    weight: str | None = None

    def check(self) -> None:
        """Refuse an object that is no estimator."""
        if not callable(getattr(self.estimator, "fit", None)) or not hasattr(self.estimator, "get_params"):
            raise InvalidDefinitionError(f"Sklearn({self.name!r}): {self.estimator!r} is no estimator of scikit-learn.")
        _check_weights(self, self.positive_weight, self.weight)


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


def _check_least(definition: Definition, **least: int) -> None:
    for field, bound in least.items():
        value = getattr(definition, field)
        if value is not None and value < bound:
            raise InvalidDefinitionError(f"{type(definition).__name__}.{field} is {value}. It is at least {bound}.")


def _check_shares(definition: Definition, *fields: str) -> None:
    for field in fields:
        value = getattr(definition, field)
        if value is not None and not 0 < value <= 1:
            raise InvalidDefinitionError(f"{type(definition).__name__}.{field} is {value}. It lies in (0, 1].")


def _check_weights(definition: Definition, positive: float | str | None, weight: str | None) -> None:
    if isinstance(positive, float) and positive <= 0:
        raise InvalidDefinitionError(f"{type(definition).__name__}.positive_weight is {positive}. It is above 0.")
    if weight is not None:
        columns_of(weight)


def _check_directions(definition: Definition, directions: dict[str, int]) -> None:
    for feature, direction in directions.items():
        if direction not in {-1, 1}:
            raise InvalidDefinitionError(
                f"{type(definition).__name__}.monotone says {direction} of {feature!r}. It is 1 for rising or -1 for falling."
            )


class Ensemble(Definition, frozen=True):
    """Several `LightGBM` whose answers are averaged, log odds or numbers: more accurate than one, for the time of all.

    Each is trained on the same rows, by a seed of its own, and finds its own number of trees. All their trees together are
    one model, which is stored, served and explained as that of a `LightGBM` is.

    Args:
        members: What is averaged, two at least; alike in how rows count and which of them a number of trees is found on. By
            default four that differ by their seeds alone.
    """

    members: Sequence[LightGBM] = (LightGBM(),) * 4

    def check(self) -> None:
        """Refuse members that cannot be averaged."""
        if len(self.members) < 2:
            raise InvalidDefinitionError(
                f"Ensemble.members has {len(self.members)}. Name two at least, or use LightGBM."
            )
        for field in ("validation", "group", "positive_weight", "weight"):
            values = {getattr(member, field) for member in self.members}
            if len(values) > 1:
                raise InvalidDefinitionError(
                    f"Members of an Ensemble differ in {field}: {', '.join(sorted(map(repr, values)))}. Give all the same."
                )
