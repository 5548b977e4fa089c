"""What records are found by, and whether queries find them by what they say."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from sterling.core.evidence import Record, labels
from sterling.core.ledger import Broken

_LABELS_KEPT = 65_536


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


class Told:
    """What the records of a chain say that they are found by, gathered while the chain is walked."""

    def __init__(self) -> None:
        self._places: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        self._known: dict[bytes, Sequence[Callable[[int], None]]] = {}
        self._unreadable: Broken | None = None

    def note(self, record: Record) -> None:
        """Take a record in, without reading its body.

        In RFC 8785 what a record is found by stands behind the body, where no text can hold the bare quotes of
        ``,"kind":``.
        """
        content = record.content
        kind = content.rfind(b',"kind":')
        position = content.find(b',"position":', kind)
        tail = content[kind:position] + content[content.find(b',"subjects":', position) :]
        for append in self._known.get(tail) or self._learn(tail, record):
            append(record.position)

    def fault(self, found: Iterable[tuple[str, Sequence[int]]]) -> Broken | None:
        """The first record that queries find by what it does not say, or do not find by what it says.

        Args:
            found: By word, the positions that queries find, in order.
        """
        seen = dict(found)
        said = {word: places for word, places in self._places.items() if places}
        if said == seen:
            return self._unreadable
        differ = [word for word in said.keys() | seen.keys() if said.get(word) != seen.get(word)]
        position = min(place for word in differ for place in {*said.get(word, ())} ^ {*seen.get(word, ())})
        if self._unreadable and self._unreadable.position <= position:
            return self._unreadable
        says, finds = (sorted(word for word in index if position in index[word]) for index in (said, seen))
        if not says:
            return Broken(position, f"entry {position} is missing: queries still look for it")
        return Broken(position, f"entry {position} says {_spelt(says)}, but queries find it under {_spelt(finds)}")

    def _learn(self, tail: bytes, record: Record) -> Sequence[Callable[[int], None]]:
        try:
            words = words_of(*labels(record.content))
        except (ValueError, TypeError):
            place = record.position
            self._unreadable = self._unreadable or Broken(
                place, f"entry {place} was changed: it cannot be read any more"
            )
            return ()
        if len(self._known) > _LABELS_KEPT:
            self._known.clear()
        self._known[tail] = tuple(self._places[word].append for word in words)
        return self._known[tail]


def _spelt(words: Iterable[str]) -> str:
    return ", ".join(repr(word[2:]) for word in words) or "nothing"
