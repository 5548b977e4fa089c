"""Commands that serve a project, let clients in, and keep what was predicted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sterling.cli.options import AsJson, ProjectFolder

if TYPE_CHECKING:
    from socket import socket

    from sterling.core.workspace import Workspace
    from sterling.serving.kept_plan import PlanFile, Remembered
    from sterling.serving.logged import Kept


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (serve, apikey, predictions):
        app.command()(command)


def serve(
    project: ProjectFolder = Path(),
    host: Annotated[str, typer.Option(help="Address to listen on; loopback unless told otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that share the port.", min=1, max=64)] = 1,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Let in who has one of these keys; `sterling apikey` makes them."),
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Listen beyond loopback although anybody may then ask.")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate in PEM, for HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key in PEM.")] = None,
    online: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Online store that features are read from, such as sqlite:.sterling/online.db."
        ),
    ] = None,
    follow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE=PATH", help="Take rows that are appended to a file or folder of JSON lines; repeatable."
        ),
    ] = None,
    record: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Keep the vectors of this share of the entities, for features parity --served."
        ),
    ] = 0.0,
    unseen: Annotated[
        str, typer.Option(metavar="refuse|null", help="What becomes of values that training did not know.")
    ] = "refuse",
    log: Annotated[bool, typer.Option("--log/--no-log", help="Keep every prediction in .sterling/predictions.")] = True,
    queue: Annotated[int, typer.Option(help="Requests that may wait in a process; more are shed.", min=1)] = 128,
    rows: Annotated[int, typer.Option(help="Rows of a request at most.", min=1)] = 1_000,
    body_mb: Annotated[float, typer.Option(help="Megabytes of a request at most.", min=0.001)] = 4.0,
    drain: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long it goes on answering after SIGTERM.", min=0)
    ] = 0.0,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only send training rows through a server of the newest version, and compare."),
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Go by this signed plan and newer ones in its place, without a ledger."),
    ] = None,
    plan_key: Annotated[
        list[str] | None,
        typer.Option(metavar="VKEY", help="A public key, besides the project's own, that signs plans; repeatable."),
    ] = None,
    cpu_price: Annotated[
        float, typer.Option(metavar="PRICE", help="Price of an hour of one processor, for the cost in /metrics.", min=0)
    ] = 0.0,
) -> None:
    """Serve the live version over HTTP, and follow releases."""
    from sterling.serving.sockets import is_loopback

    if check:
        _check(project)
        return
    if follow and not online:
        raise typer.BadParameter("--follow keeps an online state fresh: name it with --online.")
    if record and not online:
        raise typer.BadParameter("--record keeps what is read from an online state: name it with --online.")
    if not is_loopback(host) and keys is None and not without_keys:
        raise typer.BadParameter(
            f"--host {host} is reached from other machines, and nobody is asked for a key. Name keys with --keys, or say --without-keys."
        )
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key go together.")
    if unseen not in {"refuse", "null"}:
        raise typer.BadParameter(f"--unseen is {unseen!r}. It is refuse or null.")
    asked = _Asked(
        project, host, port, keys, tls_cert, tls_key, online, _followed(follow), record, unseen, log, queue, rows,
        int(body_mb * 1_000_000), drain, cpu_price, plan, tuple(plan_key or ()),
    )  # fmt: skip
    if workers == 1:
        asked.serve(0, None, None)
        return
    from sterling.serving.workers import run_workers

    code = run_workers(workers, host, port, asked.serve, lambda said: print(said, flush=True))
    if code:
        sys.exit(code)


@dataclass(frozen=True)
class _Asked:
    """What a server process is to do."""

    project: Path
    host: str
    port: int
    keys: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    online: str | None
    follow: dict[str, Path]
    record: float
    unseen: Any
    log: bool
    queue: int
    rows: int
    body_bytes: int
    drain: float
    cpu_price: float
    plan: Path | None
    plan_keys: tuple[str, ...]

    def serve(self, number: int, listening: socket | None, say: Callable[[str], None] | None) -> None:
        """Serve in this process until it is told to end."""
        from sterling.core.elsewhere import without_erased
        from sterling.core.workspace import Workspace
        from sterling.features.online_store import connect_online
        from sterling.features.served import ServedLog
        from sterling.project.load import load_project
        from sterling.serving.endpoints import Service
        from sterling.serving.ingest import ingestion_of, read_from
        from sterling.serving.keys import Keys
        from sterling.serving.logs import log_as_json
        from sterling.serving.on_demand import supplied_by
        from sterling.serving.outcomes import Outcomes
        from sterling.serving.prediction_log import PredictionLog, personal_features
        from sterling.serving.requests import Limits
        from sterling.serving.server import Certificate
        from sterling.serving.server import serve as serve_project
        from sterling.serving.vector import Online, columns_of_source

        log_as_json()
        workspace, loaded = Workspace(self.project), load_project(self.project)
        ledger, plan_file = self._ledger(workspace, loaded.name)
        kept = ServedLog(workspace.served, self.record) if self.record else None
        state = Online(loaded, connect_online(self.online) if self.online else None, record=kept)
        taken = None
        if state.store:
            types = {name: columns_of_source(ledger, name) for name in read_from(loaded)}
            taken = ingestion_of(
                loaded, types, state.store, workspace.events, self.follow if number == 0 else {}, applies=number == 0
            )
        service = Service(
            Limits(self.rows, self.body_bytes, queue=self.queue), taken, Outcomes(workspace.outcomes),
            PredictionLog(workspace.predictions, personal_features(loaded)) if self.log else None,
            Keys(self.keys) if self.keys else None, self.unseen, self.cpu_price,
            workspace.counters,
        )  # fmt: skip
        certificate = Certificate(self.tls_cert, self.tls_key) if self.tls_cert and self.tls_key else None
        serve_project(
            ledger, without_erased(workspace.store(), ledger), host=self.host, port=self.port, say=say,
            supplied=supplied_by(loaded, self.project), online=state, service=service, certificate=certificate,
            listening=listening, drain_seconds=self.drain, plan_file=plan_file,
        )  # fmt: skip

    def _ledger(self, workspace: Workspace, project: str) -> tuple[Remembered, PlanFile | None]:
        """The ledger, and where what is read of it is kept; or what a plan holds, which is kept already."""
        import logging

        from sterling.core.errors import SignatureError
        from sterling.core.signing import VerifierKey
        from sterling.serving.kept_plan import PlanFile, Remembered, adopt, by_plan

        keys = [VerifierKey.parse(key) for key in self.plan_keys]
        own = PlanFile(workspace.plan, workspace.key_file(), keys)
        seen = None
        try:
            seen = own.read(project)
        except SignatureError as error:
            logging.getLogger("sterling.serving").warning("%s", error)
        if self.plan is None:
            return Remembered(lambda: workspace.ledger(project), project, seen), own
        file = PlanFile(self.plan, workspace.key_file(), keys)
        ledger = by_plan(file, project, seen)
        adopt(file, workspace.plan)
        return ledger, None


def _check(project: Path) -> None:
    """Compare what a server of the newest version answers with what training kept; exit with 1 where they differ."""
    from sterling.core.elsewhere import without_erased
    from sterling.core.workspace import Workspace
    from sterling.decisions.served import served_as_trained
    from sterling.project.load import load_project
    from sterling.serving.checked import check_served
    from sterling.serving.on_demand import supplied_by

    workspace, loaded = Workspace(project), load_project(project)
    ledger = workspace.ledger(loaded.name)
    checked = check_served(ledger, without_erased(workspace.store(), ledger), None, supplied_by(loaded, project))
    verdict = served_as_trained([checked], checked.body["model"])
    print(f"Version {checked.body['version']}: {verdict.reason} [{checked.position}]")
    if not verdict.passed:
        sys.exit(1)


def _followed(options: Sequence[str] | None) -> dict[str, Path]:
    pairs = [option.partition("=") for option in options or ()]
    for name, equals, path in pairs:
        if not name or not equals or not path:
            raise typer.BadParameter(f"{name!r} is no SOURCE=PATH, such as arrivals=arrivals.jsonl.")
    return {name: Path(path) for name, _, path in pairs}


def apikey(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who gets the key.")],
    role: Annotated[list[str], typer.Option(help="What it may do: predict, outcomes or operate; repeatable.")],
    keys: Annotated[Path, typer.Option(metavar="FILE", help="Where its hash is kept.")] = Path("keys.json"),
    per_second: Annotated[
        float | None, typer.Option(metavar="N", help="Requests that it may make in a second, in each process.")
    ] = None,
) -> None:
    """Make a key for `sterling serve --keys` and print it, once."""
    from sterling.serving.keys import Role, add_key

    roles: list[Role] = list(role)  # type: ignore[arg-type]  # they are checked there
    print(add_key(keys, name, roles, per_second))


def predictions(project: ProjectFolder = Path(), as_json: AsJson = False) -> None:
    """Put what was predicted into the store, with the outcomes that came since."""
    from sterling.cli.console import print_json
    from sterling.core.workspace import Workspace
    from sterling.project.load import load_project
    from sterling.serving.logged import keep_predictions

    workspace = Workspace(project)
    kept = keep_predictions(workspace.ledger(load_project(project).name), workspace)
    if as_json:
        print_json(_as_json(kept))
        return
    rows = sum(entry.body["rows"] for entry in kept.logged)
    segments = "1 segment" if len(kept.logged) == 1 else f"{len(kept.logged):,} segments"
    print(f"{rows:,} predictions in {segments}, {kept.new:,} of them new.")
    if kept.joined is not None:
        body = kept.joined.body
        print(f"The outcome of {body['known']:,} of {body['rows']:,} is known [{kept.joined.position}].")


def _as_json(kept: Kept) -> dict[str, object]:
    joined = kept.joined
    return {
        "new": kept.new,
        "segments": [{"position": entry.position, **entry.body} for entry in kept.logged],
        "joined": None if joined is None else {"position": joined.position, **joined.body},
    }
