from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from sterling.core.errors import InvalidDefinitionError
from sterling.core.refs import Ref
from sterling.features.on_demand import FunctionFailedError
from sterling.project.features import Derived, Expression, FeatureService, OnDemand
from sterling.stages.features import reads
from sterling.stages.on_demand import OnDemandFeatures
from tests.stages.bench import Bench, fact, rows


def described(miles: int | None, hours: float | None, early: int | None, carrier: str | None) -> int:
    """Which types came, as digits: 1 whole, 2 float, 3 text, 0 null."""
    kinds = {int: 1, float: 2, str: 3, type(None): 0}
    return int("".join(str(kinds[type(value)]) for value in (miles, hours, early, carrier)))


def per_hour(miles: int | None, hours: float | None) -> float | None:
    return miles / hours if miles is not None and hours is not None else None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def features(bench: Bench) -> dict[str, Ref]:
    numbers = pa.table({
        "miles": pa.array([100, 100, None], pa.int64()), "hours": pa.array([2.0, 2.0, 0.5]),
        "early": pa.array([1, 1, None], pa.int8()),
    })  # fmt: skip
    return {
        "features:plan[miles, hours, early]": bench.put(numbers),
        "features:carrier": bench.put(pa.table({"carrier": ["X", "X", None]})),
    }


def test_a_function_is_given_what_the_frame_has_in_the_order_of_its_inputs(bench: Bench) -> None:
    feature = OnDemand("kinds", described, inputs=["miles", "hours", "early", "carrier"])
    made = bench.run(OnDemandFeatures(feature), features(bench))
    table = bench.table(made.outputs["features"])
    assert rows(table, "kinds") == [1213.0, 1213.0, 200.0]
    assert str(table.schema.field("kinds").type) == "double"


def test_nulls_are_counted_as_those_of_other_features_are(bench: Bench) -> None:
    made = bench.run(OnDemandFeatures(OnDemand("pace", per_hour, inputs=["miles", "hours"])), features(bench))
    body = fact(made, "features.built").body
    assert (body["view"], body["features"][0]["name"]) == ("pace", "pace")
    assert body["features"][0]["nulls"] == pytest.approx(1 / 3)


def test_a_function_that_cannot_take_nulls_says_so_by_the_row(bench: Bench) -> None:
    def doubled(miles: int) -> int:
        return miles * 2

    doubled.__qualname__ = "doubled"
    with pytest.raises(FunctionFailedError, match=r"'twice' raised TypeError\. The first such row is 3 of 3"):
        bench.run(OnDemandFeatures(OnDemand("twice", doubled, inputs=["miles"])), features(bench))


def test_an_input_that_is_no_feature_is_refused_with_the_nearest_ones(bench: Bench) -> None:
    with pytest.raises(InvalidDefinitionError, match=r"'pace' reads 'milez'\. Did you mean 'miles'"):
        bench.run(OnDemandFeatures(OnDemand("pace", per_hour, inputs=["milez", "hours"])), features(bench))


def test_derived_features_may_read_on_demand_ones_and_these_read_neither() -> None:
    a, b = Expression("a", "x"), Expression("b", "y")
    pace, twice = OnDemand("pace", per_hour, inputs=["b", "a"]), Derived("twice", "pace * 2")
    service = FeatureService([twice, pace, a, b])
    assert reads(pace, service) == (a, b)
    assert reads(twice, service) == (pace,)
