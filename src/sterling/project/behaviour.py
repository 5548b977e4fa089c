"""What a model must do on real rows, whatever it was trained on: invariance, direction, and cases that are plain.

References:
    Ribeiro, Wu, Guestrin & Singh (2020), ACL, Beyond accuracy: behavioral testing of NLP models with CheckList.
"""

from __future__ import annotations

from collections.abc import Sequence

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition


class Invariant(Definition, frozen=True):
    """Another value of a feature must not change the score.

    Args:
        feature: The feature.
        to: Values that every row is given in turn; empty for every category that training saw.
        within: Largest change of the score that is none, 0 or more.
    """

    feature: str
    to: Sequence[str | float | None] = ()
    within: float = 0.0

    def check(self) -> None:
        """Refuse a change below 0."""
        _not_negative("Invariant.within", self.within)


class Rises(Definition, frozen=True):
    """More of a number must not lower the score.

    Args:
        feature: The number; rows without it are left out.
        by: What is added, above 0.
        within: Largest fall of the score that is none, 0 or more.
    """

    feature: str
    by: float
    within: float = 0.0

    def check(self) -> None:
        """Refuse no step."""
        _step("Rises.by", self.by)
        _not_negative("Rises.within", self.within)


class Falls(Definition, frozen=True):
    """More of a number must not raise the score.

    Args:
        feature: The number; rows without it are left out.
        by: What is added, above 0.
        within: Largest rise of the score that is none, 0 or more.
    """

    feature: str
    by: float
    within: float = 0.0

    def check(self) -> None:
        """Refuse no step."""
        _step("Falls.by", self.by)
        _not_negative("Falls.within", self.within)


class Scores(Definition, frozen=True):
    """Rows of a plain kind have scores within bounds: the least that a model must be able to do.

    Args:
        where: SQL condition over features, such as ``"leaving_origin_pending_4h >= 20"``.
        at_least: Smallest score, or None.
        at_most: Largest score, or None.
    """

    where: str
    at_least: float | None = None
    at_most: float | None = None

    def check(self) -> None:
        """Refuse no bound."""
        if self.at_least is None and self.at_most is None:
            raise InvalidDefinitionError(f"Scores({self.where!r}) has neither at_least nor at_most.")


BehaviourTest = Invariant | Rises | Falls | Scores


def behaviour_title(test: BehaviourTest) -> str:
    """What a test says of the score.

    Example:
        >>> behaviour_title(Rises("overdue", by=5)), behaviour_title(Scores("overdue >= 20", at_least=0.3))
        ('does not fall when overdue + 5', 'is at least 0.3 where overdue >= 20')
    """
    match test:
        case Invariant():
            to = f" = {', '.join(map(str, test.to))}" if test.to else " changes"
            within = f" within {test.within:g}" if test.within else ""
            return f"is the same{within} when {test.feature}{to}"
        case Rises():
            return f"does not fall{_within(test.within)} when {test.feature} + {test.by:g}"
        case Falls():
            return f"does not rise{_within(test.within)} when {test.feature} + {test.by:g}"
        case Scores():
            bounds = (("at least", test.at_least), ("at most", test.at_most))
            said = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
            return f"is {said} where {test.where}"


def _within(share: float) -> str:
    return f" by more than {share:g}" if share else ""


def _not_negative(field: str, value: float) -> None:
    if value < 0:
        raise InvalidDefinitionError(f"{field} is {value}. It is at least 0.")


def _step(field: str, value: float) -> None:
    if value <= 0:
        raise InvalidDefinitionError(f"{field} is {value}. It is above 0.")
