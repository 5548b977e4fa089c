"""Models from outside: their scores of the holdout, asked for once, and the candidate held against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import DataError, nearest
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import read_table
from sterling.models import Model
from sterling.models.answers import scores_of
from sterling.models.blas import one_blas_thread
from sterling.models.frame import Frame
from sterling.project.external import ExternalModel
from sterling.project.tasks import CONDITION, Binary, Task
from sterling.stages.asking import ask
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.evaluate import clusters_of, holdout_of
from sterling.stages.predictions import put_predictions
from sterling.tasks.of import task_of


class Ask(Stage, frozen=True):
    """Ask a model behind a URL for its scores of the holdout.

    It looks at the world as a snapshot does: what was answered is on record and is asked for again only for other rows,
    other columns or another ``version``. Input ``frame``; output ``predictions``.

    Attributes:
        model: The model.
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        task: What kind of problem it is, which says what a score may be.
    """

    model: ExternalModel
    start_us: int
    end_us: int
    task: Task = CONDITION

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"ask {self.model.name}"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("numpy", "pyarrow")

    def parameters(self) -> Any:
        """What decides about the answers: how long they may take, and by how many they come, does not."""
        every = super().parameters()
        rest = {
            name: value for name, value in every["model"].items() if name not in {"batch_rows", "timeout", "token_env"}
        }
        return every | {"model": rest}

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Ask.

        Raises:
            DataError: if the model cannot be reached or answers with something else than probabilities.
        """
        frame = Frame.read(context.store, inputs["frame"])
        rows, _ = holdout_of(frame, self.start_us, self.end_us)
        names = self.model.columns or frame.features
        if unknown := [name for name in names if name not in frame.features]:
            raise DataError(
                f"The model {self.model.name!r} is to be sent {unknown[0]!r}, which is no feature. "
                f"{nearest(unknown[0], frame.features)}"
            )
        columns = {name: _values(rows.table[name]) for name in names}
        answered = ask(self.model, columns, len(rows), probabilities=isinstance(self.task, Binary))
        ref = put_predictions(context.store, rows, answered.scores)
        body = {
            "name": self.model.name, "role": self.model.role, "url": self.model.url, "protocol": self.model.protocol,
            "version": self.model.version, "columns": list(names), "ref": ref, "rows": len(rows),
            "requests": answered.requests, "answered_at": answered.answered_at,
        }  # fmt: skip
        return Outcome({"predictions": ref}, (Evidence("predictions.fetched", (f"model:{ref}",), body),))


class Against(Stage, frozen=True):
    """Hold the candidate against a model from outside, on the same rows.

    Inputs ``frame``, ``candidate`` (the model) and ``predictions``, those that were asked for; no outputs. A model from
    outside goes by the ref of its predictions.

    Attributes:
        candidate: Name of the candidate in tables.
        rival: Name of the model from outside.
        role: ``champion`` or ``baseline``.
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
        task: What kind of problem it is.
    """

    candidate: str
    rival: str
    role: str
    start_us: int
    end_us: int
    error_rate: float = 0.05
    clustered: bool = False
    task: Task = CONDITION

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"against {self.rival}"

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("lightgbm", "numpy", "scipy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Measure and compare."""
        frame = Frame.read(context.store, inputs["frame"])
        rows, _ = holdout_of(frame, self.start_us, self.end_us)
        model = Model.from_bytes(context.store.open(inputs["candidate"]).read_bytes())
        ours = model.predict(rows.encode(model.columns))
        theirs = scores_of(read_table(context.store, inputs["predictions"]))
        with one_blas_thread():
            facts = tuple(self._facts(rows, ours, theirs, inputs))
        return Outcome({}, facts)

    def _facts(
        self, rows: Frame, ours: NDArray[np.float64], theirs: NDArray[np.float64], inputs: Mapping[str, Ref]
    ) -> Iterator[Evidence]:
        clusters = clusters_of(rows, clustered=self.clustered)
        candidate, rival = inputs["candidate"], inputs["predictions"]
        if self.role == "champion":
            reason = f"the project names the model {self.rival} from outside"
            body = {"model": candidate, "name": self.candidate, "champion": rival, "comparable": True, "reason": reason}
            yield Evidence("champion.resolved", (f"model:{candidate}",), body)
        for metric in task_of(self.task).metrics:
            found = task_of(self.task).measure(metric, rows.label, theirs, clusters, error_rate=self.error_rate)
            named = {"metric": metric, "model": rival, "name": self.rival, "role": self.role, "slice": {}}
            yield Evidence("metric.measured", (f"model:{rival}", f"metric:{metric}"), named | _body(found, "value"))
        for metric in task_of(self.task).metrics:
            found = task_of(self.task).compare(metric, rows.label, ours, theirs, clusters, error_rate=self.error_rate)
            against = {"against": rival, "against_name": self.rival, "against_role": self.role}
            named = {"metric": metric, "model": candidate, "name": self.candidate, **against}
            subjects = (f"model:{candidate}", f"metric:{metric}")
            yield Evidence("metric.compared", subjects, named | _body(found, "difference"))


def _body(found: Any, value: str) -> dict[str, Any]:
    """A measurement as evidence holds it, its value under a name."""
    fields = found._asdict()
    fields[value] = fields.pop("value")
    return {name: item for name, item in fields.items() if name != "reason" or item is not None}


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Values as JSON has them: NaN is null, a category its name."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif pa.types.is_floating(kind):
        column = pc.if_else(pc.is_finite(column), column, None)
    values: list[Any] = column.to_pylist()
    return values
