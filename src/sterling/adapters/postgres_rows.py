"""How records lie in PostgreSQL's tables: written in few messages, found along indexes, read in bulk as bytes."""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from pg8000.native import literal

from sterling.core.evidence import Query, Record, labels
from sterling.core.labels import kind_word, subject_word

LAST = 2**63 - 1
_BATCH_RECORDS, _BATCH_BYTES = 2000, 4 << 20
_LARGEST_PAGE, _PAGE_BYTES = 4096, 4 << 20
_LONGEST_KEY = 300  # characters; an index holds keys of up to 2,700 bytes
_HASHED = r"\h"
_RECORD = "SELECT position, previous, digest, content FROM sterling.entry"
_LINK = "SELECT position, digest FROM sterling.entry"
_PLACE = "SELECT position FROM sterling"
_SPAN = "chain = :chain AND position > :after AND position <= :until"
_INSERT = """
WITH entries AS (
    INSERT INTO sterling.entry (chain, position, kind, previous, digest, content)
    SELECT {chain}, position, convert_from(kind, 'UTF8'), previous, digest, content
    FROM unnest({positions}::bigint[], {kinds}::bytea[], {previous}::bytea[], {digests}::bytea[], {contents}::bytea[])
        AS t (position, kind, previous, digest, content)
), subjects AS (
    INSERT INTO sterling.subject (chain, subject, position)
    SELECT {chain}, convert_from(subject, 'UTF8'), position
    FROM unnest({subjects}::bytea[], {places}::bigint[]) AS t (subject, position)
)
SELECT pg_notify('sterling', {news}); {end}
"""

Ask = Callable[..., list[list[Any]]]
Copied = Callable[[str], list[list[bytes]]]


def stored(text: str) -> str:
    r"""A kind or a subject as it stands in its column: itself, unless a column or an index cannot hold it.

    Example:
        >>> stored("model.trained"), stored("a\0b"), stored("a\\0b"), len(stored("x" * 5000))
        ('model.trained', 'a\\0b', 'a\\\\0b', 66)
    """
    if len(text) > _LONGEST_KEY:
        return rf"{_HASHED}{hashlib.sha256(text.encode()).hexdigest()}"
    if "\\" in text or "\0" in text:
        return text.replace("\\", "\\\\").replace("\0", "\\0")
    return text


def insertions(chain: int, name: str, records: Sequence[Record], *, end: str = "COMMIT") -> Iterator[str]:
    """Statements that insert records and tell followers, the last of which commits, or does what `end` says.

    All that comes from outside stands in them as hexadecimal digits.
    """
    batches = list(_batches(records))
    for batch in batches:
        told = [labels(record.content) for record in batch]
        pairs = sorted({
            (stored(subject), record.position)
            for record, (_, subjects) in zip(batch, told, strict=True) for subject in subjects
        })  # fmt: skip
        yield _INSERT.format(
            chain=chain, news=literal(f"{name} {records[-1].position}"), end=end if batch is batches[-1] else "",
            positions=_integers(record.position for record in batch), kinds=_bytes(stored(kind).encode() for kind, _ in told),
            previous=_bytes(record.previous for record in batch), digests=_bytes(record.digest for record in batch),
            contents=_bytes(record.content for record in batch),
            subjects=_bytes(subject.encode() for subject, _ in pairs), places=_integers(place for _, place in pairs),
        )  # fmt: skip


def head_sql(chain: int) -> str:
    """The query for a chain's last position and digest."""
    return f"{_LINK} WHERE chain = {chain:d} ORDER BY position DESC LIMIT 1"


def is_recorded(ask: Ask, chain: int, record: Record) -> bool:
    """Whether a record stands where it says."""
    sql = "SELECT digest FROM sterling.entry WHERE chain = :chain AND position = :position"
    return ask(sql, chain=chain, position=record.position) == [[record.digest]]


def page(ask: Ask, chain: int, query: Query, span: tuple[int, int], size: int, *, newest_first: bool) -> list[Record]:
    """Some of the records behind the first and up to the second position that match a query."""
    order = "DESC" if newest_first else "ASC"
    values: dict[str, Any] = {"chain": chain, "after": span[0], "until": span[1], "size": size}
    if not query.kinds and not query.subjects:
        sql = f"{_RECORD} WHERE {_SPAN} ORDER BY position {order} LIMIT :size"
    else:
        sql = _along_an_index(query, order, values)
    return [Record(*row) for row in ask(sql, **values)]


def records_between(copied: Copied, chain: int, span: tuple[int, int], size: int) -> list[Record]:
    """Some of the records behind the first and up to the second position."""
    rows = copied(
        f"{_RECORD} WHERE chain = {chain:d} AND position > {span[0]:d} AND position <= {span[1]:d} "
        f"ORDER BY position LIMIT {size:d}"
    )
    return [Record(_integer(position), previous, digest, content) for position, previous, digest, content in rows]


def next_size(size: int, found: Sequence[Record]) -> int:
    """How many records the next page may have: ever more, but no more than fit into memory with ease."""
    told = sum(len(record.content) for record in found)
    return max(1, min(8 * size, _LARGEST_PAGE, _PAGE_BYTES * len(found) // max(told, 1)))


def index(copied: Copied, chain: int, span: tuple[int, int]) -> Iterator[tuple[str, array[int]]]:
    """By word, the positions that queries find behind the first and up to the second position."""
    for column, spell in {"kind": kind_word, "subject": subject_word}.items():
        for key, positions in _places(copied, chain, span, column):
            text = _plain(key) if not key.startswith(_HASHED) else _hashed(copied, chain, column, key, positions[0])
            yield spell(text), positions


def _places(copied: Copied, chain: int, span: tuple[int, int], column: str) -> Iterator[tuple[str, array[int]]]:
    beyond = ""
    while True:
        rows = copied(_PLACES[column].format(chain=chain, after=span[0], until=span[1], beyond=beyond))
        for key, packed in rows:
            positions = array("q", packed)
            if sys.byteorder == "little":
                positions.byteswap()
            yield key.decode(), positions
        if len(rows) < _LARGEST_PAGE:
            return
        beyond = rf"AND {column} > convert_from('\x{rows[-1][0].hex()}', 'UTF8')"


def _hashed(copied: Copied, chain: int, column: str, key: str, position: int) -> str:
    """The text behind a hash, as the first record that is found by it says it."""
    for record in records_between(copied, chain, (position - 1, position), 1):
        with suppress(ValueError, TypeError):
            kind, subjects = labels(record.content)
            said = (kind,) if column == "kind" else subjects
            return next((text for text in said if stored(text) == key), key)
    return key


def _plain(key: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\0" if found[1] == "0" else found[1], key) if "\\" in key else key


def _along_an_index(query: Query, order: str, values: dict[str, Any]) -> str:
    """Positions first, each leg in the order of an index; subqueries that give one value keep the planner from joining."""
    kinds, subjects = dict.fromkeys(query.kinds), dict.fromkeys(query.subjects)
    values |= {f"subject_{n}": stored(subject) for n, subject in enumerate(subjects)}
    values |= {f"kind_{n}": stored(kind) for n, kind in enumerate(kinds)}
    names = [f":kind_{n}" for n in range(len(kinds))]
    if subjects:
        also = "".join(_ALSO_SUBJECT.format(n=n) for n in range(1, len(subjects)))
        also += _ALSO_KIND.format(names=", ".join(names)) if names else ""
        legs = [f"{_PLACE}.subject s WHERE {_SPAN} AND subject = :subject_0{also}"]
    else:
        legs = [f"{_PLACE}.entry WHERE {_SPAN} AND kind = {name}" for name in names]
    each = " UNION ALL ".join(f"({leg} ORDER BY position {order} LIMIT :size)" for leg in legs)
    return _FOUND.format(legs=each, order=order)


_PLACES = {
    column: f"""
SELECT {column}, string_agg(int8send(position), '' ORDER BY position) FROM sterling.{table}
WHERE chain = {{chain:d}} AND position > {{after:d}} AND position <= {{until:d}} {{beyond}}
GROUP BY {column} ORDER BY {column} LIMIT {_LARGEST_PAGE}
"""  # noqa: S608  names of our own tables and columns
    for column, table in {"kind": "entry", "subject": "subject"}.items()
}
_ALSO_SUBJECT = """
AND (SELECT true FROM sterling.subject o WHERE o.chain = :chain AND o.subject = :subject_{n} AND o.position = s.position)
"""
_ALSO_KIND = """
AND (SELECT kind FROM sterling.entry k WHERE k.chain = :chain AND k.position = s.position) IN ({names})
"""
_FOUND = """
SELECT e.position, e.previous, e.digest, e.content
FROM (SELECT position FROM ({legs}) leg ORDER BY position {order} LIMIT :size) found
CROSS JOIN LATERAL (
    SELECT position, previous, digest, content FROM sterling.entry WHERE chain = :chain AND position = found.position
) e
ORDER BY e.position {order}
"""


def _batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    batch, size = list[Record](), 0
    for record in records:
        if batch and (len(batch) == _BATCH_RECORDS or size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.content)
    if batch:
        yield batch


def _bytes(values: Iterable[bytes]) -> str:
    elements = ",".join([rf'"\\x{value.hex()}"' for value in values])
    return f"'{{{elements}}}'"


def _integers(values: Iterable[int]) -> str:
    return f"'{{{','.join(map(str, values))}}}'"


def _integer(column: bytes) -> int:
    return int.from_bytes(column, signed=True)
