"""On-demand features: a function of the project answers a row, by the same rules for a history and for a request."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import numpy as np

from sterling.core.errors import DataError
from sterling.project.features import OnDemand

Value = int | float | str | None
SAMPLE = 100
"""Rows at most for which a function is asked a second time."""


class FunctionFailedError(DataError):
    """A function of the project that did not answer a row as an on-demand feature must; values are never named."""


def answer(feature: OnDemand, values: Sequence[Value]) -> float | None:
    """What the function says of one row.

    Args:
        feature: The definition.
        values: The inputs, in the definition's order; of a float's two zeros the function sees the positive one.

    Returns:
        A finite number, or None where the function answers None or NaN.

    Raises:
        FunctionFailedError: if the function raises, or answers with an infinity or something that is no number.

    Example:
        >>> def ratio(a: float, b: float) -> float | None:
        ...     return a / b if b else None
        >>> speed = OnDemand("speed", ratio, inputs=["miles", "hours"])
        >>> answer(speed, [300.0, 2.0]), answer(speed, [300.0, 0.0])
        (150.0, None)
    """
    try:
        found = feature.function(*(value + 0.0 if isinstance(value, float) else value for value in values))
    except Exception as error:
        raise FunctionFailedError(
            f"The function of OnDemand {feature.name!r} raised {type(error).__name__}."
        ) from error
    if found is None:
        return None
    if not isinstance(found, numbers.Real | np.bool_):
        raise FunctionFailedError(
            f"The function of OnDemand {feature.name!r} returned a {type(found).__name__}. It returns a number, a bool or None."
        )
    try:
        number = float(found)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise FunctionFailedError(
            f"The function of OnDemand {feature.name!r} returned an infinite {type(found).__name__}. Return None where there "
            "is no finite number."
        )
    return None if math.isnan(number) else number


def answers(feature: OnDemand, rows: Sequence[tuple[Value, ...]]) -> list[float | None]:
    """What the function says of each row of a history; it is called once for rows that are the same.

    Args:
        feature: The definition.
        rows: Inputs of each row, without NaN.

    Raises:
        FunctionFailedError: as `answer` does, with the first row's number; or if a second call on every n-th of the
            distinct rows, `SAMPLE` at most, answers differently.

    Example:
        >>> def double(x: int) -> int:
        ...     return 2 * x
        >>> answers(OnDemand("twice", double, inputs=["x"]), [(1,), (2,), (1,)])
        [2.0, 4.0, 2.0]
    """
    known: dict[tuple[Value, ...], float | None] = {}
    for number, row in enumerate(rows, start=1):
        if row not in known:
            try:
                known[row] = answer(feature, row)
            except FunctionFailedError as error:
                raise FunctionFailedError(f"{error} The first such row is {number:,} of {len(rows):,}.") from error
    _check_pure(feature, list(known.items()))
    return [known[row] for row in rows]


def _check_pure(feature: OnDemand, known: Sequence[tuple[tuple[Value, ...], float | None]]) -> None:
    asked = known[:: math.ceil(len(known) / SAMPLE) or 1]
    if changed := sum(answer(feature, row) != before for row, before in asked):
        raise FunctionFailedError(
            f"The function of OnDemand {feature.name!r} answered differently when it was called again with the same values, in "
            f"{changed:,} of {len(asked):,} rows. It must be pure: without clocks, chance, or memory of earlier calls."
        )
