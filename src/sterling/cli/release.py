"""Commands that decide which version answers: approve, release, promote, pause, roll back and retire."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sterling.cli.options import AsJson, ProjectFolder

if TYPE_CHECKING:
    from sterling.core.evidence import Entry
    from sterling.core.ledger import Ledger
    from sterling.core.store import Store
    from sterling.project.project import Project
    from sterling.views.guardrails import Judged
    from sterling.views.release_plan import ReleasePlan

Named = Annotated[int | None, typer.Argument(help="The version; the one on its way where it is left out.")]
Newest = Annotated[int | None, typer.Argument(help="The version; the newest where it is left out.")]
On = Annotated[
    int | None,
    typer.Option(
        "--on", metavar="POSITION", min=0, help="What was looked at; refused where something decisive came later."
    ),
]
Roles = Annotated[
    list[str] | None,
    typer.Option("--as", metavar="ROLE", help="In this role; may be repeated. All that are asked for if left out."),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")]
Seen = Annotated[
    list[int] | None, typer.Option("--evidence", metavar="POSITION", help="What shows it; may be repeated.")
]

_EXPLAINED = {"version.approved", "rollout.started", "version.promoted", "version.rolled_back"}


def add_to(app: typer.Typer) -> None:
    """Add the commands, in the order of a version's life."""
    for command in (approve, release, promote, pause, rollback, retire):
        app.command()(command)


def approve(
    version: Newest = None,
    roles: Roles = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take approvals back instead.")] = False,
    reason: Reason = "Taken back by hand.",
    on: On = None,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Let a registered version pass, in the roles that its risk and its changes ask for."""
    from sterling.core.workspace import actor
    from sterling.decisions import approve as decision

    _, ledger, store = _opened(project)
    if revoke:
        number = version or _newest(ledger)
        said = decision.revoke(ledger, number, roles=roles or (), reason=reason)
        _say(said, "Took back the approval of", as_json=as_json)
    else:
        said = decision.approve(ledger, store, version, actor=actor(), roles=roles or (), on=on)
        _say(said, "Approved", as_json=as_json)


def release(
    version: Newest = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Send all traffic to the version at once; it is recorded that no rollout was made."),
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only show who answers, which stage runs, and which approvals are missing.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Only write what a server without a ledger goes by, signed: `sterling serve --plan`."
        ),
    ] = None,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Release a registered version, in the stages that the project declares or at once."""
    from sterling.core.errors import InvalidDefinitionError
    from sterling.decisions import release as decision
    from sterling.decisions.standing import standing
    from sterling.project.fallbacks import doubts
    from sterling.serving.checked import check_unless_live, outside_doubts
    from sterling.serving.on_demand import supplied_by

    if export is not None:
        _export(project, export)
        return
    loaded, ledger, store = _opened(project)
    if plan:
        _show_plan(project, ledger, store, version, as_json=as_json)
        return
    if not now and not loaded.rollout:
        raise InvalidDefinitionError(
            "The project declares no staged rollout. --now sends all traffic to the version at once, and records it so."
        )
    check_unless_live(ledger, store, version, supplied_by(loaded, project))
    rollout = () if now else loaded.rollout
    before = standing(ledger).plan
    said = decision.release(
        ledger, store, version, rollout=rollout, routing=loaded.routing, guardrails=loaded.guards(),
        error_budget=loaded.error_budget,
    )  # fmt: skip
    _say(said, "Released", "Already live:", as_json=as_json)
    if not as_json:
        for doubt in doubts(loaded.fallback, previous=decision.had_before(before, said[0].body["version"])):
            print(f"Fallback: {doubt}")
        for doubt in outside_doubts(ledger, store, said[0].body["version"], supplied_by(loaded, project)):
            print(f"Fallback: {doubt}")


def promote(
    version: Named = None,
    early: Annotated[
        bool, typer.Option("--early", help="Do not wait until the stage has lasted; it is recorded.")
    ] = False,
    on: On = None,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Give a version the next stage of its rollout, after the last one all traffic; a paused one goes on."""
    from sterling.core.elsewhere import without_erased
    from sterling.core.workspace import Workspace
    from sterling.decisions import rollout as decision

    ledger = _ledger(project)
    store = without_erased(Workspace(project).store(), ledger)
    _say(decision.promote(ledger, store, version, early=early, on=on), "Promoted", "Already live:", as_json=as_json)


def pause(
    version: Named = None,
    reason: Reason = "Paused by hand.",
    evidence: Seen = None,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Take the units away from the version that is on its way, and keep its stage."""
    from sterling.decisions import rollout as decision

    ledger = _ledger(project)
    _say(decision.pause(ledger, version, reason=reason, evidence=evidence or ()), "Paused", as_json=as_json)


def rollback(
    version: Annotated[
        int | None, typer.Argument(help="The version; the one on its way, else the live one, where it is left out.")
    ] = None,
    to: Annotated[
        int | None,
        typer.Option(metavar="VERSION", help="Go back to this one; the one that was live before if left out."),
    ] = None,
    reason: Reason = "Rolled back by hand.",
    evidence: Seen = None,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """End the rollout of a version; where none is under way, go back to the version that was live before."""
    from sterling.decisions import rollout as decision

    ledger = _ledger(project)
    said = decision.rollback(ledger, version, to=to, reason=reason, evidence=evidence or ())
    _say(said, "Rolled back", "Already rolled back:", as_json=as_json)


def retire(
    version: Annotated[int, typer.Argument(help="The version.")],
    reason: Reason = "Retired by hand.",
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Take a version out of service for good."""
    from sterling.decisions import rollout as decision

    ledger = _ledger(project)
    _say(decision.retire(ledger, version, reason=reason), "Retired", as_json=as_json)


def _opened(folder: Path) -> tuple[Project, Ledger, Store]:
    from sterling.core.elsewhere import without_erased
    from sterling.core.workspace import Workspace
    from sterling.project.load import load_project

    loaded, workspace = load_project(folder), Workspace(folder)
    ledger = workspace.ledger(loaded.name)
    return loaded, ledger, without_erased(workspace.store(), ledger)


def _ledger(folder: Path) -> Ledger:
    """The project's chain, found without a look at the project's own code where that can be."""
    from sterling.core.workspace import Workspace

    workspace = Workspace(folder)
    known = workspace.only_project()
    if known is None:
        from sterling.project.load import load_project

        known = load_project(folder).name
    return workspace.ledger(known)


def _newest(ledger: Ledger) -> int:
    from sterling.decisions.standing import standing

    number: int = standing(ledger).registered().body["version"]
    return number


def _show_plan(folder: Path, ledger: Ledger, store: Store, version: int | None, *, as_json: bool) -> None:
    """Who answers, what guardrails say so far, and what the version that would be released next needs."""
    from sterling.cli.console import print_json, show
    from sterling.core.evidence import Query
    from sterling.decisions.standing import standing
    from sterling.views import approvals, guardrails, release_plan

    view = standing(ledger)
    plan = view.plan
    known = next(ledger.read(Query(("model.registered",))), None)
    asked = version or (plan.rollout.version if plan.rollout else None)
    found = view.approvals(store, view.registered(asked)) if known or version else None
    waits = found is not None and (plan.live is None or found.version != plan.live.version)
    judged = _judged(folder, plan)
    if as_json:
        said = [one._asdict() for one in judged]
        print_json(
            release_plan.as_json(plan) | {"judged": said, "approvals": found if waits else None, "on": view.head}
        )
        return
    show(release_plan.render(plan))
    if judged:
        show("")
        show(guardrails.render(judged))
    if found is not None and waits:
        show("")
        show(approvals.render(found))


def _judged(folder: Path, plan: ReleasePlan) -> tuple[Judged, ...]:
    """What the guardrails of the stage that runs say so far, by what servers counted here."""
    if plan.rollout is None or plan.rollout.paused or not plan.rollout.guardrails:
        return ()
    from sterling.core.workspace import Workspace
    from sterling.decisions.guardrails import judge
    from sterling.serving.counted import counted

    return judge(plan.rollout, counted([Workspace(folder).counters], plan.rollout.position))


def _export(project: Path, file: Path) -> None:
    """Read what a server reads of the ledger, and write it, signed."""
    from contextlib import suppress

    from sterling.core.elsewhere import without_erased
    from sterling.core.errors import InvalidDefinitionError
    from sterling.core.workspace import Workspace
    from sterling.project.load import load_project
    from sterling.serving.ingest import read_from
    from sterling.serving.kept_plan import PlanFile, Remembered
    from sterling.serving.on_demand import supplied_by
    from sterling.serving.released import Follower
    from sterling.serving.vector import Online, columns_of_source

    workspace, loaded = Workspace(project), load_project(project)
    ledger = Remembered(lambda: workspace.ledger(loaded.name), loaded.name)
    store = without_erased(workspace.store(), ledger)
    follower = Follower(ledger, store, supplied=supplied_by(loaded, project), online=Online(loaded))
    follower.prepare()
    for name in read_from(loaded):
        with suppress(InvalidDefinitionError):  # a server that needs it will say so
            columns_of_source(ledger, name)
    extract = ledger.extract()
    PlanFile(file, workspace.key_file()).write(extract)
    print(f"Wrote the plan as of [{extract.position}] to {file}: version {follower.served.version} is live.")


def _say(said: tuple[Entry, bool], did: str, already: str | None = None, *, as_json: bool) -> None:
    from sterling.cli.console import print_json
    from sterling.views.log import sentence

    entry, made = said
    if as_json:
        print_json({"position": entry.position, "new": made, "kind": entry.kind, **entry.body})
        return
    word = did if made else already or f"{did} already:"
    print(f"{word} version {entry.body['version']} [{entry.position}].")
    if made and entry.kind in _EXPLAINED:
        print(sentence(entry))
