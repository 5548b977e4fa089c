"""Features: how the vector that a model reads is computed, once for training and for serving."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import FunctionType
from typing import Any

from sterling.core.errors import InvalidDefinitionError
from sterling.project.aggregates import AnyAggregate, aggregate_name, windows_of
from sterling.project.definition import Definition
from sterling.project.sources import Columns, EntitySource, EventSource, check_name
from sterling.project.times import window_micros


class Expression(Definition, frozen=True):
    """A value computed from the row that the spine stands on.

    Args:
        name: Name of the feature.
        sql: SQL expression over that row's columns, in a UTC session; times are TIMESTAMPTZ, so local hours name a
            zone: ``"hour(scheduled_departure AT TIME ZONE origin_tz)"``.
    """

    name: str
    sql: str

    def check(self) -> None:
        """Refuse a bad name."""
        check_name("An Expression", self.name)


class Last(Definition, frozen=True):
    """The last value of each column that was known at prediction; named ``source_column``.

    Of a dimension table with history it is the row that is true at the moment, and known by then, whatever its values: it
    counts from ``valid_from`` on, and until ``valid_to``, which is no part of it. Of several such rows it is the newest.

    Args:
        columns: Columns of an event source, such as ``weather["wind_speed", "visib"]``, or of a dimension table, such as
            ``plan["limit"]``.
        max_age: Values of events that happened longer ago are null; None for any age.
        on: Where the source's entity is called otherwise on the spine: source column to spine column.
        where: SQL condition on the event's own columns.
        name: What stands in the feature's name before the column; None for the source's name.
    """

    columns: Columns
    max_age: str | None = None
    on: dict[str, str] = {}
    where: str | None = None
    name: str | None = None

    def check(self) -> None:
        """Refuse what is no duration, and a source that is not looked up by anything."""
        _check_picked(self)


class First(Definition, frozen=True):
    """The first value of each column that was known at prediction; named ``source_first_column``.

    What comes late may have happened first, so the answer can change as more becomes known.

    Args:
        columns: Columns of an event source, such as ``orders["channel"]``.
        max_age: Only events count that happened this long ago or less; None for all.
        on: Where the source's entity is called otherwise on the spine: source column to spine column.
        where: SQL condition on the event's own columns.
        name: What stands in the feature's name before the column; None for the source's name and ``first``.
    """

    columns: Columns
    max_age: str | None = None
    on: dict[str, str] = {}
    where: str | None = None
    name: str | None = None

    def check(self) -> None:
        """Refuse what is no duration, and a source that is not looked up by anything."""
        _check_picked(self)


class FeatureView(Definition, frozen=True):
    """Aggregates of one source by one entity, named, owned and shareable.

    A feature is called ``view_operation_column_window``, such as ``origin_delay_mean_arr_delay_6h``; an aggregate's
    ``name=`` stands for operation and column, ``known`` or ``ahead`` before the window for another kind of window.

    Args:
        name: Name of the view.
        source: The events.
        entities: Columns of the source that say whose events they are.
        features: Aggregates.
        on: Where the entity is called otherwise on the spine: source column to spine column.
        owner: Who answers for the view.
        description: What it says, for people.
    """

    name: str
    source: EventSource
    entities: Sequence[str]
    features: Sequence[AnyAggregate]
    on: dict[str, str] = {}
    owner: str | None = None
    description: str | None = None

    def check(self) -> None:
        """Refuse a bad name, no entity and no features."""
        check_name("A FeatureView", self.name)
        for field in ("entities", "features"):
            if not getattr(self, field):
                raise InvalidDefinitionError(f"FeatureView {self.name!r}: {field}= is empty.")
        names = names_of(self)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidDefinitionError(
                f"FeatureView {self.name!r}: two aggregates are called {twice[0]!r}. Give one of them a name=."
            )


class OnDemand(Definition, frozen=True):
    """A number that a Python function of the project computes from other features of the row, offline and online alike.

    The function is part of the project: its code, and all that it reaches in the project's folder, is hashed. Training
    calls it for the rows of the history, and ``sterling serve`` calls the same function for a request's rows, so a
    request leaves the feature out. The function is pure: it answers the same for the same values, which is checked on a
    sample of rows, and it reads neither clocks nor files nor networks.

    Args:
        name: Name of the feature.
        function: A ``def`` at the top level of project.py or of a file beside it. It takes the inputs by position: a
            category as ``str``; a number as ``int`` where the feature holds whole numbers or conditions, else as
            ``float``; a null as ``None``. It returns a number, a bool or None. None and NaN are null.
        inputs: Names of other features of the service, neither `Derived` nor `OnDemand`.

    Example:
        >>> def per_mile(minutes: float | None, miles: float | None) -> float | None:
        ...     return minutes / miles if minutes is not None and miles else None
        >>> OnDemand("pace", per_mile, inputs=["air_time", "distance"]).inputs
        ('air_time', 'distance')
    """

    name: str
    function: Any
    inputs: Sequence[str]

    def check(self) -> None:
        """Refuse a bad name, what is no named function, and one that cannot take the inputs."""
        check_name("An OnDemand feature", self.name)
        place, function = f"OnDemand {self.name!r}", self.function
        if not isinstance(function, FunctionType) or {"<lambda>", "<locals>"} & set(function.__qualname__.split(".")):
            raise InvalidDefinitionError(
                f"{place}: {getattr(function, '__qualname__', repr(function))} is no function with a name of its own. Write "
                "it as a `def` at the top level of project.py or of a file beside it."
            )
        if not self.inputs:
            raise InvalidDefinitionError(f"{place}: inputs= is empty. Name the features that the function reads.")
        try:
            inspect.signature(function).bind(*self.inputs)
        except TypeError as error:
            raise InvalidDefinitionError(
                f"{place}: {function.__qualname__} cannot be called with {len(self.inputs)} inputs: {error}."
            ) from error


class Derived(Definition, frozen=True):
    """A value computed from other features.

    Args:
        name: Name of the feature.
        sql: SQL expression over feature names, such as ``"a / nullif(b, 0)"``.
    """

    name: str
    sql: str

    def check(self) -> None:
        """Refuse a bad name."""
        check_name("A Derived feature", self.name)


Feature = Columns | Expression | Last | First | FeatureView | OnDemand | Derived


class FeatureService(Definition, frozen=True):
    """The ordered vector that a model consumes.

    Args:
        features: Columns, expressions, last and first values, views, on-demand and derived features, in order.
    """

    features: Sequence[Feature]

    def check(self) -> None:
        """Refuse no features and two of one name."""
        names = feature_names(self)
        if not names:
            raise InvalidDefinitionError("FeatureService has no features.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidDefinitionError(f"Two features are called {twice[0]!r}. Rename one, or leave it out.")


def served(feature: Feature) -> bool:
    """Whether there are two ways to compute a feature, one for a history and one for a request."""
    return isinstance(feature, FeatureView | Last | First | Expression | Derived)


def feature_names(service: FeatureService) -> tuple[str, ...]:
    """Names of the vector's elements, in order."""
    return tuple(name for feature in service.features for name in names_of(feature))


def names_of(feature: Feature) -> tuple[str, ...]:
    """Names that one feature definition gives, in order.

    Example:
        >>> from sterling.project.aggregates import Mean
        >>> from sterling.project.sources import Delay, EventSource
        >>> landed = EventSource("landed", "landed.parquet", event_time="at", available_at=Delay("0m"))
        >>> names_of(FeatureView("late", landed, entities=["origin"], features=[Mean("delay", windows=["1h", "6h"])]))
        ('late_mean_delay_1h', 'late_mean_delay_6h')
    """
    match feature:
        case Columns():
            return tuple(feature.names)
        case Expression() | OnDemand() | Derived():
            return (feature.name,)
        case Last():
            return tuple(f"{feature.name or feature.columns.source.name}_{name}" for name in feature.columns.names)
        case First():
            before = feature.name or f"{feature.columns.source.name}_first"
            return tuple(f"{before}_{name}" for name in feature.columns.names)
        case FeatureView():
            return tuple(
                aggregate_name(feature.name, item, window) for item in feature.features for window in windows_of(item)
            )


def view_name(feature: Feature) -> str:
    """What a definition is called among the definitions of a service.

    Example:
        >>> view_name(Expression("dep_hour", "hour(departure)"))
        'dep_hour'
    """
    match feature:
        case Columns():
            return f"{feature.source.name}[{', '.join(feature.names)}]"
        case Last() | First():
            name = f" as {feature.name}" if feature.name else ""
            columns = ", ".join(feature.columns.names)
            return f"{type(feature).__name__.lower()} {feature.columns.source.name}[{columns}]{name}"
        case _:
            return feature.name


def _check_dimension(feature: Last | First, source: EntitySource) -> None:
    """A dimension table is asked for the row that is true at the moment, and for nothing else."""
    if isinstance(feature, First):
        raise InvalidDefinitionError(
            f"First reads events; {source.name} is a dimension table. Last({source.name}[…]) reads the row that is true at the "
            "moment."
        )
    for field in ("max_age", "where"):
        if getattr(feature, field) is not None:
            raise InvalidDefinitionError(
                f"Last: {field}= is for events; {source.name} is a dimension table, whose row is true from valid_from to "
                "valid_to. Leave it out."
            )


def _check_picked(feature: Last | First) -> None:
    kind, source = type(feature).__name__, feature.columns.source
    if feature.max_age is not None:
        window_micros(feature.max_age, field=f"{kind}.max_age")
    if isinstance(source, EntitySource):
        _check_dimension(feature, source)
    if not source.entities:
        raise InvalidDefinitionError(f"{kind}: {source.name} has no entities= to be looked up by.")
    if feature.name is not None:
        check_name(f"{kind}.name", feature.name)
