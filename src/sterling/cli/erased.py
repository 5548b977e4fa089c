"""What an erasing found and did, in sentences for people and as JSON for programs; never with the value itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sterling.views.text import listed, plural

if TYPE_CHECKING:
    from sterling.erasure.report import Holding, Report, Searched


_SHOWN = 5


def sentences(report: Report) -> Iterator[str]:
    """A report for people."""
    acted = report.searched is not None
    if not report.holdings and not report.files:
        yield f"Nothing that Sterling holds names them by {listed(report.columns)}."
    else:
        yield "Erased:" if acted else "Would erase:"
        yield from _table(report.holdings)
        yield from (f"  {name}, a file of the workspace, deleted" for name in report.files)
    if report.loose:
        yield f"{'Deleted' if acted else 'Would delete'} {plural(report.loose, 'blob')} that no entry needs."
    for one in report.in_the_way:
        yield f"In the way: {one.where}: {one.times:,}. First {one.remedy}."
    for may in report.also:
        shown = " ".join(f"{may.column}={value}" for value in may.values[:_SHOWN])
        more = f" and {len(may.values) - _SHOWN:,} more" if len(may.values) > _SHOWN else ""
        yield f"Perhaps theirs as well, and not erased unless you name it: {shown}{more}."
    if report.scored:
        yield f"Scores were written to {listed(report.scored)}, which is not searched: erase there yourself."
    if report.plain:
        yield (
            f"The value of {listed(report.plain)} is too short to be looked for in texts, where it would be found by "
            "chance: only columns were searched for it."
        )
    yield from _searched(report, report.searched) if report.searched else _not_yet(report)


def as_json(report: Report) -> dict[str, Any]:
    """A report for programs."""
    searched = report.searched._asdict() if report.searched else None
    return {
        "erased": searched is not None, "position": report.position, "columns": report.columns, "plain": report.plain,
        "holdings": [one._asdict() | {"cells": dict(one.cells)} for one in report.holdings], "files": report.files,
        "loose": report.loose, "in_the_way": [one._asdict() for one in report.in_the_way],
        "also": [one._asdict() for one in report.also], "searched": searched,
        "left": [one._asdict() for one in report.left], "scored": report.scored,
    }  # fmt: skip


def _table(holdings: Sequence[Holding]) -> Iterator[str]:
    """A line for each kind of thing, however many runs made one."""
    by_name: dict[tuple[str, str], list[Holding]] = {}
    for one in holdings:
        by_name.setdefault((one.what, one.fate), []).append(one)
    for (what, fate), same in by_name.items():
        yield f"  {what}{f' ({len(same)} of them)' if len(same) > 1 else ''}: {_amount(same)}, {fate}"


def _amount(same: Sequence[Holding]) -> str:
    rows, cells = sum(one.rows for one in same), sum(sum(one.cells.values()) for one in same)
    columns = sorted({column for one in same for column in one.cells} - {"text"})
    parts = [plural(rows, "row")] if rows else []
    if cells:
        where = f" in {listed(columns)}" if columns else ""
        parts.append(f"{plural(cells, 'place')}{where} where they are mentioned")
    nothing = {
        "deleted": "its rows cannot be told apart",
        "rewritten": "it follows a table that loses rows",
        "kept out": "they were read from it",
    }
    return listed(parts) if parts else nothing[same[0].fate]


def _not_yet(report: Report) -> Iterator[str]:
    if report.holdings or report.files or report.loose:
        yield "Nothing was changed: that takes --confirm."


def _searched(report: Report, searched: Searched) -> Iterator[str]:
    if report.position is not None:
        yield f"Recorded as entry {report.position}, without the value."
    yield (
        f"Searched {plural(searched.blobs, 'blob')}, {searched.tables:,} of them tables with "
        f"{plural(searched.rows, 'row')}, {plural(searched.files, 'other file')} and "
        f"{plural(searched.entries, 'entry', 'entries')}: {'found more' if report.left else 'nothing is left'}."
    )
    for place in report.left:
        yield f"Left: {place.where}: {place.times:,}."
