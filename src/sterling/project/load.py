"""Load a project file, and say by one hash what it, its SQL, its code and its examples want."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sterling.core.canonical import digest
from sterling.core.code import code_of
from sterling.core.errors import InvalidDefinitionError, SterlingError
from sterling.core.refs import ref_of_file
from sterling.project.definition import to_json
from sterling.project.features import OnDemand
from sterling.project.gates import Golden
from sterling.project.project import Project
from sterling.project.recipe import Custom, Trainer
from sterling.project.sources import External, Query, locator_of
from sterling.project.sql import normalized
from sterling.project.studies import Behaviour

FILE = "project.py"
_OF_PROJECTS: set[str] = set()
"""Modules of the project that was loaded last: another project's of the same name must not be taken for them."""


def load_project(folder: Path) -> Project:
    """The project that ``project.py`` in a folder defines.

    Raises:
        InvalidDefinitionError: if there is no such file, if it raises, or if it defines no project, or several.
    """
    path = folder / FILE
    if not path.is_file():
        raise InvalidDefinitionError(
            f"No {FILE} in {folder.resolve()}. Make a project with `sterling new NAME`, or name its folder with --project."
        )
    found = {id(value): value for value in vars(_execute(path)).values() if isinstance(value, Project)}
    if len(found) != 1:
        what = "no Project" if not found else f"{len(found)} projects"
        raise InvalidDefinitionError(f"{path} defines {what}. It defines one: project = sl.Project(…).")
    return next(iter(found.values()))


def define(project: Project, folder: Path) -> dict[str, Any]:
    """Everything that the project wants, as JSON: its fields, its SQL without comments, its code, its examples.

    Raises:
        InvalidDefinitionError: if a file that it names does not exist.
    """
    return {
        "project": to_json(project),
        "sql": {query.file: digest(normalized(read_text(folder, query.file))) for query in queries(project)},
        "files": {file: ref_of_file(existing(folder, file)) for file in example_files(project)},
        "code": [code for thing in (*trainers(project), *on_demand(project)) for code in supplied_code(thing, folder)],
    }


def example_files(project: Project) -> tuple[str, ...]:
    """Files with golden examples and behavioural tests, each once."""
    golden = [gate.file for gate in project.gates if isinstance(gate, Golden)]
    behaviour = [study.file for study in project.studies if isinstance(study, Behaviour) and study.file]
    return tuple(dict.fromkeys([*golden, *behaviour]))


def queries(project: Project) -> tuple[Query, ...]:
    """The preparation queries of the project's sources, each once."""
    tables = (source.table for source in project.sources().values())
    return tuple({table.file: table for table in tables if isinstance(table, Query)}.values())


def external(project: Project) -> tuple[External, ...]:
    """The files that the project reads where they lie."""
    return tuple(dict.fromkeys(file for file in _given(project) if isinstance(file, External)))


def raw_files(project: Project) -> tuple[str, ...]:
    """Locators of the files and folders that the project's tables are read from, each once."""
    return tuple(dict.fromkeys(map(locator_of, _given(project))))


def _given(project: Project) -> Iterator[str | External]:
    for source in project.sources().values():
        table = source.table
        yield from table.inputs if isinstance(table, Query) else [table]


def trainers(project: Project) -> tuple[Trainer, ...]:
    """The candidate and the baselines."""
    return project.recipe.trainers(project.task)


def on_demand(project: Project) -> tuple[OnDemand, ...]:
    """The features that functions of the project compute."""
    return tuple(item for item in project.features.features if isinstance(item, OnDemand))


def supplied_code(thing: Trainer | OnDemand, folder: Path) -> tuple[Any, ...]:
    """Hash of the code that the project supplies for a trainer or a feature, none for Sterling's own."""
    match thing:
        case Custom():
            return (code_of(type(thing.trainer), folder),)
        case OnDemand():
            return (code_of(thing.function, folder),)
        case _:
            return ()


def existing(folder: Path, name: str) -> Path:
    """A file of the project.

    Raises:
        InvalidDefinitionError: if it does not exist.
    """
    path = folder / name
    if not path.is_file():
        raise InvalidDefinitionError(f"The project names the file {name!r}, and {path.resolve()} does not exist.")
    return path


def read_text(folder: Path, name: str) -> str:
    """Text of a file of the project."""
    return existing(folder, name).read_text(encoding="utf-8")


def _execute(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("project", path)
    if spec is None or spec.loader is None:
        raise InvalidDefinitionError(f"{path} cannot be read as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["project"] = module
    with _importing_from(path.parent):
        try:
            spec.loader.exec_module(module)
        except SterlingError as error:
            raise type(error)(f"{_place(error, path)}{error}") from error
        except (Exception, SystemExit) as error:
            raise InvalidDefinitionError(f"{_place(error, path)}{type(error).__name__}: {error}") from error
    return module


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Imports see the project's own modules, and leave no byte code beside them."""
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    home = str(folder.resolve())
    for name in _OF_PROJECTS:
        sys.modules.pop(name, None)
    _OF_PROJECTS.clear()
    before = set(sys.modules)
    sys.path.insert(0, home)
    try:
        yield
    finally:
        sys.path.remove(home)
        sys.dont_write_bytecode = writes
        new = {name: getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - before}
        _OF_PROJECTS.update(name for name, file in new.items() if Path(home) in Path(file).parents)


def _place(error: BaseException, path: Path) -> str:
    """Where in the project file the error arose: ``project.py:12: ``."""
    if isinstance(error, SyntaxError):
        return f"{path.name}:{error.lineno}: "
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path.resolve()
    ]
    return f"{path.name}:{lines[-1]}: " if lines else ""
