"""Studies and what they name are checked when a project is built."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sterling.core.errors import InvalidDefinitionError
from sterling.project import gates, studies
from sterling.project.behaviour import behaviour_title
from sterling.project.perturbations import perturbation_title
from sterling.project.project import Project
from sterling.project.studies import DEFAULTS, parts_of, studied
from tests.views.ledger import project


def with_(**changed: Any) -> Project:
    return msgspec.structs.replace(project(), **changed)


def test_a_project_names_what_is_not_usual_and_the_rest_stays() -> None:
    found = studied(with_(studies=[studies.Errors(mistakes=5), studies.Ablation()]).studies)
    assert found[studies.Errors] == studies.Errors(mistakes=5)
    assert len(found) == len(DEFAULTS) + 1


def test_parts_are_sources_views_and_features() -> None:
    parts = parts_of(project().features)
    assert parts["weather"] == ("weather_wind_speed", "weather_visib")
    assert parts["arrivals"] == parts["origin_delay"] == (
        "origin_delay_mean_arr_delay_1h", "origin_delay_mean_arr_delay_6h", "origin_delay_count_6h",
    )  # fmt: skip
    assert parts["schedule"] == ("carrier", "distance", "overdue_pending_4h")
    assert parts["dep_hour"] == ("dep_hour",)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"studies": [studies.Slices(features=["carier"])]},
            "Slices.features: 'carier' is not known. Did you mean 'carrier'",
        ),
        (
            {"studies": [studies.Ablation(without=["wether"])]},
            "Ablation.without: 'wether' is not known. Did you mean 'weather'",
        ),
        ({"studies": [studies.Robustness(under=[studies.Missing("x")])]}, "Missing.of: 'x' is not known"),
        ({"studies": [studies.Behaviour([studies.Rises("x", by=1)])]}, "Rises.feature: 'x' is not known"),
        ({"studies": [studies.Errors(), studies.Errors()]}, "Project.studies has two Errors"),
        ({"studies": [studies.Flips(tolerance=0.1)]}, "Flips.tolerance is of numbers, and Project.task is Binary"),
        ({"gates": [gates.Behaves()]}, "A Behaves gate has nothing to judge"),
        ({"gates": [gates.Robust("roc_auc", 0.1, [studies.Scaled("y", by=2)])]}, "Scaled.of: 'y' is not known"),
    ],
)
def test_what_a_project_does_not_have_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=message.replace("[", r"\[")):
        with_(**changed)


@pytest.mark.parametrize(
    "build",
    [
        lambda: studies.Errors(mistakes=0), lambda: studies.Importance(predictions=0), lambda: studies.Flips(moved=0), lambda: studies.Flips(tolerance=-1.0),
        lambda: studies.Robustness(predictions=0), studies.Behaviour, lambda: studies.LearningCurve(shares=[1.0]),
        lambda: studies.LearningCurve(shares=[]), lambda: studies.Staleness(ages=[]), lambda: studies.Staleness(ages=["soon"]),
        lambda: studies.Noise(share=0), lambda: studies.Scaled("a", by=1), lambda: studies.OutOfRange(times=1),
        lambda: studies.Rises("a", by=0), lambda: studies.Falls("a", by=-1), lambda: studies.Invariant("a", within=-0.1),
        lambda: studies.Scores("a > 1"), lambda: gates.Robust("ece", 0.1, []), lambda: gates.Robust("ece", 0, [studies.Noise()]),
        lambda: gates.Behaves(1.0), lambda: gates.FewFlips(0.0),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(build: Any) -> None:
    with pytest.raises(InvalidDefinitionError):
        build()


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (studies.Missing("weather"), "weather missing"),
        (studies.Noise("weather", share=0.2), "20 % noise in weather"),
        (studies.OutOfRange(), "all numbers at 10 times the largest"),
        (studies.Unseen("carrier"), "unseen values in carrier"),
    ],
)
def test_a_perturbation_has_a_title(one: Any, expected: str) -> None:
    assert perturbation_title(one) == expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (studies.Invariant("carrier"), "is the same when carrier changes"),
        (studies.Invariant("carrier", to=["AA", None], within=0.1), "is the same within 0.1 when carrier = AA, None"),
        (studies.Falls("visib", by=2, within=0.01), "does not rise by more than 0.01 when visib + 2"),
        (studies.Scores("wind > 40", at_least=0.3, at_most=0.9), "is at least 0.3 and at most 0.9 where wind > 40"),
    ],
)
def test_a_behavioural_test_has_a_title(one: Any, expected: str) -> None:
    assert behaviour_title(one) == expected
