"""What every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _check_time(as_of: str | None) -> str | None:
    """Refuse what is no time before anything runs."""
    if as_of not in {None, "now"}:
        from sterling.project.times import moment_micros

        moment_micros(as_of, field="--as-of")
    return as_of


ProjectFolder = Annotated[
    Path, typer.Option("--project", metavar="DIR", help="The project's folder.", show_default="here")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        callback=_check_time,
        help="Count the data as of 'now' or an ISO 8601 time, not of the newest that they show.",
    ),
]
