"""Leakage checks of whole rows: the same unit, the same group, or the same row on both sides of the split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.features.twins import Hashes, Twins, row_hashes, twins
from sterling.models.frame import Frame
from sterling.stages.leak_sample import Finding, Rows
from sterling.stats.concordance import purity_bound

TOLD_APART = 0.5
"""Share of the training rows that are like no other: where fewer are, the features are too coarse to tell rows apart,
and equal rows are no news."""
SHARE = 0.002
"""Share of the holdout that must have a twin, and"""
FEWEST_TWINS = 10
"""how many rows at least: a table of people holds a few equal ones by chance."""
PLACEBO = 2.0
"""How many times larger the share of the holdout that is nearly equal to a training row must be (lower bound) than that of
the last training rows among the training rows before them (upper bound): where features are few and smooth, neighbours
are no copies."""
ALIKE = 0.8
"""Chance-corrected agreement of twins' labels (kappa or rank correlation): twins that are one row agree in nearly all."""


def check_rows(frame: Frame, train: Rows, judged: Rows, groups: Sequence[str], error_rate: float) -> Iterator[Finding]:
    """Every finding about rows.

    Args:
        frame: All rows.
        train: The rows that train.
        judged: The rows of the holdout.
        groups: Columns of the frame whose values must not stand on both sides.
        error_rate: Of each test.
    """
    yield from _shared(train, judged, "unit", frame.table["unit"], "units")
    for group in groups:
        yield from _shared(train, judged, group, frame.slice_values(group), "groups")
    yield from _twins(frame, train, judged, error_rate)


def _shared(train: Rows, judged: Rows, name: str, values: pa.Array | pa.ChunkedArray, check: str) -> Iterator[Finding]:
    there, here = values.filter(pa.array(judged)), pc.unique(values.filter(pa.array(train))).drop_null()
    again = pc.sum(pc.is_in(there, value_set=here)).as_py() or 0
    if not again:
        return
    distinct = len(pc.unique(there.filter(pc.is_in(there, value_set=here))))
    remedy = (
        "Give each row to one side: an event is predicted once."
        if check == "units"
        else f"Split by it (cv=sl.GroupKFold(…, by={name!r})), choose a holdout with others, or do not declare it a group."
    )
    yield Finding(
        check, name, {"rows": int(again), "share": again / max(1, int(judged.sum())), "values": distinct},
        f"{distinct:,} of its values stand on both sides of the split, in {again:,} of {int(judged.sum()):,} rows of the holdout.",
        remedy,
    )  # fmt: skip


def _twins(frame: Frame, train: Rows, judged: Rows, error_rate: float) -> Iterator[Finding]:
    if not frame.features:
        return
    rows = frame.take(train | judged)
    side = judged[train | judged]
    exact, *grids = row_hashes(
        ((rows.encode([column])[:, 0], column.kind == "category") for column in rows.columns()), len(rows)
    )
    label = rows.label
    found = twins(exact[~side], exact[side])
    if finding := _same("duplicates", "equal", found, label[~side], label[side], error_rate):
        yield finding
        return
    near = _merged([twins(grid[~side], grid[side]) for grid in grids])
    finding = _same("near_duplicates", "nearly equal", near, label[~side], label[side], error_rate)
    share = purity_bound(len(near.judged), int(side.sum()), error_rate=error_rate)
    if finding and share >= PLACEBO * _placebo([grid[~side] for grid in grids], int(side.sum()), error_rate):
        yield finding


def _merged(found: Sequence[Twins]) -> Twins:
    """Rows that have a twin on any grid."""
    judged, first = np.unique(np.concatenate([one.judged for one in found]), return_index=True)
    trained = np.concatenate([one.trained for one in found])[first]
    return Twins(judged, trained, min(one.unique for one in found))


def _placebo(grids: Sequence[Hashes], rows: int, error_rate: float) -> float:
    """Upper bound of the share of the last training rows that are nearly equal to one before them.

    There are fewer rows before them than before the holdout, so the share is scaled by how many fewer.
    """
    last = min(rows, len(grids[0]) // 2)
    twin = _merged([twins(grid[:-last], grid[-last:]) for grid in grids])
    upper = 1 - purity_bound(last - len(twin.judged), last, error_rate=error_rate)
    return upper * len(grids[0]) / (len(grids[0]) - last)


def _same(
    check: str, how: str, found: Twins, trained: NDArray[np.float64], judged: NDArray[np.float64], error_rate: float
) -> Finding | None:
    count, rows = len(found.judged), len(judged)
    if found.unique < TOLD_APART or count < max(FEWEST_TWINS, SHARE * rows):
        return None
    mine, theirs = judged[found.judged], trained[found.trained]
    alike = float((mine == theirs).mean())
    kappa = _chance_corrected(mine, theirs, error_rate)
    if kappa < ALIKE:
        return None
    return Finding(
        check, "rows",
        {"rows": count, "share": count / rows, "same_label": alike, "agreement": kappa, "unique": found.unique},
        f"{count:,} of {rows:,} rows of the holdout are {how} to a training row in every feature, and {alike:.1%} of these have "
        "its label.",
        "Take each row once (checks.Unique on what names it) before the split, or keep copies of one row on one side.",
    )  # fmt: skip


def _chance_corrected(mine: NDArray[np.float64], theirs: NDArray[np.float64], error_rate: float) -> float:
    """Agreement beyond chance: Cohen's (1960) kappa of classes at the bound of what agrees; the correlation of numbers."""
    values = np.unique(np.concatenate([mine, theirs]))
    if len(values) > 20:
        return float(np.corrcoef(mine, theirs)[0, 1])
    hits = int((mine == theirs).sum())
    chance = float(sum((mine == value).mean() * (theirs == value).mean() for value in values))
    if chance >= 1:
        return 0.0  # twins of one class alone: customers who do nothing are alike, and none of them leaves
    share = hits / len(mine)
    bound = purity_bound(hits, len(mine), error_rate=error_rate)
    return (share - chance) / (1 - chance) if bound > chance else 0.0
