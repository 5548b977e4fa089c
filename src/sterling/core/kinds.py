"""Versions of kinds: what was recorded long ago is read as it would be recorded today."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sterling.core.errors import NewerKindError

Body = Mapping[str, Any]
Upcaster = Callable[[Body], Body]

KINDS: dict[str, tuple[Upcaster, ...]] = dict.fromkeys(
    (
        "ablation.measured", "as_of.resolved", "attributions.measured", "availability.measured", "batch.scored", "behaviour.tested",
        "calibration.analysed", "calibration.judged", "calibration.measured", "censoring.measured", "champion.resolved", "classes.measured", "data.erased",
        "data.prepared", "data.referenced", "data.snapshotted", "data.validated", "decisions.evaluated",
        "environment.recorded", "errors.analysed", "fairness.measured", "feasibility.assessed", "features.built",
        "frame.assembled", "gate.judged", "guardrails.judged", "golden.checked", "importance.measured", "importance.permuted",
        "lateness.measured", "leakage.checked", "leaks.evaluated", "leaks.measured", "learning.measured",
        "metric.compared", "metric.measured", "model.refused", "model.registered", "model.trained", "model.validated",
        "outcomes.joined", "parity.measured", "partition.scored", "policy.chosen", "predictions.compared", "predictions.fetched",
        "predictions.logged", "predictions.made", "project.defined", "reproduction.failed", "robustness.measured",
        "run.completed", "run.reproduced", "served.checked", "slices.discovered",
        "spine.built", "staleness.measured",
        "stage.completed", "stage.diverged", "stage.failed", "tuning.done", "version.released", "versions.counted",
        "approval.revoked", "rollout.started", "routing.set", "version.approved", "version.paused", "version.promoted",
        "version.retired", "version.rolled_back",
    ),
    (),
)  # fmt: skip
"""Every kind that is recorded and read here, with what leads its body from version 1 to 2, from 2 to 3, and so on."""

APPROVER_KINDS = (
    "approval.given", "approval.revoked", "rollout.started", "routing.set", "version.approved", "version.paused", "version.promoted", "version.released",
    "version.retired", "version.rolled_back",
)  # fmt: skip
"""Kinds that decide what is live, recorded already or yet to be; where a ledger knows roles, they take an approver."""


def current(kind: str, version: int, body: Body, *, position: int = 0) -> tuple[int, Body]:
    """A body as the newest version of its kind says it, and that version.

    A kind that is not known here is given back as it is: readers look for kinds by name, and pass over it.

    Args:
        kind: The kind.
        version: The version that was recorded.
        body: The payload that was recorded.
        position: Where, for the error.

    Raises:
        NewerKindError: if the version is later than the newest that is known here.

    Example:
        >>> current("model.pondered", 7, {"thought": "hm"})
        (7, {'thought': 'hm'})
    """
    upcasters = KINDS.get(kind)
    if upcasters is None:
        return version, body
    newest = len(upcasters) + 1
    if version > newest:
        raise NewerKindError(
            f"Entry {position} is version {version} of {kind}; this Sterling knows version {newest}. "
            "Upgrade: pip install --upgrade sterling-ml"
        )
    for upcast in upcasters[version - 1 :]:
        body = upcast(body)
    return newest, body
