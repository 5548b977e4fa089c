"""What each stage of a rollout is judged by, counted by every server process in a file of its own.

A process counts into memory that it shares with the file, so that a kill loses nothing, and whoever reads adds up the
files of all processes, living or dead. A stage counts from nothing, under the position of the entry with which it began.
Requests are told apart by groups of units, since requests of one unit go together: what varies between groups says how
much a count is worth. Only arms that were drawn are counted, `live` and `canary`; a shadow's place is that of a canary,
with what it says differently of the same rows.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from sterling.core.durable import make_folder
from sterling.views.release_plan import Rollout

_log = logging.getLogger("sterling.serving")

FIELDS = (
    "requests", "errors", "answered", "latency", "latency_squares", "cost", "cost_squares", "decided", "decisions",
    "decisions_squares", "scored", "scores", "scores_squares",
)  # fmt: skip
"""What is counted of each group of units: of a value its sum and the sum of its squares, in milliseconds, shares and scores."""
LATENCY_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0)
"""Upper edges of the latencies that are told apart; one more bin follows."""
SCORE_BINS = 10
GROUPS = 256
ARMS = ("live", "other")
LIVE, OTHER = 0, 1
GROUPED = GROUPS * len(FIELDS)
WIDTH = GROUPED + len(LATENCY_MS) + 1 + SCORE_BINS
"""Numbers of an arm: those of its groups, then how many latencies and scores fell into each bin."""
HEADER_BYTES = 4_096
Decisions = Sequence[bool | None] | None
"""Whether each row is acted on; None where nothing decides."""
SUFFIX = ".counts"
_SIZE = HEADER_BYTES + len(ARMS) * WIDTH * 8
_KEPT_SECONDS = 7 * 86_400
_UNCAPPED_MS = 1_000.0


class Tally:
    """Counts of one stage in one process.

    Args:
        folder: Where all processes count.
        rollout: What is under way.
        live: The version that it is compared with.

    Raises:
        OSError: if the disk has no room; the room is taken at once, so that counting never fails.
    """

    def __init__(self, folder: Path, rollout: Rollout, live: int) -> None:
        self._caps = tuple(_cap(rollout.guardrails, kind) for kind in ("Latency", "Cost"))
        header = {
            "position": rollout.position, "version": rollout.version, "live": live, "kind": rollout.running.kind,
            "share": rollout.running.share, "groups": GROUPS, "fields": FIELDS, "pid": os.getpid(),
        }  # fmt: skip
        make_folder(folder)
        _remove_old(folder, rollout.position)
        self._cells = _mapped(folder / f"{rollout.position}-{time.time_ns()}-{os.getpid()}{SUFFIX}", header)

    def answered(
        self, arm: int, unit: str, *, seconds: float, cpu_seconds: float, scores: Any, decisions: Decisions
    ) -> None:
        """Count a request that a version answered.

        Args:
            arm: `LIVE` or `OTHER`.
            unit: What was assigned.
            seconds: What the answer took, without the wait for others.
            cpu_seconds: Processor time of it.
            scores: Scores of its rows; of several classes, a row of them each.
            decisions: Whether each row is acted on, where anything decides.
        """
        cells, at = self._cells, self._place(arm, unit)
        cells[at] += 1
        cells[at + 2] += 1
        latency = seconds * 1_000
        _add(cells, at + 3, min(latency, self._caps[0]))
        _add(cells, at + 5, min(cpu_seconds * 1_000, self._caps[1]))
        if (share := share_acted(decisions)) is not None:
            cells[at + 7] += 1
            _add(cells, at + 8, share)
        if len(scores):
            score = mean_score(scores)
            cells[at + 10] += 1
            _add(cells, at + 11, score)
            bins = arm * WIDTH + GROUPED
            cells[bins + bisect_left(LATENCY_MS, latency)] += 1
            cells[bins + len(LATENCY_MS) + 1 + min(SCORE_BINS - 1, max(0, int(score * SCORE_BINS)))] += 1

    def failed(self, arm: int, unit: str) -> None:
        """Count a request that a version could not answer, and that was none of the client's faults."""
        cells, at = self._cells, self._place(arm, unit)
        cells[at] += 1
        cells[at + 1] += 1

    def passed(self, arm: int, unit: str) -> None:
        """Count a request that a version was not asked about, such as for want of room."""
        self._cells[self._place(arm, unit)] += 1

    def compared(self, unit: str, *, seconds: float, difference: float, flips: float | None) -> None:
        """Count a request that a shadow has scored as well.

        Args:
            unit: What the request was about.
            seconds: What its scores took.
            difference: Its mean score minus the one that was answered.
            flips: Share of the rows that it acts on minus the share that was acted on, where both decide.
        """
        cells, at = self._cells, self._place(OTHER, unit)
        cells[at] += 1
        cells[at + 2] += 1
        _add(cells, at + 3, min(seconds * 1_000, self._caps[0]))
        if flips is not None:
            cells[at + 7] += 1
            _add(cells, at + 8, flips)
        cells[at + 10] += 1
        _add(cells, at + 11, difference)

    @staticmethod
    def _place(arm: int, unit: str) -> int:
        return arm * WIDTH + (crc32(unit.encode()) % GROUPS) * len(FIELDS)


class Counted(NamedTuple):
    """Where a request is counted.

    Attributes:
        tally: The counts.
        arm: `LIVE` or `OTHER`.
        unit: What was assigned: a unit, or the request itself.
    """

    tally: Tally
    arm: int
    unit: str


def tally_of(folder: Path | None, rollout: Rollout | None, live: int) -> Tally | None:
    """Counts of the stage that runs; none where nothing is under way, or the disk has no room, which is logged."""
    if folder is None or rollout is None:
        return None
    try:
        return Tally(folder, rollout, live)
    except OSError as error:
        _log.warning("Version %s is not counted: %s (%s).", rollout.version, error.strerror, folder)
        return None


def mean_score(scores: Any) -> float:
    """The mean score of a request's rows; of several classes, that of the likeliest.

    Example:
        >>> import numpy as np
        >>> mean_score(np.array([0.25, 0.75])), mean_score(np.array([[0.2, 0.8], [0.6, 0.4]]))
        (0.5, 0.7)
    """
    if len(scores) == 1 and scores.ndim == 1:
        return float(scores[0])
    return float(scores.max(axis=1).mean() if scores.ndim > 1 else scores.mean())


def share_acted(decisions: Decisions) -> float | None:
    """The share of rows that are acted on, of those that are decided; None where none is.

    Example:
        >>> share_acted([True, False, None]), share_acted(None), share_acted([])
        (0.5, None, None)
    """
    decided = [one for one in decisions or () if one is not None]
    return sum(decided) / len(decided) if decided else None


def _add(cells: memoryview[float], at: int, value: float) -> None:
    cells[at] += value
    cells[at + 1] += value * value


def _cap(guardrails: Sequence[Mapping[str, Any]], kind: str) -> float:
    return next((float(one["cap_ms"]) for one in guardrails if one["type"] == kind), _UNCAPPED_MS)


def _mapped(path: Path, header: Mapping[str, Any]) -> memoryview[float]:
    arriving = path.with_suffix(".arriving")
    handle = os.open(arriving, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(handle, 0, _SIZE)  # a page that the disk has no room for would end the process
        os.pwrite(handle, json.dumps(header).encode(), 0)
        shared = mmap.mmap(handle, _SIZE)
    except OSError:
        arriving.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    arriving.rename(path)
    return memoryview(shared)[HEADER_BYTES:].cast("d")


def _remove_old(folder: Path, position: int) -> None:
    """Remove what was counted of stages that are long over."""
    for path in folder.glob(f"*{SUFFIX}"):
        if int(path.name.partition("-")[0]) < position and path.stat().st_mtime < time.time() - _KEPT_SECONDS:
            path.unlink(missing_ok=True)
