from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.errors import DataError
from sterling.features.on_demand import SAMPLE, FunctionFailedError, answer, answers
from sterling.project.features import OnDemand

COUNTER = itertools.count()
SECRET = 12345.678


def on_demand(function: Any) -> OnDemand:
    return OnDemand("made", function, inputs=["x"])


def echo(x: Any) -> Any:
    return x


def count_calls(x: object) -> int:
    return next(COUNTER)


def fail_at_two(x: float) -> float:
    if x == 2:
        raise ValueError(f"{SECRET} is wrong")
    return x


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, 1.0), (2.5, 2.5), (True, 1.0), (None, None), (math.nan, None), (np.int64(3), 3.0), (np.bool_(True), 1.0),
        (np.float32(0.5), 0.5),
    ],
)  # fmt: skip
def test_numbers_bools_and_none_are_answers_and_nan_is_null(value: object, found: float | None) -> None:
    def constant(x: object) -> object:
        return value

    constant.__qualname__ = "constant"
    assert answer(on_demand(constant), [1]) == found


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.inf, "an infinite float"), (10**400, "an infinite int"), ("12345.678", "a str"), ([SECRET], "a list"),
        (SECRET * 1j, "a complex"),
    ],
)  # fmt: skip
def test_other_answers_are_refused_by_type_and_never_by_value(value: object, said: str) -> None:
    def constant(x: object) -> object:
        return value

    constant.__qualname__ = "constant"
    with pytest.raises(DataError, match=f"OnDemand 'made' returned {said}") as refused:
        answer(on_demand(constant), [1])
    assert "12345" not in str(refused.value)


def test_an_exception_names_its_type_and_the_first_row_and_no_value() -> None:
    with pytest.raises(FunctionFailedError, match=r"raised ValueError\. The first such row is 3 of 3") as refused:
        answers(on_demand(fail_at_two), [(1.0,), (1.0,), (2.0,)])
    assert "12345" not in str(refused.value)


def test_a_function_with_a_memory_is_refused() -> None:
    with pytest.raises(FunctionFailedError, match=f"in {SAMPLE} of {SAMPLE} rows. It must be pure"):
        answers(on_demand(count_calls), [(number,) for number in range(20 * SAMPLE)])


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))))
def test_each_row_of_a_history_is_answered_as_it_is_alone(values: list[float | None]) -> None:
    rows = [(value,) for value in values]
    alone = [answer(on_demand(echo), row) for row in rows]
    assert [str(value) for value in answers(on_demand(echo), rows)] == [str(value) for value in alone]


def test_rows_that_are_the_same_are_asked_once_but_for_the_sample() -> None:
    calls = []

    def noted(x: int) -> int:
        calls.append(x)
        return x

    noted.__qualname__ = "noted"
    assert answers(on_demand(noted), [(1,), (2,)] * 1000) == [1.0, 2.0] * 1000
    assert len(calls) == 4
