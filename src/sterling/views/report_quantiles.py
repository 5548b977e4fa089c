"""The tables of predicted quantiles: how many labels lie below each, and how many between two of them."""

from __future__ import annotations

from collections.abc import Iterator

from sterling.core.evidence import Entry
from sterling.views.report import Report
from sterling.views.tables import Row, Table
from sterling.views.text import cite, interval, number, percent


def quantile_tables(report: Report) -> Iterator[Table]:
    """The tables of a candidate that answers with quantiles; none of another."""
    fact = report.fact("calibration.measured")
    if fact and "levels" in fact.body:
        yield intervals_table(fact)
        yield levels_table(fact)


def intervals_table(fact: Entry) -> Table:
    """The share of labels inside each interval, beside the share that should be, and how wide it is."""
    rows = [
        Row((
            f"{one['lower']} to {one['upper']}", percent(one["nominal"]), _share(one), number(one["width"]),
            cite(fact.position),
        ), strong=_misses(one))
        for one in fact.body["intervals"]
    ]  # fmt: skip
    note = "Inside: share of the holdout's labels between the two quantiles, with a 95 % interval; width in the label's unit."
    if fact.body["reason"]:
        note += f" No interval: {fact.body['reason']}"
    return Table("Intervals", ("quantiles", ">should be", ">inside", ">width", ""), tuple(rows), note=note)


def levels_table(fact: Entry) -> Table:
    """The share of labels at or below each quantile, and its pinball loss."""
    rows = [
        Row(
            (one["level"], percent(one["nominal"]), _share(one), number(one["pinball"]), cite(fact.position)),
            strong=_misses(one),
        )
        for one in fact.body["levels"]
    ]
    note = "Below: share of labels at or below the quantile, with a 95 % interval."
    return Table("Quantiles", ("level", ">should be", ">below", ">pinball loss", ""), tuple(rows), note=note)


def _share(one: dict[str, float | None]) -> str:
    share, low, high = (None if one[side] is None else 100 * one[side] for side in ("share", "low", "high"))  # type: ignore[operator]
    return f"{interval(share, low, high)} %"


def _misses(one: dict[str, float | None]) -> bool:
    """Whether the share that should be lies outside of the interval."""
    low, high, nominal = one["low"], one["high"], one["nominal"]
    return low is not None and high is not None and nominal is not None and not low <= nominal <= high
