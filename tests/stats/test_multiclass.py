"""Metrics of several classes are those of scikit-learn, and their intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sterling.stats.intervals import difference_interval, metric_interval
from sterling.stats.metrics import METRICS as BINARY
from sterling.stats.multiclass import METRICS, check_classes, classwise_calibration_error, counts_of
from sterling.stats.rows import BadRowsError, Floats, OneClassError

SMOOTH = [name for name in METRICS if name != "ece"]


def made(rng: np.random.Generator, clusters: int = 60, rows: int = 8, classes: int = 4) -> tuple[Floats, ...]:
    """Labels drawn from what is true, predictions that are not quite so, and clusters that share what is odd about them."""
    odd = np.repeat(rng.normal(0, 0.7, (clusters, classes)), rows, axis=0)
    base = rng.normal(0, 1, (clusters * rows, classes))
    truth, said = (np.exp(one) / np.exp(one).sum(axis=1, keepdims=True) for one in (base + odd, 0.8 * base))
    label = (rng.random(len(base))[:, None] > truth.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return label.astype(float), said, np.repeat(np.arange(clusters), rows).astype(float)


@pytest.mark.parametrize("load", [load_iris, load_wine, load_digits])
def test_metrics_are_those_of_scikit_learn_on_real_data(load: object) -> None:
    matrix, label = load(return_X_y=True)  # type: ignore[operator]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(matrix[::2], label[::2])
    y, p = label[1::2], model.predict_proba(matrix[1::2])
    said, came = p.argmax(axis=1), np.eye(p.shape[1])[y]
    assert METRICS["log_loss"].function(y, p) == pytest.approx(sk.log_loss(y, p), rel=1e-12)
    assert METRICS["accuracy"].function(y, p) == sk.accuracy_score(y, said)
    assert METRICS["macro_f1"].function(y, p) == pytest.approx(sk.f1_score(y, said, average="macro"), rel=1e-12)
    assert METRICS["macro_roc_auc"].function(y, p) == pytest.approx(
        sk.roc_auc_score(y, p, multi_class="ovr"), rel=1e-12
    )
    assert METRICS["brier"].function(y, p) == pytest.approx(((p - came) ** 2).sum(axis=1).mean(), rel=1e-12)
    each = [BINARY["ece"].function(came[:, k], p[:, k]) for k in range(p.shape[1])]
    assert classwise_calibration_error(y, p) == pytest.approx(np.mean(each), rel=1e-12)
    counts = counts_of(y.astype(float), said, p.shape[1], np.zeros(len(y), np.int64), 1)[:, 0]
    matrix = sk.confusion_matrix(y, said)
    assert counts.tolist() == [np.diag(matrix).tolist(), matrix.sum(axis=0).tolist(), matrix.sum(axis=1).tolist()]


@pytest.mark.parametrize("name", SMOOTH)
def test_leaving_a_group_out_is_measuring_without_its_rows(name: str) -> None:
    label, said, clusters = made(np.random.default_rng(1), clusters=12)
    label[clusters == 3] = -1
    metric, groups = METRICS[name], clusters.astype(np.int64)
    assert metric.leave_one_out is not None
    estimate, without = metric.leave_one_out(label, said, groups, 12)
    assert estimate == pytest.approx(metric.function(label, said), rel=1e-12)
    again = [metric.function(label[groups != group], said[groups != group]) for group in range(12)]
    assert without == pytest.approx(again, rel=1e-12)
    weights = np.random.default_rng(2).integers(0, 3, len(label))
    repeated = np.repeat(np.arange(len(label)), weights)
    assert metric.function(label, said, weights) == pytest.approx(metric.function(label[repeated], said[repeated]))


def test_a_class_that_is_unknown_is_an_error_under_every_metric() -> None:
    p = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    known, unknown = np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, -1.0])
    for name, metric in METRICS.items():
        better = metric.function(known, p), metric.function(unknown, p)
        assert better[0] != better[1] or name == "macro_roc_auc"
        assert (better[0] > better[1]) == metric.greater_is_better or name == "macro_roc_auc"
    assert METRICS["brier"].function(unknown, p) == pytest.approx((0.18 + 0.32 + 1 + 0.82) / 3)


@pytest.mark.parametrize(
    ("y", "p", "said"),
    [
        ([0, 2], [[0.5, 0.5]] * 2, "y is 2 in row 1. A class is its place, 0 to 1, or -1."),
        ([0, 1], [[0.5, 0.5], [0.5, 0.4]], "p is \\[0.5, 0.4\\] in row 1. Probabilities lie in"),
        ([0, 1], [0.5, 0.5], "p has shape"),
        ([0], [[0.5, 0.5]] * 2, "Different numbers of rows"),
    ],
)
def test_what_are_no_classes_is_refused(y: list[float], p: list[list[float]], said: str) -> None:
    with pytest.raises(BadRowsError, match=said):
        check_classes(y, p)


def test_rows_of_one_class_have_no_roc_auc() -> None:
    with pytest.raises(OneClassError, match="every row is of one class"):
        metric_interval(METRICS["macro_roc_auc"], np.zeros(20), np.tile([0.4, 0.6], (20, 1)), np.arange(20))


def test_a_model_against_itself_differs_by_nothing() -> None:
    label, said, clusters = made(np.random.default_rng(4))
    for metric in METRICS.values():
        found = difference_interval(metric, label, said, said, clusters)
        assert (found.estimate, found.low <= 0 <= found.high) == (0.0, True)


def coverage(name: str, runs: int, seed: int, clusters: int = 60) -> tuple[float, float]:
    """Share of intervals that hold the truth, and of lower bounds that do not exceed it."""
    rng, metric = np.random.default_rng(seed), METRICS[name]
    whole = made(np.random.default_rng(99), clusters=40_000)
    truth = metric.function(whole[0], whole[1])
    found = [metric_interval(metric, *made(rng, clusters=clusters)) for _ in range(runs)]
    held = np.mean([one.low <= truth <= one.high for one in found])
    return float(held), float(np.mean([one.lower <= truth for one in found]))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(METRICS))
def test_intervals_of_clustered_rows_hold_the_truth(name: str) -> None:
    held, below = coverage(name, 600, 5)
    print(name, held, below)
    if name == "ece":
        assert held >= 0.93
    else:
        assert 0.93 <= held <= 0.98
    assert below >= 0.93
