"""Imports run one way, as ARCHITECTURE.md says; an exception stands here by name, with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "sterling"
MAY_IMPORT = {
    "core": set(),
    "project": {"core"},
    "stats": set(),
    "engine": {"project", "core", "stats"},
    "models": {"project", "core", "stats", "engine"},
    "tasks": {"project", "core", "stats"},
    "features": {"project", "core", "stats", "engine"},
    "stages": {"engine", "features", "tasks", "models", "stats", "project", "core"},
    "decisions": {"views", "project", "core", "stats"},
    "views": {"project", "core", "stats"},
    "runner": {"stages", "decisions", "views", "project", "core"},
    "lifecycle": {
        "runner",
        "serving",
        "engine",
        "features",
        "models",
        "stages",
        "decisions",
        "views",
        "project",
        "core",
    },
    "reproduction": {"engine", "models", "stages", "decisions", "views", "project", "core"},
    "standalone": {"engine", "models", "tasks", "decisions", "views", "project", "core"},
    "erasure": {"engine", "stages", "models", "decisions", "views", "project", "core"},
    "serving": {"decisions", "views", "tasks", "models", "features", "stats", "engine", "project", "core"},
    "scoring": {
        "lifecycle",
        "runner",
        "serving",
        "stages",
        "engine",
        "features",
        "tasks",
        "models",
        "decisions",
        "views",
        "project",
        "core",
    },
    "testing": {"core", "project", "stages", "engine", "features", "decisions", "views", "runner"},
    "adapters": {"core"},
    "cli": {
        "lifecycle",
        "reproduction",
        "standalone",
        "erasure",
        "features",
        "runner",
        "scoring",
        "serving",
        "stages",
        "engine",
        "decisions",
        "views",
        "models",
        "project",
        "core",
    },
}
EXCEPTIONS = {("project", "project.py", "lifecycle"): "Project.run is the one door from a definition to its run"}
THIRD_PARTY = {
    "core": {"cryptography", "msgspec"},
    "stats": {"numpy", "scipy"},
    "project": {"msgspec", "sqlglot"},
    "decisions": set(),
}
STANDARD = set(__import__("sys").stdlib_module_names)


def files(layer: str) -> list[Path]:
    module = ROOT / f"{layer}.py"
    return [module] if module.exists() else sorted((ROOT / layer).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Modules that a file imports, as parts; what only type checkers see is not imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [(node.module, alias.name) for alias in node.names]
            yield from (tuple(".".join(name).split(".")) for name in names)


def test_every_module_belongs_to_a_layer() -> None:
    found = {path.name.removesuffix(".py") for path in ROOT.iterdir() if not path.name.startswith("__")}
    assert found - {"examples", "templates", "py.typed"} == set(MAY_IMPORT)


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT))
def test_a_layer_sees_only_what_is_below_it(layer: str) -> None:
    allowed = MAY_IMPORT[layer] | {layer}
    wrong = {
        f"{path.relative_to(ROOT)} imports sterling.{parts[1]}"
        for path in files(layer)
        for parts in imported(path)
        if parts[0] == "sterling" and parts[1] not in allowed and (layer, path.name, parts[1]) not in EXCEPTIONS
    }
    assert not wrong


@pytest.mark.parametrize("layer", sorted(THIRD_PARTY))
def test_a_layer_that_must_stay_light_uses_only_the_libraries_that_it_is_granted(layer: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {parts[0]}"
        for path in files(layer)
        for parts in imported(path)
        if parts[0] not in STANDARD | {"sterling"} | THIRD_PARTY[layer]
    }
    assert not wrong


def test_only_signing_uses_cryptography_in_the_core() -> None:
    using = {path.name for path in files("core") for parts in imported(path) if parts[0] == "cryptography"}
    assert using == {"signing.py"}
