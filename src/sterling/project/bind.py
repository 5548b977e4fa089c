"""Bind a project to its data: every column that it names exists, has a type that fits, and is known in time.

Where both times are one column plus a constant, availability is proved here; elsewhere the stages measure it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sterling.core.errors import InvalidDefinitionError, NotKnownAtPredictionError, nearest
from sterling.project.aggregates import Aggregate, Pending
from sterling.project.availability import required_rule
from sterling.project.checks import Fresh, Unique
from sterling.project.fallbacks import Rule
from sterling.project.features import (
    Derived,
    Expression,
    Feature,
    FeatureView,
    First,
    Last,
    OnDemand,
    feature_names,
    names_of,
)
from sterling.project.project import Project, Source
from sterling.project.sources import Columns, Delay, EventSource
from sterling.project.spine import EventSpine
from sterling.project.sql import column_plus_constant, columns_of
from sterling.project.times import micros

Schema = Mapping[str, str]


def bind(project: Project, schemas: Mapping[str, Schema]) -> None:
    """Check a project against the columns of its sources.

    Args:
        project: The project.
        schemas: For each source its columns with their types: those that the source lists, and those that its own
            expressions read.

    Raises:
        InvalidDefinitionError: for a column that does not exist, with the nearest names, or of a type that does not fit.
        NotKnownAtPredictionError: for a feature that provably is not known at prediction, with the two times.
    """
    for source in project.sources().values():
        for place, column in _own_columns(source):
            _exists(column, schemas[source.name], f"{source.name}: {place}", source)
    _bind_spine(project, schemas[project.spine.source.name])
    _bind_label(project, schemas[project.label.source.name])
    for feature in project.features.features:
        _bind_feature(project, schemas, feature)
    known = [*schemas[project.spine.source.name], *feature_names(project.features)]
    for link in project.fallback:
        if isinstance(link, Rule):
            _bind_rule(link, known)


def _bind_rule(rule: Rule, known: Sequence[str]) -> None:
    for column in sorted(columns_of(rule.sql) - set(known)):
        raise InvalidDefinitionError(
            f"fallbacks.Rule {rule.sql!r} reads {column!r}, which is no column of the spine's row and no feature. "
            f"{nearest(column, known)}"
        )


def _bind_feature(project: Project, schemas: Mapping[str, Schema], feature: Feature) -> None:
    match feature:
        case Columns():
            for name in feature.names:
                _bind_row(project, schemas, name, f"feature {name!r}")
        case Expression():
            for column in sorted(columns_of(feature.sql)):
                _bind_row(project, schemas, column, f"Expression {feature.name!r}")
        case Last() | First():
            _bind_picked(project, schemas, feature)
        case FeatureView():
            _bind_view(project, schemas, feature)
        case OnDemand():
            _bind_on_demand(project, feature)
        case Derived():
            _bind_derived(project, feature)


def _own_columns(source: Source) -> Iterator[tuple[str, str]]:
    """Columns that a source's own definition names, and where."""
    times = {"available_at": source.available_at}
    if isinstance(source, EventSource):
        times |= {"event_time": source.event_time} | {f"known[{name!r}]": rule for name, rule in source.known.items()}
        yield from (("known", name) for name in source.known)
        if source.event_id:
            yield "event_id", source.event_id
    else:
        times |= {"valid_from": source.valid_from}
        if source.valid_to:
            times |= {"valid_to": source.valid_to}
    for place, rule in times.items():
        if not isinstance(rule, Delay):
            yield from ((place, column) for column in sorted(columns_of(rule)))
    for place in ("entities", "columns", "pii"):
        yield from ((place, column) for column in getattr(source, place) or ())
    for check in source.checks:
        if isinstance(check, Unique):
            yield from (("checks Unique", column) for column in check.columns)
        elif not isinstance(check, Fresh):
            yield f"checks {type(check).__name__}", check.column


def _exists(column: str, schema: Iterable[str], place: str, source: Source) -> None:
    if column not in set(schema):
        raise InvalidDefinitionError(
            f"{place}: {source.name} lists no column {column!r}. {nearest(column, schema)} A column that stands in neither "
            "columns= nor known= has an unknown availability, and can be no feature."
        )


def _bind_spine(project: Project, schema: Schema) -> None:
    spine = project.spine
    if isinstance(spine, EventSpine):
        for column in sorted(columns_of(spine.predict_at)):
            _exists(column, schema, "EventSpine.predict_at", spine.source)
            required_rule(column, spine.source, "EventSpine.predict_at")
    if spine.where is not None:
        for column in sorted(columns_of(spine.where)):
            _exists(column, schema, f"{type(spine).__name__}.where", spine.source)
            required_rule(column, spine.source, f"{type(spine).__name__}.where")
    if project.cluster is not None:
        _exists(project.cluster, schema, "Project.cluster", spine.source)
    _bind_carried(project, schema)


def _bind_carried(project: Project, schema: Schema) -> None:
    """Columns beside the features exist and are not personal, and no feature reads what is to be held out."""
    names, source = feature_names(project.features), project.spine.source
    for column, place in project.carried().items():
        if column not in names and column not in schema:
            raise InvalidDefinitionError(
                f"{place} names {column!r}, which is no feature and no column of {source.name}. "
                f"{nearest(column, [*names, *schema])}"
            )
        if is_personal(project, column):
            raise InvalidDefinitionError(
                f"{place} names {column!r}, which is, or is computed from, personal data: the ledger would hold "
                f"its values. {'Slice by' if place == 'EverySlice.by' else 'Name'} a coarser column."
            )
    for attribute in project.attributes():
        readers = _readers(project, attribute.column) if attribute.held_out else ()
        if readers:
            raise InvalidDefinitionError(
                f"Sensitive({attribute.column!r}, held_out=True): the feature {readers[0]!r} reads it. Leave the feature out, "
                "or the attribute in."
            )
    _bind_groups(project, schema)


def _bind_groups(project: Project, schema: Schema) -> None:
    names = feature_names(project.features)
    for column in project.grouping():
        if column not in names and column not in schema:
            raise InvalidDefinitionError(
                f"{column!r} is to name groups, and is no feature and no column of {project.spine.source.name}. "
                f"{nearest(column, [*names, *schema])}"
            )


def is_personal(project: Project, name: str) -> bool:
    """Whether a column of the spine's row, or a feature, holds personal data or is computed from such."""
    own = set(project.spine.source.pii)
    for feature in project.features.features:
        match feature:
            case Expression() if feature.name == name:
                return bool(columns_of(feature.sql) & own)
            case Derived() if feature.name == name:
                return any(is_personal(project, read) for read in columns_of(feature.sql))
            case OnDemand() if feature.name == name:
                return any(is_personal(project, read) for read in feature.inputs)
            case Last() | First() if name in names_of(feature):
                return feature.columns.names[names_of(feature).index(name)] in feature.columns.source.pii
            case _:
                pass
    return name in own


def _readers(project: Project, column: str) -> tuple[str, ...]:
    """Features that read a column of the spine's row, in order; a view reads what it is looked up by."""
    read: dict[str, bool] = {}
    for feature in sorted(
        project.features.features, key=lambda f: isinstance(f, OnDemand) + 2 * isinstance(f, Derived)
    ):
        match feature:
            case Columns():
                read |= {name: name == column for name in feature.names}
            case Expression():
                read[feature.name] = column in columns_of(feature.sql)
            case Derived():
                read[feature.name] = any(read.get(name, False) for name in columns_of(feature.sql))
            case OnDemand():
                read[feature.name] = any(read.get(name, False) for name in feature.inputs)
            case Last() | First() | FeatureView():
                source = feature.columns.source if isinstance(feature, Last | First) else feature.source
                entities = feature.entities if isinstance(feature, FeatureView) else source.entities
                found = column in {feature.on.get(entity, entity) for entity in entities} or (
                    source == project.spine.source
                    and isinstance(feature, Last | First)
                    and column in feature.columns.names
                )
                read |= dict.fromkeys(names_of(feature), found)
    return tuple(name for name, found in read.items() if found)


def _bind_label(project: Project, schema: Schema) -> None:
    label = project.label
    expression = getattr(label, "expression", None) or getattr(label, "where", None)
    if expression is not None:
        for column in sorted(columns_of(expression)):
            _exists(column, schema, type(label).__name__, label.source)
            required_rule(column, label.source, type(label).__name__)


def _bind_row(project: Project, schemas: Mapping[str, Schema], column: str, place: str) -> None:
    """A column of the row that the spine stands on: it exists, and is not provably known too late."""
    source = project.spine.source
    _exists(column, schemas[source.name], place, source)
    rule = required_rule(column, source, place)
    if not isinstance(project.spine, EventSpine) or not isinstance(source, EventSource) or source.partial:
        return
    known, moment = _constant(rule, source), column_plus_constant(project.spine.predict_at)
    if known and moment and known[0] == moment[0] and known[1] >= moment[1]:
        raise NotKnownAtPredictionError(
            f"{place} reads {column!r} of {source.name}, which becomes known at {_said(rule, source)}; the prediction is made "
            f"at {project.spine.predict_at}, which is never later. Leave it out, or predict later."
        )


def _constant(rule: Delay | str, source: EventSource) -> tuple[str, int] | None:
    if not isinstance(rule, Delay):
        return column_plus_constant(rule)
    happened = column_plus_constant(source.event_time)
    return (happened[0], happened[1] + micros(rule.duration)) if happened else None


def _said(rule: Delay | str, source: EventSource) -> str:
    return f"{source.event_time} + {rule.duration}" if isinstance(rule, Delay) else rule


def _bind_picked(project: Project, schemas: Mapping[str, Schema], feature: Last | First) -> None:
    source, place = feature.columns.source, f"{type(feature).__name__} of {feature.columns.source.name}"
    read = columns_of(feature.where) if feature.where else frozenset()
    for name in (*feature.columns.names, *sorted(read)):
        _exists(name, schemas[source.name], place, source)
        required_rule(name, source, place)
    _bind_entities(project, schemas, source, source.entities, feature.on, place)


def _bind_view(project: Project, schemas: Mapping[str, Schema], view: FeatureView) -> None:
    place = f"FeatureView {view.name!r}"
    for aggregate in view.features:
        _bind_aggregate(aggregate, view.source, schemas[view.source.name], f"{place}: {type(aggregate).__name__}")
    _bind_entities(project, schemas, view.source, view.entities, view.on, place)


def _bind_aggregate(aggregate: Aggregate, source: EventSource, schema: Schema, place: str) -> None:
    value = aggregate.until if isinstance(aggregate, Pending) else aggregate.reads
    reads = set(columns_of(aggregate.where)) if aggregate.where else set()
    for column in sorted(reads | ({value} if value else set())):
        _exists(column, schema, place, source)
        required_rule(column, source, place)
    if value:
        aggregate.check_type(value, schema[value], place)


def _bind_entities(
    project: Project,
    schemas: Mapping[str, Schema],
    source: Source,
    entities: Sequence[str],
    on: Mapping[str, str],
    place: str,
) -> None:
    """A view's entity exists in its source and on the spine's row, where it is known at prediction."""
    if wrong := sorted(set(on) - set(entities)):
        raise InvalidDefinitionError(
            f"{place}: on= names {wrong[0]!r}, which is not among entities=. {nearest(wrong[0], entities)}"
        )
    for entity in entities:
        _exists(entity, schemas[source.name], place, source)
        required_rule(entity, source, place)
        _bind_row(project, schemas, on.get(entity, entity), place)


def _bind_on_demand(project: Project, feature: OnDemand) -> None:
    others = [item for item in project.features.features if not isinstance(item, OnDemand | Derived)]
    known = [name for item in others for name in names_of(item)]
    for name in feature.inputs:
        if name not in known:
            raise InvalidDefinitionError(
                f"OnDemand {feature.name!r} reads {name!r}, which is no feature of the service that is neither derived nor on "
                f"demand. {nearest(name, known)}"
            )


def _bind_derived(project: Project, feature: Derived) -> None:
    derived = {item.name for item in project.features.features if isinstance(item, Derived)}
    simple = [name for name in feature_names(project.features) if name not in derived]
    for name in sorted(columns_of(feature.sql)):
        if name not in simple:
            raise InvalidDefinitionError(
                f"Derived {feature.name!r} reads {name!r}, which is no feature of the service that is not itself derived. {nearest(name, simple)}"
            )
