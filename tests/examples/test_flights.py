"""Facts about the real flights of 2013 that the example rests on, and how its definitions keep to them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

import sterling
from sterling.core.errors import NotKnownAtPredictionError
from sterling.engine.duckdb import DuckDBEngine
from sterling.project.bind import bind
from sterling.project.checks import InRange
from sterling.project.features import FeatureService, feature_names
from sterling.project.gates import Golden
from sterling.project.load import load_project, queries
from sterling.project.project import Project
from sterling.project.sources import EventSource, locator_of, table_name
from sterling.project.spine import EventSpine
from sterling.project.sql import check_query
from sterling.stages.raw import files_of

FOLDER = Path(sterling.__file__).parent / "examples" / "flights"


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(FOLDER)


@pytest.fixture(scope="module")
def tables(project: Project) -> dict[str, pa.Table]:
    """The raw tables, and the prepared ones as ``prepared_flights`` and ``prepared_weather``."""
    engine = DuckDBEngine()
    made: dict[str, pa.Table] = {}
    for query in queries(project):
        for locator in map(locator_of, query.inputs):
            ((_, path),) = files_of(locator, FOLDER)
            made[table_name(locator)] = engine.read(path, path.name)
    for query in queries(project):
        sql = (FOLDER / query.file).read_text(encoding="utf-8")
        made[query.file.removesuffix(".sql").replace("prepare", "prepared")] = engine.query(sql, made)
    return made


@pytest.fixture(scope="module")
def one(tables: dict[str, pa.Table]) -> Any:
    """The only row of a query over the tables."""

    def answer(sql: str) -> tuple[Any, ...]:
        (row,) = DuckDBEngine().query(sql, tables).to_pylist()
        return tuple(row.values())

    return answer


LANDED = """
    SELECT p.*, f.arr_time, f.dep_time, coalesce(nullif(a.tzone, 'NA'), 'America/Puerto_Rico') AS dest_tz
    FROM prepared_flights AS p
    JOIN flights AS f ON p.flight_id = concat_ws('-', f.carrier, f.flight, f.origin, make_date(f.year, f.month, f.day))
    LEFT JOIN airports AS a ON a.faa = p.dest
    WHERE p.actual_arrival IS NOT NULL
"""


def test_carrier_number_origin_and_day_name_a_flight(one: Any) -> None:
    assert one("SELECT count(*), count(DISTINCT flight_id) FROM prepared_flights") == (336_776, 336_776)


def test_without_the_origin_24_flights_are_doubled(one: Any) -> None:
    assert one("SELECT count(*) - count(DISTINCT (carrier, flight, year, month, day)) FROM flights") == (24,)


def test_cancelled_flights_have_no_departure_and_diverted_ones_no_arrival(one: Any) -> None:
    departed = "count(*) FILTER (actual_departure IS NULL)"
    landed = "count(*) FILTER (actual_departure IS NOT NULL AND actual_arrival IS NULL)"
    assert one(f"SELECT {departed}, {landed} FROM prepared_flights") == (8_255, 1_175)


def test_an_arrival_is_known_exactly_where_its_delay_is(one: Any) -> None:
    differing = "(actual_arrival IS NULL) <> (arr_delay IS NULL) OR (actual_departure IS NULL) <> (dep_delay IS NULL)"
    assert one(f"SELECT count(*) FILTER ({differing}) FROM prepared_flights") == (0,)


def test_tailnum_is_null_for_cancelled_flights_alone(one: Any) -> None:
    assert one("SELECT count(*), count(actual_departure) FROM prepared_flights WHERE tailnum IS NULL") == (2_512, 0)


def test_a_quarter_of_the_landed_flights_are_late(one: Any) -> None:
    (share,) = one("SELECT avg((arr_delay >= 15)::INT) FROM prepared_flights")
    assert share == pytest.approx(0.2447, abs=1e-4)


def test_the_local_day_is_that_of_new_york(one: Any) -> None:
    local = "CAST(CAST(scheduled_departure AT TIME ZONE origin_tz AS DATE) AS VARCHAR)"
    assert one(f"SELECT count(*) FILTER (local_day <> {local}) FROM prepared_flights") == (0,)


def test_four_airports_without_a_listed_zone_take_that_of_puerto_rico(one: Any) -> None:
    unlisted = one(
        "SELECT count(*), list(DISTINCT dest ORDER BY dest) FROM prepared_flights WHERE dest NOT IN (SELECT faa FROM airports)"
    )
    assert unlisted == (7_602, ["BQN", "PSE", "SJU", "STT"])


def test_departures_and_arrivals_show_on_the_clocks_that_the_raw_file_gives(one: Any) -> None:
    shown = "strftime({} AT TIME ZONE {}, '%H%M')::INT = {}::INT % 2400"
    departure = shown.format("actual_departure", "origin_tz", "dep_time")
    arrival = shown.format("actual_arrival", "dest_tz", "arr_time")
    shares = one(f"SELECT avg(({departure})::INT), avg(({arrival})::INT) FROM ({LANDED})")
    assert shares == (pytest.approx(1, abs=0.002), pytest.approx(1, abs=0.002))


def test_flights_take_as_long_as_they_flew_and_a_plausible_while_on_the_ground(one: Any) -> None:
    share, low, high, outside = one(
        "SELECT avg((ground_minutes BETWEEN 11 AND 136)::INT), min(ground_minutes), max(ground_minutes), "
        "count(*) FILTER (ground_minutes > 200) FROM prepared_flights WHERE ground_minutes IS NOT NULL"
    )
    assert share > 0.998
    assert (low, high, outside) == (5, 235, 2)


def test_labels_mature_within_hours_of_the_scheduled_departure_and_all_within_the_horizon(one: Any) -> None:
    low, middle, high, latest = one(
        "SELECT quantile_cont(h, 0.01), quantile_cont(h, 0.5), quantile_cont(h, 0.99), max(h) FROM "
        "(SELECT date_diff('minute', scheduled_departure, actual_arrival) / 60 AS h FROM prepared_flights)"
    )
    assert (low, middle, high) == (
        pytest.approx(0.83, abs=0.01),
        pytest.approx(2.83, abs=0.01),
        pytest.approx(7.73, abs=0.01),
    )
    assert latest + 2 < 36


def test_local_hours_are_doubled_where_daylight_saving_ends_and_hours_in_utc_are_not(one: Any) -> None:
    doubled = "count(*) - count(DISTINCT (origin, {}))"
    local = doubled.format("time_hour AT TIME ZONE 'America/New_York'")
    assert one(f"SELECT {local}, {doubled.format('time_hour')} FROM prepared_weather") == (3, 0)


def test_one_wind_speed_is_faster_than_any_wind_and_a_check_catches_it(one: Any, project: Project) -> None:
    (check,) = (check for check in project.sources()["weather"].checks if isinstance(check, InRange))
    assert check.column == "wind_speed"
    impossible = f"wind_speed NOT BETWEEN {check.low} AND {check.high}"
    assert one(f"SELECT count(*), round(max(wind_speed)) FROM prepared_weather WHERE {impossible}") == (1, 1_048)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("flights", ["dep_delay", "arr_delay", "tailnum"]),
        ("weather", ["temp", "dewp", "humid", "pressure", "wind_speed", "visib", "precip"]),
    ],
)
def test_nothing_but_na_became_null(one: Any, table: str, columns: list[str]) -> None:
    raw = ", ".join(f"count(*) FILTER (CAST({column} AS VARCHAR) <> 'NA')" for column in columns)
    prepared = ", ".join(f"count({column})" for column in columns)
    assert one(f"SELECT {raw} FROM {table}") == one(f"SELECT {prepared} FROM prepared_{table}")


def test_preparation_is_one_select_that_never_changes_by_itself(project: Project) -> None:
    for query in queries(project):
        check_query((FOLDER / query.file).read_text(encoding="utf-8"), query.file)


def test_the_example_binds_to_its_data(project: Project, tables: dict[str, pa.Table]) -> None:
    bind(project, schemas(project, tables))


def test_the_delay_of_the_flight_itself_is_a_column_away_and_never_known_in_time(project: Project, one: Any) -> None:
    spine = project.spine.source
    assert isinstance(spine, EventSource)
    assert spine.known["dep_delay"] == "actual_departure"
    tempted = msgspec.structs.replace(
        project, features=FeatureService((*project.features.features, spine["dep_delay"]))
    )
    assert feature_names(tempted.features)[-1] == "dep_delay"
    assert isinstance(project.spine, EventSpine)
    in_time = f"actual_departure < {project.spine.predict_at}"
    assert one(f"SELECT count(*) FILTER ({in_time}) FROM prepared_flights") == (0,)


def test_tailnum_is_refused_as_a_feature(project: Project, tables: dict[str, pa.Table]) -> None:
    spine = project.spine.source
    assert isinstance(spine, EventSource)
    tempted = msgspec.structs.replace(project, features=FeatureService((*project.features.features, spine["tailnum"])))
    known = {**schemas(project, tables), "schedule": schema(tables["prepared_flights"])}
    with pytest.raises(NotKnownAtPredictionError, match="tailnum"):
        bind(tempted, known)


def test_golden_examples_name_every_feature(project: Project) -> None:
    names = set(feature_names(project.features))
    (gate,) = (gate for gate in project.gates if isinstance(gate, Golden))
    examples = [json.loads(line) for line in (FOLDER / gate.file).read_text(encoding="utf-8").splitlines()]
    assert 3 <= len(examples) <= 5
    for example in examples:
        assert set(example["features"]) == names
        assert {"at_least", "at_most"} & set(example)


def schema(table: pa.Table) -> dict[str, str]:
    return {field.name: str(field.type) for field in table.schema}


def schemas(project: Project, tables: Mapping[str, pa.Table]) -> dict[str, dict[str, str]]:
    return {
        name: schema(tables["prepared_weather" if name == "weather" else "prepared_flights"])
        for name in project.sources()
    }
