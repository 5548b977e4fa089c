from __future__ import annotations

import msgspec
import pytest

import sterling as sl
from sterling.core.errors import InvalidDefinitionError, NotKnownAtPredictionError
from sterling.project.bind import bind
from tests.project.flights import SCHEMAS, arrivals, origin_delay, project, schedule, weather, with_features


def test_a_project_that_fits_its_data_binds() -> None:
    bind(project, SCHEMAS)


def twice(miles: float | None) -> float | None:
    return None if miles is None else 2 * miles


def test_a_derived_feature_may_read_an_on_demand_one() -> None:
    bind(with_features(sl.Derived("d", "o * 2"), sl.OnDemand("o", twice, inputs=["distance"])), SCHEMAS)


def view(*features: object, **fields: object) -> sl.FeatureView:
    return msgspec.structs.replace(origin_delay, name="other", features=features, **fields)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (with_features(schedule["distanse"]), "schedule lists no column 'distanse'. Did you mean 'distance'"),
        (with_features(sl.Expression("e", "dep_dlay + 1")), "Expression 'e': .* Did you mean 'dep_delay'"),
        (with_features(view(sl.Mean("tailnum", windows=["1h"]))), "reads 'tailnum', which is string, not a number"),
        (with_features(view(sl.Mean("delay", windows=["1h"]))), "FeatureView 'other': Mean: arrivals lists no column"),
        (
            with_features(view(sl.Pending(until="arr_delay", windows=["1h"]))),
            "reads 'arr_delay', which is double, not a time",
        ),
        (
            with_features(view(sl.Variance("tailnum", windows=["1h"]))),
            "Variance reads 'tailnum', which is string, not a number",
        ),
        (with_features(view(sl.CountDistinct("tailnumb", windows=["1h"]))), "CountDistinct: .* Did you mean 'tailnum'"),
        (with_features(view(sl.Sum("arr_delay", ahead=["1h"], where="arr_dely > 0"))), "Did you mean 'arr_delay'"),
        (with_features(view(sl.Count(windows=["1h"], where="random() < 0.5"))), r"RANDOM\(\) is refused"),
        (with_features(view(sl.Count(windows=["1h"], where="arr_delay > epoch(now())"))), r"NOW\(\) is refused"),
        (with_features(sl.Expression("e", "current_date - local_day")), "CURRENT_DATE is refused"),
        (
            with_features(sl.First(weather["wind_speed"], where="wind_spee > 1")),
            "First of weather: .* Did you mean 'wind_speed'",
        ),
        (with_features(view(sl.Count(windows=["1h"]), on={"dest": "origin"})), "on= names 'dest', .* Known: origin"),
        (with_features(view(sl.Count(windows=["1h"]), on={"origin": "origine"})), "Did you mean 'origin'"),
        (with_features(sl.Last(weather["wind_sped"])), "Last of weather: .* Did you mean 'wind_speed'"),
        (with_features(sl.Derived("d", "distance / wind")), "Derived 'd' reads 'wind'"),
        (
            msgspec.structs.replace(project, fallback=[sl.fallbacks.Rule("distanse / 10000")]),
            "fallbacks.Rule .* reads 'distanse', .* Did you mean 'distance'",
        ),
        (
            with_features(sl.OnDemand("o", twice, inputs=["distanse"])),
            "OnDemand 'o' reads 'distanse'.* Did you mean 'distance'",
        ),
        (
            with_features(sl.Derived("d", "distance * 2"), sl.OnDemand("o", twice, inputs=["d"])),
            "OnDemand 'o' reads 'd', which is no feature of the service that is neither derived nor on demand",
        ),
        (
            with_features(sl.OnDemand("a", twice, inputs=["distance"]), sl.OnDemand("o", twice, inputs=["a"])),
            "OnDemand 'o' reads 'a'",
        ),
        (msgspec.structs.replace(project, cluster="local_dya"), "Project.cluster: .* Did you mean 'local_day'"),
        (
            msgspec.structs.replace(project, gates=[sl.gates.EverySlice("roc_auc", by=["carier"], at_least=0.5)]),
            "EverySlice.by names 'carier'.* Did you mean 'carrier'",
        ),
        (
            msgspec.structs.replace(project, label=sl.Label("arr_dely > 0", source=arrivals, horizon="1d")),
            "Label: arrivals lists no column 'arr_dely'. Did you mean 'arr_delay'",
        ),
    ],
)
def test_a_mistake_names_the_place_the_column_and_the_nearest_ones(wrong: sl.Project, message: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=message):
        bind(wrong, SCHEMAS)


def test_personal_data_make_no_slices_since_their_values_would_enter_the_ledger() -> None:
    personal = msgspec.structs.replace(schedule, pii=["carrier"])
    wrong = msgspec.structs.replace(
        project,
        spine=sl.EventSpine(personal, predict_at="scheduled_departure - INTERVAL 2 HOUR"),
        features=sl.FeatureService([personal["carrier"]]),
    )
    with pytest.raises(InvalidDefinitionError, match="'carrier', which is, or is computed from, personal data"):
        bind(wrong, SCHEMAS)


def test_a_feature_that_a_function_makes_of_personal_data_makes_no_slices_either() -> None:
    personal = msgspec.structs.replace(schedule, pii=["distance"])
    made = sl.OnDemand("code", twice, inputs=["far"])
    wrong = msgspec.structs.replace(
        project,
        spine=sl.EventSpine(personal, predict_at="scheduled_departure - INTERVAL 2 HOUR"),
        features=sl.FeatureService([sl.Expression("far", "distance * 2"), made]),
        gates=[sl.gates.EverySlice("roc_auc", by=["code"], at_least=0.5)],
    )
    with pytest.raises(InvalidDefinitionError, match="'code', which is, or is computed from, personal data"):
        bind(wrong, SCHEMAS)


def test_a_condition_reads_only_what_is_known_at_some_time() -> None:
    listed = msgspec.structs.replace(arrivals, columns=["origin", "arr_delay"])
    late = msgspec.structs.replace(
        origin_delay, name="x", source=listed, features=[sl.Count(windows=["1h"], where="tailnum = 'N1'")]
    )
    with pytest.raises(
        NotKnownAtPredictionError, match=r"FeatureView 'x': Count reads 'tailnum' of arrivals, which stands in neither"
    ):
        bind(
            msgspec.structs.replace(
                project, label=sl.Label("arr_delay > 0", listed, "1d"), features=sl.FeatureService([late])
            ),
            SCHEMAS,
        )


def test_a_column_whose_availability_is_not_said_is_no_feature() -> None:
    with pytest.raises(
        NotKnownAtPredictionError, match=r"stands in neither columns= nor known=.*known=\{'tailnum': …\}"
    ):
        bind(with_features(schedule["tailnum"]), SCHEMAS)


def test_a_feature_that_is_provably_late_is_refused_with_the_two_times() -> None:
    late = msgspec.structs.replace(schedule, available_at="scheduled_departure - INTERVAL 90 MINUTE")
    wrong = msgspec.structs.replace(
        project,
        spine=sl.EventSpine(late, predict_at="scheduled_departure - INTERVAL 2 HOUR"),
        features=sl.FeatureService([late["carrier"]]),
    )
    message = (
        "feature 'carrier' reads 'carrier' of schedule, which becomes known at scheduled_departure - INTERVAL 90 MINUTE; "
        "the prediction is made at scheduled_departure - INTERVAL 2 HOUR, which is never later"
    )
    with pytest.raises(NotKnownAtPredictionError, match=message):
        bind(wrong, SCHEMAS)


def test_availability_exactly_at_the_prediction_is_too_late() -> None:
    at = msgspec.structs.replace(schedule, available_at="scheduled_departure - INTERVAL 2 HOUR")
    wrong = msgspec.structs.replace(
        project,
        spine=sl.EventSpine(at, predict_at="scheduled_departure - INTERVAL 120 MINUTE"),
        features=sl.FeatureService([at["carrier"]]),
    )
    with pytest.raises(NotKnownAtPredictionError):
        bind(wrong, SCHEMAS)
