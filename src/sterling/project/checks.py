"""Checks of data: what a column must be, and what happens to a row that is not."""

from __future__ import annotations

from collections.abc import Sequence

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.times import window_micros


class NotNull(Definition, frozen=True):
    """The column has a value; a row without one is quarantined.

    Args:
        column: Name of the column.
        max_share: Share of rows, in [0, 1], that may fail before the run stops.
        stop: Stop the run at the first row that fails.
    """

    column: str
    max_share: float = 0.01
    stop: bool = False

    def check(self) -> None:
        """Refuse a share outside [0, 1]."""
        _share(self)


class InRange(Definition, frozen=True):
    """The column lies in [low, high], or is null; a cell outside is nulled, the row stays.

    Args:
        column: Name of the column.
        low: Smallest value.
        high: Largest value.
        max_share: Share of rows, in [0, 1], that may fail before the run stops.
        stop: Stop the run at the first row that fails.
    """

    column: str
    low: float
    high: float
    max_share: float = 0.01
    stop: bool = False

    def check(self) -> None:
        """Refuse an empty range and a share outside [0, 1]."""
        if not self.low <= self.high:
            raise InvalidDefinitionError(
                f"InRange({self.column!r}) goes from {self.low} to {self.high}: nothing lies there."
            )
        _share(self)


class OneOf(Definition, frozen=True):
    """The column is one of some values, or null; another row is quarantined.

    Args:
        column: Name of the column.
        values: The values.
        max_share: Share of rows, in [0, 1], that may fail before the run stops.
        stop: Stop the run at the first row that fails.
    """

    column: str
    values: Sequence[str | int]
    max_share: float = 0.01
    stop: bool = False

    def check(self) -> None:
        """Refuse a share outside [0, 1]."""
        _share(self)


class Unique(Definition, frozen=True):
    """No two rows have the same values in these columns; all but the first of such rows are quarantined.

    Args:
        columns: Names of the columns.
        max_share: Share of rows, in [0, 1], that may fail before the run stops.
        stop: Stop the run at the first row that fails.
    """

    columns: Sequence[str]
    max_share: float = 0.01
    stop: bool = False

    def check(self) -> None:
        """Refuse a share outside [0, 1]."""
        _share(self)


class References(Definition, frozen=True):
    """Every value of the column stands in a column of another source, or is null; another row is quarantined.

    Args:
        column: Name of the column.
        source: Name of the other source.
        key: Its column.
        max_share: Share of rows, in [0, 1], that may fail before the run stops.
        stop: Stop the run at the first row that fails.
    """

    column: str
    source: str
    key: str
    max_share: float = 0.01
    stop: bool = False

    def check(self) -> None:
        """Refuse a share outside [0, 1]."""
        _share(self)


class Fresh(Definition, frozen=True):
    """The newest row became available at most ``within`` before as_of; else the run stops.

    Args:
        within: A duration such as ``"6h"``.
    """

    within: str

    def check(self) -> None:
        """Refuse what is no duration."""
        window_micros(self.within, field="Fresh.within")


Check = NotNull | InRange | OneOf | Unique | References | Fresh


def _share(check: NotNull | InRange | OneOf | Unique | References) -> None:
    if not 0 <= check.max_share <= 1:
        raise InvalidDefinitionError(
            f"{type(check).__name__}.max_share is {check.max_share}. It is a share, from 0 to 1."
        )
