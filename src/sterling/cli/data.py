"""Commands that take bytes out of the store: what nobody needs, and what belongs to a person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sterling.cli.options import AsJson, ProjectFolder

if TYPE_CHECKING:
    from sterling.core.ledger import Ledger
    from sterling.core.refs import Ref
    from sterling.core.workspace import Workspace
    from sterling.project.project import Project


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (gc, erase):
        app.command()(command)


def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete them; without it they are only counted, or listed with --json.")
    ] = False,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Find bytes that no last run, registered version, approval or certificate needs.

    It is refused while a run is under way on this machine, or with the same folder as store. Where machines share a
    store in another way, run it while none of them runs; where projects share one, their chains lie in one ledger.
    """
    from sterling.cli.console import print_json
    from sterling.core.elsewhere import erased_in
    from sterling.core.lock import alone
    from sterling.core.parts import with_parts
    from sterling.core.workspace import Workspace
    from sterling.project.load import load_project
    from sterling.views.needed import raw_files
    from sterling.views.text import plural
    from sterling.views.text import size as readable

    workspace, loaded = Workspace(project), load_project(project)
    with alone(workspace.lock, "gc"):
        store = workspace.store()
        needs = _needed(workspace, loaded)
        raw = {ref for chain in workspace.every_chain() for ref in raw_files(chain.read())}
        gone = {ref for chain in workspace.every_chain() for ref in erased_in(chain)}
        keep = with_parts(store, needs - raw, but=gone) | needs  # a raw file may be large, and is not looked into
        loose = sorted(ref for ref in store.list() if ref not in keep)
        size = sum(store.open(ref).stat().st_size for ref in loose)
        if delete:
            for ref in loose:
                store.delete(ref)
    if as_json:
        print_json({"deleted": delete, "blobs": len(loose), "bytes": size, "kept": len(keep), "refs": loose})
        return
    found = f"{plural(len(loose), 'blob')}, {readable(size)}; {len(keep):,} are needed."
    print(f"{'Deleted' if delete else 'Would delete'} {found}")
    if loose and not delete:
        print("Nothing was deleted: that takes --delete. A run makes again what it needs.")


def erase(
    person: Annotated[
        list[str] | None, typer.Argument(metavar="COLUMN=VALUE", help="What names the person, such as customer=C123.")
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option("--subject", metavar="COLUMN=VALUE", help="The same; both may be given several times."),
    ] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", "--delete", help="Do it; without it is only said what would be done.")
    ] = False,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Take one person out of everything that Sterling holds, and search everything for what is left.

    First take them out of the project's own files: as long as these hold the person, nothing is erased. As gc, it is
    refused while a run is under way.
    """
    from sterling.cli import erased
    from sterling.cli.console import print_json
    from sterling.core.errors import InvalidDefinitionError
    from sterling.erasure.erase import erase as erase_person
    from sterling.project.load import load_project
    from sterling.stages.person import Subject

    given = [Subject.parse(text) for text in (*(person or ()), *(subject or ()))]
    if not given:
        raise InvalidDefinitionError("Say whom to erase, by a column and its value: sterling erase customer=C123")
    report = erase_person(load_project(project), project, given, confirm=confirm)
    if as_json:
        print_json(erased.as_json(report))
    else:
        for line in erased.sentences(report):
            print(line)
    raise typer.Exit(1 if report.left or report.in_the_way else 0)


def _needed(workspace: Workspace, project: Project) -> frozenset[Ref]:
    """What any chain of the ledger needs, since a store may be shared; but not what the project keeps outside of it."""
    from sterling.core.ledger import chained
    from sterling.views.needed import needed

    ours = workspace.ledger(project.name)
    others = [chain for chain in workspace.every_chain() if chained(chain).chain.id != chained(ours).chain.id]
    needs = needed(ours.read()) - _outside(workspace, project, ours)
    return needs.union(*(needed(chain.read()) for chain in others))


def _outside(workspace: Workspace, project: Project, ledger: Ledger) -> frozenset[Ref]:
    """Files that the project reads where they lie, and that are there as they were."""
    from sterling.core.elsewhere import REFERENCED
    from sterling.core.evidence import Query
    from sterling.project.load import external
    from sterling.stages.external import state_of
    from sterling.stages.fingerprints import Fingerprints
    from sterling.views.external import references

    seen, named = Fingerprints(workspace.fingerprints), external(project)
    known = [
        one for one in references(ledger.read(Query((REFERENCED,)))) if any(file.holds(one.locator) for file in named)
    ]
    return frozenset(one.ref for one in known if state_of(one.locator, one.ref, workspace.folder, seen) == "there")
