"""Evaluate: the candidate, its baselines and the champion, on the same rows of the holdout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.core.clock import from_micros, iso
from sterling.core.errors import DataError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models import Model
from sterling.models.blas import one_blas_thread
from sterling.models.frame import Frame
from sterling.project.tasks import Binary, Task
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.golden import answer_golden
from sterling.stages.predictions import put_predictions
from sterling.tasks.multiclass import Multiclass
from sterling.tasks.of import task_of
from sterling.tasks.task import Measured
from sterling.tasks.task import Task as Measuring

BASELINE = "baseline:"
MOST_SLICES = 1_000
"""A column with more values than this makes no slices."""


class Evaluate(Stage, frozen=True):
    """Judge models on the rows of a block whose labels are known.

    Inputs ``frame``, ``candidate``, ``baseline:<name>`` for each baseline, and, where there are any, ``champion`` and
    ``golden``; outputs the predictions of each model on the holdout, by its name among the inputs.

    Attributes:
        candidate: Name of the candidate in tables.
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        slices: Features, or slices of the frame, whose values make slices.
        slice_metrics: What is measured in slices, besides what the task measures anyway.
        task: What kind of problem it is.
    """

    candidate: str
    start_us: int
    end_us: int
    error_rate: float = 0.05
    clustered: bool = False
    slices: Sequence[str] = ()
    slice_metrics: Sequence[str] = ()
    task: Task = Binary()

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("lightgbm", "numpy", "scipy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Score, measure and compare.

        Raises:
            DataError: if no label of the holdout is known, a cluster is missing, or a slice has too many values.
        """
        contenders = {key: self._contender(key, ref, context) for key, ref in sorted(inputs.items()) if _is_model(key)}
        classes = contenders["candidate"].model.outputs
        frame = Frame.read(context.store, inputs["frame"]).of(classes)
        holdout, left_out = holdout_of(frame, self.start_us, self.end_us)
        if unknown := holdout.unknown_classes():
            left_out |= {"unknown_classes": unknown}
        task = task_of(self.task, classes)
        judged = _Judged(holdout, clusters_of(holdout, clustered=self.clustered), self.error_rate, task)
        resolved = _resolve(contenders, frame)
        scores = {key: found.model.predict(holdout.encode(found.model.columns)) for key, found in contenders.items()}
        outputs = {
            key: put_predictions(context.store, holdout, found, contenders[key].model.outputs)
            for key, found in scores.items()
        }
        candidate = contenders["candidate"]
        facts = [candidate.fact("champion.resolved", resolved)]
        for key, contender in contenders.items():
            facts.append(contender.fact("predictions.made", {"ref": outputs[key], "rows": len(holdout)} | left_out))
        with one_blas_thread():
            facts += self._measured(judged, contenders, scores)
        if "golden" in inputs:
            facts.append(_golden(candidate, inputs["golden"], context))
        return Outcome(outputs, tuple(facts))

    def _contender(self, key: str, ref: Ref, context: Context) -> _Contender:
        model = Model.from_bytes(context.store.open(ref).read_bytes())
        if key.startswith(BASELINE):
            return _Contender(key.removeprefix(BASELINE), "baseline", ref, model)
        return _Contender(self.candidate if key == "candidate" else "champion", key, ref, model)

    def _measured(
        self, judged: _Judged, contenders: Mapping[str, _Contender], scores: Mapping[str, NDArray[np.float64]]
    ) -> Iterator[Evidence]:
        candidate, ours = contenders["candidate"], scores["candidate"]
        for key, contender in contenders.items():
            yield from judged.measured(contender, scores[key], judged.task.metrics)
        for key, contender in contenders.items():
            if contender is not candidate:
                yield from judged.compared(candidate, ours, contender, scores[key])
        metrics = tuple(dict.fromkeys((*judged.task.slice_metrics, *self.slice_metrics)))
        for column in self.slices:
            for value, mask in slices_of(judged.rows, column):
                inside = _Judged(judged.rows.take(mask), judged.clusters[mask], judged.error_rate, judged.task)
                yield from inside.measured(candidate, ours[mask], metrics, {column: value})
        yield judged.calibrated(candidate, ours)
        if isinstance(judged.task, Multiclass):
            yield judged.by_class(candidate, ours)


def holdout_of(frame: Frame, start_us: int, end_us: int) -> tuple[Frame, dict[str, Any]]:
    """The rows that are judged, and how many are not, for want of a label.

    Raises:
        DataError: if no label of the holdout is known.
    """
    block = frame.take((frame.predict_at >= start_us) & (frame.predict_at < end_us))
    rows = block.take(block.known)
    status = block.table["status"].to_pylist()
    pending, missing = status.count("pending"), status.count("missing")
    if not len(rows):
        span = f"{iso(from_micros(start_us))} to {iso(from_micros(end_us))}"
        raise DataError(
            f"No label of the holdout, {span}, is known: {len(block):,} rows, {pending:,} pending, {missing:,} missing."
        )
    return rows, {"pending": pending, "missing": missing}


def clusters_of(rows: Frame, *, clustered: bool) -> NDArray[np.int64]:
    """A number for the cluster of each row; every row is its own where they are independent.

    Raises:
        DataError: if a cluster is missing.
    """
    if not clustered:
        return np.arange(len(rows))
    column = rows.table["cluster"]
    if column.null_count:
        raise DataError(f"{column.null_count:,} of {len(rows):,} rows of the holdout have no cluster.")
    codes: NDArray[np.int64] = np.unique(column.to_pylist(), return_inverse=True)[1].astype(np.int64)
    return codes


class _Contender(NamedTuple):
    """A model that is judged."""

    name: str
    role: str
    ref: Ref
    model: Model

    def fact(self, kind: str, body: dict[str, Any], *subjects: str) -> Evidence:
        return Evidence(kind, (f"model:{self.ref}", *subjects), {"model": self.ref, "name": self.name} | body)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Rows that models are judged on."""

    rows: Frame
    clusters: NDArray[np.int64]
    error_rate: float
    task: Measuring

    def measured(
        self,
        contender: _Contender,
        scores: NDArray[np.float64],
        metrics: Sequence[str],
        part: Mapping[str, Any] | None = None,
    ) -> Iterator[Evidence]:
        for metric in metrics:
            found = self.task.measure(metric, self.rows.label, scores, self.clusters, error_rate=self.error_rate)
            body = {"metric": metric, "role": contender.role, "slice": dict(part or {}), "value": found.value}
            yield contender.fact("metric.measured", body | _bounds(found), f"metric:{metric}")

    def compared(
        self, ours: _Contender, our_scores: NDArray[np.float64], theirs: _Contender, their_scores: NDArray[np.float64]
    ) -> Iterator[Evidence]:
        against = {"against": theirs.ref, "against_name": theirs.name, "against_role": theirs.role}
        for metric in self.task.metrics:
            found = self.task.compare(
                metric, self.rows.label, our_scores, their_scores, self.clusters, error_rate=self.error_rate
            )
            body = {"metric": metric, **against, "difference": found.value}
            yield ours.fact("metric.compared", body | _bounds(found), f"metric:{metric}")

    def calibrated(self, contender: _Contender, scores: NDArray[np.float64]) -> Evidence:
        return contender.fact("calibration.measured", self.task.calibration(self.rows.label, scores, self.clusters))

    def by_class(self, contender: _Contender, scores: NDArray[np.float64]) -> Evidence:
        """What is mistaken for what; the unknown classes are among the rows, and come in no class."""
        assert isinstance(self.task, Multiclass)
        found = self.task.by_class(self.rows.label, scores, self.clusters, error_rate=self.error_rate)
        return contender.fact("classes.measured", found | {"unknown": self.rows.unknown_classes()})


def _is_model(key: str) -> bool:
    return key in {"candidate", "champion"} or key.startswith(BASELINE)


def _resolve(contenders: dict[str, _Contender], frame: Frame) -> dict[str, Any]:
    """What is known of the champion, which takes no part where it cannot read the frame."""
    champion = contenders.get("champion")
    if champion is None:
        reason = "first release, nothing to compare with"
        return {"champion": None, "comparable": False, "reason": reason}
    unreadable = frame.cannot_encode(champion.model.columns) or _other_outputs(
        champion.model, contenders["candidate"].model
    )
    if unreadable:
        del contenders["champion"]
    reason = unreadable or "the newest version that was released and is another model"
    return {"champion": champion.ref, "comparable": not unreadable, "reason": reason}


def _other_outputs(champion: Model, candidate: Model) -> str | None:
    """Why a champion does not answer what the candidate answers; None where it does."""
    if (champion.predictor.answers, champion.outputs) == (candidate.predictor.answers, candidate.outputs):
        return None
    theirs, ours = (", ".join(m.outputs[:10]) or f"one {m.predictor.answers}" for m in (champion, candidate))
    return f"it answers {theirs}, and the candidate {ours}"


def _bounds(found: Measured) -> dict[str, Any]:
    fields = found._asdict()
    del fields["value"]
    return {name: value for name, value in fields.items() if name != "reason" or value is not None}


def slices_of(rows: Frame, column: str) -> Iterator[tuple[Any, NDArray[np.bool_]]]:
    """Each value of a column, None among them, and the rows that have it."""
    values = rows.slice_values(column).to_pylist()
    names = sorted(set(values), key=lambda value: (value is None, value))
    if len(names) > MOST_SLICES:
        raise DataError(
            f"{column!r} has {len(names):,} values in the holdout. Slice by a column with {MOST_SLICES:,} at most."
        )
    place = {name: number for number, name in enumerate(names)}
    codes = np.array([place[value] for value in values])
    for name, number in place.items():
        yield name, codes == number


def _golden(candidate: _Contender, ref: Ref, context: Context) -> Evidence:
    answers = answer_golden(candidate.model, context.store.open(ref))
    failed = [answer._asdict() for answer in answers if answer.failed]
    return candidate.fact("golden.checked", {"examples": len(answers), "failed": failed, "ref": ref})
