"""What training knew of a row's values: categories that it saw, and ranges that its sources hold them to.

A value beyond these is null to the model, as it was in training. A client rather hears of it: the request is refused,
unless the server was told to take such values as null; then the answer names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from sterling.core.errors import FieldError
from sterling.models import Column
from sterling.project.checks import Check, InRange

Beyond = Literal["refuse", "null"]
"""What becomes of a value that training did not know."""


class Nulled(NamedTuple):
    """A value that was taken as null.

    Attributes:
        row: Place of its row.
        field: Its name.
    """

    row: int
    field: str


class Inputs:
    """Looks for values that training did not know.

    Args:
        columns: The columns of the model.
        checks: The checks of the source that rows are of.
        beyond: What becomes of such values.

    Example:
        >>> inputs = Inputs([Column("carrier", "category", ("AA", "UA"))], [InRange("distance", 0, 6_000)])
        >>> inputs.check([{"carrier": "UA", "distance": 95.0}])
        []
        >>> inputs.check([{"carrier": "ZZ"}])
        Traceback (most recent call last):
            ...
        sterling.core.errors.FieldError: 'carrier' is 'ZZ', which training has not seen. It has seen 2 values; send null for none of them.
    """

    def __init__(self, columns: Sequence[Column], checks: Sequence[Check] = (), beyond: Beyond = "refuse") -> None:
        self._known = {column.name: column.codes for column in columns if column.kind == "category"}
        self.ranges: Mapping[str, InRange] = {check.column: check for check in checks if isinstance(check, InRange)}
        self._refuse = beyond == "refuse"

    def check(self, rows: Sequence[Mapping[str, Any]]) -> list[Nulled]:
        """Values that training did not know, where they are taken as null; one out of its range becomes null here.

        Raises:
            FieldError: naming the first one, where such values are refused.
        """
        found: list[Nulled] = []
        known, ranges = self._known.items(), self.ranges.items()
        for number, row in enumerate(rows):
            for name, codes in known:
                value = row.get(name)
                if value is not None and type(value) is str and value not in codes:
                    self._beyond(found, number, len(rows), name, value, _unseen(codes))
            for name, within in ranges:
                value = row.get(name)
                if type(value) in _NUMBERS and not within.low <= value <= within.high:  # type: ignore[operator]
                    said = (
                        "out-of-range",
                        f"out of its range. It lies from {within.low:g} to {within.high:g}, or is null.",
                    )
                    self._beyond(found, number, len(rows), name, value, said)
                    cast("dict[str, Any]", row)[name] = None
        return found

    def _beyond(
        self, found: list[Nulled], number: int, rows: int, name: str, value: object, said: tuple[str, str]
    ) -> None:
        if not self._refuse:
            found.append(Nulled(number, name))
            return
        where = f"Row {number}: " if rows > 1 else ""
        text = repr(value)
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        row = number if rows > 1 else None
        raise FieldError(f"{where}{name!r} is {shown}, {said[1]}", name, row, problem=said[0])


_NUMBERS = frozenset({int, float})


def _unseen(codes: Mapping[str, float]) -> tuple[str, str]:
    return (
        "unseen-category",
        f"which training has not seen. It has seen {len(codes):,} values; send null for none of them.",
    )
