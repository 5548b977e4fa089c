"""Point-in-time features with two clocks, against what one would write by hand with one: seconds and memory, side by side.

Sets: ``2 % late``; ``all late``, where every event is known one to 48 hours after it happened; ``hot``, a tenth of the rows
for 100 keys. Windows of 1h, 24h and 7d of count, mean and max, plus the last value. Each method runs in a process of its
own, reads Parquet and writes Parquet; before anything is timed our answers are held against a naive join on a sample, and
the answers of each method against each other. All use two threads where they can. Memory is the peak of the process and of
those that it started; processor seconds are said too, since others may be at work on the machine.

Run: .venv/bin/python -m benchmarks.features [--scale 0.1] [--only "2 % late"] [--values real] [--feast]
Scale 1 is 1M moments, 5M events, 100k keys. ``--values real`` takes doubles with all their bits instead of whole minutes;
SQL then sums them inexactly, and is held against ours with a tolerance. Polars and PySpark are left out, by
name, where they are not installed. ``--feast`` makes a virtual environment for Feast, which wants an older pandas than we do,
and stops it after ``--limit`` seconds or above ``--most`` GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sterling.features.aggregates import OPERATIONS
from sterling.features.inside import Inside, Values
from sterling.features.parts import Part, deal, each
from sterling.features.windows import Keys, Log, Moments, latest
from sterling.project.aggregates import Aggregate, Count, Max, Mean, Window

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HOUR = 3_600_000_000
LENGTHS = {"1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR}
SPAN = 30 * 24 * HOUR
CLOCKS = ("event_time", "available_at")
THREADS = 2
SETS = ("2 % late", "all late", "hot")


def main() -> None:
    """Print one table for each set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=0.05)
    parser.add_argument("--only", choices=SETS)
    parser.add_argument("--values", choices=("whole", "real"), default="whole")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--feast", action="store_true", help="make a virtual environment for Feast, and compare it")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds after which a method is stopped")
    parser.add_argument("--most", type=float, default=6.0, help="GB above which Feast is stopped")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        measure(options.run, options.folder)
        return
    for name in [options.only] if options.only else SETS:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, options, Path(folder))


def compare(name: str, options: argparse.Namespace, folder: Path) -> None:
    """Make a set, check every method, and print what each of them took."""
    moments, events, keys = make(name, options.scale, options.values, folder)
    print(f"\n{name}: {moments:,} moments, {events:,} events, {keys:,} keys, {options.values} values")
    check_sample(folder)
    reference: dict[str, pa.Table] = {}
    for method, (clocks, _) in METHODS.items():
        if missing := [module for module in NEEDS.get(method, ()) if find_spec(module) is None]:
            print(f"  {method:48} left out: {' and '.join(missing)} not installed")
            continue
        try:
            best = min(
                (started(method, folder, options) for _ in range(options.rounds)), key=lambda seen: seen["seconds"]
            )
        except subprocess.TimeoutExpired:
            print(f"  {method:48} stopped after {options.limit:.0f} s")
            continue
        note = ""
        if clocks:
            made = pq.read_table(folder / "out.parquet")
            truth = reference.setdefault(clocks, made)
            wrong = differing(truth, made, exact=options.values == "whole")
            note = f"{made.num_columns} features" + (f", {wrong} cells differ" if truth is not made else "")
        start = f", after {best['start']:.1f} s to start" if best["start"] else ""
        said = f"{best['seconds']:7.2f} s {best['cpu']:7.2f} cpu s {best['peak_mb'] / 1000:6.2f} GB"
        print(f"  {method:48} {said}  {note}{start}", flush=True)
    if options.feast:
        feast(folder, reference["one"], options)


def started(method: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """What one run of a method took, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.features", "--run", method, "--folder", str(folder)]
    pipe = subprocess.PIPE
    run = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, cwd=FEAST.parent)
    try:
        said, wrong = run.communicate(timeout=options.limit)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)  # with the JVM that it may have started
        run.communicate()
        raise
    if run.returncode:
        sys.exit(f"{method} failed:\n{wrong}")
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def feast(folder: Path, truth: pa.Table, options: argparse.Namespace) -> None:
    """Feast's last value, in its own environment; stopped where it takes too long or too much."""
    python = FEAST / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FEAST)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "feast[duckdb]==0.67.0"], check=True)
    script = Path(__file__).with_name("features_feast.py")
    command = [str(python), str(script), str(folder), str(options.limit), str(options.most)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    name = "Feast, DuckDB store, last value only, one clock"
    if run.returncode:
        sys.exit(f"{name} failed:\n{run.stderr}")
    found = json.loads(run.stdout.splitlines()[-1])
    if "stopped" in found:
        print(f"  {name:48} {found['stopped']}")
        return
    wrong = differing(truth, pq.read_table(folder / "out.parquet"), exact=True)
    said = f"{found['seconds']:7.2f} s {found['cpu']:7.2f} cpu s {found['peak_mb'] / 1000:6.2f} GB"
    print(f"  {name:48} {said}  1 features, {wrong} cells differ")


def make(name: str, scale: float, values: str, folder: Path) -> tuple[int, int, int]:
    """Write the events and the moments of a set."""
    size = scale / 10 if name == "hot" else scale
    moments, events = int(1_000_000 * size), int(5_000_000 * size)
    keys = 100 if name == "hot" else max(int(100_000 * size), 1)
    rng = np.random.default_rng(7)
    happened = rng.integers(0, SPAN, events)
    if name == "all late":
        known = happened + rng.integers(HOUR, 48 * HOUR, events)
    else:
        known = happened + np.where(rng.random(events) < 0.02, rng.integers(1, 12 * HOUR, events), 0)
    value = rng.normal(10, 40, events)
    order = np.argsort(happened, kind="stable")
    table = pa.table({
        "key": rng.integers(0, keys, events), "event_time": happened[order], "available_at": known[order],
        "value": value if values == "real" else np.rint(value), "id": np.arange(events),
    })  # fmt: skip
    pq.write_table(table, folder / "events.parquet")
    asked = pa.table({"key": rng.integers(0, keys, moments), "t": rng.integers(0, SPAN, moments)})
    pq.write_table(asked, folder / "moments.parquet")
    pq.write_table(asked.append_column("i", pa.array(np.arange(moments))), folder / "numbered.parquet")
    return moments, events, keys


def measure(method: str, folder: Path) -> None:
    """Run one method, and say what it took."""
    begin = time.perf_counter()
    start = METHODS[method][1](folder) or 0.0
    seconds = time.perf_counter() - begin - start
    peak, cpu = TOOK[0] if TOOK else took()
    print(json.dumps({"seconds": seconds, "start": start, "cpu": cpu, "peak_mb": peak}))


def took() -> tuple[float, float]:
    """The most memory in MB, and the processor seconds, of this process and of those that it started and that still run."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    if not Path("/proc/self/status").exists():
        return own.ru_maxrss / 1000, own.ru_utime + own.ru_stime
    peak, cpu = 0.0, 0.0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status, fields = (process / "status").read_text(), (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if os.getpid() in (int(process.name), int(fields[1])) and "VmHWM:" in status:
            peak += int(status.partition("VmHWM:")[2].split()[0]) / 1000
            cpu += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return peak, cpu


def ours(folder: Path, *, two_clocks: bool) -> pa.Table:
    """The plan of Sterling."""
    asked = pq.read_table(folder / "moments.parquet")
    events = pq.read_table(folder / "events.parquet", columns=["key", *CLOCKS[: 1 + two_clocks], "value"])
    keys = Keys([asked.column("key")], [events.column("key").type])
    codes, times, values = (
        keys.find([events.column("key")]),
        latest([asked.column("t")]),
        Values(events.column("value")),
    )
    passed = {f"_{name}": latest([events.column(name)]) for name in CLOCKS[: 1 + two_clocks]}
    clocks = ("_available_at",) if two_clocks else None
    kinds = [(kind, length) for length in LENGTHS for kind in (Count, Mean, Max)]
    made = {name_of(kind, length): np.zeros(len(times), np.int64 if kind is Count else float) for kind, length in kinds}
    absent = {length: np.ones(len(times), bool) for length in LENGTHS}
    newest = np.full(len(times), -1)

    def clock(wanted: tuple[str, ...], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(np.maximum.reduce([passed[name][rows] for name in wanted]), np.int64)

    def work(part: Part) -> None:
        moments = Moments(keys.codes[part.moments] - part.first, times[part.moments])
        log = Log(moments, codes[part.events] - part.first, clock, rows=part.events)
        for length in LENGTHS:
            inside = Inside(moments.size, log.reach(Window(length, "past"), clocks), log.order, values)
            for kind in (Count, Mean, Max):
                answers = OPERATIONS[kind].answer(inside)
                made[name_of(kind, length)][part.moments] = moments.spread(answers, 0)
            absent[length][part.moments] = moments.spread(inside.count < 1, True)
        last = Inside(moments.size, log.reach(None, clocks), log.order).newest()
        newest[part.moments] = moments.spread(last, -1)

    each(deal(codes, keys.codes), work)
    table = {
        name_of(kind, length): pa.array(made.pop(name_of(kind, length)), mask=None if kind is Count else absent[length])
        for kind, length in kinds
    }
    table["last"] = values.cells.take(pa.array(newest, mask=newest < 0)).combine_chunks()
    return pa.table(table)


def name_of(kind: type[Aggregate], length: str) -> str:
    """Name of one feature."""
    return f"{kind.__name__.lower()}_{length}"


def write(made: pa.Table, folder: Path) -> None:
    """Write the features."""
    pq.write_table(made, folder / "out.parquet", compression="zstd")


def floor_ours(folder: Path) -> None:
    """Read, sort once, write."""
    asked = pq.read_table(folder / "moments.parquet")
    events = pq.read_table(folder / "events.parquet", columns=["key", *CLOCKS, "value"])
    place = events.column("key").to_numpy() * (SPAN + 2) + events.column("event_time").to_numpy()
    order = np.argsort(place)
    value = events.column("value").to_numpy()[order]
    made = {f"f{n}": pa.array(value[: asked.num_rows]) for n in range(10)}
    write(pa.table(made), folder)


def session(folder: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB with the two tables."""
    database = duckdb.connect(config={"threads": THREADS})
    for name in ("events", "moments"):
        database.execute(f"CREATE VIEW {name} AS SELECT * FROM '{folder / f'{name}.parquet'}'")
    return database


def union(extra: str = "") -> str:
    """Moments and events in one table; a moment stands after the events of its own time."""
    return (
        f"SELECT key, t, NULL::DOUBLE AS value, NULL::BIGINT AS id, row_number() OVER () - 1 AS i{extra} FROM moments "
        f"UNION ALL SELECT key, event_time, value, id, NULL{extra} FROM events"
    )


def copied(database: duckdb.DuckDBPyConnection, sql: str, folder: Path) -> None:
    """Write what a query says, in the order of the moments."""
    database.execute(f"COPY ({sql}) TO '{folder / 'out.parquet'}' (FORMAT parquet, COMPRESSION zstd)")


def floor_duckdb(folder: Path) -> None:
    """Scan, union, sort."""
    database = session(folder)
    database.execute(f"CREATE TABLE sorted AS SELECT * FROM ({union()}) ORDER BY key, t")


def framed(both: str) -> str:
    """RANGE frames on one clock, as one would write them by hand, over moments and events in one table."""
    windows = ", ".join(
        f"w{name} AS (PARTITION BY key ORDER BY t RANGE BETWEEN {size} PRECEDING AND 1 PRECEDING)"
        for name, size in LENGTHS.items()
    )
    features = ", ".join(
        f"count(id) OVER w{name} AS count_{name}, avg(value) OVER w{name} AS mean_{name}, max(value) OVER w{name} AS max_{name}"
        for name in LENGTHS
    )
    last = "last_value(value) IGNORE NULLS OVER (PARTITION BY key ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    return f"SELECT i, {features}, {last} AS last FROM ({both}) WINDOW {windows}"


def frames(folder: Path) -> None:
    """RANGE frames on DuckDB."""
    sql = framed(union()).replace("last_value(value) IGNORE NULLS", "last_value(value IGNORE NULLS)")
    copied(session(folder), f"SELECT * EXCLUDE i FROM ({sql}) WHERE i IS NOT NULL ORDER BY i", folder)


def prefix_sums(folder: Path) -> None:
    """ASOF joins on prefix sums, on one clock; it has no maxima."""
    database = session(folder)
    database.execute(
        "CREATE TABLE sums AS SELECT key, event_time AS t, max(n) AS n, max_by(s, n) AS s, max_by(value, n) AS value FROM (SELECT key, "
        "event_time, value, count(*) OVER w AS n, sum(value) OVER w AS s FROM events WINDOW w AS (PARTITION BY key "
        "ORDER BY event_time, id ROWS UNBOUNDED PRECEDING)) GROUP BY key, event_time"
    )
    database.execute("CREATE TABLE asked AS SELECT row_number() OVER () - 1 AS i, key, t FROM moments")
    for name, size in {"now": 0, **LENGTHS}.items():
        database.execute(
            f"CREATE TABLE at_{name} AS SELECT i, n, s, value FROM (SELECT i, key, t - {size} AS t FROM asked) AS asked "
            "ASOF LEFT JOIN sums ON asked.key = sums.key AND asked.t > sums.t"
        )
    features = ", ".join(
        f"coalesce(at_now.n, 0) - coalesce(at_{name}.n, 0) AS count_{name}, "
        f"(at_now.s - coalesce(at_{name}.s, 0)) / nullif(at_now.n - coalesce(at_{name}.n, 0), 0) AS mean_{name}"
        for name in LENGTHS
    )
    joins = " ".join(f"JOIN at_{name} USING (i)" for name in LENGTHS)
    copied(database, f"SELECT {features}, at_now.value AS last FROM at_now {joins} ORDER BY i", folder)


def polars_rolling(folder: Path) -> None:
    """Polars' rolling aggregates over the union, on one clock; without the last value."""
    import polars as pl  # type: ignore[import-not-found, unused-ignore]

    asked = (
        pl.read_parquet(folder / "moments.parquet")
        .with_row_index("i")
        .with_columns(pl.lit(None, pl.Float64).alias("value"))
    )
    events = pl.read_parquet(folder / "events.parquet", columns=["key", "event_time", "value"]).rename(
        {"event_time": "t"}
    )
    both = pl.concat([asked, events], how="diagonal").sort("key", "t")
    one = pl.when(pl.col("value").is_not_null()).then(1).otherwise(0)
    features = []
    for name, size in LENGTHS.items():
        window = {"window_size": f"{size}i", "closed": "left", "min_samples": 0}
        features += [
            one.rolling_sum_by("t", **window).over("key").alias(f"count_{name}"),
            pl.col("value").rolling_mean_by("t", **window).over("key").alias(f"mean_{name}"),
            pl.col("value").rolling_max_by("t", **window).over("key").alias(f"max_{name}"),
        ]
    made = both.with_columns(features).filter(pl.col("i").is_not_null()).sort("i")
    made.select(pl.selectors.contains("_")).write_parquet(folder / "out.parquet")


def merge_asof(folder: Path) -> None:
    """Pandas' merge_asof on prefix sums, on one clock; it has no maxima."""
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]

    events = pd.read_parquet(folder / "events.parquet", columns=["key", "event_time", "value"])
    events = events.rename(columns={"event_time": "t"})
    events["n"] = events.groupby("key").cumcount() + 1
    events["s"] = events.groupby("key")["value"].cumsum()
    asked = pd.read_parquet(folder / "moments.parquet")
    at = {}
    for name, size in {"now": 0, **LENGTHS}.items():
        then = asked.assign(t=asked["t"] - size).sort_values("t", kind="stable")
        found = pd.merge_asof(then, events, on="t", by="key", allow_exact_matches=False).set_index(then.index)
        at[name] = found[["n", "s", "value"]].sort_index()
    made = {}
    for name in LENGTHS:
        count = at["now"]["n"].fillna(0) - at[name]["n"].fillna(0)
        made[f"count_{name}"] = count.astype("int64")
        made[f"mean_{name}"] = (at["now"]["s"] - at[name]["s"].fillna(0)) / count.where(count > 0)
    made["last"] = at["now"]["value"]
    pd.DataFrame(made).to_parquet(folder / "out.parquet", index=False)


def spark_frames(folder: Path) -> float:
    """The same RANGE frames on PySpark with two threads; gives back how long it took to start."""
    both = (
        "SELECT key, t, CAST(NULL AS DOUBLE) AS value, CAST(NULL AS BIGINT) AS id, i FROM moments "
        "UNION ALL SELECT key, event_time, value, id, NULL FROM events"
    )

    def work(spark: SparkSession) -> None:
        for name, file in {"moments": "numbered", "events": "events"}.items():
            spark.read.parquet(str(folder / f"{file}.parquet")).createOrReplaceTempView(name)
        made = spark.sql(f"SELECT * FROM ({framed(both)}) WHERE i IS NOT NULL ORDER BY i").drop("i").toArrow()
        write(made, folder)

    return on_spark(folder, work)


def spark_ours(folder: Path) -> float:
    """The plan of Sterling on PySpark with two threads; gives back how long it took to start."""
    from benchmarks.features_spark import ours

    return on_spark(folder, lambda spark: ours(spark, folder))


def on_spark(folder: Path, work: Callable[[SparkSession], None]) -> float:
    """Do some work on PySpark, and give back how long it took to start."""
    begin = time.perf_counter()
    from tests.engine.spark_session import spark_session

    with spark_session(folder, "3g") as spark:
        spark.conf.set("spark.sql.shuffle.partitions", "8")
        start = time.perf_counter() - begin
        work(spark)
        TOOK.append(took())
    return start


Method = Callable[[Path], float | None]
TOOK: list[tuple[float, float]] = []
"""What a method has measured itself, before what it started was gone."""
FEAST = Path(__file__).parents[1] / ".venv-feast"
SPARK = "PySpark local[2], RANGE frames, one clock"
POLARS = "polars, rolling, one clock, no last"
SPARK_OURS = "Sterling on PySpark local[2], two clocks"
NEEDS = {POLARS: ("polars",), SPARK: ("pyspark",), SPARK_OURS: ("pyspark",)}
METHODS: dict[str, tuple[str, Method]] = {
    "Sterling, two clocks": ("two", lambda folder: write(ours(folder, two_clocks=True), folder)),
    "Sterling, one clock": ("one", lambda folder: write(ours(folder, two_clocks=False), folder)),
    "DuckDB, RANGE frames, one clock": ("one", frames),
    "DuckDB, ASOF on prefix sums, one clock, no max": ("one", prefix_sums),
    POLARS: ("one", polars_rolling),
    "pandas, merge_asof on sums, one clock, no max": ("one", merge_asof),
    SPARK: ("one", spark_frames),
    SPARK_OURS: ("two", spark_ours),
    "floor: DuckDB scans, unites and sorts": ("", floor_duckdb),
    "floor: we read, sort once and write": ("", floor_ours),
}


def check_sample(folder: Path) -> None:
    """Hold both plans against a naive join for moments of a few keys."""
    database = session(folder)
    keys = [key for (key,) in database.execute("SELECT DISTINCT key FROM moments ORDER BY key LIMIT 3").fetchall()]
    for two_clocks in (True, False):
        known = "AND available_at < t" if two_clocks else ""
        features = ", ".join(
            f"count(id) FILTER ({rule}) AS count_{name}, avg(value) FILTER ({rule}) AS mean_{name}, max(value) FILTER ({rule}) AS max_{name}"
            for name, rule in ((name, f"t - {size} <= event_time") for name, size in LENGTHS.items())
        )
        naive = database.sql(
            f"SELECT i, {features}, arg_max(value, id) AS last FROM (SELECT row_number() OVER () - 1 AS i, * FROM moments) AS m "
            f"LEFT JOIN events AS e ON m.key = e.key AND event_time < t {known} WHERE m.key IN ({', '.join(map(str, keys))}) "
            "GROUP BY i ORDER BY i LIMIT 2000"
        ).to_arrow_table()
        made = ours(folder, two_clocks=two_clocks).take(naive.column("i"))
        if wrong := differing(naive.drop_columns(["i"]), made, exact=False):
            sys.exit(f"{wrong} cells differ from a naive join.")


def differing(a: pa.Table, b: pa.Table, *, exact: bool) -> int:
    """How many cells differ, of the columns that both have."""
    wrong = 0
    for name in set(a.schema.names) & set(b.schema.names):
        x, y = (t.column(name).cast(pa.float64()).to_numpy().astype(np.float64) for t in (a, b))
        same = (x == y) if exact else np.isclose(x, y, rtol=1e-9, atol=1e-6)
        wrong += int((~(same | (np.isnan(x) & np.isnan(y)))).sum())
    return wrong


if __name__ == "__main__":
    main()
