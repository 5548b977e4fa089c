"""Parity: what the online state answers at each moment of the spine, beside what the history says.

| stage | inputs | outputs |
|---|---|---|
| `Parity` | ``spine``, ``clean:<spine's source>``, ``clean:<feature's source>``, ``features:<view>`` | none |

The log of a feature's source is replayed in the order in which it became known, through the code that serves, and read
at each moment with no more than was known by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable, read_table
from sterling.features.changes import Log
from sterling.features.online import ViewPlan, Windowed, entity_key
from sterling.features.parity import TOLERANCE, Compared, compare, replay
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.features import LIBRARIES, view_name
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


def measured(view: str, found: Iterable[Compared], *, rows: int, changes: int) -> Evidence:
    """What a comparison found, as a fact."""
    body = {
        "view": view, "rows": rows, "changes": changes, "tolerance": TOLERANCE,
        "features": [compared._asdict() for compared in found],
    }  # fmt: skip
    return Evidence("parity.measured", (f"view:{view}",), body)


def _keys(entities: Sequence[pa.ChunkedArray]) -> list[bytes | None]:
    """The packed entity of each moment; each different one is packed once."""
    known: dict[tuple[object, ...], bytes | None] = {}
    rows = zip(*(cells.to_pylist() for cells in entities), strict=True)
    return [known[row] if row in known else known.setdefault(row, entity_key(row)) for row in rows]
