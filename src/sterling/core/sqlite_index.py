"""How a SQLite ledger finds records by kind and subject."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence

from sterling.core.labels import words_of

_LABELS_KEPT = 50_000
_LABEL = "SELECT record FROM label l WHERE word = ? AND record > ? AND record <= ?"
_ALSO = " AND EXISTS (SELECT 1 FROM label o WHERE o.word IN ({}) AND o.record = l.record)"
_FOUND = "SELECT word, group_concat(record - ?1) FROM label WHERE record > ?2 AND record <= ?3 GROUP BY word"


Labels = tuple[str, tuple[str, ...]]  # a kind and its subjects


class Words:
    """The numbers of what records are found by; those that are known to be committed are kept with the connection."""

    def __init__(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._known: dict[Labels, list[int]] = {}

    def numbers(self, db: sqlite3.Connection, labels: Iterable[Labels]) -> dict[Labels, list[int]]:
        """The numbers of each kind with its subjects, given where they have none.

        Returns:
            What was not known; to be kept once the transaction is committed.
        """
        known = self._known if self._db is db else {}
        new = {one for one in labels if one not in known}
        words = {word: None for one in new for word in words_of(*one)}
        numbers = {word: find_word(db, word) or _made(db, word) for word in words}
        return {one: [numbers[word] for word in words_of(*one)] for one in new}

    def keep(self, db: sqlite3.Connection, numbers: dict[Labels, list[int]]) -> None:
        """Remember numbers that are committed."""
        if self._db is not db or len(self._known) > _LABELS_KEPT:
            self._db, self._known = db, {}
        self._known.update(numbers)

    def rows(
        self, db: sqlite3.Connection, labels: Iterable[Labels], new: dict[Labels, list[int]], first: int
    ) -> Iterator[tuple[int, int]]:
        """A row for each word of each record, whose ids are dense from the first."""
        known = self._known if self._db is db else {}
        for record, one in enumerate(labels, start=first):
            for number in new.get(one) or known[one]:
                yield number, record


def find_word(db: sqlite3.Connection, word: str) -> int | None:
    """The number of a word, if there is one."""
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


def found_in(db: sqlite3.Connection, first: int, span: tuple[int, int]) -> Iterator[tuple[str, array[int]]]:
    """By word, the positions that queries find in a range of records.

    A word is looked up by its index, since queries are.
    """
    words = {number: text for text, number in db.execute("SELECT text, number FROM word INDEXED BY word_by_text")}
    for word, places in db.execute(_FOUND, (first, *span)):
        yield words.get(word, f"?:{word}"), array("q", sorted(map(int, places.split(","))))
