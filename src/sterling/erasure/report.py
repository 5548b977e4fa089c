"""What an erasing finds and does, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sterling.core.refs import Ref


class Holding(NamedTuple):
    """Bytes that hold the person.

    Attributes:
        what: What they are, as people read it.
        ref: Their name.
        rows: How many rows are the person's.
        cells: How many cells of other rows mention them, by column; for what is no table, how often its text does.
        fate: What becomes of them; bytes that are not Sterling's are kept out, should they come back.
    """

    what: str
    ref: Ref
    rows: int
    cells: Mapping[str, int]
    fate: Literal["rewritten", "deleted", "kept out"]


class Place(NamedTuple):
    """Where a person is found.

    Attributes:
        where: What holds them, such as a file with its column.
        times: In how many rows, cells or places of a text.
    """

    where: str
    times: int


class InTheWay(NamedTuple):
    """What would bring the person back, and is not Sterling's to change.

    Attributes:
        where: What holds them, such as a file with its column.
        times: In how many rows, cells or places of a text.
        remedy: What to do about it.
    """

    where: str
    times: int
    remedy: str


class Also(NamedTuple):
    """What may name the person too, since it stands in no row but theirs; it is not erased unless it is given as well.

    Attributes:
        column: A column that names entities.
        values: The values.
    """

    column: str
    values: tuple[str, ...]


class Searched(NamedTuple):
    """What a search went through.

    Attributes:
        blobs: Blobs of the store.
        tables: How many of them are tables, or segments of one.
        rows: Rows of these.
        files: Other files of the workspace.
        entries: Entries of the ledger.
    """

    blobs: int
    tables: int
    rows: int
    files: int
    entries: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and what was done about it.

    Attributes:
        columns: The columns that name the person.
        plain: Those of them whose value is too short to be looked for in texts.
        holdings: What holds the person.
        files: Other files of the workspace that do.
        loose: How many blobs are there that no entry needs, left by a run or an erasing that was stopped.
        in_the_way: What must be changed first.
        also: What may name the person too.
        position: Position of the entry that was recorded; None where nothing was changed, or there was nothing to say.
        searched: What was gone through at last; None where nothing was changed.
        left: Where the person is still found.
        scored: Where scores were written to, outside of what is searched.
    """

    columns: tuple[str, ...]
    plain: tuple[str, ...]
    holdings: tuple[Holding, ...]
    files: tuple[str, ...]
    loose: int
    in_the_way: tuple[InTheWay, ...]
    also: tuple[Also, ...] = ()
    position: int | None = None
    searched: Searched | None = None
    left: tuple[Place, ...] = ()
    scored: tuple[str, ...] = ()
