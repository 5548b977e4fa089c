"""Taking one person out of everything that Sterling holds for a project.

New blobs come first, then the one entry that says what replaced what, then the deletions. Wherever it is stopped, the
next erasing goes on from there: blobs that no entry cites, or that one says were erased, are deleted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sterling.core.elsewhere import erased_in
from sterling.core.errors import DataError
from sterling.core.ledger import chained
from sterling.core.lock import alone
from sterling.core.parts import with_parts
from sterling.core.refs import Ref, note_refs
from sterling.core.workspace import Workspace
from sterling.decisions.erase import Replaced, erased
from sterling.engine.tables import rewrite_table
from sterling.erasure.find import Opened, also, holdings, in_the_way
from sterling.erasure.report import Holding, InTheWay, Place, Report, Searched
from sterling.erasure.search import files_with, search
from sterling.project.project import Project
from sterling.stages.person import Person, Subject
from sterling.stages.traces import Traces


def erase(project: Project, folder: Path, subjects: Sequence[Subject], *, confirm: bool = False) -> Report:
    """Take a person out of everything that Sterling holds for a project.

    Args:
        project: The project.
        folder: Its folder.
        subjects: Columns and values that name the person.
        confirm: Do it; without it is only said what would be done.

    Raises:
        BusyError: if a run is under way.
        DataError: if what is not Sterling's to change would bring the person back.
    """
    workspace, person = Workspace(folder), Person(subjects)
    with alone(workspace.lock, "erase"):
        opened = Opened.at(project, workspace)
        traces = opened.trace(person)
        report = _found(opened, person, traces)
        if not confirm:
            return report
        if report.in_the_way:
            raise DataError(_refusal(report.in_the_way))
        position = _record(opened, traces, person, report)
        _delete(opened, report.files)
        searched, left = _search(Opened.at(project, workspace), person)
        return replace(report, position=position, searched=searched, left=left)


def _found(opened: Opened, person: Person, traces: Traces) -> Report:
    held = tuple(holdings(opened, person, traces))
    return Report(
        columns=tuple(dict.fromkeys(subject.column for subject in person.subjects)),
        plain=person.plain,
        holdings=held,
        files=tuple(files_with(opened, person)),
        loose=len(_loose(opened)),
        in_the_way=tuple(in_the_way(opened, person, traces, held)),
        also=also(traces),
        scored=tuple(sorted({e.body["destination"] for e in opened.entries if e.kind == "partition.scored"})),
    )


def _refusal(found: Sequence[InTheWay]) -> str:
    said = "; ".join(f"{one.where}: {one.times:,} ({one.remedy})" for one in found)
    return f"Nothing was erased, since the person would come back from where they still are. {said}. Then erase again."


def _record(opened: Opened, traces: Traces, person: Person, report: Report) -> int | None:
    """Put what takes the place of what holds the person, and say so in one entry."""
    if not report.holdings and not report.files:
        return None
    replaced = [
        Replaced(held.ref, _put(opened, traces, held), held.what, held.rows, sum(held.cells.values()))
        for held in report.holdings
    ]
    subjects = [(subject.column, subject.value) for subject in person.subjects]
    return opened.ledger.append([erased(subjects, replaced, len(report.files), os.urandom(16))])


def _put(opened: Opened, traces: Traces, held: Holding) -> Ref | None:
    if held.fate != "rewritten":
        return None
    return rewrite_table(opened.store, held.ref, traces.cleaning(held.ref))


def _delete(opened: Opened, files: Sequence[str]) -> None:
    for ref in _loose(opened):
        opened.store.delete(ref)
    for path in [*(opened.workspace.home / name for name in files), *opened.workspace.arriving()]:
        path.unlink(missing_ok=True)


def _loose(opened: Opened) -> list[Ref]:
    """Blobs that no entry of any chain needs to be there: cited by none, or erased."""
    cited, gone = dict[bytes, int](), set[Ref]()
    for chain in opened.workspace.every_chain():
        gone |= erased_in(chain).keys()
        for record in chained(chain).records():
            note_refs(record.content, record.position, cited)
    keep = with_parts(opened.store, (Ref(ref.decode()) for ref in cited), but=gone)
    return sorted(ref for ref in opened.store.list() if ref not in keep)


def _search(opened: Opened, person: Person) -> tuple[Searched, tuple[Place, ...]]:
    traces = opened.trace(person)
    left = [Place(held.what, held.rows + sum(held.cells.values())) for held in holdings(opened, person, traces)]
    raw = {ref: locator for ref, locator in traces.raw.items() if ref not in traces.unreadable}
    searched, found = search(opened, person, raw)
    return searched, (*left, *found)
