"""How a request comes to its answer: by the versions that its rows are assigned to, and by a chain where these cannot."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any, NamedTuple

from sterling.core.errors import DataError, StorageError
from sterling.features.on_demand import FunctionFailedError
from sterling.project.fallbacks import External, Link, PreviousModel
from sterling.project.rollout import WHOLE
from sterling.serving.counters import Counted
from sterling.serving.fallback import (
    CANARY_FAILED,
    ERROR,
    MISSING,
    OVERLOAD,
    STALE,
    TIMEOUT,
    UNKNOWN,
    Chain,
    Fell,
    Row,
    Tried,
    scores_of,
    seconds_of,
)
from sterling.serving.in_time import TimedOutError, in_time
from sterling.serving.inputs import Beyond, Inputs, Nulled
from sterling.serving.metrics import Metrics
from sterling.serving.outside import Outside, OutsideError
from sterling.serving.parts import Part, numbered
from sterling.serving.released import Follower, Predicted, Routed, ServedModel
from sterling.serving.requests import Asked, RefusedRequestError
from sterling.serving.router import CANARY, unit_text

_log = logging.getLogger("sterling.serving")
_VERSIONS = 4
_MODELS = 16
_FAILURES = {CANARY_FAILED, ERROR, MISSING, TIMEOUT}
"""Why something else answers where the version that was asked is at fault; it is not where too many wait."""


class _Some(NamedTuple):
    """Some rows of a request, of one arm.

    Attributes:
        asked: The request with these rows alone.
        routed: What they were assigned to.
        numbers: Their places in the request; None for all of it.
        units: The unit of each.
        of: How many rows the request has.
        queued: How many requests waited when it came.
        others: The processor seconds of this thread that went by while a model behind a URL was waited for.
        features: The features of each row, where the version has them.
    """

    asked: Asked
    routed: Routed
    numbers: Sequence[int] | None
    units: Sequence[str | None]
    of: int
    queued: int
    others: list[float]
    features: Sequence[Row] | None = None

    def at(self, places: Sequence[int]) -> _Some:
        """Those at some places."""
        if len(places) == len(self.units):
            return self
        numbers = range(len(self.units)) if self.numbers is None else self.numbers
        features = None if self.features is None else [self.features[place] for place in places]
        return _Some(
            self.asked._replace(rows=[self.asked.rows[place] for place in places]), self.routed,
            [numbers[place] for place in places], [self.units[place] for place in places], self.of, self.queued,
            self.others, features,
        )  # fmt: skip


class Answering:
    """Answers requests.

    Args:
        follower: Says what is served.
        metrics: What is counted.
        beyond: What becomes of values that training did not know.
        room: How many requests may wait.
    """

    def __init__(self, follower: Follower, metrics: Metrics, beyond: Beyond, room: int) -> None:
        self._follower, self._metrics, self._beyond, self._room = follower, metrics, beyond, room
        self._inputs: dict[tuple[str, int], Inputs] = {}
        self._outside: dict[External, Outside] = {}

    async def answer(
        self, asked: Asked, request_id: str, queued: int = 0, others: list[float] | None = None
    ) -> list[Part]:
        """The parts of an answer, of which each row is in one; nothing is waited for but models behind URLs.

        Args:
            asked: The request.
            request_id: Its name.
            queued: How many requests waited when it came.
            others: Where the processor seconds of this thread are noted that went by while it waited.

        Raises:
            DataError: if a row cannot be taken.
            SterlingError: if the version cannot answer, and no link of its chain can.
        """
        parts: list[Part] = []
        others = [] if others is None else others
        for routed in self._follower.route(asked.rows, asked.unit, request_id):
            mine = asked
            if routed.numbers is not None:
                mine = asked._replace(rows=[asked.rows[number] for number in routed.numbers])
            some = _Some(mine, routed, routed.numbers, routed.units, len(asked.rows), queued, others)
            answered = self._routed if routed.counted is None else self._counted
            parts += await answered(some, request_id)
        for part in parts:
            if part.fell is not None:
                self._metrics.fell_back(part.assigned.version, part.fell.link, part.fell.reason)
        return parts

    def inputs_of(self, served: ServedModel) -> Inputs:
        """What training knew of the values that a version reads."""
        key = (served.ref, served.position)
        found = self._inputs.get(key)
        if found is None:
            if len(self._inputs) >= _VERSIONS:
                self._inputs.clear()
            online = self._follower.online
            checks = online.project.spine.source.checks if online else ()
            found = self._inputs[key] = Inputs(served.model.columns, checks, self._beyond)
        return found

    async def _counted(self, some: _Some, request_id: str) -> list[Part]:
        """What is said of rows, counted for the arm that they were assigned to."""
        started, cpu, before = time.perf_counter(), time.thread_time(), len(some.others)
        try:
            parts = await self._routed(some, request_id)
        except Exception as error:
            some.routed.failed(error)
            raise
        if some.routed.counted is not None:
            cpu = time.thread_time() - cpu - sum(some.others[before:])
            _count(some.routed.counted, parts, time.perf_counter() - started, cpu)
        return parts

    async def _routed(self, some: _Some, request_id: str) -> list[Part]:
        """What the version says that the rows are assigned to; where a canary cannot, the live one, and then its chain."""
        served, live = some.routed.served, self._follower.served
        if some.routed.assigned.arm != CANARY:
            return await self._chained(served, some)
        try:
            return [self._by_model(served, some, live.chain.timeout_seconds if live.chain else None)]
        except Exception as error:  # noqa: BLE001  whatever ails a canary, its units are answered
            _log.warning("the canary, version %s, cannot answer %s: %s", served.version, request_id, error)
        failed = Fell("live", CANARY_FAILED)
        return [part if part.fell else part._replace(fell=failed) for part in await self._chained(live, some)]

    async def _chained(self, served: ServedModel, some: _Some) -> list[Part]:
        """What a version says, and its chain where it cannot."""
        chain = served.chain
        if chain is None:
            part = self._by_model(served, some)
            some.routed.answered(some.asked, part.found, part.decisions)
            return [part]
        parts: list[Part] = []
        if some.queued * WHOLE >= chain.queue_share * self._room:
            parts, left = await self._instead(chain, served, some, OVERLOAD)
            if not left:
                return parts
            some = some.at(left)
        try:
            part = self._by_model(served, some, chain.timeout_seconds)
        except (TimedOutError, StorageError, FunctionFailedError) as error:
            return parts + await self._failed(chain, served, some, error)
        except DataError:
            raise  # the request's own fault
        except Exception as error:  # noqa: BLE001  whatever ails it, its chain answers
            return parts + await self._failed(chain, served, some, error)
        some.routed.answered(some.asked, part.found, part.decisions)
        return parts + await self._believed(chain, served, some, part)

    async def _failed(self, chain: Chain, served: ServedModel, some: _Some, error: Exception) -> list[Part]:
        """What a chain says where its version failed; the failure itself, where it has nothing to say of a row."""
        parts, left = await self._instead(chain, served, some, _reason(error))
        if not left:
            _log.debug("version %s cannot answer: %s", served.version, error)
            return parts
        if isinstance(error, TimedOutError):
            raise RefusedRequestError(
                503,
                f"Version {served.version} cannot answer, and no fallback can. {error}",
                headers={"Retry-After": "1"},
            ) from error
        raise error

    async def _believed(self, chain: Chain, served: ServedModel, some: _Some, part: Part) -> list[Part]:
        """An answer, but for rows whose features cannot be relied on and of which the chain says something."""
        doubted, reason = _doubted(chain, served, part)
        if not doubted:
            _keep(chain, part, _units(chain, some))
            return [part]
        parts, left = await self._instead(chain, served, some._replace(features=part.found.rows).at(doubted), reason)
        answered = {place for number, place in enumerate(doubted) if number not in left}
        rest = part.cut([place for place in range(len(part.units)) if place not in answered])
        return [*parts, rest] if rest.units else parts

    def _by_model(self, served: ServedModel, some: _Some, seconds: float | None = None) -> Part:
        try:
            with nullcontext() if seconds is None else in_time(seconds):
                nulled = self.inputs_of(served).check(some.asked.rows)
                found = served.answer(some.asked)
        except DataError as error:
            if some.numbers is None:
                raise
            raise numbered(error, some.numbers, some.of) from error
        for one in nulled:
            self._metrics.nulled(one.field)
        if some.numbers is not None:
            nulled = [Nulled(some.numbers[one.row], one.field) for one in nulled]
        decisions = served.decisions(found.scores)
        return Part(served, found, some.routed.assigned, some.units, some.numbers, decisions, nulled)

    async def _instead(
        self, chain: Chain, served: ServedModel, some: _Some, reason: str
    ) -> tuple[list[Part], list[int]]:
        """What the links of a chain say, one after the other, and the places of rows of which none says anything."""
        parts: list[Part] = []
        tried: list[Tried] = []
        left = list(range(len(some.units)))
        for link in chain.links:
            if not left:
                break
            rest = some.at(left)
            if isinstance(link, PreviousModel):
                part, answered = self._by_previous(link, chain, served, rest, reason)
            elif isinstance(link, External):
                part, answered = await self._by_external(link, served, rest, reason, tried)
            else:
                part, answered = _given(link, chain, served, rest, reason)
            if part is not None:
                if tried and part.fell:
                    part = part._replace(fell=part.fell._replace(tried=tuple(tried)))
                parts.append(part)
                left = [place for number, place in enumerate(left) if number not in answered]
        return parts, left

    def _by_previous(
        self, link: PreviousModel, chain: Chain, served: ServedModel, some: _Some, reason: str
    ) -> tuple[Part | None, set[int]]:
        """What the version says that was live before, and of which rows; nothing where it would fare no better."""
        previous = self._follower.previous
        if previous is None or previous.version == served.version or reason == OVERLOAD:
            return None, set()
        if reason in {MISSING, STALE} and previous.vector is not None and previous.vector.plans:
            return None, set()
        try:
            part = self._by_model(previous, some, None if link.timeout is None else seconds_of(link.timeout))
        except Exception as error:  # noqa: BLE001  the next link is asked
            _log.debug("the previous version, %s, cannot answer either: %s", previous.version, error)
            return None, set()
        known = set(range(len(part.units)))
        if reason == UNKNOWN and chain.unknown_share is not None:
            known -= {*previous.known.beyond(part.found.rows, chain.unknown_share)}
        fell = part.cut(sorted(known))._replace(fell=Fell("previous", reason))
        return (fell, known) if known else (None, known)

    async def _by_external(
        self, link: External, served: ServedModel, some: _Some, reason: str, tried: list[Tried]
    ) -> tuple[Part | None, set[int]]:
        """What a model behind a URL says, of all rows or of none; why it said nothing, among those that were tried."""
        if reason == OVERLOAD:
            return None, set()
        names = link.model.columns or served.model.names
        try:
            rows = some.features
            if rows is None:
                with in_time(seconds_of(link.timeout)):
                    rows = served.rows_with(some.asked, names)
            probabilities = served.model.predictor.answers == "probability"
            scores = await self.outside(link).ask(names, rows, probabilities=probabilities, others=some.others)
        except Exception as error:  # noqa: BLE001  the next link is asked
            why = error.reason if isinstance(error, OutsideError) else _reason(error)
            _log.debug("the model %r from outside cannot answer either: %s", link.model.name, error)
            self._metrics.unanswered(link.model.name, why)
            tried.append(Tried(link.model.name, why))
            return None, set()
        part = Part(
            served, Predicted(scores, [{}] * len(rows), None), some.routed.assigned, some.units, some.numbers,
            served.decisions(scores), (), Fell("external", reason, external=link.model),
        )  # fmt: skip
        return part, set(range(len(rows)))

    def outside(self, link: External) -> Outside:
        """Asks the model of a link; links that are alike share their connections, whatever version they are of."""
        found = self._outside.get(link)
        if found is None:
            if len(self._outside) >= _MODELS:  # those in use are asked until they have answered
                self.close()
            found = self._outside[link] = Outside(link.model, seconds_of(link.timeout), link.connections)
        return found

    async def ask_outside(self) -> None:
        """Ask the models behind URLs of the live version's chain once, so that a wrong URL is in the log before it is needed."""
        served = self._follower.served
        for link in served.chain.links if served.chain else ():
            if isinstance(link, External):
                names = link.model.columns or served.model.names
                with suppress(Exception):  # the log says it, and no fallback keeps a server from starting
                    probabilities = served.model.predictor.answers == "probability"
                    await self.outside(link).ask(names, [served.known.example()], probabilities=probabilities)

    def troubles(self) -> list[dict[str, Any]]:
        """The models behind URLs that were asked, and what troubles each, or None."""
        return [{"name": link.model.name, "trouble": asked.trouble} for link, asked in self._outside.items()]

    def close(self) -> None:
        """Close the connections to models behind URLs."""
        for model in self._outside.values():
            model.close()
        self._outside.clear()


def _count(counted: Counted, parts: Sequence[Part], seconds: float, cpu_seconds: float) -> None:
    """Count what was said of one unit: by the version that was asked, or instead of it."""
    tally, arm, unit = counted
    own = [part for part in parts if part.fell is None]
    if own:
        tally.answered(
            arm, unit, seconds=seconds, cpu_seconds=cpu_seconds, scores=own[0].found.scores, decisions=own[0].decisions
        )
    elif all(part.fell is not None and part.fell.reason in _FAILURES for part in parts):
        tally.failed(arm, unit)
    else:
        tally.passed(arm, unit)


def _reason(error: Exception) -> str:
    if isinstance(error, TimedOutError):
        return TIMEOUT
    return MISSING if isinstance(error, StorageError) else ERROR


def _doubted(chain: Chain, served: ServedModel, part: Part) -> tuple[list[int], str]:
    """Rows whose features are too old, or unlike all that training knew; and which of these."""
    vector = served.vector
    if chain.stale_micros is not None and vector is not None and part.found.at is not None:
        age = vector.age_micros()
        if age is not None and age > chain.stale_micros:
            return list(range(len(part.units))), STALE
    if chain.unknown_share is not None:
        return served.known.beyond(part.found.rows, chain.unknown_share), UNKNOWN
    return [], UNKNOWN


def _units(chain: Chain, some: _Some) -> list[str | None]:
    """The unit of each row, as a cache knows it."""
    if chain.unit is None:
        return list(some.units)
    return [unit or unit_text(row.get(chain.unit)) for unit, row in zip(some.units, some.asked.rows, strict=True)]


def _keep(chain: Chain, part: Part, units: Sequence[str | None]) -> None:
    if chain.cache is None:
        return
    scores, decisions = part.found.scores.tolist(), part.decisions or [None] * len(units)
    for unit, score, act in zip(units, scores, decisions, strict=True):
        if unit is not None:
            chain.cache.keep(unit, part.served.version, score, act=act)


def _given(
    link: Link, chain: Chain, served: ServedModel, some: _Some, reason: str
) -> tuple[Part | None, set[int]]:  # fmt: skip
    """What a link says that asks no model, and of which rows."""
    vector, units = served.vector, _units(chain, some)
    found = {
        place: given
        for place, row in enumerate(some.asked.rows)
        if (given := chain.given(link, row, units[place], served.version, raw=vector is not None and vector.takes(row)))
    }
    if not found:
        return None, set()
    scores = scores_of([*found.values()])
    judged: Sequence[bool | None] = served.decisions(scores) or [None] * len(found)
    decisions = [by if given.act is None else given.act for given, by in zip(found.values(), judged, strict=True)]
    ages = [given.age for given in found.values() if given.age is not None]
    rest = some.at([*found])
    part = Part(
        served, Predicted(scores, [{}] * len(found), None), some.routed.assigned, rest.units, rest.numbers,
        None if all(one is None for one in decisions) else decisions, (), Fell(type(link).__name__.lower(), reason, ages or None),
    )  # fmt: skip
    return part, set(found)
