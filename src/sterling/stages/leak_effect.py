"""What leaks do to the offline metric: the same recipe on features that ignore availability, as a one-clock join gives.

A model that is trained and judged on such features shows what an evaluation with a one-clock join would claim. The same
model on what is known at the moment shows what it would have in production. The first minus the second is the claim that
nobody would see again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sterling.core.clock import from_micros, iso
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models import Model
from sterling.models.blas import one_blas_thread
from sterling.models.frame import Frame
from sterling.models.training import fit
from sterling.project.recipe import Trainer, model_name
from sterling.project.tasks import Binary, Task, with_classes
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.evaluate import clusters_of, holdout_of
from sterling.stages.features import NAIVE, blinded, leaks_beside
from sterling.stages.predictions import put_predictions
from sterling.stages.train import LIBRARIES, rows_before, tuned_trainer
from sterling.tasks.of import task_of


class LeakEffect(Stage, frozen=True):
    """Train the candidate's recipe without availability, and judge it both as it would be claimed and as it would be.

    Inputs ``frame``, ``candidate`` (the model), ``trainer`` where settings were tuned, and ``leaks:<view>`` for each
    definition that has such; outputs the
    predictions on the holdout: ``claimed`` and ``had``. Where no row of either block leaks, nothing is trained.

    Attributes:
        trainer: The candidate's trainer.
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        code: What identifies code that the project supplies, as JSON.
        task: What kind of problem it is.
    """

    trainer: Trainer
    start_us: int
    end_us: int
    error_rate: float = 0.05
    clustered: bool = False
    code: Sequence[Any] = ()
    task: Task = Binary()

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "leak effect"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return tuple(dict.fromkeys((*LIBRARIES[type(self.trainer)], "lightgbm", "numpy", "scipy", "pyarrow")))

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Train, score twice, and compare.

        Raises:
            DataError: as training and judging the candidate do.
        """
        leaks = leaks_beside(inputs, context)
        assert leaks is not None
        table = Frame.read(context.store, inputs["frame"]).table.append_column(_LEAKS, _any(leaks))
        candidate = Model.from_bytes(context.store.open(inputs["candidate"]).read_bytes())
        task = with_classes(self.task, candidate.outputs)
        honest = _split(self, Frame(table, candidate.outputs))
        blind = _split(self, Frame(_blinded(table, leaks), candidate.outputs))
        changed = {name: float(rows.table[_LEAKS].to_numpy().mean()) for name, rows in honest.items()}
        honest, blind = ({name: _bare(rows) for name, rows in both.items()} for both in (honest, blind))
        model = (
            fit(
                tuned_trainer(context.store, inputs) or self.trainer,
                blind["train"].training_rows(context.seed, task),
            )
            if any(changed.values())
            else candidate
        )
        known, seen = honest["holdout"], blind["holdout"]
        scores = {
            "claimed": model.predict(seen.encode(model.columns)),
            "had": model.predict(known.encode(model.columns)),
            "candidate": candidate.predict(known.encode(candidate.columns)),
        }
        clusters = clusters_of(known, clustered=self.clustered)
        with one_blas_thread():
            metrics = [self._metric(name, known.label, scores, clusters, task) for name in task_of(task).metrics]
        body = {
            "model": inputs["candidate"], "name": model_name(self.trainer), "rows": len(known),
            "train_rows": len(blind["train"]), "changed": changed["holdout"], "train_changed": changed["train"],
            "metrics": metrics,
        }  # fmt: skip
        outputs = {
            name: put_predictions(context.store, known, scores[name], model.outputs) for name in ("claimed", "had")
        }
        return Outcome(outputs, (Evidence("leaks.evaluated", (f"model:{inputs['candidate']}",), body),))

    def _metric(
        self,
        metric: str,
        label: NDArray[np.float64],
        scores: Mapping[str, NDArray[np.float64]],
        clusters: NDArray[np.int64],
        task: Task,
    ) -> dict[str, Any]:
        """A metric of each, and the difference between what is claimed and what would be had, with its interval."""
        values = {name: task_of(task).score(label, found).get(metric) for name, found in scores.items()}
        found = task_of(task).compare(
            metric, label, scores["claimed"], scores["had"], clusters, error_rate=self.error_rate
        )
        bounds = {"low": found.low, "high": found.high, "confidence": found.confidence, "method": found.method}
        difference = found.value
        if np.array_equal(scores["claimed"], scores["had"]) and values["had"] is not None:
            difference, bounds = 0.0, bounds | {"low": 0.0, "high": 0.0}
        return {"metric": metric, **values, "difference": difference, **bounds, "reason": found.reason}


_LEAKS = "_slice_leaks"


def _any(leaks: pa.Table) -> pa.Array:
    """The rows in which any feature leaks."""
    flags = [leaks.column(name).to_numpy() for name in leaks.schema.names if not name.startswith(NAIVE)]
    return pa.array(np.logical_or.reduce(flags))


def _blinded(table: pa.Table, leaks: pa.Table) -> pa.Table:
    """A frame as it would be if availability were ignored."""
    cells = {name: table.column(name) for name in table.schema.names}
    return pa.table(blinded(cells, leaks))


def _split(stage: LeakEffect, frame: Frame) -> dict[str, Frame]:
    where = f"before the holdout, {iso(from_micros(stage.start_us))}"
    return {
        "train": rows_before(frame, stage.start_us, where, stage.task),
        "holdout": holdout_of(frame, stage.start_us, stage.end_us)[0],
    }


def _bare(rows: Frame) -> Frame:
    return Frame(rows.table.drop_columns([_LEAKS]), rows.classes)
