"""Training is a function of a frame: which rows it may use, and what it records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.errors import DataError
from sterling.core.refs import Ref
from sterling.models import Constant, Model
from sterling.models.frame import Frame
from sterling.project.recipe import Custom, LightGBM, Logistic, Prior, Trainer
from sterling.project.splits import TimeSeriesSplit
from sterling.stages.contract import Context
from sterling.stages.train import PROBES, Train
from tests.models.frames import DAY, context, frame, put_table

START = 45 * DAY
TREES = LightGBM(trees=10, min_rows_per_leaf=20)


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return context(tmp_path)


@pytest.fixture
def table() -> pa.Table:
    return frame(2_500)


def known_by_hand(table: pa.Table, before: int) -> list[str]:
    """The rows that a training at a moment may use, by the rule's own words."""
    return [
        row["unit"] for row in table.select(["unit", "predict_at", "label", "matured_at", "status"]).to_pylist()
        if row["status"] == "matured" and row["label"] is not None and row["predict_at"] < before
        and row["matured_at"] is not None and row["matured_at"] < before
    ]  # fmt: skip


@given(st.integers(0, 200), st.integers(-1, 61 * DAY))
def test_training_takes_the_rows_whose_label_was_known_in_time_and_no_other(seed: int, before: int) -> None:
    table = frame(60, seed=seed)
    whole = Frame(table)
    assert whole.take(whole.known_before(before)).table["unit"].to_pylist() == known_by_hand(table, before)


def test_a_label_that_matures_at_the_start_of_the_holdout_is_too_late() -> None:
    table = frame(200)
    matured_at = table["matured_at"].to_pylist()
    row = next(i for i, at in enumerate(matured_at) if at is not None)
    assert not Frame(table).known_before(matured_at[row])[row]
    assert Frame(table).known_before(matured_at[row] + 1)[row]


@pytest.mark.parametrize("trainer", [Prior(), Logistic(), TREES])
def test_training_twice_gives_the_same_refs(here: Context, table: pa.Table, trainer: Trainer) -> None:
    stage = Train(trainer, "baseline", START)
    inputs = {"frame": put_table(here.store, table)}
    assert stage(inputs, here).outputs == stage(inputs, here).outputs


def test_what_was_trained_is_recorded(here: Context, table: pa.Table) -> None:
    outcome = Train(TREES, "candidate", START)({"frame": put_table(here.store, table)}, here)
    trained = outcome.facts[0]
    units = known_by_hand(table, START)
    labels = dict(zip(table["unit"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert trained.kind == "model.trained"
    assert trained.subjects == (f"model:{outcome.outputs['model']}",)
    assert (trained.body["rows"], trained.body["positives"]) == (len(units), sum(labels[unit] for unit in units))
    assert trained.body["features"] == ["distance", "wind", "seats", "carrier", "dest"]
    assert trained.body["to"] < "1970-02-15T00:00:00"
    importance = outcome.facts[-1]
    assert importance.kind == "importance.measured"
    assert sum(feature["share"] for feature in importance.body["features"]) == pytest.approx(1)


def test_the_slices_are_no_features(here: Context, table: pa.Table) -> None:
    outcome = Train(Prior(), "baseline", START)({"frame": put_table(here.store, table)}, here)
    assert "_slice_origin" not in load(here, outcome.outputs["model"]).names


def test_categories_come_from_the_rows_that_were_known_in_time(here: Context, table: pa.Table) -> None:
    late = pc.greater(table["predict_at"], START)
    dest = pc.if_else(late, "NEW", table["dest"])
    table = table.set_column(table.column_names.index("dest"), "dest", dest)
    outcome = Train(Prior(), "baseline", START)({"frame": put_table(here.store, table)}, here)
    columns = {column.name: column for column in load(here, outcome.outputs["model"]).columns}
    assert columns["dest"].categories == ("ATL", "BOS", "LAX")


def test_the_probe_holds_pinned_rows_and_what_the_model_says_of_them(here: Context, table: pa.Table) -> None:
    ref = put_table(here.store, table)
    outcomes = [Train(trainer, "baseline", START)({"frame": ref}, here) for trainer in (Prior(), TREES)]
    probes = [pq.read_table(here.store.open(outcome.outputs["probe"])) for outcome in outcomes]
    assert probes[0]["unit"].equals(probes[1]["unit"])
    assert probes[0].num_rows == PROBES
    chosen = Frame(table.filter(pc.is_in(table["unit"], probes[1]["unit"].combine_chunks())))
    model = load(here, outcomes[1].outputs["model"])
    assert probes[1]["score"].to_pylist() == model.predict(chosen.encode(model.columns)).tolist()


class Watcher:
    """A project's trainer that keeps what it was given."""

    def __init__(self) -> None:
        self._seen: list[int] = []

    def fit(self, rows: object) -> Constant:
        self._seen.append(len(rows.label))  # type: ignore[attr-defined]
        return Constant(0.5)


def test_each_fold_trains_on_what_was_known_before_its_gap_and_judges_its_block(here: Context, table: pa.Table) -> None:
    watcher = Watcher()
    stage = Train(Custom(watcher, "watcher"), "candidate", START, TimeSeriesSplit(3, block="5d", gap="2d"))
    outcome = stage({"frame": put_table(here.store, table)}, here)
    folds = [fact.body for fact in outcome.facts if fact.kind == "model.validated"]
    starts = [30 * DAY, 35 * DAY, 40 * DAY]
    wanted = [len(known_by_hand(table, START)), *(len(known_by_hand(table, start - 2 * DAY)) for start in starts)]
    assert watcher._seen == wanted
    assert [fold["train_rows"] for fold in folds] == wanted[1:]
    at = dict(zip(table["unit"].to_pylist(), table["predict_at"].to_pylist(), strict=True))
    known = known_by_hand(table, START)
    judged = [sum(start <= at[unit] < start + 5 * DAY for unit in known) for start in starts]
    assert [fold["rows"] for fold in folds] == judged
    assert all(fold["metrics"]["roc_auc"] == 0.5 for fold in folds)


def test_titles_tell_the_candidate_from_the_baselines() -> None:
    assert Train(LightGBM(), "candidate", START).title == "train candidate"
    assert Train(Logistic(), "baseline", START).title == "train logistic"


def test_a_newer_lightgbm_concerns_lightgbm_alone() -> None:
    assert "lightgbm" in Train(LightGBM(), "candidate", START).libraries
    assert "lightgbm" not in Train(Logistic(), "baseline", START).libraries
    assert "scikit-learn" in Train(Logistic(), "baseline", START).libraries


@pytest.mark.parametrize(
    ("start", "cv", "said"),
    [
        (-DAY, None, "No label is known before the holdout, 1969-12-31"),
        (1, None, "No label is known"),
        (START, TimeSeriesSplit(5, block="20d"), "where fold 1 trains"),
    ],
)
def test_too_few_rows_are_refused_with_the_moment(
    here: Context, table: pa.Table, start: int, cv: TimeSeriesSplit | None, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        Train(Prior(), "candidate", start, cv)({"frame": put_table(here.store, table)}, here)


def test_labels_that_mature_too_late_are_counted(here: Context, table: pa.Table) -> None:
    late = pa.array(np.full(len(table), 100 * DAY))
    table = table.set_column(table.column_names.index("matured_at"), "matured_at", late)
    with pytest.raises(
        DataError, match=r"1,8\d\d rows are predicted before the holdout.*none of their labels is known"
    ):
        Train(Prior(), "candidate", START)({"frame": put_table(here.store, table)}, here)


def test_one_class_is_refused(here: Context, table: pa.Table) -> None:
    zeros = pa.array(np.zeros(len(table), dtype=np.int8))
    table = table.set_column(table.column_names.index("label"), "label", zeros)
    with pytest.raises(DataError, match=r"are 0\. Training needs both classes"):
        Train(Prior(), "candidate", START)({"frame": put_table(here.store, table)}, here)


def test_a_frame_without_its_spine_is_refused(here: Context, table: pa.Table) -> None:
    with pytest.raises(DataError, match="no column 'status'"):
        Train(Prior(), "candidate", START)({"frame": put_table(here.store, table.drop_columns(["status"]))}, here)


def load(here: Context, ref: Ref) -> Model:
    return Model.from_bytes(here.store.open(ref).read_bytes())
