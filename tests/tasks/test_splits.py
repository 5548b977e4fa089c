"""Folds before a holdout."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.errors import DataError
from sterling.project.splits import GroupKFold, KFold, Split, StratifiedKFold, TimeSeriesSplit
from sterling.tasks.splits import Part, parts, rolling_origin
from tests.models.frames import DAY

NEVER = np.iinfo(np.int64).max


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


TIMED = st.sampled_from(
    [TimeSeriesSplit(2, block="9d"), TimeSeriesSplit(3, block="4d", gap="2d"), GroupKFold(2, "g", block="8d", gap="1d")]
)
UNTIMED = st.sampled_from([KFold(3, why="a test"), StratifiedKFold(2, why="a test"), GroupKFold(3, "g", why="a test")])
HOLDOUT = 40 * DAY


class Rows:
    """Rows that mature up to three weeks after their prediction, some never."""

    def __init__(self, seed: int, rows: int = 400, groups: int = 25) -> None:
        rng = np.random.default_rng(seed)
        self.at = np.sort(rng.integers(0, 60 * DAY, rows))
        self.matured = self.at + rng.integers(0, 21 * DAY, rows)
        self.matured[rng.random(rows) < 0.05] = NEVER
        self.label = np.where(self.matured == NEVER, np.nan, rng.integers(0, 2, rows))
        self.groups = np.array([f"g{n}" for n in rng.integers(0, groups, rows)], object)

    def known_before(self, moment: int) -> Any:
        return (self.at < moment) & (self.matured < moment)

    def parts(self, split: Split) -> list[Part]:
        return list(parts(split, self.at, self.known_before, self.label, self.groups, HOLDOUT))


@settings(deadline=None)
@given(st.integers(0, 10_000), TIMED)
def test_labels_that_had_not_matured_at_the_end_of_a_fold_s_training_never_enter_it(seed: int, split: Split) -> None:
    rows = Rows(seed)
    for part in rows.parts(split):
        assert part.block
        assert (rows.matured[part.train] < part.block.train_before).all()
        assert (rows.at[part.train] < part.block.train_before).all()
        assert ((rows.at[part.judged] >= part.block.start) & (rows.at[part.judged] < part.block.end)).all()
        assert not (part.train & part.judged).any()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.one_of(TIMED, UNTIMED))
def test_labels_that_had_not_matured_before_the_holdout_take_no_part(seed: int, split: Split) -> None:
    rows = Rows(seed)
    for part in rows.parts(split):
        assert (rows.matured[part.train | part.judged] < HOLDOUT).all()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([GroupKFold(3, "g", why="a test"), GroupKFold(2, "g", block="8d")]))
def test_no_group_stands_on_both_sides_of_a_fold(seed: int, split: Split) -> None:
    rows = Rows(seed)
    for part in rows.parts(split):
        assert not set(rows.groups[part.train]) & set(rows.groups[part.judged])


@settings(deadline=None)
@given(st.integers(0, 10_000), UNTIMED)
def test_folds_that_ignore_time_judge_every_row_once(seed: int, split: Split) -> None:
    rows = Rows(seed)
    found = rows.parts(split)
    assert (sum(part.judged.astype(int) for part in found) == rows.known_before(HOLDOUT)).all()
    assert all(((part.train ^ part.judged) == rows.known_before(HOLDOUT)).all() for part in found)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_stratified_folds_hold_as_many_of_each_class_as_can_be(seed: int, folds: int) -> None:
    rows = Rows(seed)
    counts = np.array([
        [int((rows.label[part.judged] == value).sum()) for value in (0, 1)]
        for part in rows.parts(StratifiedKFold(folds, why="a test"))
    ])  # fmt: skip
    assert (np.ptp(counts, axis=0) <= 1).all()


def test_grouped_folds_are_of_like_size_as_those_of_scikit_learn() -> None:
    from sklearn import model_selection

    rows = Rows(3)
    usable = rows.known_before(HOLDOUT)
    ours = sorted(int(part.judged.sum()) for part in rows.parts(GroupKFold(4, "g", why="a test")))
    folds = model_selection.GroupKFold(4).split(rows.at[usable], groups=rows.groups[usable].astype(str))
    assert ours == sorted(len(judged) for _, judged in folds)


def test_the_same_seed_gives_the_same_folds() -> None:
    rows = Rows(1)
    first, again = (rows.parts(KFold(3, why="a test")) for _ in range(2))
    assert all((one.judged == other.judged).all() for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("split", "change", "said"),
    [
        (GroupKFold(3, "g", why="a test"), {"groups": None}, "rows name no groups"),
        (GroupKFold(3, "g", why="a test"), {"groups": np.array(["a", None] * 200, object)}, "rows before the holdout have no 'g'"),
        (GroupKFold(3, "g", why="a test"), {"groups": np.array(["a", "b"] * 200, object)}, "names 2 groups"),
        (StratifiedKFold(2, why="a test"), {"label": np.arange(400.0)}, "use KFold or TimeSeriesSplit for numbers"),
        (StratifiedKFold(9, why="a test"), {"label": np.array([1.0, *[0.0] * 399])}, r"1 labels before the holdout are 1"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_split_are_refused(split: Split, change: dict[str, Any], said: str) -> None:
    rows = Rows(0)
    given_rows = {"label": rows.label, "groups": rows.groups} | change
    if "label" in change:
        rows.matured[:] = rows.at
    with pytest.raises(DataError, match=said):
        list(parts(split, rows.at, rows.known_before, given_rows["label"], given_rows["groups"], HOLDOUT))
