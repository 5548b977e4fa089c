"""Served vectors against the history: which differ, and why.

| cause | the served cells are not those of the history now, and |
|---|---|
| ``definition changed`` | the view is another one now |
| ``float order`` | floats alone differ, within the tolerance |
| ``late data`` | they are what the rows that had arrived by then say: others came after the moment |
| ``write lag`` | they are what the rows that had been applied say: others had arrived and were not applied yet |
| ``other pipeline`` | no rows that arrived explain them: the history comes from elsewhere, and says something else |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from sterling.engine.contract import Engine
from sterling.engine.tables import AnyTable
from sterling.features.applier import Rows
from sterling.features.arriving import RowReader
from sterling.features.cells import listed
from sterling.features.changes import Log
from sterling.features.event_log import EventLog
from sterling.features.online import Change, Value, ViewPlan
from sterling.features.parity import close
from sterling.features.served import Served
from sterling.project.features import view_name
from sterling.project.sources import EventSource

Cause = Literal["definition changed", "float order", "late data", "write lag", "other pipeline"]
_EVERY = 1 << 62


class Skew(NamedTuple):
    """What became of the served vectors of one view.

    Attributes:
        view: Name of the view.
        vectors: How many were compared.
        equal: How many are what the history says.
        causes: How many are not, by cause.
    """

    view: str
    vectors: int
    equal: int
    causes: Mapping[str, int]


class History:
    """What the history says of a view now, and what rows that arrived said of it at earlier offsets.

    Args:
        plan: The view.
        table: The source's rows with their clocks.
        engine: Where conditions are computed.
        log: Rows that arrived, or None where none can.
        rows: Turns rows that arrived into changes, or None.
    """

    def __init__(
        self, plan: ViewPlan, table: AnyTable, engine: Engine, log: EventLog | None = None, rows: Rows | None = None
    ) -> None:
        self.plan, self._log, self._rows = plan, log, rows
        made = Log(plan, table, engine)
        self._now = {key: made.of(number) for number, key in enumerate(made.keys)}
        self._then: dict[int, tuple[dict[bytes, list[Change]], dict[bytes, list[Change]]]] = {}

    def now(self, served: Served) -> tuple[Value, ...]:
        """The cells that the history gives."""
        return self._read(self._now.get(served.entity.encode(), []), served.at)

    def at_offset(self, served: Served, offset: int) -> tuple[Value, ...]:
        """The cells as they were with the rows up to an offset, and the history as it is in all else."""
        before, after = self._since(offset)
        entity = served.entity.encode()
        later = set(after.get(entity, ()))
        kept = [change for change in self._now.get(entity, []) if change not in later]
        return self._read([*kept, *before.get(entity, ())], served.at)

    def arrived(self, at: int) -> int:
        """Offset of the last row that had arrived before a moment."""
        return self._log.arrived(at) if self._log else 0

    def _read(self, changes: Iterable[Change], at: int) -> tuple[Value, ...]:
        state = self.plan.state()
        state.apply(change for change in changes if change[0] < at)
        return state.read(at)

    def _since(self, offset: int) -> tuple[dict[bytes, list[Change]], dict[bytes, list[Change]]]:
        """The changes of the events that have rows behind an offset: as they were known there, and as they are now."""
        if self._log is None or self._rows is None:
            return {}, {}
        if offset not in self._then:
            batch = self._log.batch(self.plan.source.name, offset, _EVERY)
            before, after = (self._rows.changes(self.plan, rows)[0] for rows in (batch.before, batch.after))
            self._then[offset] = before, after
        return self._then[offset]


def history_of(plan: ViewPlan, table: AnyTable, engine: Engine, events: Path) -> History:
    """The history of a view, with the log of rows that arrived where there is one.

    Args:
        plan: The view.
        table: The source's rows with their clocks.
        engine: Where conditions are computed.
        events: File of the log.
    """
    if not isinstance(plan.source, EventSource) or not events.exists():
        return History(plan, table, engine)
    types = {name: str(table.schema.field(name).type) for name in listed(table)}
    return History(plan, table, engine, EventLog(events, [RowReader(plan.source, types)]), Rows(plan, types, engine))


def skew(history: History, served: Iterable[Served]) -> Skew:
    """Compare the served vectors of a view with its history.

    Args:
        history: The view as it is now.
        served: What it said, in any order; those of other views are passed over.
    """
    name = view_name(history.plan.feature)
    causes = Counter(_cause(history, one) for one in served if one.view == name)
    equal = causes.pop(None, 0)
    return Skew(name, equal + sum(causes.values()), equal, {str(cause): count for cause, count in causes.items()})


def _cause(history: History, served: Served) -> Cause | None:
    if served.digest != history.plan.digest:
        return "definition changed"
    now, then = history.now(served), tuple(served.cells)
    if now == then:
        return None
    if all(a == b or close(a, b) for a, b in zip(now, then, strict=True)):
        return "float order"
    if history.at_offset(served, served.offset) != then:
        return "other pipeline"
    by_then = max(history.arrived(served.at), served.offset)
    return "late data" if history.at_offset(served, by_then) == then else "write lag"
