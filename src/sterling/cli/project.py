"""Commands that define and run a project."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sterling.cli.options import AsJson, AsOf, ProjectFolder

if TYPE_CHECKING:
    from sterling.lifecycle import Result

_ON_RECORD = {
    "failed": "The verdict stands: the candidate failed. `sterling why verdict` says at which gate.",
    "ungated": "The project has no gates, so nothing is registered.",
}
_NOW = "Send all traffic to the version at once; it is recorded that no rollout was made."


def add_to(app: typer.Typer) -> None:
    """Add the commands, in the order of a project's life."""
    for command in (demo, new, check, plan, run, compare, schema):
        app.command()(command)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the example project goes.")] = Path("demo"),
) -> None:
    """Run the whole life of a model on 336,776 real flights, in about a minute."""
    from sterling.cli.demo import run_demo

    raise typer.Exit(run_demo(folder))


def new(
    name: Annotated[str, typer.Argument(help="Name of the project and of its new folder.")],
    template: Annotated[
        str, typer.Option(help="What it starts from; 'scheduled' predicts for a population on a calendar.")
    ] = "scheduled",
) -> None:
    """Make a project that runs at once."""
    from sterling.cli.scaffold import scaffold

    folder = scaffold(name, template)
    print(f"Made {folder}/. Next: cd {folder} && sterling plan && sterling run")


def check(project: ProjectFolder = Path(), as_json: AsJson = False) -> None:
    """Check a project against its data, and what these can show, before anything is trained."""
    from sterling.cli.console import print_json, progress, show
    from sterling.lifecycle import check_project
    from sterling.project.load import load_project
    from sterling.views.feasibility import render

    loaded = load_project(project)
    with progress(quiet=as_json) as observe:
        checked = check_project(loaded, project, observe=observe)
    if as_json:
        print_json({**asdict(checked), "feasible": checked.feasible})
    else:
        share = (
            f" ({checked.positives / checked.labelled:.1%} positive)"
            if checked.labelled and checked.positives is not None
            else ""
        )
        print(
            f"{checked.project}: {len(checked.sources)} sources, {len(checked.features)} features. Every column is there and fits,"
        )
        print(f"and is known at prediction. {checked.rows:,} moments, {checked.labelled:,} with a label{share}.\n")
        show(render(checked.feasibility, checked.leakage, checked.positions))
    raise typer.Exit(0 if checked.feasible else 1)


def plan(project: ProjectFolder = Path(), as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Say what a run would do, and why, without doing it."""
    from sterling.cli.console import print_json, show
    from sterling.lifecycle import plan_project
    from sterling.project.load import load_project
    from sterling.views.plan import render

    planned = plan_project(load_project(project), project, as_of=as_of)
    if as_json:
        print_json(planned)
    else:
        show(render(planned))


def run(
    project: ProjectFolder = Path(),
    as_of: AsOf = None,
    release_now: Annotated[bool, typer.Option("--release-now", help=_NOW)] = False,
    leak_effect: Annotated[
        bool, typer.Option("--leak-effect/--no-leak-effect", help="Train once more, to see what leaks would claim.")
    ] = True,
    studies: Annotated[
        bool,
        typer.Option("--studies/--no-studies", help="Look at the candidate after its evaluation: errors, importance."),
    ] = True,
    details: Annotated[bool, typer.Option("--details", help="Show every table of the run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run what is not on record yet, judge the gates, and register the model if it passes them."""
    from sterling.cli.console import print_json, progress
    from sterling.lifecycle import run_project
    from sterling.project.load import load_project

    loaded = load_project(project)
    with progress(quiet=as_json) as observe:
        result = run_project(
            loaded, project, as_of=as_of, release_now=release_now, leak_effect=leak_effect, studies=studies,
            observe=observe,
        )  # fmt: skip
    if as_json:
        print_json(summary(result))
    else:
        show_result(loaded.name, project, result, details=details)
        for warning in result.warnings:
            print(f"Beware: {warning}", file=sys.stderr)
    raise typer.Exit(1 if result.verdict == "failed" or (release_now and not result.released) else 0)


def compare(
    first: Annotated[str, typer.Argument(help="version:N, '#POSITION' of a run, latest or previous.")] = "previous",
    second: Annotated[str, typer.Argument(help="The same.")] = "latest",
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Compare two versions or runs: definition, data, features, environment, metrics and gates."""
    from sterling.cli.console import print_json, show
    from sterling.cli.documents import definition_of
    from sterling.cli.evidence import ledger_of
    from sterling.core.elsewhere import without_erased
    from sterling.core.workspace import Workspace
    from sterling.project.definition import from_json, to_json
    from sterling.project.tasks import CONDITION, Task
    from sterling.reproduction.recorded import lock_of
    from sterling.standalone.paired import paired
    from sterling.views import compare as view

    ledger = ledger_of(project)
    entries, store = tuple(ledger.read()), without_erased(Workspace(project).store(), ledger)
    before, after = view.find(entries, first), view.find(entries, second)
    definitions = (definition_of(project, before), definition_of(project, after))
    locks = (lock_of(view.environment_of(before), store), lock_of(view.environment_of(after), store))
    clustered = definitions[1]["project"]["cluster"] is not None
    task = from_json(definitions[1]["project"].get("task", to_json(CONDITION)), Task)
    same_rows = paired(store, before, after, clustered=clustered, task=task)
    found = view.compare(entries, before, after, definitions=definitions, locks=locks, paired=same_rows)
    if as_json:
        print_json(found)
    else:
        show(view.render(found))


def schema() -> None:
    """Print the JSON Schema of a project's definition."""
    from sterling.cli.console import print_json
    from sterling.project.schema import json_schema

    print_json(json_schema())


def summary(result: Result) -> dict[str, object]:
    """A result as JSON."""
    return {
        "project": result.project,
        "definition": result.definition,
        "candidate": result.candidate,
        "verdict": result.verdict,
        "version": result.version,
        "released": result.released,
        "news": result.news,
        "warnings": list(result.warnings),
        "position": result.position,
        "steps": [{"title": step.title, "cached": step.cached, "position": step.position} for step in result.steps],
        "gates": [{"position": entry.position, **entry.body} for entry in result.gates],
    }


def show_result(name: str, folder: Path, result: Result, *, details: bool) -> None:
    """A result for people."""
    from sterling.cli.console import show
    from sterling.cli.evidence import entries_of
    from sterling.views.report import run_report
    from sterling.views.report_tables import render_report

    if not result.news:
        print(
            f"{name}: nothing to do. All {len(result.steps)} steps and the decision are on record [{result.position}]."
        )
        if result.verdict != "passed":
            print(_ON_RECORD[result.verdict])
        if not details:
            return
    show(render_report(run_report(entries_of(folder)), details=details))
