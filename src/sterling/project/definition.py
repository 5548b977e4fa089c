"""The base of every definition: frozen, typed, checked when it is built, and JSON by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from types import FunctionType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from sterling.core.errors import InvalidDefinitionError

_DOCUMENTATION = frozenset({"owner", "description", "retention"})


class Definition(msgspec.Struct, frozen=True, tag=True, tag_field="type", forbid_unknown_fields=True):
    """A frozen statement of what is wanted.

    Lists become tuples; anything else of the wrong type is refused, by field and value.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            value = getattr(self, name)
            fitted = _fit(value, hint)
            if fitted is _NO:
                raise InvalidDefinitionError(f"{type(self).__name__}.{name} is {value!r}. It takes {_describe(hint)}.")
            if fitted is not value:
                msgspec.structs.force_setattr(self, name, fitted)
        self.check()

    def check(self) -> None:
        """Refuse values that cannot be meant; overridden by definitions that have rules of their own."""


def to_json(value: object) -> Any:
    """A definition, or a tree of them, as JSON, every default spelled out."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_attributes)


def from_json(value: object, kind: Any) -> Any:
    """What `to_json` made JSON of, where it holds none of a project's own objects.

    Args:
        value: The JSON.
        kind: A definition, or a union of such.
    """
    return msgspec.convert(value, kind)


def essence(value: object) -> Any:
    """A definition as JSON without what only documents it, so that a new owner reruns nothing."""
    return _strip(to_json(value))


def _attributes(thing: object) -> dict[str, Any]:
    """A project's own object, such as its trainer: its class and its public attributes; a function by its name."""
    if isinstance(thing, FunctionType):
        return {"function": f"{thing.__module__}.{thing.__qualname__}"}
    attributes = {key: _finite(item) for key, item in vars(thing).items() if not key.startswith("_")}
    return {"class": f"{type(thing).__module__}.{type(thing).__qualname__}", "attributes": attributes}


def _finite(item: object) -> object:
    """NaN and infinities, which JSON does not have, as texts."""
    return repr(item) if isinstance(item, float) and not math.isfinite(item) else item


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        dropped = _DOCUMENTATION if "type" in value else frozenset()
        return {key: _strip(item) for key, item in value.items() if key not in dropped}
    if isinstance(value, list | tuple):
        return [_strip(item) for item in value]
    return value


class _No:
    """The value does not fit the type."""


_NO = _No()


@cache
def _hints(cls: type[Definition]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {name: hints[name] for name in cls.__struct_fields__}


def _fit(value: Any, hint: Any) -> Any:  # noqa: PLR0911  one answer for each kind of type
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in {Union, UnionType}:
        return next((fitted for arg in args if (fitted := _fit(value, arg)) is not _NO), _NO)
    if origin is Literal:
        return value if value in args and type(value) is not bool else _NO
    if origin in {Sequence, tuple}:
        return _fit_all(value, args)
    if origin is dict:
        fits = isinstance(value, Mapping) and all(
            _fit(k, args[0]) is not _NO and _fit(v, args[1]) is not _NO for k, v in value.items()
        )
        return dict(value) if fits else _NO
    if hint is float and type(value) is int:
        return float(value)
    if hint in {int, float} and isinstance(value, bool):
        return _NO
    return value if isinstance(value, NoneType if hint is None else hint) else _NO


def _fit_all(value: Any, args: tuple[Any, ...]) -> Any:
    """A list as a tuple, so that a definition is frozen through and through."""
    if not isinstance(value, list | tuple):
        return _NO
    hints = args if len(args) > 1 and args[-1] is not Ellipsis else [args[0]] * len(value)
    if len(hints) != len(value):
        return _NO
    fitted = tuple(_fit(item, hint) for item, hint in zip(value, hints, strict=True))
    return _NO if any(item is _NO for item in fitted) else fitted


def _describe(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return " or ".join(_describe(arg) for arg in args)
    if origin is Literal:
        return " or ".join(map(repr, args))
    if origin in {Sequence, tuple}:
        return f"a list of {_describe(args[0])}"
    if origin is dict:
        return f"a mapping of {_describe(args[0])} to {_describe(args[1])}"
    plain = {str: "text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}
    return plain.get(hint, getattr(hint, "__name__", str(hint)))
