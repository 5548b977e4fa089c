"""The plan: what a run would do, and why, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
    """

    project: str
    definition: str
    as_of: str | None
    changes: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
