from __future__ import annotations

import json

import jsonschema
import msgspec
import pytest

import sterling as sl
from sterling.core.canonical import canonical
from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import essence, to_json
from sterling.project.project import Project
from sterling.project.schema import json_schema
from sterling.project.times import calendar, micros, moment_micros
from tests.project.flights import arrivals, project, schedule


def echo(value: float) -> float:
    return value


def test_a_function_is_json_by_its_name() -> None:
    made = to_json(sl.OnDemand("o", echo, inputs=["a"]))
    assert made["function"] == {"function": f"{__name__}.echo"}


def test_lists_become_tuples_so_that_a_definition_is_frozen_through_and_through() -> None:
    assert sl.Mean("x", windows=["1h"]).windows == ("1h",)


def test_a_definition_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        project.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sl.Mean("x", windows=["1x"]), r"Mean.windows is '1x'. Write a whole number and a unit: s \(seconds\)"),
        (lambda: sl.Mean("x", windows="1h"), r"Mean.windows is '1h'. It takes a list of text"),
        (lambda: sl.Mean("x"), "Mean.windows is empty. Give lengths"),
        (lambda: sl.LightGBM(trees=0), "LightGBM.trees is 0. It is at least 1"),
        (lambda: sl.LightGBM(trees=True), "LightGBM.trees is True. It takes a whole number"),
        (
            lambda: sl.Problem("d", "k", "o", risk="big"),  # type: ignore[arg-type]
            "Problem.risk is 'big'. It takes 'minimal' or 'limited' or 'high'",
        ),
        (lambda: sl.Holdout("2013-10-01", "2013-09-01"), "Holdout starts at 2013-10-01 and ends at 2013-09-01"),
        (lambda: sl.Holdout("soon", "2013-09-01"), "Holdout.start is 'soon'. Write a date such as '2013-09-01'"),
        (lambda: sl.Holdout("2013-09-01", "2013-10-01", tz="New York"), "which is no IANA zone"),
        (lambda: sl.EntitySource("Accounts", "a.csv", entities=["id"], valid_from="since"), "is named 'Accounts'"),
        (lambda: sl.Query("q.sql", ["a/x.csv", "b/x.parquet"]), "Two inputs of q.sql would be the table 'x'"),
        (lambda: sl.checks.InRange("x", 2, 1), "goes from 2.0 to 1.0: nothing lies there"),
        (lambda: sl.checks.NotNull("x", max_share=2), "NotNull.max_share is 2.0. It is a share, from 0 to 1"),
        (lambda: sl.gates.EverySlice("ece", by=["carrier"], at_least=0.1), "It takes at_most= and no at_least="),
        (lambda: sl.FeatureService([]), "FeatureService has no features"),
        (lambda: sl.FeatureService([schedule["carrier"], schedule["carrier"]]), "Two features are called 'carrier'"),
        (lambda: sl.OnDemand("o", lambda x: x, inputs=["x"]), "OnDemand 'o': .*<lambda> is no function with a name"),
        (lambda: sl.OnDemand("o", len, inputs=["x"]), "OnDemand 'o': len is no function with a name of its own"),
        (lambda: sl.OnDemand("o", echo, inputs=[]), "OnDemand 'o': inputs= is empty. Name the features"),
        (lambda: sl.OnDemand("o", echo, inputs=["a", "b"]), "echo cannot be called with 2 inputs: too many positional"),
        (lambda: sl.OnDemand("O-1", echo, inputs=["a"]), "An OnDemand feature is named 'O-1'"),
        (lambda: sl.Recipe(baselines=[sl.LightGBM(trees=5)]), "Two models of the recipe are called 'lightgbm'"),
        (lambda: sl.Custom(object(), "mine"), r"has no method fit\(rows\)"),
        (lambda: msgspec.structs.replace(project, error_budget=0.7), "Project.error_budget is 0.7"),
    ],
)
def test_a_mistake_names_the_field_the_value_and_what_would_work(make: object, message: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=message):
        make()  # type: ignore[operator]


def test_two_different_sources_of_one_name_are_refused() -> None:
    other = msgspec.structs.replace(schedule, event_time="actual_departure")
    with pytest.raises(InvalidDefinitionError, match="Two different sources are called 'schedule'"):
        msgspec.structs.replace(project, spine=sl.EventSpine(other, predict_at="scheduled_departure"))


def test_a_column_of_another_source_is_no_feature_by_itself() -> None:
    with pytest.raises(InvalidDefinitionError, match=r"Use Last\(arrivals\[…\]\) or a FeatureView"):
        msgspec.structs.replace(project, features=sl.FeatureService([arrivals["arr_delay"]]))


def test_a_scheduled_spine_has_no_event_to_join_a_label_to() -> None:
    accounts = sl.EntitySource("accounts", "a.csv", entities=["id"], valid_from="since")
    with pytest.raises(InvalidDefinitionError, match=r"Use Occurs\(source, within=…\)"):
        msgspec.structs.replace(
            project,
            spine=sl.ScheduledSpine(accounts, every="MON 06:00"),
            features=sl.FeatureService([accounts["plan"]]),
        )


def test_a_project_reads_back_from_its_own_json() -> None:
    assert msgspec.json.decode(canonical(to_json(project)), type=Project) == project


def test_a_project_fits_the_schema_that_is_printed() -> None:
    jsonschema.validate(json.loads(canonical(to_json(project))), json_schema())


def test_what_only_documents_a_definition_is_no_part_of_its_essence() -> None:
    owned = msgspec.structs.replace(arrivals, owner="somebody", description="landings")
    assert essence(owned) == essence(arrivals)
    assert to_json(owned) != to_json(arrivals)


@pytest.mark.parametrize(("text", "size"), [("30s", 30e6), ("5m", 3e8), ("6h", 216e8), ("1d", 864e8), ("2w", 12096e8)])
def test_durations_are_microseconds(text: str, size: float) -> None:
    assert micros(text) == size


def test_a_date_is_local_in_its_zone() -> None:
    assert moment_micros("2013-09-01", "America/New_York") - moment_micros("2013-09-01") == micros("4h")


@pytest.mark.parametrize("every", ["MON", "MON 25:00", "mon 06:00", "MON, THU 06:00", "HOUR 06:00"])
def test_what_is_no_calendar_is_refused(every: str) -> None:
    with pytest.raises(InvalidDefinitionError, match="Write days and a time"):
        calendar(every)
