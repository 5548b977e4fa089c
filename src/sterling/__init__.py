"""Sterling runs the whole life of a production model and can prove every claim that it makes about it.

A project file imports this module as ``sl``; every name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sterling.project import checks, fallbacks, gates, guardrails, studies
    from sterling.project.aggregates import Count, CountDistinct, Max, Mean, Min, Pending, Sum, Variance
    from sterling.project.external import ExternalModel
    from sterling.project.features import Derived, Expression, FeatureService, FeatureView, First, Last, OnDemand
    from sterling.project.policy import ExpectedValue, Sensitive, Threshold, Top, Value
    from sterling.project.project import Problem, Project
    from sterling.project.recipe import (
        Calibration,
        Custom,
        Ensemble,
        LightGBM,
        Logistic,
        Prior,
        Recipe,
        Ridge,
        Rule,
        ShallowTree,
        Sklearn,
        Tune,
        XGBoost,
    )
    from sterling.project.rollout import Canary, Routing, Shadow
    from sterling.project.sources import Columns, Delay, EntitySource, EventSource, External, Query
    from sterling.project.spine import EventSpine, Holdout, Label, Occurs, ScheduledSpine
    from sterling.project.splits import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit
    from sterling.project.tasks import Binary, Multiclass, Regression

__all__ = [
    "Binary",
    "Calibration",
    "Canary",
    "Columns",
    "Count",
    "CountDistinct",
    "Custom",
    "Delay",
    "Derived",
    "Ensemble",
    "EntitySource",
    "EventSource",
    "EventSpine",
    "ExpectedValue",
    "Expression",
    "External",
    "ExternalModel",
    "FeatureService",
    "FeatureView",
    "First",
    "GroupKFold",
    "Holdout",
    "KFold",
    "Label",
    "Last",
    "LightGBM",
    "Logistic",
    "Max",
    "Mean",
    "Min",
    "Multiclass",
    "Occurs",
    "OnDemand",
    "Pending",
    "Prior",
    "Problem",
    "Project",
    "Quantiles",
    "Query",
    "Recipe",
    "Regression",
    "Ridge",
    "Routing",
    "Rule",
    "ScheduledSpine",
    "Sensitive",
    "Shadow",
    "ShallowTree",
    "Sklearn",
    "StratifiedKFold",
    "Sum",
    "Threshold",
    "TimeSeriesSplit",
    "Top",
    "Tune",
    "Value",
    "Variance",
    "XGBoost",
    "checks",
    "fallbacks",
    "gates",
    "guardrails",
    "studies",
]

_MODULES = {
    "aggregates": ("Count", "CountDistinct", "Max", "Mean", "Min", "Pending", "Sum", "Variance"),
    "external": ("ExternalModel",),
    "features": ("Derived", "Expression", "FeatureService", "FeatureView", "First", "Last", "OnDemand"),
    "policy": ("ExpectedValue", "Sensitive", "Threshold", "Top", "Value"),
    "project": ("Problem", "Project"),
    "recipe": (
        "Calibration",
        "Custom",
        "Ensemble",
        "LightGBM",
        "Logistic",
        "Prior",
        "Recipe",
        "Ridge",
        "Rule",
        "ShallowTree",
        "Sklearn",
        "Tune",
        "XGBoost",
    ),
    "rollout": ("Canary", "Routing", "Shadow"),
    "sources": ("Columns", "Delay", "EntitySource", "EventSource", "External", "Query"),
    "spine": ("EventSpine", "Holdout", "Label", "Occurs", "ScheduledSpine"),
    "splits": ("GroupKFold", "KFold", "StratifiedKFold", "TimeSeriesSplit"),
    "tasks": ("Binary", "Multiclass", "Quantiles", "Regression"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in {"checks", "fallbacks", "gates", "guardrails", "studies"}:
        return import_module(f"sterling.project.{name}")
    if name in _HOME:
        return getattr(import_module(f"sterling.project.{_HOME[name]}"), name)
    raise AttributeError(f"module 'sterling' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
