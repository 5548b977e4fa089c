"""Cells of a source's own columns, and cells as models read them."""

from __future__ import annotations

import pyarrow as pa

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.engine.tables import AnyTable


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
    return [name for name in table.schema.names if not name.startswith("_")]
