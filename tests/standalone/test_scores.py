"""Predictions in a table are judged as those of a run are, and what cannot be judged is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.refs import Ref
from sterling.core.store import LocalStore
from sterling.engine.tables import read_table
from sterling.project.gates import AtLeast, AtMost, EverySlice, Improves
from sterling.project.tasks import Regression
from sterling.standalone.scores import Wanted, evaluate_scores
from tests.cli.conftest import sterling


@pytest.fixture(scope="module")
def tumours() -> pa.Table:
    """Two models of breast tumours, cross-validated, with the size of each tumour and a batch of six."""
    x, y = load_breast_cancer(return_X_y=True)
    x = x[:, :4] / x[:, :4].std(axis=0)
    models = {"p": LogisticRegression(max_iter=5000), "old": DecisionTreeClassifier(max_depth=2, random_state=0)}
    scores = {
        name: cross_val_predict(model, x, y, cv=5, method="predict_proba")[:, 1] for name, model in models.items()
    }
    size = np.array(["small", "middle", "large"])[np.digitize(x[:, 0], np.quantile(x[:, 0], [0.4, 0.8]))]
    return pa.table({"benign": y, **scores, "size": size, "batch": np.arange(len(y)) // 6})


def measured(table: pa.Table, wanted: Wanted) -> dict[tuple[str, str], Any]:
    return {(m.name, m.metric): m for m in evaluate_scores(table, wanted).report.measures}


def test_the_estimates_are_those_of_scikit_learn(tumours: pa.Table) -> None:
    found = measured(tumours, Wanted("benign", "p", champion="old"))
    label = tumours["benign"].to_numpy()
    for name in ("p", "old"):
        scores = tumours[name].to_numpy()
        assert found[name, "roc_auc"].value == pytest.approx(roc_auc_score(label, scores), abs=1e-12)
    assert found["p", "log_loss"].value == pytest.approx(log_loss(label, tumours["p"].to_numpy()), abs=1e-12)
    wider = measured(tumours, Wanted("benign", "p", cluster="batch"))["p", "roc_auc"]
    assert wider.value == found["p", "roc_auc"].value
    assert (wider.low, wider.high) != (found["p", "roc_auc"].low, found["p", "roc_auc"].high)


def test_a_champion_slices_and_gates_give_a_verdict_on_bounds(tumours: pa.Table) -> None:
    gates = (AtLeast("roc_auc", 0.9), Improves("roc_auc", over="champion"), EverySlice("roc_auc", ("size",), 0.95, 50))
    found = evaluate_scores(tumours, Wanted("benign", "p", champion="old", gates=gates, cluster="batch"))
    assert (found.verdict, found.rows, found.positives, found.clusters) == ("failed", 569, 357, 95)
    assert [gate.passed for gate in found.report.gates] == [True, True, False]
    assert {m.slice for m in found.report.slices} == {("size", size) for size in ("small", "middle", "large")}
    assert sum(m.rows or 0 for m in found.report.slices) == found.rows
    html = found._repr_html_()
    assert "Failed 1 of 3 gates." in html
    assert "[5]" not in html  # nobody keeps the evidence, so there is no place to name


def test_the_numbers_are_those_of_a_run_on_the_same_predictions(released: Path) -> None:
    entries = sterling(released, "log", "--json").json
    store = LocalStore(released / ".sterling" / "store")
    frame = read_table(store, Ref(next(e["body"]["ref"] for e in entries if e["kind"] == "frame.assembled")))
    made = {e["body"]["name"]: Ref(e["body"]["ref"]) for e in entries if e["kind"] == "predictions.made"}
    scores = read_table(store, made["lightgbm"])
    joined = scores.join(frame.select(["unit", "label", "cluster"]), "unit").sort_by([("predict_at", "ascending")])
    found = measured(joined, Wanted("label", "score", cluster="cluster"))
    recorded = {
        e["body"]["metric"]: e["body"]
        for e in entries
        if e["kind"] == "metric.measured" and e["body"]["role"] == "candidate"
    }
    for metric, body in recorded.items():
        own = found["score", metric]
        assert (own.value, own.low, own.high) == pytest.approx((body["value"], body["low"], body["high"]), abs=1e-9)


def test_numbers_are_judged_as_numbers() -> None:
    x, y = load_diabetes(return_X_y=True)
    expected = cross_val_predict(LinearRegression(), x, y, cv=5)
    table = pa.table({"y": y, "expected": expected, "mean": np.full(len(y), y.mean())})
    gates = (AtMost("rmse", 60.0), Improves("rmse", over="champion"))
    found = evaluate_scores(table, Wanted("y", "expected", champion="mean", gates=gates, task=Regression()))
    assert (found.verdict, found.positives) == ("passed", None)
    assert found.report.of_metric("rmse")[0].value == pytest.approx(root_mean_squared_error(y, expected))
    with pytest.raises(
        InvalidDefinitionError, match=r"roc_auc is not measured under this task. Use one of rmse, mae, r2"
    ):
        Wanted("y", "expected", gates=(AtLeast("roc_auc", 0.7),), task=Regression())


def test_rows_without_a_label_are_left_out_and_counted(tumours: pa.Table) -> None:
    late = pa.array([None if n < 69 else value for n, value in enumerate(tumours["benign"].to_pylist())])
    table = tumours.set_column(0, "benign", late)
    found = evaluate_scores(table, Wanted("benign", "p"))
    assert (found.rows, found.left_out) == (500, 69)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"p": "q"}, "There is no column 'p'. Known: q, y."),
        ({"y": ["yes", "no"] * 20}, "'y' holds string. A label is 0 or 1, or false or true"),
        ({"y": [1, 2] * 20}, "'y' is 2 in 20 of 40 rows, first in row 2. A label is 0 or 1"),
        ({"y": [1] * 40}, "'y' is 1 in all 40 rows. Both classes are needed to judge."),
        ({"y": pa.nulls(40, pa.int8())}, "'y' is null in all 40 rows, so there is nothing to judge by."),
        ({"p": [0.2, 1.5] * 20}, "'p' is 1.5 in 20 of 40 rows, first in row 2. A score is a probability"),
        ({"p": [0.2, None] * 20}, "'p' is null in 20 of 40 rows that have a label. Score them."),
        ({"p": ["a", "b"] * 20}, "'p' holds string. A score is a number: the probability of 1."),
        ({"y": pa.array([], pa.int8()), "p": pa.array([], pa.float64())}, "The file has no rows."),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_column_and_a_value(columns: dict[str, Any], said: str) -> None:
    good = {"y": [0, 1] * 20, "p": [0.2, 0.7] * 20}
    table = pa.table({"q": good["p"], "y": good["y"]} if columns == {"p": "q"} else good | columns)
    with pytest.raises(DataError) as raised:
        evaluate_scores(table, Wanted("y", "p"))
    assert said in str(raised.value)


def test_a_gate_against_a_champion_needs_one() -> None:
    with pytest.raises(InvalidDefinitionError, match=r"there is no champion\. Name its column"):
        Wanted("y", "p", gates=(Improves("roc_auc", over="champion"),))
    with pytest.raises(InvalidDefinitionError, match="Score and champion are both 'p'"):
        Wanted("y", "p", champion="p")


def test_the_command_says_the_verdict_by_its_exit_code_and_writes_a_page(tumours: pa.Table, tmp_path: Path) -> None:
    pq.write_table(tumours, tmp_path / "scores.parquet")
    pa.csv.write_csv(tumours, tmp_path / "scores.csv")
    asked = ["--label", "benign", "--score", "p", "--champion", "old", "--slice", "size", "--cluster", "batch"]
    good = sterling(tmp_path, "evaluate", "scores.parquet", *asked, "--gate", "roc_auc>=0.9", "--html", "page.html")
    assert good.code == 0, good.errors
    assert "Passed its gate." in good.out
    assert max(map(len, good.out.splitlines())) <= 80
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 7  # five metrics, calibration, one slice
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    bad = sterling(tmp_path, "evaluate", "scores.csv", *asked, "--gate", "roc_auc>=0.999", "--json")
    assert (bad.code, bad.json["verdict"], bad.json["rows"], bad.json["clusters"]) == (1, "failed", 569, 95)
    wrong = sterling(tmp_path, "evaluate", "scores.csv", "--label", "benin", "--score", "p")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.errors == "sterling: There is no column 'benin'. Did you mean 'benign'?\n"
