"""The spine, the moments of prediction, and the label that each of them waits for."""

from __future__ import annotations

from typing import Literal

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.sources import EntitySource, EventSource
from sterling.project.times import calendar, moment_micros, window_micros, zone


class EventSpine(Definition, frozen=True):
    """A moment of prediction for each event of a source.

    Args:
        source: The events; ``event_id`` names the unit.
        predict_at: SQL expression over the event's own columns, such as ``"scheduled_departure - INTERVAL 2 HOUR"``.
            What it reads must be known by then.
        where: SQL condition on the event's own columns; only its rows are predicted.
    """

    source: EventSource
    predict_at: str
    where: str | None = None

    def check(self) -> None:
        """Refuse events without a name."""
        if self.source.event_id is None:
            raise InvalidDefinitionError(
                f"EventSpine: {self.source.name} has no event_id=, which names what is predicted."
            )


class ScheduledSpine(Definition, frozen=True):
    """A population on a calendar: every entity whose row is true and known at that moment.

    Args:
        source: The population, a dimension table with history.
        every: Days and a local time: ``"MON 06:00"``, ``"MON,THU 18:30"`` or ``"DAY 06:00"``.
        tz: IANA zone of the calendar. A local time that a change to daylight saving skips moves forward by the gap;
            one that occurs twice means the first.
        where: SQL condition on the entity's columns.
    """

    source: EntitySource
    every: str
    tz: str = "UTC"
    where: str | None = None

    def check(self) -> None:
        """Refuse what is no calendar."""
        calendar(self.every)
        zone(self.tz, field="ScheduledSpine.tz")


class Label(Definition, frozen=True):
    """What is true of a later event of the same id.

    Args:
        expression: SQL condition over the event's columns, such as ``"arr_delay >= 15"``.
        source: The later events; joined to the spine by ``event_id``.
        horizon: A label that is not known this long after the prediction is missing; before that it is pending.
        missing: ``"drop"`` leaves rows with a missing label out of training and evaluation; 0 or 1 is their label.
    """

    expression: str
    source: EventSource
    horizon: str
    missing: Literal["drop", 0, 1] = "drop"

    def check(self) -> None:
        """Refuse a source without ids and what is no duration."""
        window_micros(self.horizon, field="Label.horizon")
        if self.source.event_id is None:
            raise InvalidDefinitionError(f"Label: {self.source.name} has no event_id= to join the spine by.")


class Occurs(Definition, frozen=True):
    """Whether an event of the entity happens in the forward window (t, t + within].

    The label matures when the window has closed and everything in it is known by the source's own availability.

    Args:
        source: The events; looked up by the spine's entities, which it names the same way in its ``entities=``.
        within: Length of the window.
        where: SQL condition on the events.
    """

    source: EventSource
    within: str
    where: str | None = None

    def check(self) -> None:
        """Refuse what is no duration, and events of nobody."""
        window_micros(self.within, field="Occurs.within")
        if not self.source.entities:
            raise InvalidDefinitionError(f"Occurs: {self.source.name} has no entities= to find an entity's events by.")


class Holdout(Definition, frozen=True):
    """The block that models are judged on: moments of prediction in [start, end).

    Args:
        start: Date or ISO 8601 time. Training takes rows whose prediction and label both lie before it.
        end: Date or ISO 8601 time.
        tz: IANA zone of dates.
        looks: How many different models you plan to judge on these rows; beyond it reports warn. At least 1.
    """

    start: str
    end: str
    tz: str = "UTC"
    looks: int = 20

    def check(self) -> None:
        """Refuse what is no time, a block that ends before it starts, and one that nobody may look at."""
        zone(self.tz, field="Holdout.tz")
        if self.looks < 1:
            raise InvalidDefinitionError(f"Holdout.looks is {self.looks}. It is at least 1, the first model's.")
        first, last = self.span()
        if first >= last:
            raise InvalidDefinitionError(f"Holdout starts at {self.start} and ends at {self.end}: nothing lies there.")

    def span(self) -> tuple[int, int]:
        """Start and end in microseconds since 1970 in UTC."""
        return (
            moment_micros(self.start, self.tz, field="Holdout.start"),
            moment_micros(self.end, self.tz, field="Holdout.end"),
        )
