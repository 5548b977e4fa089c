"""The plan: what a run would do, and why, before anything runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sterling.views.differences import changes
from sterling.views.text import cite, moment, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Plan", "PlannedStep", "changes", "render"]


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan.

    Attributes:
        title: The step as people read it, such as ``snapshot weather``.
        action: ``cached`` is answered from the ledger, ``run`` would run, ``unknown`` depends on a step that would run.
        reasons: Why, such as ``library lightgbm: 4.6.0 → 4.7.0``; empty for what is cached.
        position: Position of the ``stage.completed`` that answers, or None.
    """

    title: str
    action: Literal["cached", "run", "unknown"]
    reasons: tuple[str, ...]
    position: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        project: Name of the project.
        definition: Hash of its definition.
        as_of: Time as of which data count, ISO 8601, or None while it depends on a snapshot that would run.
        changes: What changed in the definition since the last completed run, such as ``recipe.model.trees: 300 → 500``.
        steps: The steps, in order.
        warnings: What should not stay as it is, such as a promise that has ended.
        redefined: Features that the live version reads by another definition than the project has now.
    """

    project: str
    definition: str
    as_of: str | None
    changes: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    warnings: tuple[str, ...] = ()
    redefined: tuple[str, ...] = ()


def render(plan: Plan) -> RenderableType:
    """A plan for a terminal: each step with its sign, what answers it, or why it would run."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    as_of = "known once the snapshots are taken" if plan.as_of is None else moment(plan.as_of)
    head = [Text(f"{plan.project}, definition {plan.definition[:12]}", style="bold"), Text(f"as of {as_of}")]
    if plan.changes:
        head += [Text("changed since the last run", style="bold"), *(Text(f"  {line}") for line in plan.changes)]
    if plan.redefined:
        head += [Text("released features that change", style="bold"), *(Text(f"  {line}") for line in plan.redefined)]
    grid = Table.grid(padding=(0, 1))
    for step in plan.steps:
        grid.add_row(_SIGNS[step.action], Text(step.title), Text(_explained(step)))
    warnings = [Text(f"Beware: {line}", style="yellow") for line in plan.warnings]
    return Group(*head, Text(""), grid, Text(""), Text(summary(plan), style="bold"), *warnings)


def summary(plan: Plan) -> str:
    """A plan in one sentence.

    Example:
        >>> summary(Plan("late", "ab", None, (), (PlannedStep("train", "run", ("has not run yet",), None),)))
        '1 step would run.'
    """
    counts = Counter(step.action for step in plan.steps)
    if counts["cached"] == len(plan.steps):
        return f"Nothing would run: the ledger answers all {plural(len(plan.steps), 'step')}."
    parts = [f"{plural(counts['run'], 'step')} would run"]
    if counts["unknown"]:
        parts.append(f"{counts['unknown']} more may, once these have run")
    if counts["cached"]:
        parts.append(f"{counts['cached']} are answered from the ledger")
    return f"{'; '.join(parts)}."


_SIGNS = {"cached": "✓", "run": "●", "unknown": "?"}


def _explained(step: PlannedStep) -> str:
    if step.action == "cached":
        return f"cached {cite(step.position)}" if step.position is not None else "cached"
    return f"{'run' if step.action == 'run' else 'after'}: {'; '.join(step.reasons)}"
