"""On-demand features: a function of the project called for every row of the spine.

| stage | inputs | outputs |
|---|---|---|
| `OnDemandFeatures` | ``features:<view>`` for each definition that it reads (`sterling.stages.features.reads`), ``leaks:<view>`` for those of events | ``features``, and ``leaks`` where it reads such |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.core.refs import Ref
from sterling.features.on_demand import answers
from sterling.project.features import OnDemand
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.features import beside, built, passed_on


class OnDemandFeatures(Stage, frozen=True):
    """A number that a function of the project computes from other features.

    Attributes:
        feature: The definition.
        code: What identifies the function's code, as JSON.
    """

    feature: OnDemand
    code: Sequence[Any] = ()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on, besides those that the function reaches."""
        return ("pyarrow", "numpy")

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {self.feature.name}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Call the function for every distinct row.

        Raises:
            InvalidDefinitionError: if an input is no feature.
            FunctionFailedError: if the function raises, answers no finite number, or is not pure.
        """
        cells = beside(inputs, context)
        for name in self.feature.inputs:
            if name not in cells:
                raise InvalidDefinitionError(f"OnDemand {self.feature.name!r} reads {name!r}. {nearest(name, cells)}")
        table = pa.table({self.feature.name: self._computed(cells)})
        leaks = passed_on(self.feature.name, table.column(0), inputs, context, self._computed)
        return built(self.feature, table, context, [], leaks=leaks, code=self.code)

    def _computed(self, cells: Mapping[str, pa.ChunkedArray]) -> pa.Array:
        rows = list(zip(*(cells[name].to_pylist() for name in self.feature.inputs), strict=True))
        return pa.array(answers(self.feature, rows), pa.float64())
