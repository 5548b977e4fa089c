"""The command that scores many rows at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sterling.cli.options import AsJson, ProjectFolder

if TYPE_CHECKING:
    from sterling.scoring.job import Limit, Scored, Step

TRY_AGAIN = 75
"""Exit code where the deadline came before the last partition."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(score)


def score(
    project: ProjectFolder = Path(),
    to: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Where scores go: a folder, duckdb:FILE, a postgresql:// URL, or env:NAME for the variable that says it.",
        ),
    ] = "scores",
    to_table: Annotated[str, typer.Option(metavar="TABLE", help="Its table, where it is a database.")] = "scores",
    at: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="Score the project's population: at a day, a time, or FROM..TO, as of each moment of prediction.",
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="Score these rows: Parquet or CSV, a folder of it, duckdb:FILE, a postgresql:// URL, or env:NAME.",
        ),
    ] = None,
    from_table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Their table, where that is a database.")
    ] = None,
    version: Annotated[int | None, typer.Option(metavar="N", help="This version, not the live one.", min=1)] = None,
    partition: Annotated[
        str | None,
        typer.Option(metavar="day|hour|none|COLUMN", help="What divides rows into parts that are replaced as a whole."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column of the rows that says whom they are about; repeatable."),
    ] = None,
    predict_at: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of the rows that says when the prediction is made.")
    ] = None,
    online: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Online store for rows that bring raw columns, where features read events."),
    ] = None,
    explain: Annotated[int, typer.Option(metavar="N", help="Reasons of each score.", min=0, max=1_000)] = 0,
    unseen: Annotated[
        str, typer.Option(metavar="refuse|null", help="What becomes of values that training did not know.")
    ] = "refuse",
    max_refused: Annotated[
        str, typer.Option(metavar="N|N%", help="Rows of a partition that may be refused at most.")
    ] = "0",
    deadline: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Stop behind a partition rather than pass this, such as 10m.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also write partitions that are in place.")] = False,
    consumer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Who reads the scores, for the record; repeatable.")
    ] = None,
    cpu_price: Annotated[
        float, typer.Option(metavar="PRICE", help="Price of an hour of one processor, for the cost on record.", min=0)
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Score a population or a table, partition by partition, to a folder or a database."""
    if (at is None) == (from_ is None):
        raise typer.BadParameter("Say whom to score: the population with --at, or rows with --from.")
    if unseen not in {"refuse", "null"}:
        raise typer.BadParameter(f"--unseen is {unseen!r}. It is refuse or null.")
    rows_only = {"--key": key, "--predict-at": predict_at, "--online": online, "--from-table": from_table}
    if at is not None and (wrong := [name for name, value in rows_only.items() if value]):
        raise typer.BadParameter(f"{wrong[0]} is about rows that are given with --from.")

    from sterling.features.online_store import connect_online
    from sterling.project.load import load_project
    from sterling.project.times import window_micros
    from sterling.scoring.job import Job
    from sterling.scoring.places import destination_of, rows_of
    from sterling.scoring.score import score_population, score_rows

    seconds = window_micros(deadline, field="--deadline") / 1e6 if deadline else None
    job = Job(
        explain, unseen, _limit(max_refused), seconds, again, tuple(consumer or ()), cpu_price  # type: ignore[arg-type]  # it is checked above
    )  # fmt: skip
    loaded, place = load_project(project), destination_of(to, to_table)
    with _progress(quiet=as_json) as observe:
        if at is not None:
            found = score_population(
                loaded, project, at, place, version=version, by=partition or "day", job=job, observe=observe
            )
        else:
            assert from_ is not None
            found = score_rows(
                loaded, project, rows_of(from_, from_table), place, version=version, by=partition or "none",
                keys=tuple(key or ()), moment=predict_at, online=connect_online(online) if online else None, job=job,
                observe=observe,
            )  # fmt: skip
    _tell(found, place.name, as_json=as_json)
    if found.left:
        print(f"sterling: {_left(found, deadline)}", file=sys.stderr)
        sys.exit(TRY_AGAIN)


def _limit(text: str) -> Limit:
    from sterling.scoring.job import Limit

    share = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf") or (share and number > 100):
        raise typer.BadParameter(
            f"--max-refused is {text!r}. It is a number of rows, such as 100, or a share, such as 1%."
        )
    return Limit(number / 100 if share else number, share)


def _left(found: Scored, deadline: str | None) -> str:
    names = ", ".join(found.left[:5]) + (" and others" if len(found.left) > 5 else "")
    parts = "1 partition is" if len(found.left) == 1 else f"{len(found.left):,} partitions are"
    return f"the deadline of {deadline} came first: {parts} left ({names}). The same command goes on with them."


def _tell(found: Scored, place: str, *, as_json: bool) -> None:
    from sterling.cli.console import print_json, show
    from sterling.views.batch import batch_report

    if as_json:
        print_json(_as_json(found))
        return
    for line in batch_report(
        found.version, [entry.body for entry in found.written], found.body, place, len(found.kept), found.position
    ):
        show(line)


def _as_json(found: Scored) -> dict[str, Any]:
    return {
        "version": found.version,
        "position": found.position,
        "partitions": [{"position": entry.position, **entry.body} for entry in found.written],
        "kept": list(found.kept),
        "left": list(found.left),
        "batch": None if found.body is None else dict(found.body),
    }


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Step], object]]:
    """Show how far a job is, on the standard error."""
    if quiet:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sterling.cli.console import console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("rows", total=None)

        def observe(step: Step) -> None:
            bar.update(task, advance=step.rows, total=step.total, description=step.partition)

        yield observe
