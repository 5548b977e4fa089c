"""Small stages that count how often they run, for tests of the runner."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from sterling.core.errors import DataError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.stages.contract import Context, Outcome, Output, Stage, Step, put_json

RUNS: Counter[str] = Counter()


class Add(Stage, frozen=True):
    """Adds a number to what it reads."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("numpy",)

    label: str
    number: int

    @property
    def title(self) -> str:
        return f"add {self.label}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        RUNS[self.title] += 1
        total = self.number + sum(int(context.store.open(ref).read_text()) for ref in inputs.values())
        return Outcome({"sum": put_json(context.store, total)}, (Evidence("sum.found", (), {"sum": total}),))


class Fail(Stage, frozen=True):
    """Logs, and raises."""

    about_data: bool

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        logging.getLogger("sterling").warning("about to fail")
        if self.about_data:
            raise DataError("arrivals: 5 % of the rows have no origin")
        raise ZeroDivisionError("division by zero")


class Chance(Stage, frozen=True):
    """Makes something else every time."""

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        RUNS["chance"] += 1
        return Outcome({"out": put_json(context.store, RUNS["chance"])})


def chain(*numbers: int) -> list[Step]:
    """Steps a, b, c … of which each adds its number to the sum before it."""
    steps: list[Step] = []
    for label, number in zip("abcdefg", numbers, strict=False):
        inputs = {"sum": Output(steps[-1].stage.title, "sum")} if steps else {}
        steps.append(Step(Add(label, number), inputs))
    return steps
