"""Flips: rows that the candidate decides otherwise than the champion, and which features moved their scores.

A model that is better on average still breaks what worked: a negative flip is a row that the champion had right and the
candidate has wrong.

References:
    Yan, Xiong, Kundu, Yang, Deng, Wang, Xia & Soatto (2021), CVPR, Positive-congruent training: eq. 1, negative flip rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.engine.tables import put_table
from sterling.models import Model
from sterling.models.attributions import attributions
from sterling.models.columns import Matrix
from sterling.project.studies import Flips
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.decide import can_decide, decided, read_json
from sterling.stages.errors import decider_of
from sterling.stages.holdout import LIBRARIES, Floats, Scored, scored
from sterling.stats.intervals import NoVariationError, TooFewClustersError, metric_interval
from sterling.stats.rows import BadRowsError
from sterling.tasks.policies import Decider, decider_from

EXPLAINED = 2_000
"""Rows whose attributions are compared at most."""
MOST_FEATURES = 10


class CompareWithChampion(Stage, frozen=True):
    """Compare decisions and scores with the champion's, row by row.

    Inputs ``holdout``, ``before``, ``candidate``, ``policy`` where the project has one, and, where there is one, ``champion``,
    with ``champion_policy`` if it was released with a policy of its own; output ``moved``, where there is a champion: the rows
    whose score moved most, which may be personal and so stand in no fact.

    Attributes:
        candidate: Name of the candidate in tables.
        study: What to keep.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    candidate: str
    study: Flips
    error_rate: float
    clustered: bool

    @property
    def title(self) -> str:
        """The step as people read it."""
        return "compare with champion"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Compare; nothing is found where there is no champion, or none that can read the rows."""
        both = beside_champion(inputs, context, clustered=self.clustered)
        if both is None:
            return Outcome({})
        found, theirs = both
        ref, own = put_moved(context, found, theirs, self.study.moved), decider_of(inputs, context)
        body = self._compared(found, theirs, own, _decider_of_champion(inputs, context, theirs, own)) | {"ref": ref}
        return Outcome({"moved": ref}, (found.fact("predictions.compared", self.candidate, body),))

    def _compared(self, found: Scored, theirs: Scored, own: Decider, other: Decider) -> dict[str, Any]:
        ours_right, theirs_right = (
            decided(one.rows, decider, one.scores) == one.label for one, decider in ((found, own), (theirs, other))
        )
        negative, positive = theirs_right & ~ours_right, ours_right & ~theirs_right
        return {
            "champion": theirs.ref, "rows": len(found), "threshold": own.threshold, "chosen": own.why,
            "negative_flips": int(negative.sum()), "positive_flips": int(positive.sum()),
            **share_of(negative, found.clusters, self.error_rate),
            **changes(found, theirs), **explained(found, theirs, negative | positive, none="no decision flipped"),
        }  # fmt: skip


def beside_champion(inputs: Mapping[str, Ref], context: Context, *, clustered: bool) -> tuple[Scored, Scored] | None:
    """Candidate and champion on the holdout; None where there is no champion, or none that can read the rows."""
    if "champion" not in inputs:
        return None
    found = scored(inputs, context, clustered=clustered)
    champion = Model.from_bytes(context.store.open(inputs["champion"]).read_bytes())
    if found.rows.cannot_encode(champion.columns):
        return None
    return found, scored(inputs, context, clustered=clustered, model="champion")


def put_moved(context: Context, found: Scored, theirs: Scored, most: int) -> Ref:
    """Keep the rows whose prediction moved most, with both predictions."""
    furthest = np.argsort(-np.abs(found.scores - theirs.scores), kind="stable")[:most]
    table = found.rows.table.take(pa.array(furthest))
    for name, scores in (("score", found.scores), ("score_of_champion", theirs.scores)):
        table = table.append_column(name, pa.array(scores[furthest]))
    return put_table(context.store, table)


def changes(found: Scored, theirs: Scored) -> dict[str, Any]:
    """How far predictions moved."""
    change = found.scores - theirs.scores
    return {
        "mean_change": float(np.abs(change).mean()), "largest_change": float(np.abs(change).max()),
        "unchanged": float((change == 0).mean()),
    }  # fmt: skip


def share_of(chosen: NDArray[np.bool_], clusters: NDArray[np.int64], error_rate: float) -> dict[str, float | None]:
    """The share of rows that are chosen, with its bounds; none where too few clusters tell how uncertain it is."""
    flags, none = chosen.astype(np.float64), np.zeros(len(chosen))
    try:
        rate = metric_interval("base_rate", flags, none, clusters, error_rate=error_rate)
    except (TooFewClustersError, NoVariationError, BadRowsError):
        return {"rate": float(flags.mean()), "low": None, "high": None, "upper": None}
    return {"rate": rate.estimate, "low": rate.low, "high": rate.high, "upper": rate.upper}


def _decider_of_champion(inputs: Mapping[str, Ref], context: Context, theirs: Scored, own: Decider) -> Decider:
    """The policy that the champion was released with; the candidate's where it has none that these rows can be decided by."""
    if "champion_policy" not in inputs:
        return own
    found = decider_from(read_json(context.store, inputs["champion_policy"]))
    return found if can_decide(theirs.rows, found) else own


def explained(found: Scored, theirs: Scored, chosen: NDArray[np.bool_], *, none: str) -> dict[str, Any]:
    """How far each feature moved the log odds, or the number, of chosen rows, candidate minus champion.

    Args:
        found: The candidate on the holdout.
        theirs: The champion on it.
        chosen: The rows.
        none: What is said where no row is chosen.
    """
    rows = np.flatnonzero(chosen)
    rows = rows[:: max(1, -(-len(rows) // EXPLAINED))]
    if not len(rows):
        return {"explained": 0, "features": [], "reason": none}
    try:
        ours, others = (_by_name(one, rows) for one in (found, theirs))
    except DataError as error:
        return {"explained": 0, "features": [], "reason": str(error)}
    still = np.zeros(len(rows))
    moves = {name: ours.get(name, still) - others.get(name, still) for name in {**ours, **others}}
    features = [
        {"name": name, "size": float(np.abs(move).mean()), "mean": float(move.mean())} for name, move in moves.items()
    ]
    features.sort(key=lambda one: (-float(one["size"]), str(one["name"])))  # type: ignore[arg-type]
    return {"explained": len(rows), "features": features[:MOST_FEATURES], "reason": None}


def _by_name(one: Scored, rows: NDArray[np.int64]) -> dict[str, Floats]:
    values: Matrix = attributions(one.model, one.matrix[rows], reference=one.matrix).values
    return {name: values[:, place] for place, name in enumerate(one.model.names)}
