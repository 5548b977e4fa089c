"""Importance: what the candidate loses without a feature's information, and what each feature adds to its scores.

References:
    Permutation importance: Breiman (2001), Machine Learning 45, 5–32, section 10; as a difference of losses: Fisher, Rudin &
    Dominici (2019), JMLR 20(177), section 3. Features that say the same share it, so a view is shuffled as a whole as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.models import Linear, Model, Trees
from sterling.models.attributions import attributions
from sterling.project.studies import Importance
from sterling.project.tasks import CONDITION, Binary, Multiclass, Quantiles, Regression, Task
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.holdout import LIBRARIES, Floats, Scored, scored
from sterling.stats.intervals import TooFewClustersError
from sterling.stats.means import group_clusters, mean_interval, row_log_loss
from sterling.stats.multiclass import row_surprise
from sterling.stats.pinball import row_pinball

ROW_LOSS: dict[type[Task], tuple[str, Callable[[Floats, Floats], Floats]]] = {
    Binary: ("log_loss", row_log_loss),
    Regression: ("squared_error", lambda label, answers: (label - answers) ** 2),
    Multiclass: ("log_loss", row_surprise),
}
"""The loss of a row under each task, which is what shuffling makes larger."""


def _row_loss(task: Task) -> tuple[str, Callable[[Floats, Floats], Floats]]:
    if isinstance(task, Quantiles):
        return "pinball", lambda label, answers: row_pinball(label, answers, task.levels)
    return ROW_LOSS[type(task)]


class MeasureImportance(Stage, frozen=True):
    """Shuffle each feature and each view, and attribute scores to features.

    Inputs ``holdout`` and ``candidate``; facts and no output.

    Attributes:
        candidate: Name of the candidate in tables.
        study: How much to spend.
        views: Each view of several features by its name, with these.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        task: What kind of problem it is.
    """

    candidate: str
    study: Importance
    views: Sequence[tuple[str, tuple[str, ...]]]
    error_rate: float
    clustered: bool
    task: Task = CONDITION

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "importance"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Shuffle and attribute."""
        found = scored(inputs, context, clustered=self.clustered)
        facts = (
            found.fact("importance.permuted", self.candidate, self._permuted(found, context.seed)),
            found.fact("attributions.measured", self.candidate, self._attributed(found)),
        )
        return Outcome({}, facts)

    def _permuted(self, found: Scored, seed: int) -> dict[str, Any]:
        used = used_features(found.model)
        places = {name: place for place, name in enumerate(found.model.names)}
        parts: dict[str, dict[str, tuple[int, ...]]] = {
            "features": {name: (places[name],) for name in used},
            "views": {},
        }
        for view, names in self.views:
            if len(read := tuple(places[name] for name in names if name in used)) > 1:
                parts["views"][view] = read
        count = sum(map(len, parts.values()))
        some = found.every(max(1, -(-len(found) * count // self.study.predictions)))
        metric, loss = _row_loss(self.task)
        body: dict[str, Any] = {"metric": metric, "rows": len(some), "of": len(found), "confidence": 0.95}
        try:
            groups = group_clusters(some.clusters, len(some))
        except TooFewClustersError as error:
            return body | {"features": [], "views": [], "unused": [], "reason": str(error)}
        order = np.random.default_rng(seed).permutation(len(some))
        before = loss(some.label, some.scores)
        for kind, of_kind in parts.items():
            measured = []
            for name, columns in of_kind.items():
                lost = loss(some.label, _shuffled(some, columns, order)) - before
                measured.append({"name": name, **mean_interval(lost, groups, error_rate=self.error_rate)._asdict()})
            body[kind] = sorted(measured, key=lambda one: -one["value"])
        return body | {"unused": [name for name in found.model.names if name not in used], "reason": None}

    def _attributed(self, found: Scored) -> dict[str, Any]:
        some = found.every(-(-len(found) // self.study.attributed))
        try:
            parts = attributions(found.model, some.matrix, reference=found.matrix)
        except DataError as error:
            return {
                "rows": 0,
                "method": None,
                "features": [],
                "base": None,
                "largest_error": None,
                "reason": str(error),
            }
        off = float(np.abs(parts.total - _raw(found.model, some.scores)).max())
        sizes, means = np.abs(parts.values).mean(axis=0).tolist(), parts.values.mean(axis=0).tolist()
        features = [
            {"name": name, "size": size, "mean": mean}
            for name, size, mean in zip(found.model.names, sizes, means, strict=True)
        ]
        return {
            "rows": len(some), "method": _METHODS.get(type(found.model.predictor), "constant"), "base": parts.base,
            "largest_error": off, "features": sorted(features, key=lambda one: -one["size"]), "reason": None,
        }  # fmt: skip


_METHODS: dict[type, str] = {Trees: "TreeSHAP, path-dependent", Linear: "terms less their means over the holdout"}


def used_features(model: Model) -> tuple[str, ...]:
    """Features that a model's answers depend on, in its order; all where that cannot be told."""
    if isinstance(model.predictor, Trees):
        return tuple(name for name, share in zip(model.names, model.predictor.gain_shares(), strict=True) if share > 0)
    return model.names


def _raw(model: Model, answers: Floats) -> Floats:
    """What attributions sum to: log odds of probabilities, or the numbers that are answered."""
    if model.predictor.answers == "number":
        return answers
    inside = np.clip(answers, 1e-15, 1 - 1e-15)
    odds: Floats = np.log(inside / (1 - inside))
    return odds


def _shuffled(some: Scored, columns: Sequence[int], order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Any:
    matrix = some.matrix.copy()
    matrix[:, columns] = some.matrix[order][:, columns]
    return some.model.predict(matrix)
