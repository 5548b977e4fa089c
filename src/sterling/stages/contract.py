"""The contract of a stage: refs and parameters in, refs and facts out; no ledger and no clock."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sterling.core.canonical import canonical
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.engine.contract import Engine
from sterling.project.definition import Definition, essence
from sterling.project.sources import EntitySource, EventSource


@dataclass(frozen=True, slots=True)
class Context:
    """Everything from outside that a stage may use.

    Attributes:
        store: Where inputs are read from and outputs are put.
        engine: Where tables are computed.
        seed: Seed of everything random.
        work: Folder where a stage may keep what lets it go on after a kill, and finds it; None to keep nothing. What a
            stage makes does not depend on it.
    """

    store: Store
    engine: Engine
    seed: int = 0
    work: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage made and what it learned.

    Attributes:
        outputs: Refs by name.
        facts: Evidence that is recorded together with the stage's completion.
    """

    outputs: Mapping[str, Ref]
    facts: tuple[Evidence, ...] = field(default=())


class Stage(Definition, frozen=True):
    """A pure step. Its fields are its parameters; they are all that it knows besides its inputs and its context.

    The sources in its fields lose what decides nothing about their rows and clocks (`bare`), so that a stage cannot
    read it, and an edit there reruns nothing.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.__struct_fields__:
            msgspec.structs.force_setattr(self, name, bare(getattr(self, name)))

    @property
    def name(self) -> str:
        """What kind of step it is, such as ``train``."""
        return type(self).__name__.lower()

    @property
    def title(self) -> str:
        """The step as people read it, such as ``snapshot weather``."""
        return self.name

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions whose versions belong to the identity of what the stage makes."""
        return ()

    def parameters(self) -> Any:
        """The parameters as JSON, without what only documents them."""
        return essence(self)

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Run the step."""
        raise NotImplementedError


def put_bytes(store: Store, data: bytes) -> Ref:
    """Keep some bytes."""
    return store.put(io.BytesIO(data))


def put_json(store: Store, value: object) -> Ref:
    """Keep a JSON value in its canonical form."""
    return put_bytes(store, canonical(value))


def bare(value: Any) -> Any:
    """A definition, or a tuple of them, whose sources are without file, checks, personal columns and documentation."""
    match value:
        case EventSource() | EntitySource():
            plain: dict[str, Any] = {"owner": None, "description": None, "retention": None}
            return msgspec.structs.replace(value, table="", checks=(), pii=(), **plain)
        case Definition():
            inside = {name: bare(getattr(value, name)) for name in value.__struct_fields__}
            return msgspec.structs.replace(value, **inside)
        case tuple():
            return tuple(bare(item) for item in value)
        case _:
            return value


@dataclass(frozen=True, slots=True)
class Output:
    """An output of an earlier step.

    Attributes:
        step: Title of that step.
        name: Name of the output.
    """

    step: str
    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """A stage and where its inputs come from.

    Attributes:
        stage: What is done.
        inputs: Refs, or outputs of earlier steps, by the name that the stage knows them by.
        champion_of: Input whose champion, the newest released model that is another one, is an input too; None where
            the ledger's state has no part in the step.
        champion_policy: Whether the policy that the champion was registered with is an input too, as ``champion_policy``,
            where it has one.
    """

    stage: Stage
    inputs: Mapping[str, Ref | Output]
    champion_of: str | None = None
    champion_policy: bool = False
