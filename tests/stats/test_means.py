"""A mean over rows has the bounds that a difference of metrics has."""

from __future__ import annotations

import numpy as np
import pytest

from sterling.stats.intervals import TooFewClustersError, difference_interval
from sterling.stats.means import group_clusters, mean_interval, row_log_loss
from sterling.stats.metrics import log_loss
from tests.stats.simulated import SCENARIOS, draw


@pytest.mark.parametrize("days", [12, 150])
def test_a_mean_of_loss_differences_is_the_difference_of_log_losses(days: int) -> None:
    rows = draw(np.random.default_rng(1), SCENARIOS["normal"], days, 30)
    lost = row_log_loss(rows.y, rows.candidate) - row_log_loss(rows.y, rows.reference)
    found = mean_interval(lost, group_clusters(rows.day, len(rows.y)))
    expected = difference_interval("log_loss", rows.y, rows.candidate, rows.reference, rows.day)
    assert found.value == pytest.approx(expected.estimate)
    for side in ("low", "high", "lower", "upper"):
        assert getattr(found, side) == pytest.approx(getattr(expected, side))


def test_the_loss_of_rows_is_that_of_all_of_them_in_the_mean() -> None:
    y, p = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.2, 0.9, 0.0, 1.0])
    assert row_log_loss(y, p).mean() == pytest.approx(log_loss(y, p))


def test_too_few_clusters_are_refused() -> None:
    with pytest.raises(TooFewClustersError, match="7 clusters"):
        group_clusters(np.arange(7), 7)
