"""Fairness: what the candidate's decisions are like for each group of a sensitive attribute, and how far groups are apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sterling.core.errors import DataError
from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.models.frame import Frame
from sterling.project.policy import Sensitive
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.decide import PREDICTED, decided, read_json, read_scores
from sterling.stages.evaluate import clusters_of, holdout_of
from sterling.stats.association import cramers_v
from sterling.stats.groups import GROUP_RATES, Gap, Rates, group_rates
from sterling.tasks.policies import decider_from
from sterling.tasks.task import Floats

STRONG = 0.5
"""A feature that is associated with an attribute by this much (Cramér's V) stands in for it."""
MOST_VALUES = 50
_BINS = 10
_SHOWN = 5


class Fairness(Stage, frozen=True):
    """Compare the groups of each sensitive attribute on the rows of the holdout whose labels are known.

    Inputs: ``frame``, ``candidate`` and ``predicted:candidate``, and ``policy`` where something is decided; without it groups
    are compared by calibration alone.

    Attributes:
        candidate: Name of the candidate in tables.
        start_us: Start of the holdout, microseconds in UTC.
        end_us: Its end, which is no part of it.
        attributes: What is compared.
        error_rate: Error rate of one-sided bounds, in (0, 0.5).
        clustered: Whether the frame's ``cluster`` names rows that are not independent.
    """

    candidate: str
    start_us: int
    end_us: int
    attributes: Sequence[Sensitive]
    error_rate: float = 0.05
    clustered: bool = False

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return ("numpy", "scipy", "pyarrow")

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Measure every rate of every group.

        Raises:
            DataError: if no label of the holdout is known, a cluster is missing, or an attribute has too many values.
        """
        rows, _ = holdout_of(Frame.read(context.store, inputs["frame"]), self.start_us, self.end_us)
        scores = read_scores(context.store, inputs[f"{PREDICTED}candidate"])
        acted = None
        if "policy" in inputs:
            acted = decided(rows, decider_from(read_json(context.store, inputs["policy"])), scores)
        clusters = clusters_of(rows, clustered=self.clustered)
        model = inputs["candidate"]
        facts = []
        for attribute in self.attributes:
            body = {"model": model, "name": self.candidate} | self._measured(attribute, rows, scores, acted, clusters)
            facts.append(Evidence("fairness.measured", (f"model:{model}", f"attribute:{attribute.column}"), body))
        return Outcome({}, tuple(facts))

    def _measured(
        self, attribute: Sensitive, rows: Frame, scores: Floats, acted: Floats | None, clusters: NDArray[np.int64]
    ) -> dict[str, Any]:
        names, codes = _groups(rows, attribute.column)
        chosen = GROUP_RATES if acted is not None else ("calibration_gap",)
        rates = [
            group_rates(
                rate,
                rows.label,
                scores,
                acted,
                codes,
                clusters,
                min_rows=attribute.min_rows,
                error_rate=self.error_rate,
            )
            for rate in chosen
        ]
        sizes = np.bincount(codes, minlength=len(names))
        proxies = sorted(_proxies(rows, attribute.column, codes), key=lambda found: -found["association"])
        strong = [found["feature"] for found in proxies if found["association"] >= STRONG]
        return {
            "attribute": attribute.column, "held_out": attribute.held_out, "min_rows": attribute.min_rows,
            "rows": len(rows), "clusters": rates[0].clusters, "confidence": rates[0].confidence,
            "error_rate": self.error_rate, "groups": [
                {"value": name, "rows": int(size)} for name, size in zip(names, sizes, strict=True)
            ],
            "smallest": int(sizes.min()), "rates": [_said(found, names) for found in rates], "proxies": proxies[:_SHOWN],
            "warning": _warning(attribute, strong),
        }  # fmt: skip


def _groups(rows: Frame, column: str) -> tuple[list[Any], NDArray[np.int64]]:
    """The values of a column, None last, and the number of each row's."""
    values = rows.slice_values(column).to_pylist()
    names = sorted(set(values), key=lambda value: (value is None, value))
    if len(names) > MOST_VALUES:
        raise DataError(
            f"The sensitive attribute {column!r} has {len(names):,} values in the holdout. Name a column with {MOST_VALUES} at "
            "most: bands of age, not ages."
        )
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place[value] for value in values])


def _said(found: Rates, names: Sequence[Any]) -> dict[str, Any]:
    return {
        "rate": found.rate,
        "groups": [
            {"group": names[one.group], **{k: v for k, v in one._asdict().items() if k != "group"}}
            for one in found.groups
        ],
        "difference": _gap(found.difference, names),
        "ratio": None if found.ratio is None else _gap(found.ratio, names),
    }


def _gap(gap: Gap, names: Sequence[Any]) -> dict[str, Any]:
    named = {side: None if (place := getattr(gap, side)) is None else names[place] for side in ("most", "least")}
    return gap._asdict() | named


def _proxies(rows: Frame, column: str, codes: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """How strongly each other feature tells the attribute."""
    for feature in rows.features:
        if feature != column:
            yield {"feature": feature, "association": round(cramers_v(_coarse(rows, feature), codes), 4)}


def _coarse(rows: Frame, feature: str) -> NDArray[np.int64]:
    """A feature in few values: numbers in bins of equal mass, rare categories as one, what is missing as another."""
    column = rows.table[feature].combine_chunks()
    if rows.kind(feature) == "category":
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        counts = sorted(pc.value_counts(column).to_pylist(), key=lambda found: (-found["counts"], str(found["values"])))
        place = {found["values"]: number for number, found in enumerate(counts[:MOST_VALUES])}
        return np.array([place.get(value, MOST_VALUES) for value in column.to_pylist()])
    numbers = pc.cast(column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column, pa.float64())
    values: Floats = numbers.to_numpy(zero_copy_only=False)
    seen = values[np.isfinite(values)]
    edges = np.unique(np.quantile(seen, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(seen) else np.zeros(0)
    found: NDArray[np.int64] = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), _BINS)
    return found


def _warning(attribute: Sensitive, strong: Sequence[str]) -> str | None:
    if not strong:
        return None
    kept = "although it is held out" if attribute.held_out else "beside it"
    return (
        f"{', '.join(strong)} {'tells' if len(strong) == 1 else 'tell'} {attribute.column} strongly (Cramér's V of {STRONG:g} or "
        f"more): the model may decide by it {kept}."
    )
