"""Features: one stage for each definition, so that a change to one reruns that one, and the frame that joins them.

| stage | for | inputs | outputs |
|---|---|---|---|
| `RowFeatures` | `Columns`, `Expression` | ``spine``, ``clean:<spine's source>`` | ``features`` |
| `LastFeatures` | `Last` | ``spine``, ``clean:<spine's source>``, ``clean:<feature's source>`` | ``features`` |
| `ViewFeatures` | `FeatureView` | ``spine``, ``clean:<spine's source>``, ``clean:<view's source>`` | ``features`` |
| `DerivedFeatures` | `Derived` | ``features:<view>`` for each definition that it reads (`reads`) | ``features`` |
| `sterling.stages.on_demand.OnDemandFeatures` | `OnDemand` | the same | ``features`` |
| `Assemble` | the service | ``spine``, ``features:<view>`` for each definition, ``clean:<spine's source>`` where slices are no features | ``frame`` |

``<view>`` is what `view_name` calls a definition. Row i of a features table belongs to row i of the spine. Columns of the
frame, ordered by (predict_at, unit): ``unit``, ``predict_at``, ``label``, ``matured_at``, ``status``, ``cluster``, the
features in the service's order, and slice columns that are no feature as ``_slice_<column>``. A feature is int64,
float64, int8 for true and false, or text for categories; all may be null.
"""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.canonical import digest
from sterling.core.errors import DataError, InvalidDefinitionError, NotKnownAtPredictionError, nearest
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable, finite, put_table, read_table
from sterling.features.availability import EVENT_TIME, Rule, clocks_of, proved, rule_of
from sterling.features.exact import Floats, Ints
from sterling.features.windows import NEVER, Moments, key_codes, latest
from sterling.project.definition import essence
from sterling.project.features import (
    Aggregate,
    Derived,
    Expression,
    Feature,
    FeatureService,
    FeatureView,
    Last,
    Mean,
    OnDemand,
    Pending,
    aggregate_name,
    feature_names,
    names_of,
)  # fmt: skip
from sterling.project.sources import Columns, EventSource
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.project.sql import check_columns, columns_of, quoted
from sterling.project.times import micros
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.snapshot import bare
from sterling.stages.spine import bare_spine

SLICE = "_slice_"
SPINE_COLUMNS = ("unit", "predict_at", "label", "matured_at", "status", "cluster")
_LIBRARIES = ("duckdb", "pyarrow", "numpy")


def view_name(feature: Feature) -> str:
    """What a definition is called among the definitions of a service.

    Example:
        >>> view_name(Expression("dep_hour", "hour(departure)"))
        'dep_hour'
    """
    match feature:
        case Columns():
            return f"{feature.source.name}[{', '.join(feature.names)}]"
        case Last():
            return f"last {feature.columns.source.name}[{', '.join(feature.columns.names)}]"
        case _:
            return feature.name


def reads(feature: Derived | OnDemand, service: FeatureService) -> tuple[Feature, ...]:
    """The definitions that a feature of other features reads, in the service's order.

    Raises:
        InvalidDefinitionError: if a derived feature names what is no feature, or is a derived one.
    """
    later = Derived if isinstance(feature, Derived) else (OnDemand, Derived)
    others = [item for item in service.features if not isinstance(item, later)]
    known = [name for item in others for name in names_of(item)]
    wanted = feature.inputs if isinstance(feature, OnDemand) else check_columns(feature.sql, known, _place(feature))
    return tuple(item for item in others if set(wanted) & set(names_of(item)))


def feature_stage(
    feature: Columns | Expression | Last | FeatureView | Derived, spine: EventSpine | ScheduledSpine
) -> Stage:
    """The stage that computes a definition that is no code of the project's own."""
    match feature:
        case Columns() | Expression():
            return RowFeatures(feature, spine)
        case Last():
            return LastFeatures(feature, spine)
        case FeatureView():
            return ViewFeatures(feature, spine)
        case Derived():
            return DerivedFeatures(feature)


class RowFeatures(Stage, frozen=True):
    """Columns and expressions of the row that the moment stands on, each known before it.

    Args:
        feature: The definition.
        spine: The moments.
    """

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return _LIBRARIES

    feature: Columns | Expression
    spine: EventSpine | ScheduledSpine

    def __post_init__(self) -> None:
        super().__post_init__()
        msgspec.structs.force_setattr(self, "spine", bare_spine(self.spine))
        if isinstance(self.feature, Columns):
            feature = msgspec.structs.replace(self.feature, source=bare(self.feature.source))
            msgspec.structs.force_setattr(self, "feature", feature)

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {view_name(self.feature)}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Read the rows, refuse what is not known, and compute."""
        row = _Row(self.spine, inputs, context)
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


class LastFeatures(Stage, frozen=True):
    """The last value of each column that was known at the moment, of the events that had happened.

    Args:
        feature: The definition.
        spine: The moments.
    """

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return _LIBRARIES

    feature: Last
    spine: EventSpine | ScheduledSpine

    def __post_init__(self) -> None:
        super().__post_init__()
        msgspec.structs.force_setattr(self, "spine", bare_spine(self.spine))
        columns = msgspec.structs.replace(self.feature.columns, source=bare(self.feature.columns.source))
        msgspec.structs.force_setattr(self, "feature", msgspec.structs.replace(self.feature, columns=columns))

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {view_name(self.feature)}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """The event of the greatest (event_time, available_at, event_id) that is known, for each column."""
        source, facts = self.feature.columns.source, list[Evidence]()
        assert isinstance(source, EventSource)
        place = view_name(self.feature)
        row = _Row(self.spine, inputs, context)
        events = _events(source, inputs, context)
        codes, moments = _moments(row, events, source.entities, self.feature.on, place, facts)
        happened = events.column(EVENT_TIME).to_numpy()
        oldest = row.times - micros(self.feature.max_age) if self.feature.max_age else None
        made = {}
        for name, column in zip(names_of(self.feature), self.feature.columns.names, strict=True):
            known = _known(events, frozenset({column, *source.entities}), source, place)
            given = np.flatnonzero(pc.is_valid(_column(events, column, place)).to_numpy())
            enter = moments.after(codes[given], np.maximum(known, happened)[given])
            newest = moments.newest(enter, given)
            if oldest is not None:
                found = np.flatnonzero(newest >= 0)
                newest[found[happened[newest[found]] < oldest[found]]] = -1
            made[name] = events.column(column).take(pa.array(newest, mask=newest < 0))
        return built(self.feature, pa.table(made), context, facts)


class ViewFeatures(Stage, frozen=True):
    """Aggregates over the windows before each moment.

    Args:
        view: The definition.
        spine: The moments.
    """

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return _LIBRARIES

    view: FeatureView
    spine: EventSpine | ScheduledSpine

    def __post_init__(self) -> None:
        super().__post_init__()
        msgspec.structs.force_setattr(self, "spine", bare_spine(self.spine))
        view = msgspec.structs.replace(self.view, source=bare(self.view.source))
        msgspec.structs.force_setattr(self, "view", view)

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {self.view.name}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Every aggregate over every window, by the one exact plan."""
        view, facts = self.view, list[Evidence]()
        row = _Row(self.spine, inputs, context)
        events = _events(view.source, inputs, context)
        codes, moments = _moments(row, events, view.entities, view.on, view.name, facts)
        made: dict[str, pa.Array] = {}
        shares: dict[str, float | None] = {}
        for aggregate in view.features:
            log = _log(aggregate, view, events, codes, moments, context)
            for window in aggregate.windows:
                name = aggregate_name(view.name, aggregate, window)
                made[name], shares[name] = _aggregate(log, moments, micros(window))
        return built(view, pa.table(made), context, facts, shares)


class DerivedFeatures(Stage, frozen=True):
    """A value computed from other features.

    Args:
        feature: The definition.
    """

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return _LIBRARIES

    feature: Derived

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {self.feature.name}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Compute the expression over the features that it reads."""
        name, sql = self.feature.name, self.feature.sql
        cells = beside(inputs, context)
        check_columns(sql, cells, _place(self.feature))
        size = len(next(iter(cells.values())))
        used = {column: cells[column] for column in sorted(columns_of(sql))} | {"_row": pa.array(np.arange(size))}
        table = context.engine.query(
            f"SELECT ({sql}) AS {quoted(name)} FROM own ORDER BY _row", {"own": pa.table(used)}
        )
        return built(self.feature, table, context, [])


class Assemble(Stage, frozen=True):
    """Put the spine and every feature side by side.

    Args:
        features: Names of the features, in the service's order.
        source: Name of the spine's source, for slices that are no feature.
        slices: Columns that gates slice by.
    """

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return _LIBRARIES

    features: tuple[str, ...]
    source: str
    slices: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "frame"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """The frame that models learn from."""
        spine = read_table(context.store.open(inputs["spine"]))
        cells = beside(inputs, context)
        columns = {name: spine.column(name) for name in SPINE_COLUMNS} | {name: cells[name] for name in self.features}
        if extra := [column for column in self.slices if column not in self.features]:
            own = StoredTable(context.store.open(inputs[f"clean:{self.source}"]))
            for column in extra:
                value = _column(own, column, "EverySlice.by").take(spine.column("row"))
                columns[f"{SLICE}{column}"] = _fitting(value, column)
        frame = pa.table(columns)
        ref = put_table(context.store, frame)
        types = {name: str(frame.schema.field(name).type) for name in self.features}
        body = {"ref": ref, "rows": frame.num_rows, "features": list(self.features), "types": types}
        return Outcome({"frame": ref}, (Evidence("frame.assembled", (), body),))


def assemble(service: FeatureService, spine: EventSpine | ScheduledSpine, slices: Sequence[str]) -> Assemble:
    """The stage that puts a service's features side by side."""
    return Assemble(feature_names(service), spine.source.name, tuple(slices))


class _Row:
    """The rows that the moments stand on, column by column, each known before its moment."""

    def __init__(self, spine: EventSpine | ScheduledSpine, inputs: Mapping[str, Ref], context: Context) -> None:
        self._spine, self._source = spine, spine.source
        self._own = StoredTable(context.store.open(inputs[f"clean:{spine.source.name}"]))
        moments = read_table(context.store.open(inputs["spine"]), ["predict_at", "row"])
        self._rows = moments.column("row").to_numpy()
        self.times: Ints = moments.column("predict_at").to_numpy()
        self.size = len(self.times)
        self.names = _names(self._own)

    def column(self, name: str, feature: str, facts: list[Evidence]) -> pa.ChunkedArray:
        """A column's values at the moments; what was measured about its availability is added to the facts.

        Raises:
            NotKnownAtPredictionError: where a value is known only after the prediction.
        """
        place = f"Feature {feature!r}"
        cells = _column(self._own, name, place).take(pa.array(self._rows))
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


class _Log(NamedTuple):
    """The events of one aggregate.

    Attributes:
        codes: The key of each.
        happened: When it happened.
        due: First moment after it happened.
        enter: First moment at which it had happened and is known.
        values: What is averaged, or None.
        ended: When it is known to have ended, or None.
    """

    codes: Ints
    happened: Ints
    due: Ints
    enter: Ints
    values: Floats | Ints | None
    ended: Ints | None


def _events(source: EventSource, inputs: Mapping[str, Ref], context: Context) -> StoredTable:
    return StoredTable(context.store.open(inputs[f"clean:{source.name}"]))


def _moments(
    row: _Row, events: StoredTable, entities: Sequence[str], on: Mapping[str, str], place: str, facts: list[Evidence]
) -> tuple[Ints, Moments]:
    """Events and moments by the entity that they belong to."""
    own = [row.column(on.get(name, name), place, facts) for name in entities]
    codes, at = key_codes([_column(events, name, place) for name in entities], own)
    return codes, Moments(at, row.times)


def _known(events: StoredTable, columns: frozenset[str], source: EventSource, place: str) -> Ints:
    """When a row and these of its columns are known."""
    return latest([events.column(clock) for clock in clocks_of(columns, source, place)])


def _log(
    aggregate: Aggregate, view: FeatureView, events: StoredTable, codes: Ints, moments: Moments, context: Context
) -> _Log:
    """The events that an aggregate reads."""
    place = f"FeatureView {view.name!r}: {type(aggregate).__name__}"
    columns = frozenset(view.entities)
    chosen = np.ones(events.num_rows, bool)
    if aggregate.where:
        columns |= check_columns(aggregate.where, _names(events), place)
        chosen &= _meets(aggregate.where, events, context)
    values = ended = None
    if isinstance(aggregate, Pending):
        ended = _ends(aggregate, view, events, place)
    elif aggregate.column is not None:
        cells = _column(events, aggregate.column, place)
        columns |= {aggregate.column}
        chosen &= pc.is_valid(cells).to_numpy()
        if isinstance(aggregate, Mean):
            values = _numbers(cells, place)
    kept = np.flatnonzero(chosen & (codes >= 0))
    known = _known(events, columns, view.source, place)[kept]
    codes, happened = codes[kept], events.column(EVENT_TIME).to_numpy()[kept]
    return _Log(
        codes,
        happened,
        due=moments.after(codes, happened),
        enter=moments.after(codes, np.maximum(known, happened)),
        values=None if values is None else values[kept],
        ended=None if ended is None else ended[kept],
    )


def _ends(aggregate: Pending, view: FeatureView, events: StoredTable, place: str) -> Ints:
    """When each event is known to have ended."""
    until = _column(events, aggregate.until, place)
    if not pa.types.is_timestamp(until.type) or until.type.tz is None:
        raise InvalidDefinitionError(
            f"{place}.until is {aggregate.until!r}, which is {until.type}: no time with a zone."
        )
    rule = rule_of(aggregate.until, view.source, place)
    return latest([until.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), events.column(rule.clock)])


def _meets(where: str, events: StoredTable, context: Context) -> NDArray[np.bool_]:
    used = events.select(sorted(columns_of(where))).append_column("_row", pa.array(np.arange(events.num_rows)))
    found = context.engine.query(
        f"SELECT coalesce(({where}), FALSE) AS met FROM events ORDER BY _row", {"events": used}
    )
    return np.asarray(found.column("met").to_numpy(), bool)


def _numbers(cells: pa.ChunkedArray, place: str) -> Any:
    if pa.types.is_boolean(cells.type) or pa.types.is_integer(cells.type):
        return pc.fill_null(cells.cast(pa.int64()), 0).to_numpy()
    if pa.types.is_floating(cells.type) or pa.types.is_decimal(cells.type):
        return pc.fill_null(cells.cast(pa.float64()), 0.0).to_numpy()
    raise InvalidDefinitionError(f"{place} reads a column of {cells.type}, which has no mean. Name a number.")


def _aggregate(log: _Log, moments: Moments, window: int) -> tuple[pa.Array, float | None]:
    """One aggregate over one window, and the share of the window's events that are known at their moments."""
    over = log.happened + window
    leave_at = over if log.ended is None else np.minimum(over, log.ended)
    leave = moments.after(log.codes, leave_at)
    count, every = moments.count(log.enter, leave), moments.count(log.due, leave)
    share = float(count.sum() / every.sum()) if every.any() else None
    if log.values is None:
        return pa.array(count), share
    total = moments.total(log.enter, leave, log.values)
    return pa.array(total / np.maximum(count, 1), mask=count == 0), share


def built(
    feature: Feature,
    table: pa.Table,
    context: Context,
    facts: Sequence[Evidence],
    shares: Mapping[str, float | None] | None = None,
) -> Outcome:
    """Keep the features and say what they are."""
    view = view_name(feature)
    cells = {name: _fitting(table.column(name), name) for name in table.schema.names}
    made = finite(pa.table(cells), view)
    ref = put_table(context.store, made)
    described = [
        {
            "name": name,
            "kind": "category" if pa.types.is_string(made.column(name).type) else "number",
            "nulls": made.column(name).null_count / made.num_rows if made.num_rows else 0.0,
            "known_events": (shares or {}).get(name),
            "definition": digest(essence(feature)),
        }
        for name in made.schema.names
    ]
    fact = Evidence("features.built", (f"view:{view}",), {"view": view, "ref": ref, "features": described})
    return Outcome({"features": ref}, (*facts, fact))


def _fitting(cells: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A feature's values as one of the four types that models read."""
    kind = cells.type
    if pa.types.is_boolean(kind):
        return cells.cast(pa.int8())
    if pa.types.is_integer(kind):
        return cells.cast(pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return cells.cast(pa.float64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return cells.cast(pa.string())
    raise InvalidDefinitionError(
        f"Feature {name!r} is {kind}. A model reads numbers, texts and conditions: compute one, such as hour(…) of a time."
    )


def beside(inputs: Mapping[str, Ref], context: Context) -> dict[str, pa.ChunkedArray]:
    """All features that a stage is given, by name."""
    tables = [
        read_table(context.store.open(ref)) for name, ref in sorted(inputs.items()) if name.startswith("features:")
    ]
    if len({table.num_rows for table in tables}) > 1:
        raise DataError("Features of different spines cannot stand side by side.")
    return {name: table.column(name) for table in tables for name in table.schema.names}


def _place(feature: Derived) -> str:
    return f"Derived {feature.name!r}"


def _column(table: StoredTable, name: str, place: str) -> pa.ChunkedArray:
    if name not in _names(table):
        raise InvalidDefinitionError(f"{place}: there is no column {name!r}. {nearest(name, _names(table))}")
    return table.column(name)


def _names(table: StoredTable) -> list[str]:
    return [name for name in table.names if not name.startswith("_")]


def _spoken(span: int) -> str:
    """A duration in microseconds as people say it."""
    minutes = round(span / 60_000_000)
    hours, days = divmod(minutes, 60), divmod(round(minutes / 60), 24)
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours[0]} h {hours[1]} min" if minutes < 48 * 60 else f"{days[0]} days {days[1]} h"
