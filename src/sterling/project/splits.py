"""Splits: which rows before the holdout train a model that is judged on which others.

Every row has a moment of prediction, so a split that ignores it lets a model learn from what came later; such a split is
refused unless the project says why.
"""

from __future__ import annotations

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.times import micros


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


class KFold(Definition, frozen=True):
    """Random folds, which ignore time.

    Args:
        folds: Number of folds, at least 2.
        why: Why rows may be judged by a model that has seen later ones.
    """

    folds: int
    why: str | None = None

    def check(self) -> None:
        """Refuse fewer than two folds, and no reason."""
        _check_folds(self)
        _check_reason(self)


class StratifiedKFold(Definition, frozen=True):
    """Random folds with the same share of each class, which ignore time.

    Args:
        folds: Number of folds, at least 2.
        why: Why rows may be judged by a model that has seen later ones.
    """

    folds: int
    why: str | None = None

    def check(self) -> None:
        """Refuse fewer than two folds, and no reason."""
        _check_folds(self)
        _check_reason(self)


class GroupKFold(Definition, frozen=True):
    """Folds of which none judges a group that it was trained on.

    With ``block`` it keeps to time too: each fold judges a block, as with `TimeSeriesSplit`, and leaves the groups of that
    block out of its training. Without, groups are dealt to folds of like size, and time is ignored.

    Args:
        folds: Number of folds; at least 2, with ``block`` at least 1.
        by: Column of the spine's source, or feature, whose values name the groups.
        block: Length of each judged block; None where time is ignored.
        gap: Time between the end of training and the start of the block.
        why: Why rows may be judged by a model that has seen later ones; needed without ``block``.
    """

    folds: int
    by: str
    block: str | None = None
    gap: str = "0d"
    why: str | None = None

    def check(self) -> None:
        """Refuse too few folds, what is no duration, and time ignored without a reason."""
        micros(self.gap, field="GroupKFold.gap")
        if self.block is None:
            _check_folds(self)
            _check_reason(self)
            return
        micros(self.block, field="GroupKFold.block")
        if self.folds < 1:
            raise InvalidDefinitionError(f"GroupKFold.folds is {self.folds}. It is at least 1.")

    def in_time(self) -> TimeSeriesSplit | None:
        """The blocks that it judges; None where it ignores time."""
        return None if self.block is None else TimeSeriesSplit(self.folds, self.block, self.gap)


Split = TimeSeriesSplit | KFold | StratifiedKFold | GroupKFold


def reason_of(split: Split) -> str | None:
    """Why a split ignores time; None for one that does not.

    Example:
        >>> reason_of(KFold(5, why="rows were drawn at random from one hour"))
        'rows were drawn at random from one hour'
    """
    if isinstance(split, TimeSeriesSplit) or (isinstance(split, GroupKFold) and split.block is not None):
        return None
    return split.why


def _check_folds(split: KFold | StratifiedKFold | GroupKFold) -> None:
    if split.folds < 2:
        raise InvalidDefinitionError(f"{type(split).__name__}.folds is {split.folds}. It is at least 2.")


def _check_reason(split: KFold | StratifiedKFold | GroupKFold) -> None:
    if not (split.why or "").strip():
        name = type(split).__name__
        instead = "GroupKFold(…, block='28d')" if isinstance(split, GroupKFold) else "TimeSeriesSplit(…)"
        raise InvalidDefinitionError(
            f"{name} ignores time, and every row has a moment of prediction: a model would be judged on days that it has seen. "
            f"Use {instead}, or say why that is right here: {name}({split.folds}, …, why='…')."
        )
