"""Numbers, times and positions as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

MINUS = "\N{MINUS SIGN}"


def decimals_for(*values: float | None) -> int:
    """Decimals that give the largest of some values 3 significant digits, at most 6.

    Example:
        >>> decimals_for(0.741, 0.753), decimals_for(0.0276), decimals_for(1234.5)
        (3, 4, 0)
    """
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    if largest == 0:
        return 0
    return min(6, max(0, 2 - math.floor(math.log10(largest))))


def number(value: float | None, *, decimals: int | None = None, signed: bool = False) -> str:
    """A number with 3 significant digits and thousands separators; a dash for none.

    Example:
        >>> number(0.74149), number(27004), number(0.0276, signed=True), number(None)
        ('0.741', '27,004', '+0.0276', '–')
    """
    if value is None:
        return "–"
    if value == 0 and signed:
        return "0"
    places = (0 if isinstance(value, int) else decimals_for(value)) if decimals is None else decimals
    return f"{value:{'+' if signed else ''},.{places}f}".replace("-", MINUS)


def interval(value: float | None, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """A value with its interval; the bounds have as many decimals as the value.

    Example:
        >>> interval(0.741, 0.728, 0.753)
        '0.741 (0.728–0.753)'
        >>> interval(-0.002, -0.0061, 0.0021)
        '−0.00200 (−0.00610 to 0.00210)'
    """
    if value is None or low is None or high is None:
        return number(value, signed=signed)
    places = decimals_for(value, low, high)
    between = " to " if min(low, high) < 0 or signed else "–"
    bounds = between.join(number(bound, decimals=places, signed=signed) for bound in (low, high))
    return f"{number(value, decimals=places, signed=signed)} ({bounds})"


def percent(share: float | None) -> str:
    """A share in percent.

    Example:
        >>> percent(0.2367), percent(0), percent(1.0)
        ('23.7 %', '0 %', '100 %')
    """
    return "–" if share is None else f"{number(100 * float(share))} %"


def cite(*positions: int) -> str:
    """Positions in the ledger, neighbours joined.

    Example:
        >>> cite(42), cite(44, 45, 46, 41), cite()
        ('[42]', '[41, 44–46]', '')
    """
    spans: list[list[int]] = []
    for position in sorted(set(positions)):
        if spans and position == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], position]
        else:
            spans.append([position])
    return f"[{', '.join('–'.join(map(str, span)) for span in spans)}]" if spans else ""


def moment(text: str | None) -> str:
    """An ISO 8601 time to the minute.

    Example:
        >>> moment("2013-10-01T06:00:00.000000Z")
        '2013-10-01 06:00 UTC'
    """
    return "–" if text is None else f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def day(text: str | None) -> str:
    """The day of an ISO 8601 time.

    Example:
        >>> day("2013-10-01T06:00:00Z")
        '2013-10-01'
    """
    return "–" if text is None else f"{datetime.fromisoformat(text):%Y-%m-%d}"


def size(count: int) -> str:
    """Bytes as people read them.

    Example:
        >>> size(512), size(7_301_880)
        ('512 B', '7.30 MB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{number(count / scale)} {unit}"
    return f"{count} B"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "row"), plural(27004, "row"), plural(2, "entry", "entries")
        ('1 row', '27,004 rows', '2 entries')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[str]) -> str:
    """Names in a sentence.

    Example:
        >>> listed(["prior"]), listed(["prior", "logistic", "lightgbm"])
        ('prior', 'prior, logistic and lightgbm')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
