"""``sterling features``: what the features of a project are, their table, and whether they are online what they are offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sterling.cli.options import AsJson, ProjectFolder

if TYPE_CHECKING:
    from sterling.project.project import Project

features = typer.Typer(
    help="Describe the features of a project, build them, and compare them with what is served.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(features, name="features")


@features.command()
def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A feature, or the view that gives it.")],
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Say what a feature or a view is, what was measured of it, who uses it and where it comes from."""
    from sterling.cli.console import print_json, show
    from sterling.cli.evidence import entries_of
    from sterling.project.load import load_project
    from sterling.views import features as view

    loaded = load_project(project)
    found = view.describe(loaded, entries_of(project), name, _hashes(loaded, project))
    if as_json:
        print_json(found)
    else:
        show(view.render(found))


@features.command()
def build(
    project: ProjectFolder = Path(),
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.parquet", help="Write the frame, with moments and labels.")
    ] = None,
    online: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Make the online state from the history, such as sqlite:.sterling/online.db."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute every feature up to the frame, or take it from the ledger, and say what was found of each."""
    from sterling.cli.console import print_json, progress, show
    from sterling.cli.evidence import entries_of
    from sterling.features.online_store import connect_online
    from sterling.lifecycle import build_online, check_project
    from sterling.project.load import load_project
    from sterling.views import features as view

    loaded = load_project(project)
    with progress(quiet=as_json) as observe:
        checked = check_project(loaded, project, observe=observe)
        made = build_online(loaded, project, connect_online(online), observe=observe) if online else {}
    facts = view.all_facts(loaded, entries_of(project), _hashes(loaded, project))
    if out is not None:
        _write(project, checked.frame, out)
    if as_json:
        print_json({"rows": checked.rows, "frame": checked.frame, "features": facts, "online": made})
    else:
        show(view.render_facts(facts))
        wrote = f" Wrote {out}." if out else ""
        print(f"{checked.rows:,} moments, {checked.labelled:,} with a label.{wrote}")
        for name, new in made.items():
            print(
                f"Online: {name} {'is made from the history' if new else 'follows the rows that arrive, and stays as it is'}."
            )


@features.command()
def parity(
    project: ProjectFolder = Path(),
    served: Annotated[
        bool, typer.Option("--served", help="Compare vectors that were served instead, and say why any differ.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replay the history through the code that serves, and compare every cell; exit with 1 if one differs."""
    from sterling.cli.console import print_json, progress, show
    from sterling.lifecycle import parity_project
    from sterling.project.load import load_project
    from sterling.views.parity import differs, parity_table
    from sterling.views.tables import in_terminal

    loaded = load_project(project)
    if served:
        _skew(loaded, project, as_json=as_json)
        return
    with progress(quiet=as_json) as observe:
        measured = parity_project(loaded, project, observe=observe)
    if as_json:
        print_json([{"position": entry.position, **entry.body} for entry in measured])
    else:
        show(in_terminal(parity_table(measured)))
    if differs(measured):
        raise typer.Exit(1)


def _skew(project: Project, folder: Path, *, as_json: bool) -> None:
    from sterling.cli.console import print_json, progress, show
    from sterling.lifecycle import skew_project
    from sterling.views.parity import skew_table
    from sterling.views.tables import in_terminal

    with progress(quiet=as_json) as observe:
        found = skew_project(project, folder, observe=observe)
    if as_json:
        print_json([one._asdict() for one in found])
    else:
        show(in_terminal(skew_table((one.view, one.vectors, one.equal, one.causes) for one in found)))
    if any(one.causes for one in found):
        raise typer.Exit(1)


def _hashes(project: Project, folder: Path) -> dict[str, str]:
    from sterling.stages.features import definition_hashes

    return definition_hashes(project, folder)


def _write(folder: Path, frame: str, target: Path) -> None:
    """Write the frame whole or not at all."""
    import io

    import pyarrow.parquet as pq

    from sterling.core.durable import write_file
    from sterling.core.refs import Ref
    from sterling.core.workspace import Workspace
    from sterling.engine.tables import read_table

    made = io.BytesIO()
    pq.write_table(read_table(Workspace(folder).store(), Ref(frame)), made)
    write_file(target, made.getvalue())
