"""Bind: check a project against the columns that its snapshots really have, before anything is computed from them.

| stage | inputs | outputs |
|---|---|---|
| `Bind` | ``snapshot:<source>`` for each source | none |
"""

from __future__ import annotations

from collections.abc import Mapping

from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable
from sterling.project.bind import bind
from sterling.project.definition import Definition
from sterling.project.project import Project
from sterling.stages.contract import Context, Outcome, Stage


class Bind(Stage, frozen=True):
    """Check that every column that the project names exists, fits, and is not provably known too late.

    Args:
        project: The project.
    """

    project: Project

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("sqlglot",)

    def __post_init__(self) -> None:
        """Keep the project whole: its checks and personal columns are what is bound."""
        Definition.__post_init__(self)

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Check, or raise what is wrong."""
        schemas = {
            name.removeprefix("snapshot:"): _schema(StoredTable(context.store, ref)) for name, ref in inputs.items()
        }
        bind(self.project, schemas)
        return Outcome({})


def _schema(snapshot: StoredTable) -> dict[str, str]:
    """Columns of a snapshot with their types; its clocks, which begin with _, are no columns of the source."""
    return {field.name: str(field.type) for field in snapshot.schema if not field.name.startswith("_")}
