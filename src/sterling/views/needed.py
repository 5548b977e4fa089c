"""What must be kept: the bytes behind the last run, every released version, every definition and every failure's log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sterling.core.evidence import Entry
from sterling.core.refs import Ref

_ALWAYS = frozenset({"project.defined", "stage.failed", "model.registered", "version.released"})
_REF = re.compile(r"sha256:[0-9a-f]{64}")


def needed(entries: Iterable[Entry]) -> frozenset[Ref]:
    """Refs that garbage collection must not touch.

    Args:
        entries: The whole chain.
    """
    chain = tuple(entries)
    released = {entry.body["model"] for entry in chain if entry.kind == "version.released"}
    runs = [entry for entry in chain if entry.kind == "run.completed"]
    kept = [run for run in runs if run is runs[-1] or run.body["candidate"] in released]
    keys = {f"key:{step['key']}" for run in kept for step in run.body["keys"]}
    return frozenset(
        ref
        for entry in chain
        if entry.kind in _ALWAYS or keys.intersection(entry.evidence.subjects)
        for ref in refs_in(entry.body)
    )


def refs_in(value: Any) -> Iterator[Ref]:
    """Every ref that stands as a text in a JSON value.

    Example:
        >>> list(refs_in({"outputs": {"a": "sha256:" + "0" * 64}, "n": 1}))
        ['sha256:0000000000000000000000000000000000000000000000000000000000000000']
    """
    if isinstance(value, str):
        if _REF.fullmatch(value):
            yield Ref(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from refs_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs_in(item)
