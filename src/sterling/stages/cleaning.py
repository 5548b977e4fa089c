"""Cleaning: a table without a person's rows, and without the cells of other rows that mention them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sterling.features.exact import Ints
from sterling.stages.person import Mask, Person


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What a table loses; to be given to `sterling.engine.tables.rewrite_table`.

    Attributes:
        person: Whom it loses.
        theirs: The rows that go.
        moved: For a spine: by how many places each row moves up in the table that its moments stand on.
    """

    person: Person
    theirs: Mask
    moved: Ints | None = None

    def __call__(self, segment: pa.Table, start: int) -> pa.Table:
        """What is left of a segment; the segment itself where that is all of it."""
        left = self._rows(segment, start)
        for index, field in enumerate(left.schema):
            cells = left.column(index)
            if (mentions := self.person.mentioned(cells)).any():
                nulled = pc.if_else(pa.array(mentions), pa.scalar(None, field.type), cells)
                left = left.set_column(index, field, nulled)
        return left if self.moved is None else _moved(left, self.moved)

    def mentions(self, segment: pa.Table, start: int) -> Counter[str]:
        """How many cells of the rows that stay mention the person, by column."""
        left = self._rows(segment, start)
        found = {name: int(self.person.mentioned(left.column(name)).sum()) for name in left.schema.names}
        return Counter({name: count for name, count in found.items() if count})

    def _rows(self, segment: pa.Table, start: int) -> pa.Table:
        gone = self.theirs[start : start + segment.num_rows]
        return segment.filter(pa.array(~gone)) if gone.any() else segment


def places_moved(theirs: Mask) -> Ints:
    """By how many places each row of a table moves up when some go.

    Example:
        >>> places_moved(np.array([False, True, False, True, False])).tolist()
        [0, 0, 1, 1, 2]
    """
    moved: Ints = (
        np.concatenate([[0], np.cumsum(theirs)[:-1]]).astype(np.int64) if len(theirs) else np.zeros(0, np.int64)
    )
    return moved


def _moved(moments: pa.Table, moved: Ints) -> pa.Table:
    rows = moments.column("row").to_numpy()
    if not moved[rows].any():
        return moments
    return moments.set_column(moments.schema.get_field_index("row"), "row", pa.array(rows - moved[rows]))
