"""Functions of texts as DuckDB computes them: by code points, with case mapped one to one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sterling.core.errors import DataError
from sterling.features.row_types import Kind

_SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_FAR = 4_294_967_295
_ONE_TO_ONE = {"ß": "ẞ"}


def upper(text: str) -> str:
    """A text in capitals, code point by code point.

    Example:
        >>> upper("maße"), upper("ﬁ")
        ('MAẞE', 'ﬁ')
    """
    return text.upper() if text.isascii() else "".join(map(_upper, text))


def lower(text: str) -> str:
    """A text in small letters, code point by code point.

    Example:
        >>> lower("ΟΔΟΣ"), lower("İ")
        ('οδοσ', 'i')
    """
    return text.lower() if text.isascii() else "".join("i" if one == "İ" else one.lower() for one in text)


def trimmed(name: str) -> tuple[Callable[[str], str], Callable[[str, str], str]]:
    """`trim`, `ltrim` or `rtrim`: of spaces, which tabs and line ends are not, and of given letters."""
    strip = {"trim": str.strip, "ltrim": str.lstrip, "rtrim": str.rstrip}[name]
    return (lambda text: strip(text, _SPACES)), (lambda text, letters: strip(text, letters) if letters else text)


def left(text: str, count: int) -> str:
    """The first letters; all but the last ones for a negative number."""
    return text[:count]


def right(text: str, count: int) -> str:
    """The last letters; all but the first ones for a negative number."""
    return text[max(len(text) - count, 0) :] if count >= 0 else text[-count:]


def substring(text: str, start: int, length: int) -> str:
    """Letters from a place on, 1 being the first and −1 the last; a negative length goes back from there."""
    if not (-_FAR <= start <= _FAR and -_FAR <= length <= _FAR):
        raise DataError(f"substring from {start} of length {length}: neither may be beyond {_FAR:,}.")
    begin = start - 1 if start > 0 else (start + len(text) if start < 0 else -1)
    end = begin + length
    if length < 0:
        begin, end = end, begin
    return text[max(begin, 0) : max(end, 0)]


def rest(text: str, start: int) -> str:
    """Letters from a place on."""
    return text[start - 1 :] if start > 0 else text[max(len(text) + start, 0) if start < 0 else 0 :]


def replaced(text: str, old: str, new: str) -> str:
    """A text with one part replaced wherever it stands; an empty part stands nowhere."""
    return text.replace(old, new) if old else text


def contains(text: str, part: str) -> bool:
    """Whether a part stands in a text."""
    return part in text


def position(text: str, part: str) -> int:
    """Where a part begins, 1 being the first letter; 0 if it is not there."""
    return text.find(part) + 1


def split_part(text: str, separator: str, number: int) -> str:
    """A part between separators, 1 being the first and −1 the last; empty where there are not so many.

    Nothing as separator separates every letter.
    """
    parts = text.split(separator) if separator else list(text)
    index = number - 1 if number > 0 else number
    return parts[index] if number and -len(parts) <= index < len(parts) else ""


def padded(name: str) -> Callable[[str, int, str], str]:
    """`lpad` or `rpad`: a text filled up, or cut, to a number of letters."""

    def run(text: str, size: int, filling: str) -> str:
        missing = size - len(text)
        if missing <= 0:
            return text[: max(size, 0)]
        if not filling:
            raise DataError(f"{name}({text!r}, {size}, ''): nothing to fill up with.")
        more = (filling * (missing // len(filling) + 1))[:missing]
        return more + text if name == "lpad" else text + more

    return run


def like(text: str, pattern: str) -> bool:
    """Whether a text is like a pattern, in which % stands for any letters and _ for one.

    Example:
        >>> like("EWR-JFK", "E_R%"), like("a%", "a_b")
        (True, False)
    """
    return _matcher(pattern)(text)


def ilike(text: str, pattern: str) -> bool:
    """Whether a text is like a pattern, whatever the case."""
    return like(lower(text), lower(pattern))


def text_of(kind: Kind) -> Callable[[Any], str] | None:
    """How a value is written as text; None where DuckDB's way is not followed."""
    match kind.name:
        case "text" | "int":
            return str
        case "bool":
            return lambda value: "true" if value else "false"
        case "decimal":
            return lambda value: _decimal_text(value, kind)
    return None


def _upper(letter: str) -> str:
    capital = letter.upper()
    if len(capital) == 1:
        return capital
    title = _ONE_TO_ONE.get(letter) or letter.title()
    return title if len(title) == 1 else letter


@lru_cache(1024)
def _matcher(pattern: str) -> Callable[[str], bool]:
    import re

    found = re.compile("".join({"%": ".*", "_": "."}.get(one) or re.escape(one) for one in pattern), re.DOTALL)
    return lambda text: found.fullmatch(text) is not None


def _decimal_text(value: int, kind: Kind) -> str:
    sign, digits = "-" if value < 0 else "", str(abs(value)).rjust(kind.scale + 1, "0")
    if not kind.scale:
        return sign + digits
    before = digits[: -kind.scale]
    return f"{sign}{'' if kind.width == kind.scale and before == '0' else before}.{digits[-kind.scale :]}"
