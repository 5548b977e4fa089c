"""What became of a run that was executed again: how far it is the same, and what explains where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sterling.reproduction.recorded import Recorded
from sterling.views.environments import places, some, versions

Level = Literal["model", "predictions", "metrics", "none"]
LEVELS: tuple[Level, ...] = ("none", "metrics", "predictions", "model")
"""How much was equal, the least first."""
CANDIDATE, EVALUATE = "train candidate", "evaluate"


class Cause(NamedTuple):
    """Something that is not as it was, and may explain a difference.

    Attributes:
        kind: ``data``, ``code``, ``libraries``, ``environment``, ``threads``, or ``error``.
        detail: What it is, as a sentence.
    """

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Again:
    """A run and what executing it again gave.

    Attributes:
        steps: Its steps on record.
        answers: What became of each step that was executed, by title.
        environment: What the fresh process ran with.
        lock: Its distributions and modules.
        locks: The same of the steps' environments on record, by the environment's name; those that are still held.
    """

    steps: Sequence[Recorded]
    answers: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, Any]
    lock: Mapping[str, Any]
    locks: Mapping[str, Mapping[str, Any]]

    def compared(self) -> Iterator[tuple[Recorded, Mapping[str, Any]]]:
        """The steps that were executed, with what became of them."""
        return ((step, self.answers[step.title]) for step in self.steps if step.title in self.answers)

    def counts(self) -> tuple[int, int]:
        """How many refs are equal, and how many were compared."""
        pairs = [
            found["outputs"].get(name) == ref for step, found in self.compared() for name, ref in step.outputs.items()
        ]
        return sum(pairs), len(pairs)

    def differing(self) -> tuple[dict[str, Any], ...]:
        """Each step that made something else, or nothing, in order; the first is where the run begins to differ."""
        return tuple(
            {
                "title": step.title,
                "position": step.position,
                "outputs": outputs,
                "causes": [*map(Cause._asdict, causes)],
            }
            for step, found in self.compared()
            for outputs in [sorted(n for n, ref in step.outputs.items() if found["outputs"].get(n) != ref)]
            if outputs or found["error"]
            for causes in [self.causes(step, found)]
        )

    def changed(self) -> tuple[dict[str, str], ...]:
        """Everything that is not as it was, whether or not it made a difference, each once."""
        every = (cause for step, found in self.compared() for cause in self._not_as_it_was(step, found))
        return tuple(cause._asdict() for cause in dict.fromkeys(every))

    def level(self, measured: Mapping[str, tuple[float | None, float | None]]) -> Level:
        """How far the run is the same.

        Args:
            measured: The interval of each of the candidate's metrics on record.
        """
        by_title = {step.title: step for step in self.steps}
        trained, judged = by_title.get(CANDIDATE), by_title.get(EVALUATE)
        if trained is None or judged is None or not {CANDIDATE, EVALUATE} <= set(self.answers):
            return "none"
        model, predictions = self.answers[CANDIDATE], self.answers[EVALUATE]
        if predictions["outputs"].get("candidate") == judged.outputs["candidate"]:
            return "model" if model["outputs"].get("model") == trained.outputs["model"] else "predictions"
        return "metrics" if _within(dict(predictions["metrics"]), measured) else "none"

    def causes(self, step: Recorded, found: Mapping[str, Any]) -> tuple[Cause, ...]:
        """What may explain that a step made something else, the most telling first."""
        causes = [Cause("data", line) for line in found["data"]]
        causes += self._not_as_it_was(step, found)
        if found["error"]:
            causes.append(Cause("error", found["error"]))
        inputs = self._other_inputs(step)
        if inputs:
            causes.append(Cause("data", f"it read what {inputs} made otherwise"))
        return tuple(causes) or (
            Cause("unknown", "code, libraries, threads and data are as they were: the stage is not deterministic"),
        )

    def _other_inputs(self, step: Recorded) -> str:
        """The steps before this one that made another input of it."""
        changed = {
            ref: before.title
            for before, found in self.compared()
            for name, ref in before.outputs.items()
            if found["outputs"].get(name) != ref
        }
        return ", ".join(dict.fromkeys(changed[ref] for ref in step.identity["inputs"].values() if ref in changed))

    def _not_as_it_was(self, step: Recorded, found: Mapping[str, Any]) -> list[Cause]:
        lock = self.locks.get((step.environment or {}).get("environment", ""))
        return [
            *_code(step, found, lock, self.lock),
            *_libraries(step, found, lock, self.lock),
            *_place(step.environment, self.environment),
        ]


def _within(found: Mapping[str, float | None], measured: Mapping[str, tuple[float | None, float | None]]) -> bool:
    """Whether every metric that had an interval lies in it."""
    bounds = {name: (low, high) for name, (low, high) in measured.items() if low is not None and high is not None}
    values = {name: found.get(name) for name in bounds}
    return bool(bounds) and all(
        value is not None and bounds[name][0] <= value <= bounds[name][1] for name, value in values.items()
    )


def _code(
    step: Recorded, found: Mapping[str, Any], lock: Mapping[str, Any] | None, now: Mapping[str, Any]
) -> Iterator[Cause]:
    for name, code in found.get("code", {}).items():
        before = next(one for one in step.identity["parameters"]["code"] if one["name"] == name)
        if code is None:
            yield Cause("code", f"{name} is not in the project any more{_at(step)}")
        elif code["sha256"] != before["sha256"]:
            yield Cause("code", f"{name} in the project is another one now{_at(step)}")
        elif code["libraries"] != before["libraries"]:
            yield Cause("libraries", f"{name} uses {versions(before['libraries'], code['libraries'])}")
    if "source" not in found or found["source"] == step.identity["source"]:
        return
    if lock is None:
        yield Cause("code", "Sterling's code is another one now; which module, is not on record")
        return
    changed = [name for name in found["modules"] if lock["modules"].get(name) != now["modules"].get(name)]
    yield Cause("code", f"Sterling's code is another one now: {some(changed) or 'a module is no longer read'}")
    if not found["same_parameters"]:
        yield Cause("code", "the parameters of the stage are read otherwise now")


def _at(step: Recorded) -> str:
    """Where the code of then is to be found."""
    place = step.environment or {}
    if not place.get("commit"):
        return ""
    kept = f"; it was that of commit {place['commit'][:12]}"
    return f"{kept}, with changes that were not committed" if place["dirty"] else kept


def _libraries(
    step: Recorded, found: Mapping[str, Any], lock: Mapping[str, Any] | None, now: Mapping[str, Any]
) -> Iterator[Cause]:
    named = found.get("libraries", {})
    if named and named != step.identity["libraries"]:
        yield Cause("libraries", versions(step.identity["libraries"], named))
    if lock is None:
        return
    before, after = (
        {one["name"]: one for one in each["distributions"] if one["needed"] or one["name"] in named}
        for each in (lock, now)
    )
    others = {name: one["version"] for name, one in before.items() if name not in named}
    others_now = {name: after[name]["version"] if name in after else "absent" for name in others}
    if changed := versions(others, others_now):
        yield Cause("environment", changed)
    same = [name for name in before if name in after and before[name]["version"] == after[name]["version"]]
    altered = [n for n in same if before[n]["files"] and after[n]["files"] and before[n]["files"] != after[n]["files"]]
    if altered := [name for name in altered if name != "sterling-ml"]:
        yield Cause("environment", f"{some(altered)} installed other files under the same version")


def _place(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Iterator[Cause]:
    if before is None:
        yield Cause("environment", "what the step ran with is not on record")
        return
    yield from (Cause(*one) for one in places(before, now))
