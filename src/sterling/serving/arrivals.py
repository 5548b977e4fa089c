"""Rows of a project's sources that come to its server: where they are kept, and what applies them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.core.ledger import Ledger
from sterling.features.arriving import RowReader
from sterling.features.event_log import EventLog
from sterling.features.online import ViewPlan
from sterling.features.online_store import OnlineStore
from sterling.features.tail import FileTail
from sterling.project.features import FeatureView, First, Last
from sterling.project.project import Project
from sterling.project.sources import EventSource
from sterling.serving.ingest import Following, Ingestion
from sterling.serving.vector import columns_of_source


def arrivals(
    project: Project, ledger: Ledger, store: OnlineStore, log: Path, follow: Sequence[tuple[str, Path]] = ()
) -> Ingestion | None:
    """What takes rows that arrive into the online state of a project.

    Args:
        project: The project.
        ledger: Where the columns of its sources are recorded.
        store: Where the online state lies.
        log: File in which rows are kept first.
        follow: Sources, and the files or folders of JSON lines that their rows are appended to.

    Returns:
        None where no feature reads events.

    Raises:
        InvalidDefinitionError: if there is no such source to follow, or its columns are not on record.
    """
    plans = _plans(project, ledger)
    if not plans:
        return None
    types = {name: columns_of_source(ledger, name) for name in sorted({plan.source.name for plan in plans})}
    sources = {plan.source.name: plan.source for plan in plans}
    for name, _ in follow:
        if name not in sources:
            raise InvalidDefinitionError(f"--follow {name}: no feature reads events of it. {nearest(name, sources)}")
    kept = EventLog(log, [RowReader(source, types[name]) for name, source in sources.items()])  # type: ignore[arg-type]
    tails = [FileTail(kept, name, path) for name, path in follow]
    return Ingestion(kept, lambda: _applier(project, kept, store, plans, types), tails)


def _applier(
    project: Project, log: EventLog, store: OnlineStore, plans: Sequence[ViewPlan], types: Mapping[str, Mapping[str, str]]
) -> Following:  # fmt: skip
    from sterling.engine.duckdb import DuckDBEngine
    from sterling.features.applier import Applier

    return Applier(log, store, project.name, plans, types, DuckDBEngine(1))


def _plans(project: Project, ledger: Ledger) -> tuple[ViewPlan, ...]:
    """The views whose rows can arrive: those of events."""
    features = (f for f in project.features.features if isinstance(f, FeatureView | Last | First))
    plans = (ViewPlan(feature, {}) for feature in features)
    return tuple(
        ViewPlan(plan.feature, columns_of_source(ledger, plan.source.name))
        for plan in plans
        if isinstance(plan.source, EventSource)
    )
