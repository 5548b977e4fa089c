"""Gradient-boosted trees as LightGBM's text, without the block of parameters that says how they were made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sterling.core.errors import InvalidDefinitionError
from sterling.models.answers import Answers
from sterling.models.columns import Column, Matrix
from sterling.models.lightgbm_library import Booster
from sterling.models.predictors import Probabilities

_PARAMETERS = re.compile(r"\n*parameters:\n.*", re.DOTALL)
_OBJECTIVE = re.compile(r"^objective=(binary|regression|multiclass|quantile)\b", re.MULTILINE)
_LINE = re.compile(r"^(split_feature|split_gain)=(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Trees:
    """Trees of a LightGBM booster with the objective ``binary``, ``regression``, ``quantile`` or ``multiclass``.

    The block ``parameters:`` is cut off: it is the only part that differs between numbers of threads, and prediction
    does not read it.

    Attributes:
        text: The model in LightGBM's text format, such as ``booster.model_to_string()``.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text.startswith("tree\n"):
            raise InvalidDefinitionError(
                "Trees take a model in LightGBM's text format: booster.model_to_string() of a lightgbm.Booster."
            )
        if _OBJECTIVE.search(self.text) is None:
            raise InvalidDefinitionError(
                "Trees give probabilities or numbers. Train the booster with objective='binary', 'multiclass', 'regression' "
                "or 'quantile'."
            )
        object.__setattr__(self, "text", _PARAMETERS.sub("\n", self.text))

    @property
    def answers(self) -> Answers:
        """What they answer with."""
        found = _OBJECTIVE.search(self.text)
        assert found is not None
        kinds: dict[str, Answers] = {"binary": "probability", "multiclass": "probabilities"}
        return kinds.get(found[1], "number")

    @property
    def outputs(self) -> int:
        """How many numbers a row gets."""
        return self._booster.outputs

    def predict(self, matrix: Matrix) -> Probabilities:
        """Answer to each row, bit for bit what LightGBM itself answers; shape (rows, outputs) for several classes."""
        return self._booster.predict(matrix)

    def contributions(self, matrix: Matrix) -> Matrix:
        """What each feature adds to the sum of each row, log odds or a number, and last the base.

        Shape (rows, features + 1); for several classes (rows, outputs * (features + 1)), one class after the other.
        """
        return self._booster.contributions(matrix)

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse columns that the trees were not made for."""
        if self._booster.features != len(columns):
            raise InvalidDefinitionError(f"The trees read {self._booster.features} features, not {len(columns)}.")

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        return {"type": "trees", "text": self.text}

    def gain_shares(self) -> tuple[float, ...]:
        """Share of the training loss that each feature's splits took away, which sum to 1, or to 0 without a split."""
        gains = np.zeros(self._booster.features)
        split: list[int] = []
        for name, values in _LINE.findall(self.text):
            if name == "split_feature":
                split = [int(value) for value in values.split()]
            else:
                np.add.at(gains, split, [float(value) for value in values.split()])
        total = gains.sum()
        return tuple((gains / total if total > 0 else gains).tolist())

    @cached_property
    def _booster(self) -> Booster:
        return Booster(self.text)


def trees_from(document: Mapping[str, Any]) -> Trees:
    """Read what `Trees.document` wrote."""
    return Trees(document["text"])
