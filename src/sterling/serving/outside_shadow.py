"""A model behind a URL as a shadow: asked about what the live version has answered, and held against it row by row."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from sterling.project.fallbacks import External
from sterling.serving.metrics import Metrics
from sterling.serving.outside import Outside, OutsideError
from sterling.serving.released import SHADOW_AT_ONCE, Predicted, ServedModel
from sterling.serving.shadow import Disagreement, compared

_WAITING = 256


class _Waits(NamedTuple):
    """What was answered, and by which version."""

    served: ServedModel
    found: Predicted


class OutsideShadow:
    """Asks a model behind a URL after the answers were sent; what it cannot keep up with is dropped and counted.

    It lives in the event loop, and holds nobody up: `SHADOW_AT_ONCE` requests are asked about, and 256 wait.

    Args:
        link: The model, with how long it may take.
        outside: Asks it.
        metrics: What is counted.
    """

    def __init__(self, link: External, outside: Callable[[External], Outside], metrics: Metrics) -> None:
        self._link, self._outside, self._metrics = link, outside, metrics
        self._waiting = deque[_Waits]()
        self._tasks: set[asyncio.Task[None]] = set()
        self.counts = Disagreement(0)
        """How its scores differ from those of the version that it is held against."""

    def later(self, served: ServedModel, found: Predicted) -> None:
        """Ask about an answer soon, behind what the event loop has to do now, which is to send it."""
        if served.version != self.counts.version:
            self._waiting.clear()
            self.counts = Disagreement(served.version)
        if len(self._waiting) >= _WAITING:
            self.counts = replace(self.counts, dropped=self.counts.dropped + 1)
            return
        self._waiting.append(_Waits(served, found))
        if len(self._tasks) < SHADOW_AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def said(self) -> dict[str, Any]:
        """Its name and version, the version that it is held against, and how they differ."""
        model, counts = self._link.model, asdict(self.counts)
        against = counts.pop("version")
        return {"name": model.name, "version": model.version, "against": against, **counts}

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            await self._ask(self._waiting.popleft())

    async def _ask(self, waits: _Waits) -> None:
        model, served, started = self._link.model, waits.served, time.perf_counter()
        try:
            scores = await self._outside(self._link).ask(
                model.columns or served.model.names, waits.found.rows, probabilities=served.probabilities
            )
        except OutsideError as error:
            self._metrics.unanswered(model.name, error.reason)
            if served.version == self.counts.version:
                self.counts = replace(self.counts, failed=self.counts.failed + 1)
            return
        differences = scores - waits.found.scores
        self._metrics.differed(model.name, served.version, differences.tolist())
        if served.version == self.counts.version:
            self.counts = compared(self.counts, differences, time.perf_counter() - started)
