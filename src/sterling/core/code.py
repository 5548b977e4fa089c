"""The identity of code: what a stage's answer depends on besides its inputs."""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import TypedDict

from sterling.core.canonical import digest
from sterling.core.errors import InvalidDefinitionError, MissingExtraError, nearest
from sterling.core.reach import module_name, reach
from sterling.core.source import Import, global_names, imports_in, lambdas_at, normalised, statements_of

_OURS = Path(__file__).parents[1]
_DISTRIBUTION = "sterling-ml"
_ABSENT = "absent"
_OWN_IMPORT = re.compile(
    rb"^[ \t]*((?:from[ \t]+(?:sterling\b|\.)[.\w]*[ \t]+import[ \t]+(?:\([^)]*\)|[^\n]+))|(?:import[ \t]+sterling\b[^\n]*))",
    re.MULTILINE,
)


class CodeHash(TypedDict):
    """The identity of code that a project supplies, as JSON.

    Attributes:
        name: Where it stands, such as ``project.MyTrainer``.
        sha256: Hash, in hex, of its source and of all that it reaches in the project's folder.
        libraries: Installed version of each distribution that it reaches, ``absent`` for an import that finds none.
    """

    name: str
    sha256: str
    libraries: dict[str, str]


@cache
def source_of_module_closure(module: str) -> str:
    """Hash of the source of a module and of every module of Sterling's own that it imports, directly or not.

    Somebody else's module, such as a stage of another package, counts by its own file and by what it imports of
    Sterling; the version of its package is for its ``libraries`` to name.

    Followed is every import statement, those inside functions too, but not the ``__init__`` of a package that only
    leads to a module, nor a name that code makes up when it runs. Kept for the life of the process: the code of a
    running process does not change with its files.

    Args:
        module: Name of the module, such as ``sterling.stages.train``.

    Returns:
        SHA-256 in hex over names and file contents, in the order of the names.

    Raises:
        InvalidDefinitionError: if there is no such module, or it has no source.
    """
    return digest(sources_of_module_closure(module))


def sources_of_module_closure(module: str) -> dict[str, str]:
    """What `source_of_module_closure` hashes: each module's name and the hash of its file, in hex.

    Raises:
        InvalidDefinitionError: if there is no such module, or it has no source.
    """
    sources: dict[str, str] = {}
    open_ends = [module]
    for name in open_ends:
        if name not in sources:
            sources[name], imported = _own_source(name)
            open_ends.extend(imported)
    return sources


@cache
def sources_of_sterling() -> dict[str, str]:
    """Every module of Sterling's own and the hash of its file, in hex."""
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in _own_files().items()}


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions of distributions, kept for the life of the process.

    Args:
        names: Names of distributions as pip knows them, such as ``scikit-learn``.

    Raises:
        MissingExtraError: if one is not installed.

    Example:
        >>> list(library_versions(["pytest", "hypothesis"]))
        ['hypothesis', 'pytest']
    """
    found = {name: _version_if_any(name) for name in sorted(set(names))}
    if absent := [name for name, version in found.items() if version == _ABSENT]:
        raise MissingExtraError(f"Not installed: {', '.join(absent)}. Install with: pip install {' '.join(absent)}")
    return found


def code_of(thing: object, root: Path) -> CodeHash:
    """The identity of a function or a class that a project supplies, such as a trainer or an on-demand function.

    It changes with the source of the thing and of all that it reaches by name in the project's folder: functions,
    classes and their bases, constants, statements that change these at the top level of the file, and whole files that
    are imported. It does not change with comments, blank lines, indentation, or other parts of the same file.
    Libraries count by their installed versions. What is reached in another way is not seen: files that the code opens,
    names that it makes up when it runs, a library that was installed as editable and edited.

    Args:
        thing: A function, a lambda that has its line to itself, or a class, defined at the top level of a file.
        root: The project's folder.

    Raises:
        InvalidDefinitionError: if the source is not to be had, or lies outside of the folder and of all libraries.
    """
    code = inspect.unwrap(thing) if callable(thing) else thing
    if not isinstance(code, type | FunctionType):
        raise _refusal(thing, f"it is a {type(thing).__name__}")
    path, root = _file_of(code), root.resolve()
    if path.is_relative_to(root) and "site-packages" not in path.relative_to(root).parts:
        return _code_of_project(code, path, root)
    return _code_of_library(code, path)


def _code_of_project(code: type | FunctionType, path: Path, root: Path) -> CodeHash:
    if "<locals>" in code.__qualname__:
        raise _refusal(code, "it is made inside a function, whose values its source does not show")
    if code.__name__ == "<lambda>":
        text = _text_of_lambda(code, path)
        start, names = normalised(text), global_names(text)
    else:
        start, names = code.__qualname__, {code.__qualname__.partition(".")[0]}
        if not any(names <= statement.binds for statement in statements_of(path)):
            raise _refusal(code, f"{path.name} binds no such name at its top level")
    reached = reach(root, path, names)
    own, libraries = _outside(reached.outside)
    document = {"start": start, "pieces": reached.pieces, "aliases": reached.aliases, "sterling": own}
    return CodeHash(name=f"{module_name(root, path)}.{code.__qualname__}", sha256=digest(document), libraries=libraries)


def _code_of_library(code: type | FunctionType, path: Path) -> CodeHash:
    name = f"{code.__module__}.{code.__qualname__}"
    if path.is_relative_to(_OURS):
        return CodeHash(name=name, sha256=source_of_module_closure(code.__module__), libraries={})
    return CodeHash(name=name, sha256=digest(name), libraries=_libraries_of(code.__module__.partition(".")[0]))


def _file_of(code: type | FunctionType) -> Path:
    """The file that a function or a class was read from: for a class its module says it, or else its methods do."""
    module = sys.modules.get(code.__module__) if isinstance(code, type) else None
    parts = vars(code).values() if isinstance(code, type) else [code]
    files = [part.__code__.co_filename for part in parts if isinstance(part, FunctionType)]
    for file in [getattr(module, "__file__", None), *files]:
        if file and Path(file).is_file():
            return Path(file).resolve()
    raise _refusal(code, "it has no source file")


def _text_of_lambda(code: type | FunctionType, path: Path) -> str:
    found = lambdas_at(path, inspect.unwrap(code).__code__.co_firstlineno) if isinstance(code, FunctionType) else []
    if len(found) != 1:
        raise _refusal(code, f"{len(found)} lambdas start on its line of {path.name}")
    return found[0]


def _outside(imports: Iterable[Import]) -> tuple[dict[str, str], dict[str, str]]:
    """Hashes of the modules of Sterling's own that are imported, and versions of everything else."""
    own, libraries = dict[str, str](), dict[str, str]()
    for imported in imports:
        top, found = imported.module.partition(".")[0], _own_name(imported)
        if found == _OURS.name:  # it leads to everything, of which a project's code uses little
            libraries |= {_DISTRIBUTION: _version_if_any(_DISTRIBUTION)}
        elif found:
            own[found] = source_of_module_closure(found)
        elif top not in sys.stdlib_module_names:
            libraries |= _libraries_of(top)
    return own, dict(sorted(libraries.items()))


@cache
def _own_source(name: str) -> tuple[str, frozenset[str]]:
    """Hash of a module, and the names of Sterling's own that it imports."""
    file = _own_files().get(name) or _other_file(name)
    data = file.read_bytes()
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    imported = {_own_name(one) for one in imports_in(_import_statements(data), package)}
    return hashlib.sha256(data).hexdigest(), frozenset(own for own in imported if own)


def _import_statements(data: bytes) -> list[ast.stmt]:
    """The statements of a file that import something of Sterling's own.

    They are parsed without the rest of the file, since that takes a tenth of the time.
    """
    return ast.parse(b"\n".join(_OWN_IMPORT.findall(data))).body


def _own_name(imported: Import) -> str | None:
    """The module of Sterling's own that is imported, None where it is somebody else's."""
    known = _own_files()
    return next((name for name in (f"{imported.module}.{imported.name}", imported.module) if name in known), None)


def _other_file(name: str) -> Path:
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or not file.endswith(".py"):
        raise InvalidDefinitionError(f"There is no source of the module {name!r}. {nearest(name, _own_files())}")
    return Path(file)


@cache
def _own_files() -> dict[str, Path]:
    """Sterling's own modules and where they lie."""
    return {module_name(_OURS.parent, file): file for file in sorted(_OURS.rglob("*.py"))}


@cache
def _libraries_of(module: str) -> dict[str, str]:
    """Installed versions of the distributions that supply a top-level module."""
    if (version := _version_if_any(module)) != _ABSENT:
        return {module: version}
    if supplied_by := _distributions().get(module):
        return {name: _version_if_any(name) for name in sorted(set(supplied_by))}
    if find_spec(module) is None:
        return {module: _ABSENT}
    raise InvalidDefinitionError(
        f"The module {module!r} is neither in the project's folder nor part of an installed distribution, so that "
        "changes to it could not be seen. Move it into the folder, or install it with pip."
    )


@cache
def _version_if_any(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return _ABSENT


@cache
def _distributions() -> dict[str, list[str]]:
    """Distributions by the modules that they supply; slow, and needed only where the names differ."""
    return dict(metadata.packages_distributions())


def _refusal(thing: object, reason: str) -> InvalidDefinitionError:
    name = getattr(thing, "__qualname__", None) or repr(thing)
    return InvalidDefinitionError(
        f"The code of {name} has no identity that could be recorded: {reason}. Write it as a `def` or a `class` at the "
        "top level of project.py or of a file beside it; decorators keep its name with functools.wraps."
    )
