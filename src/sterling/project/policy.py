"""Policies: what is decided from a score, and what decisions are worth."""

from __future__ import annotations

import math
from typing import Literal

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.times import micros

OUTCOMES = ("true_positive", "false_positive", "false_negative", "true_negative")


class Value(Definition, frozen=True):
    """What each outcome of a decision is worth; a cost is negative.

    Args:
        unit: What it is counted in, such as ``"USD"``.
        true_positive: Acted on, and it happened.
        false_positive: Acted on, and it did not happen.
        false_negative: Left alone, and it happened.
        true_negative: Left alone, and it did not happen.
    """

    unit: str
    true_positive: float
    false_positive: float
    false_negative: float = 0.0
    true_negative: float = 0.0

    def check(self) -> None:
        """Refuse amounts by which the same decision is right for every row."""
        if not all(math.isfinite(amount) for amount in self.amounts()):
            raise InvalidDefinitionError(f"Value has an amount that is not finite: {self.amounts()}.")
        if self.true_positive <= self.false_negative:
            raise InvalidDefinitionError(
                f"Value: to act where it happens is worth {self.true_positive:g}, and to leave it {self.false_negative:g}. "
                "Acting would never be right: the first is the larger one."
            )
        if self.true_negative <= self.false_positive:
            raise InvalidDefinitionError(
                f"Value: to leave alone where it does not happen is worth {self.true_negative:g}, and to act "
                f"{self.false_positive:g}. Leaving would never be right: the first is the larger one."
            )

    def amounts(self) -> tuple[float, float, float, float]:
        """The amounts, in the order of `OUTCOMES`."""
        return self.true_positive, self.false_positive, self.false_negative, self.true_negative


class Threshold(Definition, frozen=True):
    """Act from a score on: a given one, or the one that was best on blocks before the holdout.

    Where it is chosen, every model of the recipe is trained once more for each block, on what was known before it, and its
    threshold is the best on the labels of all blocks that were known before the holdout.

    Args:
        at: The threshold, in [0, 1]; rows with this score or more are acted on.
        maximize: What the chosen threshold makes as large as can be: ``"value"``, ``"f1"`` or ``"balanced_accuracy"``.
        block: Length of a block.
        blocks: How many blocks, the last of which ends where the holdout starts.
    """

    at: float | None = None
    maximize: Literal["value", "f1", "balanced_accuracy"] | None = None
    block: str = "28d"
    blocks: int = 1

    def check(self) -> None:
        """Refuse both, neither, and what is no threshold."""
        if (self.at is None) == (self.maximize is None):
            raise InvalidDefinitionError("Threshold takes one of at= and maximize=, such as Threshold(at=0.5).")
        if self.at is not None and not 0 <= self.at <= 1:
            raise InvalidDefinitionError(f"Threshold.at is {self.at}. It lies in [0, 1].")
        if self.blocks < 1:
            raise InvalidDefinitionError(f"Threshold.blocks is {self.blocks}. It is at least 1.")
        micros(self.block, field="Threshold.block")


class Top(Definition, frozen=True):
    """Act on the highest scores up to a capacity.

    Rows of one period are ranked together, as if they were decided together; of equal scores the earlier row comes first.

    Args:
        k: How many rows of a period are acted on, at least 1.
        by: What they are ranked by.
        per: The period: a duration such as ``"1d"``, counted in UTC, or a column of the spine's source. None for the moment
            of prediction, at which a `ScheduledSpine` predicts a whole population.
    """

    k: int
    by: Literal["score"] = "score"
    per: str | None = None

    def check(self) -> None:
        """Refuse no capacity."""
        if self.k < 1:
            raise InvalidDefinitionError(f"Top.k is {self.k}. It is at least 1.")

    @property
    def per_us(self) -> int | None:
        """The period in microseconds, where it is a duration."""
        try:
            return micros(self.per, field="Top.per") if self.per and self.per[:1].isdigit() else None
        except InvalidDefinitionError as error:
            raise InvalidDefinitionError(f"{error} A column's name starts with a letter.") from error

    @property
    def per_column(self) -> str | None:
        """The period's column, where it is one."""
        return self.per if self.per is not None and self.per_us is None else None


class ExpectedValue(Definition, frozen=True):
    """Act wherever that is worth more than leaving, taking the score at its word: from the break-even probability on.

    It needs a `Value`, and nothing is chosen from data.
    """


Policy = Threshold | Top | ExpectedValue


class Sensitive(Definition, frozen=True):
    """An attribute of people between whose groups decisions are compared.

    Args:
        column: Column of the spine's source; it need be no feature.
        held_out: Refuse features that read it.
        min_rows: Rows that must enter a group's rate; smaller groups are shown and not compared.
    """

    column: str
    held_out: bool = False
    min_rows: int = 100

    def check(self) -> None:
        """Refuse groups of nobody."""
        if self.min_rows < 1:
            raise InvalidDefinitionError(f"Sensitive.min_rows is {self.min_rows}. It is at least 1.")
