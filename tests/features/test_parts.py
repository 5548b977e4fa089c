from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.features.parts import deal, each

codes = st.lists(st.integers(-1, 400), max_size=60)


@given(codes, codes, st.integers(1, 30))
@settings(deadline=None)
def test_each_event_and_each_moment_of_a_key_that_is_asked_for_is_in_one_part_in_its_order(
    events: list[int], moments: list[int], rows: int
) -> None:
    parts = deal(np.array(events, np.int64), np.array(moments, np.int64), rows)
    asked = set(moments) - {-1}
    kept = [n for n, key in enumerate(events) if key in asked]
    assert sorted(row for part in parts for row in part.events.tolist()) == kept
    assert sorted(row for part in parts for row in part.moments.tolist()) == [
        n for n, k in enumerate(moments) if k >= 0
    ]
    keys = [[{of[row] for row in some} for of, some in ((events, p.events), (moments, p.moments))] for p in parts]
    assert sum(len(asked_for) for _, asked_for in keys) == len(asked)
    for part, (known, asked_for) in zip(parts, keys, strict=True):
        assert known <= asked_for
        assert part.first == min(asked_for)
        assert part.events.tolist() == sorted(part.events.tolist())


def test_work_that_fails_in_one_part_fails() -> None:
    def work(part: Any) -> None:
        raise OverflowError(f"in {part.first}")

    with pytest.raises(OverflowError, match="in 0"):
        each(deal(np.arange(9), np.arange(9), rows=1), work)
