"""A person in data: the columns that name them, the ids that stand for them, and every text that mentions them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import InvalidDefinitionError

Mask = NDArray[np.bool_]
_WHOLE_NUMBER = re.compile(r"[+-]?\d+")
_LARGEST = 2**63


class Subject(NamedTuple):
    """A column and the value that names a person there.

    Attributes:
        column: Name of the column, in any case.
        value: The value, as text.
    """

    column: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Subject:
        """A subject from ``customer=C123``.

        Raises:
            InvalidDefinitionError: if the text is none.

        Example:
            >>> Subject.parse("customer=C123")
            Subject(column='customer', value='C123')
        """
        column, equals, value = text.partition("=")
        if not (column.strip() and equals and value):
            raise InvalidDefinitionError(f"{text!r} names nobody. Write COLUMN=VALUE, such as customer=C123.")
        return cls(column.strip(), value)


class Person:
    """What names one person: values of columns, and the names of their events as these are found.

    Args:
        subjects: Columns and values that somebody gave.
    """

    def __init__(self, subjects: Collection[Subject]) -> None:
        self.subjects = tuple(dict.fromkeys(subjects))
        self.ids: set[str] = set()
        """Names of their events."""
        self._columns: dict[str, set[str]] = {}
        for subject in self.subjects:
            self._columns.setdefault(subject.column.casefold(), set()).add(subject.value)
        texts = [subject.value for subject in self.subjects if telling(subject.value)]
        self._pattern = _pattern(texts) if texts else None
        self._arranged = _Known(0, [], {})

    @property
    def plain(self) -> tuple[str, ...]:
        """Columns whose value is too short to be looked for in texts, where it would be found by chance."""
        return tuple(subject.column for subject in self.subjects if not telling(subject.value))

    def names_columns(self, names: Collection[str]) -> list[str]:
        """Those of a table's columns that may name them."""
        return [name for name in names if name.casefold() in self._columns]

    def rows(self, columns: Mapping[str, pa.ChunkedArray], size: int) -> tuple[Mask, Mask]:
        """The rows that name them, and those that name somebody else and not them."""
        theirs, named = np.zeros(size, bool), np.zeros(size, bool)
        for name in self.names_columns(columns):
            theirs |= having(columns[name], self._columns[name.casefold()])
            named |= columns[name].is_valid().to_numpy()
        return theirs, named & ~theirs

    def mentioned(self, cells: pa.ChunkedArray) -> Mask:
        """The cells whose text names them, alone or among other things, as a note may, or one of their events alone."""
        if (texts := _as_text(cells)) is None:
            return _none(cells)
        names = self._known().names
        found = having(texts, names) if names else _none(cells)
        if self._pattern:
            found |= _any(pc.match_substring_regex(texts, self._pattern.re2))
        return found

    def count_in_json(self, value: Any) -> int:
        """How often the strings of a JSON value name them or one of their events."""
        return sum(map(self.count_in, _strings(value)))

    def count_in(self, text: str) -> int:
        """How often a text names them or one of their events."""
        found = len(self._pattern.ours.findall(text)) if self._pattern else 0
        if not self.ids:
            return found
        words = self._known().by_word
        likely = {name for word in set(re.findall(r"\w+", text)) & words.keys() for name in words[word]}
        return found + sum(len(_pattern([name]).ours.findall(text)) for name in likely)

    def _known(self) -> _Known:
        """Names of their events that may be looked for, arranged anew when there are more of them."""
        if self._arranged.size != len(self.ids):
            names, by_word = [name for name in self.ids if telling(name)], dict[str, list[str]]()
            for name in names:
                by_word.setdefault(max(re.findall(r"\w+", name) or [""], key=len), []).append(name)
            self._arranged = _Known(len(self.ids), names, by_word)
        return self._arranged


class _Known(NamedTuple):
    """Names of events, and the same by the longest word in each, since most texts hold none of these words."""

    size: int
    names: list[str]
    by_word: dict[str, list[str]]


def telling(text: str) -> bool:
    """Whether a text names so little else that it may be looked for anywhere.

    Example:
        >>> [telling(text) for text in ("C123", "4711", "471100", "7", "UA")]
        [True, False, True, False, False]
    """
    return len(text) >= 6 or (len(text) >= 4 and not text.isdigit())


def having(cells: pa.ChunkedArray, values: Collection[str]) -> Mask:
    """Cells that are one of some values, which are given as text whatever the type of the cells.

    Example:
        >>> having(pa.chunked_array([[7, 123, None]]), ["00123", "ada"]).tolist()
        [False, True, False]
    """
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    wanted: list[Any] = list(values)
    if pa.types.is_integer(kind):
        numbers = (int(value) for value in values if _WHOLE_NUMBER.fullmatch(value))
        wanted, kind = [number for number in numbers if -_LARGEST <= number < _LARGEST], pa.int64()
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        wanted, kind = [number for value in values if (number := _float(value)) is not None], pa.float64()
    elif pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        wanted, kind = [value.encode() for value in values], pa.binary()
    elif pa.types.is_nested(kind):
        return _none(cells)
    else:
        kind = pa.string()
    return _any(pc.is_in(cells.cast(kind, safe=False), pa.array(wanted, kind)))


class _Pattern(NamedTuple):
    """Texts as whole words, in any case, for Arrow and for Python."""

    re2: str
    ours: re.Pattern[str]


def _pattern(texts: Collection[str]) -> _Pattern:
    either = "|".join("".join(map(_escaped, text)) for text in texts)
    return _Pattern(
        rf"(?i)(?:^|[^\pL\pN_])(?:{either})(?:$|[^\pL\pN_])",
        re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE),
    )


def _escaped(sign: str) -> str:
    return f"\\{sign}" if sign.isascii() and not (sign.isalnum() or sign.isspace() or sign == "_") else sign


def _as_text(cells: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Cells as texts, None where they hold none."""
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return cells.cast(pa.string())
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return pa.chunked_array([pa.array([" ".join(_strings(cell)) for cell in cells.to_pylist()], pa.string())])
    return None


def _any(found: pa.ChunkedArray) -> Mask:
    mask: Mask = pc.fill_null(found, False).to_numpy()
    return mask


def _none(cells: pa.ChunkedArray) -> Mask:
    return np.zeros(len(cells), bool)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", errors="replace")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
