"""Errors: the candidate's most confident mistakes, the confusion of its decisions, and calibration by slice and in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sterling.core.clock import from_micros, iso
from sterling.core.refs import Ref
from sterling.engine.tables import put_table
from sterling.project.studies import Errors
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.decide import decided, read_json
from sterling.stages.evaluate import slices_of
from sterling.stages.holdout import LIBRARIES, Floats, Scored, label_rate, scored
from sterling.stats.intervals import TooFewClustersError
from sterling.stats.means import group_clusters, mean_interval, row_log_loss
from sterling.tasks.policies import Decider, decider_from

_DAY = 86_400_000_000
_LONGEST_BY_DAY, _LONGEST_BY_WEEK = 14 * _DAY, 120 * _DAY
MOST_PARTS = 200
"""Values of a slice whose calibration is recorded at most: the largest ones."""


class AnalyseErrors(Stage, frozen=True):
    """Look at what the candidate got wrong.

    Inputs ``holdout``, ``before`` and ``candidate``, and ``policy`` where the project has one; output ``mistakes``: the most
    confident ones with their units, which may be personal and so stand in no fact.

    Attributes:
        candidate: Name of the candidate in tables.
        study: What to keep.
        slices: Features, or slices of the frame, whose values calibration is looked at by.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    candidate: str
    study: Errors
    slices: Sequence[str]
    error_rate: float
    clustered: bool

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "analyse errors"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Analyse."""
        found = scored(inputs, context, clustered=self.clustered)
        table, mistakes = worst_rows(found, row_log_loss(found.label, found.scores), self.study.mistakes)
        ref = put_table(context.store, table)
        body = {
            "rows": len(found), "confusion": _confusion(found, decider_of(inputs, context)), "mistakes": mistakes,
            "ref": ref,
            "calibration": [
                {"by": by, "value": value, **gap_of(found, mask, self.error_rate), "log_loss": _log_loss(found, mask)}
                for by, value, mask in parts_of_rows(found, self.slices)
            ],
        }  # fmt: skip
        return Outcome({"mistakes": ref}, (found.fact("errors.analysed", self.candidate, body),))


def worst_rows(found: Scored, loss: Floats, most: int) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The rows of the highest loss, the earlier first of equal ones: all that stands in the frame, and what may stand in a fact."""
    order = np.lexsort((np.arange(len(found)), -loss))[:most]
    chosen = found.rows.table.take(pa.array(order)).append_column("score", pa.array(found.scores[order]))
    said = [
        {"predict_at": moment(found.rows.predict_at[row]), "score": float(found.scores[row]), "label": float(found.label[row])}
        for row in order
    ]  # fmt: skip
    return chosen, said


def parts_of_rows(found: Scored, slices: Sequence[str]) -> Iterator[tuple[str, Any, NDArray[np.bool_]]]:
    """The rows of each day, week or month, and of each value of some columns: by what, which value, and which rows."""
    unit, starts = _periods(found.rows.predict_at)
    for start in np.unique(starts):
        yield unit, moment(start)[:10], starts == start
    for column in slices:
        parts = sorted(slices_of(found.rows, column), key=lambda part: -int(part[1].sum()))[:MOST_PARTS]
        for value, mask in parts:
            yield column, value, mask


def gap_of(found: Scored, mask: NDArray[np.bool_], error_rate: float) -> dict[str, Any]:
    """Observed minus predicted mean of some rows, with its interval."""
    label, scores = found.label[mask], found.scores[mask]
    said = {"rows": len(label), "observed": float(label.mean()), "predicted": float(scores.mean())}
    try:
        gap = mean_interval(label - scores, group_clusters(found.clusters[mask], len(label)), error_rate=error_rate)
    except TooFewClustersError as error:
        return said | {"gap": float(np.mean(label - scores)), "low": None, "high": None, "reason": str(error)}
    return said | {"gap": gap.value, "low": gap.low, "high": gap.high, "reason": None}


def _log_loss(found: Scored, mask: NDArray[np.bool_]) -> float:
    return float(row_log_loss(found.label[mask], found.scores[mask]).mean())


def decider_of(inputs: Mapping[str, Ref], context: Context) -> Decider:
    """What decides: the project's policy, as it was settled for the candidate; without one, the share of positives."""
    if "policy" in inputs:
        return decider_from(read_json(context.store, inputs["policy"]))
    return Decider(label_rate(inputs, context), "the share of positives among the labels known before the holdout")


def _confusion(found: Scored, decider: Decider) -> dict[str, Any]:
    yes, positive = decided(found.rows, decider, found.scores) == 1, found.label == 1
    return {
        "threshold": decider.threshold, "chosen": decider.why,
        "true_positives": int((yes & positive).sum()), "false_positives": int((yes & ~positive).sum()),
        "false_negatives": int((~yes & positive).sum()), "true_negatives": int((~yes & ~positive).sum()),
    }  # fmt: skip


def _periods(predict_at: NDArray[np.int64]) -> tuple[str, NDArray[np.int64]]:
    """The day, week or month of each row, by how long the holdout is: its name and the start of each, UTC."""
    span = int(predict_at[-1] - predict_at[0])
    days = predict_at // _DAY
    if span <= _LONGEST_BY_DAY:
        return "day", days * _DAY
    if span <= _LONGEST_BY_WEEK:
        return "week", (days - (days + 3) % 7) * _DAY  # 1970-01-01 was a Thursday
    months = predict_at.astype("datetime64[us]").astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
    return "month", months


def moment(micros: int) -> str:
    """A moment in ISO 8601, UTC."""
    return iso(from_micros(int(micros)))
