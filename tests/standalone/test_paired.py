"""Two candidates are compared on the rows that both were judged on, whether or not a run has recorded it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sterling.core.refs import Ref
from sterling.core.store import LocalStore
from sterling.engine.tables import read_table
from tests.cli.conftest import sterling
from tests.lifecycle.small import edit


def test_two_versions_of_which_none_was_the_champion_are_compared_on_the_same_rows(folder: Path) -> None:
    edit(folder, "trees=15", "trees=16")
    assert sterling(folder, "run", "--no-leak-effect").code == 0
    edit(folder, "2024-02-15", "2024-02-20")
    edit(folder, 'sl.Count(windows=["1d"])', 'sl.Count(windows=["1d", "2d"])')
    edit(folder, 'sl.Mean("hours", windows=["3d"])', 'sl.Mean("hours", windows=["5d"])')
    sterling(folder, "run", "--no-leak-effect")
    found = sterling(folder, "compare", "--json").json
    auc = next(metric for metric in found["metrics"] if metric["metric"] == "roc_auc")
    assert auc["position"] is None
    assert auc["rows"] == auc["after"]["rows"] < auc["before"]["rows"]  # the later block is part of the earlier one
    made = [e["body"] for e in sterling(folder, "log", "--kind", "predictions.made", "--json").json]
    store = LocalStore(folder / ".sterling" / "store")
    frame = sterling(folder, "log", "--kind", "frame.assembled", "--json").json[-1]["body"]["ref"]
    labels = {row["unit"]: row["label"] for row in read_table(store, Ref(frame), ["unit", "label"]).to_pylist()}
    older, newer = (
        {row["unit"]: row["score"] for row in read_table(store, Ref(refs[-1])).to_pylist()}
        for refs in ([b["ref"] for b in made if b["model"] == side["model"]] for side in (auc["before"], auc["after"]))
    )
    label = np.array([labels[unit] for unit in newer], dtype=float)
    scores = (np.array([scores[unit] for unit in newer]) for scores in (newer, older))
    ours, theirs = (roc_auc_score(label, one) for one in scores)
    assert auc["difference"] == pytest.approx(ours - theirs, abs=1e-12)
    assert auc["low"] <= auc["difference"] <= auc["high"]
    assert found["environment"] == []
    shown = sterling(folder, "compare").out
    assert "Computed now, on the" in shown
    assert max(map(len, shown.splitlines())) <= 80
    said = [" ".join(line.split()[:2]) for line in found["features"]]
    assert said == [
        "busy_count_1d: another", "busy_count_2d: added", "slow_mean_hours_5d: added", "slow_mean_hours_3d: removed",
    ]  # fmt: skip
