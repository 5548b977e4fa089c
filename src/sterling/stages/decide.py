"""Decide: what each model's policy does on the holdout, and what that is worth, on the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.engine.tables import read_table
from sterling.models import Model
from sterling.models.answers import scores_of
from sterling.models.frame import Frame
from sterling.project.policy import Value
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.evaluate import BASELINE, MOST_SLICES, clusters_of, holdout_of
from sterling.stats.decisions import confusion
from sterling.stats.metrics import Metric
from sterling.stats.value_curve import curve, objective_of
from sterling.tasks.decided import decision_metrics, per_decisions
from sterling.tasks.policies import Decider, amounts_of, decider_from
from sterling.tasks.task import Floats, Measured, compared, measured

PREDICTED = "predicted:"
WITHOUT_MODEL = ("nobody", "everybody")
"""Whom one could act on without a model."""


class Decide(Stage, frozen=True):
    """Judge the decisions of every model on the rows of the holdout whose labels are known.

    Inputs: ``frame``, ``policies``, each model by its key and its predictions as ``predicted:<key>``, and, where there is one,
    ``champion``, with ``champion_policy`` if it was released with a policy of its own.

    Attributes:
        candidate: Name of the candidate in tables.
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        value: What decisions are worth, or None.
        sliced: Metrics that gates ask for in slices, each with a column.
    """

    candidate: str
    start_us: int
    end_us: int
    error_rate: float = 0.05
    clustered: bool = False
    value: Value | None = None
    sliced: Sequence[tuple[str, str]] = ()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("lightgbm", "numpy", "scipy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Decide, measure and compare.

        Raises:
            DataError: if no label of the holdout is known, or a cluster is missing.
        """
        frame = Frame.read(context.store, inputs["frame"])
        rows, _ = holdout_of(frame, self.start_us, self.end_us)
        metrics = decision_metrics(amounts_of(self.value))
        judged = _Judged(rows, clusters_of(rows, clustered=self.clustered), self.error_rate, metrics)
        deciding = tuple(self._deciding(inputs, rows, context.store))
        candidate = next(one for one in deciding if one.role == "candidate")
        facts = [self._evaluated(one, judged) for one in deciding]
        for one in deciding:
            facts += judged.measured(one)
        for one in deciding:
            if one is not candidate:
                facts += judged.compared(candidate, one.fact_of_rival(), one.acted, metrics)
        if "value" in metrics:
            worth = {"value": metrics["value"]}
            for name in WITHOUT_MODEL:
                rival = {"against": name, "against_name": name, "against_role": name}
                everybody = np.full(len(rows), float(name == "everybody"))
                facts += judged.compared(candidate, rival, everybody, worth)
        for metric, column in self.sliced:
            for value, mask in slices_of(rows, column):
                facts += judged.inside(mask).measured(candidate.inside(mask), (metric,), {column: value})
        return Outcome({}, tuple(facts))

    def _deciding(self, inputs: Mapping[str, Ref], rows: Frame, store: Store) -> Iterator[_Deciding]:
        policies = read_json(store, inputs["policies"])
        for key, document in policies.items():
            role = "baseline" if key.startswith(BASELINE) else key
            name = self.candidate if key == "candidate" else key.removeprefix(BASELINE)
            scores = read_scores(store, inputs[PREDICTED + key])
            decider = decider_from(document)
            yield _Deciding(name, role, inputs[key], decider, scores, decided(rows, decider, scores))
        if "champion" in inputs:
            model = Model.from_bytes(store.open(inputs["champion"]).read_bytes())
            if not rows.cannot_encode(model.columns):
                own = "champion_policy" in inputs
                document = read_json(store, inputs["champion_policy"]) if own else policies["candidate"]
                decider = decider_from(document)
                if can_decide(rows, decider):
                    scores = model.predict(rows.encode(model.columns))
                    acted = decided(rows, decider, scores)
                    yield _Deciding("champion", "champion", inputs["champion"], decider, scores, acted, own)

    def _evaluated(self, one: _Deciding, judged: _Judged) -> Evidence:
        label = judged.rows.label
        body: dict[str, Any] = {
            "role": one.role, "policy": one.decider.document(), "own_policy": one.own, "rows": len(label),
            "acted": int(one.acted.sum()), "confusion": {k: int(v) for k, v in confusion(label, one.acted)._asdict().items()},
            "unit": per_decisions(self.value.unit) if self.value else None, "curve": None,
        }  # fmt: skip
        if self.value and one.role == "candidate":
            body["curve"] = self._curve(one, judged)
        return one.fact("decisions.evaluated", body)

    def _curve(self, one: _Deciding, judged: _Judged) -> dict[str, Any]:
        found = curve(judged.rows.label, one.scores, judged.clusters, objective_of("value", amounts_of(self.value)))
        points = [point._asdict() for point in found.points]
        return {"points": points, "best": found.best._asdict(), "confidence": found.confidence, "band": "simultaneous"}


@dataclass(frozen=True, slots=True)
class _Deciding:
    """A model and what its policy decides about some rows."""

    name: str
    role: str
    ref: Ref
    decider: Decider
    scores: Floats
    acted: Floats
    own: bool = True

    def inside(self, mask: NDArray[np.bool_]) -> _Deciding:
        """The same decisions, about some of the rows."""
        return replace(self, scores=self.scores[mask], acted=self.acted[mask])

    def fact(self, kind: str, body: dict[str, Any], *subjects: str) -> Evidence:
        return Evidence(kind, (f"model:{self.ref}", *subjects), {"model": self.ref, "name": self.name} | body)

    def fact_of_rival(self) -> dict[str, Any]:
        return {"against": self.ref, "against_name": self.name, "against_role": self.role}


@dataclass(frozen=True, slots=True)
class _Judged:
    """Rows that decisions are judged on."""

    rows: Frame
    clusters: NDArray[np.int64]
    error_rate: float
    metrics: Mapping[str, Metric]

    def inside(self, mask: NDArray[np.bool_]) -> _Judged:
        return _Judged(self.rows.take(mask), self.clusters[mask], self.error_rate, self.metrics)

    def measured(
        self, one: _Deciding, metrics: Sequence[str] | None = None, part: Mapping[str, Any] | None = None
    ) -> Iterator[Evidence]:
        label, acted = self.rows.label, one.acted
        for name in metrics or self.metrics:
            found = measured(self.metrics[name], label, acted, self.clusters, error_rate=self.error_rate)
            body = {"metric": name, "role": one.role, "slice": dict(part or {}), "value": found.value}
            yield one.fact("metric.measured", body | _bounds(found), f"metric:{name}")

    def compared(
        self, ours: _Deciding, rival: Mapping[str, Any], theirs: Floats, metrics: Mapping[str, Metric]
    ) -> Iterator[Evidence]:
        label, acted = self.rows.label, ours.acted
        for name, metric in metrics.items():
            found = compared(metric, label, acted, theirs, self.clusters, error_rate=self.error_rate)
            body = {"metric": name, **rival, "difference": found.value}
            yield ours.fact("metric.compared", body | _bounds(found), f"metric:{name}")


def read_json(store: Store, ref: Ref) -> dict[str, Any]:
    """A JSON object from the store."""
    found: dict[str, Any] = json.loads(store.open(ref).read_bytes())
    return found


def read_scores(store: Store, ref: Ref) -> Floats:
    """The scores of a table of predictions, in the order of its rows; see `scores_of`."""
    return scores_of(read_table(store, ref))


def slices_of(rows: Frame, column: str) -> Iterator[tuple[Any, NDArray[np.bool_]]]:
    """Each value of a column, None last, and the rows that have it; of no more values than `MOST_SLICES`."""
    values = rows.slice_values(column).to_pylist()
    names = sorted(set(values), key=lambda value: (value is None, value))[:MOST_SLICES]
    place = {name: number for number, name in enumerate(names)}
    codes = np.array([place.get(value, -1) for value in values])
    for name, number in place.items():
        yield name, codes == number


def can_decide(rows: Frame, decider: Decider) -> bool:
    """Whether rows say all that a policy goes by: the period of each, where it has a capacity."""
    return decider.k is None or _periods(rows, decider) is not None


def decided(rows: Frame, decider: Decider, scores: Floats) -> Floats:
    """What a policy decides about rows: 1 to act, 0 to leave."""
    return decider.acts(scores, _periods(rows, decider)).astype(np.float64)


def _periods(rows: Frame, decider: Decider) -> NDArray[np.int64] | None:
    """The period of each row, numbered; None where the policy has none, or the rows do not say it."""
    return decider.periods(
        rows.predict_at, lambda name: rows.slice_values(name).to_pylist() if rows.has_slice(name) else None
    )


def _bounds(found: Measured) -> dict[str, Any]:
    fields = found._asdict()
    del fields["value"]
    return {name: value for name, value in fields.items() if name != "reason" or value is not None}
