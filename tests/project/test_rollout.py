from __future__ import annotations

from collections.abc import Callable

import pytest

import sterling as sl
from sterling.core.errors import InvalidDefinitionError
from sterling.project.rollout import WHOLE, check_rollout, millionths, shown


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: sl.Canary("5", "1d"), "Canary.share is '5'. Write a share from 0% to 100%"),
        (lambda: sl.Canary("0%", "1d"), "It lies between 0 % and 100 %"),
        (lambda: sl.Canary("100%", "1d"), "It lies between 0 % and 100 %"),
        (lambda: sl.Canary("0.00001%", "1d"), "four decimals at most"),
        (lambda: sl.Canary("5%", "soon"), "Canary.lasts is 'soon'"),
        (lambda: sl.Shadow("0d"), "it must be longer than nothing"),
        (lambda: sl.Routing(holdout="60%", explore="40%"), "leave nobody"),
        (
            lambda: check_rollout([sl.Canary("5%", "1d"), sl.Shadow("1d")]),
            "one Shadow at most, and before every Canary",
        ),
        (lambda: check_rollout([sl.Canary("25%", "1d"), sl.Canary("5%", "1d")]), "Canary '5%' follows '25%'"),
    ],
)
def test_what_cannot_be_meant_is_refused(build: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidDefinitionError) as refused:
        build()
    assert said in str(refused.value)


def test_shares_are_exact() -> None:
    assert [millionths(share) for share in ("0%", "0.0001%", "33.3333 %", "100%")] == [0, 1, 333_333, WHOLE]
    assert [shown(share) for share in (1, 333_333, WHOLE)] == ["0.0001 %", "33.3333 %", "100 %"]
