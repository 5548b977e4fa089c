"""Features: one stage for each definition, so that a change to one reruns that one, and the frame that joins them.

| stage | for | inputs | outputs |
|---|---|---|---|
| `row.RowFeatures` | `Columns`, `Expression` | ``spine``, ``clean:<spine's source>`` | ``features`` |
| `aggregates.PickedFeatures` | `Last`, `First` | ``spine``, ``clean:<spine's source>``, ``clean:<feature's source>`` | ``features``, ``leaks`` |
| `aggregates.ViewFeatures` | `FeatureView` | ``spine``, ``clean:<spine's source>``, ``clean:<view's source>`` | ``features``, ``leaks`` |
| `derived.DerivedFeatures` | `Derived` | ``features:<view>`` for each definition that it reads (`reads`) | ``features`` |
| `on_demand.OnDemandFeatures` | `OnDemand` | the same | ``features`` |
| `frame.Assemble` | the service | ``spine``, ``features:<view>`` for each definition, ``leaks:<view>`` for those of events, ``clean:<spine's source>`` where slices are no features | ``frame`` |

``<view>`` is what `view_name` calls a definition. Row i of a features table belongs to row i of the spine. Columns of the
frame, ordered by (predict_at, unit): ``unit``, ``predict_at``, ``label``, ``matured_at``, ``status``, ``cluster``, the
features in the service's order, and slice columns that are no feature as ``_slice_<column>``. A feature is int64,
float64, int8 for true and false, or text for categories; all may be null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from sterling.core.canonical import digest
from sterling.core.errors import DataError, InvalidDefinitionError, nearest
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import AnyTable, finite, put_table, read_table
from sterling.features.leaks import Censoring
from sterling.project.definition import essence
from sterling.project.features import (
    Derived,
    Feature,
    FeatureService,
    First,
    Last,
    OnDemand,
    names_of,
)  # fmt: skip
from sterling.project.sources import Columns
from sterling.project.sql import check_columns
from sterling.stages.contract import Context, Outcome

LIBRARIES = ("duckdb", "pyarrow", "numpy")


def view_name(feature: Feature) -> str:
    """What a definition is called among the definitions of a service.

    Example:
        >>> from sterling.project.features import Expression
        >>> view_name(Expression("dep_hour", "hour(departure)"))
        'dep_hour'
    """
    match feature:
        case Columns():
            return f"{feature.source.name}[{', '.join(feature.names)}]"
        case Last() | First():
            name = f" as {feature.name}" if feature.name else ""
            columns = ", ".join(feature.columns.names)
            return f"{type(feature).__name__.lower()} {feature.columns.source.name}[{columns}]{name}"
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
    wanted = (
        feature.inputs
        if isinstance(feature, OnDemand)
        else check_columns(feature.sql, known, f"{type(feature).__name__} {feature.name!r}")
    )
    return tuple(item for item in others if set(wanted) & set(names_of(item)))


def built(
    feature: Feature,
    table: pa.Table,
    context: Context,
    facts: Sequence[Evidence],
    shares: Mapping[str, float | None] | None = None,
    leaks: pa.Table | None = None,
) -> Outcome:
    """Keep the features and say what they are.

    Args:
        feature: The definition.
        table: Its features, a column for each.
        context: Where to keep them.
        facts: What else was found.
        shares: For each feature of windows, the share of the windows' events that were known.
        leaks: For each feature of events, where it would be another one if availability were ignored.
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
            "definition": digest(essence(feature)),
        }
        for name in made.schema.names
    ]
    fact = Evidence("features.built", (f"view:{view}",), {"view": view, "ref": ref, "features": described})
    outputs = {"features": ref} | ({} if leaks is None else {"leaks": put_table(context.store, leaks)})
    return Outcome(outputs, (*facts, fact))


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
