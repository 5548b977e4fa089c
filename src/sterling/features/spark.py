"""Features computed by Spark 4, where the tables are too large for one machine: the same plan, as SQL.

Events and moments are Spark DataFrames, and so is the result; no table passes through this machine. Each aggregate has
an entry here that says how Spark computes it, and a conformance test; one without is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import frexp
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sterling.core.errors import DataError, InvalidDefinitionError, MissingExtraError, nearest
from sterling.engine.spark.digits import BITS, Number, double
from sterling.engine.spark.extremes import Extreme, extremes
from sterling.engine.spark.row_sql import name as quoted
from sterling.engine.spark.row_sql import translated
from sterling.engine.spark.sums import MOST_LANES, Lane, Sum, running
from sterling.features.availability import (
    AVAILABLE_AT,
    EVENT_ID,
    EVENT_TIME,
    REPLACED_AT,
    VERSION,
    clocks_of,
    rule_of,
)  # fmt: skip
from sterling.project.aggregates import (
    Aggregate,
    Count,
    CountDistinct,
    Max,
    Mean,
    Min,
    Pending,
    Variance,
    Window,
    aggregate_name,
    windows_of,
)  # fmt: skip
from sterling.project.aggregates import Sum as SumOf
from sterling.project.features import FeatureView, First, Last, names_of
from sterling.project.sources import EntitySource, EventSource

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

_NEVER = (1 << 63) - 1
_WIDEST = 300  # powers of two, up and down, within which a double can lie for its sums to be exact


class SparkPlan(NamedTuple):
    """How Spark computes an aggregate.

    Attributes:
        what: The answer of running sums, or the extreme that is taken.
    """

    what: Literal["count", "sum", "mean", "variance", "distinct", "min", "max"]


SPARK: Mapping[type[Aggregate], SparkPlan] = MappingProxyType(
    {
        Count: SparkPlan("count"),
        Pending: SparkPlan("count"),
        SumOf: SparkPlan("sum"),
        Mean: SparkPlan("mean"),
        Variance: SparkPlan("variance"),
        Min: SparkPlan("min"),
        Max: SparkPlan("max"),
        CountDistinct: SparkPlan("distinct"),
    }
)
"""Every aggregate that Spark computes; `features` refuses others by name."""

REFUSED: Mapping[type[Aggregate], str] = MappingProxyType({})
"""Registered aggregates that Spark does not compute, each with the reason, such as ``"it keeps every value"``."""


def features(
    feature: FeatureView | Last | First, events: DataFrame, moments: DataFrame, *, predict_at: str = "predict_at"
) -> DataFrame:
    """Compute a view, last or first values on Spark, equal to what a run computes.

    Counts, sums of whole numbers, extremes and values are the same; so are sums and means of floats, whose exact sum is
    rounded once. The limits of the columns that are summed are looked up first, so a view with sums, means or variances
    starts a job of its own before the result is asked for.

    Args:
        feature: The definition.
        events: The source's events with their clocks, as a clean table of a run keeps them, in Parquet.
        moments: The moments: the entities' columns, as they are called on the spine, and the time of prediction. Other
            columns stay as they are.
        predict_at: Column of the moments with that time: a timestamp, or microseconds since 1970.

    Returns:
        The moments in any order, with a column for each feature.

    Raises:
        InvalidDefinitionError: for an aggregate, a type or an expression that Spark does not compute here, by name.
        DataError: for floats that are infinite or too far apart to be added up exactly.
        MissingExtraError: if pyspark is not installed.
    """
    _check_supported(feature)
    try:
        import pyspark  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "Spark needs the extra 'spark'. Install it with: pip install 'sterling-ml[spark]'"
        ) from error
    _check_session(events)
    return _Plan(feature, events).of(moments, predict_at)


def _check_supported(feature: FeatureView | Last | First) -> None:
    if not isinstance(feature, FeatureView):
        if isinstance(source := feature.columns.source, EntitySource):
            raise InvalidDefinitionError(
                f"Last of {source.name}: rows of a dimension table are not looked up on Spark. Build it with the embedded engine."
            )
        return
    for aggregate in feature.features:
        if type(aggregate) not in SPARK:
            known = ", ".join(sorted(kind.__name__ for kind in SPARK))
            why = f", since {REFUSED[type(aggregate)]}" if type(aggregate) in REFUSED else ""
            raise InvalidDefinitionError(
                f"FeatureView {feature.name!r}: {type(aggregate).__name__} is not computed on Spark{why}. What is: {known}. "
                "Build the view with the embedded engine, or leave it out."
            )


def _check_session(events: DataFrame) -> None:
    """The answers are those of a session in UTC, in which what overflows is an error."""
    for key, wanted in (("spark.sql.session.timeZone", "UTC"), ("spark.sql.ansi.enabled", "true")):
        if (found := str(events.sparkSession.conf.get(key))).lower() != wanted.lower():
            raise InvalidDefinitionError(f"The Spark session has {key}={found}. Set it to {wanted}.")


class _Plan:
    """One definition over one table of events."""

    def __init__(self, feature: FeatureView | Last | First, events: DataFrame) -> None:
        self._feature, self._events = feature, events
        self._types = {field.name: field.dataType for field in events.schema}
        self._kinds = {name: _kind(dtype) for name, dtype in self._types.items() if not name.startswith("_")}
        source = feature.source if isinstance(feature, FeatureView) else feature.columns.source
        assert isinstance(source, EventSource)
        self._source = source
        self._entities = feature.entities if isinstance(feature, FeatureView) else source.entities
        self._place = f"FeatureView {feature.name!r}" if isinstance(feature, FeatureView) else type(feature).__name__
        self._lanes: dict[Lane, int] = {}
        self._limits: dict[str, Number] = {}
        self._required([EVENT_TIME, AVAILABLE_AT, EVENT_ID])
        self._required([REPLACED_AT, VERSION] if source.updates == "replace" else [])

    def of(self, moments: DataFrame, predict_at: str) -> DataFrame:
        """The features beside the moments."""
        sums, picked = self._cells()
        own = [self._feature.on.get(entity, entity) for entity in self._entities]
        for column in [*own, predict_at]:
            if column not in moments.columns:
                raise InvalidDefinitionError(
                    f"{self._place}: the moments have no column {column!r}. {nearest(column, moments.columns)}"
                )
        types = {field.name: field.dataType for field in moments.schema}
        pairs = [self._key(entity, types[column], column) for entity, column in zip(self._entities, own, strict=True)]
        keys = [f"_k{i}" for i in range(len(pairs))]
        asked = moments.selectExpr(
            "*",
            *(f"{mine} AS _k{i}" for i, (_, mine) in enumerate(pairs)),
            f"{_micros(predict_at, types[predict_at])} AS _t",
        )
        present = " AND ".join(f"{column} IS NOT NULL" for column in [*keys, "_t"])
        places = asked.where(present).select(*keys, "_t").distinct()
        event_keys, lanes = [theirs for theirs, _ in pairs], list(self._lanes)
        for lot in _lots(sums):
            asked = asked.join(running(self._events, places, event_keys, lanes, lot), [*keys, "_t"], "left")
        if picked:
            asked = asked.join(extremes(self._events, places, event_keys, lanes, picked), [*keys, "_t"], "left")
        absent = {cell.name for cell in sums if cell.what in ("count", "distinct")}
        made = [
            f"coalesce({quoted(name)}, 0L) AS {quoted(name)}" if name in absent else quoted(name)
            for name in names_of(self._feature)
        ]
        return asked.selectExpr(*(quoted(column) for column in moments.columns), *made)

    def _cells(self) -> tuple[list[Sum], list[Extreme]]:
        if isinstance(self._feature, FeatureView):
            return self._aggregates(self._feature)
        return [], self._picked(self._feature)

    def _aggregates(self, view: FeatureView) -> tuple[list[Sum], list[Extreme]]:
        sums, picked = list[Sum](), list[Extreme]()
        for aggregate in view.features:
            if (column := aggregate.reads) is not None and column in self._types:
                aggregate.check_type(column, _arrow(self._types[column]), f"{self._place}: {type(aggregate).__name__}")
        self._limits = _limits(
            self._events, {c: self._types[c] for c in self._added(view) if c in self._types}, self._place
        )
        for aggregate in view.features:
            place = f"{self._place}: {type(aggregate).__name__}"
            column, plan = aggregate.reads, SPARK[type(aggregate)]
            chosen, clocks = self._chosen(column, aggregate.where, place)
            until = aggregate.until if isinstance(aggregate, Pending) else None
            for window in windows_of(aggregate):
                name, lane = aggregate_name(view.name, aggregate, window), self._lane(window, clocks, until, place)
                if plan.what in ("min", "max"):
                    assert column is not None
                    value, answer = self._extreme(column)
                    picked.append(Extreme(name, lane, chosen, value, plan.what, answer))
                else:
                    sums.append(self._sum(name, lane, chosen, aggregate))
        return sums, picked

    def _sum(self, name: str, lane: int, chosen: str, aggregate: Aggregate) -> Sum:
        what, column = SPARK[type(aggregate)].what, aggregate.reads
        if isinstance(aggregate, CountDistinct):
            message = (
                f"{name}: one window holds %d different values of {column!r}, over the budget of {aggregate.budget:,}. "
                "Shorten the window, narrow it with where=, or raise budget=."
            )
            budget = (aggregate.budget, message.replace("%", "%%").replace("%%d", "%d", 1))
            return Sum(name, lane, chosen, "distinct", distinct=self._distinct(aggregate.column), budget=budget)
        number = self._limits[column] if what != "count" and column is not None else None
        return Sum(name, lane, chosen, what, number)  # type: ignore[arg-type]

    def _picked(self, feature: Last | First) -> list[Extreme]:
        window = Window(feature.max_age, "past") if feature.max_age else None
        found = []
        order = [EVENT_TIME, AVAILABLE_AT, EVENT_ID, *([VERSION] if VERSION in self._types else [])]
        for name, column in zip(names_of(feature), feature.columns.names, strict=True):
            chosen, clocks = self._chosen(column, feature.where, self._place)
            value = f"struct({', '.join(order)}, {self._fitting(column, name)} AS value)"
            choose: Literal["min", "max"] = "min" if isinstance(feature, First) else "max"
            lane = self._lane(window, clocks, None, self._place)
            found.append(Extreme(name, lane, chosen, value, choose, "_best.value"))
        return found

    def _chosen(self, column: str | None, where: str | None, place: str) -> tuple[str, tuple[str, ...]]:
        """Whether an event is read, and the clocks that have passed when it can be."""
        reads, conditions = frozenset(self._entities), list[str]()
        if where:
            from sterling.project.sql import columns_of

            met, kind = translated(where, self._kinds, place)
            if kind != "bool":
                raise InvalidDefinitionError(f"{place}: where={where!r} is no condition.")
            reads |= columns_of(where)
            conditions.append(f"coalesce({met}, FALSE)")
        if column is not None:
            if column not in self._kinds:
                raise InvalidDefinitionError(f"{place}: there is no column {column!r}. {nearest(column, self._kinds)}")
            reads |= {column}
            conditions.append(f"{quoted(column)} IS NOT NULL")
        return " AND ".join(conditions) or "TRUE", clocks_of(reads, self._source, place)

    def _lane(self, window: Window | None, clocks: tuple[str, ...], until: str | None, place: str) -> int:
        """Where events are inside, as SEMANTICS of windows has it: for moments t in (lo, hi]."""
        self._required(clocks)
        known = _latest([quoted(clock) for clock in clocks])
        happened, size = quoted(EVENT_TIME), window.micros if window else 0
        kind = window.kind if window else "past"
        since = f"{happened} - {size}L" if kind == "ahead" else happened
        lo = known if kind == "known" else f"CASE WHEN {known} IS NOT NULL THEN greatest({known}, {since}) END"
        end = {"past": f"{happened} + {size}L", "known": f"{known} + {size}L", "ahead": happened}[kind]
        ends = [end if window else f"{_NEVER}L"]
        if until is not None:
            ends.append(f"coalesce({self._ended(until, place)}, {_NEVER}L)")
        if self._source.updates == "replace":
            ends.append(f"coalesce({quoted(REPLACED_AT)}, {_NEVER}L)")
        lane = Lane(lo, f"least({', '.join(ends)})" if len(ends) > 1 else ends[0])
        return self._lanes.setdefault(lane, len(self._lanes))

    def _ended(self, until: str, place: str) -> str:
        """When the end of an event is known, or null."""
        if self._kinds.get(until) != "time":
            said = (
                f"which is {self._types[until].simpleString()}: no time with a zone"
                if until in self._types
                else "no column"
            )
            raise InvalidDefinitionError(f"{place}.until is {until!r}, {said}.")
        clock = rule_of(until, self._source, place).clock
        self._required([clock])
        return _latest([f"unix_micros({quoted(until)})", quoted(clock)])

    def _key(self, entity: str, mine: DataType, column: str) -> tuple[str, str]:
        """A part of the key over the events and over the moments."""
        if entity not in self._types:
            raise InvalidDefinitionError(
                f"{self._place}: there is no column {entity!r}. {nearest(entity, self._types)}"
            )
        theirs, kinds = self._types[entity], {_kind(self._types[entity]), _kind(mine)}
        if kinds == {"whole", "text"}:
            return f"CAST({quoted(entity)} AS STRING)", f"CAST({quoted(column)} AS STRING)"
        if len(kinds) > 1 or not kinds <= {"whole", "text", "bool", "time", "date"}:
            raise InvalidDefinitionError(
                f"{self._place}: the entity {entity!r} is {theirs.simpleString()} in the events and {mine.simpleString()} in the "
                "moments, which is no key on Spark. Keys are texts, whole numbers, conditions, dates or times, alike on both sides."
            )
        return quoted(entity), quoted(column)

    def _distinct(self, column: str) -> str:
        """The values of a column as they are told apart; the two zeros are one."""
        return f"{quoted(column)} + 0.0D" if self._kinds[column] == "float" else quoted(column)

    def _extreme(self, column: str) -> tuple[str, str]:
        """The values of a column as they are compared, and as they are said."""
        kind, cell = self._kinds[column], quoted(column)
        if kind in ("whole", "bool"):
            return f"CAST({cell} AS BIGINT)", "_best"
        return (cell, "CAST(_best AS DOUBLE)") if kind == "decimal" else (f"CAST({cell} AS DOUBLE) + 0.0D", "_best")

    def _fitting(self, column: str, name: str) -> str:
        """A column as one of the four types that models read."""
        kind = self._kinds[column]
        wanted = {"whole": "BIGINT", "bool": "TINYINT", "float": "DOUBLE", "decimal": "DOUBLE", "text": "STRING"}
        if kind not in wanted:
            raise InvalidDefinitionError(
                f"Feature {name!r} is {self._types[column].simpleString()}. A model reads numbers, texts and conditions."
            )
        return f"CAST({quoted(column)} AS {wanted[kind]})"

    def _added(self, view: FeatureView) -> list[str]:
        """Columns that are added up."""
        return sorted(
            {a.reads for a in view.features if a.reads and SPARK[type(a)].what in ("sum", "mean", "variance")}
        )

    def _required(self, columns: Iterable[str]) -> None:
        for column in columns:
            if column not in self._types:
                raise DataError(
                    f"{self._place}: the events have no column {column!r}. Give the clean table of {self._source.name}, which "
                    "has the clocks."
                )


def _latest(times: Sequence[str]) -> str:
    """The last of several times; null where one of them is."""
    if len(times) == 1:
        return times[0]
    return f"CASE WHEN {' AND '.join(f'{time} IS NOT NULL' for time in times)} THEN greatest({', '.join(times)}) END"


def _lots(sums: Sequence[Sum]) -> list[list[Sum]]:
    """The features in lots of so many lanes."""
    return [
        lot for start in range(0, max((c.lane for c in sums), default=-1) + 1, MOST_LANES)
        if (lot := [c for c in sums if start <= c.lane < start + MOST_LANES])
    ]  # fmt: skip


def _micros(column: str, dtype: DataType) -> str:
    kind = _kind(dtype)
    if kind not in ("time", "whole"):
        raise InvalidDefinitionError(
            f"The moments' {column!r} is {dtype.simpleString()}. It is a timestamp with a zone, or whole microseconds since 1970."
        )
    return f"unix_micros({quoted(column)})" if kind == "time" else f"CAST({quoted(column)} AS BIGINT)"


_KINDS = {
    "tinyint": "whole", "smallint": "whole", "int": "whole", "bigint": "whole", "float": "float", "double": "float",
    "boolean": "bool", "string": "text", "timestamp": "time", "date": "date",
}  # fmt: skip
_ARROW = {
    "tinyint": "int8", "smallint": "int16", "int": "int32", "bigint": "int64", "boolean": "bool",
    "array": "list", "timestamp": "timestamp[us, tz=UTC]",
}  # fmt: skip


def _kind(dtype: DataType) -> str:
    """What a type is to expressions and aggregates."""
    said = dtype.simpleString()
    return "decimal" if said.startswith("decimal") else _KINDS.get(said, said)


def _arrow(dtype: DataType) -> str:
    """A type as Arrow writes it."""
    said: str = dtype.simpleString()
    if said.startswith("decimal"):
        return f"decimal128{said.removeprefix('decimal')}"
    return _ARROW.get(said.partition("<")[0], said)


class _Limits(NamedTuple):
    """What is looked up of a column before its values are added up.

    Attributes:
        value: The column as SQL, in a type that becomes digits.
        least: The least of its values but zero, without their signs.
        most: The greatest of its values without their signs.
        wrong: How many are infinite or no number.
        fine: For each of `_FINE`, whether all values are multiples of it.
    """

    value: str
    least: str
    most: str
    wrong: str
    fine: str


_FINE = (0, -10, -20)  # exponents of two that values are often whole multiples of, which saves digits


def _limits(events: DataFrame, columns: Mapping[str, DataType], place: str) -> dict[str, Number]:
    """How the values of each column become digits, by one look at their limits."""
    asked = {column: _looked_at(quoted(column), dtype) for column, dtype in columns.items()}
    if not asked:
        return {}
    measured = [f"struct({', '.join(limits[1:])}) AS m{i}" for i, limits in enumerate(asked.values())]
    rows = events.selectExpr(*measured).collect()[0]
    return {
        column: _number(limits.value, columns[column], tuple(row), f"{place} adds up {column!r}, which")
        for (column, limits), row in zip(asked.items(), rows, strict=True)
    }


def _looked_at(cell: str, dtype: DataType) -> _Limits:
    kind = _kind(dtype)
    if kind == "float":
        value, nothing = f"CAST({cell} AS DOUBLE)", "CAST('Infinity' AS DOUBLE)"
        fine = ", ".join(f"coalesce(bool_and({value} % {double(2.0**power)} = 0.0D), TRUE)" for power in _FINE)
        least = f"min(abs({value})) FILTER (WHERE {value} <> 0.0D)"
        wrong = f"count_if(isnan({value}) OR abs({value}) = {nothing})"
        return _Limits(value, least, f"max(abs({value}))", wrong, f"array({fine})")
    if kind == "decimal":
        value = f"CAST(replace(CAST({cell} AS STRING), '.', '') AS DECIMAL(38, 0))"
        return _Limits(value, "NULL", f"max(abs({value}))", "0", "NULL")
    value = f"CAST({cell} AS BIGINT)"
    return _Limits(value, "NULL", f"max(abs(CAST({value} AS DECIMAL(20, 0))))", "0", "NULL")


def _number(value: str, dtype: DataType, found: tuple[Any, ...], said: str) -> Number:
    least, most, wrong, fine = found
    kind = _kind(dtype)
    if kind != "float":
        places = -(-int(most or 0).bit_length() // BITS) or 1
        tens = int(dtype.simpleString().rstrip(")").split(",")[1]) if kind == "decimal" else 0
        return Number(value, "decimal" if kind == "decimal" else "whole", places, tens=tens)
    if wrong:
        raise DataError(f"{said} is infinite or no number in {wrong:,} rows. Clean tables have neither.")
    if not least:
        return Number(value, "float", 1)
    low, high = frexp(least)[1] - 53, frexp(most)[1]
    if low < -_WIDEST or high > _WIDEST:
        raise DataError(
            f"{said} has values from {least!r} to {most!r}; Spark adds up doubles between 1e-70 and 1e90. Round them in the "
            "query that prepares the table."
        )
    low = max([low, *(power for power, whole in zip(_FINE, fine, strict=True) if whole)])
    return Number(value, "float", max(1, -(-(high - low) // BITS)), low)
