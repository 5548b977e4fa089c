"""Parity: what the code that serves answers at each moment of the spine, beside what the history says.

| stage | for | inputs | outputs |
|---|---|---|---|
| `Parity` | `FeatureView`, `Last`, `First` | ``spine``, ``clean:<spine's source>``, ``clean:<feature's source>``, ``features:<view>`` | none |
| `RowParity` | `Expression` | ``spine``, ``clean:<spine's source>``, ``features:<view>`` | none |
| `RowParity` | `Derived` | ``features:<view>``, and the same for each definition that it reads | none |

The log of a feature's source is replayed in the order in which it became known, and read at each moment with no more than
was known by then; SQL over one row is computed without a database, as the server does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from sterling.core.errors import InvalidDefinitionError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable, read_table
from sterling.features.changes import Log
from sterling.features.online import ViewPlan, Windowed, entity_key
from sterling.features.parity import TOLERANCE, Compared, compare, replay
from sterling.features.row_sql import cells_of, row_sql
from sterling.project.features import Derived, Expression, view_name
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.project.sql import columns_of
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.features import LIBRARIES, beside
from sterling.stages.row import Row


class Parity(Stage, frozen=True):
    """Compare a feature of events cell by cell with what the online state gives.

    Args:
        feature: The definition.
        spine: The moments.
    """

    feature: Windowed
    spine: EventSpine | ScheduledSpine

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return (*LIBRARIES, "msgspec")

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"parity {view_name(self.feature)}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Replay the log, read every moment, and count what is not equal."""
        plan, table = self._plan(inputs, context)
        log = Log(plan, table, context.engine)
        row = Row(self.spine, inputs, context)
        entities = [row.column(name, view_name(self.feature), []) for name in plan.entity]
        online = replay(plan, log, _keys(entities), row.times)
        offline = read_table(context.store, inputs[f"features:{view_name(self.feature)}"])
        found = [
            compare(name, offline.column(name).to_pylist(), [cells[index] for cells in online])
            for index, name in enumerate(plan.names)
        ]
        return Outcome({}, (measured(view_name(self.feature), found, rows=len(row.times), changes=len(log)),))

    def _plan(self, inputs: Mapping[str, Ref], context: Context) -> tuple[ViewPlan, StoredTable]:
        source = ViewPlan(self.feature, {}).source
        table = StoredTable(context.store, inputs[f"clean:{source.name}"])
        return ViewPlan(self.feature, {field.name: str(field.type) for field in table.schema}), table


class RowParity(Stage, frozen=True):
    """Compare a feature of one row, row by row, with what the server computes.

    Args:
        feature: The definition.
        spine: The moments.
    """

    feature: Expression | Derived
    spine: EventSpine | ScheduledSpine

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return (*LIBRARIES, "sqlglot", "tzdata")

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"parity {self.feature.name}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Compute every row without a database, and count what is not equal; say so where that cannot be done."""
        name, view = self.feature.name, f"features:{self.feature.name}"
        offline = read_table(context.store, inputs[view], [name]).column(name)
        cells = self._cells({key: ref for key, ref in inputs.items() if key != view}, context)
        try:
            value = row_sql(self.feature.sql, {column: str(found.type) for column, found in cells.items()}).feature
        except InvalidDefinitionError as error:
            fact = measured(name, [], rows=len(offline), changes=0, not_served={name: str(error)})
            return Outcome({}, (fact,))
        rows = zip(*map(cells_of, cells.values()), strict=True)
        online = [value(dict(zip(cells, row, strict=True))) for row in rows] if cells else [value({})] * len(offline)
        found = compare(name, offline.to_pylist(), online)
        return Outcome({}, (measured(name, [found], rows=len(offline), changes=0),))

    def _cells(self, inputs: Mapping[str, Ref], context: Context) -> dict[str, pa.ChunkedArray]:
        """The columns that are read, at each moment."""
        columns = sorted(columns_of(self.feature.sql))
        if isinstance(self.feature, Derived):
            all_of_them = beside(inputs, context)
            return {name: all_of_them[name] for name in columns}
        row = Row(self.spine, inputs, context)
        return {name: row.column(name, self.feature.name, []) for name in columns}


def measured(
    view: str, found: Iterable[Compared], *, rows: int, changes: int, not_served: Mapping[str, str] | None = None
) -> Evidence:
    """What a comparison found, as a fact.

    Args:
        view: What the definition is called.
        found: What was compared.
        rows: How many moments were read.
        changes: How many entries of the log were replayed.
        not_served: Features that only a client can bring, and why.
    """
    body = {
        "view": view, "rows": rows, "changes": changes, "tolerance": TOLERANCE,
        "features": [compared._asdict() for compared in found],
        "not_served": [{"name": name, "reason": reason} for name, reason in (not_served or {}).items()],
    }  # fmt: skip
    return Evidence("parity.measured", (f"view:{view}",), body)


def _keys(entities: Sequence[pa.ChunkedArray]) -> list[bytes | None]:
    """The packed entity of each moment; each different one is packed once."""
    known: dict[tuple[object, ...], bytes | None] = {}
    rows = zip(*(cells.to_pylist() for cells in entities), strict=True)
    return [known[row] if row in known else known.setdefault(row, entity_key(row)) for row in rows]
