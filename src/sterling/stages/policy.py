"""Policy: what decides from each model's scores, settled on data from before the holdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sterling.core.clock import from_micros, iso
from sterling.core.errors import DataError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models.frame import Frame
from sterling.models.training import train
from sterling.project.definition import Definition
from sterling.project.policy import Policy, Threshold, Value
from sterling.project.recipe import Calibration, Trainer, model_name
from sterling.project.times import micros
from sterling.stages.calibration import calibrated
from sterling.stages.contract import Context, Outcome, Stage, put_json
from sterling.stages.evaluate import clusters_of
from sterling.stages.train import LIBRARIES, rows_before, tuned_trainer
from sterling.stats.value_curve import Curve, curve, objective_of
from sterling.tasks.policies import Decider, amounts_of, resolved
from sterling.tasks.task import Floats


class Contender(Definition, frozen=True):
    """A model of the recipe, as the policy stage knows it.

    Attributes:
        key: Its name among the inputs.
        trainer: How it is trained.
        code: What identifies code that the project supplies, as JSON.
        calibration: Curves that its probabilities may be led back by, as in its training; None for none.
    """

    key: str
    trainer: Trainer
    code: Sequence[Any] = ()
    calibration: Calibration | None = None


class ChoosePolicy(Stage, frozen=True):
    """Settle what each model's scores decide.

    Inputs: each contender's model by its key, ``frame``, and, where the candidate's settings were tuned, ``trainer``. Outputs: ``policy``, the candidate's, and ``policies``, those of
    all by key, as JSON. A threshold that is to be chosen is the best on the last blocks before the holdout, for models that
    were trained on what was known before each; only labels that were known before the holdout count.

    Attributes:
        policy: What the project wants.
        value: What decisions are worth, or None.
        start_us: Start of the holdout, microseconds in UTC.
        contenders: The models, the candidate's key among them.
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    policy: Policy
    value: Value | None
    start_us: int
    contenders: Sequence[Contender]
    clustered: bool = False

    @property
    def name(self) -> str:
        """What kind of step it is."""
        return "policy"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        if resolved(self.policy, self.value):
            return ()
        used = [name for one in self.contenders for name in LIBRARIES[type(one.trainer)]]
        return (*dict.fromkeys(used), "numpy", "pyarrow", "scipy")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Settle the policy of each model.

        Raises:
            DataError: if a block before the holdout has too few known labels to train before it or to choose on it.
        """
        settled = resolved(self.policy, self.value)
        frame = None if settled else Frame.read(context.store, inputs["frame"])
        deciders, facts = dict[str, Decider](), []
        for one in self.contenders:
            body: dict[str, Any] = {"chosen_on": None}
            decider = settled
            if frame is not None:
                trainer = tuned_trainer(context.store, inputs) if one.key == "candidate" else None
                decider, body = self._choose(one, trainer or one.trainer, frame, context.seed)
            assert decider is not None
            deciders[one.key] = decider
            model = inputs[one.key]
            said = {"model": model, "name": model_name(one.trainer), "policy": decider.document()}
            facts.append(Evidence("policy.chosen", (f"model:{model}",), said | body))
        outputs = {
            "policy": put_json(context.store, deciders["candidate"].document()),
            "policies": put_json(context.store, {key: decider.document() for key, decider in deciders.items()}),
        }
        return Outcome(outputs, tuple(facts))

    def _choose(
        self, contender: Contender, trainer: Trainer, frame: Frame, seed: int
    ) -> tuple[Decider, dict[str, Any]]:
        assert isinstance(self.policy, Threshold)
        assert self.policy.maximize
        scores, rows = self._before(trainer, contender.calibration, frame, seed)
        objective = objective_of(self.policy.maximize, amounts_of(self.value))
        clusters = clusters_of(rows, clustered=self.clustered)
        found = curve(rows.label, scores, clusters, objective)
        size = micros(self.policy.block)
        start = self.start_us - size * self.policy.blocks
        why = f"the best {self.policy.maximize.replace('_', ' ')} from {_day(start)} to {_day(self.start_us)}"
        return Decider(found.best.threshold, why), {"chosen_on": self._said(found, start)}

    def _before(
        self, trainer: Trainer, calibration: Calibration | None, frame: Frame, seed: int
    ) -> tuple[Floats, Frame]:
        """Scores of the blocks before the holdout, each by a model of the same recipe that was trained before it."""
        assert isinstance(self.policy, Threshold)
        size = micros(self.policy.block)
        judged = np.zeros(len(frame), dtype=np.bool_)
        scores = np.full(len(frame), np.nan)
        for back in range(self.policy.blocks, 0, -1):
            start = self.start_us - back * size
            inside = (frame.predict_at >= start) & (frame.predict_at < start + size) & frame.known_before(self.start_us)
            if not inside.any():
                raise DataError(
                    f"No label between {_day(start)} and {_day(start + size)} is known before the holdout, so no threshold can "
                    "be chosen there. Use a longer Threshold.block, or Threshold(at=…)."
                )
            known = rows_before(frame, start, f"before {_day(start)}, after which the threshold is chosen")
            encoded = known.training_rows(seed)
            trained = train(trainer, encoded)
            model, _ = calibrated(calibration, trainer, trained, known, encoded, clustered=self.clustered)
            scores[inside] = model.predict(frame.take(inside).encode(model.columns))
            judged |= inside
        return scores[judged], frame.take(judged)

    def _said(self, found: Curve, start: int) -> dict[str, Any]:
        assert isinstance(self.policy, Threshold)
        best = found.best
        return {
            "objective": self.policy.maximize, "from": iso(from_micros(start)), "to": iso(from_micros(self.start_us)),
            "blocks": self.policy.blocks, "rows": found.rows, "clusters": found.clusters, "thresholds": len(found.points),
            "selected": best.selected, "value": best.value, "low": best.low, "high": best.high,
            "confidence": found.confidence,
        }  # fmt: skip


def _day(micros_: int) -> str:
    return f"{from_micros(micros_):%Y-%m-%d}"
