"""Studies are functions of the holdout and the candidate: each number can be had by hand from its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics

from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.engine.duckdb import DuckDBEngine
from sterling.models import CategoryTerm, Column, Constant, Linear, Model, NumberTerm
from sterling.project.definition import to_json
from sterling.project.perturbations import Missing, Noise, OutOfRange, Scaled, Unseen
from sterling.project.recipe import LightGBM, Logistic, Ridge
from sterling.project.studies import Errors, Falls, Flips, Importance, Invariant, Rises, Scores, Slices
from sterling.project.tasks import Regression
from sterling.stages.behaviour import CheckBehaviour
from sterling.stages.contract import Context, Outcome, put_bytes, put_json
from sterling.stages.decide import decided
from sterling.stages.errors import AnalyseErrors
from sterling.stages.flips import CompareWithChampion
from sterling.stages.holdout import CutHoldout, Scored, label_rate, scored
from sterling.stages.importance import MeasureImportance
from sterling.stages.moved import CompareNumbersWithChampion
from sterling.stages.number_errors import AnalyseNumberErrors
from sterling.stages.retraining import Retrain, Variant
from sterling.stages.robustness import MeasureRobustness
from sterling.stages.segments import DiscoverSlices
from sterling.stages.train import Train
from sterling.stats.means import row_log_loss
from sterling.tasks.policies import Decider
from tests.models.frames import DAY, context, frame, put_table

START, END = 30 * DAY, 60 * DAY
COLUMNS = (
    Column("distance", "number"),
    Column("wind", "number"),
    Column("carrier", "category", ("AA", "B6", "DL", "UA")),
)
TERMS = NumberTerm(1000, 600, 1, 0), NumberTerm(10, 5, 1, 0), CategoryTerm((0.0, 0.5, -0.5, 1.0), 0.2)
CANDIDATE = Model(COLUMNS, Linear(-1, TERMS))
CHAMPION = Model(COLUMNS[:1], Linear(-1, TERMS[:1]))


@pytest.fixture
def here(tmp_path: Path) -> Context:
    plain = context(tmp_path)
    return Context(plain.store, DuckDBEngine(1), plain.seed)


@pytest.fixture
def inputs(here: Context) -> dict[str, Ref]:
    return made(here, frame(3_000), CANDIDATE)


def made(here: Context, table: pa.Table, candidate: Model) -> dict[str, Ref]:
    given = {"frame": put_table(here.store, table), "candidate": put_bytes(here.store, candidate.to_bytes())}
    return given | dict(CutHoldout(START, END)({"frame": given["frame"]}, here).outputs)


def body(outcome: Outcome, kind: str) -> Mapping[str, Any]:
    (found,) = [fact.body for fact in outcome.facts if fact.kind == kind]
    return found


def judged(inputs: Mapping[str, Ref], here: Context) -> Scored:
    return scored(inputs, here, clustered=True)


def table_of(here: Context, ref: Ref) -> pa.Table:
    return pq.read_table(here.store.open(ref))


class TestHoldout:
    def test_it_holds_the_rows_of_the_block_whose_labels_are_known(self, here: Context, inputs: dict[str, Ref]) -> None:
        rows = judged(inputs, here).rows
        assert rows.known.all()
        assert rows.predict_at.min() >= START
        assert len(rows) == sum(
            start is not None and START <= at < END
            for at, start in zip(*(frame(3_000)[name].to_pylist() for name in ("predict_at", "label")), strict=True)
        )

    def test_the_label_rate_is_that_of_what_was_known_before(self, here: Context, inputs: dict[str, Ref]) -> None:
        table = frame(3_000).to_pylist()
        known = [row["label"] for row in table if row["label"] is not None and row["matured_at"] < START]
        assert label_rate(inputs, here) == pytest.approx(np.mean(known))

    def test_every_few_rows_keep_their_order_and_their_clusters(self, here: Context, inputs: dict[str, Ref]) -> None:
        every = judged(inputs, here)
        some = every.every(3)
        np.testing.assert_array_equal(some.scores, every.scores[::3])
        assert set(some.clusters) == set(every.clusters)


class TestSlices:
    def test_a_candidate_that_is_right_has_no_bad_segment(self, here: Context) -> None:
        inputs = made(here, frame(3_000, seed=2), CANDIDATE)
        found = body(DiscoverSlices("linear", Slices(), 0.05, True)(inputs, here), "slices.discovered")
        assert found["slices"] == []
        assert found["tried"] > 20
        assert found["features"] == 3

    def test_a_segment_that_the_candidate_is_wrong_in_is_named(self, here: Context) -> None:
        table = frame(6_000)
        wrong = Model(COLUMNS, Linear(-1, (*TERMS[:2], CategoryTerm((0.0, 0.5, -0.5, -1.5), 0.2))))
        found = body(
            DiscoverSlices("linear", Slices(), 0.05, True)(made(here, table, wrong), here), "slices.discovered"
        )
        assert found["slices"][0]["where"] == [["carrier", "UA"]]
        assert found["slices"][0]["direction"] == "too low"

    def test_features_that_the_model_does_not_read_can_be_named(self, here: Context, inputs: dict[str, Ref]) -> None:
        study = Slices(features=["dest", "carrier"], least_rows=50)
        found = body(DiscoverSlices("linear", study, 0.05, True)(inputs, here), "slices.discovered")
        assert found["features"] == 2

    def test_a_holdout_of_few_days_is_not_searched_and_says_why(self, here: Context, inputs: dict[str, Ref]) -> None:
        given = inputs | dict(CutHoldout(START, START + 5 * DAY)({"frame": inputs["frame"]}, here).outputs)
        found = body(DiscoverSlices("linear", Slices(), 0.05, True)(given, here), "slices.discovered")
        assert "needs at least 8" in found["reason"]


class TestErrors:
    STAGE = AnalyseErrors("linear", Errors(mistakes=7), ("carrier", "origin"), 0.05, True)

    def test_the_confusion_is_that_of_scikit_learn(self, here: Context, inputs: dict[str, Ref]) -> None:
        found, rows = body(self.STAGE(inputs, here), "errors.analysed")["confusion"], judged(inputs, here)
        (tn, fp), (fn, tp) = metrics.confusion_matrix(rows.label, rows.scores >= label_rate(inputs, here))
        names = "true_negatives", "false_positives", "false_negatives", "true_positives"
        assert [found[name] for name in names] == [tn, fp, fn, tp]

    def test_with_a_policy_the_confusion_is_that_of_its_decisions(self, here: Context, inputs: dict[str, Ref]) -> None:
        rows = judged(inputs, here)
        for decider in (Decider(0.6, "as the project says"), Decider(None, "the 5 highest", 5, "1d")):
            given = inputs | {"policy": put_json(here.store, decider.document())}
            found = body(self.STAGE(given, here), "errors.analysed")["confusion"]
            acted = decided(rows.rows, decider, rows.scores) == 1
            assert (found["threshold"], found["chosen"]) == (decider.threshold, decider.why)
            assert found["true_positives"] == (acted & (rows.label == 1)).sum()
            assert found["false_positives"] + found["true_positives"] == acted.sum() > 0

    def test_mistakes_are_the_rows_of_the_highest_loss_and_their_units_stand_in_no_fact(
        self, here: Context, inputs: dict[str, Ref]
    ) -> None:
        outcome, rows = self.STAGE(inputs, here), judged(inputs, here)
        found = body(outcome, "errors.analysed")
        worst = np.argsort(-row_log_loss(rows.label, rows.scores))[:7]
        assert [one["score"] for one in found["mistakes"]] == rows.scores[worst].tolist()
        kept = table_of(here, outcome.outputs["mistakes"])
        assert kept["unit"].to_pylist() == rows.rows.table["unit"].take(worst).to_pylist()
        assert kept["score"].to_pylist() == rows.scores[worst].tolist()
        assert not any(unit in str(found) for unit in kept["unit"].to_pylist())

    def test_calibration_is_looked_at_by_week_and_by_slice(self, here: Context, inputs: dict[str, Ref]) -> None:
        found, rows = body(self.STAGE(inputs, here), "errors.analysed")["calibration"], judged(inputs, here)
        by = {(one["by"], one["value"]): one for one in found}
        weeks = [one for one in found if one["by"] == "week"]
        assert sum(one["rows"] for one in weeks) == len(rows)
        assert weeks[0]["value"] == "1970-01-26"  # the Monday before the 31st of January
        carrier = np.array(rows.rows.table["carrier"].to_pylist()) == "UA"
        assert by["carrier", "UA"]["gap"] == pytest.approx(np.mean((rows.label - rows.scores)[carrier]))
        assert by["carrier", "UA"]["low"] < by["carrier", "UA"]["gap"] < by["carrier", "UA"]["high"]
        assert {("origin", "EWR"), ("origin", "JFK"), ("carrier", None)} <= set(by)


class TestImportance:
    STAGE = MeasureImportance(
        "linear", Importance(), (("weather", ("wind", "distance")), ("one", ("carrier",))), 0.05, True
    )

    def test_what_is_lost_is_the_loss_with_the_column_shuffled(self, here: Context, inputs: dict[str, Ref]) -> None:
        found, rows = body(self.STAGE(inputs, here), "importance.permuted"), judged(inputs, here)
        order = np.random.default_rng(here.seed).permutation(len(rows))
        shuffled = rows.matrix.copy()
        shuffled[:, 0] = shuffled[order, 0]
        lost = {one["name"]: one for one in found["features"]}
        expected = metrics.log_loss(rows.label, CANDIDATE.predict(shuffled)) - metrics.log_loss(rows.label, rows.scores)
        assert lost["distance"]["value"] == pytest.approx(expected)
        assert lost["wind"]["low"] > 0
        assert [view["name"] for view in found["views"]] == ["weather"]
        assert found["views"][0]["value"] > max(lost["wind"]["value"], lost["distance"]["value"])

    def test_attributions_sum_to_the_scores(self, here: Context, inputs: dict[str, Ref]) -> None:
        found = body(self.STAGE(inputs, here), "attributions.measured")
        assert found["largest_error"] < 1e-9
        assert {one["name"] for one in found["features"]} == {"distance", "wind", "carrier"}
        assert found["features"][0]["size"] >= found["features"][-1]["size"] > 0

    def test_the_cost_is_bounded(self, here: Context, inputs: dict[str, Ref]) -> None:
        stage = MeasureImportance("linear", Importance(predictions=1_000, attributed=50), (), 0.05, True)
        outcome = stage(inputs, here)
        assert 3 * body(outcome, "importance.permuted")["rows"] <= 1_000
        assert body(outcome, "attributions.measured")["rows"] <= 50

    def test_a_model_without_features_leans_on_nothing(self, here: Context) -> None:
        outcome = self.STAGE(made(here, frame(2_000), Model((), Constant(0.3))), here)
        assert body(outcome, "importance.permuted")["features"] == []


class TestANumber:
    """The studies that do not need probabilities."""

    MODEL = Model(COLUMNS[:2], Linear(20.0, (NumberTerm(1000, 600, 4, 0), NumberTerm(10, 5, 2, 0)), "number"))

    @pytest.fixture
    def inputs(self, here: Context) -> dict[str, Ref]:
        table = frame(3_000)
        random = np.random.default_rng(1)
        hours = 20 + (np.asarray(table["distance"]) - 1000) / 150 + random.normal(0, 3, len(table))
        known = np.array([value is not None for value in table["label"].to_pylist()])
        place = table.column_names.index("label")
        return made(here, table.set_column(place, "label", pa.array(hours, mask=~known)), self.MODEL)

    def test_shuffling_makes_the_squared_error_larger(self, here: Context, inputs: dict[str, Ref]) -> None:
        outcome = MeasureImportance("linear", Importance(), (), 0.05, True, Regression())(inputs, here)
        found, rows = body(outcome, "importance.permuted"), judged(inputs, here)
        order = np.random.default_rng(here.seed).permutation(len(rows))
        shuffled = rows.matrix.copy()
        shuffled[:, 0] = shuffled[order, 0]
        before, after = (np.mean((rows.label - self.MODEL.predict(matrix)) ** 2) for matrix in (rows.matrix, shuffled))
        lost = {one["name"]: one["value"] for one in found["features"]}
        assert found["metric"] == "squared_error"
        assert lost["distance"] == pytest.approx(after - before)
        assert body(outcome, "attributions.measured")["largest_error"] < 1e-9

    def test_a_segment_that_it_is_wrong_in_is_named_with_its_errors(
        self, here: Context, inputs: dict[str, Ref]
    ) -> None:
        stage = DiscoverSlices("linear", Slices(features=["carrier", "distance"]), 0.05, True, Regression())
        found = body(stage(inputs, here), "slices.discovered")
        rows = judged(inputs, here)
        assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(rows.label, rows.scores))
        assert found["mae"] == pytest.approx(metrics.mean_absolute_error(rows.label, rows.scores))
        assert {one["direction"] for one in found["larger"]} <= {"less exact"}
        assert found["tried"] > 10

    def test_errors_are_residuals_and_the_largest_stand_first(self, here: Context, inputs: dict[str, Ref]) -> None:
        outcome = AnalyseNumberErrors("linear", Errors(mistakes=4), ("carrier",), 0.05, True)(inputs, here)
        found, rows = body(outcome, "errors.analysed"), judged(inputs, here)
        residual = rows.label - rows.scores
        worst = np.argsort(-np.abs(residual))[:4]
        assert [one["label"] for one in found["mistakes"]] == rows.label[worst].tolist()
        assert (
            table_of(here, outcome.outputs["mistakes"])["unit"].to_pylist()
            == rows.rows.table["unit"].take(worst).to_pylist()
        )
        assert found["residuals"]["quantiles"]["0.25"] == pytest.approx(np.quantile(residual, 0.25))
        assert 0.01 < found["residuals"]["share_of_worst"] < 0.2
        carrier = np.array(rows.rows.table["carrier"].to_pylist()) == "UA"
        (one,) = [part for part in found["calibration"] if (part["by"], part["value"]) == ("carrier", "UA")]
        assert one["rmse"] == pytest.approx(np.sqrt(np.mean(residual[carrier] ** 2)))
        assert one["low"] < one["gap"] < one["high"]
        assert one["gap"] == pytest.approx(residual[carrier].mean())

    @pytest.mark.parametrize("tolerance", [None, 1.5])
    def test_rows_that_moved_are_counted_at_a_tolerance_that_is_said(
        self, here: Context, inputs: dict[str, Ref], tolerance: float | None
    ) -> None:
        other = Model(COLUMNS[:2], Linear(20.0, (NumberTerm(1000, 600, 4, 0), NumberTerm(10, 5, 0, 0)), "number"))
        given = inputs | {"champion": put_bytes(here.store, other.to_bytes())}
        stage = CompareNumbersWithChampion("linear", Flips(moved=3, tolerance=tolerance), 0.05, True)
        outcome = stage(given, here)
        found, rows = body(outcome, "predictions.compared"), judged(inputs, here)
        theirs = other.predict(rows.matrix)
        moved = np.abs(rows.scores - theirs) > found["tolerance"]
        grown = np.abs(rows.label - rows.scores) - np.abs(rows.label - theirs)
        assert found["moved"] == moved.sum() > 0
        assert (found["worse"], found["better"]) == (
            (grown > found["tolerance"]).sum(),
            (grown < -found["tolerance"]).sum(),
        )
        assert found["low"] < found["rate"] < found["upper"]
        assert found["rate"] == pytest.approx(moved.mean())
        assert found["features"][0]["name"] == "wind"
        assert table_of(here, outcome.outputs["moved"]).num_rows == 3
        if tolerance is None:
            table = [
                row for row in pq.read_table(here.store.open(inputs["frame"])).to_pylist() if row["label"] is not None
            ]
            known = [row["label"] for row in table if row["matured_at"] < START]
            assert found["tolerance"] == pytest.approx(0.1 * np.std(known))
        assert stage(inputs, here).facts == ()

    def test_metrics_are_those_of_the_task(self, here: Context, inputs: dict[str, Ref]) -> None:
        stage = MeasureRobustness(
            "linear", [Missing("d")], {"d": ("distance",)}, {}, ("rmse", "mae"), 100_000, 0.05, True, Regression()
        )
        (found,) = body(stage(inputs, here), "robustness.measured")["perturbations"]
        assert [one["metric"] for one in found["metrics"]] == ["rmse", "mae"]
        assert found["metrics"][0]["lower"] > 0

    def test_a_variant_is_trained_on_the_number(self, here: Context, inputs: dict[str, Ref]) -> None:
        stage = Retrain("ablation", Ridge(), [Variant("w", without=["distance"])], START, 0.05, True, task=Regression())
        (found,) = body(stage(inputs, here), "ablation.measured")["variants"]
        assert {one["metric"]: one["difference"] > 0 for one in found["metrics"]} == {
            "rmse": True,
            "mae": True,
            "r2": False,
        }


class TestRobustness:
    PARTS: Mapping[str, tuple[str, ...]] = {"weather": ("wind",), "distance": ("distance",)}

    def measured(
        self, inputs: dict[str, Ref], here: Context, *under: Any, **dependents: tuple[str, ...]
    ) -> dict[str, Any]:
        stage = MeasureRobustness(
            "linear", under, dict(self.PARTS), dependents, ("log_loss", "roc_auc"), 100_000, 0.05, True
        )
        found = body(stage(inputs, here), "robustness.measured")
        return {
            one["title"]: {m["metric"]: m for m in one["metrics"]} | {"features": one["features"]}
            for one in found["perturbations"]
        }

    def test_a_change_is_that_of_scores_on_changed_rows(self, here: Context, inputs: dict[str, Ref]) -> None:
        found, rows = (
            self.measured(inputs, here, Missing("weather"), Scaled("distance", by=0.3048)),
            judged(inputs, here),
        )
        for title, column, factor in (("weather missing", 1, np.nan), ("distance × 0.3048", 0, 0.3048)):
            matrix = rows.matrix.copy()
            matrix[:, column] *= factor
            expected = metrics.roc_auc_score(rows.label, CANDIDATE.predict(matrix)) - metrics.roc_auc_score(
                rows.label, rows.scores
            )
            assert found[title]["roc_auc"]["difference"] == pytest.approx(expected)
            assert found[title]["roc_auc"]["low"] <= expected <= found[title]["roc_auc"]["high"]

    def test_what_is_computed_from_a_missing_feature_is_missing_too(
        self, here: Context, inputs: dict[str, Ref]
    ) -> None:
        alone = self.measured(inputs, here, Missing("weather"))
        both = self.measured(inputs, here, Missing("weather"), distance=("wind", "seats"))
        assert (alone["weather missing"]["features"], both["weather missing"]["features"]) == (1, 2)

    def test_noise_range_and_unseen_categories_do_harm(self, here: Context, inputs: dict[str, Ref]) -> None:
        found = self.measured(inputs, here, Noise(share=1.0), OutOfRange(), Unseen())
        assert all(one["log_loss"]["difference"] > 0 for one in found.values())
        assert [one["features"] for one in found.values()] == [2, 2, 1]

    def test_what_the_model_does_not_read_cannot_go_wrong(self, here: Context, inputs: dict[str, Ref]) -> None:
        assert self.measured(inputs, here, Unseen("weather")) == {}


class TestBehaviour:
    def answers(self, inputs: dict[str, Ref], here: Context, *tests: Any) -> tuple[list[Mapping[str, Any]], Outcome]:
        outcome = CheckBehaviour("linear", tests, 0.05, True)(inputs, here)
        return body(outcome, "behaviour.tested")["tests"], outcome

    def test_direction_is_kept_by_every_row_or_by_none(self, here: Context, inputs: dict[str, Ref]) -> None:
        (rises, falls), outcome = self.answers(inputs, here, Rises("wind", by=5), Falls("wind", by=5, within=0.01))
        rows = judged(inputs, here)
        present = ~np.isnan(rows.matrix[:, 1])
        assert (rises["rows"], rises["violations"]) == (present.sum(), 0)
        assert falls["share"] > 0.99
        assert falls["examples"][0]["then"] > falls["examples"][0]["score"]
        kept = table_of(here, outcome.outputs["violations"])
        assert kept["test"].to_pylist() == [1] * 5
        assert kept["score_then"].to_pylist() == [one["then"] for one in falls["examples"]]

    def test_invariance_looks_at_every_value(self, here: Context, inputs: dict[str, Ref]) -> None:
        (any_value, small, given), _ = self.answers(
            inputs,
            here,
            Invariant("carrier"),
            Invariant("carrier", within=0.4),
            Invariant("wind", to=[10.0, None], within=0.05),
        )
        rows = judged(inputs, here)
        furthest = np.zeros(len(rows))
        for code in range(4):
            matrix = rows.matrix.copy()
            matrix[:, 2] = code
            furthest = np.maximum(furthest, np.abs(CANDIDATE.predict(matrix) - rows.scores))
        assert any_value["violations"] == (furthest > 0).sum()
        assert small["violations"] == (furthest > 0.4).sum()
        assert 0 < given["share"] < 1
        assert given["low"] < given["share"] < given["upper"] < given["high"]

    def test_plain_cases_are_chosen_by_sql_over_features(self, here: Context, inputs: dict[str, Ref]) -> None:
        (scores,), _ = self.answers(inputs, here, Scores("wind >= 15 AND carrier = 'UA'", at_least=0.5))
        rows = judged(inputs, here)
        plain = (rows.matrix[:, 1] >= 15) & (rows.matrix[:, 2] == 3)
        assert scores["rows"] == plain.sum()
        assert scores["violations"] == (rows.scores[plain] < 0.5).sum()

    def test_tests_stand_in_a_file_as_well(self, here: Context, inputs: dict[str, Ref]) -> None:
        text = (
            b'{"type": "Rises", "feature": "wind", "by": 1}\n\n{"type": "Scores", "where": "wind > 0", "at_most": 1}\n'
        )
        tests, _ = self.answers(inputs | {"tests": put_bytes(here.store, text)}, here)
        assert [one["title"] for one in tests] == ["does not fall when wind + 1", "is at most 1 where wind > 0"]

    @pytest.mark.parametrize(
        ("test", "message"),
        [
            (Rises("carrier", by=1), "'carrier' is a category"),
            (Invariant("wind"), "Name the values that it is given"),
            (Rises("dest", by=1), "'dest' is no feature of the model"),
            (Scores("wind > 1e9", at_least=0.1), "no row of the holdout has wind > 1e9"),
        ],
    )
    def test_a_test_that_does_not_fit_the_model_is_refused(
        self, here: Context, inputs: dict[str, Ref], test: Any, message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            self.answers(inputs, here, test)

    def test_a_line_that_is_no_test_is_refused_by_its_number(self, here: Context, inputs: dict[str, Ref]) -> None:
        for line in (b'{"type": "Rises", "feature": "wind", "by": -1}', b'{"type": "Climbs"}', b"no json"):
            with pytest.raises(DataError, match="Behavioural tests, line 2"):
                self.answers(inputs | {"tests": put_bytes(here.store, b"\n" + line)}, here)


class TestFlips:
    STAGE = CompareWithChampion("linear", Flips(moved=3), 0.05, True)

    def test_negative_flips_are_rows_that_were_right_and_are_wrong(self, here: Context, inputs: dict[str, Ref]) -> None:
        given = inputs | {"champion": put_bytes(here.store, CHAMPION.to_bytes())}
        outcome, rows, theirs = (
            self.STAGE(given, here),
            judged(inputs, here),
            scored(given, here, clustered=True, model="champion"),
        )
        found, threshold = body(outcome, "predictions.compared"), label_rate(inputs, here)
        ours_right, right = ((one.scores >= threshold) == (one.label == 1) for one in (rows, theirs))
        assert found["negative_flips"] == (right & ~ours_right).sum() > 0
        assert found["positive_flips"] == (ours_right & ~right).sum() > 0
        assert found["low"] < found["rate"] < found["upper"] < found["high"]
        assert found["features"][0]["name"] in {"wind", "carrier"}
        assert next(one["size"] for one in found["features"] if one["name"] == "distance") == pytest.approx(
            0, abs=1e-12
        )
        moved = np.argsort(-np.abs(rows.scores - theirs.scores))[:3]
        assert (
            table_of(here, outcome.outputs["moved"])["unit"].to_pylist()
            == rows.rows.table["unit"].take(moved).to_pylist()
        )

    def test_each_decides_by_the_policy_that_it_was_registered_with(
        self, here: Context, inputs: dict[str, Ref]
    ) -> None:
        own, before = Decider(0.6, "given"), Decider(0.3, "given")
        given = inputs | {"champion": put_bytes(here.store, CHAMPION.to_bytes())}
        given |= {"policy": put_json(here.store, own.document())}
        rows, theirs = judged(inputs, here), scored(given, here, clustered=True, model="champion")
        for champion, threshold in ((None, 0.6), (before, 0.3)):
            policy = {"champion_policy": put_json(here.store, champion.document())} if champion else {}
            found = body(self.STAGE(given | policy, here), "predictions.compared")
            right = (theirs.scores >= threshold) == (theirs.label == 1)
            assert found["negative_flips"] == (right & ((rows.scores >= 0.6) != (rows.label == 1))).sum()
            assert found["threshold"] == 0.6

    def test_without_a_champion_nothing_is_found(self, here: Context, inputs: dict[str, Ref]) -> None:
        assert self.STAGE(inputs, here).facts == ()
        other = put_bytes(here.store, Model((Column("height", "number"),), Linear(0, TERMS[:1])).to_bytes())
        assert self.STAGE(inputs | {"champion": other}, here).facts == ()

    def test_the_same_model_flips_nothing(self, here: Context, inputs: dict[str, Ref]) -> None:
        found = body(self.STAGE(inputs | {"champion": inputs["candidate"]}, here), "predictions.compared")
        assert (found["negative_flips"], found["positive_flips"], found["unchanged"], found["features"]) == (
            0,
            0,
            1.0,
            [],
        )


class TestRetraining:
    def trained(self, here: Context, inputs: dict[str, Ref], *variants: Variant) -> list[Mapping[str, Any]]:
        stage = Retrain("ablation", Logistic(), variants, START, 0.05, True)
        found: list[Mapping[str, Any]] = body(stage(inputs, here), "ablation.measured")["variants"]
        return found

    def test_a_variant_is_an_ordinary_training_on_less(self, here: Context) -> None:
        table = frame(4_000)
        trained = Train(Logistic(), "candidate", START)({"frame": put_table(here.store, table)}, here)
        inputs = made(here, table, Model.from_bytes(here.store.open(trained.outputs["model"]).read_bytes()))
        same, without, newest, frozen = self.trained(
            here, inputs, Variant("all"), Variant("without wind", without=["wind"]), Variant("half", share=0.5),
            Variant("frozen", age="14d"),
        )  # fmt: skip
        assert all(one["difference"] == 0 for one in same["metrics"])
        fewer = table.drop_columns(["wind"])
        by_hand = Train(Logistic(), "candidate", START)({"frame": put_table(here.store, fewer)}, here).outputs["model"]
        model, rows = Model.from_bytes(here.store.open(by_hand).read_bytes()), judged(inputs, here)
        expected = metrics.roc_auc_score(rows.label, model.predict(rows.rows.encode(model.columns)))
        auc = next(one for one in without["metrics"] if one["metric"] == "roc_auc")
        assert auc["value"] == pytest.approx(expected)
        assert auc["upper"] < 0
        assert newest["from"] >= "1970-01-15"
        assert newest["to"] == same["to"]
        assert newest["train_rows"] < same["train_rows"]
        assert frozen["to"] < "1970-01-17"
        assert frozen["from"] == same["from"]
        assert {one["metric"] for one in frozen["metrics"]} == {one["metric"] for one in same["metrics"]}

    def test_too_little_to_train_on_is_said(self, here: Context, inputs: dict[str, Ref]) -> None:
        (early,) = self.trained(here, inputs, Variant("frozen", age="40d"))
        assert "there is nothing to train on" in early["reason"]
        assert early["metrics"] == []

    def test_tuned_settings_are_trained_and_not_the_preset(self, here: Context) -> None:
        table, preset, tuned = frame(2_000), LightGBM(trees=2, leaves=2), LightGBM(trees=9, min_rows_per_leaf=20)
        settings = {"trainer": put_json(here.store, to_json(tuned))}
        given = {"frame": put_table(here.store, table)} | settings
        trained = Train(preset, "candidate", START)(given, here).outputs["model"]
        inputs = made(here, table, Model.from_bytes(here.store.open(trained).read_bytes())) | settings
        stage = Retrain("ablation", preset, [Variant("all")], START, 0.05, True)
        (same,) = body(stage(inputs, here), "ablation.measured")["variants"]
        assert all(one["difference"] == 0 for one in same["metrics"])
        del inputs["trainer"]
        (other,) = body(stage(inputs, here), "ablation.measured")["variants"]
        assert any(one["difference"] for one in other["metrics"])
