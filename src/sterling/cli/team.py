"""Commands for those who run a team's ledger."""

from __future__ import annotations

from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(roles)


def roles(
    url: Annotated[str, typer.Argument(help="The team's ledger, such as postgresql://ada@db.example.com/evidence.")],
    reader: Annotated[str, typer.Option(metavar="ROLE", help="May read everything.")] = "sterling_reader",
    writer: Annotated[
        str, typer.Option(metavar="ROLE", help="May also record, but nothing that decides what is live.")
    ] = "sterling_writer",
    approver: Annotated[str, typer.Option(metavar="ROLE", help="May record everything.")] = "sterling_approver",
) -> None:
    """Print the SQL that gives a team's roles their rights in PostgreSQL; nothing is changed."""
    from sterling.core.connect import roles_of

    print(roles_of(url, reader=reader, writer=writer, approver=approver), end="")
