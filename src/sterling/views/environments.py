"""How two environments differ, as lines that people read: ``Python: 3.11.7 → 3.12.1``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

_NAMES = {"python": "Python", "implementation": "implementation", "platform": "platform", "cpu": "processor"}
_NAMED = 5


class Difference(NamedTuple):
    """Something that is not as it was.

    Attributes:
        kind: ``threads`` or ``environment``.
        detail: What it is.
    """

    kind: str
    detail: str


def places(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """How the places differ, apart from what is installed there.

    Args:
        before: The body of an ``environment.recorded``.
        now: Of another one.
    """
    if before["threads"] != now["threads"]:
        yield Difference("threads", f"{before['threads']} → {now['threads']}")
    elif [one["threads"] for one in before["blas"]] != [one["threads"] for one in now["blas"]]:
        both = (", ".join(str(one["threads"]) for one in each["blas"]) for each in (before, now))
        yield Difference("threads", "of BLAS: {} → {}".format(*both))
    for key, name in _NAMES.items():
        if before[key] != now[key]:
            yield Difference("environment", f"{name}: {before[key]} → {now[key]}")
    kernels, kernels_now = (sorted(map(_kernel, each["blas"])) for each in (before, now))
    if kernels != kernels_now:
        yield Difference("environment", f"BLAS: {', '.join(kernels)} → {', '.join(kernels_now)}")


def versions(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Versions that differ, in one line; empty where none does.

    Example:
        >>> versions({"lightgbm": "4.6.0", "numpy": "2.3.1"}, {"lightgbm": "4.7.0", "numpy": "2.3.1"})
        'lightgbm 4.6.0 → 4.7.0'
    """
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return some([f"{name} {before.get(name, 'absent')} → {after.get(name, 'absent')}" for name in names])


def some(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    every = tuple(names)
    rest = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + rest


def _kernel(blas: Mapping[str, Any]) -> str:
    return " ".join(str(blas[part]) for part in ("library", "version", "kernel") if blas.get(part))
