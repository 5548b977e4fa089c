"""A shadow: a version that scores what was answered, after it was answered, so that both can be compared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sterling.core.errors import DataError
from sterling.serving.counters import OTHER, Counted, Decisions, mean_score, share_acted
from sterling.serving.requests import Asked

if TYPE_CHECKING:
    from sterling.serving.released import Predicted, ServedModel

_log = logging.getLogger("sterling.serving")
_WAITING = 256


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How a shadow's scores differ from those that were answered, on the same rows.

    Attributes:
        version: The shadow.
        requests: Requests that it scored.
        rows: Rows of them.
        equal: Rows with the very same score.
        over_01: Rows whose scores differ by more than .01.
        over_05: By more than .05.
        over_10: By more than .1.
        shift: Sum of its scores minus those that were answered.
        distance: Sum of the differences without their sign.
        largest: The largest of them.
        seconds: What scoring took, in all.
        failed: Requests that it could not score.
        dropped: Requests that it was not asked about, since too many waited.
    """

    version: int
    requests: int = 0
    rows: int = 0
    equal: int = 0
    over_01: int = 0
    over_05: int = 0
    over_10: int = 0
    shift: float = 0.0
    distance: float = 0.0
    largest: float = 0.0
    seconds: float = 0.0
    failed: int = 0
    dropped: int = 0


class _Waits(NamedTuple):
    """A request that was answered and is to be scored."""

    asked: Asked
    found: Predicted
    features: str | None
    decisions: Decisions
    counted: Counted | None


class Shadowing:
    """Scores requests after they were answered, in a thread of its own; what it cannot keep up with is dropped and counted.

    Args:
        model: The version that scores; nothing else uses it meanwhile.
    """

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.counts = Disagreement(model.version)
        self._waiting = deque[_Waits]()
        self._changed, self._closed, self._busy = Condition(), False, False
        self._thread = Thread(target=self._work, name=f"shadow-{model.version}", daemon=True)
        self._thread.start()

    def later(
        self,
        asked: Asked,
        found: Predicted,
        features: str | None,
        decisions: Decisions,
        counted: Counted | None,
    ) -> None:
        """Score a request soon: behind what the event loop has to do now, which is to send the answer."""
        asyncio.get_running_loop().call_soon(self.put, asked, found, features, decisions, counted)

    def put(
        self, asked: Asked, found: Predicted, features: str | None, decisions: Decisions = None,
        counted: Counted | None = None,
    ) -> None:  # fmt: skip
        """Score a request as soon as those before it are.

        Args:
            asked: The request.
            found: What was answered.
            features: What the vector holds that was answered.
            decisions: What was decided.
            counted: Where the difference is counted for all processes, or None.
        """
        with self._changed:
            if self._closed:
                return
            if len(self._waiting) >= _WAITING:
                self.counts = replace(self.counts, dropped=self.counts.dropped + 1)
                return
            self._waiting.append(_Waits(asked, found, features, decisions, counted))
            self._changed.notify_all()

    def wait(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until everything is scored; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_seconds)

    def close(self) -> None:
        """Forget what waits, and return when nothing uses the model any more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                waits = self._waiting.popleft()
                self._busy = True
            started = time.perf_counter()
            try:
                scores = self._scores(waits.asked, waits.found, waits.features)
            except Exception as error:  # noqa: BLE001  a shadow hurts nobody
                if not self.counts.failed:
                    _log.warning("the shadow, version %s, cannot score a request: %s", self.model.version, error)
                self._count(replace(self.counts, failed=self.counts.failed + 1))
                if waits.counted is not None:
                    waits.counted.tally.failed(OTHER, waits.counted.unit)
            else:
                seconds = time.perf_counter() - started
                self._count(compared(self.counts, scores - waits.found.scores, seconds))
                if waits.counted is not None:
                    self._tell(waits, waits.counted, scores, seconds)

    def _scores(self, asked: Asked, found: Predicted, features: str | None) -> np.ndarray:
        """Its scores: of the vector that was answered, where it reads the same features."""
        if features is not None and features == self.model.features:
            scores = np.asarray(self.model.model.predict_rows(found.rows))
        else:
            scores = np.asarray(self.model.answer(asked).scores)
        if scores.shape != found.scores.shape:
            raise DataError(f"It answers {scores[0].size} numbers a row, and {found.scores[0].size} were answered.")
        return scores

    def _tell(self, waits: _Waits, counted: Counted, scores: np.ndarray, seconds: float) -> None:
        """Count the difference for all processes."""
        ours, theirs = share_acted(self.model.decisions(scores)), share_acted(waits.decisions)
        flips = None if ours is None or theirs is None else ours - theirs
        difference = mean_score(scores) - mean_score(waits.found.scores)
        counted.tally.compared(counted.unit, seconds=seconds, difference=difference, flips=flips)

    def _count(self, counts: Disagreement) -> None:
        with self._changed:
            self.counts = replace(counts, dropped=self.counts.dropped)


def compared(counts: Disagreement, differences: np.ndarray, seconds: float) -> Disagreement:
    """Counts with one request more.

    Args:
        counts: What was counted before.
        differences: A shadow's scores minus those that were answered, shape (rows,) or (rows, outputs).
        seconds: What scoring took.
    """
    if differences.ndim > 1:  # of several outputs, the one that differs most
        differences = differences[np.arange(len(differences)), np.abs(differences).argmax(axis=1)]
    apart = np.abs(differences)
    return replace(
        counts,
        requests=counts.requests + 1,
        rows=counts.rows + len(differences),
        equal=counts.equal + int(np.sum(apart == 0)),
        over_01=counts.over_01 + int(np.sum(apart > 0.01)),
        over_05=counts.over_05 + int(np.sum(apart > 0.05)),
        over_10=counts.over_10 + int(np.sum(apart > 0.1)),
        shift=counts.shift + float(differences.sum()),
        distance=counts.distance + float(apart.sum()),
        largest=max(counts.largest, float(apart.max(initial=0.0))),
        seconds=counts.seconds + seconds,
    )
