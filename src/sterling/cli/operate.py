"""The command that watches rollouts: has them go on, pause, or go back, by the guardrails of the project."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sterling.cli.options import AsJson, ProjectFolder

if TYPE_CHECKING:
    from sterling.decisions.operate import Look

_NO = {"rolled back", "paused"}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(operate)


def operate(
    once: Annotated[
        bool,
        typer.Option("--once", help="Look once, as a scheduler does; exits with 1 where it paused or rolled back."),
    ] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", help="Time between two looks.", min=0.1)] = 5.0,
    counters: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Where servers count, of several machines one each; .sterling/counters if left out."
        ),
    ] = None,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Judge the rollout under way by its guardrails: promote, pause or roll back the version, with the evidence."""
    import signal

    from sterling.core.elsewhere import without_erased
    from sterling.core.workspace import Workspace
    from sterling.project.load import load_project
    from sterling.serving.controller import Controller
    from sterling.serving.logs import log_as_json

    workspace = Workspace(project)
    ledger = workspace.ledger(load_project(project).name)
    folders = counters or [workspace.counters]
    controller = Controller(ledger, without_erased(workspace.store(), ledger), folders, every_seconds=every)
    if once:
        found = controller.look()
        _print_json(found, lines=False) if as_json else _show(found)
        if found.did in _NO:
            sys.exit(1)
        return
    log_as_json()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: controller.stop())
    controller.run(_Told(as_json=as_json))


class _Told:
    """Says what a look found where it is something else than before."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json, self._before = as_json, ""

    def __call__(self, found: Look) -> None:
        states = ", ".join(f"{one.guardrail} {one.state}" for one in found.judged)
        said = f"{found.plan.position} {found.did} {states if found.did == 'waits' else found.why}"
        if said == self._before:
            return
        self._before = said
        _print_json(found, lines=True) if self._as_json else _show(found)
        sys.stdout.flush()


def _show(found: Look) -> None:
    from sterling.cli.console import show
    from sterling.views import guardrails
    from sterling.views.text import cite

    rollout = found.plan.rollout
    if rollout is not None and found.judged:
        counts = found.counts
        print(
            f"Version {rollout.version}, {rollout.running.title} {cite(rollout.position)}: {counts.live.requests:,.0f} requests "
            f"of version {found.plan.live.version if found.plan.live else 0}, {counts.other.requests:,.0f} of it."
        )
        show(guardrails.render(found.judged))
    did = f"{found.did.capitalize()} {cite(found.decided.position)}. " if found.decided else ""
    print(f"{did}{found.why}")


def _print_json(found: Look, *, lines: bool) -> None:
    import json

    from sterling.cli.console import print_json

    said = _as_json(found)
    if lines:
        print(json.dumps(said, ensure_ascii=False))
    else:
        print_json(said)


def _as_json(found: Look) -> dict[str, Any]:
    rollout, counts = found.plan.rollout, found.counts
    return {
        "did": found.did, "why": found.why, "position": found.decided.position if found.decided else None,
        "version": rollout.version if rollout else None, "stage": rollout.running.title if rollout else None,
        "requests": {"live": counts.live.requests, "version": counts.other.requests}, "processes": counts.processes,
        "guardrails": [one._asdict() for one in found.judged],
    }  # fmt: skip
