"""Predictions of several classes in a table are judged as those of a run are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from sterling.core.errors import DataError
from sterling.models.answers import with_scores
from sterling.project.gates import AtLeast, EverySlice, Improves
from sterling.project.tasks import Multiclass
from sterling.standalone.scores import Wanted, evaluate_scores
from tests.cli.conftest import sterling

TASK = Multiclass()


@pytest.fixture(scope="module")
def wines() -> pa.Table:
    """Two models of wines, cross-validated, and a batch of six."""
    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = (x / x.std(axis=0))[order][:, :4], y[order]
    table = pa.table({"wine": np.array(["barbera", "barolo", "grignolino"])[y], "batch": np.arange(len(y)) // 6})
    models = {
        "p": LogisticRegression(max_iter=5000),
        "old": DecisionTreeClassifier(max_leaf_nodes=4, min_samples_leaf=10, random_state=0),
    }
    for name, model in models.items():
        found = cross_val_predict(model, x, y, cv=5, method="predict_proba")
        table = with_scores(table, found, ("barbera", "barolo", "grignolino"))
        table = table.rename_columns([column.replace("score:", f"{name}:") for column in table.column_names])
    return table


def test_the_estimates_are_those_of_scikit_learn(wines: pa.Table) -> None:
    gates = (
        AtLeast("accuracy", 0.6),
        Improves("log_loss", over="champion"),
        EverySlice("accuracy", ("wine",), 0.2, 30),
    )
    found = evaluate_scores(wines, Wanted("wine", "p", champion="old", gates=gates, cluster="batch", task=TASK))
    values = {(m.name, m.metric): m.value for m in found.report.measures}
    p = np.column_stack([wines[f"p:{name}"].to_numpy() for name in ("barbera", "barolo", "grignolino")])
    label = wines["wine"].to_numpy(zero_copy_only=False)
    assert values["p", "log_loss"] == pytest.approx(log_loss(label, p), rel=1e-12)
    said = np.array(["barbera", "barolo", "grignolino"])[p.argmax(axis=1)]
    assert values["p", "macro_f1"] == pytest.approx(f1_score(label, said, average="macro"), rel=1e-12)
    assert found.verdict == "passed"
    assert (found.rows, found.positives) == (178, None)
    (by_class,) = [entry.body for entry in found.entries if entry.kind == "classes.measured"]
    assert np.sum(by_class["confusion"]) == 178


def test_a_class_without_a_column_is_an_error_and_is_named(wines: pa.Table) -> None:
    names = ["merlot" if place % 50 == 0 else name for place, name in enumerate(wines["wine"].to_pylist())]
    other = wines.set_column(0, "wine", pa.array(names))
    found = evaluate_scores(other, Wanted("wine", "p", task=TASK))
    (by_class,) = [entry.body for entry in found.entries if entry.kind == "classes.measured"]
    assert by_class["unknown"] == {"merlot": 4}
    before = evaluate_scores(wines, Wanted("wine", "p", task=TASK)).report.of_metric("accuracy")[0].value
    after = found.report.of_metric("accuracy")[0].value
    assert before is not None
    assert after is not None
    assert after < before


@pytest.mark.parametrize(
    ("change", "wanted", "said"),
    [
        ({}, Wanted("wine", "q", task=TASK), "There are 0 columns q:<class>"),
        ({"old:barolo": None}, Wanted("wine", "p", champion="old", task=TASK), "There is no column 'old:barolo'"),
        ({"wine": 0.5}, Wanted("wine", "p", task=TASK), "'wine' holds double. A label is the name of a class"),
        ({"wine": "merlot"}, Wanted("wine", "p", task=TASK), "is none of the classes that have a column"),
        ({"p:barolo": 0.9}, Wanted("wine", "p", task=TASK), "The columns p:… sum to .* Probabilities sum to 1"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(
    wines: pa.Table, change: dict[str, object], wanted: Wanted, said: str
) -> None:
    table = wines
    for name, value in change.items():
        place = table.column_names.index(name)
        table = (
            table.remove_column(place)
            if value is None
            else table.set_column(place, name, pa.array([value] * len(table)))
        )
    with pytest.raises(DataError, match=said):
        evaluate_scores(table, wanted)


def test_the_command_reads_a_column_for_each_class(wines: pa.Table, tmp_path: Path) -> None:
    pq.write_table(wines, tmp_path / "scores.parquet")
    page = tmp_path / "page.html"
    asked = ["evaluate", "scores.parquet", "--label", "wine", "--score", "p", "--task", "multiclass"]
    result = sterling(tmp_path, *asked, "--champion", "old", "--gate", "accuracy>=0.5", "--html", str(page))
    assert result.code == 0, result.errors
    assert "Confusion of classes" in result.out
    assert "Calibration of classes" in page.read_text()
