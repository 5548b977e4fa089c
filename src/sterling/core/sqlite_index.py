"""How a SQLite ledger finds records by kind and subject, and how it is checked that it finds what they say."""

from __future__ import annotations

import sqlite3
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from sterling.core.evidence import labels
from sterling.core.ledger import Broken

_WORDS_KEPT = 100_000
_LABEL = "SELECT record FROM label l WHERE word = ? AND record > ? AND record <= ?"
_ALSO = " AND EXISTS (SELECT 1 FROM label o WHERE o.word IN ({}) AND o.record = l.record)"
_SAID = "SELECT id - ?1, CAST(content AS BLOB) FROM record WHERE id > ?1 AND id <= ?2 ORDER BY id"
_FOUND = "SELECT word, record - ?1 FROM label WHERE record > ?1 AND record <= ?2 ORDER BY word, record"


def words_of(kind: str, subjects: Iterable[str]) -> list[str]:
    """What a record of this kind and these subjects is found by.

    Example:
        >>> words_of("model.trained", ["model:7", "model:7"])
        ['k:model.trained', 's:model:7']
    """
    return [kind_word(kind), *map(subject_word, dict.fromkeys(subjects))]


def kind_word(kind: str) -> str:
    """What a kind is called among the words."""
    return f"k:{kind}"


def subject_word(subject: str) -> str:
    """What a subject is called among the words."""
    return f"s:{subject}"


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


def check_index(db: sqlite3.Connection, first: int, last: int) -> Broken | None:
    """Compare what records say, word by word, with what queries find; only where they differ, look for the place."""
    numbers = dict(db.execute("SELECT text, number FROM word INDEXED BY word_by_text"))
    said: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
    cache: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for position, content in db.execute(_SAID, (first, last)):
        try:
            told = labels(content)
        except (ValueError, TypeError):
            return Broken(position, f"entry {position} was changed: it cannot be read any more")
        words = cache.get(told)
        if words is None:
            words = cache[told] = [numbers.get(word) or _unheard(numbers, word) for word in words_of(*told)]
        for word in words:
            said[word].append(position)
    found: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
    for word, position in db.execute(_FOUND, (first, last)):
        found[word].append(position)
    texts = {number: text for text, number in numbers.items()}
    return None if said == found else index_fault(said, found, lambda word: texts.get(word, "?"))


def _unheard(numbers: dict[str, int], word: str) -> int:
    """A number for a word that queries cannot know."""
    numbers[word] = -len(numbers)
    return numbers[word]


W = TypeVar("W", int, str)


def index_fault(
    said: defaultdict[W, array[int]], found: defaultdict[W, array[int]], spell: Callable[[W], str]
) -> Broken:
    """The first position where two indexes differ.

    Args:
        said: By word, the positions of the records that say it.
        found: By word, the positions at which queries find it.
        spell: The text of a word.
    """
    differ = {word for word in said.keys() | found.keys() if said[word] != found[word]}
    position = min(place for word in differ for place in set(said[word]) ^ set(found[word]))
    told, seen = (
        sorted(spell(word) for word, places in index.items() if position in places) for index in (said, found)
    )
    if not told:
        return Broken(position, f"entry {position} is missing: queries still look for it")
    return Broken(position, f"entry {position} says {_spelt(told)}, but queries find it under {_spelt(seen)}")


def _spelt(words: Iterable[str]) -> str:
    return ", ".join(repr(word[2:]) for word in words) or "nothing"
