"""A job of scoring: partition after partition, each in place as a whole and on record before the next one begins."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from sterling.core.canonical import digest
from sterling.core.cost import measured
from sterling.core.destination import Destination, Written
from sterling.core.errors import RefusedError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.project.checks import Check
from sterling.scoring.given import Lot
from sterling.scoring.scorer import Layout, Scorer, Tally
from sterling.scoring.spool import Part, spooling
from sterling.serving.released import ServedModel

PARTITION, BATCH = "partition.scored", "batch.scored"


class Population(Protocol):
    """Rows that are to be scored."""

    @property
    def said(self) -> Mapping[str, Any]:
        """What they are, for the ledger."""
        ...

    def lots(self, folder: Path) -> Iterator[tuple[Layout, Lot]]:
        """Their partitions, some at a time, with what their columns are."""
        ...


class Limit(NamedTuple):
    """How many rows of a partition may be refused.

    Attributes:
        most: Rows, or a share of them.
        share: Whether it is a share.
    """

    most: float = 0.0
    share: bool = False

    def passed(self, refused: int, rows: int) -> bool:
        """Whether more were refused than may be.

        Example:
            >>> Limit(0.01, share=True).passed(2, 100), Limit(2).passed(2, 100)
            (True, False)
        """
        return refused > (self.most * rows if self.share else self.most)

    def __str__(self) -> str:
        return f"{self.most:.6g}" if not self.share else f"{100 * self.most:.6g}%"


NO_ROW = Limit()
"""No row at all."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked besides rows and destination.

    Attributes:
        explain: How many reasons each row brings.
        beyond: What becomes of values that training did not know.
        limit: How many rows of a partition may be refused.
        deadline_seconds: When to stop at the next border of a partition; None for never.
        again: Score partitions that are in place, too.
        consumers: Who reads the scores.
        cpu_price_hour: Price of an hour of one processor.
    """

    explain: int = 0
    beyond: Literal["refuse", "null"] = "refuse"
    limit: Limit = NO_ROW
    deadline_seconds: float | None = None
    again: bool = False
    consumers: tuple[str, ...] = ()
    cpu_price_hour: float = 0.0


class Step(NamedTuple):
    """How far a job is.

    Attributes:
        partition: The partition that has just been done, or is about to be.
        rows: Rows that have been done since the last step.
        total: Rows that are known of so far.
    """

    partition: str
    rows: int
    total: int


@dataclass(frozen=True, slots=True)
class Scored:
    """What a job did.

    Attributes:
        version: The version that scored.
        written: The ``partition.scored`` entries of this job, in order.
        kept: Names of partitions that were in place already.
        left: Names of partitions that the deadline left.
        body: The body of ``batch.scored``; None where everything was in place.
        position: Where that stands.
    """

    version: int
    written: tuple[Entry, ...]
    kept: tuple[str, ...]
    left: tuple[str, ...]
    body: Mapping[str, Any] | None
    position: int | None


@dataclass
class Scoring:
    """Scores a population with a version.

    Attributes:
        ledger: The project's chain.
        served: The version.
        seen: Positions that it rests on: the registration, and the release where it is live.
        destination: Where scores go.
        checks: Checks of the source that rows are of.
        job: What is asked.
        observe: Told how far it is.
    """

    ledger: Ledger
    served: ServedModel
    seen: Mapping[str, int]
    destination: Destination
    checks: Sequence[Check]
    job: Job
    observe: Callable[[Step], object] = lambda _: None
    _written: list[Entry] = field(default_factory=list, init=False)
    _kept: list[str] = field(default_factory=list, init=False)
    _left: list[str] = field(default_factory=list, init=False)
    _started: float = field(default=0.0, init=False)
    _rows: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)

    def run(self, population: Population, home: Path) -> Scored:
        """Score every partition that is not in place.

        Args:
            population: The rows.
            home: Folder for rows on their way.

        Raises:
            RefusedError: if more rows of a partition are refused than may be; those before stay in place.
            DataError: if the rows are not what the model reads.
            StorageError: if the destination cannot be written.
        """
        self._started = time.monotonic()
        with measured() as cost, spooling(home) as folder, closing(population.lots(folder)) as lots:  # type: ignore[type-var]
            for layout, lot in lots:
                self._total += sum(part.rows for part in lot.parts)
                scorer = Scorer(self.served, layout, self.checks, self.job.beyond, self.job.explain)
                for place, part in enumerate(lot.parts):
                    if not self._done(scorer, part):
                        self._left = [*(one.name for one in lot.parts[place:]), *lot.later]
                        break
                    part.forget()
                if self._left or (lot.later and self._is_late()):
                    self._left = self._left or list(lot.later)
                    break
        body = self._body(population, cost) if self._written or self._left else None
        return Scored(
            self.served.version, tuple(self._written), tuple(self._kept), tuple(self._left), body,
            None if body is None else self._record(body),
        )  # fmt: skip

    def _done(self, scorer: Scorer, part: Part) -> bool:
        """Score a partition unless it is in place; False where there is no time left for it."""
        run = self._run_of(scorer.layout, part)
        known = Query((PARTITION,), (f"run:{run}", f"destination:{digest(self.destination.name)[:16]}"))
        before = next(self.ledger.read(known, newest_first=True), None)
        if before and not self.job.again and self.destination.holds(part.name, run, before.body["rows"]):
            self._kept.append(part.name)
            self.observe(Step(part.name, part.rows, self._total))
            return True
        if self._is_late(part.rows):
            return False
        self.observe(Step(part.name, 0, self._total))
        tally = Tally()
        with measured() as cost:
            self.destination.replace(part.name, run, self._within_limit(scorer, part, run, tally))
        self._rows += part.rows
        body = {
            "partition": part.name, "run": run, "destination": self.destination.name,
            "version": self.served.version, "model": self.served.ref, "inputs": part.digest,
            "output": tally.digest.hexdigest(), "rows": tally.scored, "refused": dict(sorted(tally.refused.items())),
            "nulled": tally.nulled, "acted": tally.acted, "scores": tally.scores,
            "seconds": round(cost.seconds, 3), "seconds_cpu": round(cost.seconds_cpu, 3),
        }  # fmt: skip
        fact = Evidence(PARTITION, (*known.subjects, f"version:{self.served.version}"), body)
        position = self.ledger.append([fact])
        self._written.append(next(self.ledger.read(after=position - 1)))
        return True

    def _within_limit(self, scorer: Scorer, part: Part, run: str, tally: Tally) -> Iterator[Written]:
        """The rows of a partition, as long as not too many are refused: else nothing of it is put in place."""
        for written in scorer.written(part, run, tally):
            yield written
            self.observe(Step(part.name, written.scored.num_rows + written.refused.num_rows, self._total))
        if self.job.limit.passed(tally.rows_refused, part.rows):
            counts = ", ".join(f"{problem} {count:,}" for problem, count in tally.refused.most_common())
            raise RefusedError(
                f"Partition {part.name}: {tally.rows_refused:,} of {part.rows:,} rows do not meet the schema ({counts}), and "
                f"--max-refused is {self.job.limit}. Nothing of it was written. The first: {tally.first_refusal}."
            )

    def _run_of(self, layout: Layout, part: Part) -> str:
        """Name of what is done with a partition: the same rows, version and options have the same name, whenever it is."""
        decider = self.served.decider
        return digest(
            {
                "inputs": part.digest, "partition": part.name, "model": self.served.ref, "version": self.served.version,
                "policy": decider.document() if decider else None, "explain": self.job.explain,
                "beyond": self.job.beyond, "keys": list(layout.keys),
            }
        )[:16]  # fmt: skip

    def _is_late(self, rows: int = 0) -> bool:
        """Whether the deadline has passed, or would have when so many rows more were scored as fast as those before."""
        if self.job.deadline_seconds is None:
            return False
        spent = time.monotonic() - self._started
        expected = rows * spent / self._rows if self._rows else 0.0
        return spent + expected >= self.job.deadline_seconds

    def _body(self, population: Population, cost: Any) -> dict[str, Any]:
        bodies = [entry.body for entry in self._written]
        refused = sum((Counter(body["refused"]) for body in bodies), Counter[str]())
        rows = sum(body["rows"] for body in bodies)
        decided = [body["acted"] for body in bodies if body["acted"] is not None]
        amount = cost.seconds_cpu / 3_600 * self.job.cpu_price_hour
        return {
            "version": self.served.version, "model": self.served.ref, "seen": dict(self.seen),
            "population": dict(population.said), "destination": self.destination.name,
            "partitions": [entry.position for entry in self._written], "kept": len(self._kept), "left": list(self._left),
            "rows": rows, "refused": dict(sorted(refused.items())), "nulled": sum(body["nulled"] for body in bodies),
            "acted": sum(decided) if decided else None, "scores": _together(bodies, rows),
            "explain": self.job.explain, "consumers": list(self.job.consumers),
            "seconds": round(cost.seconds, 3), "seconds_cpu": round(cost.seconds_cpu, 3), "peak_bytes": cost.peak_bytes,
            "cost": {"amount": amount, "per_1000": 1_000 * amount / rows if rows else None, "cpu_price_hour": self.job.cpu_price_hour}
            if self.job.cpu_price_hour else None,
        }  # fmt: skip

    def _record(self, body: dict[str, Any]) -> int:
        consumers = (f"consumer:{name}" for name in self.job.consumers)
        subjects = (f"version:{self.served.version}", f"model:{self.served.ref}", *consumers)
        return self.ledger.append([Evidence(BATCH, subjects, body)])


def _together(bodies: Sequence[Mapping[str, Any]], rows: int) -> dict[str, float] | None:
    found = [(body["scores"], body["rows"]) for body in bodies if body["scores"]]
    if not found:
        return None
    return {
        "mean": sum(scores["mean"] * count for scores, count in found) / rows,
        "min": min(scores["min"] for scores, _ in found),
        "max": max(scores["max"] for scores, _ in found),
    }
