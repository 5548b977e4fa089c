"""Tuning: settings that are searched for on earlier blocks, and taken only where they help on a later one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterling.core.canonical import digest
from sterling.core.clock import from_micros, iso
from sterling.core.code import library_versions, source_of_module_closure
from sterling.core.errors import DataError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models.frame import Frame
from sterling.models.rows import TrainingRows
from sterling.models.training import fit
from sterling.models.tuning import Block, Searched, search
from sterling.project.definition import to_json
from sterling.project.metrics import label
from sterling.project.recipe import Tune, model_name
from sterling.project.splits import TimeSeriesSplit
from sterling.project.tasks import CONDITION, LOSS_OF, Task
from sterling.project.trainers import LightGBM
from sterling.stages.contract import Context, Outcome, Stage, put_json
from sterling.stages.train import rows_before
from sterling.tasks.of import task_of
from sterling.tasks.splits import Fold, rolling_origin
from sterling.tasks.task import Measured, not_measured


class Tuning(Stage, frozen=True):
    """Search for settings on all blocks before the holdout but the last, and judge the best of them on that.

    Input ``frame``; output ``trainer``, the settings to train with: the best where they are proven better than the
    preset, else the preset. Each block is judged by trainings on labels that were known before it.

    Attributes:
        trainer: The preset.
        tune: The space, the blocks and the budget.
        start_us: Start of the holdout, microseconds in UTC.
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        task: What kind of problem it is.
    """

    trainer: LightGBM
    tune: Tune
    start_us: int
    clustered: bool = False
    task: Task = CONDITION

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "tune candidate"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("lightgbm", "numpy", "optuna", "pyarrow", "scipy")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Search, and judge.

        Raises:
            DataError: if a block has too few labels that were known in time.
        """
        frame = Frame.read(context.store, inputs["frame"])
        if frame.of_classes:  # every block speaks of the same classes
            frame = frame.of(rows_before(frame, self.start_us, f"before {_moment(self.start_us)}", self.task).classes)
        *earlier, last = rolling_origin(
            TimeSeriesSplit(self.tune.folds + 1, self.tune.block, self.tune.gap), self.start_us
        )
        blocks = [self._block(frame, fold, context.seed)[0] for fold in earlier]
        journal = context.work / "tuning" / f"{self._study(inputs, context)}.log" if context.work else None
        preset = self.trainer.settled(int(frame.known_before(self.start_us).sum()))
        found = search(self.tune, preset, blocks, seed=context.seed, journal=journal)
        judged, rows = self._block(frame, last, context.seed)
        gain = self._gain(found, preset, judged, rows)
        accepted = gain.upper is not None and gain.upper < 0
        chosen = found.best if accepted else self.trainer
        body = self._body(found, gain, last) | {"accepted": accepted, "reason": gain.reason or self._words(accepted)}
        return Outcome(
            {"trainer": put_json(context.store, to_json(chosen))},
            (Evidence("tuning.done", (f"trainer:{model_name(self.trainer)}",), body),),
        )

    def _study(self, inputs: Mapping[str, Ref], context: Context) -> str:
        """What identifies a search: whoever asks for the same goes on with its trials."""
        source, libraries = source_of_module_closure(type(self).__module__), library_versions(self.libraries)
        return digest([self.parameters(), dict(inputs), context.seed, source, libraries])

    def _block(self, frame: Frame, fold: Fold, seed: int) -> tuple[Block, Frame]:
        known = rows_before(
            frame, fold.train_before, f"before {_moment(fold.train_before)}, where a block of tuning trains", self.task
        )
        inside = (frame.predict_at >= fold.start) & (frame.predict_at < fold.end) & frame.known_before(self.start_us)
        judged = frame.take(inside)
        if not len(judged):
            raise DataError(
                f"No label is known between {_moment(fold.start)} and {_moment(fold.end)}, where tuning judges. Use fewer "
                "folds, or longer blocks."
            )
        rows = _some(known.training_rows(seed, self.task), self.tune.rows)
        return Block(rows, judged.encode(rows.columns), judged.label), judged

    def _gain(self, found: Searched, preset: LightGBM, block: Block, rows: Frame) -> Measured:
        """The loss on the last block, tuned minus preset, or why there is no difference."""
        if found.best == preset:
            return not_measured("no trial was better than the preset", self.tune.error_rate)
        ours, theirs = (fit(trainer, block.rows).predict(block.matrix) for trainer in (found.best, preset))
        clusters = np.array(rows.table["cluster"].to_pylist()).astype(str) if self.clustered else np.arange(len(rows))
        return task_of(self.task).compare(
            self._metric, block.label, ours, theirs, clusters, error_rate=self.tune.error_rate
        )

    @property
    def _metric(self) -> str:
        return LOSS_OF[type(self.task)]

    def _words(self, accepted: bool) -> str:  # noqa: FBT001  it is the whole question
        do = "lower" if accepted else "do not lower"
        return f"on the last block the tuned settings {do} the {label(self._metric)} beyond chance"

    def _body(self, found: Searched, gain: Measured, last: Fold) -> dict[str, Any]:
        names = ("low", "high", "confidence", "upper", "error_rate", "rows", "clusters", "method")
        return {
            "name": model_name(self.trainer), "trials": [one._asdict() for one in found.tried], "stopped": found.stopped,
            "settings": {name: getattr(found.best, name) for name in sorted(self.tune.ranges())},
            "preset": found.tried[0].loss, "best": min(one.loss for one in found.tried if one.loss is not None),
            "from": _moment(last.start), "to": _moment(last.end), "difference": gain.value, "metric": self._metric,
        } | {name: getattr(gain, name) if gain.value is not None else None for name in names}  # fmt: skip


def _some(rows: TrainingRows, most: int) -> TrainingRows:
    """At most so many rows, drawn without a pattern, in order."""
    if len(rows.label) <= most:
        return rows
    chosen = np.zeros(len(rows.label), dtype=np.bool_)
    chosen[np.random.default_rng(rows.seed).choice(len(chosen), most, replace=False)] = True
    return rows.take(chosen)


def _moment(micros: int) -> str:
    return iso(from_micros(int(micros)))
