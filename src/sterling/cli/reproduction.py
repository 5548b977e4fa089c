"""``sterling reproduce``: execute a run again from what is on record of it, and compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sterling.cli.options import AsJson, ProjectFolder

if TYPE_CHECKING:
    from sterling.core.evidence import Entry
    from sterling.views.facts import Run


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reproduce)


def reproduce(
    version: Annotated[
        int | None, typer.Argument(help="Version; the newest, else the last run, where left out.")
    ] = None,
    env: Annotated[
        bool, typer.Option("--env", help="Build the recorded environment anew with pip, and execute in that.")
    ] = False,
    at_least: Annotated[
        Literal["model", "predictions", "metrics"],
        typer.Option(
            "--at-least", help="What must be equal: the model's bytes, predictions, or metrics within intervals."
        ),
    ] = "predictions",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the certificate as Markdown.")
    ] = None,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Execute a run again in a fresh process, from what is on record and not from what the files hold now."""
    from sterling.cli.console import print_json, show
    from sterling.cli.documents import write
    from sterling.cli.evidence import entry_as_json, ledger_of
    from sterling.core.errors import StorageError
    from sterling.core.lock import together
    from sterling.core.workspace import Workspace
    from sterling.project.load import load_project
    from sterling.reproduction.differences import LEVELS
    from sterling.reproduction.reproduce import reproduce as execute_again
    from sterling.views.certificate import certificate, render

    if out and not out.parent.is_dir():
        raise StorageError(f"There is no folder {out.parent} to write {out.name} into. Make it, or name another.")
    workspace, ledger = Workspace(project), ledger_of(project)
    run = _run(tuple(ledger.read()), version)
    with together(workspace.lock):
        entry = execute_again(
            project,
            ledger,
            workspace.store(),
            run,
            environment=env,
            say=lambda text: print(f"  {text}", file=sys.stderr),
        )
    if out:
        write(out, certificate(entry, load_project(project).name))
    if as_json:
        print_json(entry_as_json(entry))
    else:
        show(render(entry))
        if out:
            print(f"Wrote {out}")
    raise typer.Exit(0 if LEVELS.index(entry.body["level"]) >= LEVELS.index(at_least) else 1)


def _run(entries: tuple[Entry, ...], version: int | None) -> Run:
    """The run of a version, of the newest where none is named, and the last one where none is registered."""
    from sterling.views.card import card_run
    from sterling.views.registry import versions

    registered = versions(entries)
    if version is None and registered:
        version = registered[-1].version
    return card_run(entries, version)
