"""An ensemble of boosted trees, which is boosted trees again: the mean of several sums of trees is one sum of all their trees.

So it is stored, served, explained, calibrated and reproduced as one LightGBM model is, and its Shapley values are the means
of those of its members, exactly.

References:
    Breiman (1996), Bagging predictors, Machine Learning 24, 123–140: means of models that differ by chance. Claeskens,
    Magnus, Vasnev & Wang (2016), The forecast combination puzzle, International Journal of Forecasting 32, 754–762: why
    equal weights are seldom beaten by estimated ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.models.boosting import SMALLEST, Earlier, Fitted, fit_lightgbm, losses_of
from sterling.models.rows import TrainingRows
from sterling.models.trees import Trees
from sterling.project.trainers import Ensemble

_SIZES = re.compile(r"^tree_sizes=.*\n", re.MULTILINE)
_TREE = re.compile(r"^Tree=\d+\n.*?\n\n\n", re.MULTILINE | re.DOTALL)
_NUMBERED = re.compile(r"^Tree=\d+\n")
_VALUES = re.compile(r"^(leaf_value|internal_value)=(.*)$", re.MULTILINE)


def fit_ensemble(trainer: Ensemble, rows: TrainingRows, threads: int) -> Fitted:
    """Train each member on the same rows, with a seed of its own, and join them.

    Raises:
        DataError: if there is no feature, or a weight, group or direction does not fit.
    """
    members = [
        fit_lightgbm(member, replace(rows, seed=rows.seed + place), threads)
        for place, member in enumerate(trainer.members)
    ]
    trees = joined([member.trees for member in members])
    earlier = _earlier(members)
    return Fitted(trees, members[0].shift, _found(members, earlier, rows), earlier)


def joined(members: Sequence[Trees]) -> Trees:
    """Trees whose sum, log odds or a number, is the mean of those of the members.

    Args:
        members: Trees that answer the same question from the same columns.

    Example:
        >>> import lightgbm as lgb
        >>> matrix, label = np.arange(60.0).reshape(-1, 1), np.arange(60) % 7 / 7
        >>> settings = {"objective": "regression", "verbosity": -1, "num_threads": 1}
        >>> few, many = (Trees(lgb.train(settings, lgb.Dataset(matrix, label), count).model_to_string()) for count in (2, 5))
        >>> mean = (few.predict(matrix) + many.predict(matrix)) / 2
        >>> bool(np.allclose(joined([few, many]).predict(matrix), mean, rtol=0, atol=1e-15))
        True
    """
    blocks = [
        _VALUES.sub(lambda found: _divided(found, len(members)), block)
        for one in members
        for block in _TREE.findall(one.text)
    ]
    numbered = [_NUMBERED.sub(f"Tree={place}\n", block) for place, block in enumerate(blocks)]
    header = members[0].text.split("\nTree=", maxsplit=1)[0] + "\n"
    sizes = " ".join(str(len(block.encode())) for block in numbered)
    return Trees(_SIZES.sub(f"tree_sizes={sizes}\n", header) + "".join(numbered) + "end of trees\n")


def _divided(found: re.Match[str], by: int) -> str:
    return f"{found[1]}={' '.join(repr(float(value) / by) for value in found[2].split())}"


def _earlier(members: Sequence[Fitted]) -> Earlier | None:
    """What the members say together of the last rows, by the trees that did not see them."""
    known = [member.earlier for member in members if member.earlier is not None]
    if len(known) < len(members):
        return None
    said = [one.predicted for one in known]
    together = {"probability": _mean_of_odds, "probabilities": _mean_of_logarithms}
    return Earlier(known[0].chosen, together.get(members[0].trees.answers, _mean)(said))


def _mean(numbers: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.mean(numbers, axis=0)
    return found


def _mean_of_odds(probabilities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    inside = [np.clip(one, SMALLEST, 1 - SMALLEST) for one in probabilities]
    odds = np.mean([np.log(one) - np.log1p(-one) for one in inside], axis=0)
    found: NDArray[np.float64] = 1 / (1 + np.exp(-odds))
    return found


def _mean_of_logarithms(probabilities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """As `_mean_of_odds`, for several classes: shape (rows, classes), each row of which sums to 1."""
    powers = np.exp(np.mean([np.log(np.maximum(one, SMALLEST)) for one in probabilities], axis=0))
    found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found


def _found(members: Sequence[Fitted], earlier: Earlier | None, rows: TrainingRows) -> dict[str, Any]:
    """How many trees there are in all, and how each member found its number."""
    each = [member.found for member in members]
    if not all(each):
        return {}
    body = {**each[0], "trees": sum(one["trees"] for one in each), "members": each}
    if earlier is None:
        return body
    label = rows.label[earlier.chosen]
    return body | {"loss": float(losses_of(rows.task, label, earlier.predicted).mean())}
