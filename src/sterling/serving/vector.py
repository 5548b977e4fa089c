"""The vector of a released version, computed here for a request: from its raw columns and from the online state.

Where each feature comes from is resolved when the version is loaded, never per request, and what cannot be computed is
known then, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from sterling.core.canonical import digest
from sterling.core.clock import Clock, from_micros, iso, to_micros, utcnow
from sterling.core.errors import DataError, InvalidDefinitionError, StorageError, in_row
from sterling.core.evidence import Query
from sterling.core.ledger import Ledger
from sterling.features.kept_states import KeptStates
from sterling.features.online import State, ViewPlan
from sterling.features.online_store import OnlineStore, offset_key, state_key
from sterling.features.row_sql import RowSql, row_sql
from sterling.features.served import Served, ServedLog
from sterling.project.definition import essence
from sterling.project.features import Derived, Expression, FeatureView, First, Last, OnDemand, view_name
from sterling.project.project import Project
from sterling.project.sources import Columns
from sterling.project.sql import quoted
from sterling.serving.on_demand import Computed
from sterling.serving.raw import RawRow
from sterling.serving.requests import RefusedRequestError

Row = Mapping[str, Any]


class Online(NamedTuple):
    """What the server computes features with.

    Attributes:
        project: The project, as it is now.
        store: Where the online state lies, or None.
        clock: Says what time it is.
        record: Where vectors are kept as they are served, or None.
    """

    project: Project
    store: OnlineStore | None = None
    clock: Clock = utcnow
    record: ServedLog | None = None


class Vectors(NamedTuple):
    """What was computed for a request.

    Attributes:
        rows: The features of each row, by name.
        at: The moment that they are of, in microseconds.
    """

    rows: list[dict[str, Any]]
    at: int


@dataclass
class Vector:
    """Computes the features of a version.

    Attributes:
        project: Name of the project.
        raw: The raw columns that are read.
        expressions: Columns and expressions, by the name of the feature.
        plans: Views, and last and first values.
        functions: Features that functions of the project compute.
        derived: Features of other features, in an order in which each finds what it reads.
        store: Where the online state lies; None where nothing reads it.
        clock: Says what time it is.
        sources: For each feature, in the order of the vector, where it comes from.
        version: Number of the version.
        record: Where vectors are kept as they are served, or None.
        newest: The time of the latest change that requests have met, in microseconds; 0 for none.
    """

    project: str
    raw: RawRow
    expressions: Mapping[str, RowSql]
    plans: Sequence[ViewPlan]
    functions: Sequence[Computed]
    derived: Mapping[str, RowSql]
    store: OnlineStore | None
    clock: Clock
    sources: Mapping[str, Mapping[str, Any]]
    version: int = 0
    record: ServedLog | None = None
    newest: int = field(default=0, init=False)
    _kept: KeptStates = field(default_factory=KeptStates, init=False)

    def __post_init__(self) -> None:
        self._followed = [offset_key(self.project, plan.digest) for plan in self.plans]
        self._here = frozenset(name for name, said in self.sources.items() if said["from"] != "request")

    def takes(self, row: Row) -> bool:
        """Whether a row brings raw columns: it names none of the features that are computed here."""
        return bool(self._here) and not row.keys() & self._here

    def computes(self, names: Iterable[str]) -> bool:
        """Whether any of some features is not a column that the request brings."""
        return not self._here.isdisjoint(names)

    def of(self, rows: Sequence[Row], at: int | None = None) -> Vectors:
        """The features of raw rows.

        Args:
            rows: Raw columns by name.
            at: The moment in microseconds; None for now, or just behind the newest change where that is later.

        Raises:
            DataError: if a row cannot be read, or the state has moved on behind the moment.
            FunctionFailedError: if a function of the project fails, or takes too long.
            StorageError: if the online store cannot be read.
        """
        cells = [_named(len(rows), number, partial(self.raw.cells, row)) for number, row in enumerate(rows)]
        now = to_micros(self.clock())
        states, offsets = self._states(cells, now if at is None else at)
        newest = _newest(states)
        if at is not None and at <= newest:
            raise RefusedRequestError(
                409,
                f"predict_at is {iso(from_micros(at))}, and the online state has moved on to {iso(from_micros(newest))}. "
                "Ask for a later moment, or leave it out.",
                "predict_at",
            )
        moment = max(now, newest + 1) if at is None else at
        found = []
        for number, (row, known) in enumerate(zip(cells, states, strict=True)):
            found.append(_named(len(rows), number, partial(self._row, row, known, moment)))
        self.newest = max(self.newest, _newest(states))
        if self.record:
            pairs = zip(cells, found, strict=True)
            self.record.append([one for row, made in pairs for one in self._served(row, made, moment, offsets)])
        return Vectors(found, moment)

    def freshness(self) -> dict[str, Any] | None:
        """How far each view has followed its events, and the newest change that requests have met."""
        if self.store is None:
            return None
        offsets = self.store.get(self._followed)
        names = [view_name(plan.feature) for plan in self.plans]
        newest = iso(from_micros(self.newest)) if self.newest else None
        age = (to_micros(self.clock()) - self.newest) / 1_000_000 if self.newest else None
        said = {name: None if offset is None else int(offset) for name, offset in zip(names, offsets, strict=True)}
        return {"offsets": said, "newest_change": newest, "age_seconds": age}

    def age_micros(self) -> int | None:
        """How old the newest change is that requests have met; None where they have met none, or nothing is read."""
        return to_micros(self.clock()) - self.newest if self.plans and self.newest else None

    def _served(self, cells: Row, made: Row, at: int, offsets: Sequence[int]) -> Iterator[Served]:
        """What each view said of a row, where its entity is kept."""
        assert self.record is not None
        for plan, offset in zip(self.plans, offsets, strict=True):
            key = plan.key(cells)
            if key is not None and self.record.keeps(key):
                said = [made[name] for name in plan.names]
                yield Served(at, self.version, view_name(plan.feature), plan.digest, offset, key.decode(), said)

    def _states(self, cells: Sequence[Row], at: int) -> tuple[list[list[State]], list[int]]:
        """For each row the state of each view, and how far each view has followed its log; all are read at once.

        An entity that is not known has an empty state. A view that is not there at all has none, whoever asks.

        Raises:
            StorageError: if the store holds no state of a view any more.
        """
        if self.store is None:
            return [[] for _ in cells], []
        names = [
            [
                None if (key := plan.key(row)) is None else state_key(self.project, plan.digest, key)
                for plan in self.plans
            ]
            for row in cells
        ]
        wanted = list(dict.fromkeys(name for found in names for name in found if name is not None))
        read = self.store.get([*wanted, *self._followed])
        packed, offsets = dict(zip(wanted, read, strict=False)), read[len(wanted) :]
        for plan, offset in zip(self.plans, offsets, strict=True):
            if offset is None:
                raise StorageError(
                    f"The online store has lost the state of {view_name(plan.feature)!r}. Build it: sterling features build --online URL."
                )
        states = [
            [
                plan.state() if name is None else self._kept.state(plan, name, packed[name], at)
                for plan, name in zip(self.plans, found, strict=True)
            ]
            for found in names
        ]
        return states, [int(offset or 0) for offset in offsets]

    def _row(self, cells: Row, states: Sequence[State], moment: int) -> dict[str, Any]:
        found: dict[str, Any] = {name: made.feature(cells) for name, made in self.expressions.items()}
        for plan, state in zip(self.plans, states, strict=True):
            found |= {name: _as_number(value) for name, value in zip(plan.names, state.read(moment), strict=True)}
        for function in self.functions:
            found[function.name] = function.of(found)
        for name, made in self.derived.items():
            found[name] = made.feature(found)
        return {name: found[name] for name in self.sources}


def vector_of(
    ledger: Ledger, defined: Mapping[str, Any], types: Mapping[str, str], version: int, functions: Sequence[Computed],
    online: Online, *, until: int,
) -> Vector:  # fmt: skip
    """Resolve where each feature of a version comes from.

    Args:
        ledger: Where the columns of its sources are recorded.
        defined: The definition that the version was made by.
        types: Types of the features in the frame that it was trained on.
        version: Its number.
        functions: Features that functions of the project compute, as they were checked.
        online: The project and its online state.
        until: Position of the release.

    Raises:
        InvalidDefinitionError: naming the first feature that cannot be computed, and what would work.
    """
    project = online.project
    _check_same(project, defined["project"], version)
    service = project.features.features
    columns = columns_of_source(ledger, project.spine.source.name, until)
    expressions = {name: row_sql(sql, columns) for name, sql in _row_features(service)}
    plans = tuple(
        ViewPlan(feature, columns_of_source(ledger, ViewPlan(feature, {}).source.name, until))
        for feature in service
        if isinstance(feature, FeatureView | Last | First)
    )
    _check_stored(project.name, plans, online.store)
    derived = _in_order({item.name: row_sql(item.sql, types) for item in service if isinstance(item, Derived)})
    needed = {name for made in expressions.values() for name in made.columns} | {
        n for plan in plans for n in plan.entity
    }
    if absent := sorted(needed - columns.keys()):
        raise InvalidDefinitionError(
            f"{absent[0]!r} is no column of {project.spine.source.name}, so no request has it."
        )
    raw = RawRow(needed, columns, project.spine.source.checks)
    store = online.store if plans else None
    said = dict(_said(service, expressions, derived))
    record = online.record if store else None
    return Vector(project.name, raw, expressions, plans, functions, derived, store, online.clock, said, version, record)


def _check_same(project: Project, defined: Mapping[str, Any], version: int) -> None:
    for name in ("features", "spine"):
        if digest(essence(defined[name])) != digest(essence(getattr(project, name))):
            raise InvalidDefinitionError(
                f"Version {version} was trained with another {name}= than the project has now, so its vector cannot be computed "
                "here. Serve the project as it was, or run it and release the new version."
            )


def _check_stored(project: str, plans: Sequence[ViewPlan], store: OnlineStore | None) -> None:
    if not plans:
        return
    if store is None:
        raise InvalidDefinitionError(
            f"{view_name(plans[0].feature)!r} is read from an online state, and no online store is named. Build it with "
            "`sterling features build`, and name it with --online."
        )
    offsets = store.get([offset_key(project, plan.digest) for plan in plans])
    for plan, offset in zip(plans, offsets, strict=True):
        if offset is None:
            raise InvalidDefinitionError(
                f"The online store holds no state of {view_name(plan.feature)!r} in this definition. Build it: sterling features build."
            )


def columns_of_source(ledger: Ledger, source: str, until: int | None = None) -> dict[str, str]:
    """Types of a source's columns, as its newest snapshot has them.

    Args:
        ledger: Where snapshots are recorded.
        source: Name of the source.
        until: Last position that counts; None for all.

    Raises:
        InvalidDefinitionError: if no snapshot is on record.
    """
    taken = ledger.read(Query(("data.snapshotted",), (f"source:{source}",)), until=until, newest_first=True)
    found = next(taken, None)
    if found is None:
        raise InvalidDefinitionError(
            f"No snapshot of {source} is on record, so its columns are not known. Run the project."
        )
    columns: dict[str, str] = found.body["columns"]
    return columns


def _row_features(service: Sequence[Any]) -> list[tuple[str, str]]:
    """Names and SQL of what is read from the row that the moment stands on; a column is an expression, too."""
    found = []
    for feature in service:
        if isinstance(feature, Columns):
            found += [(name, quoted(name)) for name in feature.names]
        if isinstance(feature, Expression):
            found.append((feature.name, feature.sql))
    return found


def _in_order(derived: Mapping[str, RowSql]) -> dict[str, RowSql]:
    """Derived features, each behind those that it reads."""
    waiting, found = dict(derived), dict[str, RowSql]()
    while waiting:
        ready = [name for name, made in waiting.items() if not made.columns & (waiting.keys() - {name})]
        if not ready:
            raise InvalidDefinitionError(f"Derived {min(waiting)!r} reads what is computed from it.")
        found |= {name: waiting.pop(name) for name in ready}
    return found


def _said(
    service: Sequence[Any], expressions: Mapping[str, RowSql], derived: Mapping[str, RowSql]
) -> list[tuple[str, Mapping[str, Any]]]:
    """For each feature, in order, where it comes from."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for feature in service:
        match feature:
            case Columns():
                found += [(name, {"from": "request"}) for name in feature.names]
            case Expression():
                reads = sorted(expressions[feature.name].columns)
                found.append((feature.name, {"from": "expression", "computed_from": reads}))
            case Derived():
                found.append(
                    (feature.name, {"from": "derived", "computed_from": sorted(derived[feature.name].columns)})
                )
            case OnDemand():
                found.append((feature.name, {"from": "function", "computed_from": list(feature.inputs)}))
            case _:
                plan = ViewPlan(feature, {})
                found += [(name, {"from": "online state", "computed_from": list(plan.entity)}) for name in plan.names]
    return found


def _newest(states: Sequence[Sequence[State]]) -> int:
    """The time of the latest change that states have applied; 0 where none has applied any."""
    return max((state.newest for found in states for state in found if state.newest > 0), default=0)


def _as_number(value: Any) -> Any:
    """A condition as a model reads it."""
    return int(value) if isinstance(value, bool) else value


def _named(rows: int, number: int, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is computed of a row; an error names the row where there are several."""
    try:
        return compute()
    except DataError as error:
        raise in_row(error, number, rows) from None
