"""The endpoints of the server: predictions, what became of them, and what it says of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sterling.core.clock import to_micros, utcnow
from sterling.serving.answering import Answering
from sterling.serving.explained import explained
from sterling.serving.front import Answer, Endpoint, Front, Incoming
from sterling.serving.ingest import Ingestion
from sterling.serving.inputs import Beyond
from sterling.serving.keys import Keys
from sterling.serving.metrics import MEDIA_TYPE, Metrics, Waiting
from sterling.serving.openapi import openapi
from sterling.serving.outcomes import FEEDBACK, OUTCOMES, Outcomes
from sterling.serving.parts import Part, answer_said, records, release_said
from sterling.serving.prediction_log import PredictionLog
from sterling.serving.released import Follower
from sterling.serving.requests import Limits, RefusedRequestError, read_request


@dataclass(frozen=True)
class Service:
    """What a server does besides answering.

    Attributes:
        limits: How much a request may ask, and how many may wait.
        ingestion: Takes rows of the project's sources, where they come to this server.
        outcomes: Takes outcomes and complaints, or None.
        log: Where predictions are kept, or None.
        keys: Who may ask; None where everybody may.
        beyond: What becomes of values that training did not know.
        cpu_price_hour: Price of an hour of one processor, for the cost of predictions; 0 for none.
        counters: Folder in which all processes count what stages of a rollout are judged by, or None.
    """

    limits: Limits = field(default_factory=Limits)
    ingestion: Ingestion | None = None
    outcomes: Outcomes | None = None
    log: PredictionLog | None = None
    keys: Keys | None = None
    beyond: Beyond = "refuse"
    cpu_price_hour: float = 0.0
    counters: Path | None = None


class Endpoints:
    """Answers of one server.

    Args:
        follower: Says what is served.
        service: What the server does besides.
        queued: Says how many requests wait now.
    """

    def __init__(self, follower: Follower, service: Service, queued: Callable[[], int] = lambda: 0) -> None:
        self._follower, self._service, self._queued = follower, service, queued
        self.metrics = Metrics(cpu_price_hour=service.cpu_price_hour, look=self._look)
        self.draining = False
        self._answering = Answering(follower, self.metrics, service.beyond, service.limits.queue)

    def front(self) -> Front:
        """The ASGI application."""
        endpoints = {
            "/v1/predict": Endpoint("predict", "POST", self.predict, "predict", sheds=True),
            "/version": Endpoint("version", "GET", self.version, "predict"),
            "/openapi.json": Endpoint("openapi", "GET", self.openapi),
            "/health": Endpoint("health", "GET", self.health),
            "/ready": Endpoint("ready", "GET", self.ready),
            "/metrics": Endpoint("metrics", "GET", self.show_metrics, "operate"),
        }
        if self._service.outcomes is not None:
            for kind in (OUTCOMES, FEEDBACK):
                endpoints[f"/v1/{kind}"] = Endpoint(kind, "POST", self._taking(kind), "outcomes", sheds=True)
        if self._service.ingestion is not None:
            endpoints["/v1/events/"] = Endpoint("events", "POST", self.events, "outcomes", sheds=True)
        return Front(endpoints, self._service.limits, self.metrics, self._service.keys, self._while_serving)

    async def predict(self, request: Incoming) -> Answer:
        """Scores of rows."""
        started, cpu = time.perf_counter(), time.thread_time()
        asked = read_request(request.body, self._service.limits)
        read = time.perf_counter()
        others: list[float] = []
        parts = await self._answering.answer(asked, request.id, request.queued, others)
        if asked.explain is not None:
            parts = [explained(part, asked.explain) for part in parts]
        done = time.perf_counter()
        answer = Answer.json(answer_said(request.id, asked, parts, self._follower.served))
        cpu = time.thread_time() - cpu - sum(others)
        self._count(request, parts, cpu)
        if self._service.log is not None:
            latency = {
                "wait": _micros(started - request.arrived), "read": _micros(read - started), "predict": _micros(done - read)
            }  # fmt: skip
            for record in records(request.id, parts, latency, cpu):
                self._service.log.add(record)
        return answer

    def _count(self, request: Incoming, parts: Sequence[Part], cpu_seconds: float) -> None:
        """Count what versions predicted; what was answered without a model is counted as a fallback alone."""
        seconds, rows = time.perf_counter() - request.arrived, sum(len(part.units) for part in parts)
        for part in parts:
            if part.by_model:
                mine = len(part.units)
                self.metrics.predicted(
                    part.served.version, rows=mine, seconds=seconds, cpu_seconds=cpu_seconds * mine / rows
                )

    def _taking(self, kind: str) -> Callable[[Incoming], Any]:
        outcomes = self._service.outcomes
        assert outcomes is not None

        async def take(request: Incoming) -> Answer:
            rows = read_request(request.body, self._service.limits).rows
            return _pushed(await asyncio.to_thread(outcomes.push, kind, rows), len(rows))

        return take

    async def events(self, request: Incoming) -> Answer:
        """Take rows of a source."""
        assert self._service.ingestion is not None
        rows = read_request(request.body, self._service.limits).rows
        return _pushed(await asyncio.to_thread(self._service.ingestion.push, request.path, rows), len(rows))

    async def version(self, _: Incoming) -> Answer:
        """What answers, and what it reads."""
        served = self._follower.served
        here: Mapping[str, Mapping[str, Any]] = (
            served.vector.sources
            if served.vector
            else {feature.name: {"computed_from": list(feature.inputs)} for feature in served.computed}
        )
        outputs = {"outputs": list(served.model.outputs)} if served.model.outputs else {}
        features = [
            {"name": column.name, "kind": column.kind, **here.get(column.name, {})} for column in served.model.columns
        ]
        raw = {"raw_columns": list(served.vector.raw.needed)} if served.vector else {}
        policy = {"policy": said} if (said := served.policy()) else {}
        plan, counts = {"weights": self._follower.plan.weights}, self._follower.disagreement
        shadow = {"shadow": counts} if counts else {}
        return Answer.json(release_said(served) | plan | {"features": features} | raw | outputs | policy | shadow)

    async def openapi(self, _: Incoming) -> Answer:
        """What may be asked, of the version that answers now."""
        served, service = self._follower.served, self._service
        document = openapi(
            served, self._answering.inputs_of(served), service.limits, keys=service.keys is not None, beyond=service.beyond,
            outcomes=service.outcomes is not None, events=service.ingestion is not None,
        )  # fmt: skip
        return Answer.json(document)

    async def health(self, _: Incoming) -> Answer:
        """Whether the process lives, and what troubles it."""
        service, served = self._service, self._follower.served
        trouble = (
            self._follower.trouble
            or self._follower.without_ledger
            or (service.ingestion and service.ingestion.trouble)
            or (service.log and service.log.trouble)
        )
        status = "degraded" if trouble else "ok"
        fresh = served.vector.freshness() if served.vector else None
        online = {} if fresh is None else {"online": fresh}
        external = {"external": said} if (said := self._answering.troubles()) else {}
        return Answer.json({"status": status, "trouble": trouble or None} | release_said(served) | online | external)

    async def ready(self, _: Incoming) -> Answer:
        """Whether requests are to be sent here."""
        if self.draining:
            raise RefusedRequestError(503, "The server is about to end.", headers={"Retry-After": "1"})
        if self._queued() >= self._service.limits.queue:
            raise RefusedRequestError(503, "Too many requests wait.", headers={"Retry-After": "1"})
        return Answer.json({"status": "ready"} | release_said(self._follower.served))

    async def show_metrics(self, _: Incoming) -> Answer:
        """What was counted."""
        return Answer(self.metrics.text(), media_type=MEDIA_TYPE)

    def _look(self) -> Waiting:
        served, log = self._follower.served, self._service.log
        newest = served.vector.newest if served.vector else 0
        age = (to_micros(utcnow()) - newest) / 1_000_000 if newest else None
        waiting, dropped = (log.waiting, log.dropped) if log else (0, 0)
        return Waiting(self._queued(), age, waiting, dropped, served.version)

    @asynccontextmanager
    async def _while_serving(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._follower.follow())
        asking = asyncio.create_task(self._answering.ask_outside())
        with ExitStack() as stack:
            stack.callback(self._answering.close)
            for part in (self._service.log, self._service.ingestion):
                if part is not None:
                    stack.enter_context(part.in_background())
            yield
            for running in (asking, task):
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running


def _pushed(pushed: Any, rows: int) -> Answer:
    refused = [refusal._asdict() for refusal in pushed.refused]
    if len(refused) == rows:
        first = pushed.refused[0]
        raise RefusedRequestError(422, first.reason, row=first.row)
    return Answer.json(pushed._asdict() | {"refused": refused})


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)
