"""Train: one model on the labels that were known before the holdout, checked on earlier blocks in the same way."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from sterling.core.clock import from_micros, iso
from sterling.core.cost import Cost, measured
from sterling.core.errors import DataError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.models import Model, Trees
from sterling.models.calibrated import innermost
from sterling.models.frame import Frame
from sterling.models.rows import TrainingRows
from sterling.models.training import fit, kernel, train
from sterling.project.recipe import (
    Calibration,
    Custom,
    Ensemble,
    LightGBM,
    Logistic,
    Prior,
    Ridge,
    Rule,
    ShallowTree,
    Sklearn,
    Trainer,
    XGBoost,
    model_name,
)
from sterling.project.splits import GroupKFold, Split, reason_of
from sterling.project.tasks import CONDITION, Quantiles, Task, outputs_of, with_classes
from sterling.stages.calibration import calibrated
from sterling.stages.conformal import conformed
from sterling.stages.contract import Context, Outcome, Stage, put_bytes
from sterling.stages.predictions import put_predictions
from sterling.tasks.of import task_of
from sterling.tasks.splits import Part, parts

PROBES = 256
"""Rows whose predictions are kept beside a model, to compare it with what a fresh process makes of it."""
LIBRARIES: dict[type[Trainer], tuple[str, ...]] = {
    Prior: (),
    Rule: (),
    ShallowTree: ("lightgbm",),
    Logistic: ("scikit-learn", "scipy"),
    Ridge: ("scipy",),
    LightGBM: ("lightgbm",),
    Ensemble: ("lightgbm",),
    XGBoost: ("xgboost",),
    Sklearn: ("scikit-learn", "scipy"),
    Custom: ("lightgbm", "scikit-learn", "scipy"),
}


class Train(Stage, frozen=True):
    """Train one model.

    Inputs ``frame`` and, where settings were tuned, ``trainer``; outputs ``model`` and ``probe``, its predictions on pinned rows. A row counts if its moment of
    prediction and the maturity of its label both lie before the holdout.

    Attributes:
        trainer: What is trained.
        role: Whether it is the candidate, or something to compare it with.
        start_us: Start of the holdout, microseconds in UTC.
        cv: Validation on earlier blocks; None for none.
        code: What identifies code that the project supplies, as JSON.
        task: What kind of problem it is.
        calibration: Curves that its probabilities may be led back by; None for none.
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    trainer: Trainer
    role: Literal["candidate", "baseline"]
    start_us: int
    cv: Split | None = None
    code: Sequence[Any] = ()
    task: Task = CONDITION
    calibration: Calibration | None = None
    clustered: bool = False

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
        if (chosen := tuned_trainer(context.store, inputs)) is not None:
            return msgspec.structs.replace(self, trainer=chosen)({"frame": inputs["frame"]}, context)
        frame = Frame.read(context.store, inputs["frame"])
        rows = rows_before(frame, self.start_us, f"before the holdout, {_moment(self.start_us)}", self.task)
        frame, task = frame.of(rows.classes), with_classes(self.task, rows.classes)
        encoded = rows.training_rows(context.seed, task)
        with measured() as cost:
            trained = train(self.trainer, encoded)
        if isinstance(task, Quantiles):
            model, judged = conformed(self.calibration, trained, rows, encoded, clustered=self.clustered)
        else:
            model, judged = calibrated(self.calibration, self.trainer, trained, rows, encoded, clustered=self.clustered)
        ref = put_bytes(context.store, model.to_bytes())
        probes = rows.take(_probes(rows))
        probe = put_predictions(context.store, probes, model.predict(probes.encode(model.columns)), model.outputs)
        body = {
            "model": ref, "name": model_name(self.trainer), "role": self.role, "rows": len(rows),
            **task_of(task).summary(rows.label), "from": _moment(rows.predict_at[0]), "to": _moment(rows.predict_at[-1]),
            "features": list(model.names), "kernel": kernel(self.trainer), "probe": probe, "found": trained.found,
        }  # fmt: skip
        facts = [self._fact("model.trained", ref, body | _cost(cost, encoded))]
        if judged:
            facts.append(
                self._fact("calibration.judged", ref, {"model": ref, "name": model_name(self.trainer)} | judged)
            )
        facts += [self._fact("model.validated", ref, body) for body in self._validate(frame, ref, context.seed, task)]
        if isinstance(trees := innermost(model.predictor), Trees):
            facts.append(self._fact("importance.measured", ref, self._importance(model, trees, ref)))
        return Outcome({"model": ref, "probe": probe}, tuple(facts))

    def _fit(self, rows: Frame, seed: int) -> Model:
        return fit(self.trainer, rows.training_rows(seed, self.task))

    def _fact(self, kind: str, model: Ref, body: dict[str, Any]) -> Evidence:
        return Evidence(kind, (f"model:{model}",), body)

    def _validate(self, frame: Frame, ref: Ref, seed: int, task: Task) -> Iterator[dict[str, Any]]:
        """A model of the same recipe for each fold, judged on the labels that were known before the holdout."""
        if self.cv is None:
            return
        groups = (
            frame.slice_values(self.cv.by).to_numpy(zero_copy_only=False) if isinstance(self.cv, GroupKFold) else None
        )
        split = {"type": type(self.cv).__name__, "why": reason_of(self.cv)}
        for part in parts(self.cv, frame.predict_at, frame.known_before, frame.label, groups, self.start_us, seed=seed):
            rows, judged = _fold_rows(frame, part, task)
            model = self._fit(rows, seed)
            start, end = (part.block.start, part.block.end) if part.block else judged.predict_at[[0, -1]]
            yield {
                "model": ref, "name": model_name(self.trainer), "fold": part.number, "from": _moment(start),
                "to": _moment(end), "train_rows": len(rows), "rows": len(judged), "split": split,
                "metrics": task_of(task).score(judged.label, model.predict(judged.encode(model.columns))),
            }  # fmt: skip

    def _importance(self, model: Model, trees: Trees, ref: Ref) -> dict[str, Any]:
        shares = zip(model.names, trees.gain_shares(), strict=True)
        ordered = sorted(shares, key=lambda pair: -pair[1])
        features = [{"name": name, "share": share} for name, share in ordered]
        return {"model": ref, "name": model_name(self.trainer), "method": "gain", "features": features}


def tuned_trainer(store: Store, inputs: Mapping[str, Ref]) -> Trainer | None:
    """The candidate with the settings that a search found; None where nothing was searched for."""
    if "trainer" not in inputs:
        return None
    return msgspec.convert(msgspec.json.decode(store.open(inputs["trainer"]).read_bytes()), LightGBM)


def rows_before(frame: Frame, before_us: int, where: str, task: Task = CONDITION) -> Frame:
    """The rows that a training at a moment may use.

    Raises:
        DataError: if no labels were known in time, or they are all alike.
    """
    early = int((frame.predict_at < before_us).sum())
    known = frame.take(frame.known_before(before_us))
    rows = Frame(known.table, outputs_of(task) or frame.named)  # classes are those of these labels, not of later ones
    if early and not len(rows):
        raise DataError(f"{early:,} rows are predicted {where}, and none of their labels is known by then.")
    task_of(task, rows.classes).check_labels(rows.label, where=where)
    return rows


def _fold_rows(frame: Frame, part: Part, task: Task) -> tuple[Frame, Frame]:
    """The rows that train a fold and those that it judges.

    Raises:
        DataError: if either are none, or those that train are all alike.
    """
    fold = part.block
    where = (
        f"before {_moment(fold.train_before)}, where fold {part.number} trains"
        if fold
        else f"to train fold {part.number}"
    )
    rows, judged = frame.take(part.train), frame.take(part.judged)
    if fold and not len(rows):
        rows_before(frame, fold.train_before, where, task)
    task_of(task).check_labels(rows.label, where=where)
    if not len(judged):
        between = f" between {_moment(fold.start)} and {_moment(fold.end)}" if fold else ""
        raise DataError(f"Fold {part.number} has no known label{between}. Use fewer folds, or longer blocks.")
    return rows, judged


def _probes(rows: Frame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Rows pinned by their own names, so that most of them stay when others come."""
    hashes = np.array([zlib.crc32(unit.encode()) for unit in rows.table["unit"].to_pylist()])
    chosen = np.zeros(len(rows), dtype=np.bool_)
    chosen[np.argsort(hashes, kind="stable")[:PROBES]] = True
    return chosen


def _cost(cost: Cost, rows: TrainingRows) -> dict[str, Any]:
    """What the training itself cost; its peak counts what the process held before it, the table among that."""
    return {
        "seconds": round(cost.seconds, 3), "seconds_cpu": round(cost.seconds_cpu, 3), "peak_bytes": cost.peak_bytes,
        "before_bytes": cost.before_bytes, "table_bytes": int(rows.matrix.nbytes + rows.label.nbytes),
    }  # fmt: skip


def _moment(micros: int) -> str:
    return iso(from_micros(int(micros)))
