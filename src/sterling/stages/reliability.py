"""Reliability: the candidate's calibration taken apart, as a whole and month by month."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.clock import from_micros
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models.frame import Frame
from sterling.project.times import zone
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.decide import PREDICTED, read_scores
from sterling.stages.evaluate import clusters_of, holdout_of
from sterling.stats.intervals import NoVariationError, TooFewClustersError
from sterling.stats.metrics import squared_calibration_error
from sterling.stats.recalibration import Reached, brier_parts, mean_gap, recalibration
from sterling.stats.rows import BadRowsError, OneClassError
from sterling.tasks.task import Floats

_HOUR = 3_600_000_000


class Reliability(Stage, frozen=True):
    """Take the candidate's calibration apart, on the rows of the holdout whose labels are known.

    Inputs: ``frame``, ``candidate`` and ``predicted:candidate``.

    Attributes:
        candidate: Name of the candidate in tables.
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        tz: IANA zone whose months are looked at.
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    candidate: str
    start_us: int
    end_us: int
    tz: str = "UTC"
    clustered: bool = False

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("numpy", "scipy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Measure.

        Raises:
            DataError: if no label of the holdout is known, or a cluster is missing.
        """
        rows, _ = holdout_of(Frame.read(context.store, inputs["frame"]), self.start_us, self.end_us)
        scores = read_scores(context.store, inputs[f"{PREDICTED}candidate"])
        clusters = clusters_of(rows, clustered=self.clustered)
        model = inputs["candidate"]
        body = {
            "model": model, "name": self.candidate, "rows": len(rows),
            "brier": brier_parts(rows.label, scores)._asdict(), "squared_error": _squared(rows.label, scores),
            **_moved(rows.label, scores, clusters), "months": list(self._months(rows, scores, clusters)),
        }  # fmt: skip
        return Outcome({}, (Evidence("calibration.analysed", (f"model:{model}",), body),))

    def _months(self, rows: Frame, scores: Floats, clusters: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
        hours, place = np.unique(rows.predict_at // _HOUR, return_inverse=True)
        local = zone(self.tz)
        months = np.array([f"{from_micros(int(hour) * _HOUR).astimezone(local):%Y-%m}" for hour in hours])[place]
        for month in np.unique(months):
            inside = months == month
            label, said = rows.label[inside], scores[inside]
            gap: dict[str, Any]
            try:
                gap = _interval(mean_gap(label, said, clusters[inside]))
            except TooFewClustersError as error:
                gap = {"value": float(said.mean() - label.mean()), "low": None, "high": None, "reason": str(error)}
            yield {
                "month": str(month), "rows": len(label), "predicted": float(said.mean()), "observed": float(label.mean()),
                "gap": gap,
            }  # fmt: skip


def _squared(label: Floats, scores: Floats) -> float | None:
    try:
        return squared_calibration_error(label, scores)
    except BadRowsError:
        return None


def _moved(label: Floats, scores: Floats, clusters: NDArray[np.int64]) -> dict[str, Any]:
    try:
        found = recalibration(label, scores, clusters)
    except (OneClassError, NoVariationError, TooFewClustersError) as error:
        return {"intercept": None, "slope": None, "confidence": None, "reason": str(error)}
    said = {"intercept": _interval(found.intercept), "slope": _interval(found.slope)}
    return {**said, "confidence": found.confidence, "reason": None}


def _interval(reached: Reached) -> dict[str, Any]:
    return {**reached._asdict(), "reason": None}
