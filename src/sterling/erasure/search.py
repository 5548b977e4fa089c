"""The last look for a person who was erased: through every blob, every other file of the workspace, and the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from sterling.core.ledger import chained
from sterling.core.parts import with_parts
from sterling.core.refs import Ref, note_refs, short
from sterling.engine.duckdb import DuckDBEngine
from sterling.engine.tables import is_parquet, read_parquet
from sterling.erasure.find import Opened
from sterling.erasure.report import Place, Searched
from sterling.erasure.texts import times_in, times_in_file
from sterling.stages.person import Person


def search(opened: Opened, person: Person, raw: Mapping[Ref, str]) -> tuple[Searched, tuple[Place, ...]]:
    """Look for a person everywhere, whatever is known of what was made from what.

    Args:
        opened: The project.
        person: Whom to look for.
        raw: The raw files among the blobs that can be read as tables, by their locators.

    Returns:
        What was gone through, and where they are still found.
    """
    look, others = _Look(person), _others(opened)
    for ref in sorted(opened.held):
        owner = f" of the project {others[ref]}" if ref in others else ""
        look.at_blob(f"blob {short(ref)}{owner}", opened.store.open(ref), raw.get(ref))
    for name, path in other_files(opened):
        look.at_file(name, path)
    for record in chained(opened.ledger).records():
        look.at_entry(record.position, record.content)
    return Searched(look.blobs, look.tables, look.rows, look.files, look.entries), tuple(look.found)


def files_with(opened: Opened, person: Person) -> Iterator[str]:
    """The files of the workspace, besides ledger, store and keys, that name a person."""
    for name, path in other_files(opened):
        look = _Look(person)
        look.at_file(name, path)
        if look.found:
            yield name


def _others(opened: Opened) -> dict[Ref, str]:
    """Blobs that other projects of the same ledger need, and which: their chains say what became of them."""
    ours, found = chained(opened.ledger).chain.id, dict[Ref, str]()
    for chain in map(chained, opened.workspace.every_chain()):
        if chain.chain.id != ours:
            cited = dict[bytes, int]()
            for record in chain.records():
                note_refs(record.content, record.position, cited)
            named = with_parts(opened.store, (Ref(ref.decode()) for ref in cited))
            found |= dict.fromkeys(named, chain.chain.project)
    return found


def other_files(opened: Opened) -> Iterator[tuple[str, Path]]:
    """The files of the workspace that are neither ledger nor store, by their names in it."""
    workspace = opened.workspace
    ours = {workspace.lock, workspace.key_file().path}
    for path in sorted(workspace.home.rglob("*")):
        if path.is_file() and path not in ours and not workspace.is_stored(path):
            yield str(path.relative_to(workspace.home)), path


class _Look:
    def __init__(self, person: Person) -> None:
        self._person = person
        self.found: list[Place] = []
        self.blobs = self.tables = self.rows = self.files = self.entries = 0

    def at_blob(self, what: str, path: Path, locator: str | None) -> None:
        self.blobs += 1
        if locator is not None:
            self._at_table(what, DuckDBEngine().read(path, locator.rpartition("/")[2]))
        elif is_parquet(path):
            self._at_table(what, read_parquet(path))
        else:
            self._add(what, times_in_file(self._person, path))

    def at_file(self, name: str, path: Path) -> None:
        self.files += 1
        if is_parquet(path):
            self._at_table(name, read_parquet(path))
        else:
            self._add(name, times_in_file(self._person, path))

    def at_entry(self, position: int, content: bytes) -> None:
        self.entries += 1
        self._add(f"entry {position}, which is never changed", times_in(self._person, content))

    def _at_table(self, what: str, table: pa.Table) -> None:
        self.tables += 1
        self.rows += table.num_rows
        named = self._person.names_columns(table.schema.names)
        theirs, _ = self._person.rows({name: table.column(name) for name in named}, table.num_rows)
        self._add(f"{what}, column {' or '.join(named)}", int(theirs.sum()))
        for name in set(table.schema.names) - set(named):
            self._add(f"{what}, column {name}", int(self._person.mentioned(table.column(name)).sum()))

    def _add(self, where: str, times: int) -> None:
        if times:
            self.found.append(Place(where, times))
