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
