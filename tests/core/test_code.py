"""The identity of code: what changes it, and what does not."""

from __future__ import annotations

import ast
import functools
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression

import sterling
from sterling.core.code import CodeHash, _own_source, code_of, library_versions, source_of_module_closure
from sterling.core.errors import InvalidDefinitionError, MissingExtraError, SterlingError
from sterling.core.evidence import Evidence
from sterling.core.source import imports_in, normalised

PROJECT = """
import json
import numpy as np
from lib import helper
import other

LIMIT = 3
LIMITS = {"a": 1}
LIMITS["b"] = 2
UNRELATED = 5

class Base:
    rate = LIMIT

class Trainer(Base):
    def fit(self, x):
        return shared(x) + np.sum(x)

def shared(x):
    return json.dumps(LIMITS) and helper.f(x)

def alone(x):
    return x + 1

def lazy(x):
    import other
    return other.g(x)

square = lambda row: row * LIMIT
pair = (lambda a: a, lambda b: b)

def factory(n):
    def inner(x):
        return x + n
    return inner

made = factory(3)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "__init__.py").write_text("")
    (tmp_path / "lib" / "helper.py").write_text("from . import deep\n\ndef f(x):\n    return deep.value\n")
    (tmp_path / "lib" / "deep.py").write_text("value = 1\n")
    (tmp_path / "other.py").write_text("def g(x):\n    return x\n")
    (tmp_path / "project.py").write_text(PROJECT)
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))


def load(folder: Path) -> Any:
    for name in [name for name in sys.modules if name.partition(".")[0] in {"project", "lib", "other"}]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location("project", folder / "project.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["project"] = module
    exec(compile((folder / "project.py").read_text(), folder / "project.py", "exec"), module.__dict__)
    return module


def code(folder: Path, name: str) -> CodeHash:
    return code_of(getattr(load(folder), name), folder)


def changed_by(folder: Path, name: str, edit: Callable[[str], str], file: str = "project.py") -> bool:
    before, text = code(folder, name), (folder / file).read_text()
    assert edit(text) != text
    (folder / file).write_text(edit(text))
    return code(folder, name) != before


@pytest.mark.parametrize(
    ("name", "old", "new", "file"),
    [
        ("Trainer", "return shared(x) +", "return shared(x) -", "project.py"),
        ("Trainer", "and helper.f(x)", "or helper.f(x)", "project.py"),
        ("Trainer", "rate = LIMIT", "rate = LIMIT + 1", "project.py"),
        ("Trainer", "LIMIT = 3", "LIMIT = 4", "project.py"),
        ("Trainer", 'LIMITS["b"] = 2', 'LIMITS["b"] = 3', "project.py"),
        ("Trainer", "return deep.value", "return deep.value + 1", "lib/helper.py"),
        ("Trainer", "value = 1", "value = 2", "lib/deep.py"),
        ("lazy", "return x", "return -x", "other.py"),
        ("square", "row * LIMIT", "row + LIMIT", "project.py"),
        ("square", "LIMIT = 3", "LIMIT = 4", "project.py"),
        ("Trainer", "from lib import helper", "from lib import deep as helper", "project.py"),
    ],
)
def test_code_changes_with_whatever_it_reaches(folder: Path, name: str, old: str, new: str, file: str) -> None:
    assert changed_by(folder, name, lambda text: text.replace(old, new, 1), file)


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("Trainer", lambda text: text.replace("UNRELATED = 5", "UNRELATED = 6")),
        ("Trainer", lambda text: text.replace("return x + 1", "return x + 2")),
        ("Trainer", lambda text: text.replace("import other\n", "import other\nimport decimal\n", 1)),
        ("Trainer", lambda text: text.replace("LIMIT = 3", "LIMIT  =  3  # the most\n\n")),
        ("Trainer", lambda text: text.replace("    ", "\t")),
        ("Trainer", lambda text: text.replace("\n", "\r\n")),
        ("Trainer", lambda text: "# Copyright\n\n" + text),
        ("alone", lambda text: text.replace("LIMIT = 3", "LIMIT = 4")),
        ("square", lambda text: text.replace("return shared(x)", "return -shared(x)")),
        ("square", lambda text: text.replace("row * LIMIT", "row*LIMIT  # area")),
    ],
)
def test_code_does_not_change_with_layout_or_with_the_rest_of_the_file(
    folder: Path, name: str, edit: Callable[[str], str]
) -> None:
    assert not changed_by(folder, name, edit)


def test_code_of_another_file_of_the_folder_that_is_not_imported_does_not_count(folder: Path) -> None:
    assert not changed_by(folder, "Trainer", lambda text: text.replace("return x", "return -x"), "other.py")


def test_code_says_where_it_stands_and_which_libraries_it_uses(folder: Path) -> None:
    found = code(folder, "Trainer")
    assert (found["name"], found["libraries"]) == ("project.Trainer", {"numpy": metadata.version("numpy")})
    assert len(found["sha256"]) == 64
    assert code(folder, "alone")["libraries"] == {}


def test_code_is_the_same_wherever_the_folder_lies(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    here, moved = code(folder, "Trainer"), tmp_path_factory.mktemp("elsewhere") / "flights"
    folder.rename(moved)
    sys.path.insert(0, str(moved))
    assert code(moved, "Trainer") == here
    sys.path.remove(str(moved))
    moved.rename(folder)


def write(folder: Path, text: str) -> Any:
    (folder / "project.py").write_text(dedent(text))
    return load(folder)


def test_a_library_whose_module_has_another_name_is_named_as_pip_knows_it(folder: Path) -> None:
    project = write(folder, "from sklearn.linear_model import Ridge\n\nclass Mine(Ridge):\n    pass\n")
    assert code_of(project.Mine, folder)["libraries"] == {"scikit-learn": metadata.version("scikit-learn")}


def test_an_import_that_finds_nothing_is_recorded_as_absent(folder: Path) -> None:
    project = write(
        folder,
        """
        try:
            import no_such_library as fast
        except ImportError:
            fast = None

        def f(x):
            return fast or x
        """,
    )
    assert code_of(project.f, folder)["libraries"] == {"no_such_library": "absent"}


def test_imports_for_type_checkers_alone_do_not_count(folder: Path) -> None:
    project = write(
        folder,
        """
        from typing import TYPE_CHECKING

        if TYPE_CHECKING:
            import polars

        def f(x: "polars.Series"):
            return x
        """,
    )
    assert code_of(project.f, folder)["libraries"] == {}


def test_names_that_a_star_imports_are_followed(folder: Path) -> None:
    (folder / "project.py").write_text("from other import *\n\ndef f(x):\n    return g(x)\n")
    assert changed_by(folder, "f", lambda text: text.replace("return x", "return -x"), "other.py")


def test_statements_that_share_a_line_count_together(folder: Path) -> None:
    (folder / "project.py").write_text("a = 1; b = [\n  2]\n\ndef f():\n    return b\n")
    assert changed_by(folder, "f", lambda text: text.replace("a = 1", "a = 2"))


def test_files_that_import_each_other_come_to_an_end(folder: Path) -> None:
    (folder / "other.py").write_text("def g(x):\n    import project\n    return project.f\n")
    project = write(folder, "import other\n\ndef f(x):\n    return other.g(x)\n")
    assert code_of(project.f, folder) == code_of(project.f, folder)


def test_a_module_of_sterling_that_is_imported_counts_by_its_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write(folder, "from sterling.core import refs\n\ndef f(x):\n    return refs.ref_of(x)\n")
    before = code_of(project.f, folder)
    monkeypatch.setattr("sterling.core.code.source_of_module_closure", lambda name: f"another {name}")
    assert before["libraries"] == {}
    assert code_of(project.f, folder) != before


def test_sterling_itself_counts_by_its_version(folder: Path) -> None:
    project = write(folder, "import sterling as sl\n\ndef f(x):\n    return sl\n")
    assert list(code_of(project.f, folder)["libraries"]) == ["sterling-ml"]


def test_a_class_of_a_library_is_its_name_and_its_version(folder: Path) -> None:
    found = code_of(LogisticRegression, folder)
    assert found["name"] == "sklearn.linear_model._logistic.LogisticRegression"
    assert found["libraries"] == {"scikit-learn": metadata.version("scikit-learn")}


def test_a_class_of_sterling_is_its_source(folder: Path) -> None:
    assert code_of(Evidence, folder)["sha256"] == source_of_module_closure("sterling.core.evidence")


def test_a_decorated_function_that_keeps_its_name_is_supported(folder: Path) -> None:
    (folder / "project.py").write_text(
        "import functools\n\n\ndef loud(f):\n    @functools.wraps(f)\n    def inner(x):\n        return f(x)\n    return inner\n"
        "\n\n@loud\ndef f(x):\n    return x\n"
    )
    assert changed_by(folder, "f", lambda text: text.replace("return f(x)", "return -f(x)"))


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (lambda project: functools.partial(project.alone, 1), "it is a partial"),
        (lambda project: project.Trainer(), "it is a Trainer"),
        (lambda project: project.Trainer().fit, "it is a method"),
        (lambda project: math.sqrt, "it is a builtin_function_or_method"),
        (lambda project: dict, "it has no source file"),
        (lambda project: eval("lambda x: x"), "it has no source file"),
        (lambda project: project.made, "it is made inside a function, whose values its source does not show"),
        (lambda project: project.pair[0], "2 lambdas start on its line of project.py"),
        (lambda project: type("Made", (project.Base,), {"fit": project.alone}), "binds no such name"),
    ],
)
def test_what_has_no_source_is_refused_with_what_would_work(
    folder: Path, thing: Callable[[Any], object], reason: str
) -> None:
    project = load(folder)
    made = thing(project)
    if isinstance(made, type) and made.__name__ == "Made":
        made.__module__ = "project"
    with pytest.raises(InvalidDefinitionError, match=f"{reason}.*Write it as a `def` or a `class` at the top level"):
        code_of(made, folder)


def test_code_outside_of_the_folder_and_of_all_libraries_is_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "stray_module.py").write_text("def f(x):\n    return x\n")
    monkeypatch.syspath_prepend(elsewhere)
    project = write(folder, "import stray_module\n\ndef g(x):\n    return stray_module.f(x)\n")
    with pytest.raises(InvalidDefinitionError, match=r"'stray_module' is neither in the project's folder nor part of"):
        code_of(project.g, folder)
    with pytest.raises(InvalidDefinitionError, match=r"Move it into the folder, or install it with pip"):
        code_of(project.stray_module.f, folder)


def test_normalised_code_keeps_what_acts() -> None:
    assert normalised("if a:\n  b\nc") == normalised("if a:\n\n        b  # why\nc\n")
    assert normalised("if a:\n  b\nc") != normalised("if a:\n  b\n  c")
    assert normalised("f'{x} # no comment'") != normalised("f'{x} # a comment'")
    assert normalised("'a b'") != normalised("'ab'")


def test_the_closure_of_a_module_is_that_of_all_import_statements() -> None:
    root = Path(sterling.__file__).parent
    for path in sorted((root / "core").glob("*.py")):
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        modules = {one.module for one in imports_in(ast.parse(path.read_bytes()).body, package)}
        assert set(_own_source(name)[1]) == {module for module in modules if module.startswith("sterling.")}, name


def test_a_second_look_at_a_closure_is_free() -> None:
    first = source_of_module_closure("sterling.core.verify")
    start = time.perf_counter()
    assert all(source_of_module_closure("sterling.core.verify") == first for _ in range(100))
    assert time.perf_counter() - start < 0.01


def test_closures_of_unlike_modules_differ_and_an_unknown_module_is_named() -> None:
    assert source_of_module_closure("sterling.core.refs") != source_of_module_closure("sterling.core.errors")
    with pytest.raises(
        SterlingError, match=r"no source of the module 'sterling.core.ref'. Did you mean 'sterling.core.refs'"
    ):
        source_of_module_closure("sterling.core.ref")


def test_versions_of_libraries_are_those_that_are_installed() -> None:
    assert library_versions(["numpy", "hypothesis", "numpy"]) == {
        "hypothesis": metadata.version("hypothesis"),
        "numpy": metadata.version("numpy"),
    }
    with pytest.raises(
        MissingExtraError, match=r"Not installed: no-such-thing. Install with: pip install no-such-thing"
    ):
        library_versions(["numpy", "no-such-thing"])
