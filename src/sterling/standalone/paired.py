"""Two candidates on the rows that both were judged on, from their predictions, whichever runs made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.engine.tables import read_table
from sterling.models.answers import outputs_of_table, places_of, score_columns, scores_of
from sterling.models.blas import one_blas_thread
from sterling.project.tasks import CONDITION, Task
from sterling.tasks.of import task_of
from sterling.views.compare import Paired
from sterling.views.facts import Run

_ROW = ("unit", "predict_at")
_OLD = "_old"


def paired(
    store: Store, before: Run, after: Run, *, clustered: bool, task: Task = CONDITION, error_rate: float = 0.05
) -> Mapping[str, Paired]:
    """The difference of each metric on the rows that both candidates were judged on.

    A row is the same where unit and moment are, and its label is the same in both runs; if any label is another one, the
    runs predict something else, and nothing is compared.

    Args:
        store: The project's store.
        before: The old run.
        after: The new run.
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        task: What kind of problem it is.
        error_rate: Error rate of one-sided bounds.

    Returns:
        By metric; empty where both trained the same model, share no row, or their tables are no longer in the store.
    """
    tables = [_judged(store, run) for run in (before, after)]
    if before.candidate == after.candidate or any(table is None for table in tables):
        return {}
    old, new = tables
    assert old is not None
    assert new is not None
    outputs = outputs_of_table(new)
    if outputs != outputs_of_table(old):  # they answer other classes
        return {}
    before_us = old.select([*_ROW, *score_columns(outputs), "label"])
    both = new.join(before_us, _ROW, join_type="inner", right_suffix=_OLD)
    both = both.sort_by([(name, "ascending") for name in _ROW])
    if not both.num_rows or not pc.all(pc.equal(both["label"], both[f"label{_OLD}"])).as_py():
        return {}
    label = places_of(both["label"], outputs) if outputs else both["label"].cast(pa.float64()).to_numpy()
    ours, theirs = (_scores(both, outputs, suffix) for suffix in ("", _OLD))
    clusters = np.arange(len(label))
    if clustered and both["cluster"].null_count == 0:
        clusters = both["cluster"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    found, measuring = {}, task_of(task, outputs)
    with one_blas_thread():
        for metric in measuring.metrics:
            one = measuring.compare(metric, label, ours, theirs, clusters, error_rate=error_rate)
            if one.value is not None:
                found[metric] = Paired(one.value, one.low, one.high, len(label))
    return found


def _scores(rows: pa.Table, outputs: Sequence[str], suffix: str) -> NDArray[np.float64]:
    names = score_columns(outputs)
    return scores_of(rows.select([name + suffix for name in names]).rename_columns(list(names)))


def _judged(store: Store, run: Run) -> pa.Table | None:
    """A run's rows that were judged: unit, moment, the scores of its candidate, label and cluster."""
    own = [entry.body["ref"] for entry in run.of("predictions.made") if entry.body["model"] == run.candidate]
    frame = run.newest("frame.assembled")
    if not own or frame is None or not (store.has(Ref(own[-1])) and store.has(Ref(frame.body["ref"]))):
        return None
    rows = read_table(store, Ref(frame.body["ref"]), [*_ROW, "label", "cluster"])
    return read_table(store, Ref(own[-1])).join(rows, list(_ROW), join_type="inner")
