"""What every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ProjectFolder = Annotated[
    Path, typer.Option("--project", metavar="DIR", help="The project's folder.", show_default="here")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="Count the data as of 'now' or an ISO 8601 time, not of the newest that they show.",
    ),
]
Chain = Annotated[
    str | None,
    typer.Option("--chain", metavar="ID", help="Look at this chain of the ledger; the beginning of its id is enough."),
]
LedgerUrl = Annotated[
    str | None,
    typer.Option("--ledger", metavar="URL", help="Look into the ledger at this URL; goes with --chain, or with --all."),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="WHEN", help="As of a position, or of an ISO 8601 time with its zone, and not as of now."
    ),
]
