"""Rows that come while the server runs: pushed over HTTP or appended to files, and applied in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sterling.core.errors import InvalidDefinitionError, SterlingError, StorageError
from sterling.features.arriving import RowReader
from sterling.features.event_log import EventLog, Pushed
from sterling.features.online import ViewPlan, source_of
from sterling.features.online_store import OnlineStore
from sterling.features.tail import FileTail
from sterling.project.features import of_events
from sterling.project.project import Project
from sterling.project.sources import EventSource
from sterling.serving.requests import RefusedRequestError

_log = logging.getLogger("sterling.serving")
_LOOK_SECONDS = 0.05
_AGAIN_SECONDS = 1.0


class Following(Protocol):
    """What takes rows of the log into the online state, as `sterling.features.applier.Applier` does."""

    def step(self) -> int:
        """Take some rows, and say how many; 0 where none is waiting."""
        ...


class Ingestion:
    """Takes rows into the log, and has them applied.

    Args:
        log: Where rows go first.
        follow: Makes what applies them, in the thread that does; it may import what the server itself does not need.
        tails: Files that are followed too.
        every_seconds: How often files and rows of other processes are looked for.
        applies: Whether rows are applied here; else another process of the server does it.
    """

    def __init__(
        self, log: EventLog, follow: Callable[[], Following], tails: Sequence[FileTail] = (),
        *, every_seconds: float = _LOOK_SECONDS, applies: bool = True,
    ) -> None:  # fmt: skip
        self._applies = applies
        self._log, self._follow, self._tails, self._every_seconds = log, follow, tails, every_seconds
        self._news, self._stopped = threading.Event(), threading.Event()
        self.trouble: str | None = None
        """Why rows are not applied now; None where they are."""

    def push(self, source: str, rows: Sequence[Any]) -> Pushed:
        """Take rows; they are durable when the call returns, and applied soon.

        Raises:
            RefusedRequestError: if there is no such source, or the log cannot be written.
        """
        try:
            pushed = self._log.push(source, rows)
        except InvalidDefinitionError as error:
            raise RefusedRequestError(404, str(error)) from error
        except StorageError as error:
            raise RefusedRequestError(503, str(error)) from error
        self._news.set()
        return pushed

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Apply rows in a thread until the block ends."""
        if not self._applies:
            yield
            return
        self._stopped.clear()
        thread = threading.Thread(target=self._run, name="apply-rows")
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            self._news.set()
            thread.join()

    def _run(self) -> None:
        following: Following | None = None
        while not self._stopped.is_set():
            self._news.clear()
            try:
                following = following or self._follow()
                busy = sum(tail.step() for tail in self._tails) + following.step()
                self.trouble = None
            except SterlingError as error:  # the server goes on with the state that it has
                self._say(f"Rows wait in the log, since they cannot be applied: {error}")
                self._stopped.wait(_AGAIN_SECONDS)
                continue
            if not busy:
                self._news.wait(self._every_seconds)

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.warning("%s", trouble)
        self.trouble = trouble


def read_from(project: Project) -> tuple[str, ...]:
    """Names of the sources whose events features of a project's windows read."""
    sources = (source_of(feature) for feature in filter(of_events, project.features.features))
    return tuple(dict.fromkeys(source.name for source in sources if isinstance(source, EventSource)))


def ingestion_of(
    project: Project, types: Mapping[str, Mapping[str, str]], store: OnlineStore, path: Path,
    tails: Mapping[str, Path] | None = None, *, applies: bool = True,
) -> Ingestion:  # fmt: skip
    """Takes rows of all events that features of a project's windows read.

    Args:
        project: The project.
        types: For each source, by its name, the Arrow type of each of its columns, as its snapshot records them.
        store: Where the states lie.
        path: File of the log, such as ``.sterling/events.db``.
        tails: Files or folders of JSON lines that are followed, by the name of the source that they are rows of.
        applies: Whether rows are applied here; else another process of the server does it.

    Raises:
        InvalidDefinitionError: if rows of a source cannot arrive, or a file is of no such source.
    """
    events = (f for f in filter(of_events, project.features.features) if isinstance(source_of(f), EventSource))
    plans = [ViewPlan(feature, types[source_of(feature).name]) for feature in events]
    sources = {plan.source.name: plan.source for plan in plans if isinstance(plan.source, EventSource)}
    log = EventLog(path, [RowReader(source, types[name]) for name, source in sources.items()])

    def follow() -> Following:
        from sterling.engine.duckdb import DuckDBEngine
        from sterling.features.applier import Applier

        return Applier(log, store, project.name, plans, types, DuckDBEngine(1))

    found = [FileTail(log, source, file) for source, file in (tails or {}).items()]
    return Ingestion(log, follow, found, applies=applies)
