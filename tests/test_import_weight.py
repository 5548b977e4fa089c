"""What starts often starts light: nothing heavy is loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sterling

HEAVY = (
    "numpy",
    "scipy",
    "pyarrow",
    "duckdb",
    "pandas",
    "sklearn",
    "lightgbm",
    "sqlglot",
    "altair",
    "uvicorn",
    "prometheus_client",
)


def loaded(program: str) -> set[str]:
    code = f"import sys\n{program}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "program",
    [
        "import sterling",
        "import sterling as sl; sl.Mean('x', windows=['1h']); sl.gates.AtMost('ece', 0.1)",
        "import sterling.cli.release, sterling.core.workspace, sterling.decisions.rollout",
        "import typer.testing, sterling.cli; typer.testing.CliRunner().invoke(sterling.cli.app, ['--help'])",
        "import typer.testing, sterling.cli; typer.testing.CliRunner().invoke(sterling.cli.app, ['run', '--help'])",
    ],
)
def test_nothing_heavy_is_loaded(program: str) -> None:
    assert not loaded(program) & set(HEAVY)


def test_the_public_surface_is_pinned() -> None:
    assert sterling.__all__ == [
        "Binary", "Calibration", "Canary", "Columns", "Count", "CountDistinct", "Custom", "Delay", "Derived", "Ensemble", "EntitySource", "EventSource", "EventSpine",
        "ExpectedValue", "Expression", "External", "ExternalModel", "FeatureService", "FeatureView", "First", "GroupKFold", "Holdout", "KFold", "Label", "Last", "LightGBM",
        "Logistic", "Max", "Mean", "Min", "Multiclass", "Occurs", "OnDemand", "Pending", "Prior", "Problem", "Project", "Quantiles", "Query", "Recipe", "Regression", "Ridge", "Routing",
        "Rule", "ScheduledSpine", "Sensitive", "Shadow", "ShallowTree", "Sklearn", "StratifiedKFold", "Sum", "Threshold", "TimeSeriesSplit", "Top", "Tune",
        "Value", "Variance", "XGBoost", "checks", "fallbacks", "gates", "guardrails", "studies",
    ]  # fmt: skip


@pytest.mark.parametrize("name", sterling.__all__)
def test_every_public_name_can_be_had_and_says_what_it_is(name: str) -> None:
    assert getattr(sterling, name).__doc__


def test_a_name_that_does_not_exist_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Rollout'"):
        sterling.Rollout  # noqa: B018
