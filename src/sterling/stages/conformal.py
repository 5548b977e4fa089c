"""Whether intervals that are widened or narrowed to what they covered help on rows later than those that said so.

Quantiles that trees learn are those of rows that the trees have seen, so that new labels fall outside more often than they
should. A model that has not seen the last training rows predicts them; each interval is moved outwards (or inwards) by what
made it cover its share of their earlier half, and this is taken where the pinball loss on the later half, whose labels it
does not know, is lower by more than chance.

References:
    Conformalized quantile regression: Romano, Patterson & Candès (2019), NeurIPS 32, algorithm 1 and eq. 8. Its guarantee
    is of rows that are exchangeable with those of the earlier half, which time does not promise: hence the later one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.clock import from_micros, iso
from sterling.models import Model
from sterling.models.frame import Frame
from sterling.models.rows import TrainingRows
from sterling.models.several import Joined
from sterling.models.training import Trained
from sterling.project.recipe import Calibration
from sterling.project.tasks import Quantiles
from sterling.stages.calibration import FEWEST_ROWS, blocks_of, clusters_among
from sterling.stats.pinball import intervals_of
from sterling.tasks.of import task_of

CONFORMAL = "conformal"


def conformed(
    calibration: Calibration | None, trained: Trained, rows: Frame, encoded: TrainingRows, *, clustered: bool
) -> tuple[Model, dict[str, Any] | None]:
    """The model with its intervals moved where that was accepted, or as it is; and what was found.

    Args:
        calibration: At what error rate; None to leave intervals as they are.
        trained: The model, with what an earlier one says of the last rows.
        rows: The training rows.
        encoded: The same, encoded.
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """
    model, earlier, task = trained.model, trained.earlier, encoded.task
    if calibration is None or earlier is None or not isinstance(model.predictor, Joined):
        return model, None
    assert isinstance(task, Quantiles)
    first, later = blocks_of(earlier, encoded)
    body: dict[str, Any] = {
        "error_rate": calibration.error_rate, "rows": int(first.sum()), "later_rows": int(later.sum()),
    }  # fmt: skip
    if min(first.sum(), later.sum()) < FEWEST_ROWS:
        short = "earlier" if first.sum() < FEWEST_ROWS else "later"
        reason = f"the {short} block has {int(min(first.sum(), later.sum()))} rows, and {FEWEST_ROWS} are needed"
        return model, body | {"accepted": None, "reason": reason, "curves": []}
    label, levels = encoded.label, tuple(task.levels)
    predicted = np.full((len(label), len(levels)), np.nan)
    predicted[earlier.chosen] = earlier.predicted
    shifts = shifts_of(label[first], predicted[first], levels)
    plain, moved = predicted[later], np.sort(predicted[later] + np.array(shifts), axis=1)
    clusters = clusters_among(rows, later) if clustered else np.arange(int(later.sum()))
    measuring = task_of(task)
    found = measuring.compare("pinball", label[later], moved, plain, clusters, error_rate=calibration.error_rate)
    before, after = (measuring.score(label[later], one) for one in (plain, moved))
    accepted = found.upper is not None and found.upper < 0
    at, do = rows.predict_at, "lower" if accepted else "do not lower"
    reason = found.reason or f"on the later block intervals of their own coverage {do} the pinball loss beyond chance"
    body |= {
        "from": _moment(at[first][0]), "later_from": _moment(at[later][0]), "to": _moment(at[later][-1]),
        "accepted": CONFORMAL if accepted else None, "reason": reason,
        "curves": [{
            "kind": CONFORMAL, "before": before["pinball"], "after": after["pinball"], "accepted": accepted,
            "reason": found.reason, "difference": found.value, "low": found.low, "high": found.high,
            "confidence": found.confidence, "upper": found.upper, "error_rate": found.error_rate, "clusters": found.clusters,
            "method": found.method, "shifts": list(shifts), "coverage_before": before["coverage"],
            "coverage_after": after["coverage"],
        }],
    }  # fmt: skip
    if not accepted:
        return model, body
    return replace(model, predictor=replace(model.predictor, shifts=shifts)), body


def shifts_of(
    label: NDArray[np.float64], predicted: NDArray[np.float64], levels: tuple[float, ...]
) -> tuple[float, ...]:
    """What is added to the quantile of each level, so that each interval covers its share of these rows.

    Args:
        label: Shape (rows,).
        predicted: Quantiles that a model which had not seen the labels gave, shape (rows, levels).
        levels: The levels, rising.

    Example:
        >>> shifts_of(np.arange(9.0), np.tile([3.0, 5.0], (9, 1)), (0.1, 0.9))
        (-3.0, 3.0)
    """
    shifts = [0.0] * len(levels)
    for one in intervals_of(levels):
        outside = np.maximum(predicted[:, one.lower] - label, label - predicted[:, one.upper])
        place = min(math.ceil((len(outside) + 1) * one.nominal), len(outside))
        reach = float(np.partition(outside, place - 1)[place - 1])
        shifts[one.lower], shifts[one.upper] = -reach, reach
    return tuple(shifts)


def _moment(micros: int) -> str:
    return iso(from_micros(int(micros)))
