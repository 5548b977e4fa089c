"""Calibration curves against a second computation, and how often one is accepted that does not help."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from sterling.stats.calibration_curves import (
    BetaCurve,
    Judged,
    Kind,
    best,
    beta_curve,
    fit_curve,
    isotonic_curve,
    judge,
    platt_curve,
)
from sterling.stats.rows import OneClassError
from tests.stats.simulated import SCENARIOS, draw

KINDS: tuple[Kind, ...] = ("platt", "isotonic", "beta")


def sample(rows: int = 4_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are too sure of themselves."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1, 1.5, rows)
    return (rng.random(rows) < expit(odds)).astype(float), expit(1.7 * odds + 0.4)


def test_platt_is_a_logistic_regression_on_the_log_odds() -> None:
    y, p = sample()
    curve = platt_curve(y, p)
    theirs = LogisticRegression(C=1e12, tol=1e-10).fit(logit(p).reshape(-1, 1), y)
    assert curve.a == curve.b == pytest.approx(theirs.coef_[0, 0], rel=5e-3)  # but for Platt's targets
    assert curve.c == pytest.approx(theirs.intercept_[0], abs=5e-3)


def test_beta_is_a_logistic_regression_on_both_logarithms() -> None:
    y, p = sample()
    curve = beta_curve(y, p)
    theirs = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(np.column_stack([np.log(p), -np.log1p(-p)]), y)
    np.testing.assert_allclose([curve.a, curve.b, curve.c], [*theirs.coef_[0], theirs.intercept_[0]], rtol=1e-3)


def test_isotonic_is_scikit_learns_but_for_certainty() -> None:
    y, p = sample()
    p = p.round(3)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    where = np.linspace(0, 1, 500)
    np.testing.assert_allclose(
        isotonic_curve(y, p).map(where), np.clip(theirs.predict(where), 1 / 4_002, 4_001 / 4_002), atol=1e-9
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_curve_never_falls_and_is_never_certain(kind: Kind) -> None:
    y, p = sample(300, seed=3)
    found = fit_curve(kind, y, p).map(np.linspace(0, 1, 1_001))
    assert (np.diff(found) >= 0).all()
    assert found[1] > 0
    assert found[-2] < 1


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_that_point_the_wrong_way_become_the_share_of_positives(kind: Kind) -> None:
    y, p = sample()
    found = fit_curve(kind, y, 1 - p).map([0.1, 0.9])
    np.testing.assert_allclose(found, y.mean(), atol=0.01)


def test_one_class_has_no_curve() -> None:
    with pytest.raises(OneClassError, match="rows of both labels"):
        platt_curve([1.0, 1.0], [0.2, 0.3])


def decisions(
    repetitions: int, days: int, *, bend: float = 1.0, moved: float = 0.0, seed: int = 0
) -> list[Judged | None]:
    """What is accepted of curves that are fitted on some days and judged on as many later ones."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repetitions):
        earlier, later = (draw(rng, SCENARIOS["calibrated"], days, 60) for _ in range(2))
        before = expit(bend * logit(earlier.candidate) + moved)
        after = expit(bend * logit(later.candidate))
        curves = {kind: fit_curve(kind, earlier.y, before) for kind in KINDS}
        found.append(best(judge(curves, later.y, after, later.day)))
    return found


def test_a_curve_on_calibrated_predictions_is_rarely_accepted_and_a_needed_one_often() -> None:
    assert sum(map(bool, decisions(40, 20))) <= 4
    assert sum(map(bool, decisions(15, 20, bend=2.0))) >= 12


def test_a_curve_that_corrects_what_does_not_stay_is_refused() -> None:
    assert not any(decisions(15, 20, moved=0.5))


@pytest.mark.slow
def test_the_error_rate_of_accepting_a_curve_is_what_is_promised() -> None:
    accepted = sum(map(bool, decisions(400, 20)))
    assert accepted <= 400 * 0.05 + 2 * np.sqrt(400 * 0.05 * 0.95)


def test_too_few_clusters_accept_nothing() -> None:
    y, p = sample()
    found = judge({"platt": BetaCurve(0.6, 0.6, 0.0)}, y, p, np.arange(len(y)) % 3)
    assert not found[0].accepted
    assert "clusters" in str(found[0].reason)


if __name__ == "__main__":
    for days in (10, 20, 40):
        for bend in (1.0, 1.2, 1.5, 2.0):
            accepted = decisions(1000 if bend == 1 else 200, days, bend=bend, seed=days)
            print(days, bend, sum(map(bool, accepted)) / len(accepted), flush=True)
