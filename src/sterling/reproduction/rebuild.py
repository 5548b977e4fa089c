"""A stage from its parameters on record, with the project's own code where they name some."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sterling.core.code import CodeHash, code_of
from sterling.core.errors import InvalidDefinitionError, SterlingError, nearest
from sterling.project.load import load_project
from sterling.project.project import Project
from sterling.stages.bind import Bind
from sterling.stages.contract import Stage


class OwnCode:
    """The project's own classes and functions as its folder has them now; loaded only if a stage names some.

    Args:
        folder: The project's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded = False

    def named(self, path: str) -> Any:
        """A class or a function by its path, such as ``project.MyTrainer``.

        Raises:
            InvalidDefinitionError: if the project has none of that name now.
        """
        if not self._loaded:
            load_project(self._folder)
            self._loaded = True
        parts = path.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            found: Any = sys.modules.get(".".join(parts[:cut]))
            for part in parts[cut:] if found is not None else ():
                found = getattr(found, part, None)
            if found is not None:
                return found
        raise InvalidDefinitionError(f"The project has no {path} any more, which the run trained or computed with.")

    def hash_of(self, path: str) -> CodeHash | None:
        """What identifies the code of a path now; None where there is none any more."""
        try:
            return code_of(self.named(path), self._folder)
        except SterlingError:
            return None


def stage_of(name: str, parameters: Any, definition: Mapping[str, Any], own: OwnCode) -> Stage:
    """A stage as it was built, from what is on record.

    Args:
        name: Its name, such as ``train``.
        parameters: Its parameters, as its identity holds them.
        definition: The project's definition on record, for the stage that reads all of it.
        own: The project's own code.

    Raises:
        InvalidDefinitionError: if this Sterling has no such stage, or cannot read its parameters.
    """
    known = {kind.__name__.lower(): kind for kind in _stages(Stage)}
    if name not in known:
        raise InvalidDefinitionError(f"This Sterling has no stage {name!r}. {nearest(name, known)}")
    try:
        if known[name] is Bind:
            return Bind(msgspec.convert(_revived(definition["project"], own), Project))
        return msgspec.convert(_revived(parameters, own), known[name])
    except (msgspec.ValidationError, InvalidDefinitionError, TypeError) as error:
        raise InvalidDefinitionError(f"The parameters of {name!r} on record cannot be read: {error}") from error


def _stages(kind: type[Stage]) -> Iterator[type[Stage]]:
    import sterling.stages.graph  # noqa: F401  which imports every stage

    for one in kind.__subclasses__():
        yield one
        yield from _stages(one)


def _revived(value: Any, own: OwnCode) -> Any:
    """JSON with the project's own objects in the places of what is on record of them."""
    if isinstance(value, dict):
        if set(value) == {"class", "attributes"}:
            kind = own.named(value["class"])
            thing = object.__new__(kind)
            vars(thing).update({name: _revived(item, own) for name, item in value["attributes"].items()})
            return thing
        if set(value) == {"function"}:
            return own.named(value["function"])
        return {name: _revived(item, own) for name, item in value.items()}
    if isinstance(value, list):
        return [_revived(item, own) for item in value]
    return value
