"""What `sl.Recipe()` and `sl.Recipe(sl.Ensemble())` train, for `benchmarks.accuracy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sterling.models.columns import Column
from sterling.models.rows import TrainingRows
from sterling.models.training import fit
from sterling.project.recipe import Ensemble, LightGBM, Trainer
from sterling.project.tasks import Binary, Multiclass, Regression, Task

if TYPE_CHECKING:
    from benchmarks.accuracy_models import Rows

Predict = Callable[[], Any]


def fast(rows: Rows) -> Predict:
    """The default."""
    return _trained(LightGBM(), rows)


def standard(rows: Rows) -> Predict:
    """An ensemble, by its defaults."""
    return _trained(Ensemble(), rows)


def _trained(trainer: Trainer, rows: Rows) -> Predict:
    columns = tuple(
        Column(f"f{place}", "number") if names is None else Column(f"f{place}", "category", tuple(sorted(names)))
        for place, names in enumerate(rows.categories)
    )
    names = tuple(str(place) for place in range(int(rows.label.max()) + 1))
    tasks: dict[str, Task] = {"binary": Binary(), "regression": Regression(), "multiclass": Multiclass(names)}
    order = np.arange(len(rows.label)) if rows.ordered else None
    given = TrainingRows(columns, rows.train, rows.label, rows.seed * 100, tasks[rows.kind], order, order)
    model = fit(trainer, given, threads=rows.threads)
    return lambda: model.predict(rows.test)


OURS = {"fast": fast, "standard": standard}
