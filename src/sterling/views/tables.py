"""A table as data, and the three ways to show it: in a terminal, in Markdown, in a page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|])")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        cells: Texts, one for each column.
        strong: Whether it stands out.
    """

    cells: tuple[str, ...]
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts.

    Attributes:
        title: What it shows.
        columns: Names of the columns; numbers stand right where a name begins with ``>``.
        rows: The rows.
        empty: What is said where there are no rows.
        note: A line below the table, or None.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    empty: str = "not measured"
    note: str | None = None

    @property
    def headings(self) -> tuple[str, ...]:
        """Names of the columns without their alignment."""
        return tuple(column.removeprefix(">") for column in self.columns)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(column.startswith(">") for column in self.columns)


def in_terminal(table: Table) -> RenderableType:
    """A table for a terminal; what stands out carries a sign, so that it can be read without colour."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    title = Text(table.title, style="bold")
    if not table.rows:
        return Group(title, Text(f"  {table.empty}"), Text(""))
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, header_style="", show_edge=False)
    for name, numeric in zip(table.headings, table.numeric, strict=True):
        grid.add_column(Text(name), justify="right" if numeric else "left", overflow="fold", no_wrap=not name)
    for row in table.rows:
        grid.add_row(*(Text(cell) for cell in row.cells), style="bold" if row.strong else "")
    notes = [Text(table.note, style="dim")] if table.note else []
    return Group(title, grid, *notes, Text(""))


def in_markdown(table: Table) -> str:
    r"""A table in Markdown.

    Example:
        >>> print(in_markdown(Table("", ("model", ">rows"), (Row(("a|b", "1"), strong=True),))))
        | model | rows |
        |---|---:|
        | **a\|b** | **1** |
    """
    if not table.rows:
        return table.empty
    lines = [_line(table.headings), "|" + "|".join("---:" if right else "---" for right in table.numeric) + "|"]
    for row in table.rows:
        cells = (escaped(cell) for cell in row.cells)
        lines.append(_line(f"**{cell}**" if row.strong and cell else cell for cell in cells))
    note = ["", escaped(table.note)] if table.note else []
    return "\n".join([*lines, *note])


def escaped(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line; positions such as ``[42]`` stay readable.

    Example:
        >>> print(escaped("a_b <i> [42]"))
        a\_b \<i\> [42]
    """
    plain = _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
    return re.sub(r"\\\[([\d, –]+)\\\]", r"[\1]", plain)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
