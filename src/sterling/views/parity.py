"""Parity, feature by feature: what the replay of a log found, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sterling.core.evidence import Entry
from sterling.views.tables import Row, Table
from sterling.views.text import cite, number


def parity_table(entries: Iterable[Entry]) -> Table:
    """The cells of each feature that were compared, and those that are not what they should be.

    Args:
        entries: ``parity.measured`` entries.
    """
    found = tuple(entries)
    columns = "feature", "", ">cells", ">not equal", ">different", ""
    note = (
        "Every cell of the history beside what the code that serves answers at that moment. Floats that are not equal differ "
        "where they lie further apart than 1e-12 of their size. What is brought has to come with a request."
    )
    return Table("Parity", columns, tuple(_rows(found)), empty="no feature has two ways to be computed", note=note)


def skew_table(found: Iterable[tuple[str, int, int, Mapping[str, int]]]) -> Table:
    """Served vectors beside the history, view by view.

    Args:
        found: For each view its name, how many vectors were compared, how many are equal, and the causes of the others.
    """
    rows = (
        Row(
            (
                view,
                number(vectors),
                number(equal),
                ", ".join(f"{cause} {number(count)}" for cause, count in why.items()),
            )
        )
        for view, vectors, equal, why in found
    )
    columns = "view", ">vectors", ">equal", "why the others differ"
    note = (
        "Late data: the rows came after the moment. Write lag: they had come, and were not in the state yet. Other pipeline: "
        "no row that came explains it."
    )
    return Table(
        "Served", columns, tuple(rows), empty="no served vectors were kept: sterling serve --record", note=note
    )


def differs(entries: Iterable[Entry]) -> bool:
    """Whether any cell is different."""
    return any(feature["different"] for entry in entries for feature in entry.body["features"])


def _rows(entries: Iterable[Entry]) -> Iterator[Row]:
    for entry in entries:
        for feature in entry.body["features"]:
            mark = "✓" if feature["first"] is None else f"✗ from row {number(feature['first'])}"
            counts = (number(feature[what]) for what in ("cells", "unequal", "different"))
            yield Row((feature["name"], mark, *counts, cite(entry.position)))
        for feature in entry.body["not_served"]:
            yield Row((feature["name"], "–", "brought", "", "", cite(entry.position)))
