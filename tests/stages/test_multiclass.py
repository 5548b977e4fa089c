"""Training and evaluation on labels that name classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits, load_wine

from sterling.core.errors import DataError
from sterling.models import Column, Model
from sterling.models.answers import scores_of
from sterling.models.frame import Frame
from sterling.models.rows import TrainingRows
from sterling.models.training import fit, train
from sterling.project.recipe import LightGBM, Logistic, Prior, Rule, ShallowTree, Trainer, Tune
from sterling.project.splits import TimeSeriesSplit
from sterling.project.tasks import Multiclass
from sterling.stages.contract import Outcome
from sterling.stages.evaluate import Evaluate
from sterling.stages.train import Train, rows_before
from sterling.stages.tune import Tuning
from sterling.stats.multiclass import METRICS
from tests.models.frames import DAY, context, frame, put_table

START, END = 40 * DAY, 60 * DAY
TRAINERS: list[Trainer] = [
    LightGBM(most_trees=40, min_rows_per_leaf=20), Logistic(), Prior(), ShallowTree(), Rule("carrier = 'UA' OR wind > 10"),
]  # fmt: skip


def of_classes(*, late: str | None = None, rare: str | None = None, rows: int = 3_000) -> pa.Table:
    """A frame whose labels are the name of a class that wind and distance tell; one class may come late, and one once."""
    table = frame(rows)
    score = (table["distance"].to_numpy() - 1000) / 300 + np.random.default_rng(3).normal(0, 0.5, rows)
    label = np.select([score < -0.5, score < 0.7], ["near", "middle"], "far").astype(object)
    if rare:
        label[table["label"].is_valid().to_numpy().nonzero()[0][5]] = rare
    if late:
        label[(table["predict_at"].to_numpy() >= START) & (score > 1.5)] = late
    named = pa.array(label, pa.string(), mask=~table["label"].is_valid().to_numpy())
    return table.set_column(table.column_names.index("label"), "label", named)


def known(table: pa.Table, classes: tuple[str, ...] = ()) -> TrainingRows:
    """The rows whose label is known, encoded."""
    whole = Frame(table, classes)
    return whole.take(whole.known).training_rows(0, Multiclass())


@pytest.fixture(scope="module")
def real() -> dict[str, TrainingRows]:
    """Real data in no order but their own."""
    made = {}
    for load in (load_wine, load_digits):
        matrix, label = load(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(label))
        columns = tuple(Column(f"x{place}", "number") for place in range(matrix.shape[1]))
        task = Multiclass(tuple(map(str, np.unique(label))))
        made[load.__name__] = TrainingRows(columns, matrix[order], label[order].astype(float), 0, task)
    return made


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda one: type(one).__name__)
def test_every_trainer_gives_a_model_that_names_its_classes_and_is_its_bytes(trainer: Trainer) -> None:
    rows = known(of_classes(rare="once"))
    model = fit(trainer, rows, threads=1)
    assert model.outputs == ("far", "middle", "near", "once")
    assert model.to_bytes() == fit(trainer, rows, threads=2).to_bytes()
    again = Model.from_bytes(model.to_bytes())
    together = again.predict(rows.matrix)
    assert together.shape == (len(rows.label), 4)
    assert np.array_equal(together, model.predict(rows.matrix))
    assert np.array_equal(together[:20], np.concatenate([again.predict(row[np.newaxis]) for row in rows.matrix[:20]]))
    assert METRICS["log_loss"].function(rows.label, together) <= METRICS["log_loss"].function(
        rows.label, fit(Prior(), rows).predict(rows.matrix)
    )


@pytest.mark.parametrize(("data", "least"), [("load_wine", 0.9), ("load_digits", 0.93)])
def test_real_classes_are_learnt(real: dict[str, TrainingRows], data: str, least: float) -> None:
    rows = real[data]
    half = np.arange(len(rows.label)) < len(rows.label) // 2
    trees = 60 if data == "load_wine" else 40
    for trainer in (LightGBM(trees=trees, leaves=8, learning_rate=0.2, min_rows_per_leaf=3, l2=0.0), Logistic(c=0.1)):
        model = fit(trainer, rows.take(half), threads=1)
        assert METRICS["accuracy"].function(rows.label[~half], model.predict(rows.matrix[~half])) > least


def test_the_number_of_trees_is_where_later_rows_have_the_least_log_loss() -> None:
    rows = known(of_classes())
    found = train(LightGBM(most_trees=150, patience=10, min_rows_per_leaf=20), rows, threads=1)
    assert 1 < found.found["trees"] < 150
    assert found.earlier is not None
    judged = rows.label[found.earlier.chosen]
    assert found.found["loss"] == pytest.approx(METRICS["log_loss"].function(judged, found.earlier.predicted))


def test_classes_without_a_training_row_are_next_to_impossible() -> None:
    rows = known(of_classes(), ("far", "lost", "middle", "near"))
    for trainer in TRAINERS[:3]:
        model = fit(trainer, rows, threads=1)
        assert model.outputs[1] == "lost"
        assert model.predict(rows.matrix)[:, 1].max() < 1e-6


def test_settings_are_tuned_on_blocks_that_speak_of_the_same_classes(tmp_path: Path) -> None:
    here = context(tmp_path)
    ref = put_table(here.store, of_classes(late="new"))
    tuning = Tuning(TRAINERS[0], Tune(trials=2, folds=1, block="7d"), START, clustered=True, task=Multiclass())  # type: ignore[arg-type]
    (fact,) = tuning({"frame": ref}, here).facts
    assert fact.body["metric"] == "log_loss"
    assert fact.body["trials"][0]["loss"] == fact.body["preset"]
    assert 0 < fact.body["preset"] < np.log(3)


def evaluated(folder: Path, table: pa.Table) -> tuple[Outcome, Outcome, Model]:
    """Train a candidate with folds and a prior, and judge both."""
    here = context(folder)
    ref = put_table(here.store, table)
    cv = TimeSeriesSplit(folds=2, block="7d")
    trained = Train(TRAINERS[0], "candidate", START, cv, task=Multiclass())({"frame": ref}, here)
    prior = Train(Prior(), "baseline", START, task=Multiclass())({"frame": ref}, here)
    models = {"candidate": trained.outputs["model"], "baseline:prior": prior.outputs["model"]}
    judge = Evaluate("lightgbm", START, END, clustered=True, slices=("carrier",), task=Multiclass())
    return (
        trained,
        judge({"frame": ref, **models}, here),
        Model.from_bytes(here.store.open(models["candidate"]).read_bytes()),
    )


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Outcome, Model]:
    folder = tmp_path_factory.mktemp("late")
    return folder, *evaluated(folder, of_classes(late="new"))


def test_classes_are_those_of_the_labels_that_were_known_in_time(judged: tuple[Path, Outcome, Outcome, Model]) -> None:
    _, trained, _, model = judged
    assert model.outputs == ("far", "middle", "near")
    (fact,) = [one for one in trained.facts if one.kind == "model.trained"]
    assert (set(fact.body["classes"]), fact.body["class_count"]) == (set(model.outputs), 3)
    folds = [one.body["metrics"] for one in trained.facts if one.kind == "model.validated"]
    assert [set(metrics) for metrics in folds] == [set(METRICS)] * 2


def test_a_class_that_training_did_not_know_is_an_error_and_is_named(
    judged: tuple[Path, Outcome, Outcome, Model],
) -> None:
    folder, _, found, _model = judged
    facts = {
        (one.kind, one.body.get("metric"), one.body.get("role")): one.body
        for one in found.facts
        if not one.body.get("slice")
    }
    made, classes = (facts[kind, None, None] for kind in ("predictions.made", "classes.measured"))
    (unknown,) = classes["unknown"].items()
    assert unknown[0] == "new"
    assert made["unknown_classes"] == classes["unknown"]
    kept = scores_of(pq.read_table(context(folder).store.open(found.outputs["candidate"])))
    right = sum(one["right"] for one in classes["classes"])
    assert (
        facts["metric.measured", "accuracy", "candidate"]["value"]
        == right / classes["rows"]
        <= 1 - unknown[1] / classes["rows"]
    )
    assert kept.shape == (classes["rows"], 3)
    assert np.sum(classes["confusion"]) == classes["rows"] - unknown[1]
    assert facts["metric.measured", "log_loss", "candidate"]["value"] > 36 * unknown[1] / classes["rows"]


@pytest.mark.parametrize(
    ("label", "classes", "said"),
    [
        ("one", (), "All .* are 'one'. Training needs two classes at least."),
        (None, (), "none of their labels is known by then"),
        ("many", (), "are of [0-9,]+ classes, and Multiclass takes 200 at most"),
        ("three", ("a0", "a1"), "labels known before it are none of Multiclass.classes, a0, a1"),
    ],
)
def test_labels_that_nothing_can_be_learnt_from_are_refused(
    label: str | None, classes: tuple[str, ...], said: str
) -> None:
    table = of_classes()
    known = table["label"].is_valid().to_numpy()
    names = {"one": 1, "many": 1_000, "three": 3}
    texts = (
        [f"a{place % names[label]}" if names.get(label or "", 1) > 1 else label for place in range(len(table))]
        if label
        else [None] * len(table)
    )
    column = pa.array(texts, pa.string(), mask=~known)
    frame_ = Frame(table.set_column(table.column_names.index("label"), "label", column))
    with pytest.raises(DataError, match=said):
        rows_before(frame_, START, "before it", Multiclass(classes))
