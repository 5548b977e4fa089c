"""Which rule says when a column of a source becomes known."""

from __future__ import annotations

from sterling.core.errors import NotKnownAtPredictionError
from sterling.project.sources import Delay, EntitySource, EventSource
from sterling.project.sql import columns_of


def required_rule(column: str, source: EventSource | EntitySource, place: str) -> Delay | str:
    """When a column becomes known.

    Args:
        column: Name of the column.
        source: Its source.
        place: What reads it; an error begins with it.

    Raises:
        NotKnownAtPredictionError: if the source does not say.
    """
    rule = _rule(source, column)
    if rule is None:
        raise NotKnownAtPredictionError(
            f"{place} reads {column!r} of {source.name}, which stands in neither columns= nor known=: when it becomes known "
            f"is not said. Say it: known={{{column!r}: …}}."
        )
    return rule


def _rule(source: EventSource | EntitySource, column: str) -> Delay | str | None:
    """When a column of a source becomes known, as the source says it; None where it does not.

    The source's own rule covers ``columns=`` (every column, where that is None) and what names and times the row:
    its id, its entities and what ``event_time`` or ``valid_from`` reads.
    """
    if isinstance(source, EventSource) and column in source.known:
        return source.known[column]
    if source.columns is None or column in source.columns or column in source.entities:
        return source.available_at
    named = {source.event_id} if isinstance(source, EventSource) else set()
    timed = columns_of(source.event_time if isinstance(source, EventSource) else source.valid_from)
    return source.available_at if column in named | timed else None
