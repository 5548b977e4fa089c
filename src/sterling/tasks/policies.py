"""A policy with everything that it needs to decide: data, resolved once, before the holdout is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError
from sterling.project.policy import ExpectedValue, Policy, Threshold, Top, Value
from sterling.project.times import micros
from sterling.stats.decisions import Amounts, break_even
from sterling.tasks.task import Floats

FORMAT = "sterling.policy/1"


@dataclass(frozen=True, slots=True)
class Decider:
    """What decides from scores.

    Attributes:
        threshold: Rows with this score or more are acted on; None for a capacity.
        why: Where it comes from, in words.
        k: How many rows of a period are acted on; None for a threshold.
        per: The period, as `Top` says it.

    Example:
        >>> Decider(0.5, "given").acts(np.array([0.2, 0.5, 0.9])).tolist()
        [False, True, True]
        >>> Decider(None, "a capacity", k=1, per="day").acts(np.array([0.2, 0.5, 0.9]), np.array([0, 0, 1])).tolist()
        [False, True, True]
    """

    threshold: float | None
    why: str
    k: int | None = None
    per: str | None = None

    def acts(self, scores: Floats, periods: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Which rows are acted on.

        Args:
            scores: Shape (rows,).
            periods: Period of each row, for a capacity; rows of one period are ranked together, and of equal scores the
                earlier row comes first.
        """
        if self.threshold is not None:
            chosen: NDArray[np.bool_] = scores >= self.threshold
            return chosen
        assert self.k is not None
        assert periods is not None
        order = np.lexsort((-scores, periods))
        ranked = periods[order]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        place = np.arange(len(scores)) - np.repeat(starts, np.diff(starts, append=len(scores)))
        acted = np.empty(len(scores), dtype=np.bool_)
        acted[order] = place < self.k
        return acted

    def periods(
        self, predict_at: NDArray[np.int64], column: Callable[[str], Sequence[Any] | None]
    ) -> NDArray[np.int64] | None:
        """The period of each row, numbered, for a capacity; None where there is none, or the rows do not say it.

        Args:
            predict_at: Moments in microseconds, shape (rows,).
            column: Gives a column of the rows by its name, or None.

        Example:
            >>> per_day = Decider(None, "a capacity", k=1, per="1d")
            >>> per_day.periods(np.array([0, 1, 86_400_000_000]), lambda name: None).tolist()
            [0, 0, 1]
        """
        if self.k is None:
            return None
        if self.per is None:
            periods: NDArray[Any] = predict_at
        elif self.per[:1].isdigit():
            periods = predict_at // micros(self.per)
        elif (values := column(self.per)) is None:
            return None
        else:
            periods = np.array([str(value) for value in values])
        codes: NDArray[np.int64] = np.unique(periods, return_inverse=True)[1].astype(np.int64)
        return codes

    def document(self) -> dict[str, Any]:
        """The policy as JSON."""
        said: dict[str, Any] = {"threshold": self.threshold} if self.k is None else {"k": self.k, "per": self.per}
        kind = "threshold" if self.k is None else "top"
        return {"format": FORMAT, "type": kind, **said, "why": self.why}


def decider_from(document: Mapping[str, Any]) -> Decider:
    """Read what `Decider.document` wrote.

    Raises:
        DataError: if it is no policy, or one of a later format.

    Example:
        >>> decider_from(Decider(0.5, "given").document())
        Decider(threshold=0.5, why='given', k=None, per=None)
    """
    if document.get("format") != FORMAT:
        raise DataError(f"The policy's format is {document.get('format')!r}. This version reads {FORMAT!r}.")
    if document["type"] == "top":
        return Decider(None, document["why"], document["k"], document["per"])
    return Decider(float(document["threshold"]), document["why"])


def amounts_of(value: Value | None) -> Amounts | None:
    """A value's amounts as statistics take them."""
    return None if value is None else Amounts(*value.amounts())


def resolved(policy: Policy, value: Value | None) -> Decider | None:
    """A policy that needs no data to decide; None for a threshold that has to be chosen.

    Example:
        >>> resolved(ExpectedValue(), Value("USD", 40, -5)).threshold == 1 / 9
        True
    """
    match policy:
        case Top():
            return Decider(None, f"the {policy.k} highest", policy.k, policy.per)
        case ExpectedValue():
            amounts = amounts_of(value)
            assert amounts is not None
            return Decider(break_even(amounts), "where acting is worth as much as leaving")
        case Threshold():
            return None if policy.at is None else Decider(policy.at, "as the project says")
