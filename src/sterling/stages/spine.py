"""The spine: the moments of prediction in one order, and the label of each as far as it is known at as_of.

| stage | inputs | outputs |
|---|---|---|
| `Spine` | ``clean:<source>`` for the spine's and the label's source, ``as_of`` | ``spine`` |

Columns of the spine, ordered by (predict_at, unit): ``unit`` (text), ``predict_at`` (int64 microseconds), ``label``
(int8, float64 where
the task is a regression, or text where it is of classes; null), ``matured_at`` (int64, null), ``status`` (``matured``, ``pending``, ``missing``), ``cluster`` (text, null)
and ``row`` (int64): the position, in the clean table of the spine's source, of the row that the moment stands on.
"""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.clock import from_micros, to_micros
from sterling.core.errors import DataError, InvalidDefinitionError, NotKnownAtPredictionError, nearest
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import put_table, read_table
from sterling.features.availability import (
    AVAILABLE_AT,
    EVENT_ID,
    EVENT_TIME,
    REPLACED_AT,
    VALID_TO,
    VERSION,
    clocks_of,
    proved,
    rule_of,
)  # fmt: skip
from sterling.features.exact import Ints
from sterling.features.windows import NEVER, key_codes, latest
from sterling.project.sources import Delay, EntitySource
from sterling.project.spine import EventSpine, Label, Occurs, ScheduledSpine
from sterling.project.sql import check_columns, quoted
from sterling.project.tasks import NUMBERS, Binary, Multiclass, Task
from sterling.project.times import calendar, micros, zone
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.snapshot import read_as_of, span
from sterling.tasks.multiclass import class_counts
from sterling.tasks.of import task_of

_STATUS = np.array(["matured", "pending", "missing"])


class Spine(Stage, frozen=True):
    """Lay out the moments of prediction, and the label of each.

    Args:
        spine: Which moments.
        label: What each of them waits for.
        cluster: Column of the spine's source whose values name rows that are not independent.
        task: What kind of problem it is.
    """

    spine: EventSpine | ScheduledSpine
    label: Label | Occurs
    cluster: str | None = None
    task: Task = Binary()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("duckdb", "pyarrow", "numpy")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Moments up to as_of, each with its label where that has matured."""
        as_of = read_as_of(inputs["as_of"], context)
        own = read_table(context.store, inputs[f"clean:{self.spine.source.name}"])
        events = read_table(context.store, inputs[f"clean:{self.label.source.name}"])
        moments, later = find_moments(self.spine, own, as_of, context)
        if isinstance(self.label, Label):
            labels = _joined(self.label, moments, own, events, as_of, context, self.task)
        else:
            labels = _occurred(self.label, moments, own, events, as_of, context)
        table = pa.table(
            {
                "unit": moments.column("unit"),
                "predict_at": moments.column("predict_at"),
                **labels,
                "cluster": self._clusters(own, moments),
                "row": moments.column("row"),
            }
        )
        ref = put_table(context.store, table)
        return Outcome({"spine": ref}, (Evidence("spine.built", (), _summary(table, ref, later, self.task)),))

    def _clusters(self, own: pa.Table, moments: pa.Table) -> pa.ChunkedArray:
        if self.cluster is None:
            return pa.chunked_array([pa.nulls(moments.num_rows, pa.string())])
        if self.cluster not in own.schema.names:
            raise InvalidDefinitionError(
                f"Project.cluster is {self.cluster!r}, which {self.spine.source.name} does not list. "
                f"{nearest(self.cluster, [name for name in own.schema.names if not name.startswith('_')])}"
            )
        return own.column(self.cluster).take(moments.column("row")).cast(pa.string())


def find_moments(
    spine: EventSpine | ScheduledSpine, own: pa.Table, until: int, context: Context, *, since: int | None = None
) -> tuple[pa.Table, int]:
    """The moments of prediction, as ``unit``, ``predict_at`` and ``row``, and how many more lie later.

    Args:
        spine: Which moments.
        own: The clean rows of its source.
        until: The last moment, in microseconds.
        context: Where they are computed.
        since: The first one; None for as early as there is any.
    """
    if isinstance(spine, ScheduledSpine):
        return _scheduled(spine, own, until, context, since)
    moments, later = _per_event(spine, own, until, context)
    if since is not None:
        moments = moments.filter(pc.greater_equal(moments.column("predict_at"), since)).combine_chunks()
    return moments, later


def local_moments(every: str, tz: str, first: int, last: int) -> Ints:
    """The moments of a calendar in [first, last], in microseconds.

    Args:
        every: Days and a local time, as `ScheduledSpine` says.
        tz: IANA zone of the calendar.
        first: Microseconds since 1970.
        last: Microseconds since 1970.

    Example:
        >>> found = local_moments("SUN 02:30", "Europe/Berlin", 1743206400000000, 1743379200000000)
        >>> [from_micros(t).isoformat() for t in found.tolist()]
        ['2025-03-30T01:30:00+00:00']
    """
    weekdays, at = calendar(every)
    place = zone(tz)
    day = from_micros(first).astimezone(place).date() - timedelta(days=1)
    end = from_micros(last).astimezone(place).date()
    found = []
    while day <= end:
        if day.weekday() in weekdays:
            # fold 0 means the first of two such times, and where there is none it moves forward by the gap
            found.append(to_micros(datetime.combine(day, at, tzinfo=place).astimezone(UTC)))
        day += timedelta(days=1)
    times = np.array(found, np.int64)
    return times[(times >= first) & (times <= last)]


def _per_event(spine: EventSpine, own: pa.Table, as_of: int, context: Context) -> tuple[pa.Table, int]:
    """A moment for each event, and how many more lie after as_of."""
    reads = check_columns(spine.predict_at, _names(own), "EventSpine.predict_at")
    chosen = check_columns(spine.where, _names(own), "EventSpine.where") if spine.where else frozenset()
    numbered = own.append_column("row", pa.array(np.arange(own.num_rows)))
    found = context.engine.query(
        f"SELECT {EVENT_ID} AS unit, ({spine.predict_at}) AS predict_at, row FROM own "
        f"WHERE ({spine.predict_at}) IS NOT NULL AND ({spine.where or 'TRUE'}) ORDER BY predict_at, unit",
        {"own": numbered},
    )
    kind = found.schema.field("predict_at").type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        raise InvalidDefinitionError(
            f"EventSpine.predict_at is {spine.predict_at!r}, which is {kind}. It must be a time with a zone: "
            "compute it from such columns, or say where it is local, with AT TIME ZONE."
        )
    found = found.set_column(1, "predict_at", found.column("predict_at").cast(pa.int64()))
    if REPLACED_AT in own.schema.names:
        found = found.filter(_newest_then(own, found))
    for column in sorted(reads | chosen):
        place = "EventSpine.predict_at" if column in reads else "EventSpine.where"
        _refuse_unknown(column, place, spine, own, found)
    past = found.filter(pc.less_equal(found.column("predict_at"), as_of)).combine_chunks()
    return past, found.num_rows - past.num_rows


def _newest_then(own: pa.Table, moments: pa.Table) -> pa.Array:
    """Which moments follow from the newest version known at them; a first version that is known too late stays."""
    rows, times = moments.column("row"), moments.column("predict_at").to_numpy()
    available = latest([own.column(AVAILABLE_AT).take(rows)])
    replaced = latest([own.column(REPLACED_AT).take(rows)])
    first = own.column(VERSION).take(rows).to_numpy() == 1
    return pa.array((replaced >= times) & ((available < times) | first))


def _refuse_unknown(column: str, place: str, spine: EventSpine, own: pa.Table, moments: pa.Table) -> None:
    """What decides when and whether to predict must be known by then."""
    rule = rule_of(column, spine.source, place)
    if proved(rule, spine.predict_at):
        return
    known = latest([own.column(rule.clock)])[moments.column("row").to_numpy()]
    late = int((known >= moments.column("predict_at").to_numpy()).sum())
    if late:
        raise NotKnownAtPredictionError(
            f"{place} reads {column!r} of {spine.source.name}, which becomes known at {rule.said}; the prediction is made at "
            f"{spine.predict_at}. In {late:,} of {moments.num_rows:,} rows it is known only afterwards, or never."
        )


def _scheduled(
    spine: ScheduledSpine, own: pa.Table, as_of: int, context: Context, since: int | None
) -> tuple[pa.Table, int]:
    """Every entity whose newest row that is true and known at a moment meets the condition, at every moment."""
    if spine.where:
        for column in sorted(check_columns(spine.where, _names(own), "ScheduledSpine.where")):
            rule_of(column, spine.source, "ScheduledSpine.where")
    known = np.maximum(latest([own.column(EVENT_TIME)]), latest([own.column(AVAILABLE_AT)]))
    first = int(known.min(initial=as_of))
    times = local_moments(spine.every, spine.tz, first if since is None else max(first, since), as_of)
    keys = ", ".join(f"own.{quoted(name)}" for name in spine.source.entities)
    ends = f"own.{VALID_TO}" if VALID_TO in own.schema.names else "NULL"
    found = context.engine.query(
        f"WITH newest AS (SELECT own.*, moments.predict_at FROM moments JOIN own "
        f"ON own.{EVENT_TIME} <= moments.predict_at AND own.{AVAILABLE_AT} < moments.predict_at "
        f"AND ({ends} IS NULL OR moments.predict_at < {ends}) "
        f"QUALIFY row_number() OVER (PARTITION BY {keys}, moments.predict_at ORDER BY own.row DESC) = 1) "
        f"SELECT {_unit(spine.source)} AS unit, predict_at, row FROM newest "
        f"WHERE ({spine.where or 'TRUE'}) ORDER BY predict_at, unit",
        {
            "own": own.append_column("row", pa.array(np.arange(own.num_rows))),
            "moments": pa.table({"predict_at": times}),
        },
    )
    return found, 0


def _unit(source: EntitySource) -> str:
    """An entity and a moment as one text."""

    def cell(name: str) -> str:
        return f"replace(replace(CAST({quoted(name)} AS VARCHAR), '\\', '\\\\'), '|', '\\|')"

    keys = " || '|' || ".join(f"coalesce({cell(name)}, '')" for name in source.entities)
    return f"{keys} || '@' || strftime(make_timestamp(predict_at), '%Y-%m-%dT%H:%M:%SZ')"


def _joined(
    label: Label, moments: pa.Table, own: pa.Table, events: pa.Table, as_of: int, context: Context, task: Task
) -> dict[str, pa.Array]:
    """The label as an expression on the event of the same id: on its newest version within the horizon."""
    reads = check_columns(label.expression, _names(events), "Label")
    clocks = clocks_of(reads, label.source, "Label")
    known = f"greatest({', '.join(map(quoted, clocks))})"
    every = " AND ".join(f"{quoted(clock)} IS NOT NULL" for clock in clocks)
    deadline = moments.column("predict_at").to_numpy() + micros(label.horizon)
    ids = pa.table(
        {
            "id": own.column(EVENT_ID).take(moments.column("row")),
            "i": np.arange(moments.num_rows),
            "settled": np.minimum(deadline, as_of),
        }
    )
    version, also = "", ""
    if REPLACED_AT in events.schema.names:
        version = f"AND {AVAILABLE_AT} <= settled AND ({REPLACED_AT} IS NULL OR {REPLACED_AT} > settled)"
        also = f"{AVAILABLE_AT}, {REPLACED_AT}, "
    found = context.engine.query(
        f"SELECT value, known_at FROM ids LEFT JOIN "
        f"(SELECT {EVENT_ID}, {also}({label.expression}) AS value, CASE WHEN {every} THEN {known} END AS known_at FROM events) "
        f"ON id = {EVENT_ID} {version} ORDER BY i",
        {"ids": ids, "events": events},
    )
    known_at = latest([found.column("known_at")])
    cells = _values(label, found.column("value"), task)
    nothing = "" if isinstance(task, Multiclass) else 0
    values, there = pc.fill_null(cells, nothing).to_numpy(), pc.is_valid(cells).to_numpy()
    matured = there & (known_at <= np.minimum(deadline, as_of))
    missing = ~matured & (deadline <= as_of)
    if label.missing != "drop":
        values, known_at = (
            np.where(missing, label.missing, values).astype(values.dtype),
            np.where(missing, deadline, known_at),
        )
        matured |= missing
    return _labels(values, known_at, matured, missing)


def _values(label: Label, found: pa.ChunkedArray, task: Task) -> pa.ChunkedArray:
    """The label's values as the task has them: 0 and 1, or finite numbers."""
    if isinstance(task, Multiclass):
        return _classes(label, found)
    kind = found.type
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if isinstance(task, NUMBERS):
        if not number:
            raise InvalidDefinitionError(
                f"Label: {label.expression!r} is {kind}, and Project.task is {type(task).__name__}, whose label is a number."
                + (" A condition is the label of the task Binary." if pa.types.is_boolean(kind) else "")
            )
        cells = found.cast(pa.float64())
        if odd := pc.sum(pc.invert(pc.is_finite(cells))).as_py():
            raise DataError(
                f"Label: {label.expression!r} is infinite or no number in {odd:,} rows. It is a finite number."
            )
        return cells
    if not pa.types.is_boolean(kind) and not (
        number and pc.all(pc.is_in(found, pa.array([0, 1, None]).cast(kind))).as_py()
    ):
        raise InvalidDefinitionError(
            f"Label: {label.expression!r} is {kind}, and Project.task is Binary, whose label is a condition, or 0 and 1. "
            + ("Write a condition, or task=sl.Regression()." if number else "Write a condition.")
        )
    return found.cast(pa.int8())


def _classes(label: Label, found: pa.ChunkedArray) -> pa.ChunkedArray:
    """Names of classes; those of whole numbers are their digits."""
    kind = found.type
    if pa.types.is_dictionary(kind):
        found, kind = found.cast(kind.value_type), kind.value_type
    named = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    if not named and not pa.types.is_null(kind):
        raise InvalidDefinitionError(
            f"Label: {label.expression!r} is {kind}, and Project.task is Multiclass, whose label is the name of a class: text, "
            "or a whole number."
            + (" A condition is the label of the task Binary." if pa.types.is_boolean(kind) else "")
        )
    names = found.cast(pa.string())
    if empty := pc.sum(pc.equal(names, "")).as_py():
        raise DataError(f"Label: {label.expression!r} is an empty text in {empty:,} rows. A class has a name.")
    return names


def _occurred(
    label: Occurs, moments: pa.Table, own: pa.Table, events: pa.Table, as_of: int, context: Context
) -> dict[str, pa.Array]:
    """Whether an event of the entity lies in (t, t + within]; of versions of an event the newest says so.

    What has been replaced, or is no more, is waited for too: until then the answer was another one.
    """
    reads = check_columns(label.where, _names(events), "Occurs.where") if label.where else frozenset()
    clocks = clocks_of(reads | set(label.source.entities), label.source, "Occurs")
    numbered = events.append_column("i", pa.array(np.arange(events.num_rows)))
    meets = context.engine.query(
        f"SELECT i FROM events WHERE ({label.where or 'TRUE'}) ORDER BY i", {"events": numbered}
    )
    events = events.take(meets.column("i"))
    event_codes, codes = key_codes(
        [events.column(name) for name in label.source.entities],
        [_entity(own, name, label).take(moments.column("row")) for name in label.source.entities],
    )
    times = moments.column("predict_at").to_numpy()
    close = times + micros(label.within)
    happened = latest([events.column(EVENT_TIME)])
    known = latest([events.column(clock) for clock in clocks])
    newest, count = _newest_within(event_codes, happened, known, codes, times, close)
    if REPLACED_AT in events.schema.names:
        replaced = latest([events.column(REPLACED_AT)])
        ended, current = np.where(replaced == NEVER, known, replaced), np.flatnonzero(replaced == NEVER)
        newest = np.maximum(newest, _newest_within(event_codes, happened, ended, codes, times, close)[0])
        count = _newest_within(event_codes[current], happened[current], known[current], codes, times, close)[1]
    wait = micros(label.source.available_at.duration) if isinstance(label.source.available_at, Delay) else 0
    known_at = np.maximum(close + wait, newest)
    matured = known_at <= as_of
    values = (count > 0).astype(np.int8)
    return _labels(values, known_at, matured, np.zeros(len(values), bool))


def _entity(own: pa.Table, name: str, label: Occurs) -> pa.ChunkedArray:
    if name not in own.schema.names:
        raise InvalidDefinitionError(
            f"Occurs: {label.source.name} is looked up by {name!r}, which the spine's row does not have. "
            f"{nearest(name, _names(own))}"
        )
    return own.column(name)


def _newest_within(
    event_codes: Ints, happened: Ints, known: Ints, codes: Ints, after: Ints, until: Ints
) -> tuple[Ints, Ints]:
    """The latest time at which an event of the key in (after, until] became known, and how many there are."""
    order = np.lexsort((happened, event_codes))
    event_codes, happened, known = event_codes[order], happened[order], known[order]
    times = np.unique(np.concatenate([happened, after, until]))
    size = len(times) + 1

    def place(keys: Ints, at: Ints) -> Ints:
        return keys * size + np.searchsorted(times, at)

    places = place(event_codes, happened)
    first = np.searchsorted(places, place(codes, after), side="right")
    last = np.searchsorted(places, place(codes, until), side="right")
    last = np.where(codes < 0, first, last)
    return _range_maximum(known, first, last), last - first


def _range_maximum(values: Ints, first: Ints, last: Ints) -> Ints:
    """The maximum of values[first:last] for each pair, by a table of powers of two; the smallest number where empty."""
    lowest = np.iinfo(np.int64).min
    answers = np.full(len(first), lowest)
    length = last - first
    level, step = values, 1
    while step <= int(length.max(initial=0)):
        chosen = np.flatnonzero((length >= step) & (length < 2 * step))
        answers[chosen] = np.maximum(level[first[chosen]], level[last[chosen] - step])
        level = np.maximum(level[: len(level) - step], level[step:])
        step *= 2
    return answers


def _labels(values: np.ndarray, known_at: Ints, matured: np.ndarray, missing: np.ndarray) -> dict[str, pa.Array]:
    status = np.where(matured, 0, np.where(missing, 2, 1))
    return {
        "label": pa.array(values, mask=~matured),
        "matured_at": pa.array(known_at, mask=~matured),
        "status": pa.array(_STATUS[status]),
    }


def _names(table: pa.Table) -> list[str]:
    return [name for name in table.schema.names if not name.startswith("_")]


def _of_labels(known: pa.ChunkedArray, task: Task) -> dict[str, Any]:
    if not isinstance(task, Multiclass):
        return task_of(task).summary(known.to_numpy().astype(np.float64))
    counted = pc.value_counts(known).to_pylist()
    return class_counts({one["values"]: one["counts"] for one in counted})


def _summary(table: pa.Table, ref: Ref, later: int, task: Task) -> dict[str, Any]:
    status = table.column("status")
    counts = {name: pc.sum(pc.equal(status, name)).as_py() or 0 for name in _STATUS.tolist()}
    return {
        "ref": ref,
        "rows": table.num_rows,
        **counts,
        "after_as_of": later,
        **_of_labels(table.column("label").drop_null(), task),
        "predict_at": span(table.column("predict_at")),
        "clusters": pc.count_distinct(table.column("cluster"), mode="only_valid").as_py(),
    }
