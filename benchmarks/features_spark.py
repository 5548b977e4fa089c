"""What `benchmarks/features.py` measures, on Spark in local mode with two threads: our plan, and RANGE frames by hand.

Both functions read ``events.parquet`` and ``moments.parquet`` of a folder and write ``out.parquet`` in the order of the
moments, columns named as there. A session is started and stopped in each call, and is part of the time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from sterling.features.spark import features
from sterling.project.aggregates import AnyAggregate, Count, Max, Mean
from sterling.project.features import FeatureView, Last
from sterling.project.sources import EventSource

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

HOUR = 3_600_000_000
LENGTHS = {"1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR}
EVENTS = EventSource(
    "events", "events.parquet", event_id="id", event_time="event_time", available_at="available_at", entities=["key"]
)


@contextmanager
def session(folder: Path) -> Iterator[SparkSession]:
    """Spark with two threads and 4 GB."""
    from pyspark.sql import SparkSession

    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings: dict[str, bool | float | int | str | None] = {
        "spark.driver.memory": "4g", "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC", "spark.sql.ansi.enabled": "true", "spark.sql.shuffle.partitions": "8",
        "spark.local.dir": str(folder / "local"),
    }  # fmt: skip
    spark = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def ours(folder: Path, *, two_clocks: bool = True) -> None:
    """Our plan; with one clock, events are known when they happen."""
    asked = pq.read_table(folder / "moments.parquet")
    pq.write_table(asked.append_column("i", pa.array(range(len(asked)))), folder / "numbered.parquet")
    windows = list(LENGTHS)
    items: list[AnyAggregate] = [Count(windows=windows), Mean("value", windows=windows), Max("value", windows=windows)]
    view = FeatureView("f", EVENTS, ["key"], items)
    with session(folder) as spark:
        known = "available_at" if two_clocks else "event_time"
        events = spark.read.parquet(str(folder / "events.parquet")).selectExpr(
            "*", "event_time AS _event_time", f"{known} AS _available_at", "CAST(id AS STRING) AS _event_id"
        )
        moments = spark.read.parquet(str(folder / "numbered.parquet"))
        made = features(view, events, moments, predict_at="t")
        made = features(Last(EVENTS["value",]), events, made, predict_at="t").withColumnRenamed("events_value", "last")
        columns = list[str]()
        for name in LENGTHS:
            columns += [
                f"f_count_{name} AS count_{name}",
                f"f_mean_value_{name} AS mean_{name}",
                f"f_max_value_{name} AS max_{name}",
            ]
        _write(made.selectExpr("i", *columns, "last"), folder)


def range_frames(folder: Path) -> None:
    """RANGE frames on one clock, as one would write them by hand."""
    asked = pq.read_table(folder / "moments.parquet")
    pq.write_table(asked.append_column("i", pa.array(range(len(asked)))), folder / "numbered.parquet")
    with session(folder) as spark:
        windows = ", ".join(
            f"w{name} AS (PARTITION BY key ORDER BY t RANGE BETWEEN {size}L PRECEDING AND 1L PRECEDING)"
            for name, size in LENGTHS.items()
        )
        cells = ", ".join(
            f"count(id) OVER w{name} AS count_{name}, avg(value) OVER w{name} AS mean_{name}, max(value) OVER w{name} AS max_{name}"
            for name in LENGTHS
        )
        last = "last_value(value) IGNORE NULLS OVER (PARTITION BY key ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND 1L PRECEDING) AS last"
        union = (
            "SELECT key, t, CAST(NULL AS DOUBLE) AS value, CAST(NULL AS BIGINT) AS id, i FROM {moments} "
            "UNION ALL SELECT key, event_time, value, id, NULL FROM {events}"
        )
        found = spark.sql(
            f"SELECT * FROM (SELECT i, {cells}, {last} FROM ({union}) WINDOW {windows}) WHERE i IS NOT NULL",
            moments=spark.read.parquet(str(folder / "numbered.parquet")), events=spark.read.parquet(str(folder / "events.parquet")),
        )  # fmt: skip
        _write(found, folder)


def _write(made: DataFrame, folder: Path) -> None:
    parts = folder / "parts"
    made.write.parquet(str(parts))
    pq.write_table(pq.read_table(parts).sort_by("i").drop_columns(["i"]), folder / "out.parquet", compression="zstd")
    shutil.rmtree(parts)
