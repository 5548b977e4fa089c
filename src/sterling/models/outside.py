"""How a model behind a URL is spoken to: what it is sent, and how what it answers is read, strictly."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError, MissingExtraError
from sterling.project.external import ExternalModel

SAID = 200
"""How much of what a model says is shown where it is no answer, in bytes."""


def headers(model: ExternalModel) -> dict[str, str]:
    """The headers of a request, with the model's token where it needs one.

    Raises:
        MissingExtraError: if the environment variable of its token is not set, or holds no token.
    """
    return {"Content-Type": "application/json", "Accept": "application/json", **_token(model)}


def question(model: ExternalModel, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as a model is sent them.

    Args:
        model: Which protocol it speaks.
        names: The features that it is sent, in order.
        rows: Their values; None where one is not known.

    Example:
        >>> question(ExternalModel("http://scores/", protocol="mlflow"), ["weight"], [{"weight": 3.5, "depot": "north"}])
        {'dataframe_split': {'columns': ['weight'], 'data': [[3.5]]}}
    """
    if model.protocol == "mlflow":
        return {"dataframe_split": {"columns": list(names), "data": [[row[name] for name in names] for row in rows]}}
    return {"rows": [{name: row[name] for name in names} for row in rows]}


def scores_in(
    model: ExternalModel, body: bytes, rows: int, *, start: int = 0, probabilities: bool = True
) -> NDArray[np.float64]:
    """The scores in an answer, shape (rows,).

    Args:
        model: Which protocol it speaks.
        body: What it answers.
        rows: How many rows it was sent.
        start: How many were answered before, so that an error names the row.
        probabilities: Whether a score is the probability of 1; else it is any finite number.

    Raises:
        DataError: if it is anything else than one such number a row.

    Example:
        >>> scores_in(ExternalModel("http://scores/"), b'{"scores": [0.25, [0.5, 0.5]]}', 2).tolist()
        [0.25, 0.5]
    """
    key = "predictions" if model.protocol == "mlflow" else "scores"
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise DataError(f"The model {model.name!r} answers with no JSON: {body[:SAID]!r}.") from None
    found = answer.get(key) if isinstance(answer, dict) else answer
    if not isinstance(found, list):
        raise DataError(f"The model {model.name!r} answers without {key!r}, a list of a number a row.")
    if len(found) != rows:
        raise DataError(f"The model {model.name!r} answers with {len(found):,} scores for {rows:,} rows.")
    numbers = _probabilities(model, found, start) if probabilities else _numbers(model, found, start)
    return np.fromiter(numbers, dtype=np.float64, count=rows)


def _token(model: ExternalModel) -> dict[str, str]:
    if model.token_env is None:
        return {}
    token = os.environ.get(model.token_env)
    if not token:
        raise MissingExtraError(
            f"The model {model.name!r} needs a token, and the environment variable {model.token_env} is not set."
        )
    if not (token.isascii() and token.isprintable()):  # said here, since HTTP's own error would show it
        raise MissingExtraError(
            f"The environment variable {model.token_env} of the model {model.name!r} holds a line break, or another character "
            "that no header takes."
        )
    return {"Authorization": f"Bearer {token}"}


def _probabilities(model: ExternalModel, found: Sequence[Any], start: int) -> Iterator[float]:
    for number, value in enumerate(found, start + 1):
        one = value[1] if isinstance(value, list) and len(value) == 2 else value  # what predict_proba answers
        if not (_is_number(one) and 0 <= one <= 1):
            raise DataError(
                f"The model {model.name!r} answers {value!r} for row {number:,}. A score is the probability of 1, in [0, 1]; "
                "an MLflow model of scikit-learn gives it when it is logged with pyfunc_predict_fn='predict_proba'."
            )
        yield float(one)


def _numbers(model: ExternalModel, found: Sequence[Any], start: int) -> Iterator[float]:
    for number, value in enumerate(found, start + 1):
        if not _is_number(value):
            raise DataError(
                f"The model {model.name!r} answers {value!r} for row {number:,}, which is no finite number."
            )
        yield float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
