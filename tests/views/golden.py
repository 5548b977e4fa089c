"""Where the documents lie that were looked at and found right, and how a terminal shows one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sterling.testing.golden import golden as kept

if TYPE_CHECKING:
    from rich.console import RenderableType


def golden(name: str, text: str) -> str:
    """What the document must be."""
    return kept(Path(__file__).parent / "golden" / name, text)


def on_terminal(shown: RenderableType) -> str:
    """What a terminal of 80 columns without colour shows."""
    file = io.StringIO()
    Console(width=80, color_system=None, file=file).print(shown)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
