"""Fallbacks: what answers where the version that is asked cannot, one after the other until one does."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.external import ExternalModel
from sterling.project.rollout import millionths
from sterling.project.sql import columns_of
from sterling.project.tasks import Binary, Regression, Task
from sterling.project.times import window_micros

_MILLISECONDS = re.compile(r"([1-9]\d{0,8})ms")


class PreviousModel(Definition, frozen=True):
    """The version that a rollback would lead to answers, by its own policy.

    It is passed over where too many requests wait, since it costs as much as the live version, and where the online state
    is missing or stale and it reads that, too.

    Args:
        timeout: How long it may take, such as ``"50ms"``; None for as long as it likes.
    """

    timeout: str | None = None

    def check(self) -> None:
        """Refuse what is no duration."""
        if self.timeout is not None:
            time_micros(self.timeout, field="PreviousModel.timeout")


class External(Definition, frozen=True):
    """A model behind a URL answers, and the version's threshold judges what it says.

    It is passed over where too many requests wait, where a feature that it is sent is neither in the request nor can be
    computed, and where it is asked about as many requests already as it has connections; so are an error, a timeout, and
    an answer that is not one score a row.

    Args:
        model: Where it is, and how it is spoken to; its ``role`` and ``timeout`` are about runs.
        timeout: How long it may take for one request, connecting included, such as ``"200ms"``.
        connections: How many requests ask it at once at most, in each server process.
    """

    model: ExternalModel
    timeout: str = "1s"
    connections: int = 8

    def check(self) -> None:
        """Refuse what is no duration, and room for nobody."""
        time_micros(self.timeout, field="External.timeout")
        if not 1 <= self.connections <= 100:
            raise InvalidDefinitionError(f"External.connections is {self.connections}. It lies from 1 to 100.")


class Cached(Definition, frozen=True):
    """What the version said last of the same unit, with its age; a unit of which it has said nothing is passed on.

    Each server process keeps its own. A unit has one answer, the last one: leave this link out where rows of one unit
    differ in more than time.

    Args:
        max_age: How old an answer may be, such as ``"1h"``.
        entries: Units at most, in each process; the one that was asked for least recently makes room.
        across_versions: Whether what another version said counts, too, as after a release.
    """

    max_age: str
    entries: int = 10_000
    across_versions: bool = False

    def check(self) -> None:
        """Refuse what is no age, and room for nobody."""
        time_micros(self.max_age, field="Cached.max_age")
        if not 1 <= self.entries <= 10_000_000:
            raise InvalidDefinitionError(f"Cached.entries is {self.entries}. It lies from 1 to 10,000,000.")


class Rule(Definition, frozen=True):
    """A score by an expression over what a request brings; a row of which it is null is passed on.

    Args:
        sql: Row expression over the raw columns that the version reads, or over its features where requests bring these.
        act: Whether to act on it; None where the version's threshold says so.
    """

    sql: str
    act: bool | None = None

    def check(self) -> None:
        """Refuse what is no expression over one row."""
        columns_of(self.sql)


class Constant(Definition, frozen=True):
    """One score for everybody; it always answers.

    Args:
        value: The score: a probability, or a number where the task is one of numbers.
        act: Whether to act on it; None where the version's threshold says so.
    """

    value: float
    act: bool | None = None

    def check(self) -> None:
        """Refuse what is no number."""
        if not math.isfinite(self.value):
            raise InvalidDefinitionError(f"Constant.value is {self.value}. It is finite.")


class When(Definition, frozen=True):
    """When a fallback answers, besides where the version, or a function of the project, fails.

    Args:
        timeout: How long the version may take to answer, features included, such as ``"100ms"``; None for as long as it
            likes.
        queue: Share of the server's queue from which on the links answer that ask no model.
        stale: How old the newest change may be in the online state that the version reads; None where it does not matter.
        unknown: Share of a row's features that may lie outside of what training knew: a category that it has not seen, a
            number beyond its smallest and largest one, where the model has these; None where it does not matter.
    """

    timeout: str | None = None
    queue: str = "75%"
    stale: str | None = None
    unknown: str | None = None

    def check(self) -> None:
        """Refuse what is no duration or no share."""
        for name in ("timeout", "stale"):
            if (said := getattr(self, name)) is not None:
                time_micros(said, field=f"When.{name}")
        if millionths(self.queue, field="When.queue") == 0:
            raise InvalidDefinitionError(f"When.queue is {self.queue!r}. It lies above 0%.")
        if self.unknown is not None:
            millionths(self.unknown, field="When.unknown")


Link = PreviousModel | External | Cached | Rule | Constant
"""What may answer instead."""


def time_micros(duration: str, *, field: str) -> int:
    """A duration in microseconds that is longer than nothing, and may be one of milliseconds.

    Raises:
        InvalidDefinitionError: if it is no duration, or none at all.

    Example:
        >>> time_micros("50ms", field="timeout"), time_micros("2s", field="timeout")
        (50000, 2000000)
    """
    match = _MILLISECONDS.fullmatch(duration)
    return int(match[1]) * 1_000 if match else window_micros(duration, field=field)


def check_fallback(links: Sequence[Link], task: Task) -> None:
    """Refuse a chain with links that are never asked, or whose score is none.

    Raises:
        InvalidDefinitionError: if a link stands twice, or behind one that always answers; or a score is no probability.

    Example:
        >>> check_fallback([Constant(0.24), PreviousModel()], Binary())
        Traceback (most recent call last):
            ...
        sterling.core.errors.InvalidDefinitionError: Project.fallback: PreviousModel stands behind a Constant, which always answers. Put the Constant last.
    """
    for place, link in enumerate(links):
        name = type(link).__name__
        if place and isinstance(links[place - 1], Constant):
            raise InvalidDefinitionError(
                f"Project.fallback: {name} stands behind a Constant, which always answers. Put the Constant last."
            )
        if not isinstance(link, Rule | External) and any(isinstance(before, type(link)) for before in links[:place]):
            raise InvalidDefinitionError(f"Project.fallback names {name} twice. Once is enough.")
        if isinstance(link, External) and link.model.name in {
            before.model.name for before in links[:place] if isinstance(before, External)
        }:
            raise InvalidDefinitionError(
                f"Project.fallback has two models called {link.model.name!r}. Rename one of them: answers and counts go by names."
            )
        if isinstance(link, Constant | Rule | External) and not isinstance(task, Binary | Regression):
            raise InvalidDefinitionError(
                f"Project.fallback: {name} answers with one number, and Project.task is {type(task).__name__}. Use "
                "PreviousModel or Cached."
            )
        if isinstance(link, Constant) and isinstance(task, Binary) and not 0 <= link.value <= 1:
            raise InvalidDefinitionError(f"Constant.value is {link.value}. A score is a probability, in [0, 1].")


def doubts(links: Sequence[Link], *, previous: bool) -> Iterable[str]:
    """What may leave a request without an answer although there is a chain, in sentences.

    Args:
        links: The chain.
        previous: Whether a version was live before, so that a `PreviousModel` can answer.
    """
    if any(isinstance(link, PreviousModel) for link in links) and not previous:
        yield "PreviousModel cannot answer: no other version was live before."
    if links and not isinstance(links[-1], Constant):
        yield f"The last link, {type(links[-1]).__name__}, does not always answer. A Constant does."


def can_answer(links: Sequence[Link], *, previous: bool) -> bool:
    """Whether any link of a chain can ever answer; see `doubts`."""
    return any(previous or not isinstance(link, PreviousModel) for link in links)
