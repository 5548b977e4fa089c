"""The tables of several classes: each with its precision and recall, what is mistaken for what, and each class's calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sterling.core.evidence import Entry
from sterling.views.report import Report
from sterling.views.tables import Row, Table
from sterling.views.text import cite, interval, number

_WIDEST = 8
"""A confusion matrix of more classes than this does not fit a terminal; the mistakes that are made most often do."""
_NAME = 14


def class_tables(report: Report, most: int | None = None) -> Iterator[Table]:
    """The tables of a candidate that answers with classes; none of another.

    Args:
        report: The run.
        most: How many classes each table shows; all where it is None.
    """
    if fact := report.fact("classes.measured"):
        yield classes_table(fact, most)
        yield mistaken_table(fact)
    fact = report.fact("calibration.measured")
    if fact and "classes" in fact.body:
        yield calibration_of_classes(fact, most)


def classes_table(fact: Entry, most: int | None = None) -> Table:
    """Precision and recall of each class, the most frequent class first."""
    body = fact.body
    ordered = sorted(body["classes"], key=lambda one: -one["rows"])
    rows = [
        Row((
            one["class"], number(one["rows"]), number(one["predicted"]), _share(one["precision"]), _share(one["recall"]),
            cite(fact.position),
        ))
        for one in ordered[:most]
    ]  # fmt: skip
    note = "Each row is said to be of its most probable class. In brackets: 95 % intervals, each by itself."
    left = len(body["classes"]) - len(rows) + body["not_shown"]
    note += f" {left} rarer classes are not shown." if left else ""
    if unknown := body["unknown"]:
        named = ", ".join(
            f"{name} ({number(count)})" for name, count in sorted(unknown.items(), key=lambda p: -p[1])[:5]
        )
        note += f" Beware: training did not know {named}; these rows are errors under every metric."
    return Table("Classes", ("class", ">rows", ">said", ">precision", ">recall", ""), tuple(rows), note=note)


def mistaken_table(fact: Entry) -> Table:
    """The confusion matrix; of many classes the mistakes that are made most often."""
    body = fact.body
    names = [one["class"] for one in body["classes"]]
    if body["confusion"] is None or len(names) > _WIDEST:
        rows = [Row((one["came"], one["said"], number(one["rows"]), cite(fact.position))) for one in body["confused"]]
        note = "The mistakes that are made most often."
        return Table("Confusion of classes", ("came", "said", ">rows", ""), tuple(rows), empty="No mistake.", note=note)
    found = [
        Row((name, *map(number, counts), cite(fact.position)))
        for name, counts in zip(names, body["confusion"], strict=True)
    ]
    columns = ("came", *(f">{name[:_NAME]}" for name in names), "")
    return Table(
        "Confusion of classes",
        columns,
        tuple(found),
        note="Rows by the class that came and, in columns, the one that was said.",
    )


def calibration_of_classes(fact: Entry, most: int | None = None) -> Table:
    """For each class how often it is said to come and how often it comes, and the bin of it that is furthest off."""
    rows = []
    ordered = sorted(fact.body["classes"], key=lambda one: -_observed(one["bins"]))
    for one in ordered[:most]:
        worst = max(one["bins"], key=lambda found: abs(found["predicted"] - found["observed"]))
        cells = (
            one["class"], number(_mean(one["bins"], "predicted")), number(_mean(one["bins"], "observed")),
            number(worst["predicted"]), interval(worst["observed"], worst["low"], worst["high"]), cite(fact.position),
        )  # fmt: skip
        rows.append(Row(cells))
    note = "Mean probability of each class and its share of the rows; then the same in the bin, of ten, that is furthest off."
    columns = "class", ">predicted", ">observed", ">worst bin", ">observed there", ""
    return Table("Calibration of classes", columns, tuple(rows), note=note)


def _share(found: Mapping[str, Any]) -> str:
    return "–" if found["value"] is None else interval(found["value"], found["low"], found["high"])


def _mean(bins: Any, what: str) -> float:
    rows: int = sum(found["rows"] for found in bins)
    return float(sum(found[what] * found["rows"] for found in bins) / rows)


def _observed(bins: Any) -> float:
    return _mean(bins, "observed")
