"""Whether a curve on the candidate's probabilities helps on rows later than those that it was fitted to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.core.clock import from_micros, iso
from sterling.models import Model
from sterling.models.boosting import Earlier, validation_parts
from sterling.models.calibrated import Calibrated
from sterling.models.frame import Frame
from sterling.models.rows import TrainingRows
from sterling.models.training import Trained, fit
from sterling.project.recipe import Calibration, Trainer
from sterling.stats.calibration_curves import Curve, Judged, best, fit_curve, judge

FEWEST_ROWS = 400
"""Fewer rows than this in either block say nothing of a curve."""


class Found(NamedTuple):
    """What was found of the curves.

    Attributes:
        curve: The curve that was accepted; None for none.
        body: What there is to record.
    """

    curve: Curve | None
    body: dict[str, Any]


def judge_calibration(
    calibration: Calibration, trainer: Trainer, trained: Trained, rows: Frame, encoded: TrainingRows, *, clustered: bool
) -> Found | None:
    """Fit curves on an earlier block and judge them on a later one, both predicted by a model that saw neither.

    Args:
        calibration: Which curves, and at what error rate.
        trainer: What the model was trained by.
        trained: The model, with what an earlier one says of the last rows where its training came by that.
        rows: The training rows.
        encoded: The same, encoded.
        clustered: Whether the frame's ``cluster`` names rows that are not independent.

    Returns:
        What was found; None where no earlier model was asked for.
    """
    earlier = trained.earlier
    if earlier is None and calibration.share is not None:
        earlier = _earlier(trainer, encoded, calibration.share)
    if earlier is None:
        return None
    first, later = blocks_of(earlier, encoded)
    body: dict[str, Any] = {
        "error_rate": calibration.error_rate,
        "rows": int(first.sum()),
        "later_rows": int(later.sum()),
    }
    if reason := _too_few(encoded.label, first, later):
        return Found(None, body | {"accepted": None, "reason": reason, "curves": []})
    predicted = np.full(len(encoded.label), np.nan)
    predicted[earlier.chosen] = earlier.predicted
    curves = {kind: fit_curve(kind, encoded.label[first], predicted[first]) for kind in calibration.kinds}
    clusters = clusters_among(rows, later) if clustered else np.arange(int(later.sum()))
    judged = judge(curves, encoded.label[later], predicted[later], clusters, error_rate=calibration.error_rate)
    chosen = best(judged)
    at = rows.predict_at
    body |= {
        "from": _moment(at[first][0]), "later_from": _moment(at[later][0]), "to": _moment(at[later][-1]),
        "accepted": chosen.kind if chosen else None, "reason": _reason(chosen, judged), "curves": [_body(one) for one in judged],
    }  # fmt: skip
    return Found(curves[chosen.kind] if chosen else None, body)


def calibrated(
    calibration: Calibration | None,
    trainer: Trainer,
    trained: Trained,
    rows: Frame,
    encoded: TrainingRows,
    *,
    clustered: bool,
) -> tuple[Model, dict[str, Any] | None]:
    """The model behind the curve that was accepted, or as it is; and what was found of the curves.

    Arguments are those of `judge_calibration`; without a calibration the model is as it is.
    """
    model = trained.model
    if calibration is None:
        return model, None
    found = judge_calibration(calibration, trainer, trained, rows, encoded, clustered=clustered)
    if found is None or found.curve is None:
        return model, found.body if found else None
    return Model(model.columns, Calibrated(model.predictor, found.curve)), found.body


def _earlier(trainer: Trainer, rows: TrainingRows, share: float) -> Earlier | None:
    parts = validation_parts(rows, share)
    if isinstance(parts, str):
        return None
    model = fit(trainer, rows.take(parts.train))
    return Earlier(parts.judged, model.predict(rows.matrix[parts.judged]))


def blocks_of(earlier: Earlier, rows: TrainingRows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The first half of the rows, without those whose label was not known when the second half began; and that half."""
    places = np.flatnonzero(earlier.chosen)
    assert rows.predict_at is not None and rows.matured_at is not None  # noqa: PT018  rows of a frame have both
    start = rows.predict_at[places[len(places) // 2]]
    first = earlier.chosen & (rows.predict_at < start) & (rows.matured_at < start)
    return first, earlier.chosen & (rows.predict_at >= start)


def _too_few(label: NDArray[np.float64], first: NDArray[np.bool_], later: NDArray[np.bool_]) -> str | None:
    for name, block in (("earlier", first), ("later", later)):
        if block.sum() < FEWEST_ROWS:
            return f"the {name} block has {int(block.sum())} rows, and {FEWEST_ROWS} are needed"
        if (label[block] == label[block][0]).all():
            return f"all labels of the {name} block are {label[block][0]:g}"
    return None


def clusters_among(rows: Frame, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A number for the cluster of each chosen row."""
    named = np.array(rows.take(chosen).table["cluster"].to_pylist(), dtype=object)
    codes: NDArray[np.int64] = np.unique(named.astype(str), return_inverse=True)[1].astype(np.int64)
    return codes


def _reason(chosen: Judged | None, judged: tuple[Judged, ...]) -> str:
    if chosen:
        return f"on the later block {chosen.kind} lowers the log loss beyond chance"
    if undefined := next((one.reason for one in judged if one.reason), None):
        return undefined
    return "on the later block no curve lowers the log loss beyond chance"


def _body(one: Judged) -> dict[str, Any]:
    found = one.difference
    body = {"kind": one.kind, "before": one.before, "after": one.after, "accepted": one.accepted, "reason": one.reason}
    names = ("low", "high", "confidence", "upper", "error_rate", "clusters", "method")
    return (
        body | {"difference": found.estimate if found else None} | {name: getattr(found, name, None) for name in names}
    )


def _moment(micros: int) -> str:
    return iso(from_micros(int(micros)))
