"""Explanations on demand: what each feature added to the score of a row, exactly, so that it sums to what the model said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterling.core.errors import DataError
from sterling.models import Model
from sterling.models.attributions import attributions
from sterling.models.calibrated import Calibrated, innermost
from sterling.models.columns import encode_rows
from sterling.serving.parts import Part
from sterling.serving.requests import RefusedRequestError

MOST = 100
"""Rows of a request that are explained at most, since one takes as long as hundreds of scores."""


def explained(part: Part, most: int) -> Part:
    """A part of an answer with the explanation of each row; without one where no model was asked.

    Args:
        part: The part.
        most: How many features are named, the weightiest first; 0 for all.

    Raises:
        RefusedRequestError: if it has too many rows, or its model has no exact attributions.
    """
    if not part.by_model:
        return part._replace(explanations=[None] * len(part.units))
    if len(part.units) > MOST:
        raise RefusedRequestError(
            422, f"{len(part.units):,} rows are to be explained. Send {MOST} at most, or leave explain out.", "explain"
        )
    return part._replace(explanations=explanations(part.served.model, part.found.rows, most))


def explanations(model: Model, rows: Any, most: int = 0) -> list[dict[str, Any]]:
    """What each feature added, for each row.

    Args:
        model: The model.
        rows: The features of each row.
        most: How many features are named, the weightiest first; what the others added is the ``rest``. 0 for all.

    Returns:
        For each row ``of`` (what is summed: ``log odds`` or ``number``), ``base``, ``contributions`` by feature, and
        ``sum``: the base, the contributions and the rest together. Where a curve calibrates what the model says, they
        explain what it says before.

    Raises:
        RefusedRequestError: if the model has no exact attributions.

    Example:
        >>> from sterling.models import Column, NumberTerm
        >>> from sterling.models.predictors import Linear
        >>> model = Model((Column("wind", "number"),), Linear(-1.0, (NumberTerm(10, 5, 2.0, 0.0),)))
        >>> explanations(model, [{"wind": 15.0}])
        [{'of': 'log odds', 'base': -1.0, 'contributions': {'wind': 2.0}, 'sum': 1.0}]
    """
    kind = type(innermost(model.predictor)).__name__
    if model.outputs:
        raise RefusedRequestError(422, _none(kind, "it answers with several numbers a row"), "explain")
    try:
        found = attributions(model, encode_rows(model.columns, rows))
    except DataError as error:
        raise RefusedRequestError(
            422, _none(kind, "which of its features did what cannot be said exactly"), "explain"
        ) from error
    of = "log odds" if innermost(model.predictor).answers == "probability" else "number"
    more = {"calibrated": True} if isinstance(model.predictor, Calibrated) else {}
    return [
        {"of": of, **more, "base": found.base, **_named(dict(zip(model.names, values, strict=True)), most), "sum": total}
        for values, total in zip(found.values.tolist(), found.total.tolist(), strict=True)
    ]  # fmt: skip


def _named(values: Mapping[str, float], most: int) -> dict[str, Any]:
    """Contributions by feature, the weightiest first where not all of them are named."""
    if not most or most >= len(values):
        return {"contributions": dict(values)}
    order = sorted(values, key=lambda name: -abs(values[name]))
    named = {name: values[name] for name in order[:most]}
    return {"contributions": named, "rest": sum(values[name] for name in order[most:])}


def _none(kind: str, why: str) -> str:
    return f"The model is a {kind}: {why}. Leave explain out."
