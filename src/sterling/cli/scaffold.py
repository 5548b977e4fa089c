"""Make a project from a template that the package ships."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from sterling.core.errors import InvalidDefinitionError, nearest
from sterling.project.project import PROJECT_NAME

_PLACEHOLDER = "__NAME__"
_GENERATOR = "make_data.py"


def scaffold(name: str, template: str) -> Path:
    """Copy a template into a new folder of the project's name, and make its data; all of it or nothing.

    Args:
        name: Name of the project and of its folder.
        template: Name of a template.

    Raises:
        InvalidDefinitionError: if the name cannot be a project's, the folder exists, or there is no such template.
    """
    if not PROJECT_NAME.fullmatch(name):
        raise InvalidDefinitionError(
            f"A project cannot be named {name!r}. Use small letters, digits and -, a letter first."
        )
    folder = Path(name)
    if folder.exists():
        raise InvalidDefinitionError(f"{folder} exists already. Name another folder, or remove it.")
    with (
        as_file(files("sterling") / "templates") as shelf,
        tempfile.TemporaryDirectory(dir=".", prefix=".new-") as scratch,
    ):
        known = [path.name for path in shelf.iterdir() if path.is_dir() and not path.name.startswith("_")]
        if template not in known:
            raise InvalidDefinitionError(f"There is no template {template!r}. {nearest(template, known)}")
        made = Path(scratch) / name
        shutil.copytree(shelf / template, made, ignore=shutil.ignore_patterns("__pycache__"))
        for path in made.rglob("*"):
            if path.suffix in {".py", ".md"}:
                text = path.read_text(encoding="utf-8")
                path.write_text(text.replace(_PLACEHOLDER, name), encoding="utf-8")
        if (made / _GENERATOR).exists():
            subprocess.run([sys.executable, "-B", _GENERATOR], cwd=made, check=True)
        made.rename(folder)
    return folder
