"""A feature or a view: its definition, what was measured of it, who uses it, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.core.evidence import Entry
from sterling.project.aggregates import Window, aggregate_name, windows_of
from sterling.project.definition import Definition
from sterling.project.features import Derived, Feature, FeatureView, First, Last, OnDemand, names_of, view_name
from sterling.project.project import Project, Source
from sterling.project.sources import Columns, Delay, EntitySource, EventSource, External, Query, locator_of
from sterling.project.sql import columns_of
from sterling.views.facts import Run, latest_run, stage_key
from sterling.views.lineage import Lineage, Node
from sterling.views.registry import live, versions
from sterling.views.tables import Row, Table, in_terminal
from sterling.views.text import cite, listed, moment, number, percent, size

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class FeatureFacts:
    """What was measured of one feature.

    Attributes:
        name: Its name.
        view: The definition that gives it.
        window: The events that it reads, in words; None where it reads none.
        kind: ``number`` or ``category``; None where it was not built yet.
        nulls: Share of the moments without a value, or None.
        empty: Share of the moments at which nothing of the window was known, or None.
        known: Share of the windows' events that were known at their moments, or None.
        leaks: Share of the rows with a label in which ignoring availability would give another value, or None.
        warning: Why what is known speaks of other events than the window holds, or None.
        positions: Where all this stands.
    """

    name: str
    view: str
    window: str | None
    kind: str | None
    nulls: float | None
    empty: float | None
    known: float | None
    leaks: float | None
    warning: str | None
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Freshness:
    """How new a source is.

    Attributes:
        newest: Newest availability of its rows, ISO 8601, or None.
        as_of: Time as of which the data count, ISO 8601, or None.
        behind_seconds: The second minus the first, or None.
        positions: Where both stand.
    """

    newest: str | None
    as_of: str | None
    behind_seconds: float | None
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What the step cost that built a definition.

    Attributes:
        seconds: By the clock on the wall.
        seconds_cpu: Of the processors; None in entries of a Sterling that did not record it.
        peak_bytes: Most memory that the process held meanwhile; None where it is not on record.
        position: Where it stands.
    """

    seconds: float
    seconds_cpu: float | None
    peak_bytes: int | None
    position: int


@dataclass(frozen=True, slots=True)
class User:
    """A model that reads a definition.

    Attributes:
        version: Its number, or None where it is not registered.
        model: Its ref.
        live: Whether it is the live version.
        definition: Hash of the definition as the model reads it.
        same: Whether that is what the project defines now.
        position: Position of its registration, or of its run.
    """

    version: int | None
    model: str
    live: bool
    definition: str
    same: bool
    position: int


@dataclass(frozen=True, slots=True)
class Description:
    """A definition of features.

    Attributes:
        name: What it is called.
        kind: Its type, such as ``FeatureView``.
        written: The definition as a project writes it.
        definition: Its hash.
        owner: Who answers for it, or None.
        description: What it says, or None.
        source: Name of its source; None for features of other features.
        table: What the source is read from, or None.
        entities: Whose events it reads, or which row: words.
        available: When what it reads is known, a sentence for each rule.
        freshness: How new its source is, or None.
        features: Its features, or the one that was asked for.
        cost: What building it cost, or None where it was not built.
        users: Models that read it, the live one first.
        reads: Features that it reads.
        readers: Features that read it.
        lineage: Where it comes from, down to raw files, or None where it was not built.
    """

    name: str
    kind: str
    written: str
    definition: str
    owner: str | None
    description: str | None
    source: str | None
    table: str | None
    entities: str | None
    available: tuple[str, ...]
    freshness: Freshness | None
    features: tuple[FeatureFacts, ...]
    cost: Cost | None
    users: tuple[User, ...]
    reads: tuple[str, ...]
    readers: tuple[str, ...]
    lineage: Node | None


def find(project: Project, name: str) -> Feature:
    """The definition that a name means: its own, or that of one of its features.

    Raises:
        InvalidDefinitionError: if there is none, with the nearest names.
    """
    service = project.features.features
    for feature in service:
        if name == view_name(feature):
            return feature
    for feature in service:
        if name in names_of(feature):
            return feature
    known = dict.fromkeys(known for item in service for known in (view_name(item), *names_of(item)))
    raise InvalidDefinitionError(f"There is no feature and no view {name!r}. {nearest(name, known)}")


def describe(project: Project, entries: Iterable[Entry], name: str, hashes: Mapping[str, str]) -> Description:
    """Everything that a project and its ledger say of a feature or a view.

    Args:
        project: The project as it is now.
        entries: The ledger, oldest first.
        name: Name of a feature or a view.
        hashes: For each definition of the project, by its name, its hash.

    Raises:
        InvalidDefinitionError: if there is none of that name.
    """
    chain, feature = tuple(entries), find(project, name)
    view = view_name(feature)
    built = built_as(chain, view, hashes[view])
    source = source_of(feature, project)
    names = [name] if name in names_of(feature) else list(names_of(feature))
    return Description(
        name=name, kind=type(feature).__name__, written=written(feature), definition=hashes[view],
        owner=getattr(feature, "owner", None) or (source.owner if source else None),
        description=getattr(feature, "description", None),
        source=source.name if source else None, table=_table(source), entities=_entities(feature, project),
        available=tuple(_available(source)), freshness=_freshness(chain, source),
        features=tuple(_facts(chain, feature, each, built) for each in names),
        cost=_cost(chain, built), users=tuple(_users(chain, view, hashes[view])), reads=tuple(_reads(feature)),
        readers=tuple(_readers(project, names)), lineage=Lineage(chain).explain(built) if built else None,
    )  # fmt: skip


def all_facts(project: Project, entries: Iterable[Entry], hashes: Mapping[str, str]) -> tuple[FeatureFacts, ...]:
    """What was measured of every feature of the vector, in order."""
    chain = tuple(entries)
    found = []
    for feature in project.features.features:
        built = built_as(chain, view_name(feature), hashes[view_name(feature)])
        found += [_facts(chain, feature, name, built) for name in names_of(feature)]
    return tuple(found)


def redefined(entries: Iterable[Entry], hashes: Mapping[str, str]) -> tuple[str, ...]:
    """What a live version reads by another definition than the project has now, as sentences.

    Args:
        entries: The ledger, oldest first.
        hashes: For each definition of the project, by its name, its hash.
    """
    chain = tuple(entries)
    current = live(chain)
    run = latest_run(chain, candidate=current.model) if current else None
    if current is None or run is None:
        return ()
    read = _definitions(run)
    changed = [view for view, was in read.items() if hashes.get(view, was) != was]
    return tuple(
        f"{view}: version {current.version}, which is live, reads {read[view][:12]}, and the project now defines "
        f"{hashes[view][:12]}. A run makes a new version; version {current.version} keeps what it reads."
        for view in changed
    )


def other_now(entries: Iterable[Entry], model: str, hashes: Mapping[str, str]) -> tuple[str, ...]:
    """What a model reads that the project now defines otherwise, or no longer has.

    Args:
        entries: The ledger, oldest first.
        model: Ref of the model.
        hashes: For each definition of the project, by its name, its hash.
    """
    run = latest_run(entries, candidate=model)
    return tuple(view for view, was in _definitions(run).items() if hashes.get(view) != was) if run else ()


def built_as(chain: tuple[Entry, ...], view: str, definition: str) -> Entry | None:
    """The newest fact that a definition was built as it is now."""
    return next(
        (
            entry for entry in reversed(chain)
            if entry.kind == "features.built" and entry.body["view"] == view and definition in _hashes(entry)
        ), None,
    )  # fmt: skip


def source_of(feature: Feature, project: Project) -> Source | None:
    """The source that a definition reads; None for features of other features."""
    match feature:
        case Columns() | FeatureView():
            return feature.source
        case Last() | First():
            return feature.columns.source
        case OnDemand() | Derived():
            return None
        case _:
            return project.spine.source


def written(value: Any) -> str:
    """A definition as a project writes it, without what is left at its default; sources stand by their names.

    Example:
        >>> from sterling.project.aggregates import Mean
        >>> written(Mean("delay", windows=["1h"]))
        "sl.Mean('delay', windows=['1h'])"
    """
    match value:
        case EventSource() | EntitySource():
            return value.name
        case Columns():
            return f"{value.source.name}[{', '.join(map(repr, value.names))}]"
        case Definition():
            return f"sl.{type(value).__name__}({', '.join(_arguments(value))})"
        case tuple() | list():
            return f"[{', '.join(map(written, value))}]"
        case _ if callable(value):
            return str(getattr(value, "__qualname__", value))
        case _:
            return repr(value)


def window_words(window: Window, source: str) -> str:
    """The events of a window in words.

    Example:
        >>> window_words(Window("6h", "past"), "landed")
        'events of landed that happened in the 6h before'
    """
    what = {
        "past": f"happened in the {window.length} before", "known": f"became known in the {window.length} before",
        "ahead": f"are to happen in the {window.length} after, known ahead",
    }  # fmt: skip
    return f"events of {source} that {what[window.kind]}"


def render(found: Description) -> RenderableType:
    """A description for a terminal of 80 columns."""
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    from sterling.views.why import render as tree

    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in _lines(found):
        grid.add_row(Text(label, style="dim"), Text(text))
    parts: list[RenderableType] = [Text(f"{found.name}, {found.kind}", style="bold"), grid, Text("")]
    if any(one.window for one in found.features):
        windows = tuple(Row((one.name, one.window or "–")) for one in found.features)
        parts.append(in_terminal(Table("Windows", ("feature", "reads"), windows)))
    parts += [in_terminal(facts_table(found.features)), *map(Text, _warnings(found.features))]
    parts.append(in_terminal(_users_table(found)))
    parts += [Text("Lineage", style="bold"), tree(found.lineage)] if found.lineage else []
    return Group(*parts)


def facts_table(facts: Iterable[FeatureFacts]) -> Table:
    """What was measured of some features, side by side."""
    rows = tuple(
        Row(
            (
                one.name, one.kind or "not built", percent(one.nulls), percent(one.empty), percent(one.known),
                percent(one.leaks), ("! " if one.warning else "") + cite(*one.positions),
            )
        )
        for one in facts
    )  # fmt: skip
    note = (
        "Empty: moments at which no event of the window was known. Known: share of the windows' events that were known. Leaks: "
        "share of the rows with a label that would differ if availability were ignored."
    )
    return Table("Features", ("feature", "kind", ">nulls", ">empty", ">known", ">leaks", ""), rows, note=note)


def render_facts(facts: Iterable[FeatureFacts]) -> RenderableType:
    """Every feature for a terminal, with its warnings."""
    from rich.console import Group
    from rich.text import Text

    every = tuple(facts)
    return Group(in_terminal(facts_table(every)), *map(Text, _warnings(every)))


def _lines(found: Description) -> Iterator[tuple[str, str]]:
    yield "definition", found.written
    yield "hash", found.definition[:12]
    if found.owner:
        yield "owner", found.owner
    if found.description:
        yield "says", found.description
    if found.source:
        yield "source", f"{found.source}, from {found.table}"
    if found.entities:
        yield "of", found.entities
    for sentence in found.available:
        yield "known", sentence
    if found.freshness:
        yield "fresh", _fresh(found.freshness)
    if found.reads:
        yield "reads", ", ".join(found.reads)
    yield "read by", ", ".join(found.readers) or "no other feature"
    yield "cost", _costs(found.cost)


def _warnings(facts: Iterable[FeatureFacts]) -> list[str]:
    return [f"Beware: {one.name}: {one.warning}" for one in facts if one.warning]


def _fresh(fresh: Freshness) -> str:
    if fresh.newest is None:
        return f"no row of it is available {cite(*fresh.positions)}"
    behind = ""
    if fresh.behind_seconds is not None:
        hours = fresh.behind_seconds / 3600
        side = "before" if hours > 0 else "after"
        behind = ", as new as the data count" if abs(hours) < 1 / 60 else f", {number(abs(hours))} h {side} as_of"
    return f"newest row available at {moment(fresh.newest)}{behind} {cite(*fresh.positions)}"


def _costs(cost: Cost | None) -> str:
    if cost is None:
        return "not built yet: `sterling features build` does it"
    said = f"{number(cost.seconds)} s"
    if cost.seconds_cpu is not None:
        said += f", {number(cost.seconds_cpu)} s of the processors"
    if cost.peak_bytes is not None:
        said += f", {size(cost.peak_bytes)} at most in the process"
    return f"{said} {cite(cost.position)}"


def _users_table(found: Description) -> Table:
    rows = []
    for user in found.users:
        name = f"version {user.version}" if user.version else "not registered"
        state = "live" if user.live else ""
        reads = "as it is now" if user.same else f"changed since: it reads {user.definition[:12]} and keeps it"
        rows.append(
            Row((name, state, user.model.removeprefix("sha256:")[:12], reads, cite(user.position)), strong=user.live)
        )
    return Table("Used by", ("", "", "model", "definition", ""), tuple(rows), empty="no model yet")


_NAMED = frozenset({"entities", "features", "inputs", "until"})


def _arguments(value: Definition) -> Iterator[str]:
    for field in msgspec.structs.fields(type(value)):
        given = getattr(value, field.name)
        if field.required:
            yield f"{field.name}={written(given)}" if field.name in _NAMED else written(given)
        elif given != _default(field):
            yield f"{field.name}={written(given)}"


def _default(field: Any) -> Any:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def _table(source: Source | None) -> str | None:
    match source.table if source else None:
        case Query() as query:
            return f"{query.file} over {listed(map(locator_of, query.inputs))}"
        case External() as file:
            return file.file
        case table:
            return table


def _entities(feature: Feature, project: Project) -> str | None:
    match feature:
        case FeatureView():
            return _joined(feature.entities, feature.on)
        case Last() | First():
            return _joined(feature.columns.source.entities, feature.on)
        case OnDemand() | Derived():
            return None
        case _:
            return f"the row of {project.spine.source.name} that is predicted"


def _joined(entities: Iterable[str], on: Mapping[str, str]) -> str:
    return listed(f"{name} = {on[name]} of the row that is predicted" if name in on else name for name in entities)


def _available(source: Source | None) -> Iterator[str]:
    if source is None:
        return
    rule = source.available_at
    begins = source.event_time if isinstance(source, EventSource) else source.valid_from
    when = f"{rule.duration} after {begins}" if isinstance(rule, Delay) else f"at {rule}"
    covered = "every column" if source.columns is None else listed(source.columns)
    yield f"{covered}: {when}"
    if isinstance(source, EventSource):
        yield from (f"{column}: at {said}" for column, said in source.known.items())


def _freshness(chain: tuple[Entry, ...], source: Source | None) -> Freshness | None:
    if source is None:
        return None
    snapshot = _newest(chain, "data.snapshotted", f"source:{source.name}")
    if snapshot is None:
        return None
    as_of = _newest(chain, "as_of.resolved")
    newest, at = snapshot.body["newest_available"], as_of.body["as_of"] if as_of else None
    behind = (datetime.fromisoformat(at) - datetime.fromisoformat(newest)).total_seconds() if newest and at else None
    return Freshness(newest, at, behind, tuple(entry.position for entry in (snapshot, as_of) if entry))


def _facts(chain: tuple[Entry, ...], feature: Feature, name: str, built: Entry | None) -> FeatureFacts:
    window = _window(feature, name)
    if built is None:
        return FeatureFacts(name, view_name(feature), window, None, None, None, None, None, None, ())
    body = next(one for one in built.body["features"] if one["name"] == name)
    same = [entry for entry in chain if stage_key(entry) == stage_key(built)]
    censored = next((e for e in same if e.kind == "censoring.measured" and e.body["feature"] == name), None)
    leaks = _newest(chain, "leaks.measured")
    leaking = {one["name"]: one["changed"] for one in leaks.body["features"]} if leaks else {}
    seen = (built, censored, leaks if name in leaking else None)
    return FeatureFacts(
        name, view_name(feature), window, body["kind"], body["nulls"], censored.body["empty"] if censored else None,
        body.get("known_events"), leaking.get(name), censored.body["warning"] if censored else None,
        tuple(entry.position for entry in seen if entry),
    )  # fmt: skip


def _window(feature: Feature, name: str) -> str | None:
    match feature:
        case FeatureView():
            return next(
                f"{_says(item)} of {window_words(window, feature.source.name)}"
                for item in feature.features
                for window in windows_of(item)
                if aggregate_name(feature.name, item, window) == name
            )
        case Last() | First():
            age = f" of the {feature.max_age} before" if feature.max_age else ""
            which = f"the {'last' if isinstance(feature, Last) else 'first'} value{age} that was known"
            return f"{which}{f', where {feature.where}' if feature.where else ''}"
        case _:
            return None


def _says(aggregate: Any) -> str:
    what = aggregate.operation.replace("_", " ") + (f" of {aggregate.reads}" if aggregate.reads else "")
    return f"{what}{f', where {aggregate.where},' if aggregate.where else ''}"


def _cost(chain: tuple[Entry, ...], built: Entry | None) -> Cost | None:
    key = stage_key(built) if built else None
    done = next((e for e in chain if key and e.kind == "stage.completed" and e.body["key"] == key), None)
    if done is None:
        return None
    return Cost(done.body["seconds"], done.body.get("seconds_cpu"), done.body.get("peak_bytes"), done.position)


def _users(chain: tuple[Entry, ...], view: str, definition: str) -> Iterator[User]:
    current = live(chain)
    known = sorted(versions(chain), key=lambda v: (current is None or v.version != current.version, -v.version))
    for version in known:
        run = latest_run(chain, candidate=version.model)
        if run and (read := _definitions(run).get(view)):
            yield User(
                version.version, version.model, current is not None and version.version == current.version, read,
                read == definition, version.registered,
            )  # fmt: skip
    last = latest_run(chain)
    if last and last.candidate not in {version.model for version in known} and (read := _definitions(last).get(view)):
        yield User(None, last.candidate, live=False, definition=read, same=read == definition, position=last.position)


def _definitions(run: Run) -> dict[str, str]:
    """The hash of each definition that a run's model reads."""
    return {entry.body["view"]: one for entry in run.of("features.built") for one in _hashes(entry)}


def _hashes(entry: Entry) -> set[str]:
    return {one["definition"] for one in entry.body["features"]}


def _reads(feature: Feature) -> Iterator[str]:
    if isinstance(feature, OnDemand):
        yield from feature.inputs
    elif isinstance(feature, Derived):
        yield from sorted(columns_of(feature.sql))


def _readers(project: Project, names: Iterable[str]) -> Iterator[str]:
    wanted = set(names)
    for feature in project.features.features:
        if wanted & set(_reads(feature)):
            yield view_name(feature)


def _newest(chain: tuple[Entry, ...], kind: str, subject: str | None = None) -> Entry | None:
    found = (e for e in reversed(chain) if e.kind == kind and (subject is None or subject in e.evidence.subjects))
    return next(found, None)
