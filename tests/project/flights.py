"""A small project in the shape of the flights example, for tests to vary."""

from __future__ import annotations

import msgspec

import sterling as sl

schedule = sl.EventSource(
    "schedule",
    "flights.parquet",
    event_id="flight_id",
    event_time="scheduled_departure",
    available_at="scheduled_departure - INTERVAL 90 DAY",
    columns=["carrier", "origin", "distance", "local_day"],
    known={"actual_departure": "actual_departure", "dep_delay": "actual_departure"},
)
arrivals = sl.EventSource(
    "arrivals",
    "flights.parquet",
    event_id="flight_id",
    event_time="actual_arrival",
    available_at=sl.Delay("0m"),
    checks=[sl.checks.NotNull("origin")],
)
weather = sl.EventSource(
    "weather", "weather.parquet", entities=["origin"], event_time="time_hour", available_at=sl.Delay("1h")
)
origin_delay = sl.FeatureView(
    "origin_delay", arrivals, entities=["origin"], features=[sl.Mean("arr_delay", windows=["1h", "6h"])], owner="ops"
)
project = sl.Project(
    "late-arrivals",
    problem=sl.Problem(decision="offer rebooking", kpi="missed_connections", owner="ml-ops"),
    spine=sl.EventSpine(schedule, predict_at="scheduled_departure - INTERVAL 2 HOUR"),
    label=sl.Label("arr_delay >= 15", source=arrivals, horizon="36h"),
    cluster="local_day",
    features=sl.FeatureService(
        [schedule["carrier", "distance"], sl.Last(weather["wind_speed"], max_age="6h"), origin_delay]
    ),
    holdout=sl.Holdout("2013-09-01", "2013-10-01"),
    gates=[
        sl.gates.Improves("average_precision", by=0.005),
        sl.gates.EverySlice("roc_auc", by=["carrier"], at_least=0.6),
    ],
)
SCHEMAS = {
    "schedule": {
        "flight_id": "string",
        "carrier": "string",
        "origin": "string",
        "distance": "int64",
        "local_day": "date32[day]",
        "scheduled_departure": "timestamp[us, tz=UTC]",
        "actual_departure": "timestamp[us, tz=UTC]",
        "dep_delay": "double",
        "tailnum": "string",
    },
    "arrivals": {
        "flight_id": "string",
        "origin": "string",
        "actual_arrival": "timestamp[us, tz=UTC]",
        "arr_delay": "double",
        "tailnum": "string",
    },
    "weather": {"origin": "string", "time_hour": "timestamp[us, tz=UTC]", "wind_speed": "double"},
}


def with_features(*features: object) -> sl.Project:
    """The project with more features."""
    service = sl.FeatureService([*project.features.features, *features])  # type: ignore[list-item]
    return msgspec.structs.replace(project, features=service)
