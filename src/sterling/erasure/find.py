"""Finding one person in everything that a project's entries cite, and in the project's own files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sterling.core.elsewhere import Erasure, WithoutErased, erasures
from sterling.core.errors import ErasedError
from sterling.core.evidence import Entry
from sterling.core.ledger import Ledger
from sterling.core.refs import Ref, refs_in, short
from sterling.core.store import Store
from sterling.core.workspace import Workspace
from sterling.engine.duckdb import DuckDBEngine
from sterling.erasure.report import Also, Holding, InTheWay
from sterling.erasure.texts import times_in_file
from sterling.project.gates import Golden
from sterling.project.load import define, raw_files
from sterling.project.project import Project
from sterling.stages.fingerprints import Fingerprints
from sterling.stages.ids import Made, raw_place
from sterling.stages.person import Person
from sterling.stages.raw import files_of
from sterling.stages.traces import Traces
from sterling.views.registry import live


@dataclass(frozen=True)
class Opened:
    """A project with its workspace at hand, as it is at one moment.

    Attributes:
        project: The project.
        workspace: Its workspace.
        ledger: Its chain.
        store: Its store, with what was erased and is not deleted yet.
        entries: The entries of the chain.
    """

    project: Project
    workspace: Workspace
    ledger: Ledger
    store: Store
    entries: tuple[Entry, ...]

    @classmethod
    def at(cls, project: Project, workspace: Workspace) -> Opened:
        """The project as it is now."""
        ledger = workspace.ledger(project.name)
        return cls(project, workspace, ledger, workspace.store(), tuple(ledger.read()))

    @cached_property
    def erased(self) -> dict[Ref, Erasure]:
        """What was erased before."""
        return erasures(self.entries)

    def trace(self, person: Person) -> Traces:
        """Follow every step on record, each after what it read, by the names that its tables have now."""
        bodies = [entry.body for entry in self.entries if entry.kind == "stage.completed"]
        steps = [
            Made(b["title"], b["identity"]["parameters"], self._now(b["identity"]["inputs"]), self._now(b["outputs"]))
            for b in bodies
        ]
        return Traces(person, steps, self.store, self.held, DuckDBEngine())

    @cached_property
    def held(self) -> frozenset[Ref]:
        """What the store holds."""
        return frozenset(self.store.list())

    @cached_property
    def tables(self) -> tuple[tuple[str, Path], ...]:
        """The raw files that the project's tables are read from now, by their locators."""
        return tuple(file for named in raw_files(self.project) for file in files_of(named, self.workspace.folder))

    def cited(self) -> list[Ref]:
        """The blobs that entries cite and the store holds, each once, in the order of the entries; not what was erased."""
        named = dict.fromkeys(Ref(ref) for entry in self.entries for ref in refs_in(entry.body))
        return [ref for ref in named if ref not in self.erased and ref in self.held]

    def _now(self, refs: Mapping[str, str]) -> dict[str, Ref]:
        store, found = WithoutErased(self.store, self.erased), dict[str, Ref]()
        for name, ref in refs.items():
            try:
                found[name] = store.now(Ref(ref))
            except ErasedError:
                found[name] = Ref(ref)  # it is not held, and so passed over
        return found


def holdings(opened: Opened, person: Person, traces: Traces) -> Iterator[Holding]:
    """Every blob that entries cite and that holds the person."""
    names = _names(opened.entries) | traces.names
    for ref in opened.cited():
        what = names.get(ref, f"blob {short(ref)}")
        if ref in traces.unclear:
            if traces.known:
                yield Holding(what, ref, 0, {}, "deleted")
        elif not traces.is_table(ref):
            if count := times_in_file(person, opened.store.open(ref)):
                yield Holding(what, ref, 0, {"text": count}, "deleted")
        elif held := _in_table(traces, ref, what):
            yield held
    yield from _outside(opened, traces)


def also(traces: Traces) -> tuple[Also, ...]:
    """What may name the person too, in columns that nobody gave."""
    found: dict[str, set[str]] = {}
    for column, names in traces.entities():
        found.setdefault(column, set()).update(names)
    return tuple(Also(column, tuple(sorted(names))) for column, names in sorted(found.items()))


def in_the_way(opened: Opened, person: Person, traces: Traces, held: Sequence[Holding]) -> Iterator[InTheWay]:
    """What would bring the person back, and is not Sterling's to change."""
    yield from _in_raw_files(opened, traces)
    folder = opened.workspace.folder
    for gate in opened.project.gates:
        if isinstance(gate, Golden) and (count := times_in_file(person, folder / gate.file)):
            yield InTheWay(gate.file, count, "remove them there")
    if count := person.count_in_json(define(opened.project, folder)):
        yield InTheWay("the project's definition", count, "change project.py")
    yield from _in_what_is_live(opened, held)


def _outside(opened: Opened, traces: Traces) -> Iterator[Holding]:
    """Files that are not held, from which the person was read, and that are other ones now: they must not come back."""
    if traces.outside:
        known = Fingerprints(opened.workspace.fingerprints)
        current = {known.ref_of(path) for _, path in opened.tables} | opened.erased.keys()
        for ref, locator in traces.outside.items():
            if ref not in current:
                yield Holding(f"raw file {locator}, not in the store", ref, 0, {}, "kept out")


def _in_table(traces: Traces, ref: Ref, what: str) -> Holding | None:
    cleaning, cells, start = traces.cleaning(ref), Counter[str](), 0
    for segment in traces.segments(ref):
        cells += cleaning.mentions(segment, start)
        start += segment.num_rows
    rows = int(cleaning.theirs.sum())
    if not (rows or cells or cleaning.moved is not None):
        return None
    return Holding(what, ref, rows, cells, "deleted" if ref in traces.raw else "rewritten")


def _names(entries: Sequence[Entry]) -> dict[Ref, str]:
    """What blobs are that no step made."""
    found: dict[Ref, str] = {}
    for entry in entries:
        body = entry.body
        match entry.kind:
            case "project.defined":
                found[Ref(body["ref"])] = f"definition {body['definition'][:12]}"
            case "stage.failed":
                found[Ref(body["log"])] = f"log of {body['title']}"
            case "golden.checked":
                found[Ref(body["ref"])] = "golden examples"
            case _:
                pass
    return found


def _in_raw_files(opened: Opened, traces: Traces) -> Iterator[InTheWay]:
    engine = DuckDBEngine()
    for locator, path in opened.tables:
        table = engine.read(path, path.name)
        cleaning, columns = traces.cleaning_of(raw_place(locator), table)
        if rows := int(cleaning.theirs.sum()):
            yield InTheWay(f"{locator}, column {' or '.join(columns)}", rows, "remove these rows there")
        for column, count in cleaning.mentions(table, 0).items():
            yield InTheWay(f"{locator}, column {column}", count, "these texts mention them: change them there")


def _in_what_is_live(opened: Opened, held: Sequence[Holding]) -> Iterator[InTheWay]:
    """The live version, where its model or its definition names the person and would be deleted."""
    if (version := live(opened.entries)) is None:
        return
    parts = {str(version.model): "model"}
    parts |= {
        entry.body["ref"]: "definition"
        for entry in opened.entries
        if entry.kind == "project.defined" and entry.body["definition"] == version.definition
    }
    for one in held:
        if one.ref in parts:
            where = f"the {parts[one.ref]} of version {version.version}, which is live"
            yield InTheWay(where, sum(one.cells.values()), "release a version that was trained without them")
