"""Guardrails: what a version on its way must not make worse, and by how much before it is rolled back.

Judging them is `sterling.decisions.guardrails`'s: a guardrail is breached where it is sure that the version is worse at all,
however often one has looked, and it is worse by the margin as far as one can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.policy import Policy, Top
from sterling.project.rollout import millionths
from sterling.project.tasks import Binary, Task

Direction = Literal["no higher", "no lower", "no other"]
"""Which change is harm."""

_TAILS = {"no higher": (1,), "no lower": (-1,), "no other": (1, -1)}


class Errors(Definition, frozen=True):
    """Requests that the version could not answer are no more frequent.

    Args:
        margin: Excess that is harm, relative to the errors of the live version: 1 is twice as many.
        rate: Share of requests that may fail anyhow; where the live version's errors are rarer, the margin counts from it.
    """

    margin: float = 1.0
    rate: str = "0.5%"

    def check(self) -> None:
        """Refuse a margin of nothing and a rate of nothing."""
        _above_zero("Errors.margin", self.margin)
        if not 0 < millionths(self.rate, field="Errors.rate") < 1_000_000:
            raise InvalidDefinitionError(f"Errors.rate is {self.rate!r}. It lies between 0 % and 100 %.")


class Latency(Definition, frozen=True):
    """Answers take no longer, on average and without the wait for others, which the arms share.

    Args:
        margin: Excess that is harm, relative to the live version's mean: .25 is a quarter longer.
        cap_ms: A longer one counts as that long, so that a few do not decide alone.
    """

    margin: float = 0.25
    cap_ms: float = 1_000.0

    def check(self) -> None:
        """Refuse a margin or a cap of nothing."""
        _above_zero("Latency.margin", self.margin)
        _above_zero("Latency.cap_ms", self.cap_ms)


class Cost(Definition, frozen=True):
    """Answers take no more processor time, on average.

    Args:
        margin: Excess that is harm, relative to the live version's mean.
        cap_ms: More counts as that much.
    """

    margin: float = 0.25
    cap_ms: float = 1_000.0

    def check(self) -> None:
        """Refuse a margin or a cap of nothing."""
        _above_zero("Cost.margin", self.margin)
        _above_zero("Cost.cap_ms", self.cap_ms)


class DecisionRate(Definition, frozen=True):
    """The share of rows that are acted on stays what it is.

    Args:
        margin: Change that is harm, relative to the live version's share: .2 is a fifth more or fewer.
        direction: Which change is harm.
    """

    margin: float = 0.2
    direction: Direction = "no other"

    def check(self) -> None:
        """Refuse a margin of nothing."""
        _above_zero("DecisionRate.margin", self.margin)


class Score(Definition, frozen=True):
    """The mean score stays where it is; of several classes, that of the likeliest.

    Args:
        margin: Change that is harm, in standard deviations of the live version's scores.
        direction: Which change is harm.
    """

    margin: float = 0.1
    direction: Direction = "no other"

    def check(self) -> None:
        """Refuse a margin of nothing."""
        _above_zero("Score.margin", self.margin)


class ScoreDistribution(Definition, frozen=True):
    """Scores are distributed as they are, over ten equal bins from 0 to 1; it is judged in a canary.

    Args:
        margin: Share of requests, at least, whose scores lie elsewhere (total variation) where that is harm.
    """

    margin: float = 0.1

    def check(self) -> None:
        """Refuse a margin of nothing or of everything."""
        if not 0 < self.margin < 1:
            raise InvalidDefinitionError(f"ScoreDistribution.margin is {self.margin}. It lies between 0 and 1.")


Guardrail = Errors | Latency | Cost | DecisionRate | Score | ScoreDistribution

NAMES: dict[type[Definition], str] = {
    Errors: "errors", Latency: "latency", Cost: "cost", DecisionRate: "decision rate", Score: "score",
    ScoreDistribution: "distribution",
}  # fmt: skip
"""What each is called."""


def direction(guardrail: Guardrail) -> Direction:
    """Which change of what a guardrail looks at is harm.

    Example:
        >>> direction(Errors()), direction(Score(direction="no lower")), direction(ScoreDistribution())
        ('no higher', 'no lower', 'no other')
    """
    match guardrail:
        case DecisionRate() | Score():
            return guardrail.direction
        case ScoreDistribution():
            return "no other"
        case _:
            return "no higher"


def tails(guardrail: Guardrail) -> tuple[int, ...]:
    """The sides on which a guardrail is judged: 1 where more is harm, -1 where less is.

    Example:
        >>> tails(Latency()), tails(DecisionRate()), tails(ScoreDistribution())
        ((1,), (1, -1), (1,))
    """
    return (1,) if isinstance(guardrail, ScoreDistribution) else _TAILS[direction(guardrail)]


def error_rate(guardrails: Sequence[Guardrail], stages: int, budget: float) -> float:
    """What one side of one guardrail may err in one stage, so that all of a rollout stays within its budget.

    Example:
        >>> error_rate([Errors(), Latency(), DecisionRate()], 2, 0.05)
        0.00625
    """
    return budget / max(1, stages * sum(len(tails(guardrail)) for guardrail in guardrails))


def default_guardrails(policy: Policy | None, task: Task) -> tuple[Guardrail, ...]:
    """What is looked at where a project names no guardrails.

    Example:
        >>> [NAMES[type(guardrail)] for guardrail in default_guardrails(None, Binary())]
        ['errors', 'latency', 'score', 'distribution']
    """
    decided = () if policy is None or isinstance(policy, Top) else (DecisionRate(),)
    binned = (ScoreDistribution(),) if isinstance(task, Binary) else ()
    return (Errors(), Latency(), *decided, Score(), *binned)


def check_guardrails(guardrails: Sequence[Guardrail], policy: Policy | None) -> None:
    """Refuse guardrails that name one thing twice, or decisions where nothing is decided.

    Raises:
        InvalidDefinitionError: if they do.
    """
    kinds = [type(guardrail) for guardrail in guardrails]
    if twice := [kind.__name__ for kind in kinds if kinds.count(kind) > 1]:
        raise InvalidDefinitionError(f"Project.guardrails has {twice[0]} twice. Keep the one that is meant.")
    if DecisionRate in kinds and (policy is None or isinstance(policy, Top)):
        raise InvalidDefinitionError(
            "Project.guardrails has DecisionRate, and requests are not decided one by one: that takes a policy of "
            "Threshold or ExpectedValue."
        )


def _above_zero(field: str, value: float) -> None:
    if value <= 0:
        raise InvalidDefinitionError(f"{field} is {value}. It lies above 0.")
