"""Features on Spark equal those of the embedded engine, cell by cell: on random logs, and on all flights."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sterling.core.errors import DataError, InvalidDefinitionError, MissingExtraError
from sterling.engine.duckdb import DuckDBEngine
from sterling.engine.spark.row_sql import translated
from sterling.features.aggregates import OPERATIONS
from sterling.features.spark import REFUSED, SPARK, features
from sterling.project.aggregates import Aggregate, Count, CountDistinct, Mean, Sum
from sterling.project.features import FeatureView, First, Last
from sterling.project.load import load_project, queries
from sterling.project.sources import EntitySource, locator_of, table_name
from sterling.stages.raw import files_of
from sterling.stages.snapshot import AsOf, read_as_of
from tests.engine.spark_session import spark_session
from tests.examples.test_flights import FOLDER
from tests.stages.bench import Bench
from tests.stages.logs import SOURCES, SPINE, Case
from tests.stages.test_aggregates import every_aggregate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TOLERANCE = 1e-12
LOGS = 40
Show = Callable[[str, int], None]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder), threads=2)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    with spark_session(tmp_path_factory.mktemp("spark")) as session:
        yield session


@pytest.fixture
def tried(record_property: Any) -> Show:
    return lambda what, number: record_property(f"tried: {what}", number)


class Lake:
    """Tables that pass between Arrow and Spark as Parquet files."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark, self._folder, self._number = spark, folder, 0

    def put(self, table: pa.Table) -> DataFrame:
        self._number += 1
        path = self._folder / f"{self._number}.parquet"
        pq.write_table(table, path)
        return self._spark.read.parquet(str(path))

    def get(self, frame: DataFrame) -> pa.Table:
        self._number += 1
        path = self._folder / str(self._number)
        frame.write.parquet(str(path))
        made = pq.read_table(path).sort_by("_row")
        shutil.rmtree(path)
        return made


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    return Lake(spark, tmp_path)


def differing(made: pa.Table, wanted: pa.Table) -> int:
    """How many cells are not equal; those that are no floats inside the tolerance fail at once."""
    found = 0
    for name in wanted.schema.names:
        mine, theirs = made.column(name), wanted.column(name)
        assert mine.type == theirs.type, name
        pairs = [(a, b) for a, b in zip(mine.to_pylist(), theirs.to_pylist(), strict=True) if a != b]
        assert all(isinstance(a, float) and a == pytest.approx(b, rel=TOLERANCE, abs=0) for a, b in pairs), (
            name,
            pairs,
        )
        found += len(pairs)
    return found


def source_of(feature: FeatureView | Last | First) -> Any:
    return feature.source if isinstance(feature, FeatureView) else feature.columns.source


def random_log(dice: random.Random) -> list[Any]:
    """Events as `tests.stages.logs` draws them, with ties, nulls, late and early ones, corrections and tombstones."""

    def time() -> Any:
        return dice.choice([None, float(dice.randint(0, 30)), float(dice.randint(0, 30))])

    floats = [None, 1e17, 1.0, 2.0, -0.0, 0.0, -3.5, 0.1, 1e-9, dice.uniform(-1e6, 1e6), dice.uniform(-1, 1)]
    decimals = [None, "0.10000", "-0.30000", "123456789012345678901234567890.12345", "-99999999999.00001"]
    return [
        (
            dice.randint(0, 7), dice.choice(["a", "a", "a", "b", "once", None]), dice.randint(0, 1),
            float(dice.randint(0, 30)), time(), time(), time(), dice.choice(floats),
            dice.choice([None, *range(-5, 6), 2**53 + 1, -(2**53) - 1]), dice.choice(decimals),
            dice.choice([True, False, None]), dice.choice(["x", "y", None]), dice.choice([False, False, False, True, None]),
        )
        for _ in range(dice.randint(0, 24))
    ]  # fmt: skip


def random_moments(dice: random.Random) -> list[Any]:
    return [
        (dice.choice(["a", "a", "a", "b", "once", None]), dice.randint(0, 1), float(dice.randint(0, 30)))
        for _ in range(dice.randint(1, 12))
    ]


class Batch:
    """Many logs at once: on Spark as one table, whose keys begin with the log; embedded one by one."""

    def __init__(self, bench: Bench, updates: str, seed: int, logs: int = LOGS) -> None:
        dice = random.Random(seed)
        self._bench = bench
        self._source = SOURCES[updates]
        self._cases = [Case(bench, random_log(dice), random_moments(dice), updates) for _ in range(logs)]
        tables = [bench.table(case.inputs["clean:log"]) for case in self._cases]
        self.events = pa.concat_tables([self._numbered(table, n) for n, table in enumerate(tables)])
        self.moments = pa.concat_tables([self._asked(case, n) for n, case in enumerate(self._cases)])
        self.moments = self.moments.append_column("_row", pa.array(range(len(self.moments))))
        self.source = msgspec.structs.replace(
            self._source, entities=["log", "k", "n"], columns=["log", *(self._source.columns or ())]
        )

    def _numbered(self, table: pa.Table, number: int) -> pa.Table:
        return table.append_column("log", pa.array([number] * len(table), pa.int64()))

    def _asked(self, case: Case, number: int) -> pa.Table:
        spine = self._bench.table(case.inputs["spine"])
        own = self._bench.table(case.inputs["clean:base"]).take(spine["row"])
        return self._numbered(pa.table({"k": own["k"], "n": own["n"], "predict_at": spine["predict_at"]}), number)

    def embedded(self, feature: FeatureView | Last | First) -> pa.Table:
        """What the embedded engine says."""
        if isinstance(feature, FeatureView):
            own: Any = msgspec.structs.replace(feature, source=self._source, entities=["k", "n"])
        else:
            own = msgspec.structs.replace(feature, columns=self._source[tuple(feature.columns.names)])
        return pa.concat_tables([self._bench.feature(own, SPINE, case.inputs) for case in self._cases])


def test_every_aggregate_is_computed_on_spark_or_refused_by_name() -> None:
    """Whoever registers an aggregate writes an entry; the tests below then compute it from every column, in every way."""
    compared = {type(aggregate) for aggregate, _ in every_aggregate()}
    assert set(SPARK) | set(REFUSED) == set(OPERATIONS)
    assert not set(SPARK) & set(REFUSED)
    assert set(SPARK) <= compared


def test_an_aggregate_without_an_entry_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sterling.features.spark.SPARK", {Count: SPARK[Count], Sum: SPARK[Sum]})
    view = FeatureView("x", SOURCES["append"], ["k"], [Count(windows=["1h"]), Mean("v", windows=["1h"])])
    message = (
        "FeatureView 'x': Mean is not computed on Spark. What is: Count, Sum. Build the view with the embedded engine"
    )
    with pytest.raises(InvalidDefinitionError, match=message):
        features(view, None, None)


def test_a_dimension_table_is_refused_by_name() -> None:
    plan = EntitySource("plan", "plan.parquet", entities=["k"], valid_from="since", available_at="told")
    with pytest.raises(InvalidDefinitionError, match="Last of plan: rows of a dimension table"):
        features(Last(plan["limit"]), None, None)


@pytest.mark.slow
@pytest.mark.parametrize("updates", SOURCES)
@pytest.mark.parametrize("operation", SPARK, ids=lambda kind: kind.__name__)
def test_an_aggregate_equals_the_embedded_one_from_every_column_in_every_way(
    bench: Bench, lake: Lake, tried: Show, updates: str, operation: type[Aggregate]
) -> None:
    batch = Batch(bench, updates, seed=len(operation.__name__))
    items = [aggregate for aggregate, _ in every_aggregate() if type(aggregate) is operation]
    view = FeatureView("x", batch.source, ["log", "k", "n"], items)  # type: ignore[arg-type]
    made = lake.get(features(view, lake.put(batch.events), lake.put(batch.moments)))
    wanted = batch.embedded(view)
    assert wanted.num_rows > LOGS
    unequal = differing(made, wanted)
    tried("cells of Spark compared with the embedded engine", wanted.num_rows * wanted.num_columns)
    tried("float cells of Spark that are not equal, within the tolerance", unequal)
    assert unequal == 0


@pytest.mark.slow
@pytest.mark.parametrize("updates", SOURCES)
def test_the_last_and_the_first_value_equal_the_embedded_ones(
    bench: Bench, lake: Lake, tried: Show, updates: str
) -> None:
    batch = Batch(bench, updates, seed=5)
    events, moments = lake.put(batch.events), lake.put(batch.moments)
    for kind in (Last, First):
        for fields in ({}, {"max_age": "3h", "where": "f OR w > 1"}):
            feature = kind(batch.source["v", "w", "d", "f", "tag"], **fields)  # type: ignore[arg-type]
            made, wanted = lake.get(features(feature, events, moments)), batch.embedded(feature)
            unequal = differing(made, wanted)
            tried("cells of Spark compared with the embedded engine", wanted.num_rows * wanted.num_columns)
            tried("float cells of Spark that are not equal, within the tolerance", unequal)


CONDITIONS = [
    "f", "NOT f", "f OR w > 1", "f AND tag = 'x'", "w = 2", "w <> 2", "w < v", "w <= 2.5", "v >= 0.1", "v > -3.5",
    "d = 0.1", "d < 1", "w IS NULL", "tag IS NOT NULL", "w IS DISTINCT FROM 2", "tag IS NOT DISTINCT FROM 'x'",
    "w BETWEEN -1 AND 3", "v NOT BETWEEN 0 AND 1.5", "w IN (1, 2, 3)", "tag NOT IN ('x')", "tag = 'it''s'",
    "CASE WHEN f THEN w > 0 WHEN w IS NULL THEN TRUE ELSE FALSE END", "if(f, w, -w) > 0", "coalesce(w, 0) = 0",
    "abs(w) > 2", "abs(v) < 1", "w + 1 > 2", "w - 3 < -2", "w * 2 = 4", "v * 2 + 1 > v", "(w + 1) * 3 = 9",
    "happened + INTERVAL 2 HOUR < ended", "ended - INTERVAL 30 MINUTE > happened", "ended = happened", "NULL OR f", "TRUE",
]  # fmt: skip


@pytest.mark.slow
def test_every_condition_that_is_translated_means_the_same_on_both_engines(bench: Bench, lake: Lake) -> None:
    dice = random.Random(11)
    log = Batch(bench, "append", seed=11).events.drop_columns(["w"])
    small = pa.array([dice.choice([None, *range(-4, 5)]) for _ in range(len(log))], pa.int64())
    table = log.append_column("w", small).append_column("_row", pa.array(range(len(log))))
    kinds = {
        "f": "bool", "w": "whole", "v": "float", "d": "decimal", "tag": "text", "happened": "time", "ended": "time",
    }  # fmt: skip
    wanted = DuckDBEngine().query(
        f"SELECT {', '.join(f'({said}) AS c{i}' for i, said in enumerate(CONDITIONS))} FROM log ORDER BY _row",
        {"log": table},
    )
    made = lake.get(
        lake.put(table).selectExpr(
            "_row", *(f"{translated(said, kinds, 'x')[0]} AS c{i}" for i, said in enumerate(CONDITIONS))
        )
    )
    for i, said in enumerate(CONDITIONS):
        assert made.column(f"c{i}").to_pylist() == wanted.column(f"c{i}").to_pylist(), said


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("w / 2 > 1", "'w / 2' in 'w / 2 > 1' is not computed on Spark"),
        ("tag LIKE 'x%'", "is not computed on Spark"),
        ("lower(tag) = 'x'", r"'LOWER\(tag\)' in .* is not computed on Spark"),
        ("hour(happened) = 3", "is not computed on Spark"),
        ("tag = 3", "it mixes text and whole"),
        ("w AND f", "'w' in 'w AND f' is not computed on Spark: it is no condition"),
        ("d + w > 1", "is not computed on Spark"),
        ("other = 1", "it is array<int>"),
        ("tga = 'x'", "there is no column 'tga' .* 'tag'"),
    ],
)
def test_what_might_mean_something_else_is_refused_by_name(where: str, message: str) -> None:
    kinds = {"f": "bool", "w": "whole", "d": "decimal", "tag": "text", "happened": "time", "other": "array<int>"}
    with pytest.raises(InvalidDefinitionError, match=message):
        translated(where, kinds, "FeatureView 'x': Count")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyspark", None)
    view = FeatureView("x", SOURCES["append"], ["k"], [Count(windows=["1h"])])
    with pytest.raises(
        MissingExtraError, match=r"Spark needs the extra 'spark'. Install it with: pip install 'sterling-ml\["
    ):
        features(view, None, None)


@pytest.mark.slow
def test_what_spark_cannot_do_exactly_is_refused_by_name(bench: Bench, spark: SparkSession, lake: Lake) -> None:
    batch = Batch(bench, "append", seed=3, logs=4)
    events, moments = lake.put(batch.events), lake.put(batch.moments)

    def view(*items: Any) -> FeatureView:
        return FeatureView("x", batch.source, ["log", "k", "n"], items)

    with pytest.raises(InvalidDefinitionError, match="Sum reads 'tag', which is string, not a number"):
        features(view(Sum("tag", windows=["1h"])), events, moments)
    with pytest.raises(InvalidDefinitionError, match="the moments have no column 'log'"):
        features(view(Count(windows=["1h"])), events, moments.drop("log"))
    with pytest.raises(DataError, match=r"the events have no column '_available_at'. Give the clean table of log"):
        features(view(Count(windows=["1h"])), events.drop("_available_at"), moments)
    far = events.selectExpr("* EXCEPT (v)", "1e-300D * (1 + n) AS v")
    with pytest.raises(DataError, match=r"adds up 'v', which has values from .* Spark adds up doubles between"):
        features(view(Sum("v", windows=["1h"])), far, moments)
    wrong = events.selectExpr("* EXCEPT (v)", "CAST('NaN' AS DOUBLE) AS v")
    with pytest.raises(DataError, match="'v', which is infinite or no number in"):
        features(view(Mean("v", windows=["1h"])), wrong, moments)
    tight = view(CountDistinct("w", windows=["400d"], budget=1))
    with pytest.raises(
        Exception, match=r"x_count_distinct_w_400d: one window holds \d+ different values of 'w', over the budget of 1"
    ):
        lake.get(features(tight, events, moments))
    spark.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
    try:
        with pytest.raises(InvalidDefinitionError, match=r"spark.sql.session.timeZone=Europe/Berlin. Set it to UTC"):
            features(view(Count(windows=["1h"])), events, moments)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


@pytest.mark.slow
def test_more_windows_than_one_query_has_room_for(bench: Bench, lake: Lake) -> None:
    batch = Batch(bench, "append", seed=8, logs=6)
    view = FeatureView("x", batch.source, ["log", "k", "n"], [Count(windows=[f"{n}m" for n in range(20, 90)])])
    made = lake.get(features(view, lake.put(batch.events), lake.put(batch.moments)))
    assert differing(made, batch.embedded(view)) == 0


@pytest.mark.slow
def test_every_feature_of_every_flight_equals_the_embedded_one(bench: Bench, lake: Lake, tried: Show) -> None:
    project = load_project(FOLDER)
    engine, tables = DuckDBEngine(), dict[str, pa.Table]()
    for query in queries(project):
        for locator in map(locator_of, query.inputs):
            ((_, path),) = files_of(locator, FOLDER)
            tables[table_name(locator)] = engine.read(path, path.name)
    made = {query.file: engine.query((FOLDER / query.file).read_text("utf-8"), tables) for query in queries(project)}
    spine, items = project.spine, [f for f in project.features.features if isinstance(f, FeatureView | Last | First)]
    sources = {source.name: source for source in (spine.source, project.label.source, *map(source_of, items))}
    tables = {name: made[source.table.file] for name, source in sources.items()}
    snapshots = {
        f"snapshot:{n}": bench.snapshot(source, tables[n]).outputs["snapshot"] for n, source in sources.items()
    }
    as_of = read_as_of(bench.run(AsOf(), snapshots).outputs["as_of"], bench.context)
    clean = {f"clean:{name}": bench.clean(source, tables[name], as_of) for name, source in sources.items()}
    inputs = clean | {"spine": bench.spine(spine, project.label, clean, as_of).outputs["spine"]}
    numbered = bench.table(inputs["spine"])
    own = bench.table(inputs[f"clean:{spine.source.name}"]).take(numbered["row"])
    moments = own.select([c for c in own.schema.names if not c.startswith("_")])
    moments = moments.append_column("predict_at", numbered["predict_at"]).append_column(
        "_row", pa.array(range(len(own)))
    )
    asked, cells, unequal = lake.put(moments), 0, 0
    stored = {name: lake.put(bench.table(ref)) for name, ref in clean.items()}
    for item in items:
        found = lake.get(features(item, stored[f"clean:{source_of(item).name}"], asked))
        wanted = bench.feature(item, spine, inputs)
        unequal += differing(found, wanted)
        cells += wanted.num_rows * wanted.num_columns
    tried("cells of the flights on Spark compared with the embedded engine", cells)
    tried("float cells of the flights on Spark that are not equal, within the tolerance", unequal)
    assert cells > 5_000_000
