"""Whether a gate can be passed on a holdout: what it could show, from how the measures of a quick model scatter there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.models.frame import Frame
from sterling.project.gates import AtLeast, AtMost, EverySlice, Gate, Improves, NonInferior
from sterling.project.metrics import more_is_better
from sterling.stats.detectable import POWER, Scatter, scatter_of
from sterling.tasks.task import Measured, Task

Floats = NDArray[np.float64]
ASSESSED = (AtLeast, AtMost, Improves, NonInferior, EverySlice)
"""Gates that depend on the size of the holdout."""
DRAWS = 5
"""Draws of labels from a model's own probabilities, to see what a perfectly calibrated model would show."""
MOST_SLICES = 60
NOTHING_LEARNT = (
    "Quick models say the same of every row: there is too little to learn from, so nothing tells what would show."
)
HALF = 0.5
"""Share of what is left to gain above which a gain is no plausible demand."""


class Judged(NamedTuple):
    """The holdout, and what quick models say of it."""

    rows: Frame
    clusters: NDArray[np.int64]
    scores: Floats
    again: Floats
    """The same model with another seed: as unlike as a retrained champion."""
    additive: Floats
    prior: Floats
    error_rate: float
    seed: int
    task: Task

    def measure(self, metric: str, scores: Floats, mask: Any = slice(None), label: Floats | None = None) -> Measured:
        """A metric on some of the rows."""
        known = self.rows.label if label is None else label
        return self.task.measure(metric, known[mask], scores[mask], self.clusters[mask], error_rate=self.error_rate)

    def compare(self, metric: str, ours: Floats, theirs: Floats) -> Measured:
        """A paired difference on all rows."""
        return self.task.compare(metric, self.rows.label, ours, theirs, self.clusters, error_rate=self.error_rate)

    def rival(self, role: str) -> Floats | None:
        """Scores as unlike as those of a champion or of a baseline; None where every model says the same."""
        found = (self.again, self.additive, self.prior) if role == "champion" else (self.additive, self.prior)
        return next((scores for scores in found if not np.allclose(scores, self.scores)), None)

    def scatter(self, metric: str, found: Measured) -> Scatter:
        """How a measure scatters, on the side of its bound that gates look at."""
        assert found.value is not None
        assert found.lower is not None
        assert found.upper is not None
        reach = found.value - found.lower if more_is_better(metric) else found.upper - found.value
        return scatter_of(max(reach, 0.0), found.clusters, error_rate=self.error_rate)


def assess(gate: Gate, judged: Judged) -> dict[str, Any] | None:  # noqa: PLR0911  a return for each gate
    """What of a gate can be shown; None for one that has nothing to do with the size of the holdout."""
    if getattr(gate, "metric", None) not in judged.task.metrics:
        return None  # what is decided by a policy is measured where the policy is chosen
    match gate:
        case AtLeast():
            return _limit(judged, gate.metric, gate.floor)
        case AtMost() if gate.metric == "ece":
            return _calibrated(judged, gate.ceiling)
        case AtMost():
            return _limit(judged, gate.metric, gate.ceiling)
        case Improves():
            return _gain(judged, gate)
        case NonInferior():
            return _not_worse(judged, gate)
        case EverySlice():
            return _slices(judged, gate)
        case _:
            return None


def _found(gate: str, state: str, reason: str, **numbers: float | None) -> dict[str, Any]:
    return {"gate": gate, "state": state, "reason": reason, **numbers}


def _limit(judged: Judged, metric: str, limit: float) -> dict[str, Any]:
    up = more_is_better(metric)
    name = f"{metric} at {'least' if up else 'most'} {limit:g}"
    found = judged.measure(metric, judged.scores)
    if found.value is None:
        return _found(name, "impossible", f"{metric} has no bound here: {found.reason}")
    scatter = judged.scatter(metric, found)
    sign = 1 if up else -1
    needed = limit + sign * scatter.detectable()
    chance = scatter.chance(sign * (found.value - limit))
    numbers = {"detectable": needed, "quick": found.value, "chance": chance}
    if limit >= 1 if up else limit <= 0:
        return _found(
            name,
            "impossible",
            f"No bound {'reaches' if up else 'stays under'} {limit:g}, even of a perfect model.",
            **numbers,
        )
    word = f"A model passes with a chance of {POWER:.0%} from {metric} {needed:.3f} on; a quick model has {found.value:.3f}."
    beyond = needed >= 1 if up else needed <= 0
    return _found(name, "doubtful" if beyond else "fine", word, **numbers)


def _calibrated(judged: Judged, ceiling: float) -> dict[str, Any]:
    """What the bound of a model would be whose probabilities are exactly right."""
    name = f"ece at most {ceiling:g}"
    random = np.random.default_rng(judged.seed)
    uppers = []
    for _ in range(DRAWS):
        label = _drawn(judged.scores, random)
        found = judged.measure("ece", judged.scores, label=label)
        if found.upper is None:
            return _found(name, "impossible", f"ece has no bound here: {found.reason}")
        uppers.append(found.upper)
    typical = float(np.median(uppers))
    passed = sum(upper <= ceiling for upper in uppers)
    state = "impossible" if not passed else "doubtful" if passed < POWER * DRAWS else "fine"
    reason = f"A perfectly calibrated model would show an upper bound of {typical:.4f}."
    return _found(name, state, reason, detectable=typical, chance=passed / DRAWS)


def _drawn(scores: Floats, random: np.random.Generator) -> Floats:
    """Labels that come exactly as often as is said: 0 and 1, or places of classes."""
    drawn = random.random(len(scores))
    if scores.ndim == 1:
        return (drawn < scores).astype(np.float64)
    places = (drawn[:, np.newaxis] >= np.cumsum(scores, axis=1)).sum(axis=1)
    found: Floats = np.minimum(places, scores.shape[1] - 1).astype(np.float64)
    return found


def _gain(judged: Judged, gate: Improves) -> dict[str, Any]:
    rival = judged.rival(gate.over)
    name = f"{gate.metric} gains more than {gate.by:g} over the {gate.over}"
    if rival is None:
        return _found(name, "doubtful", NOTHING_LEARNT)
    found, theirs = judged.compare(gate.metric, judged.scores, rival), judged.measure(gate.metric, rival)
    if found.value is None or theirs.value is None:
        return _found(name, "impossible", f"{gate.metric} has no bound here: {found.reason or theirs.reason}")
    needed = gate.by + judged.scatter(gate.metric, found).detectable()
    left = 1 - theirs.value if more_is_better(gate.metric) else theirs.value
    reason = (
        f"The smallest gain that is shown with a chance of {POWER:.0%} is {needed:+.4f}; {left:.3f} are left to gain."
    )
    if gate.by >= left:
        state = "impossible"
        reason = f"A perfect model gains {left:.3f} over a quick one, no more than the {gate.by:g} that is asked."
    else:
        state = "doubtful" if needed > HALF * left else "fine"
    return _found(name, state, reason, detectable=needed, left=left)


def _not_worse(judged: Judged, gate: NonInferior) -> dict[str, Any]:
    rival = judged.rival(gate.to)
    name = f"{gate.metric} loses less than {gate.margin:g} against the {gate.to}"
    if rival is None:
        return _found(name, "doubtful", NOTHING_LEARNT)
    found = judged.compare(gate.metric, judged.scores, rival)
    if found.value is None:
        return _found(name, "impossible", f"{gate.metric} has no bound here: {found.reason}")
    scatter = judged.scatter(gate.metric, found)
    chance, needed = scatter.chance(gate.margin), scatter.detectable()
    reason = f"An equally good model passes with a chance of {chance:.0%}"
    reason += "." if chance >= POWER else f"; a margin of {needed:.4f} would give {POWER:.0%}, or a longer holdout."
    return _found(name, "fine" if chance >= POWER else "doubtful", reason, detectable=needed, chance=chance)


def _slices(judged: Judged, gate: EverySlice) -> dict[str, Any]:
    limit, sign = gate.limit()
    name = f"{gate.metric} at {'least' if sign > 0 else 'most'} {limit:g} in every {' and '.join(gate.by)}"
    large = [
        (column, value, mask)
        for column in gate.by
        for value, mask in _values(judged.rows, column)
        if mask.sum() >= gate.min_rows
    ]
    if not large:
        return _found(name, "impossible", f"No slice of the holdout has {gate.min_rows:,} rows.", slices=0)
    if (sign > 0 and limit >= 1) or (sign < 0 and limit <= 0):
        return _found(name, "impossible", f"No bound reaches {limit:g}, even of a perfect model.", slices=len(large))
    smallest = sorted(large, key=lambda part: int(part[2].sum()))[:MOST_SLICES]
    worst, needed, chance = "", -sign * math.inf, 1.0
    for column, value, mask in smallest:
        found = judged.measure(gate.metric, judged.scores, mask)
        if found.value is None:
            shown = f"{column} {'missing' if value is None else value}"
            return _found(
                name, "impossible", f"{gate.metric} of {shown} has no bound here: {found.reason}", slices=len(large)
            )
        scatter = judged.scatter(gate.metric, found)
        chance *= scatter.chance(sign * (found.value - limit))
        if sign * ((least := limit + sign * scatter.detectable()) - needed) > 0:
            worst, needed = f"{column} {'missing' if value is None else value} ({int(mask.sum()):,} rows)", least
    reason = f"{len(large)} slices are judged; {worst} passes with a chance of {POWER:.0%} from {needed:.3f} on."
    state = "doubtful" if (needed >= 1 if sign > 0 else needed <= 0) else "fine"
    return _found(name, state, reason, slices=len(large), detectable=needed, chance=chance)


def _values(rows: Frame, column: str) -> Iterator[tuple[Any, NDArray[np.bool_]]]:
    encoded: Any = rows.slice_values(column)
    encoded = encoded if hasattr(encoded, "indices") else encoded.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    for code, value in enumerate([*names, None]):
        if (mask := codes == code).any():
            yield value, mask
