"""How a version reaches all traffic: the stages of a rollout, and which units they are given to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.times import window_micros

WHOLE = 1_000_000
"""All traffic, in the unit of shares: millionths."""

_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")


class Shadow(Definition, frozen=True):
    """The version scores every request after it was answered by the live one; nobody is given its answers.

    Args:
        lasts: For how long at least, such as ``"2d"``.
    """

    lasts: str

    def check(self) -> None:
        """Refuse what is no duration."""
        window_micros(self.lasts, field="Shadow.lasts")


class Canary(Definition, frozen=True):
    """The version answers a share of the units, always the same ones; a larger share adds others to them.

    Args:
        share: How many, such as ``"5%"``; more than none and fewer than all.
        lasts: For how long at least, such as ``"1d"``.
    """

    share: str
    lasts: str

    def check(self) -> None:
        """Refuse what is no share or no duration."""
        if not 0 < millionths(self.share, field="Canary.share") < WHOLE:
            raise InvalidDefinitionError(f"Canary.share is {self.share!r}. It lies between 0 % and 100 %.")
        window_micros(self.lasts, field="Canary.lasts")


class Routing(Definition, frozen=True):
    """Which units keep together, and which of them never meet what is new.

    Args:
        unit: Column of a request's row whose value is the unit, such as ``"customer_id"``; None where requests name
            it themselves.
        holdout: Share of the units that no canary ever reaches and on whose answers nothing should act, so that what
            happens without the model stays known.
        explore: Share of the units whose decisions may be drawn at random, for estimates that the model does not bias.
    """

    unit: str | None = None
    holdout: str = "0%"
    explore: str = "0%"

    def check(self) -> None:
        """Refuse shares that leave nobody."""
        held, explored = (millionths(getattr(self, name), field=f"Routing.{name}") for name in ("holdout", "explore"))
        if held + explored >= WHOLE:
            raise InvalidDefinitionError(
                f"Routing: a holdout of {self.holdout!r} and {self.explore!r} to explore leave nobody. Take less."
            )


Step = Shadow | Canary


def check_rollout(rollout: Sequence[Step]) -> None:
    """Refuse a rollout whose stages run backwards.

    Raises:
        InvalidDefinitionError: if a shadow comes after a canary, or a canary is not larger than the one before.

    Example:
        >>> check_rollout([Shadow("1d"), Canary("5%", "1d"), Canary("5%", "2d")])
        Traceback (most recent call last):
            ...
        sterling.core.errors.InvalidDefinitionError: Project.rollout: Canary '5%' follows '5%'. Each gives the version more units than the one before.
    """
    shadows = [place for place, step in enumerate(rollout) if isinstance(step, Shadow)]
    if shadows not in ([], [0]):
        raise InvalidDefinitionError("Project.rollout: one Shadow at most, and before every Canary.")
    shares = [step.share for step in rollout if isinstance(step, Canary)]
    for before, after in pairwise(shares):
        if millionths(before) >= millionths(after):
            raise InvalidDefinitionError(
                f"Project.rollout: Canary {after!r} follows {before!r}. Each gives the version more units than the one "
                "before."
            )


def millionths(share: str, *, field: str = "share") -> int:
    """A share in millionths of the whole.

    Args:
        share: A number and a percent sign, with four decimals at most.
        field: What it is for; an error names it.

    Raises:
        InvalidDefinitionError: if it is no share from 0 % to 100 %.

    Example:
        >>> millionths("5%"), millionths("0.0001 %")
        (50000, 1)
    """
    match = _PERCENT.fullmatch(share)
    parts = Fraction(match[1]) * WHOLE / 100 if match else None
    if parts is None or parts.denominator != 1 or parts > WHOLE:
        raise InvalidDefinitionError(
            f"{field} is {share!r}. Write a share from 0% to 100%, with four decimals at most, such as '5%'."
        )
    return parts.numerator


def shown(share: int) -> str:
    """A share in millionths as people read it.

    Example:
        >>> shown(50_000), shown(333_333)
        ('5 %', '33.3333 %')
    """
    return f"{share / (WHOLE / 100):g} %"
