"""A split that ignores time is refused unless the project says why."""

from __future__ import annotations

import pytest

from sterling.core.errors import InvalidDefinitionError
from sterling.project.splits import GroupKFold, KFold, Split, StratifiedKFold, TimeSeriesSplit, reason_of


@pytest.mark.parametrize("why", [None, "", "  "])
def test_a_split_that_ignores_time_needs_a_reason(why: str | None) -> None:
    for make in (lambda: KFold(5, why), lambda: StratifiedKFold(5, why), lambda: GroupKFold(5, "customer", why=why)):
        with pytest.raises(InvalidDefinitionError, match=r"ignores time, and every row has a moment.*why="):
            make()


@pytest.mark.parametrize(
    ("split", "why"),
    [
        (KFold(5, "drawn in one hour"), "drawn in one hour"),
        (GroupKFold(5, "customer", why="drawn in one hour"), "drawn in one hour"),
        (GroupKFold(2, "customer", block="7d"), None),
        (TimeSeriesSplit(3), None),
    ],
)
def test_the_reason_is_on_record_where_time_is_ignored(split: Split, why: str | None) -> None:
    assert reason_of(split) == why


@pytest.mark.parametrize(
    "make", [lambda: KFold(1, "x"), lambda: GroupKFold(1, "c", why="x"), lambda: GroupKFold(0, "c", block="7d")]
)
def test_too_few_folds_are_refused(make: object) -> None:
    with pytest.raises(InvalidDefinitionError, match="It is at least"):
        make()  # type: ignore[operator]
