"""How late rows become known, measured from the data: its distribution, a delay to declare, and clocks that mislead."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sterling.features.exact import Ints
from sterling.features.windows import NEVER

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
_UNITS = ((86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"))
_COVERED = 0.99
_FEW = 100  # rows; of fewer nothing is said
_LATE = 3_600_000_000
_SHARED = 20  # rows a moment, in the middle, that look like a batch
_APART = 60_000_000  # between the batches, in the middle: a busy stream whose clock tells seconds is none
_SURE = 3.0  # standard errors by which more than 1 % are late, where that is no chance


class Lateness(NamedTuple):
    """How late the rows of a table became known.

    Attributes:
        rows: Rows with both times.
        quantiles: For each of `QUANTILES`, how many microseconds after the event that share of rows was known.
        instants: Different times at which rows became known.
        later: Share of rows that became known later than was declared; None where nothing was.
        proposed: A delay after which 99 % of the rows are known; None where there are no rows.
        warning: What is wrong with the clock or the declaration, or None.
    """

    rows: int
    quantiles: tuple[int, ...]
    instants: int
    later: float | None
    proposed: str | None
    warning: str | None


def lateness(happened: Ints, known: Ints, declared: Ints | None = None) -> Lateness:
    """Measure how late rows become known.

    Args:
        happened: When each row happened, in microseconds.
        known: When each was known; `NEVER` for never, or not on record.
        declared: When each was known as the definition says, where that is another thing.

    Example:
        >>> hours = np.arange(0, 200, dtype=np.int64) * 3_600_000_000
        >>> found = lateness(hours, hours + 540_000_000, hours)
        >>> found.proposed, found.later
        ('9m', 1.0)
        >>> found.warning
        'In 100.0% of the rows the time at which a row is declared to be known lies before the one at which it arrived.'
    """
    given = known < NEVER
    late = np.sort(known[given] - happened[given])
    if not len(late):
        return Lateness(0, (), 0, None, None, None)
    found = tuple(int(late[_rank(share, len(late))]) for share in QUANTILES)
    times, rows = np.unique(known[given], return_counts=True)
    later = None if declared is None else float((known[given] > declared[given]).mean())
    warnings = []
    if later is not None and _more_than_covered(later, len(late)):
        warnings.append(
            f"In {later:.1%} of the rows the time at which a row is declared to be known lies before the one at which it "
            "arrived."
        )
    if len(late) >= _FEW and found[0] >= _LATE and _in_batches(times, rows):
        warnings.append(
            f"{len(late):,} rows became known at {len(times):,} times only, {said(found[0])} after the event in the median: "
            "this looks like the time of a load, not of knowing. A load that runs again rewrites it."
        )
    return Lateness(len(late), found, len(times), later, said(found[2], up=True), " ".join(warnings) or None)


def _rank(share: float, size: int) -> int:
    """The place, from 0, of the least value that a share of the values do not exceed; a product may miss by its last bit."""
    return max(int(np.ceil(round(share * size, 6))) - 1, 0)


def _more_than_covered(later: float, size: int) -> bool:
    """Whether more rows are late than chance makes of the 1 % that may be; rows count as independent."""
    allowed = 1 - _COVERED
    return later > allowed + _SURE * float(np.sqrt(allowed * _COVERED / size))


def _in_batches(times: Ints, rows: Ints) -> bool:
    """Whether rows became known many at a time, with breaks between."""
    apart = len(times) == 1 or float(np.median(np.diff(times))) >= _APART
    return apart and float(np.median(np.repeat(rows, rows))) >= _SHARED


def said(micros: int, *, up: bool = False) -> str:
    """A duration as a project writes it, to the next whole unit of which it has at least three, or seconds.

    Args:
        micros: Microseconds; nothing before the event is a delay, so less than 0 counts as 0.
        up: Round up, so that the duration covers what is said.

    Example:
        >>> said(5_400_000_000), said(5_400_000_001, up=True), said(-1)
        ('90m', '91m', '0m')
    """
    if micros <= 0:
        return "0m"
    size, unit = next(((size, unit) for size, unit in _UNITS if micros >= 3 * size), _UNITS[-1])
    whole = -(-micros // size) if up else round(micros / size)
    return f"{whole}{unit}"
