"""Train: one model on the labels that were known before the holdout, checked on earlier blocks in the same way."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from sterling.core.clock import from_micros, iso
from sterling.core.errors import DataError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models import Model, Trees
from sterling.models.frame import Frame
from sterling.models.training import fit, kernel
from sterling.project.recipe import Custom, LightGBM, Logistic, Prior, Ridge, TimeSeriesSplit, Trainer, model_name
from sterling.project.tasks import CONDITION, Task
from sterling.stages.contract import Context, Outcome, Stage, put_bytes
from sterling.stages.predictions import put_predictions
from sterling.tasks.of import task_of
from sterling.tasks.splits import Fold, rolling_origin

PROBES = 256
"""Rows whose predictions are kept beside a model, to compare it with what a fresh process makes of it."""
LIBRARIES: dict[type[Trainer], tuple[str, ...]] = {
    Prior: (),
    Logistic: ("scikit-learn", "scipy"),
    Ridge: ("scipy",),
    LightGBM: ("lightgbm",),
    Custom: ("lightgbm", "scikit-learn", "scipy"),
}


class Train(Stage, frozen=True):
    """Train one model.

    Input ``frame``; outputs ``model`` and ``probe``, its predictions on pinned rows. A row counts if its moment of
    prediction and the maturity of its label both lie before the holdout.

    Attributes:
        trainer: What is trained.
        role: Whether it is the candidate, or something to compare it with.
        start_us: Start of the holdout, microseconds in UTC.
        cv: Validation on earlier blocks; None for none.
        code: What identifies code that the project supplies, as JSON.
        task: What kind of problem it is.
    """

    trainer: Trainer
    role: Literal["candidate", "baseline"]
    start_us: int
    cv: TimeSeriesSplit | None = None
    code: Sequence[Any] = ()
    task: Task = CONDITION

    @property
    def title(self) -> str:
        """``train candidate``, or the name of the baseline."""
        return f"train {'candidate' if self.role == 'candidate' else model_name(self.trainer)}"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose versions belong to the model's identity."""
        return (*LIBRARIES[type(self.trainer)], "numpy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Train, validate, and predict the probe rows.

        Raises:
            DataError: if too few labels were known in time, or they are of one class.
        """
        frame = Frame.read(context.store, inputs["frame"])
        rows = rows_before(frame, self.start_us, f"before the holdout, {_moment(self.start_us)}", self.task)
        started = time.process_time()
        model = self._fit(rows, context.seed)
        seconds = time.process_time() - started
        ref = put_bytes(context.store, model.to_bytes())
        probes = rows.take(_probes(rows))
        probe = put_predictions(context.store, probes, model.predict(probes.encode(model.columns)))
        trained = {
            "model": ref, "name": model_name(self.trainer), "role": self.role, "rows": len(rows),
            **task_of(self.task).summary(rows.label), "from": _moment(rows.predict_at[0]), "to": _moment(rows.predict_at[-1]),
            "features": list(model.names), "seconds_cpu": round(seconds, 3), "kernel": kernel(self.trainer),
            "probe": probe,
        }  # fmt: skip
        facts = [self._fact("model.trained", ref, trained)]
        facts += [self._fact("model.validated", ref, body) for body in self._validate(frame, ref, context.seed)]
        if isinstance(model.predictor, Trees):
            facts.append(self._fact("importance.measured", ref, self._importance(model, model.predictor, ref)))
        return Outcome({"model": ref, "probe": probe}, tuple(facts))

    def _fit(self, rows: Frame, seed: int) -> Model:
        return fit(self.trainer, rows.training_rows(seed, self.task))

    def _fact(self, kind: str, model: Ref, body: dict[str, Any]) -> Evidence:
        return Evidence(kind, (f"model:{model}",), body)

    def _validate(self, frame: Frame, ref: Ref, seed: int) -> Iterator[dict[str, Any]]:
        """A model of the same recipe for each fold, judged on the labels that were known before the holdout."""
        for fold in rolling_origin(self.cv, self.start_us) if self.cv else ():
            rows = rows_before(
                frame,
                fold.train_before,
                f"before {_moment(fold.train_before)}, where fold {fold.number} trains",
                self.task,
            )
            judged = frame.take(_block(frame, fold) & frame.known_before(self.start_us))
            if not len(judged):
                raise DataError(
                    f"Fold {fold.number} has no known label between {_moment(fold.start)} and {_moment(fold.end)}. "
                    "Use fewer folds, or longer blocks."
                )
            model = self._fit(rows, seed)
            yield {
                "model": ref, "name": model_name(self.trainer), "fold": fold.number, "from": _moment(fold.start),
                "to": _moment(fold.end), "train_rows": len(rows), "rows": len(judged),
                "metrics": task_of(self.task).score(judged.label, model.predict(judged.encode(model.columns))),
            }  # fmt: skip

    def _importance(self, model: Model, trees: Trees, ref: Ref) -> dict[str, Any]:
        shares = zip(model.names, trees.gain_shares(), strict=True)
        ordered = sorted(shares, key=lambda pair: -pair[1])
        features = [{"name": name, "share": share} for name, share in ordered]
        return {"model": ref, "name": model_name(self.trainer), "method": "gain", "features": features}


def rows_before(frame: Frame, before_us: int, where: str, task: Task = CONDITION) -> Frame:
    """The rows that a training at a moment may use.

    Raises:
        DataError: if no labels were known in time, or they are all alike.
    """
    early = int((frame.predict_at < before_us).sum())
    rows = frame.take(frame.known_before(before_us))
    if early and not len(rows):
        raise DataError(f"{early:,} rows are predicted {where}, and none of their labels is known by then.")
    task_of(task).check_labels(rows.label, where=where)
    return rows


def _block(frame: Frame, fold: Fold) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return (frame.predict_at >= fold.start) & (frame.predict_at < fold.end)


def _probes(rows: Frame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Rows pinned by their own names, so that most of them stay when others come."""
    hashes = np.array([zlib.crc32(unit.encode()) for unit in rows.table["unit"].to_pylist()])
    chosen = np.zeros(len(rows), dtype=np.bool_)
    chosen[np.argsort(hashes, kind="stable")[:PROBES]] = True
    return chosen


def _moment(micros: int) -> str:
    return iso(from_micros(int(micros)))
