"""The recipe: which model is trained, against which baselines, and how it is validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.project.definition import Definition
from sterling.project.splits import Split
from sterling.project.tasks import NUMBERS, Binary, Quantiles, Regression, Task
from sterling.project.times import micros
from sterling.project.trainers import (
    Custom,
    Ensemble,
    LightGBM,
    Logistic,
    Prior,
    Ridge,
    Rule,
    ShallowTree,
    Sklearn,
    XGBoost,
)

__all__ = [
    "CANDIDATE",
    "SPACE",
    "Calibration",
    "Custom",
    "Ensemble",
    "LightGBM",
    "Logistic",
    "Prior",
    "Recipe",
    "Ridge",
    "Rule",
    "ShallowTree",
    "Sklearn",
    "Trainer",
    "Tune",
    "XGBoost",
    "fits_task",
    "model_name",
]

CANDIDATE = "candidate"
Trainer = Prior | Rule | Logistic | Ridge | ShallowTree | LightGBM | Ensemble | XGBoost | Sklearn | Custom


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


SPACE: dict[str, tuple[float, float]] = {
    "learning_rate": (0.02, 0.1), "leaves": (15, 127), "min_rows_per_leaf": (20, 500), "feature_fraction": (0.3, 1.0),
    "bagging_fraction": (0.5, 1.0), "l2": (0.1, 50.0), "category_smoothing": (5.0, 200.0),
}  # fmt: skip
"""What is tuned by default: settings of LightGBM, and between which values."""


class Tune(Definition, frozen=True):
    """A search for LightGBM's settings, whose result is taken only where it is proven better than the preset.

    Trials are judged on blocks before the holdout, each by a training on labels that were known before it. The newest
    block takes no part in the search: there the best trial is held against the preset.

    Args:
        trials: Trials at most; the first is the preset.
        seconds: Seconds after which no further trial starts; None for no such end. What is found then depends on the
            machine.
        space: Settings and their lowest and highest values; empty for the usual ones.
        folds: Blocks that trials are judged on.
        block: Length of a block.
        gap: Time between the end of training and the start of a block.
        rows: Training rows at most in a trial, drawn at random.
        patience: How many trials may bring nothing before no more are tried.
        least_gain: What is nothing: a share of the loss, log loss or mean squared error.
        error_rate: Chance, in (0, 0.5), to take settings that are no better.
    """

    trials: int = 15
    seconds: float | None = None
    space: dict[str, tuple[float, float]] = {}
    folds: int = 2
    block: str = "28d"
    gap: str = "0d"
    rows: int = 40_000
    patience: int = 5
    least_gain: float = 0.0005
    error_rate: float = 0.05

    def check(self) -> None:
        """Refuse settings that there are not, and sizes that are none."""
        for field, least in {"trials": 2, "folds": 1, "rows": 1000, "patience": 1}.items():
            if getattr(self, field) < least:
                raise InvalidDefinitionError(f"Tune.{field} is {getattr(self, field)}. It is at least {least}.")
        for field in ("block", "gap"):
            micros(getattr(self, field), field=f"Tune.{field}")
        for name, (low, high) in self.space.items():
            if name not in SPACE:
                raise InvalidDefinitionError(f"Tune.space names {name!r}. {nearest(name, SPACE)}")
            if not 0 < low < high:
                raise InvalidDefinitionError(
                    f"Tune.space says {low:g} to {high:g} of {name!r}. Both are above 0, and rise."
                )
        if not 0 < self.error_rate < 0.5:
            raise InvalidDefinitionError(f"Tune.error_rate is {self.error_rate}. It lies between 0 and 0.5.")

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The settings that are tuned, and between which values."""
        return dict(self.space or SPACE)


class Recipe(Definition, frozen=True):
    """What is trained.

    Args:
        model: The candidate.
        baselines: What it is compared with, on the same rows; None for the task's own ladder: `Prior`, `ShallowTree`, and
            `Logistic` for a condition or for classes, or `Ridge` for a number.
        cv: Validation on earlier blocks; None for the holdout alone.
        calibration: Curves that the candidate's probabilities may be led back by; None for none. Numbers have none.
        tune: A search for better settings of the model, an `LightGBM`; None for none.
    """

    model: Trainer = LightGBM()
    baselines: Sequence[Trainer] | None = None
    cv: Split | None = None
    calibration: Calibration | None = Calibration()
    tune: Tune | None = None

    def check(self) -> None:
        """Refuse two models of one name."""
        if self.tune and not isinstance(self.model, LightGBM):
            raise InvalidDefinitionError(
                f"Recipe.tune searches for settings of LightGBM, and the model is a {type(self.model).__name__}."
            )
        names = [model_name(model) for model in (self.model, *(self.baselines or ()))]
        if CANDIDATE in names:
            raise InvalidDefinitionError(f"A model is called {CANDIDATE!r}, as the recipe's model is. Rename it.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidDefinitionError(f"Two models of the recipe are called {twice[0]!r}.")

    def ladder(self, task: Task) -> tuple[Trainer, ...]:
        """The baselines, those of the task where none are named.

        Example:
            >>> from sterling.project.tasks import NUMBERS, Quantiles, Regression
            >>> [model_name(trainer) for trainer in Recipe().ladder(Regression())]
            ['prior', 'shallow tree', 'ridge']
        """
        if self.baselines is not None:
            return tuple(self.baselines)
        return (Prior(), ShallowTree(), Ridge() if isinstance(task, NUMBERS) else Logistic())

    def trainers(self, task: Task) -> tuple[Trainer, ...]:
        """The candidate, and its baselines."""
        return (self.model, *self.ladder(task))


def fits_task(trainer: Trainer, task: Task) -> None:
    """Refuse a trainer that answers another kind of question.

    Raises:
        InvalidDefinitionError: naming one that fits.
    """
    name = type(trainer).__name__
    if isinstance(trainer, Ridge) and not isinstance(task, NUMBERS):
        raise InvalidDefinitionError(
            f"Ridge predicts a number, and Project.task is {type(task).__name__}. Use Logistic."
        )
    if isinstance(task, Binary):
        return
    if isinstance(task, Quantiles) and isinstance(trainer, Ensemble | Logistic | Rule | XGBoost | Sklearn):
        raise InvalidDefinitionError(f"{name} has no quantiles, and Project.task is Quantiles. Use LightGBM or Custom.")
    if isinstance(trainer, Logistic | Rule if isinstance(task, Regression) else XGBoost | Sklearn):
        instead = "Ridge" if isinstance(trainer, Logistic) else "LightGBM or Custom"
        what = "a condition" if isinstance(task, Regression) else "a condition or a number"
        raise InvalidDefinitionError(
            f"{name} predicts {what}, and Project.task is {type(task).__name__}. Use {instead}."
        )
    weighed = trainer.members[0] if isinstance(trainer, Ensemble) else trainer
    if isinstance(weighed, LightGBM | Logistic | XGBoost | Sklearn) and weighed.positive_weight is not None:
        raise InvalidDefinitionError(
            f"{name}.positive_weight weighs a condition, and Project.task is {type(task).__name__}. Use weight."
        )


def model_name(trainer: Trainer) -> str:
    """Name of a model in tables.

    Example:
        >>> model_name(LightGBM(trees=10))
        'lightgbm'
    """
    if isinstance(trainer, ShallowTree):
        return "shallow tree"
    return trainer.name if isinstance(trainer, Custom | Rule | Sklearn) else type(trainer).__name__.lower()
