"""Folds before a holdout."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sterling.project.recipe import TimeSeriesSplit
from sterling.tasks.splits import rolling_origin
from tests.models.frames import DAY


@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 5), st.integers(0, 20_000))
def test_blocks_touch_end_at_the_holdout_and_follow_their_training_by_the_gap(
    folds: int, block: int, gap: int, start: int
) -> None:
    found = rolling_origin(TimeSeriesSplit(folds, block=f"{block}d", gap=f"{gap}d"), start * DAY)
    assert [fold.number for fold in found] == list(range(1, folds + 1))
    assert found[-1].end == start * DAY
    assert all(fold.end - fold.start == block * DAY for fold in found)
    assert all(fold.start - fold.train_before == gap * DAY for fold in found)
    assert all(before.end == after.start for before, after in pairwise(found))
