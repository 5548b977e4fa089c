"""How two JSON trees differ, as lines that people read: ``recipe.model.trees: 300 → 500``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_SOURCES = frozenset({"EventSource", "EntitySource"})
_LABELS = ("name", "column", "metric", "until", "columns", "file", "names")
_LONGEST = 60


def changes(old: Any, new: Any) -> tuple[str, ...]:
    """What changed between two definitions, or two of their parts.

    A source that a project mentions in many places is compared once, under ``sources``. Items of a list are matched
    by their names where they have such, so that one more feature is one line.

    Args:
        old: The JSON before.
        new: The JSON after.

    Example:
        >>> changes({"trees": 300, "leaves": 31}, {"trees": 500, "leaves": 31, "l2": 5.0})
        ('l2: added, 5', 'trees: 300 → 500')
    """
    before, after = _apart(old), _apart(new)
    return tuple(f"{path}: {line}" if path else line for path, line in _differences("", before, after))


def _apart(tree: Any) -> Any:
    """A tree with its sources taken out and named, and a definition's project at the top."""
    sources: dict[str, Any] = {}
    if isinstance(tree, Mapping) and isinstance(tree.get("project"), Mapping):
        tree = {**tree["project"], **{key: item for key, item in tree.items() if key != "project"}}
    rest = _without_sources(tree, sources)
    return rest | {"sources": sources} if sources and isinstance(rest, dict) else rest


def _without_sources(tree: Any, sources: dict[str, Any]) -> Any:
    if isinstance(tree, Mapping):
        bare = {key: _without_sources(item, sources) for key, item in tree.items()}
        if tree.get("type") in _SOURCES and "name" in tree:
            sources[tree["name"]] = bare
            return tree["name"]
        return bare
    if isinstance(tree, list | tuple):
        return [_without_sources(item, sources) for item in tree]
    return tree


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, str]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("type") == new.get("type"):
        yield from _by_key(path, old, new)
    elif (left := _named(old)) is not None and (right := _named(new)) is not None:
        yield from _by_key(path, left, right, bracket=True)
        kept = [name for name in left if name in right]
        if kept != [name for name in right if name in left]:
            yield path, "another order"
    elif old != new:
        yield path, f"{_shown(old)} → {_shown(new)}"


def _by_key(
    path: str, old: Mapping[str, Any], new: Mapping[str, Any], *, bracket: bool = False
) -> Iterator[tuple[str, str]]:
    for key in sorted({*old, *new}):
        below = f"{path}[{key}]" if bracket else f"{path}.{key}".lstrip(".")
        if key not in new:
            yield below, f"removed, {_shown(old[key])}"
        elif key not in old:
            yield below, f"added, {_shown(new[key])}"
        else:
            yield from _differences(below, old[key], new[key])


def _named(items: Any) -> dict[str, Any] | None:
    """Items of a list by their names, where it holds definitions and each has its own name."""
    if not isinstance(items, list | tuple) or not all(isinstance(item, Mapping) for item in items):
        return None
    found = {_name(item): item for item in items}
    return found if len(found) == len(items) else {str(place): item for place, item in enumerate(items, 1)}


def _name(item: Mapping[str, Any]) -> str:
    label = next((item[key] for key in _LABELS if item.get(key)), None)
    if isinstance(label, Mapping):
        label = label.get("names")
    text = ", ".join(map(str, label)) if isinstance(label, list | tuple) else label
    return " ".join(str(part) for part in (item.get("type"), text) if part)


def _shown(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
