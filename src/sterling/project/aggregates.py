"""Aggregates: what is said of the events of one entity in the windows before each moment, or ahead of it.

How each of them is computed stands in `sterling.features.aggregates`, whose registry has an entry for every one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.sources import check_name
from sterling.project.times import micros, window_micros

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_NUMBERS = ("int", "uint", "float", "double", "decimal32", "decimal64", "decimal128", "bool")
_NESTED = ("list", "struct", "map", "large_list", "fixed_size_list", "dense_union", "sparse_union")
_LARGEST_BUDGET = 1_000_000


class Window(NamedTuple):
    """One window of an aggregate.

    Attributes:
        length: As the project writes it.
        kind: ``past``: before the moment, by when events happened; ``known``: before it, by when they became known;
            ``ahead``: after it, by when they are to happen.
    """

    length: str
    kind: Literal["past", "known", "ahead"]

    @property
    def micros(self) -> int:
        """The length in microseconds."""
        return micros(self.length)


class Aggregate(Definition, frozen=True, kw_only=True):
    """What all aggregates share.

    Args:
        windows: Lengths of windows that end at the moment, such as ``["1h", "24h"]``.
        ahead: Lengths of windows that begin at the moment, over events that are known ahead.
        on: The clock that ``windows`` are measured by: when events happened, or when they became known.
        where: SQL condition on the event's own columns.
        name: What stands in the feature's name between the view and the window; None for operation and column.
    """

    windows: Sequence[str] = ()
    ahead: Sequence[str] = ()
    on: Literal["event_time", "available_at"] = "event_time"
    where: str | None = None
    name: str | None = None

    def check(self) -> None:
        """Refuse no windows, what is no duration, and a bad name."""
        kind = type(self).__name__
        if not self.windows and not self.ahead:
            raise InvalidDefinitionError(f"{kind}.windows is empty. Give lengths, such as windows=['6h'].")
        for field, lengths in (("windows", self.windows), ("ahead", self.ahead)):
            for length in lengths:
                window_micros(length, field=f"{kind}.{field}")
        if self.ahead and self.on == "available_at":
            raise InvalidDefinitionError(
                f"{kind}: ahead= looks at when events are to happen, so it does not go with on='available_at'. "
                "Write two aggregates."
            )
        if self.name is not None:
            check_name(f"{kind}.name", self.name)

    @property
    def operation(self) -> str:
        """What is done, as it stands in names of features."""
        return _CAPITAL.sub("_", type(self).__name__).lower()

    @property
    def reads(self) -> str | None:
        """The column that is aggregated; None where events are counted."""
        column: str | None = getattr(self, "column", None)
        return column

    def check_type(self, column: str, kind: str, place: str) -> None:
        """Refuse a column of a type that cannot be aggregated; here, what is no number.

        Args:
            column: Name of the column.
            kind: Its type, as Arrow writes it.
            place: What reads it; an error begins with it.
        """
        if not kind.startswith(_NUMBERS):
            raise InvalidDefinitionError(f"{place} reads {column!r}, which is {kind}, not a number.")


class Count(Aggregate, frozen=True):
    """How many events lie in each window; with a column, how many have a value there.

    Args:
        column: Column whose values are counted; None counts events.
    """

    column: str | None = None

    def check_type(self, column: str, kind: str, place: str) -> None:
        """Values of any type can be counted."""


class Sum(Aggregate, frozen=True):
    """The sum of a column, exact and rounded once; null where there is no value.

    Args:
        column: A numeric column. Whole numbers have a whole sum; of conditions it is how many are true.
    """

    column: str


class Mean(Aggregate, frozen=True):
    """The mean of a column over the events of each window; null where there is no value.

    Args:
        column: A numeric column.
    """

    column: str


class Variance(Aggregate, frozen=True):
    """The sample variance of a column (``VAR_SAMP`` in SQL); null for fewer than two values.

    It is the float nearest to the exact one, however far from zero the values lie.

    Args:
        column: A numeric column.
    """

    column: str


class Min(Aggregate, frozen=True):
    """The least value of a column; null where there is no value.

    Args:
        column: A numeric column.
    """

    column: str


class Max(Aggregate, frozen=True):
    """The greatest value of a column; null where there is no value.

    Args:
        column: A numeric column.
    """

    column: str


class CountDistinct(Aggregate, frozen=True):
    """How many different values a column has, exactly.

    Args:
        column: A column of any type.
        budget: How many different values one window may hold. They are kept one by one, so more are refused by name.
    """

    column: str
    budget: int = 10_000

    def check(self) -> None:
        """Refuse what every aggregate refuses, and a budget that bounds nothing."""
        super().check()
        if not 0 < self.budget <= _LARGEST_BUDGET:
            raise InvalidDefinitionError(
                f"CountDistinct.budget is {self.budget:,}. It lies between 1 and {_LARGEST_BUDGET:,} values."
            )

    def check_type(self, column: str, kind: str, place: str) -> None:
        """Refuse lists and the like."""
        if kind.startswith(_NESTED):
            raise InvalidDefinitionError(f"{place} reads {column!r}, which is {kind}. Count something inside it.")


class Pending(Aggregate, frozen=True):
    """How many events of each window have happened, or were due, and are not known to have ended.

    Args:
        until: Column with the time of the end; its entry in the source's ``known=`` says when that is known.
    """

    until: str

    def check_type(self, column: str, kind: str, place: str) -> None:
        """Refuse what is no time."""
        if not kind.startswith("timestamp"):
            raise InvalidDefinitionError(f"{place} reads {column!r}, which is {kind}, not a time.")


AnyAggregate = Count | Sum | Mean | Variance | Min | Max | CountDistinct | Pending


def windows_of(aggregate: Aggregate) -> tuple[Window, ...]:
    """The windows of an aggregate, in order."""
    kind: Literal["past", "known"] = "known" if aggregate.on == "available_at" else "past"
    ahead = tuple(Window(length, "ahead") for length in aggregate.ahead)
    return (*(Window(length, kind) for length in aggregate.windows), *ahead)


def aggregate_name(view: str, aggregate: Aggregate, window: Window) -> str:
    """Name of one aggregate over one window.

    Example:
        >>> aggregate_name("late", Mean("delay", ahead=["6h"]), Window("6h", "ahead"))
        'late_mean_delay_ahead_6h'
        >>> aggregate_name("late", Count(windows=["6h"], where="delay > 60", name="very"), Window("6h", "past"))
        'late_very_6h'
    """
    said = [aggregate.name] if aggregate.name else [aggregate.operation, aggregate.reads]
    return "_".join(filter(None, (view, *said, None if window.kind == "past" else window.kind, window.length)))
