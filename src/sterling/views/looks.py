"""Looks at the holdout: how many models were judged on its rows, of which each makes the next judgement a little worse.

Whoever chooses the best of many models on the same rows chooses their noise too: the winner's metric is biased upwards,
and its interval, made for one model that was fixed beforehand, no longer holds its rate (Dwork, Feldman, Hardt, Pitassi,
Reingold, Roth 2015, "The reusable holdout: preserving validity in adaptive data analysis", Science 349(6248)). Bounds for
this are far too wide to be of use, so that looks are counted and shown, and a number declared beforehand is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sterling.core.evidence import Entry
from sterling.views.facts import Run
from sterling.views.text import cite, plural

DECLARED = 20
"""Looks that a project plans for where it says nothing else, as runs recorded by 0.1.0 do."""


@dataclass(frozen=True, slots=True)
class Looks:
    """Models that were judged on the rows of a holdout.

    Attributes:
        models: How many different ones; a model that is judged again on the same rows counts once.
        definitions: Of how many different definitions of the project.
        declared: How many the project plans for.
        first: When the first of them was judged, ISO 8601.
        positions: Where the first judgement of each stands, oldest first.
    """

    models: int
    definitions: int
    declared: int
    first: str
    positions: tuple[int, ...]

    @property
    def warning(self) -> str | None:
        """What should be done, where more models were judged than planned."""
        if self.models <= self.declared:
            return None
        return (
            f"{plural(self.models, 'model')} were judged on these rows, and Holdout(looks={self.declared}) plans for "
            f"{self.declared}: the best of many on the same rows looks better than it is. Move the holdout to a newer block, "
            "on which nothing has been chosen yet"
        )

    @property
    def said(self) -> str:
        """The same as one line of a table's note."""
        where = f"{cite(self.positions[0])} to {cite(self.positions[-1])}" if self.models > 1 else cite(*self.positions)
        return f"Judged on these rows so far: {plural(self.models, 'model')} of {self.declared} planned, {where}."


def looks(entries: Iterable[Entry], run: Run) -> Looks | None:
    """How many models were judged on rows of a run's holdout, until then.

    Holdouts whose spans overlap share rows, so a block that is moved a little is not a new one.

    Args:
        entries: The ledger, oldest first.
        run: The run.

    Returns:
        The count, or None where the run has judged nothing.
    """
    chain = tuple(entry for entry in entries if entry.position <= run.position)
    own = next((entry for entry in reversed(run.of("stage.completed")) if entry.body["stage"] == "evaluate"), None)
    if own is None:
        return None
    judged = [entry for entry in _evaluations(chain) if _overlap(entry, own)]
    first = {entry.body["identity"]["inputs"]["candidate"]: entry for entry in reversed(judged)}
    keys = {entry.body["key"] for entry in judged}
    completed = [entry for entry in chain if entry.kind == "run.completed"]
    definitions = {e.body["definition"] for e in completed if keys & {step["key"] for step in e.body["keys"]}}
    planned = next(e.body.get("holdout", {}).get("looks", DECLARED) for e in completed if e.position == run.position)
    oldest = sorted(first.values(), key=lambda entry: entry.position)
    return Looks(
        len(first), len(definitions), planned, oldest[0].recorded_at, tuple(entry.position for entry in oldest)
    )


def _evaluations(chain: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in chain if entry.kind == "stage.completed" and entry.body["stage"] == "evaluate")


def _overlap(one: Entry, other: Entry) -> bool:
    (start, end), (first, last) = (
        (found.get("start_us", 0), found.get("end_us", 1))
        for found in (e.body["identity"]["parameters"] for e in (one, other))
    )
    return bool(start < last and first < end)
