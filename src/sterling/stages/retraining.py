"""Retraining: the candidate's recipe trained on less, and compared with the candidate on the same holdout.

Without a view it shows what the view is worth that others do not bring (ablation); on less time, what more data would bring
(learning curve); frozen earlier, what waiting costs (staleness).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from sterling.core.clock import from_micros, iso
from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.models.blas import one_blas_thread
from sterling.models.frame import Frame
from sterling.models.training import fit
from sterling.project.definition import Definition
from sterling.project.recipe import Trainer, model_name
from sterling.project.tasks import CONDITION, Task, with_classes
from sterling.project.times import micros
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.holdout import LIBRARIES, Floats, Scored, scored
from sterling.stages.train import LIBRARIES as OF_TRAINERS
from sterling.stages.train import rows_before, tuned_trainer
from sterling.tasks.of import task_of

Question = Literal["ablation", "learning curve", "staleness"]
KINDS: dict[Question, str] = {
    "ablation": "ablation.measured",
    "learning curve": "learning.measured",
    "staleness": "staleness.measured",
}


class Variant(Definition, frozen=True):
    """A training on less.

    Args:
        title: What is different, as people read it.
        without: Features that are left out.
        share: Share of the time that the training rows span, the newest part, in (0, 1].
        age: How long before the holdout training is frozen.
    """

    title: str
    without: Sequence[str] = ()
    share: float = 1.0
    age: str = "0d"


class Retrain(Stage, frozen=True):
    """Train variants of the candidate, and compare each with it on the holdout.

    Inputs ``frame``, ``holdout`` and ``candidate``, and ``trainer`` where settings were tuned; a fact and no output.

    Attributes:
        question: What is asked.
        trainer: The candidate's trainer.
        variants: The trainings.
        start_us: Start of the holdout, microseconds in UTC.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        code: What identifies code that the project supplies, as JSON.
        task: What kind of problem it is.
    """

    question: Question
    trainer: Trainer
    variants: Sequence[Variant]
    start_us: int
    error_rate: float
    clustered: bool
    code: Sequence[Any] = ()
    task: Task = CONDITION

    @property
    def title(self) -> str:
        """The step as people read it."""
        return self.question

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return tuple(dict.fromkeys((*OF_TRAINERS[type(self.trainer)], *LIBRARIES)))

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Train and compare.

        Raises:
            DataError: as training the candidate does.
        """
        found = scored(inputs, context, clustered=self.clustered)
        frame = Frame.read(context.store, inputs["frame"]).of(found.model.outputs)
        task = with_classes(self.task, found.model.outputs)
        span = _Span(self.start_us, int(frame.predict_at[frame.known_before(self.start_us)].min(initial=self.start_us)))
        trainer = tuned_trainer(context.store, inputs) or self.trainer
        variants = [self._variant(one, trainer, frame, span, found, context.seed, task) for one in self.variants]
        body = {"rows": len(found), "error_rate": self.error_rate, "variants": variants}
        return Outcome({}, (found.fact(KINDS[self.question], model_name(self.trainer), body),))

    def _variant(
        self, one: Variant, trainer: Trainer, frame: Frame, span: _Span, found: Scored, seed: int, task: Task
    ) -> dict[str, Any]:
        said = {"title": one.title, "without": list(one.without), "share": one.share, "age": one.age}
        try:
            rows = _rows(one, frame, span, task)
        except DataError as error:  # too little is left to train on, which says something as well
            return said | {"train_rows": 0, "from": None, "to": None, "metrics": [], "reason": str(error)}
        model = fit(trainer, rows.training_rows(seed, task))
        scores = model.predict(found.rows.encode(model.columns))
        with one_blas_thread():
            metrics = [*self._metrics(found, scores, task)]
        first, last = (iso(from_micros(int(rows.predict_at[place]))) for place in (0, -1))
        return said | {"train_rows": len(rows), "from": first, "to": last, "metrics": metrics, "reason": None}

    def _metrics(self, found: Scored, scores: Floats, task: Task) -> Iterator[dict[str, Any]]:
        values = task_of(task).score(found.label, scores)
        for metric in task_of(task).metrics:
            change = task_of(task).compare(
                metric, found.label, scores, found.scores, found.clusters, error_rate=self.error_rate
            )
            yield {
                "metric": metric, "value": values.get(metric), "difference": change.value, "low": change.low,
                "high": change.high, "lower": change.lower, "upper": change.upper, "reason": change.reason,
            }  # fmt: skip


class _Span(NamedTuple):
    """When training rows are predicted."""

    end: int
    first: int


def _rows(one: Variant, frame: Frame, span: _Span, task: Task) -> Frame:
    """What a variant trains on: what was known when it is frozen, of the newest part of the time."""
    before = span.end - micros(one.age)
    since = span.end - round(one.share * (span.end - span.first))
    late = frame if one.share == 1 else frame.take(np.asarray(frame.predict_at >= since))
    rows = rows_before(late, before, f"before {iso(from_micros(before))}, {one.title}", task)
    if len(one.without) >= len(rows.features):
        raise DataError("No feature is left.")
    return Frame(rows.table.drop_columns(list(one.without)), rows.classes) if one.without else rows
