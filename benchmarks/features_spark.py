"""Our plan on Spark, as `benchmarks/features.py` measures it: in local mode with two threads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from benchmarks.features import LENGTHS
from sterling.features.spark import features
from sterling.project.aggregates import AnyAggregate, Count, Max, Mean
from sterling.project.features import FeatureView, Last
from sterling.project.sources import EventSource

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENTS = EventSource(
    "events", "events.parquet", event_id="id", event_time="event_time", available_at="available_at", entities=["key"]
)


def ours(spark: SparkSession, folder: Path) -> None:
    """Read the events and the moments of a folder, and write the features in the order of the moments."""
    windows = list(LENGTHS)
    items: list[AnyAggregate] = [Count(windows=windows), Mean("value", windows=windows), Max("value", windows=windows)]
    view = FeatureView("f", EVENTS, ["key"], items)
    events = spark.read.parquet(str(folder / "events.parquet")).selectExpr(
        "*", "event_time AS _event_time", "available_at AS _available_at", "CAST(id AS STRING) AS _event_id"
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


def _write(made: DataFrame, folder: Path) -> None:
    parts = folder / "parts"
    made.write.parquet(str(parts))
    pq.write_table(pq.read_table(parts).sort_by("i").drop_columns(["i"]), folder / "out.parquet", compression="zstd")
    shutil.rmtree(parts)
