"""Leakage checks of levels: values, and missing ones, that tell the label where no other column does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sterling.stages.leak_sample import Finding, Rows, Sample
from sterling.stats.concordance import agreement, purity_bound

PURE = 0.97
"""Share of one class, on both sides of the split, from which a level holds that class alone, where also"""
PURE_BOUND = 0.85
"""its lower bound reaches this: few rows are pure by chance."""
SUPPORT = 0.005
"""Share of rows that a level needs."""
UNEXPLAINED = 0.1
"""How far a level's share of a class lies from what the other columns expect there: where they expect the same, the level
is no leak but one more sign of the same thing."""
APART = 0.75
"""Share of pairs (lower bound) in which a number is larger where a cell is missing, or smaller."""


class _Level(NamedTuple):
    place: int
    what: str
    rows: Rows
    share: float
    bound: float
    positive: bool


def levels(sample: Sample, seen: frozenset[str]) -> Iterator[Finding]:
    """Values, and missing ones, that hold one class alone where nothing else expects it."""
    if not sample.binary:
        return
    tests = max(1, sum(1 for place in range(len(sample.columns)) for _ in _values(sample, place)))
    for place, column in enumerate(sample.columns):
        if column.name in seen:
            continue
        levels = [level for value in _values(sample, place) if (level := _level(sample, place, value, tests))]
        levels += [level for level in _unlike(sample, place, tests) if level.what not in {one.what for one in levels}]
        if not levels:
            continue
        expected = sample.scores(sample.without(place), ~sample.holdout, np.ones(len(sample.label), bool))
        for level in levels:
            later = level.rows & sample.holdout
            asked = later if later.sum() >= 20 else level.rows
            usual = float(expected[asked].mean())
            if abs(usual - float(sample.label[asked].mean())) < UNEXPLAINED:
                continue
            check = "missingness" if level.what in {"missing", "there"} else "level"
            said = {"missing": "Where it is missing", "there": "Where it is there"}.get(
                level.what, f"Where it is {level.what}"
            )
            yield Finding(
                check, column.name,
                {"level": level.what, "rows": int(level.rows.sum()), "share_of_ones": float(sample.label[level.rows].mean()),
                 "bound": level.bound, "expected": usual},
                f"{said} ({int(level.rows.sum()):,} rows), {sample.label[level.rows].mean():.1%} of the labels are 1; the other "
                f"columns expect {usual:.1%}.",
                "Look up when and why it is filled in: what follows from the outcome must not be a feature.",
            )  # fmt: skip
            break


def _values(sample: Sample, place: int) -> Iterator[tuple[str, Rows]]:
    """The levels of a column that hold enough rows: missing, there, and its most frequent values."""
    column, values = sample.columns[place], sample.matrix[:, place]
    least = max(20, SUPPORT * len(values))
    missing = np.isnan(values)
    if least <= missing.sum():
        yield "missing", missing
    if least <= (~missing).sum() < len(values):
        yield "there", ~missing
    distinct, counts = np.unique(values[~missing], return_counts=True)
    for at in np.argsort(-counts, kind="stable")[:8]:
        if least <= counts[at] < len(values):
            name = repr(column.categories[int(distinct[at])]) if column.kind == "category" else f"{distinct[at]:g}"
            yield name, values == distinct[at]
            if at == np.argmax(counts) and len(values) - counts[at] - missing.sum() >= least:
                yield f"not {name}", ~missing & (values != distinct[at])


def _level(sample: Sample, place: int, value: tuple[str, Rows], tests: int) -> _Level | None:
    """A level that holds one class alone, on both sides of the split."""
    what, rows = value
    ones, count = int(sample.label[rows].sum()), int(rows.sum())
    for positive, hits in ((True, ones), (False, count - ones)):
        bound = purity_bound(hits, count, error_rate=sample.error_rate / (10 * tests))
        on_each = [sample.label[rows & side] == positive for side in (sample.holdout, ~sample.holdout)]
        if bound >= PURE_BOUND and all(len(side) and side.mean() >= PURE for side in on_each):
            return _Level(place, what, rows, hits / count, bound, positive)
    return None


def _unlike(sample: Sample, place: int, tests: int) -> Iterator[_Level]:
    """Missing cells that are far more frequent in one class, though not of it alone: at least eight times the odds."""
    missing = np.isnan(sample.matrix[:, place])
    counts = [int(missing.sum()), int((~missing).sum())]
    if min(counts) < max(20, SUPPORT * len(missing)):
        return
    ones = [int(sample.label[rows].sum()) for rows in (missing, ~missing)]
    error = sample.error_rate / (20 * tests)
    low = [purity_bound(hits, count, error_rate=error) for hits, count in zip(ones, counts, strict=True)]
    high = [1 - purity_bound(c - hits, c, error_rate=error) for hits, c in zip(ones, counts, strict=True)]
    for which, what in enumerate(("missing", "there")):
        lowest, highest = low[which], high[1 - which]
        if _odds(lowest) >= 8 * _odds(highest):
            yield _Level(place, what, (missing, ~missing)[which], ones[which] / counts[which], lowest, positive=True)


def missing_numbers(sample: Sample, seen: frozenset[str]) -> Iterator[Finding]:
    """Missing cells that tell how large a number is, where the other columns do not."""
    if sample.binary:
        return
    each = np.arange(len(sample.label))
    for place, column in enumerate(sample.columns):
        missing = np.isnan(sample.matrix[:, place])
        if column.name in seen or min(missing.sum(), (~missing).sum()) < max(20, SUPPORT * len(missing)):
            continue
        told = agreement(missing.astype(np.float64), sample.label, each, error_rate=sample.each)
        if max(told.lower, 1 - told.upper) < APART:
            continue
        expected = sample.scores(sample.without(place), ~sample.holdout, sample.holdout)
        later = missing[sample.holdout].astype(np.float64)
        usual = agreement(later, expected, np.arange(len(later)), error_rate=sample.each)
        if abs(told.value - 0.5) - abs(usual.value - 0.5) < UNEXPLAINED:
            continue
        yield Finding(
            "missingness", column.name,
            {"rows": int(missing.sum()), "concordance": told.value, "expected": usual.value},
            f"Where it is missing ({int(missing.sum()):,} rows) the label is {'larger' if told.value > 0.5 else 'smaller'} than "
            f"elsewhere in {max(told.value, 1 - told.value):.1%} of pairs; the other columns expect "
            f"{max(usual.value, 1 - usual.value):.1%}.",
            "Look up when and why it is filled in: what follows from the outcome must not be a feature.",
        )  # fmt: skip


def _odds(share: float) -> float:
    return share / max(1 - share, 1e-12)
