"""Features computed from other features by SQL."""

# ruff: noqa: S608  names are quoted, and expressions have passed the allow-list

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from sterling.core.refs import Ref
from sterling.project.features import (
    Derived,
)  # fmt: skip
from sterling.project.sql import check_columns, columns_of, quoted
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.features import LIBRARIES, beside, built, passed_on


class DerivedFeatures(Stage, frozen=True):
    """A value computed from other features.

    Args:
        feature: The definition.
    """

    feature: Derived

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {self.feature.name}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Compute the expression over the features that it reads."""
        name, sql = self.feature.name, self.feature.sql
        cells = beside(inputs, context)
        check_columns(sql, cells, _place(self.feature))
        table = pa.table({name: self._computed(cells, context)})
        leaks = passed_on(name, table.column(name), inputs, context, lambda other: self._computed(other, context))
        return built(self.feature, table, context, [], leaks=leaks)

    def _computed(self, cells: Mapping[str, pa.ChunkedArray], context: Context) -> pa.ChunkedArray:
        name, sql = self.feature.name, self.feature.sql
        size = len(next(iter(cells.values())))
        used = {column: cells[column] for column in sorted(columns_of(sql))} | {"_row": pa.array(np.arange(size))}
        table = context.engine.query(
            f"SELECT ({sql}) AS {quoted(name)} FROM own ORDER BY _row", {"own": pa.table(used)}
        )
        return table.column(name)


def _place(feature: Derived) -> str:
    return f"Derived {feature.name!r}"
