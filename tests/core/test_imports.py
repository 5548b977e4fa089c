"""What the core loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import sterling

PROGRAM = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def test_the_core_loads_nothing_but_the_standard_library_and_the_json_library() -> None:
    modules = [f"sterling.core.{path.stem}" for path in (Path(sterling.__file__).parent / "core").glob("[a-z]*.py")]
    said = subprocess.run([sys.executable, "-c", PROGRAM, *modules], capture_output=True, text=True, check=True).stdout
    assert set(json.loads(said)) - sys.stdlib_module_names - {"typing_extensions"} == {"sterling", "msgspec"}
