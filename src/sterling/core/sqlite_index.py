"""How a SQLite ledger finds records by kind and subject."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence

_WORDS_KEPT = 100_000
_LABEL = "SELECT record FROM label l WHERE word = ? AND record > ? AND record <= ?"
_ALSO = " AND EXISTS (SELECT 1 FROM label o WHERE o.word IN ({}) AND o.record = l.record)"
_FOUND = "SELECT word, group_concat(record - ?1) FROM label WHERE record > ?1 AND record <= ?2 GROUP BY word"


class Words:
    """The numbers of words; those that are known to be committed are remembered with the connection."""

    def __init__(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._known: dict[str, int] = {}

    def find(self, db: sqlite3.Connection, words: Iterable[str]) -> list[int]:
        """The numbers of those words that are there, outside of a transaction that makes some."""
        found = {word: number for word in words if (number := self._number(db, word))}
        self.keep(db, found)
        return list(found.values())

    def make(self, db: sqlite3.Connection, words: Iterable[str]) -> dict[str, int]:
        """The numbers of words, given where they have none; to be kept once the transaction is committed."""
        return {word: self._number(db, word) or _made(db, word) for word in words}

    def keep(self, db: sqlite3.Connection, numbers: dict[str, int]) -> None:
        """Remember numbers that are committed."""
        if self._db is not db or len(self._known) > _WORDS_KEPT:
            self._db, self._known = db, {}
        self._known.update(numbers)

    def _number(self, db: sqlite3.Connection, word: str) -> int | None:
        if self._db is db and (known := self._known.get(word)):
            return known
        row = db.execute("SELECT number FROM word WHERE text = ?", (word,)).fetchone()
        return row[0] if row else None


def _made(db: sqlite3.Connection, word: str) -> int:
    number = db.execute("INSERT INTO word (text) VALUES (?)", (word,)).lastrowid
    assert number is not None
    return number


def select(
    kinds: Sequence[int], subjects: Sequence[int], span: tuple[int, int], size: int, *, newest_first: bool
) -> tuple[str, list[int]]:
    """One page of matching records, along the rows of the first subject, else of the kinds."""
    order = "DESC" if newest_first else "ASC"
    columns = "SELECT r.id - ?, r.previous, r.digest, r.content"
    if not kinds and not subjects:
        return f"{columns} FROM record r WHERE r.id > ? AND r.id <= ? ORDER BY r.id {order} LIMIT ?", [*span, size]
    also = [[word] for word in subjects[1:]] + ([list(kinds)] if subjects and kinds else [])
    leg = _LABEL + "".join(_ALSO.format(", ".join("?" * len(any_of))) for any_of in also)
    lead = subjects[:1] or kinds
    found = f"{' UNION ALL '.join([leg] * len(lead))} ORDER BY record {order} LIMIT ?"
    values = [value for word in lead for value in (word, *span, *(number for any_of in also for number in any_of))]
    return f"{columns} FROM record r WHERE r.id IN ({found}) ORDER BY r.id {order}", [*values, size]


def found_in(db: sqlite3.Connection, first: int, last: int) -> Iterator[tuple[str, array[int]]]:
    """By word, the positions that queries find in a range of records.

    A word is looked up by its index, since queries are.
    """
    words = {number: text for text, number in db.execute("SELECT text, number FROM word INDEXED BY word_by_text")}
    for word, places in db.execute(_FOUND, (first, last)):
        yield words.get(word, f"?:{word}"), array("q", sorted(map(int, places.split(","))))
