"""Whether what a project says of its decisions fits together: policy, value, sensitive attributes and the gates on them."""

from __future__ import annotations

from collections.abc import Sequence

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.project.gates import Fair, Gate, WorthMore
from sterling.project.metrics import DECISIONS
from sterling.project.policy import ExpectedValue, Policy, Sensitive, Threshold, Top, Value
from sterling.project.spine import EventSpine, ScheduledSpine


def check_decisions(
    policy: Policy | None,
    value: Value | None,
    spine: EventSpine | ScheduledSpine,
    sensitive: Sequence[Sensitive],
    gates: Sequence[Gate],
) -> None:
    """Refuse what does not fit together.

    Raises:
        InvalidDefinitionError: for a policy without the value that it needs, a value without a policy, a capacity without a
            period, an attribute that is named twice, and gates on what nobody decides or measures.
    """
    if value is not None and policy is None:
        raise InvalidDefinitionError(
            "Problem.value says what decisions are worth, and no Project.policy makes any. Add policy=ExpectedValue()."
        )
    if value is None and (
        isinstance(policy, ExpectedValue) or (isinstance(policy, Threshold) and policy.maximize == "value")
    ):
        raise InvalidDefinitionError(
            f"Project.policy is a {type(policy).__name__} by value, and Problem.value does not say what decisions are worth. "
            "Add value=Value('USD', true_positive=…, false_positive=…)."
        )
    if isinstance(policy, Top) and policy.per is None and isinstance(spine, EventSpine):
        raise InvalidDefinitionError(
            "Top: an EventSpine has a moment of prediction for each event, so per= has to say what the capacity is for, such "
            "as per='1d' or a column."
        )
    columns = [one.column for one in sensitive]
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise InvalidDefinitionError(f"Project.sensitive names {twice[0]!r} twice.")
    for gate in gates:
        _check_gate(gate, policy, value, columns)


def _check_gate(gate: Gate, policy: Policy | None, value: Value | None, columns: Sequence[str]) -> None:
    kind, metric = type(gate).__name__, getattr(gate, "metric", None)
    if isinstance(gate, Fair):
        if gate.by not in columns:
            raise InvalidDefinitionError(
                f"Fair.by is {gate.by!r}, which Project.sensitive does not name. {nearest(gate.by, columns)}"
            )
        if policy is None and gate.metric != "calibration_gap":
            raise InvalidDefinitionError(f"Fair({gate.metric!r}) is about decisions, and no Project.policy makes any.")
    elif isinstance(gate, WorthMore) or metric == "value":
        if value is None:
            raise InvalidDefinitionError(
                f"{kind} is about value, and Problem.value does not say what decisions are worth."
            )
    elif metric in DECISIONS and policy is None:
        raise InvalidDefinitionError(f"{kind}({metric!r}) is about decisions, and no Project.policy makes any.")
