"""Features: one stage for each definition, so that a change to one reruns that one, and the frame that joins them.

| stage | for | inputs | outputs |
|---|---|---|---|
| `row.RowFeatures` | `Columns`, `Expression` | ``spine``, ``clean:<spine's source>`` | ``features`` |
| `aggregates.PickedFeatures` | `Last`, `First` | ``spine``, ``clean:<spine's source>``, ``clean:<feature's source>`` | ``features``, ``leaks`` |
| `aggregates.ViewFeatures` | `FeatureView` | ``spine``, ``clean:<spine's source>``, ``clean:<view's source>`` | ``features``, ``leaks`` |
| `derived.DerivedFeatures` | `Derived` | ``features:<view>`` for each definition that it reads (`reads`), ``leaks:<view>`` for those of events | ``features``, and ``leaks`` where it reads such |
| `on_demand.OnDemandFeatures` | `OnDemand` | the same | the same |
| `frame.Assemble` | the service | ``spine``, ``features:<view>`` for each definition, ``leaks:<view>`` for those that have such, ``clean:<spine's source>`` where slices are no features | ``frame`` |

``<view>`` is what `view_name` calls a definition. Row i of a features table belongs to row i of the spine. Columns of the
frame, ordered by (predict_at, unit): ``unit``, ``predict_at``, ``label``, ``matured_at``, ``status``, ``cluster``, the
features in the service's order, and slice columns that are no feature as ``_slice_<column>``. A feature is int64,
float64, int8 for true and false, or text for categories; all may be null. A table of leaks has two columns for each
feature: whether it would be another one if availability were ignored, and under ``naive:<feature>`` what it would be
there; null elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.canonical import digest
from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import AnyTable, finite, put_table, read_table
from sterling.features.leaks import Censoring, changed
from sterling.project.definition import essence, to_json
from sterling.project.features import (
    Derived,
    Feature,
    FeatureService,
    FeatureView,
    First,
    Last,
    OnDemand,
    names_of,
    view_name,
)  # fmt: skip
from sterling.project.load import supplied_code
from sterling.project.project import Project
from sterling.project.sql import check_columns
from sterling.stages.contract import Context, Outcome, bare

LIBRARIES = ("duckdb", "pyarrow", "numpy")
NAIVE = "naive:"


def reads(feature: Derived | OnDemand, service: FeatureService) -> tuple[Feature, ...]:
    """The definitions that a feature of other features reads, in the service's order.

    Raises:
        InvalidDefinitionError: if a derived feature names what is no feature, or is a derived one.
    """
    later = Derived if isinstance(feature, Derived) else (OnDemand, Derived)
    others = [item for item in service.features if not isinstance(item, later)]
    known = [name for item in others for name in names_of(item)]
    wanted = (
        feature.inputs
        if isinstance(feature, OnDemand)
        else check_columns(feature.sql, known, f"{type(feature).__name__} {feature.name!r}")
    )
    return tuple(item for item in others if set(wanted) & set(names_of(item)))


def has_leaks(feature: Feature, service: FeatureService) -> bool:
    """Whether a definition reads events, so that it would be another one if availability were ignored."""
    if isinstance(feature, Derived | OnDemand):
        return any(has_leaks(item, service) for item in reads(feature, service))
    return isinstance(feature, FeatureView | Last | First)


def definition_hash(feature: Feature, code: Sequence[Any] = ()) -> str:
    """What names a definition: a hash of all that decides its values, and of nothing that only documents it.

    Where a source's rows come from is no part of it, so that a view means the same in every project.

    Args:
        feature: The definition.
        code: What identifies the code that the project supplies for it.

    Example:
        >>> from sterling.project.features import Expression
        >>> definition_hash(Expression("dep_hour", "hour(departure)"))[:12]
        '192eb6329206'
    """
    said = essence(bare(feature))
    return digest({"feature": said, "code": to_json(code)} if code else said)


def definition_hashes(project: Project, folder: Path) -> dict[str, str]:
    """The hash of each definition of a project, by what it is called."""
    return {
        view_name(item): definition_hash(item, supplied_code(item, folder) if isinstance(item, OnDemand) else ())
        for item in project.features.features
    }


def built(
    feature: Feature,
    table: pa.Table,
    context: Context,
    facts: Sequence[Evidence],
    shares: Mapping[str, float | None] | None = None,
    leaks: pa.Table | None = None,
    code: Sequence[Any] = (),
) -> Outcome:
    """Keep the features and say what they are.

    Args:
        feature: The definition.
        table: Its features, a column for each.
        context: Where to keep them.
        facts: What else was found.
        shares: For each feature of windows, the share of the windows' events that were known.
        leaks: What its features would be if availability were ignored, as `leaked` gives it.
        code: What identifies the code that the project supplies for it.
    """
    view = view_name(feature)
    cells = {name: fitting(table.column(name), name) for name in table.schema.names}
    made = finite(pa.table(cells), view)
    ref = put_table(context.store, made)
    described = [
        {
            "name": name,
            "kind": "category" if pa.types.is_string(made.column(name).type) else "number",
            "nulls": made.column(name).null_count / made.num_rows if made.num_rows else 0.0,
            "known_events": (shares or {}).get(name),
            "definition": definition_hash(feature, code),
        }
        for name in made.schema.names
    ]
    fact = Evidence("features.built", (f"view:{view}",), {"view": view, "ref": ref, "features": described})
    outputs = {"features": ref} | ({} if leaks is None else {"leaks": put_table(context.store, leaks)})
    return Outcome(outputs, (*facts, fact))


def leaked(made: Mapping[str, pa.Array], naive: Mapping[str, pa.Array]) -> pa.Table:
    """For each feature the rows in which a join on the time of the event alone would have given another value, and it."""
    table: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name, cells in made.items():
        table[name] = pa.array(changed(cells, naive[name]))
        other = fitting(naive[name], name)
        kept = pc.and_(table[name], pc.is_finite(other)) if pa.types.is_floating(other.type) else table[name]
        table[NAIVE + name] = pc.if_else(kept, other, pa.scalar(None, other.type))
    return pa.table(table)


def blinded(cells: Mapping[str, pa.ChunkedArray], leaks: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Features as they would be if availability were ignored.

    Args:
        cells: Features by name.
        leaks: What `leaked` gave for some of them.
    """
    flagged = {name: leaks.column(name) for name in leaks.schema.names if not name.startswith(NAIVE)}
    other = {name: pc.if_else(flags, leaks.column(NAIVE + name), cells[name]) for name, flags in flagged.items()}
    return {**cells, **other}


def passed_on(
    name: str,
    made: pa.ChunkedArray,
    inputs: Mapping[str, Ref],
    context: Context,
    compute: Callable[[Mapping[str, pa.ChunkedArray]], pa.Array | pa.ChunkedArray],
) -> pa.Table | None:
    """The leaks that a feature of other features takes over from these; None where none of them reads events.

    Args:
        name: The feature.
        made: Its cells.
        inputs: Inputs of its stage.
        context: Context of its stage.
        compute: Computes it for some rows of the others; rows for which it fails have no value.
    """
    leaks = leaks_beside(inputs, context)
    if leaks is None:
        return None
    flags = [leaks.column(column).to_numpy() for column in leaks.schema.names if not column.startswith(NAIVE)]
    rows = np.flatnonzero(np.logical_or.reduce(flags))
    other = blinded(beside(inputs, context), leaks)
    try:
        found = compute({column: cells.take(pa.array(rows)) for column, cells in other.items()})
    except DataError:  # what it was written for are the values that were known
        found = pa.nulls(len(rows), made.type)
    place = np.full(len(made), -1)
    place[rows] = np.arange(len(rows))
    changed_to = pa.chunked_array([found] if isinstance(found, pa.Array) else found.chunks, found.type)
    spread = changed_to.cast(made.type).take(pa.array(place, mask=place < 0))
    return leaked({name: made}, {name: pc.if_else(pa.array(place >= 0), spread, made)})


def leaks_beside(inputs: Mapping[str, Ref], context: Context) -> pa.Table | None:
    """All leaks that a stage is given, or None."""
    tables = [read_table(context.store, ref) for name, ref in sorted(inputs.items()) if name.startswith("leaks:")]
    columns = {name: table.column(name) for table in tables for name in table.schema.names}
    return pa.table(columns) if columns else None


def censored(name: str, view: str, found: Censoring) -> Evidence:
    """What of a feature's events was known, as a fact."""
    body = {
        "feature": name, "view": view, "empty": found.empty, "known_events": found.known,
        "known_mean": found.known_mean, "every_mean": found.every_mean, "warning": found.warning,
    }  # fmt: skip
    return Evidence("censoring.measured", (f"feature:{name}",), body)


def beside(inputs: Mapping[str, Ref], context: Context) -> dict[str, pa.ChunkedArray]:
    """All features that a stage is given, by name."""
    tables = [read_table(context.store, ref) for name, ref in sorted(inputs.items()) if name.startswith("features:")]
    if len({table.num_rows for table in tables}) > 1:
        raise DataError("Features of different spines cannot stand side by side.")
    return {name: table.column(name) for table in tables for name in table.schema.names}


def fitting(cells: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
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


def column_of(table: AnyTable, name: str, place: str) -> pa.ChunkedArray:
    """A column of a source.

    Raises:
        InvalidDefinitionError: if there is none of that name, with the nearest ones.
    """
    check_column(table, name, place)
    return table.column(name)


def check_column(table: AnyTable, name: str, place: str) -> None:
    """Refuse the name of what is no column of a source.

    Raises:
        InvalidDefinitionError: with the nearest ones.
    """
    if name not in listed(table):
        raise InvalidDefinitionError(f"{place}: there is no column {name!r}. {nearest(name, listed(table))}")


def listed(table: AnyTable) -> list[str]:
    """The columns of a source without its clocks, which begin with _."""
    return [name for name in table.names if not name.startswith("_")]
