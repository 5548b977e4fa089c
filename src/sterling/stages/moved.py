"""Moved: rows whose predicted number is another than the champion's by more than a tolerance, and which features did it.

A model that is better on average still changes what users have seen. A row has moved where the two predictions lie further
apart than the tolerance, which is the project's (`studies.Flips(tolerance=…)`), or a tenth of the deviation of the labels
known before the holdout. Of those that moved, the error has grown or shrunk by more than the tolerance, or neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterling.core.refs import Ref
from sterling.project.studies import Flips
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.decide import read_json
from sterling.stages.flips import beside_champion, changes, explained, put_moved, share_of
from sterling.stages.holdout import LIBRARIES, Scored

SHARE_OF_DEVIATION = 0.1
"""The tolerance where the project names none, as a share of the labels' deviation."""


class CompareNumbersWithChampion(Stage, frozen=True):
    """Compare predicted numbers with the champion's, row by row.

    Inputs ``holdout``, ``before``, ``candidate`` and, where there is one, ``champion``; output ``moved``, where there is a
    champion: the rows whose prediction moved most, which may be personal and so stand in no fact.

    Attributes:
        candidate: Name of the candidate in tables.
        study: What to keep, and the tolerance.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    candidate: str
    study: Flips
    error_rate: float
    clustered: bool

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "compare with champion"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Compare; nothing is found where there is no champion, or none that can read the rows."""
        both = beside_champion(inputs, context, clustered=self.clustered)
        if both is None:
            return Outcome({})
        found, theirs = both
        ref = put_moved(context, found, theirs, self.study.moved)
        tolerance, chosen = self._tolerance(inputs, context)
        body = self._compared(found, theirs, tolerance) | {"tolerance": tolerance, "chosen": chosen, "ref": ref}
        return Outcome({"moved": ref}, (found.fact("predictions.compared", self.candidate, body),))

    def _tolerance(self, inputs: Mapping[str, Ref], context: Context) -> tuple[float, str]:
        if self.study.tolerance is not None:
            return self.study.tolerance, "as the project says"
        deviation = float(read_json(context.store, inputs["before"])["deviation"])
        return SHARE_OF_DEVIATION * deviation, "a tenth of the deviation of the labels known before the holdout"

    def _compared(self, found: Scored, theirs: Scored, tolerance: float) -> dict[str, Any]:
        grown = np.abs(found.label - found.scores) - np.abs(theirs.label - theirs.scores)
        moved = np.abs(found.scores - theirs.scores) > tolerance
        return {
            "champion": theirs.ref, "rows": len(found), "moved": int(moved.sum()),
            "worse": int((grown > tolerance).sum()), "better": int((grown < -tolerance).sum()),
            **share_of(moved, found.clusters, self.error_rate),
            **changes(found, theirs), **explained(found, theirs, moved, none="no prediction moved"),
        }  # fmt: skip
