"""What a piece of a project's code reaches by name: statement by statement in its own file, file by file beyond."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sterling.core.source import Import, Statement, global_names, imports_in, normalised, statements_of


class Reached(NamedTuple):
    """What was reached.

    Attributes:
        pieces: By module, the code that acts, in the order of the file, without its layout.
        aliases: By module, the imported names that are used, each as ``name=module:attribute``.
        outside: What is imported from elsewhere than the folder.
    """

    pieces: dict[str, list[str]]
    aliases: dict[str, list[str]]
    outside: frozenset[Import]


def reach(root: Path, path: Path, names: Iterable[str]) -> Reached:
    """Follow names of a file to all that they rest on in a folder.

    Args:
        root: The folder.
        path: A file in it.
        names: Names that the file binds; those that it does not bind are builtins, and rest on nothing.
    """
    walk = _Walk(root)
    walk.open_ends.extend((path, name) for name in names)
    for file, name in walk.open_ends:  # grows while it is walked
        walk.visit(file, name)
    return Reached(
        {module_name(root, file): walk.code(file) for file in walk.taken},
        {module_name(root, file): sorted(aliases) for file, aliases in walk.aliases.items()},
        frozenset(walk.outside),
    )


def module_name(root: Path, path: Path) -> str:
    """The name under which a file of a folder is imported from there.

    Example:
        >>> module_name(Path("/flights"), Path("/flights/models/trees.py"))
        'models.trees'
    """
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class _Walk:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._visited: set[tuple[Path, str | None]] = set()
        self.open_ends: list[tuple[Path, str | None]] = []  # a file and a name in it, or None for all of the file
        self.taken: defaultdict[Path, set[int]] = defaultdict(set)
        self.aliases: defaultdict[Path, set[str]] = defaultdict(set)
        self.outside: set[Import] = set()

    def visit(self, path: Path, name: str | None) -> None:
        if (path, name) in self._visited:
            return
        self._visited.add((path, name))
        for index, statement in enumerate(statements_of(path)):
            if name is None or name in statement.binds:
                self._take(path, index, statement, name)
            elif "*" in statement.binds:
                self._follow_imports(path, statement.nodes)

    def code(self, path: Path) -> list[str]:
        statements = statements_of(path)
        return [normalised(statements[index].text) for index in sorted(self.taken[path])]

    def _take(self, path: Path, index: int, statement: Statement, name: str | None) -> None:
        if name is not None and (alias := _alias(statement, name)):
            self._follow_imports(path, [alias])
            self.aliases[path].add(f"{name}={ast.unparse(alias)}")
        elif index not in self.taken[path]:
            self.taken[path].add(index)
            self.open_ends.extend((path, used) for used in global_names(statement.text))
            self._follow_imports(path, statement.nodes)

    def _follow_imports(self, path: Path, nodes: Iterable[ast.stmt]) -> None:
        for imported in imports_in(nodes, self._package(path)):
            files = self._files_of(imported)
            self.open_ends.extend((file, None) for file in files)
            if not files:
                self.outside.add(imported)

    def _package(self, path: Path) -> str:
        name = module_name(self._root, path)
        return name if path.name == "__init__.py" else name.rpartition(".")[0]

    def _files_of(self, imported: Import) -> list[Path]:
        """The file that is imported, and those of the packages around it; none where it is not the folder's."""
        for dotted in (f"{imported.module}.{imported.name}".strip("."), imported.module):
            place = self._root.joinpath(*dotted.split("."))
            for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
                if file != self._root / "__init__.py" and file.is_file():
                    above = [folder / "__init__.py" for folder in place.parents if folder.is_relative_to(self._root)]
                    return [file, *(init for init in above if init.is_file() and init.parent != self._root)]
        return []


def _alias(statement: Statement, name: str) -> ast.Import | ast.ImportFrom | None:
    """The part of an import statement that binds a name; None where the statement does more than import."""
    if len(statement.nodes) != 1 or not isinstance(statement.nodes[0], ast.Import | ast.ImportFrom):
        return None
    node = statement.nodes[0]
    names = [alias for alias in node.names if (alias.asname or alias.name).partition(".")[0] == name]
    if isinstance(node, ast.Import):
        return ast.Import(names=names)
    return ast.ImportFrom(module=node.module, names=names, level=node.level)
