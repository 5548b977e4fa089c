"""The guides name everything that there is, and every command says what it does."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
import typer

import sterling
from sterling.cli import app
from sterling.project.aggregates import Aggregate
from sterling.project.behaviour import BehaviourTest
from sterling.project.checks import Check
from sterling.project.definition import Definition
from sterling.project.fallbacks import Link, When
from sterling.project.gates import DecisionMetric, Gate, Metric, Rate
from sterling.project.guardrails import Guardrail
from sterling.project.perturbations import Perturbation
from sterling.project.studies import Study

ROOT = Path(__file__).parents[1]
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
DEFINITIONS = (ROOT / "docs" / "project-file.md").read_text(encoding="utf-8")
CLICK = typer.main.get_group(app)


def environment_variables() -> set[str]:
    """Every environment variable of ours that the package reads."""
    texts = (
        node.value
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {text for text in texts if re.fullmatch(r"STERLING_[A-Z_]+|UPDATE_GOLDEN", text)}


@pytest.mark.parametrize("name", sorted(CLICK.commands))
def test_every_command_says_what_it_does_and_stands_in_the_docs(name: str) -> None:
    command = CLICK.commands[name]
    assert (command.help or "").strip().endswith(".")
    heading = f"## sterling {name}\n"
    assert heading in COMMANDS
    section = COMMANDS.partition(heading)[2].partition("\n## ")[0]
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    missing = {option for option in options - {"--project", "--json", "--help"} if f"`{option}" not in section}
    assert not missing


@pytest.mark.parametrize(
    ("group", "name"),
    [(group, name) for group, command in CLICK.commands.items() for name in getattr(command, "commands", ())],
)
def test_every_command_of_a_group_says_what_it_does_and_stands_in_the_docs(group: str, name: str) -> None:
    command = CLICK.commands[group].commands[name]  # type: ignore[attr-defined]
    assert (command.help or "").strip().endswith(".")
    section = COMMANDS.partition(f"## sterling {group}\n")[2].partition("\n## ")[0]
    assert f"sterling {group} {name}" in section
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert not {option for option in options - {"--project", "--json", "--help"} if f"`{option}" not in section}


def test_the_docs_name_no_command_that_there_is_not() -> None:
    assert set(re.findall(r"^## sterling (\S+)$", COMMANDS, re.MULTILINE)) == set(CLICK.commands)


@pytest.mark.parametrize("name", sorted(sterling.__all__))
def test_every_public_name_stands_in_the_docs(name: str) -> None:
    assert f"sl.{name}" in DEFINITIONS


@pytest.mark.parametrize("definition", [*get_args(Gate), *get_args(Check)], ids=lambda kind: kind.__name__)
def test_every_gate_and_check_stands_in_the_docs_with_its_fields(definition: type[Definition]) -> None:
    module = "gates" if definition in get_args(Gate) else "checks"
    lines = [line for line in DEFINITIONS.splitlines() if f"`{module}.{definition.__name__}(" in line]
    assert len(lines) == 1
    assert not {field for field in definition.__struct_fields__ if field not in lines[0]} - {"max_share", "stop"}


@pytest.mark.parametrize("definition", get_args(Guardrail), ids=lambda kind: kind.__name__)
def test_every_guardrail_stands_in_the_docs_with_its_fields(definition: type[Definition]) -> None:
    assert getattr(sterling.guardrails, definition.__name__) is definition
    lines = [line for line in DEFINITIONS.splitlines() if line.startswith(f"| `guardrails.{definition.__name__}(")]
    assert len(lines) == 1
    assert not {field for field in definition.__struct_fields__ if field not in lines[0]}


@pytest.mark.parametrize(
    "definition", [*get_args(Study), *get_args(Perturbation), *get_args(BehaviourTest)], ids=lambda kind: kind.__name__
)
def test_every_study_perturbation_and_behavioural_test_stands_in_the_docs_with_its_fields(
    definition: type[Definition],
) -> None:
    assert getattr(sterling.studies, definition.__name__) is definition
    lines = [line for line in DEFINITIONS.splitlines() if line.startswith(f"| `studies.{definition.__name__}(")]
    assert len(lines) == 1
    assert not {field for field in definition.__struct_fields__ if field not in lines[0]}


@pytest.mark.parametrize("definition", [*get_args(Link), When], ids=lambda kind: kind.__name__)
def test_every_fallback_stands_in_the_docs_with_its_fields(definition: type[Definition]) -> None:
    lines = [line for line in DEFINITIONS.splitlines() if f"fallbacks.{definition.__name__}(" in line]
    assert [line for line in lines if not {field for field in definition.__struct_fields__ if field not in line}]


@pytest.mark.parametrize("metric", [*get_args(Metric), *get_args(DecisionMetric), "selection_rate", *get_args(Rate)])
def test_every_metric_stands_in_the_docs(metric: str) -> None:
    assert f"`{metric}`" in DEFINITIONS


@pytest.mark.parametrize("name", sorted(environment_variables()))
def test_every_environment_variable_stands_in_the_docs(name: str) -> None:
    assert f"`{name}`" in COMMANDS


@pytest.mark.parametrize(
    "name",
    sorted(
        set(sterling.__all__)
        - {"checks", "fallbacks", "gates", "guardrails", "studies", *(kind.__name__ for kind in (*get_args(Gate),))}
    ),
)
def test_every_field_of_a_definition_stands_in_the_docs(name: str) -> None:
    kind = getattr(sterling, name)
    fields = set(kind.__struct_fields__)
    fields -= set(Aggregate.__struct_fields__) if issubclass(kind, Aggregate) else set()
    fields |= set(Aggregate.__struct_fields__) if kind is sterling.FeatureView else set()
    section = DEFINITIONS.partition(f"### `sl.{name}`\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    assert section, f"docs/project-file.md has no section ### `sl.{name}`"
    assert not {field for field in fields if f"`{field}" not in section}


def test_the_project_of_the_readme_can_be_built() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    built: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), built)
    assert isinstance(built["project"], sterling.Project)
