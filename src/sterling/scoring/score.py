"""Score a population or given rows with a version of a project: what `sterling score` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sterling.core.destination import Destination, Rows
from sterling.core.elsewhere import without_erased
from sterling.core.errors import InvalidDefinitionError
from sterling.core.evidence import Entry, Query
from sterling.core.ledger import Ledger
from sterling.core.lock import together
from sterling.core.workspace import Workspace
from sterling.decisions.release import live
from sterling.features.online_store import OnlineStore
from sterling.lifecycle import cleaned_project
from sterling.project.project import Project
from sterling.runner import Observer, ignore
from sterling.scoring.given import Given, check_partitions
from sterling.scoring.job import Job, Scored, Scoring, Step
from sterling.scoring.scheduled import Scheduled, known_until, span_of
from sterling.serving.on_demand import supplied_by
from sterling.serving.released import ServedModel
from sterling.serving.vector import Online
from sterling.stages.features import definition_hashes
from sterling.views.features import other_now

_SPOOL = "scoring"


class Version(NamedTuple):
    """A version that is to score.

    Attributes:
        served: The version, loaded.
        seen: Positions of its registration and, where it is live, of its release.
    """

    served: ServedModel
    seen: Mapping[str, int]


def score_population(
    project: Project,
    folder: Path,
    at: str,
    destination: Destination,
    *,
    version: int | None = None,
    by: str = "day",
    job: Job = Job(),  # noqa: B008  it is frozen
    observe: Callable[[Step], object] = lambda _: None,
    observe_steps: Observer = ignore,
) -> Scored:
    """Score the project's population at some moments, with the features that a training would have there.

    Args:
        project: The project.
        folder: Its folder.
        at: A day in the zone of the spine's calendar, a time, or two of them as ``FROM..TO``.
        destination: Where the scores go.
        version: The version; the live one where it is None.
        by: ``day``, ``hour``, ``none``, or a column that names rows: what partitions them.
        job: What is asked besides.
        observe: Told how far it is.
        observe_steps: Told of the steps before.

    Raises:
        InvalidDefinitionError: if the project now defines otherwise what the version reads.
        SterlingError: whatever else is wrong, said with what would work.
    """
    span = span_of(at, project.spine)
    workspace = Workspace(folder)
    with cleaned_project(project, folder, known_until(span, project.spine), observe=observe_steps) as (context, done):
        ledger = workspace.ledger(project.name)
        found = version_of(project, folder, ledger, workspace, version)
        if changed := other_now(tuple(ledger.read()), str(found.served.ref), definition_hashes(project, folder)):
            raise InvalidDefinitionError(
                f"Version {found.served.version} reads {', '.join(map(repr, changed))} by another definition than the project has "
                "now. Score with the project as it was, or run it and release the new version."
            )
        check_partitions(found.served, project, by)
        rows = Scheduled(project, folder, span, found.served, by, context, done)
        scoring = Scoring(ledger, found.served, found.seen, destination, (), replace(job, beyond="null"), observe)
        return scoring.run(rows, workspace.home / _SPOOL)


def score_rows(
    project: Project,
    folder: Path,
    rows: Rows | Path,
    destination: Destination,
    *,
    version: int | None = None,
    by: str = "none",
    keys: tuple[str, ...] = (),
    moment: str | None = None,
    online: OnlineStore | None = None,
    job: Job = Job(),  # noqa: B008  it is frozen
    observe: Callable[[Step], object] = lambda _: None,
) -> Scored:
    """Score rows that bring the features of a version, or the raw columns that these are computed from.

    Args:
        project: The project.
        folder: Its folder.
        rows: A file, a folder of files, or a table.
        destination: Where the scores go.
        version: The version; the live one where it is None.
        by: ``day`` or ``hour`` of the moment, ``none``, or a column: what partitions them.
        keys: Columns that name a row; those of the spine where there is none.
        moment: Column of the moment of prediction; ``predict_at`` where it is None and there.
        online: Online state that features of events are read from, for raw columns.
        job: What is asked besides.
        observe: Told how far it is.

    Raises:
        SterlingError: whatever is wrong with the rows, said with what would work.
    """
    workspace = Workspace(folder)
    with together(workspace.lock):
        ledger = workspace.ledger(project.name)
        found = version_of(project, folder, ledger, workspace, version, Online(project, online))
        check_partitions(found.served, project, by)
        given = Given(rows, found.served, project, keys, moment, by)
        checks = project.spine.source.checks
        scoring = Scoring(ledger, found.served, found.seen, destination, checks, job, observe)
        return scoring.run(given, workspace.home / _SPOOL)


def version_of(
    project: Project,
    folder: Path,
    ledger: Ledger,
    workspace: Workspace,
    version: int | None,
    online: Online | None = None,
) -> Version:
    """Load a registered version, or the live one.

    Raises:
        InvalidDefinitionError: if nothing is live, or there is no such version.
    """
    released = live(ledger)
    if version is None and released is None:
        raise InvalidDefinitionError(
            "Nothing is released, so there is no live version to score with. Name one with --version, or release: "
            "sterling release --now."
        )
    number = version if version is not None else int(released.body["version"])  # type: ignore[union-attr]
    registered = next(ledger.read(Query(("model.registered",), (f"version:{number}",)), newest_first=True), None)
    if registered is None:
        raise InvalidDefinitionError(f"The ledger has registered no version {number}. `sterling status` lists them.")
    is_live = released is not None and released.body["version"] == number
    entry: Entry = released if is_live and released is not None else registered
    store = without_erased(workspace.store(), ledger)
    served = ServedModel.load(ledger, store, entry, supplied_by(project, folder), online)
    seen = {"registered": registered.position} | ({"released": entry.position} if is_live else {})
    return Version(served, seen)
