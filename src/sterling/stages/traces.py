"""Traces: which rows of which tables are one person's, by what was made from what.

A row is theirs where a column names them, or an event that is theirs. From there on tables are followed by how stages
make one from the other: a snapshot carries rows of its table over, a clean table those of its snapshot; a moment of
the spine stands on a row; features and the frame have a row for each moment; predictions name their moment.
"""

# ruff: noqa: S608  names are quoted

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.engine.contract import Engine
from sterling.engine.tables import StoredTable, is_table
from sterling.features.availability import EVENT_ID
from sterling.project.sql import quoted
from sterling.stages.cleaning import Cleaning, places_moved
from sterling.stages.ids import Ids, Made, place_of, raw_place
from sterling.stages.person import Mask, Person
from sterling.stages.snapshot import RAW

_BY_COLUMNS = frozenset({"table", "snapshot", "clean", "quarantine"})
_ROW = "_sterling_row"


class Traces:
    """A person's rows in every table that steps made or read.

    The names of their events are learnt on the way.

    Args:
        person: Whom to look for.
        steps: Steps on record, each after those that made what it read.
        store: Where the tables lie.
        held: What the store holds; everything else is passed over.
        engine: Where raw files are read.

    Attributes:
        rows: For each table, which of its rows are theirs.
        names: What each blob is, for people.
        raw: The raw files that are held, by their locators.
        outside: The raw files that are not, from which rows of theirs were read, as far as that can be told.
        unreadable: Those of them that are no tables.
        stands_on: For each spine the table that its rows stand on, and that they follow when it loses rows.
        unclear: Tables whose rows cannot be told apart, or that two spines divide differently.
    """

    def __init__(
        self, person: Person, steps: Sequence[Made], store: Store, held: Collection[Ref], engine: Engine
    ) -> None:
        self.rows: dict[Ref, Mask] = {}
        self.names: dict[Ref, str] = {}
        self.raw: dict[Ref, str] = {}
        self.outside: dict[Ref, str] = {}
        self.unreadable: set[Ref] = set()
        self.stands_on: dict[Ref, Ref] = {}
        self.unclear: set[Ref] = set()
        self.ids = Ids(steps)
        self._person, self._steps, self._store, self._held, self._engine = person, steps, store, held, engine
        self._keys: dict[Ref, _Keys] = {}
        for step in steps:
            self._name(step)
        while self._look_at_columns(steps):
            pass
        for step in steps:
            self._follow_places(step)
            self._note_outside(step)

    @property
    def known(self) -> bool:
        """Whether anything is theirs."""
        return any(theirs.any() for theirs in self.rows.values())

    def entities(self) -> Iterator[tuple[str, set[str]]]:
        """Columns that name entities, with the names that stand in no row but theirs: they may be theirs as well."""
        for step in self._steps:
            source, ref = step.parameters.get("source"), step.outputs.get("snapshot")
            if isinstance(source, Mapping) and source.get("type") == "EntitySource" and ref in self.rows:
                theirs, table = pa.array(self.rows[ref]), StoredTable(self._store, ref)
                for column in set(source["entities"]) - set(self._person.names_columns(table.names)):
                    cells = table.column(column).cast(pa.string())
                    others = pc.unique(cells.filter(pc.invert(theirs))).to_pylist()
                    names = set(pc.unique(cells.filter(theirs)).to_pylist()) - {None, *others}
                    yield from [(column, names)] if names else []

    def is_table(self, ref: Ref) -> bool:
        """Whether a blob that is held is a table, or a raw file that can be read as one."""
        if ref in self.raw:
            return ref not in self.unreadable
        return is_table(self._store.open(ref))

    def segments(self, ref: Ref) -> Iterator[pa.Table]:
        """A table piece by piece; a raw file is one."""
        table = self._opened(ref)
        assert table is not None
        yield from table.segments() if isinstance(table, StoredTable) else [table]

    def cleaning(self, ref: Ref) -> Cleaning:
        """What a table loses."""
        theirs = self.rows.get(ref)
        if theirs is None:  # cited, and neither read nor made by a step on record
            table = self._opened(ref)
            assert table is not None
            theirs = self._theirs(self._keys_in("", table))
        below = self.rows[self.stands_on[ref]] if ref in self.stands_on else theirs[:0]
        return Cleaning(self._person, theirs, places_moved(below) if below.any() else None)

    def cleaning_of(self, place: str, table: pa.Table) -> tuple[Cleaning, list[str]]:
        """What a table that no step made would lose, and the columns that say so.

        Args:
            place: What the table is, as `sterling.stages.ids` says.
            table: The table.
        """
        keys = self._keys_in(place, table)
        found = [name for name in keys.cells if self._theirs(keys.of(name)).any()]
        return Cleaning(self._person, self._theirs(keys)), found

    def _theirs(self, keys: _Keys) -> Mask:
        theirs, others = self._person.rows(keys.cells, keys.size)
        for name, domain in keys.ids.items():
            theirs |= self.ids.having(domain, keys.cells[name]) & ~others
        return theirs

    def _name(self, step: Made) -> None:
        for name, ref in step.inputs.items():
            if name.startswith(RAW) and ref in self._held:
                self.raw.setdefault(ref, name.removeprefix(RAW))
                self.names.setdefault(ref, f"raw file {name.removeprefix(RAW)}")
        for name, ref in step.outputs.items():
            self.names.setdefault(ref, step.title if len(step.outputs) == 1 else f"{step.title}: {name}")

    def _look_at_columns(self, steps: Sequence[Made]) -> bool:
        """Look at every table that may name them or their events; whether the name of an event was new."""
        for ref, locator in self.raw.items():
            if (keys := self._keys_of(ref, raw_place(locator))) is not None:
                self._add(ref, self._theirs(keys))
        learnt = False
        for step in steps:
            for name, ref in step.outputs.items():
                if name in _BY_COLUMNS and (keys := self._keys_of(ref, place_of(step))) is not None:
                    self._add(ref, self._theirs(keys) | self._carried_over(step, name, ref))
                    learnt |= self._learn(step, ref, keys)
        return learnt

    def _keys_of(self, ref: Ref, place: str) -> _Keys | None:
        """The columns of a table that may say whose a row is; None where the store does not hold it."""
        if ref not in self._keys:
            if ref not in self._held or (table := self._opened(ref)) is None:
                return None
            self._keys[ref] = self._keys_in(place, table)
        return self._keys[ref]

    def _keys_in(self, place: str, table: pa.Table | StoredTable) -> _Keys:
        ids = self.ids.columns(place, table.schema.names)
        names = [*dict.fromkeys([*self._person.names_columns(table.schema.names), *ids])]
        return _Keys(table.num_rows, {name: table.column(name) for name in names}, ids)

    def _opened(self, ref: Ref) -> pa.Table | StoredTable | None:
        path = self._store.open(ref)
        if ref not in self.raw:
            return StoredTable(self._store, ref) if is_table(path) else None
        if ref in self.unreadable:
            return None
        try:
            return self._engine.read(path, self.raw[ref].rpartition("/")[2])
        except DataError:
            self.unreadable.add(ref)
            return None

    def _add(self, ref: Ref, theirs: Mask) -> None:
        self.rows[ref] = self.rows.get(ref, np.zeros(len(theirs), bool)) | theirs

    def _learn(self, step: Made, ref: Ref, keys: _Keys) -> bool:
        """Take the names of their events in a table of events for names of theirs wherever these stand."""
        if (found := self.ids.own(step)) is None or not self.rows[ref].any():
            return False
        column, domain = found
        texts = keys.cells[column].filter(pa.array(self.rows[ref])).cast(pa.string())
        names = {text for text in pc.unique(texts).to_pylist() if text is not None}
        self._person.ids |= names
        return self.ids.learn(domain, names)

    def _carried_over(self, step: Made, name: str, ref: Ref) -> Mask:
        """The rows that were carried over from rows that are theirs, into a table that may not say so itself."""
        match name:
            case "snapshot":
                found = self._carried_from_tables(step, ref)
            case "clean" | "quarantine":
                found = self._carried_from_snapshot(step.inputs["snapshot"], ref)
            case _:
                found = None
        return np.zeros(self._keys[ref].size, bool) if found is None else found

    def _carried_from_tables(self, step: Made, ref: Ref) -> Mask | None:
        sources = [source for source in step.inputs.values() if self.rows.get(source, np.zeros(0, bool)).any()]
        held = StoredTable(self._store, ref)
        if all(set(self._keys[source].cells) <= set(self._keys[ref].cells) for source in sources):
            return None  # it has every column by which they were found there, and was looked at itself
        parts = []
        for source in sources:
            table = self._opened(source)
            assert table is not None
            kept = [column for column in held.names if column in table.schema.names]
            parts.append(table.select(kept).filter(pa.array(self.rows[source])))
        return self._matching(held, pa.concat_tables(parts, promote_options="permissive")) if parts else None

    def _carried_from_snapshot(self, snapshot: Ref, ref: Ref) -> Mask | None:
        theirs = self.rows.get(snapshot)
        if theirs is None or not theirs.any() or snapshot == ref:
            return None
        names = StoredTable(self._store, snapshot).select([EVENT_ID])
        return self._matching(StoredTable(self._store, ref), names.filter(pa.array(theirs)))

    def _matching(self, held: StoredTable, wanted: pa.Table) -> Mask:
        """The rows of a table that are as some rows, one for each of these, the first ones where there are more."""
        columns = wanted.schema.names
        table = held.select(columns)
        cast = pa.table({name: wanted.column(name).cast(table.schema.field(name).type, safe=False) for name in columns})
        keys = ", ".join(map(quoted, columns))
        same = " AND ".join(f"held.{quoted(name)} IS NOT DISTINCT FROM wanted.{quoted(name)}" for name in columns)
        rows = self._engine.query(
            f"WITH wanted AS (SELECT {keys}, count(*) AS n FROM given GROUP BY ALL), matched AS (SELECT held.{_ROW}, n, "
            f"row_number() OVER (PARTITION BY {', '.join(f'held.{quoted(name)}' for name in columns)} "
            f"ORDER BY held.{_ROW}) AS k FROM held JOIN wanted ON {same}) SELECT {_ROW} FROM matched WHERE k <= n",
            {"held": table.append_column(_ROW, pa.array(np.arange(held.num_rows))), "given": cast},
        )
        theirs = np.zeros(held.num_rows, bool)
        theirs[rows.column(_ROW).to_numpy()] = True
        return theirs

    def _follow_places(self, step: Made) -> None:
        for name, ref in step.outputs.items():
            if name in _BY_COLUMNS or ref not in self._held or not is_table(self._store.open(ref)):
                continue
            if name == "spine":
                self._settle(ref, self._standing(step, ref))
            elif name in {"features", "leaks", "frame"}:
                self._settle(ref, self._aligned(step, ref))
            else:
                self._add(ref, self._scored(step, ref))

    def _note_outside(self, step: Made) -> None:
        if any(ref in self.rows and self.rows[ref].any() for ref in step.outputs.values()):
            raw = {ref: name.removeprefix(RAW) for name, ref in step.inputs.items() if name.startswith(RAW)}
            self.outside |= {ref: locator for ref, locator in raw.items() if ref not in self._held}

    def _settle(self, ref: Ref, theirs: Mask | None) -> None:
        """Take what one lineage says of a table; two that say otherwise make it unclear."""
        before = self.rows.get(ref)
        if theirs is None or (before is not None and not np.array_equal(before, theirs)):
            self.unclear.add(ref)
        else:
            self.rows[ref] = theirs

    def _standing(self, step: Made, ref: Ref) -> Mask | None:
        """The moments that stand on rows that are theirs."""
        table = step.inputs.get(f"clean:{step.parameters['spine']['source']['name']}")
        if table is None or (theirs := self.rows.get(table)) is None:
            return None
        if ref in self.stands_on and not np.array_equal(self.rows[self.stands_on[ref]], theirs):
            return None
        self.stands_on[ref] = table
        found: Mask = theirs[StoredTable(self._store, ref).column("row").to_numpy()]
        return found

    def _aligned(self, step: Made, ref: Ref) -> Mask | None:
        """The rows beside moments that are theirs."""
        size = StoredTable(self._store, ref).num_rows
        for name, source in step.inputs.items():
            if name == "spine" or name.startswith("features:"):
                theirs = self.rows.get(source)
                if theirs is not None and source not in self.unclear and len(theirs) == size:
                    return theirs
        return None

    def _scored(self, step: Made, ref: Ref) -> Mask:
        """The rows that name a moment of theirs, or name them in another way."""
        table, frame = StoredTable(self._store, ref), step.inputs.get("frame", step.inputs.get("holdout"))
        theirs = self._theirs(self._keys_in(place_of(step), table))
        if frame in self.rows and "unit" in table.names:
            assert frame is not None
            units = StoredTable(self._store, frame).column("unit").filter(pa.array(self.rows[frame]))
            theirs |= pc.is_in(table.column("unit"), units.combine_chunks()).to_numpy()
        return theirs


class _Keys(NamedTuple):
    """Columns of a table that may say whose a row is.

    Attributes:
        size: Rows of the table.
        cells: The columns.
        ids: Those of them that name events, with what they name.
    """

    size: int
    cells: Mapping[str, pa.ChunkedArray]
    ids: Mapping[str, str]

    def of(self, name: str) -> _Keys:
        """One of the columns alone."""
        return _Keys(self.size, {name: self.cells[name]}, {n: d for n, d in self.ids.items() if n == name})
