"""The registry: which versions there are, which one is live, and which one a candidate has to beat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sterling.core.elsewhere import ERASED, erasures
from sterling.core.evidence import Entry
from sterling.core.refs import Ref


@dataclass(frozen=True, slots=True)
class Version:
    """A registered model.

    Attributes:
        version: Its number, from 1.
        model: Ref of the model.
        definition: Hash of the project's definition that it was trained by.
        registered: Position of its registration.
        released: Position of its newest release, or None.
        actor: Who registered it.
        time: When it was registered, ISO 8601.
        policy: Ref of what decides from its scores, or None where nothing does.
    """

    version: int
    model: Ref
    definition: str
    registered: int
    released: int | None
    actor: str
    time: str
    policy: Ref | None = None


def versions(entries: Iterable[Entry]) -> tuple[Version, ...]:
    """Every registered version, oldest first."""
    found: dict[int, Version] = {}
    for entry in entries:
        body = entry.body
        if entry.kind == "model.registered":
            found[body["version"]] = Version(
                body["version"], Ref(body["model"]), body["definition"], entry.position, None, entry.actor,
                entry.recorded_at, Ref(body["policy"]) if body.get("policy") else None,
            )  # fmt: skip
        elif entry.kind == "version.released":
            found[body["version"]] = replace(found[body["version"]], released=entry.position)
    return tuple(found.values())


def live(entries: Iterable[Entry]) -> Version | None:
    """The version that was released last."""
    return _newest(versions(entries))


CHAMPION_KINDS = ("model.registered", "version.released", ERASED)
"""The kinds of evidence that say which version is the champion."""


def champion(entries: Iterable[Entry], candidate: Ref) -> Version | None:
    """What a candidate has to beat: the version released last whose model is another one, and was not erased."""
    chain = tuple(entries)
    gone = erasures(chain)
    return _newest(v for v in versions(chain) if v.model != candidate and v.model not in gone)


def _newest(found: Iterable[Version]) -> Version | None:
    released = ((version.released, version) for version in found if version.released is not None)
    return max(released, key=lambda pair: pair[0], default=(0, None))[1]
