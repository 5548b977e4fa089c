"""Features of the row that a moment stands on: its columns and expressions, each known before the moment."""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import NotKnownAtPredictionError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable, read_table
from sterling.features.availability import Rule, proved, rule_of
from sterling.features.cells import column_of, listed
from sterling.features.exact import Ints
from sterling.features.windows import NEVER, latest
from sterling.project.features import Expression, view_name
from sterling.project.sources import Columns
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.project.sql import check_columns, quoted
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.features import LIBRARIES, built


class RowFeatures(Stage, frozen=True):
    """Columns and expressions of the row that the moment stands on, each known before it.

    Args:
        feature: The definition.
        spine: The moments.
    """

    feature: Columns | Expression
    spine: EventSpine | ScheduledSpine

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {view_name(self.feature)}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Read the rows, refuse what is not known, and compute."""
        row = Row(self.spine, inputs, context)
        facts: list[Evidence] = []
        if isinstance(self.feature, Columns):
            cells = {name: row.column(name, name, facts) for name in self.feature.names}
            return built(self.feature, pa.table(cells), context, facts)
        name, sql = self.feature.name, self.feature.sql
        columns = sorted(check_columns(sql, row.names, f"Expression {name!r}"))
        cells = {column: row.column(column, name, facts) for column in columns} | {
            "_row": pa.array(np.arange(row.size))
        }
        table = context.engine.query(
            f"SELECT ({sql}) AS {quoted(name)} FROM own ORDER BY _row", {"own": pa.table(cells)}
        )
        return built(self.feature, table, context, facts)


class Row:
    """The rows that the moments stand on, column by column, each known before its moment."""

    def __init__(self, spine: EventSpine | ScheduledSpine, inputs: Mapping[str, Ref], context: Context) -> None:
        self._spine, self._source = spine, spine.source
        self._own = StoredTable(context.store, inputs[f"clean:{spine.source.name}"])
        moments = read_table(context.store, inputs["spine"], ["predict_at", "row"])
        self._rows = moments.column("row").to_numpy()
        self.times: Ints = moments.column("predict_at").to_numpy()
        self.size = len(self.times)
        self.names = listed(self._own)

    def column(self, name: str, feature: str, facts: list[Evidence]) -> pa.ChunkedArray:
        """A column's values at the moments; what was measured about its availability is added to the facts.

        Raises:
            NotKnownAtPredictionError: where a value is known only after the prediction.
        """
        place = f"Feature {feature!r}"
        cells = column_of(self._own, name, place).take(pa.array(self._rows))
        rule = rule_of(name, self._source, place)
        known = latest([self._own.column(rule.clock)])[self._rows]
        in_time = known < self.times
        certain = isinstance(self._spine, EventSpine) and proved(rule, self._spine.predict_at)
        facts.append(self._measured(feature, rule, known, in_time, certain=certain))
        if in_time.all():
            return cells
        late = ~in_time & pc.is_valid(cells).to_numpy()
        if late.any() and not getattr(self._source, "partial", False):
            raise NotKnownAtPredictionError(self._sentence(feature, rule, known, late))
        return pc.if_else(pa.array(in_time), cells, pa.scalar(None, cells.type))

    def _predict_at(self) -> str:
        spine = self._spine
        return spine.predict_at if isinstance(spine, EventSpine) else f"{spine.every} in {spine.tz}"

    def _measured(
        self, feature: str, rule: Rule, known: Ints, in_time: NDArray[np.bool_], *, certain: bool
    ) -> Evidence:
        ever = known < NEVER
        body = {
            "feature": feature,
            "column": rule.column,
            "source": self._source.name,
            "known": rule.said,
            "predict_at": self._predict_at(),
            "share_known": float(in_time.mean()) if self.size else None,
            "median_lead_us": int(np.median((self.times - known)[ever])) if ever.any() else None,
            "proof": "constant" if certain else "measured",
        }
        return Evidence("availability.measured", (f"feature:{feature}",), body)

    def _sentence(self, feature: str, rule: Rule, known: Ints, late: NDArray[np.bool_]) -> str:
        afterwards = late & (known < NEVER)
        never = int((late & ~afterwards).sum())
        when = f"In {int(late.sum()):,} of {self.size:,} rows it is known only afterwards"
        if afterwards.any():
            when += f", in the median {_spoken(int(np.median((known - self.times)[afterwards])))} later"
        if never:
            when += f"; in {never:,} of them never"
        return (
            f"Feature {feature!r} reads {rule.column!r} of {self._source.name}, which becomes known at {rule.said}; the prediction "
            f"is made at {self._predict_at()}. {when}. Leave it out, predict later, or set partial=True on "
            f"{self._source.name} to read it as null where it is not known."
        )


def _spoken(span: int) -> str:
    """A duration in microseconds as people say it."""
    minutes = round(span / 60_000_000)
    hours, days = divmod(minutes, 60), divmod(round(minutes / 60), 24)
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours[0]} h {hours[1]} min" if minutes < 48 * 60 else f"{days[0]} days {days[1]} h"
