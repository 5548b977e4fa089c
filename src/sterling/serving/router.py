"""Which version answers a unit: the same one every time, whoever asks, by whole numbers alone.

A unit's point on a ring of 2^64 places is the first 8 bytes of SHA-256 over ``salt:unit``, as every warehouse computes it
in SQL; shares are places below a threshold. A larger share only raises the threshold, so that a ramp takes units from the
old arm and moves nobody else.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

from sterling.project.rollout import WHOLE
from sterling.views.release_plan import ReleasePlan

PLACES = 1 << 64
"""Places on the ring."""

LIVE, CANARY, HOLDOUT, EXPLORE, SEVERAL = "live", "canary", "holdout", "explore", "several"


class Assigned(NamedTuple):
    """Who answers a unit.

    Attributes:
        version: The version that answers.
        arm: ``live``, ``canary``, ``holdout`` (the live version answers, and nothing should act on it) ``explore`` (it
            answers as for all others, and its decision may be drawn at random), or ``several`` (the live version answers a
            request that is about several units).
        probability: Chance of the arm among all units, in (0, 1]; estimates weigh by it.
    """

    version: int
    arm: str
    probability: float


class Router(NamedTuple):
    """A release plan, as thresholds.

    Attributes:
        live: The version that answers all but a canary's units.
        canary: The version that is on its way, or None.
        salt: What assigns a rollout's units.
        canary_below: Points below it are the canary's.
        kept_salt: What assigns the units that stay with what is known.
        holdout_below: Points below it are held out.
        explore_below: Points below it, and not held out, explore.
        unit: Column of a row that names its unit, or None.
    """

    live: int
    canary: int | None = None
    salt: str = ""
    canary_below: int = 0
    kept_salt: str = ""
    holdout_below: int = 0
    explore_below: int = 0
    unit: str | None = None

    @property
    def trivial(self) -> bool:
        """Whether the live version answers everybody alike, so that no unit needs to be known."""
        return not (self.canary_below or self.explore_below)

    def assign(self, unit: str) -> Assigned:
        """Who answers a unit.

        Example:
            >>> router = Router(1, canary=2, salt="a0", canary_below=threshold(250_000))
            >>> router.assign("customer-2")
            Assigned(version=1, arm='live', probability=0.75)
            >>> router.assign("customer-7")
            Assigned(version=2, arm='canary', probability=0.25)
        """
        if self.explore_below:
            kept = point(self.kept_salt, unit)
            if kept < self.explore_below:
                held = kept < self.holdout_below
                places = self.holdout_below if held else self.explore_below - self.holdout_below
                return Assigned(self.live, HOLDOUT if held else EXPLORE, places / PLACES)
        free = 1 - self.explore_below / PLACES
        if self.canary is not None and point(self.salt, unit) < self.canary_below:
            return Assigned(self.canary, CANARY, free * (self.canary_below / PLACES))
        return Assigned(self.live, LIVE, free * (1 - self.canary_below / PLACES))


def router_of(plan: ReleasePlan, *, canary: bool = True) -> Router:
    """The router of a plan in which a version is live.

    Args:
        plan: The plan.
        canary: Whether the canary of the plan can answer here; where it cannot, the live version takes its units.
    """
    assert plan.live is not None
    routing, rollout = plan.routing, plan.canary if canary else None
    held, explored = (routing.holdout, routing.explore) if routing else (0, 0)
    return Router(
        plan.live.version,
        rollout.version if rollout else None,
        rollout.salt if rollout else "",
        threshold(rollout.running.share) if rollout else 0,
        routing.salt if routing else "",
        threshold(held),
        threshold(held + explored),
        routing.unit if routing else None,
    )


def point(salt: str, unit: str) -> int:
    """The place of a unit, from 0 to 2^64 − 1.

    Example:
        >>> point("a0", "customer-7")
        4233658979590654582
    """
    return int.from_bytes(sha256(f"{salt}:{unit}".encode()).digest()[:8], "big")


def threshold(share: int) -> int:
    """The place below which a share of the units lies, in millionths.

    Example:
        >>> threshold(500_000) == PLACES // 2, threshold(0), threshold(1_000_000) == PLACES
        (True, 0, True)
    """
    return share * PLACES // WHOLE


def unit_text(value: Any) -> str | None:
    """A value of a row as the unit that it names; None for none.

    Whole numbers are one unit however JSON spells them.

    Example:
        >>> unit_text("a"), unit_text(7), unit_text(7.0), unit_text(None), unit_text(True)
        ('a', '7', '7', None, 'true')
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
