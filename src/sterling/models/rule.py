"""A rule as a model: the share of positives, or of each class, that training saw for each answer of an expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.models.answers import Answers
from sterling.models.columns import Column, Matrix
from sterling.models.expression import Tree, compiled, computed
from sterling.models.predictors import Probabilities
from sterling.models.rows import TrainingRows
from sterling.models.several import Joined
from sterling.project.tasks import Multiclass
from sterling.project.trainers import Rule

MOST_ANSWERS = 50
"""An expression with more different answers than this is no rule."""


@dataclass(frozen=True)
class Shares:
    """A probability for each answer of an expression.

    Attributes:
        tree: The expression; see `sterling.models.expression`.
        cases: What it may say, in rising order.
        probabilities: One for each answer, in [0, 1].
        otherwise: Probability where it says something else, or is null.

    Example:
        >>> rule = Shares([">", ["column", 0], ["number", 30.0]], (0.0, 1.0), (0.1, 0.6), 0.2)
        >>> rule.predict(np.array([[10.0], [40.0], [np.nan]])).tolist()
        [0.1, 0.6, 0.2]
    """

    tree: Tree
    cases: tuple[float, ...]
    probabilities: tuple[float, ...]
    otherwise: float
    answers: ClassVar[Answers] = "probability"
    outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if len(self.cases) != len(self.probabilities) or list(self.cases) != sorted(set(self.cases)):
            raise InvalidDefinitionError("A rule has one probability for each of its answers, which rise.")
        if not all(0 <= value <= 1 for value in (*self.probabilities, self.otherwise)):
            raise InvalidDefinitionError("A probability of a rule lies outside of [0, 1].")

    def predict(self, matrix: Matrix) -> Probabilities:
        """Probability of each row."""
        found = computed(self.tree, matrix)
        answers, table = np.array(self.cases), np.array([*self.probabilities, self.otherwise])
        places = np.minimum(np.searchsorted(answers, found), len(answers) - 1)
        probabilities: Probabilities = table[np.where(answers[places] == found, places, len(answers))]
        return probabilities

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse columns that the rule does not read."""
        if (most := max(_places(self.tree), default=-1)) >= len(columns):
            raise InvalidDefinitionError(f"The rule reads column {most} of {len(columns)}.")
        computed(self.tree, np.empty((0, len(columns))))

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        return {
            "type": "shares", "tree": self.tree, "cases": list(self.cases),
            "probabilities": list(self.probabilities), "otherwise": self.otherwise,
        }  # fmt: skip


def fit_rule(trainer: Rule, rows: TrainingRows) -> Shares | Joined:
    """Count the positives of each answer, or the rows of each class; where it is null, the share of all rows.

    Raises:
        DataError: if the expression is null everywhere, or has too many answers.
    """
    tree = compiled(trainer.sql, rows.columns, place="Rule.sql")
    found = computed(tree, rows.matrix)
    known = ~np.isnan(found)
    answers, places, counts = np.unique(found[known], return_inverse=True, return_counts=True)
    if not len(answers):
        raise DataError(f"Rule.sql {trainer.sql!r} is null in every training row.")
    if len(answers) > MOST_ANSWERS:
        raise DataError(
            f"Rule.sql {trainer.sql!r} has {len(answers):,} different answers in training, and a rule {MOST_ANSWERS} at most. "
            "Compare it with thresholds, such as CASE WHEN x > 10 THEN 2 WHEN x > 5 THEN 1 ELSE 0 END."
        )

    def shares(label: NDArray[np.float64]) -> Shares:
        positives = np.bincount(places, weights=label[known], minlength=len(answers))
        unknown = label if known.all() else label[~known]
        return Shares(tree, tuple(answers.tolist()), tuple((positives / counts).tolist()), float(unknown.mean()))

    if not isinstance(rows.task, Multiclass):
        return shares(rows.label)
    of_classes = [shares((rows.label == place).astype(np.float64)) for place in range(len(rows.outputs))]
    return Joined(tuple(of_classes), "shares")


def rule_from(document: Mapping[str, Any]) -> Shares:
    """Read what `Shares.document` wrote."""
    answers, probabilities = (tuple(map(float, document[name])) for name in ("cases", "probabilities"))
    return Shares(document["tree"], answers, probabilities, float(document["otherwise"]))


def _places(tree: Any) -> list[int]:
    if not isinstance(tree, list) or not tree:
        return []
    if tree[0] in ("column", "is"):
        return [tree[1]]
    return [place for part in tree for place in _places(part)]
