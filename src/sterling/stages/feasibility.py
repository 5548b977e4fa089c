"""Feasibility: whether the holdout can show what the gates ask, before anything is trained.

| stage | inputs | outputs |
|---|---|---|
| `Feasibility` | ``frame`` | none |

A quick model of a sample stands for a plausible candidate: what it is worth does not matter, only how its measures scatter
over the holdout's clusters. A gate is *impossible* where no model passes it on this holdout, *doubtful* where a model that
deserves to pass is more likely refused than the project's power says, and *fine* else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models.blas import one_blas_thread
from sterling.models.frame import Frame
from sterling.models.quick import quick_scores
from sterling.project.gates import Gate
from sterling.project.policy import Value
from sterling.project.tasks import CONDITION, MOST_CLASSES, Binary, Quantiles, Task
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.feasible_gates import Judged, assess
from sterling.stages.feasible_value import span_days, worth
from sterling.stages.leak_sample import MOST_TRAINING_ROWS, Rows, sides, spread
from sterling.tasks.of import task_of

FEWEST_TO_TRAIN = 200
"""Training rows below which nothing is likely to be learnt that a rule would not say."""
EVENTS_PER_FEATURE = 10
"""Rows of the rarer class for each feature (Peduzzi et al. 1996, J. Clin. Epidemiol. 49, 1373–1379)."""
FEW_OF_A_CLASS = 20
"""Labels of a class below which a leaf of its own is hardly found."""
FEW_CLUSTERS = 20
"""Clusters below which bounds reach far: Student's t at 19 degrees of freedom is 5 % wider than the normal quantile."""
MATURED = 0.8
"""Share of labels that have matured, below which those that have may be unlike the others."""
MANY_CATEGORIES = 1_000
"""Values of a category above which most of them are too rare to learn from."""
SHOWN = 5


class Feasibility(Stage, frozen=True):
    """Assess what the data can show.

    Attributes:
        gates: The project's gates.
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        task: What kind of problem it is.
        value: What each outcome of a decision is worth, or None.
    """

    gates: Sequence[Gate]
    start_us: int
    end_us: int
    error_rate: float = 0.05
    clustered: bool = False
    task: Task = CONDITION
    value: Value | None = None

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("lightgbm", "numpy", "scipy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Count, and ask of each gate whether it can be passed."""
        frame = Frame.read(context.store, inputs["frame"])
        train, judged = sides(frame, self.start_us, self.end_us)
        block = (frame.predict_at >= self.start_us) & (frame.predict_at < self.end_us)
        impossible = list(_impossible(frame, train, judged))
        body = _counts(frame, train, judged, block, clustered=self.clustered) | {
            "error_rate": self.error_rate, "impossible": impossible, "warnings": list(self._warnings(frame, train, judged, block)),
            "gates": [],
        }  # fmt: skip
        if not impossible:
            seen = self._judged(frame, train, judged, context)
            with one_blas_thread():
                body["gates"] = [found for gate in self.gates if (found := assess(gate, seen))]
                if self.value is not None and isinstance(self.task, Binary):
                    rows, days = seen.rows, span_days(seen.rows.predict_at)
                    body["value"] = worth(self.value, rows.label, seen.scores, seen.clusters, days, self.error_rate)
        return Outcome({}, (Evidence("feasibility.assessed", (), body),))

    def _warnings(self, frame: Frame, train: Rows, judged: Rows, block: Rows) -> Iterator[str]:
        rows, features = int(train.sum()), len(frame.features)
        if 0 < rows < FEWEST_TO_TRAIN:
            yield f"{rows:,} labels are known before the holdout, fewer than {FEWEST_TO_TRAIN}: little can be learnt from them."
        if _binary(frame, train):
            rarer = int(min(frame.label[train].sum(), rows - frame.label[train].sum()))
            if 0 < rarer < EVENTS_PER_FEATURE * features:
                yield f"{rarer:,} labels of the rarer class for {features} features: fewer than {EVENTS_PER_FEATURE} for each."
        yield from _of_classes(frame, train, judged)
        if block.any() and judged.sum() < MATURED * block.sum():
            yield f"{judged.sum() / block.sum():.0%} of the holdout's labels are known: those may be unlike the others."
        if self.clustered and 0 < (found := _clusters(frame, judged)) < FEW_CLUSTERS:
            yield f"The holdout has {found} clusters, fewer than {FEW_CLUSTERS}: bounds reach far. Take a longer holdout."
        yield from _of_features(frame, train)

    def _judged(self, frame: Frame, train: Rows, judged: Rows, context: Context) -> Judged:
        chosen = spread(train, MOST_TRAINING_ROWS) | judged
        rows, side = frame.take(chosen), judged[chosen]
        columns = rows.columns()
        matrix, label = rows.encode(columns), rows.label
        categorical = [place for place, column in enumerate(columns) if column.kind == "category"]

        def scores(seed: int, *, additive: bool = False) -> NDArray[np.float64]:
            found = quick_scores(
                matrix, label, ~side, side, categorical=categorical, additive=additive, seed=seed,
                classes=len(rows.classes),
            )  # fmt: skip
            if isinstance(self.task, Quantiles):  # as if errors were alike everywhere
                around = np.quantile(label[~side] - label[~side].mean(), self.task.levels)
                spread: NDArray[np.float64] = np.add.outer(found, around)
                return spread
            return np.clip(found, 1e-6, 1 - 1e-6) if isinstance(self.task, Binary) else found

        holdout = rows.take(side)
        clusters = np.arange(len(holdout))
        if self.clustered:
            named = holdout.table["cluster"].combine_chunks().dictionary_encode()
            clusters = named.indices.fill_null(len(named.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
        seed = context.seed
        prior = np.full(len(holdout), float(label[~side].mean()))
        if isinstance(self.task, Quantiles):
            prior = np.tile(np.quantile(label[~side], self.task.levels), (len(holdout), 1))
        if rows.of_classes:
            shares = np.bincount(label[~side].astype(np.int64), minlength=len(rows.classes)) / (~side).sum()
            prior = np.tile(shares, (len(holdout), 1))
        return Judged(
            holdout,
            clusters,
            scores(seed),
            scores(seed + 1),
            scores(seed, additive=True),
            prior,
            self.error_rate,
            seed,
            task_of(self.task, rows.classes),
        )


def _of_classes(frame: Frame, train: Rows, judged: Rows) -> Iterator[str]:
    """Classes that are too rare, or stand on one side alone."""
    if not frame.of_classes:
        return
    before, later = (
        np.bincount(frame.label[side].astype(np.int64), minlength=len(frame.classes)) for side in (train, judged)
    )
    for found, said in (
        (
            (before == 0) & (later > 0),
            "not among the labels before the holdout: nothing is learnt of them, and their rows are errors",
        ),
        (
            (before > 0) & (before < FEW_OF_A_CLASS),
            f"fewer than {FEW_OF_A_CLASS} labels before the holdout: little can be learnt of them",
        ),
        ((before > 0) & (later == 0), "no label in the holdout: nothing is judged of them"),
    ):
        if found.any():
            names = [name for name, one in zip(frame.classes, found, strict=True) if one]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield f"Classes {', '.join(names[:SHOWN])}{more}: {said}."


def _binary(frame: Frame, rows: Rows) -> bool:
    return not frame.of_classes and set(np.unique(frame.label[rows]).tolist()) <= {0.0, 1.0}


def _clusters(frame: Frame, rows: Rows) -> int:
    return len(pc.unique(frame.take(rows).table["cluster"]))


def _impossible(frame: Frame, train: Rows, judged: Rows) -> Iterator[str]:
    """Why nothing can be trained or judged at all."""
    for rows, where, what in ((train, "before the holdout", "learn from"), (judged, "in the holdout", "judge by")):
        values = np.unique(frame.label[rows])
        if not rows.any():
            yield f"No label is known {where}: there is nothing to {what}."
        elif len(values) == 1:
            only = repr(frame.classes[int(values[0])]) if frame.of_classes else f"{values[0]:g}"
            yield f"All {int(rows.sum()):,} labels known {where} are {only}: there is nothing to {what}."
    if frame.of_classes and len(frame.classes) > MOST_CLASSES:
        yield (
            f"The labels are of {len(frame.classes):,} classes, and Multiclass takes {MOST_CLASSES} at most. "
            "Group the rare ones in the label."
        )
    if not frame.features:
        yield "There are no features."
    elif all(frame.table[name].null_count == len(frame) for name in frame.features):
        yield "Every feature is null in every row."


def _of_features(frame: Frame, train: Rows) -> Iterator[str]:
    """Features that can say nothing, or too much."""
    rows = frame.take(train)
    empty, constant, many = [], [], []
    for name in frame.features:
        values = rows.table[name]
        distinct = len(pc.unique(values).drop_null())
        if values.null_count == len(values):
            empty.append(name)
        elif distinct == 1 and not values.null_count:
            constant.append(name)
        elif rows.kind(name) == "category" and distinct > MANY_CATEGORIES:
            many.append(f"{name} ({distinct:,})")
    for names, said in (
        (empty, "null in every training row"),
        (constant, "the same in every training row"),
        (
            many,
            f"more than {MANY_CATEGORIES:,} categories: most are too rare to learn from. Group them, or take rates of each",
        ),
    ):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield f"{', '.join(names[:SHOWN])}{more}: {said}."


def _counts(frame: Frame, train: Rows, judged: Rows, block: Rows, *, clustered: bool) -> dict[str, Any]:
    def side(rows: Rows) -> dict[str, Any]:
        label = frame.label[rows]
        found: dict[str, Any] = {"rows": int(rows.sum()), "clusters": _clusters(frame, rows) if clustered else None}
        if len(label) and _binary(frame, rows):
            found |= {"positives": int(label.sum()), "rate": float(label.mean())}
        return found

    known = int(frame.known.sum())
    return {
        "rows": len(frame), "known": known, "matured": known / len(frame) if len(frame) else None,
        "training": side(train), "holdout": side(judged) | {"moments": int(block.sum())},
    }  # fmt: skip
