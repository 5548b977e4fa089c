"""The log that an online state follows: what became known of a source's events, in the order in which it did.

It is made from the same rows and clocks as the offline features, and has one entry for each event and each different
availability of what is read of it. A history is replayed from it; rows that arrive are turned into it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sterling.engine.contract import Engine
from sterling.engine.tables import AnyTable
from sterling.features.availability import AVAILABLE_AT, EVENT_ID, EVENT_TIME, REPLACED_AT
from sterling.features.cells import column_of, fitting
from sterling.features.events import SourceEvents
from sterling.features.exact import Ints
from sterling.features.inside import Values
from sterling.features.online import Change, Selection, ViewPlan, entity_key
from sterling.features.windows import NEVER, Keys, latest
from sterling.project.features import FeatureView


class Log:
    """The changes of a source's events for one view, by entity and, within it, by time.

    Args:
        plan: The view.
        table: Rows of its source with their clocks, as snapshots have them.
        engine: Where conditions are computed.
        arrived: Whether the rows follow a history. Then an event that ended before it would have entered leaves all the
            same: the history, which did not know its end, may have it wait. Of versions the history's are known too.

    Attributes:
        keys: The entities, packed.
    """

    def __init__(self, plan: ViewPlan, table: AnyTable, engine: Engine, *, arrived: bool = False) -> None:
        events = SourceEvents(plan.source, plan.entities, table, engine)
        codes, self.keys = _entities(events, plan)
        self._available = latest([table.column(AVAILABLE_AT)])
        self._ids = _ids(table, named=getattr(plan.source, "event_id", None) is not None)
        self._values = [_values(plan, selection, events) for selection in plan.selections]
        pairs = zip(plan.selections, plan.reaches, strict=True)
        parts = [_changes(plan, selection, reach, events, codes, arrived=arrived) for selection, reach in pairs]
        joined = _Changes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        lanes = np.repeat(np.arange(len(parts)), [len(part.times) for part in parts])
        order = np.lexsort((joined.times, codes[joined.rows]))
        self._changes, self._lanes = _Changes(*(column[order] for column in joined)), lanes[order]
        self._starts = np.searchsorted(codes[self._changes.rows], np.arange(len(self.keys) + 1)).tolist()

    def __len__(self) -> int:
        return len(self._lanes)

    def of(self, number: int) -> list[Change]:
        """The changes of one entity, in the order of their times."""
        part = slice(self._starts[number], self._starts[number + 1])
        times, enters, positions, rows = (column[part] for column in self._changes)
        lanes = self._lanes[part]
        ties = zip(self._available[rows].tolist(), self._ids[rows].tolist(), strict=True)
        values = np.empty(len(rows), object)
        for lane in np.unique(lanes).tolist():
            here = lanes == lane
            values[here] = self._values[lane][rows[here]]
        columns = (times.tolist(), lanes.tolist(), enters.tolist(), positions.tolist(), ties, values.tolist())
        return list(zip(*columns, strict=True))


class _Changes(NamedTuple):
    """Columns of changes: when, whether the event enters, where it stands, and its row in the table."""

    times: NDArray[Any]
    enters: NDArray[Any]
    positions: NDArray[Any]
    rows: NDArray[Any]


def _changes(
    plan: ViewPlan, selection: Selection, reach: int, events: SourceEvents, codes: Ints, *, arrived: bool
) -> _Changes:
    """When each event enters the lane of a selection, which is when a window first reaches it, and when it leaves."""
    place = _place(plan)
    every = np.arange(events.table.num_rows)
    known, happened = events.known(selection.clocks, every), events.begun((EVENT_TIME,), every)
    end = np.full(len(known), NEVER)
    if selection.until:
        end = events.ends(selection.until, place)[0]
    elif (untrue := events.untrue()) is not None:
        end = untrue
    if plan.replaces:
        end = np.minimum(end, latest([events.table.column(REPLACED_AT)]))
    chosen = events.chosen(selection.column, selection.where, place).flags
    positions = known if selection.known else happened
    begin = np.maximum(known, positions - reach)
    read = chosen & (codes >= 0) & (happened < NEVER)
    rows = np.flatnonzero(read & (begin < end))
    left = np.flatnonzero(read & (known < NEVER) & (end < NEVER) & ((begin < end) | (arrived and not plan.replaces)))
    return _Changes(
        np.concatenate([begin[rows], end[left]]),
        np.arange(len(rows) + len(left)) < len(rows),
        positions[np.concatenate([rows, left])],
        np.concatenate([rows, left]),
    )


def _entities(events: SourceEvents, plan: ViewPlan) -> tuple[Ints, list[bytes]]:
    """A number for each event's entity, -1 for none, and the entities."""
    cells = [column_of(events.table, name, _place(plan)) for name in plan.entities]
    codes = Keys(cells, [cell.type for cell in cells]).codes
    known, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    missing = int(len(known) > 0 and known[0] < 0)
    parts = [cell.take(pa.array(first[missing:])).to_pylist() for cell in cells]
    keys = [entity_key(entity) or b"" for entity in zip(*parts, strict=True)]
    return numbers.astype(np.int64) - missing, keys


def _ids(table: AnyTable, *, named: bool) -> NDArray[np.object_]:
    """What tells events apart; rows of the same content, where nothing names them, are counted."""
    ids = table.column(EVENT_ID).to_numpy()
    if named:
        return np.asarray(ids, object)
    seen: dict[str, int] = {}
    for index, name in enumerate(ids):
        copies = seen[name] = seen.get(name, 0) + 1
        if copies > 1:
            ids[index] = f"{name}#{copies}"
    return np.asarray(ids, object)


def _values(plan: ViewPlan, selection: Selection, events: SourceEvents) -> NDArray[np.object_]:
    """What a selection reads of each event, as Python's own values."""
    if selection.column is None:
        return np.full(events.table.num_rows, None, object)
    cells = column_of(events.table, selection.column, _place(plan))
    if selection.picked:
        return _objects(fitting(cells, selection.column).to_pylist())
    values = Values(cells)
    if values.scale is not None:
        low, high = values.words
        return np.asarray(high.astype(object) * 2**64 + low.astype(object), object)
    if pa.types.is_floating(values.type):
        return _objects((values.numbers + 0.0).tolist())  # of the two zeros the positive one
    if values.whole:
        return _objects(values.numbers.tolist())
    return _objects([None if cell is None else str(cell) for cell in cells.to_pylist()])


def _objects(cells: list[Any]) -> NDArray[np.object_]:
    array = np.empty(len(cells), object)
    array[:] = cells
    return array


def _place(plan: ViewPlan) -> str:
    feature = plan.feature
    return f"FeatureView {feature.name!r}" if isinstance(feature, FeatureView) else plan.source.name
