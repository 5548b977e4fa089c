"""Versions of the history in the log of rows that arrive, so that a later version of an event finds those before it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sterling.engine.tables import AnyTable
from sterling.features.arriving import RowReader
from sterling.features.availability import Source
from sterling.features.cells import listed
from sterling.features.event_log import EventLog
from sterling.project.sources import EventSource

_AT_ONCE = 1_000


def seed(log: Path, source: Source, table: AnyTable) -> int:
    """Put the versions of a source's events into the log, each once.

    Args:
        log: File of the log.
        source: The source, whose rows are versions.
        table: Its rows.

    Returns:
        The offset up to which the rows are in the log and in the table; 0 where others lie between them.
    """
    assert isinstance(source, EventSource)
    names = listed(table)
    kept = EventLog(log, [RowReader(source, {name: str(table.schema.field(name).type) for name in names})])
    try:
        others = kept.head()
        for rows in _batches(table, names):
            kept.push(source.name, rows)
        return 0 if others else kept.head()
    finally:
        kept.close()


def _batches(table: AnyTable, names: list[str]) -> Iterator[list[dict[str, Any]]]:
    cells = table.select(names)
    for start in range(0, table.num_rows, _AT_ONCE):
        rows = cells.slice(start, _AT_ONCE).to_pylist()
        yield [{name: _said(cell) for name, cell in row.items() if cell is not None} for row in rows]


def _said(cell: Any) -> Any:
    """A cell as JSON has it."""
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return str(cell) if isinstance(cell, Decimal) else cell
