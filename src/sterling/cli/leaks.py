"""``sterling leaks``: on any table, what a join that knows nothing of availability would let in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sterling.cli.options import AsJson

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sterling.features.table_leaks import LeakReport


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(leaks)


def leaks(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Parquet or CSV file with an event a row.")],
    event_time: Annotated[str, typer.Option("--event-time", metavar="COLUMN", help="When an event happened.")],
    available_at: Annotated[str, typer.Option("--available-at", metavar="COLUMN", help="When it was known.")],
    entity: Annotated[list[str], typer.Option("--entity", metavar="COLUMN", help="Whose it is; may be repeated.")],
    value: Annotated[
        list[str] | None,
        typer.Option("--value", metavar="COLUMN", help="What is averaged and looked up; may be repeated."),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option("--window", metavar="LENGTH", help="Such as 6h; may be repeated. Default 1h, 1d, 7d."),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="COLUMN", help="When to predict; default whenever an event happens.")
    ] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="LENGTH", help="The delay that you declare, held against the data.")
    ] = None,
    tz: Annotated[str, typer.Option("--tz", metavar="ZONE", help="Zone of times that have none.")] = "UTC",
    as_json: AsJson = False,
) -> None:
    """Say which rows a join on the time of events alone fills with what nobody knew yet; needs no project."""
    from sterling.cli.console import print_json, show
    from sterling.engine.files import read_file
    from sterling.features.table_leaks import table_leaks

    found = table_leaks(
        read_file(table, table.name), event_time, available_at, entity, value or [],
        windows=window or ("1h", "1d", "7d"), at=at, delay=delay, tz=tz,
    )  # fmt: skip
    if as_json:
        print_json(found)
    else:
        show(_rendered(found, delay))


def _rendered(found: LeakReport, delay: str | None) -> RenderableType:
    from rich.console import Group

    from sterling.features.lateness import said
    from sterling.views.tables import Row, Table, in_terminal
    from sterling.views.text import number, percent, plural

    rows = (
        Row((leak.feature, percent(leak.changed), percent(leak.known), percent(leak.empty))) for leak in found.features
    )
    features = Table("Features", ("", ">leaks", ">known", ">empty"), tuple(rows))
    lines = [
        f"At {percent(found.changed)} of {plural(found.rows, 'moment')} a join on the time of the event alone uses what nobody "
        "knew yet.",
        "",
        in_terminal(features),
        "Leaks: share of the moments at which the feature would be another one. Known: share of the windows' events that were "
        "known. Empty: share of the moments at which nothing was.",
        "",
    ]
    if found.quantiles:
        shares = ", ".join(f"{percent(share)} within {said(late, up=True)}" for share, late in found.quantiles.items())
        lines.append(f"Known after the event: {shares}. Delay({found.proposed!r}) would cover 99 % of the rows.")
    if found.later is not None:
        lines.append(f"Declared is Delay({delay!r}): {percent(found.later)} of the rows were known later.")
    if found.dropped:
        lines.append(f"{number(found.dropped)} rows have no time, and are no events.")
    lines += [f"Beware: {leak.feature}: {leak.warning}" for leak in found.features if leak.warning]
    lines += [f"Beware: {found.warning}"] if found.warning else []
    return Group(*lines)
