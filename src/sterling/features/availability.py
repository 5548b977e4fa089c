"""When each column of a source becomes known, and under which name a snapshot keeps that time.

Every row of a snapshot carries its clocks as int64 microseconds: ``_event_time``, ``_available_at`` and, for each
column with a rule of its own, ``_known_<column>``; null means never. A dimension table's ``_event_time`` is its
``valid_from``, and the columns that its ``valid_to`` reads are known when the row ends. The versions of an event that is
updated have their number, from 1, in ``_version``, and in ``_replaced_at`` when the next one became available.
"""

from __future__ import annotations

from typing import NamedTuple

from sterling.project.availability import required_rule
from sterling.project.sources import Delay, EntitySource, EventSource
from sterling.project.sql import column_plus_constant, columns_of
from sterling.project.times import micros

EVENT_TIME = "_event_time"
AVAILABLE_AT = "_available_at"
VALID_TO = "_valid_to"
EVENT_ID = "_event_id"
VERSION = "_version"
REPLACED_AT = "_replaced_at"

Source = EventSource | EntitySource


class Rule(NamedTuple):
    """When a column becomes known.

    Attributes:
        column: The column.
        clock: The snapshot's column with that time.
        said: The time as the source says it.
        constant: The time as a column plus microseconds, where it is that.
    """

    column: str
    clock: str
    said: str
    constant: tuple[str, int] | None


def happened(source: Source) -> str:
    """The expression of a row's first clock: when it happened, or from when it is true."""
    return source.event_time if isinstance(source, EventSource) else source.valid_from


def own_rules(source: Source) -> dict[str, str]:
    """Columns with a rule of their own, and that rule."""
    if isinstance(source, EventSource):
        return dict(source.known)
    ends = columns_of(source.valid_to) if source.valid_to else frozenset()
    starts = columns_of(source.valid_from) | set(source.entities)
    return dict.fromkeys(sorted(ends - starts), source.valid_to or "")


def clock_of(column: str) -> str:
    """Name of the clock of a column with a rule of its own."""
    return f"_known_{column}"


def rule_of(column: str, source: Source, place: str) -> Rule:
    """When a column becomes known.

    Args:
        column: Name of the column.
        source: Its source.
        place: What reads it; an error begins with it.

    Raises:
        NotKnownAtPredictionError: if the source does not say.
    """
    own = own_rules(source)
    if column in own:
        return Rule(column, clock_of(column), own[column], column_plus_constant(own[column]))
    required_rule(column, source, place)
    return Rule(column, AVAILABLE_AT, _said(source), _constant(source))


def clocks_of(columns: frozenset[str], source: Source, place: str) -> tuple[str, ...]:
    """The clocks that have all passed when a row and these columns of it are known."""
    return tuple(sorted({AVAILABLE_AT} | {rule_of(column, source, place).clock for column in columns}))


def proved(rule: Rule, moment: str) -> bool:
    """Whether a column is known before a moment by their definitions alone: one column plus a constant each."""
    then = column_plus_constant(moment)
    return bool(then and rule.constant and rule.constant[0] == then[0] and rule.constant[1] < then[1])


def _said(source: Source) -> str:
    rule = source.available_at
    return f"{happened(source)} + {rule.duration}" if isinstance(rule, Delay) else rule


def _constant(source: Source) -> tuple[str, int] | None:
    rule = source.available_at
    if not isinstance(rule, Delay):
        return column_plus_constant(rule)
    found = column_plus_constant(happened(source))
    return (found[0], found[1] + micros(rule.duration)) if found else None
