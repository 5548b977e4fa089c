"""Names of events: which columns of which tables name the same events, and which of them are a person's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sterling.core.refs import Ref
from sterling.stages.person import Mask, having
from sterling.stages.snapshot import RAW

_ANYTHINGS = frozenset({"id", "_id", "uid", "uuid", "guid", "key", "pk", "index", "no", "nr", "number", "event", "event_id",
                        "eventid", "row", "row_id", "rowid"})  # fmt: skip
"""Column names that say nothing of what they name: in two tables they name different things."""


@dataclass(frozen=True, slots=True)
class Made:
    """A step that is on record: what it made from what.

    Attributes:
        title: The step as people read it.
        parameters: Its parameters as JSON.
        inputs: What it read, by the names that it knows them by.
        outputs: What it made, by name.
    """

    title: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Ref]
    outputs: Mapping[str, Ref]


def raw_place(locator: str) -> str:
    """What a raw file is, among the tables that may name events."""
    return f"{RAW}{locator}"


def place_of(step: Made) -> str:
    """What a step's tables are, among the tables that may name events."""
    source = step.parameters.get("source")
    if isinstance(source, Mapping):
        return f"source:{source['name']}"
    return f"table:{step.outputs['table']}" if "table" in step.outputs else f"step:{step.title}"


class Ids:
    """The events that sources name, each kind of them under a name of its own (a domain).

    Two sources name the same events where they read the same table by the same column, where one is the spine's and the
    other its label's, and where their columns have the same name, unless that could name anything, as ``id`` does.

    Args:
        steps: Steps on record.
    """

    def __init__(self, steps: Sequence[Made]) -> None:
        self._domain: dict[tuple[str, str], str] = {}
        self._values: dict[str, set[str]] = {}
        for step in steps:
            self._enter(step)

    def own(self, step: Made) -> tuple[str, str] | None:
        """The column of a step's tables that names their own events, and what they are; None where there is none."""
        if (column := _event_id(step.parameters.get("source"))) is None:
            return None
        return column, self._domain[place_of(step), column.casefold()]

    def columns(self, place: str, names: Collection[str]) -> dict[str, str]:
        """The columns of a table that name events, and what they name."""
        known = {name: ((place, name.casefold()), ("", name.casefold())) for name in names}
        found = {name: self._domain.get(here) or self._domain.get(anywhere) for name, (here, anywhere) in known.items()}
        return {name: domain for name, domain in found.items() if domain}

    def learn(self, domain: str, names: Collection[str]) -> bool:
        """Take events for the person's; whether any of them is new."""
        known = self._values.setdefault(domain, set())
        before = len(known)
        known.update(names)
        return len(known) > before

    def having(self, domain: str, cells: pa.ChunkedArray) -> Mask:
        """The cells that name an event of the person's."""
        return having(cells, self._values.get(domain, ()))

    def _enter(self, step: Made) -> None:
        column = _event_id(step.parameters.get("source"))
        if column is not None:
            places = [place_of(step), *_tables(step)] + ([] if column.casefold() in _ANYTHINGS else [""])
            self._unite([(place, column) for place in places])
        spine, label = step.parameters.get("spine"), step.parameters.get("label")
        if isinstance(spine, Mapping) and isinstance(label, Mapping) and label.get("type") == "Label":
            sources = [spine["source"], label["source"]]
            columns = [_event_id(source) for source in sources]
            self._unite([(f"source:{s['name']}", c) for s, c in zip(sources, columns, strict=True) if c is not None])

    def _unite(self, keys: Sequence[tuple[str, str]]) -> None:
        """Let columns of tables name the same events, with all that named the same as one of them before."""
        keys = [(place, column.casefold()) for place, column in keys]
        old = {self._domain[key] for key in keys if key in self._domain}
        domain = min(old, default="/".join(keys[0]))
        self._domain |= {key: domain for key, known in self._domain.items() if known in old}
        self._domain |= dict.fromkeys(keys, domain)


def _event_id(source: Any) -> str | None:
    found: str | None = source.get("event_id") if isinstance(source, Mapping) else None
    return found


def _tables(step: Made) -> Iterator[str]:
    """What a snapshot was read from."""
    for name, ref in step.inputs.items():
        if name.startswith(RAW):
            yield name
        elif name == "table":
            yield f"table:{ref}"
