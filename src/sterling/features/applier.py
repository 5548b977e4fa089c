"""What keeps the online state fresh: rows that arrived become changes, and changes become states.

A view follows the log of its source by itself. A batch of rows, the states that it changes and the offset behind it are
written as one, on the condition that the offset is still the one that the batch began at. So a kill at any point repeats
a batch whole or not at all, and of two that follow the same view one wins each batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from sterling.core.clock import Clock, to_micros, utcnow
from sterling.core.errors import DataError, InvalidDefinitionError, SterlingError
from sterling.engine.contract import Engine
from sterling.engine.tables import StoredTable, finite
from sterling.features.arriving import Row, moment_of
from sterling.features.changes import Log
from sterling.features.clocks import ARRIVED, TIED, events_of, kept_columns, with_clocks
from sterling.features.event_log import OFFSET, Batch, EventLog
from sterling.features.lanes import Tie
from sterling.features.online import Change, State, ViewPlan
from sterling.features.online_store import OnlineStore, offset_key, state_key
from sterling.project.features import view_name
from sterling.project.sources import EventSource

_log = logging.getLogger("sterling.features")
_AT_ONCE = 1_000
_LOOK_SECONDS = 0.05
_ByKey = dict[bytes, list[Change]]


class Applier:
    """Follows the log of rows that arrive, and keeps the states of some views.

    Args:
        log: The rows.
        store: Where the states lie.
        project: Name of the project.
        plans: The views.
        types: For each source, by its name, the Arrow type of each of its columns.
        engine: Where clocks and conditions are computed.
        clock: Says what time it is: changes of later times wait.
        at_once: How many rows become one batch at most.

    Raises:
        SterlingError: if an expression of a source or a view cannot be computed at all, or a view reads a dimension table.
    """

    def __init__(
        self, log: EventLog, store: OnlineStore, project: str, plans: Sequence[ViewPlan],
        types: Mapping[str, Mapping[str, str]], engine: Engine, *, clock: Clock = utcnow, at_once: int = _AT_ONCE,
    ) -> None:  # fmt: skip
        self._log, self._store, self._project, self._plans = log, store, project, tuple(plans)
        self._engine, self._clock, self._at_once = engine, clock, at_once
        self._tables = {plan.source.name: Rows(plan, types[plan.source.name], engine) for plan in plans}
        self._counting = {plan.source.name: plan for plan in plans}
        for plan in plans:
            self._tables[plan.source.name].check(plan)

    def step(self) -> int:
        """Take one batch into each view.

        Returns:
            How many rows the views have taken together; 0 where none is waiting.

        Raises:
            StorageError: if the log or the store cannot be used.
            SterlingError: if a view was never made, or a state is of another version.
        """
        batches: dict[tuple[str, bytes], Batch] = {}
        return sum(self._follow(plan, batches) for plan in self._plans)

    def run(self, *, until: Callable[[], bool], every_seconds: float = _LOOK_SECONDS) -> None:
        """Take rows as they come, until told to stop.

        Args:
            until: Whether to stop.
            every_seconds: How long to wait where no row is waiting.
        """
        while not until():
            if not self.step():
                time.sleep(every_seconds)

    def offsets(self) -> dict[str, int]:
        """How far each view has followed, by its digest."""
        found = self._store.get([offset_key(self._project, plan.digest) for plan in self._plans])
        return {plan.digest: int(offset or 0) for plan, offset in zip(self._plans, found, strict=True)}

    def _follow(self, plan: ViewPlan, batches: dict[tuple[str, bytes], Batch]) -> int:
        """Take one batch into a view; views that have come equally far take the same."""
        source, name = plan.source.name, offset_key(self._project, plan.digest)
        (old,) = self._store.get([name])
        if old is None:  # states without the history would answer, and be wrong
            raise SterlingError(
                f"The online store holds no state of {view_name(plan.feature)!r}. Build it: sterling features build --online URL."
            )
        if (source, old) not in batches:
            batches[source, old] = self._log.batch(source, int(old), self._at_once)
        batch = batches[source, old]
        if not batch.size:
            return 0
        gone, new, tied = self._changes(plan, batch)
        items = dict(self._states(plan, gone, new)) | {name: b"%d" % batch.end}
        if not self._store.put(items, when=(name, old)):
            return batch.size  # somebody else was first: look again
        if tied and self._counting[source] is plan:
            self._log.count_refused(source, "tied", tied)
        return batch.size

    def _changes(self, plan: ViewPlan, batch: Batch) -> tuple[_ByKey, _ByKey, int]:
        """What is not so any more, what is new, and how many versions were left out, since nothing orders them."""
        rows = self._tables[plan.source.name]
        before, tied_before = rows.changes(plan, batch.before)
        after, tied_after = rows.changes(plan, batch.after)
        return _differing(before, after), _differing(after, before), tied_after - tied_before

    def _states(self, plan: ViewPlan, gone: _ByKey, new: _ByKey) -> Iterator[tuple[bytes, bytes | None]]:
        keys = sorted(gone.keys() | new.keys())
        names = [state_key(self._project, plan.digest, key) for key in keys]
        now = to_micros(self._clock())
        for key, name, packed in zip(keys, names, self._store.get(names), strict=True):
            state = plan.state() if packed is None else State.unpack(plan, packed)
            state.forget(gone.get(key, []))
            state.apply(new.get(key, []))
            state.advance(now)
            yield name, state.pack()


def fill(
    store: OnlineStore, project: str, plan: ViewPlan, table: pa.Table | StoredTable, engine: Engine, *, at: int, offset: int = 0,
) -> bool:  # fmt: skip
    """Make the states of a view from the rows of a snapshot, so that it goes on from there.

    A kill leaves some states of before, where there were any; the next call makes all of them anew.

    Args:
        store: Where the states go.
        project: Name of the project.
        plan: The view.
        table: The source's rows with their clocks.
        engine: Where conditions are computed.
        at: Microseconds up to which changes take effect; later ones wait.
        offset: Offset in the log up to which its rows are in the table.

    Returns:
        Whether they were made here; False where the view has followed the log since it was made.
    """
    name = offset_key(project, plan.digest)
    (old,) = store.get([name])
    if old not in (None, b"0"):
        return False
    log, items = Log(plan, table, engine), dict[bytes, bytes | None]()
    for number, key in enumerate(log.keys):
        state = plan.state()
        state.apply(log.of(number))
        state.advance(at)
        items[state_key(project, plan.digest, key)] = state.pack()
        if len(items) == _AT_ONCE:
            store.put(items, when=(name, old))
            items.clear()
    return store.put(items | {name: b"%d" % offset}, when=(name, old))


class Rows:
    """Turns rows of a source into tables with clocks, as its snapshots have them.

    Args:
        plan: A view of the source.
        types: Arrow type of each column.
        engine: Where clocks are computed.
    """

    def __init__(self, plan: ViewPlan, types: Mapping[str, str], engine: Engine) -> None:
        if not isinstance(plan.source, EventSource):
            raise InvalidDefinitionError(
                f"{plan.source.name} is a dimension table, whose rows do not arrive one by one. Its states are made anew "
                "from a snapshot."
            )
        self._source, self._engine = plan.source, engine
        self._versions = plan.replaces
        self._types = {name: _arrow(kind) for name, kind in types.items()}
        self._kept = kept_columns(plan.source, list(types))
        self._made: list[tuple[Sequence[Row], pa.Table, int]] = []
        self._checked = False

    def check(self, plan: ViewPlan) -> None:
        """Refuse expressions that fail without any row.

        Raises:
            DataError: in the engine's words.
        """
        self._of(plan, [])

    def changes(self, plan: ViewPlan, rows: Sequence[Row]) -> tuple[_ByKey, int]:
        """The changes that rows make in a view, and how many versions were left out.

        A row on which an expression of the source or the view fails is left out, so that it holds up no other.
        """
        if not rows:
            return {}, 0
        try:
            return self._of(plan, rows)
        except DataError as error:
            _log.warning("%s: some rows are left out: %s", self._source.name, error)
            return self._of(plan, [row for row in rows if self._works(plan, row)])

    def _of(self, plan: ViewPlan, rows: Sequence[Row]) -> tuple[_ByKey, int]:
        table, left_out = self._table(rows)
        log = Log(plan, table, self._engine, arrived=True)
        return {key: log.of(number) for number, key in enumerate(log.keys)}, left_out

    def _table(self, rows: Sequence[Row]) -> tuple[pa.Table, int]:
        """The rows with their clocks, and how many were left out; those of the last batch are at hand."""
        for known, table, left_out in self._made:
            if known is rows:
                return table, left_out
        table, left_out = self._with_clocks(rows), 0
        if self._versions:
            tied = set(table.filter(table.column(TIED)).column(OFFSET).to_pylist())
            if tied:
                left_out = len(tied)
                table = self._with_clocks([row for row in rows if row[OFFSET] not in tied])
            table = events_of(table).drop_columns([OFFSET])
        if ARRIVED in table.schema.names:
            table = table.drop_columns([ARRIVED])
        self._made = [*self._made[-1:], (rows, table, left_out)]
        return table, left_out

    def _works(self, plan: ViewPlan, row: Row) -> bool:
        try:
            self._of(plan, [row])
        except DataError:
            return False
        return True

    def _with_clocks(self, rows: Sequence[Row]) -> pa.Table:
        columns = {name: _column([row.get(name) for row in rows], kind) for name, kind in self._types.items()}
        kept, tie = self._kept, ""
        if self._versions:
            columns[OFFSET] = pa.array([row[OFFSET] for row in rows], pa.int64())
            kept, tie = [*kept, OFFSET], OFFSET
        raw = finite(pa.table(columns), self._source.name)
        made = with_clocks(self._source, kept, raw, self._engine, tie=tie, checked=self._checked)
        self._checked = True
        return made


def _differing(changes: _ByKey, others: _ByKey) -> _ByKey:
    """All changes of the events of which the others say anything else, by entity."""
    found = _ByKey()
    for key, of in changes.items():
        mine, theirs = set(of), set(others.get(key, ()))
        events = {_event(change) for change in mine ^ theirs}
        if left := [change for change in of if _event(change) in events]:
            found[key] = left
    return found


def _event(change: Change) -> tuple[int, Tie]:
    return change[1], change[4]


def _column(cells: list[Any], kind: pa.DataType) -> pa.Array:
    """Cells as they are kept, as Arrow's."""
    if pa.types.is_timestamp(kind):
        cells = [None if cell is None else moment_of(cell) for cell in cells]
    elif pa.types.is_date(kind) or pa.types.is_decimal(kind):
        return pa.array(cells, pa.string()).cast(kind)
    elif pa.types.is_dictionary(kind):
        return pa.array(cells, pa.string())
    elif pa.types.is_float16(kind):
        return pa.array(cells, pa.float64()).cast(kind)
    return pa.array(cells, kind)


def _arrow(kind: str) -> pa.DataType:
    """The type that Arrow writes so."""
    name, _, rest = kind.partition("[" if kind.startswith("timestamp") else "(")
    inside = [part.strip() for part in rest.rstrip(")]").split(",")]
    if name == "timestamp":
        return pa.timestamp(inside[0], inside[1].removeprefix("tz=") if len(inside) > 1 else None)
    if name.startswith("decimal"):
        return getattr(pa, name)(int(inside[0]), int(inside[1]))
    if kind.startswith("dictionary<values=string"):
        return pa.string()
    try:
        return pa.type_for_alias("date32" if kind == "date32[day]" else kind)
    except ValueError as error:
        raise InvalidDefinitionError(f"{kind!r} is no type of a column whose rows arrive.") from error
