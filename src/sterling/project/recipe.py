"""The recipe: which model is trained, against which baselines, and how it is validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.times import micros
from sterling.project.trainers import Custom, LightGBM, Logistic, Prior, Rule, ShallowTree

__all__ = [
    "CANDIDATE",
    "Calibration",
    "Custom",
    "LightGBM",
    "Logistic",
    "Prior",
    "Recipe",
    "Rule",
    "ShallowTree",
    "TimeSeriesSplit",
    "Trainer",
    "model_name",
]

CANDIDATE = "candidate"
Trainer = Prior | Rule | Logistic | ShallowTree | LightGBM | Custom


class TimeSeriesSplit(Definition, frozen=True):
    """Rolling-origin folds before the holdout: train on what was known, judge the block that follows.

    Args:
        folds: Number of folds, at least 1.
        block: Length of each judged block.
        gap: Time between the end of training and the start of the block.
    """

    folds: int
    block: str = "28d"
    gap: str = "0d"

    def check(self) -> None:
        """Refuse no folds and what is no duration."""
        if self.folds < 1:
            raise InvalidDefinitionError(f"TimeSeriesSplit.folds is {self.folds}. It is at least 1.")
        for field in ("block", "gap"):
            micros(getattr(self, field), field=f"TimeSeriesSplit.{field}")


class Calibration(Definition, frozen=True):
    """Curves that may lead the candidate's probabilities back to what happens, accepted only where that helps later.

    They are fitted on what a model that had not seen them says of the earlier half of the last training rows, and judged
    on the later half.

    Args:
        kinds: Which curves are tried: ``"platt"``, ``"isotonic"``, ``"beta"``.
        error_rate: Chance, in (0, 0.5), to accept any where none helps.
        share: Share of the training rows, the last ones, that a model of another kind than an `LightGBM` that finds its
            size is calibrated on, which takes one more training; None to calibrate none of these.
    """

    kinds: Sequence[Literal["platt", "isotonic", "beta"]] = ("platt", "isotonic", "beta")
    error_rate: float = 0.05
    share: float | None = None

    def check(self) -> None:
        """Refuse no curves, and what is no rate or share."""
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise InvalidDefinitionError(f"Calibration.kinds is {self.kinds}. Name each curve once, one at least.")
        for field in ("error_rate", "share"):
            value = getattr(self, field)
            if value is not None and not 0 < value < 0.5:
                raise InvalidDefinitionError(f"Calibration.{field} is {value}. It lies between 0 and 0.5.")


class Recipe(Definition, frozen=True):
    """What is trained.

    Args:
        model: The candidate.
        baselines: What it is compared with, on the same rows.
        cv: Validation on earlier blocks; None for the holdout alone.
        calibration: Curves that the candidate's probabilities may be led back by; None for none.
    """

    model: Trainer = LightGBM()
    baselines: Sequence[Trainer] = (Prior(), ShallowTree(), Logistic())
    cv: TimeSeriesSplit | None = None
    calibration: Calibration | None = Calibration()

    def check(self) -> None:
        """Refuse two models of one name."""
        names = [model_name(model) for model in (self.model, *self.baselines)]
        if CANDIDATE in names:
            raise InvalidDefinitionError(f"A model is called {CANDIDATE!r}, as the recipe's model is. Rename it.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidDefinitionError(f"Two models of the recipe are called {twice[0]!r}.")


def model_name(trainer: Trainer) -> str:
    """Name of a model in tables.

    Example:
        >>> model_name(LightGBM(trees=10))
        'lightgbm'
    """
    if isinstance(trainer, ShallowTree):
        return "shallow tree"
    return trainer.name if isinstance(trainer, Custom | Rule) else type(trainer).__name__.lower()
