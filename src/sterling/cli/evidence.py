"""Commands that read the ledger: what happened, and why it can be believed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sterling.cli.options import AsJson, At, Chain, LedgerUrl, ProjectFolder

if TYPE_CHECKING:
    from sterling.core.evidence import Entry
    from sterling.core.ledger import Ledger


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, log, why, card):
        app.command()(command)


def ledger_of(folder: Path, chain: str | None = None, url: str | None = None) -> Ledger:
    """The chain of the project in a folder, or the one that is named."""
    from sterling.core.errors import InvalidDefinitionError
    from sterling.core.workspace import Workspace
    from sterling.project.load import load_project

    if chain:
        return Workspace(folder, url).chain(chain)
    if url:
        raise InvalidDefinitionError("--ledger says where to look: name one with --chain ID, or ask status for --all.")
    return Workspace(folder).ledger(load_project(folder).name)


def entries_of(folder: Path) -> tuple[Entry, ...]:
    """Every entry of the project in a folder."""
    return tuple(ledger_of(folder).read())


def status(
    project: ProjectFolder = Path(),
    every: Annotated[
        bool, typer.Option("--all", help="List every chain of the ledger instead; needs no project.")
    ] = False,
    at: At = None,
    chain: Chain = None,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say where the project stands: the last run, its verdict, what is live; now, or at a moment of the past."""
    from sterling.cli import chains
    from sterling.cli.console import print_json, show
    from sterling.core.errors import InvalidDefinitionError
    from sterling.views import status as view

    if every:
        if at or chain:
            raise InvalidDefinitionError("--all lists every chain as it is now: leave --at and --chain out.")
        chains.show_all(project, ledger, as_json=as_json)
        return
    opened = ledger_of(project, chain, ledger)
    if at:
        chains.show_then(opened, at, as_json=as_json)
        return
    found = view.status(opened.read())
    if as_json:
        print_json(view.as_json(found))
    else:
        show(view.render(found))


def log(
    project: ProjectFolder = Path(),
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only entries of this kind; may be repeated.")
    ] = None,
    last: Annotated[int | None, typer.Option(metavar="N", help="Only the last N entries.", min=0)] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what is recorded from now on, until Ctrl-C.")
    ] = False,
    chain: Chain = None,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what happened, one line an entry."""
    from itertools import islice

    from sterling.cli.chains import follow_log
    from sterling.cli.console import print_json
    from sterling.core.evidence import Query
    from sterling.views.log import line

    opened, query = ledger_of(project, chain, ledger), Query(tuple(kind or ()))
    if follow:
        follow_log(opened, query, last=last, as_json=as_json)
        return
    entries = tuple(islice(opened.read(query, newest_first=True), last))[::-1]
    if as_json:
        print_json([entry_as_json(entry) for entry in entries])
        return
    for entry in entries:
        print(line(entry))
    if not entries and last != 0:
        print(
            f"No entry of kind {' or '.join(kind)}." if kind else "No entry yet. `sterling run` records some.",
            file=sys.stderr,
        )


def why(
    question: Annotated[
        str,
        typer.Argument(
            help="release, version:N, verdict, gate:TYPE, metric:NAME, feature:NAME, source:NAME, '#POSITION' or a ref."
        ),
    ] = "release",
    project: ProjectFolder = Path(),
    at: At = None,
    chain: Chain = None,
    ledger: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Walk the evidence behind a statement, down to raw files and definitions."""
    from sterling.cli.chains import place_of
    from sterling.cli.console import print_json, show
    from sterling.views import why as view

    opened = ledger_of(project, chain, ledger)
    until = place_of(opened, at).position if at else None
    found = view.why(opened.read(until=until), question)
    if as_json:
        print_json(found)
    else:
        show(view.render(found))


def card(
    version: Annotated[
        int | None, typer.Argument(help="Version; the live one, else the newest candidate, where left out.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one self-contained HTML page instead.")
    ] = None,
    project: ProjectFolder = Path(),
) -> None:
    """Print the model card, each number with the position that it was read from."""
    from sterling.cli.documents import card_of, page_of, write
    from sterling.core.errors import StorageError

    if html is None:
        print(card_of(project, version))
        return
    if not html.parent.is_dir():
        raise StorageError(f"There is no folder {html.parent} to write {html.name} into. Make it, or name another.")
    write(html, page_of(project, version))
    print(f"Wrote {html}")


def entry_as_json(entry: Entry) -> dict[str, object]:
    """An entry for programs."""
    return {
        "position": entry.position, "recorded_at": entry.recorded_at, "actor": entry.actor, "attestor": entry.attestor,
        "digest": entry.digest, "kind": entry.kind, "subjects": list(entry.evidence.subjects), "body": entry.body,
    }  # fmt: skip
