"""Feast's last value for `benchmarks/features.py`, which runs this in an environment of its own and checks the answers.

Arguments: the folder with the set, the seconds after which it is stopped, and the GB above which it is. Feast reads what
happened at the moment too, so it is asked for a microsecond before.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path


def main() -> None:
    """Run Feast in a process that can be stopped, and say what it took."""
    folder, limit, most = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    prepare(folder)
    work = multiprocessing.get_context("spawn").Process(target=ask, args=(folder,))
    work.start()
    begin, peak = time.perf_counter(), 0.0
    while work.is_alive():
        work.join(0.1)
        seconds, peak = time.perf_counter() - begin, max(peak, resident(work.pid))
        if work.is_alive() and (seconds > limit or peak > most):
            work.kill()
            print(json.dumps({"stopped": f"stopped after {seconds:.0f} s at {peak:.1f} GB"}))
            return
    if work.exitcode:
        sys.exit(f"it ended with {work.exitcode}")
    print((folder / "feast.json").read_text())


def resident(pid: int | None) -> float:
    """The memory of a process in GB."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (OSError, IndexError):
        return 0.0


def prepare(folder: Path) -> None:
    """The set with times as Feast wants them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    time_type = pa.timestamp("us", "UTC")
    events = pq.read_table(folder / "events.parquet", columns=["key", "event_time", "value"])
    times = events.column("event_time").cast(time_type)
    pq.write_table(events.set_column(1, "event_time", times), folder / "feast_events.parquet")
    asked = pq.read_table(folder / "numbered.parquet")
    times = pc.subtract(asked.column("t"), 1).cast(time_type)
    pq.write_table(asked.set_column(1, "event_timestamp", times), folder / "feast_moments.parquet")


def ask(folder: Path) -> None:
    """The last value of each moment, by Feast's DuckDB store."""
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    from feast import (  # type: ignore[import-not-found, unused-ignore]
        Entity,
        FeatureStore,
        FeatureView,
        Field,
        FileSource,
        RepoConfig,
        ValueType,
    )  # fmt: skip
    from feast.types import Float64  # type: ignore[import-not-found, unused-ignore]

    config = {"type": "duckdb"}
    store = FeatureStore(config=RepoConfig(
        project="set", provider="local", registry=str(folder / "feast.db"), offline_store=config,
        online_store=None, entity_key_serialization_version=3,
    ))  # fmt: skip
    key = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)
    source = FileSource(path=str(folder / "feast_events.parquet"), timestamp_field="event_time")
    view = FeatureView(
        name="last", entities=[key], schema=[Field(name="value", dtype=Float64)], source=source, ttl=timedelta(0)
    )
    store.apply([key, view])
    begin, used = time.perf_counter(), time.process_time()
    asked = pd.read_parquet(folder / "feast_moments.parquet")
    made = store.get_historical_features(entity_df=asked, features=["last:value"]).to_df().sort_values("i")
    made[["value"]].rename(columns={"value": "last"}).to_parquet(folder / "out.parquet", index=False)
    took = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - used}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    (folder / "feast.json").write_text(json.dumps(took | {"peak_mb": peak}))


if __name__ == "__main__":
    main()
