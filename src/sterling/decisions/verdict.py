"""The verdict of a gate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the evidence lets a model pass a gate.

    Attributes:
        passed: The answer.
        reason: Why, in one sentence with the numbers.
        seen: Positions of the entries that were looked at.
        margin: How far the bound lies on the good side, in the metric's unit; negative where it failed, None where
            no number decided.
    """

    passed: bool
    reason: str
    seen: tuple[int, ...]
    margin: float | None = None
