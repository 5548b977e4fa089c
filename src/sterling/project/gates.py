"""Gates as data: what evidence must show before a model may be released.

Judging them is `sterling.decisions.gate`'s; each is judged on a one-sided bound, so that no evidence is never a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.metrics import more_is_better
from sterling.project.perturbations import Perturbation

Metric = Literal[
    "roc_auc", "average_precision", "log_loss", "accuracy", "macro_f1", "macro_roc_auc", "brier", "ece", "rmse", "mae", "r2",
    "pinball", "coverage", "width",
]  # fmt: skip
DecisionMetric = Literal["value", "precision", "recall", "f1", "lift", "false_positive_rate"]
"""Metrics of what the project's policy decides."""
Rate = Literal[
    "selection_rate", "true_positive_rate", "false_positive_rate", "precision", "calibration_gap", "equalised_odds"
]


class Improves(Definition, frozen=True):
    """The candidate is better than every baseline, or than the champion, by more than ``by``.

    Args:
        metric: Name of the metric.
        over: ``"baseline"`` means the best of the recipe's baselines.
        by: Smallest gain that counts, in the metric's unit and towards its better side; at least 0.
    """

    metric: Metric | DecisionMetric
    over: Literal["baseline", "champion"] = "baseline"
    by: float = 0.0

    def check(self) -> None:
        """Refuse a gain below 0."""
        _at_least_zero("Improves.by", self.by)


class NonInferior(Definition, frozen=True):
    """The candidate is worse than the champion, or than the best baseline, by less than ``margin``.

    Args:
        metric: Name of the metric.
        to: What it is compared with; without a champion the gate passes as a first release.
        margin: Largest loss that is acceptable, in the metric's unit; at least 0.
    """

    metric: Metric | DecisionMetric
    to: Literal["champion", "baseline"] = "champion"
    margin: float = 0.0

    def check(self) -> None:
        """Refuse a margin below 0."""
        _at_least_zero("NonInferior.margin", self.margin)


class AtLeast(Definition, frozen=True):
    """The metric's lower bound on the holdout reaches a floor.

    Args:
        metric: Name of the metric.
        floor: Smallest value.
    """

    metric: Metric | DecisionMetric | Literal["selection_rate"]
    floor: float


class AtMost(Definition, frozen=True):
    """The metric's upper bound on the holdout stays under a ceiling.

    Args:
        metric: Name of the metric.
        ceiling: Largest value.
    """

    metric: Metric | DecisionMetric | Literal["selection_rate"]
    ceiling: float


class EverySlice(Definition, frozen=True):
    """The metric's bound reaches a limit in every slice that is large enough.

    Args:
        metric: Name of the metric.
        by: Columns of the spine or features whose values make the slices.
        at_least: Smallest value, of a metric where more is better.
        min_rows: Slices with fewer rows are shown and not judged.
        at_most: Largest value, of a metric where less is better.
    """

    metric: Metric | DecisionMetric
    by: Sequence[str]
    at_least: float | None = None
    min_rows: int = 500
    at_most: float | None = None

    def check(self) -> None:
        """Refuse no slices, and a limit on the metric's better side."""
        if not self.by:
            raise InvalidDefinitionError("EverySlice.by is empty. Name columns whose values make the slices.")
        limit, other = ("at_least", "at_most") if more_is_better(self.metric) else ("at_most", "at_least")
        if getattr(self, limit) is None or getattr(self, other) is not None:
            raise InvalidDefinitionError(
                f"EverySlice.metric is {self.metric!r}, of which {'more' if limit == 'at_least' else 'less'} is better. It takes "
                f"{limit}= and no {other}=."
            )

    def limit(self) -> tuple[float, int]:
        """The limit, and 1 where the metric must reach it or -1 where it must stay under it."""
        if self.at_least is not None:
            return self.at_least, 1
        assert self.at_most is not None
        return self.at_most, -1


class Golden(Definition, frozen=True):
    """Every example of a file is answered as it says.

    Args:
        file: Path relative to the project: a JSON object a line, ``{"name": …, "features": {…}, "at_least": 0.5}``;
            ``at_least`` and ``at_most`` bound the score. A feature that is left out is null.
    """

    file: str


class Parity(Definition, frozen=True):
    """Every feature is online what it is offline: no cell of the history differs.

    It stands before the gates of every project that has features of events or of SQL, whether it lists it or not.
    """


class Reproduced(Definition, frozen=True):
    """The run is reproduced: executed again in a fresh process, it made the same. Judged at the release, not in the run.

    A run can be executed again only once it is complete, so its own gates cannot ask for it; `sterling reproduce`
    records the evidence, and a release without it is refused.

    Args:
        level: What must be equal at least: the ``"predictions"`` on the holdout, byte for byte, the ``"model"`` as well,
            or ``"metrics"`` within their intervals.
    """

    level: Literal["model", "predictions", "metrics"] = "predictions"


class WorthMore(Definition, frozen=True):
    """What the policy decides is worth more than what would be decided otherwise, by more than ``by``.

    It needs a `Value`, in whose unit it is judged, for `1,000` decisions on the same rows.

    Args:
        than: ``"nobody"`` and ``"everybody"`` are acted on without a model; ``"baseline"`` means the best of the recipe's
            baselines under the same policy, ``"champion"`` the live model under its own.
        by: Smallest gain for 1,000 decisions that counts; at least 0.
    """

    than: Literal["nobody", "everybody", "baseline", "champion"]
    by: float = 0.0

    def check(self) -> None:
        """Refuse a gain below 0."""
        _at_least_zero("WorthMore.by", self.by)


class Fair(Definition, frozen=True):
    """Between any two groups of a sensitive attribute that are large enough, a rate differs by no more than a limit.

    Args:
        metric: What is compared: ``"selection_rate"``, ``"true_positive_rate"``, ``"false_positive_rate"``,
            ``"precision"``, ``"calibration_gap"`` (mean prediction minus what happened), or ``"equalised_odds"``, the true and
            the false positive rate both.
        by: The attribute, one of ``Project.sensitive``.
        at_most: Largest difference, above 0; its upper bound must stay under it.
        ratio_at_least: Smallest ratio of the lowest to the highest rate, in (0, 1], such as 0.8 for the four-fifths rule; its
            lower bound must reach it.
    """

    metric: Rate
    by: str
    at_most: float | None = None
    ratio_at_least: float | None = None

    def check(self) -> None:
        """Refuse both limits, neither, and those that say nothing."""
        if (self.at_most is None) == (self.ratio_at_least is None):
            raise InvalidDefinitionError("Fair takes one of at_most= and ratio_at_least=, such as at_most=0.1.")
        if self.at_most is not None and not 0 < self.at_most < 1:
            raise InvalidDefinitionError(f"Fair.at_most is {self.at_most}. It lies between 0 and 1.")
        if self.ratio_at_least is not None and not 0 < self.ratio_at_least <= 1:
            raise InvalidDefinitionError(f"Fair.ratio_at_least is {self.ratio_at_least}. It lies in (0, 1].")
        if self.ratio_at_least is not None and self.metric == "calibration_gap":
            raise InvalidDefinitionError("Fair: a calibration_gap may be below 0 and has no ratio. Use at_most=.")


class Robust(Definition, frozen=True):
    """The candidate loses less than a bound when its input goes wrong, in each way that is named.

    Args:
        metric: Name of the metric.
        loses_less_than: Bound on the loss, in the metric's unit and towards its worse side; above 0.
        under: What goes wrong: `Missing`, `Noise`, `Scaled`, `OutOfRange`, `Unseen`, all in ``sl.studies``.
    """

    metric: Metric
    loses_less_than: float
    under: Sequence[Perturbation]

    def check(self) -> None:
        """Refuse no perturbation, and a bound that nothing can keep."""
        if not self.under:
            raise InvalidDefinitionError(
                "Robust.under is empty. Name what goes wrong, such as [studies.Missing('weather')]."
            )
        if self.loses_less_than <= 0:
            raise InvalidDefinitionError(f"Robust.loses_less_than is {self.loses_less_than}. It is above 0.")


class Behaves(Definition, frozen=True):
    """Every behavioural test of the project is kept on the holdout.

    Args:
        at_most: Share of a test's rows that may break it, in [0, 1): 0 for none of them; else the share's upper bound
            counts, unless no row breaks it.
    """

    at_most: float = 0.0

    def check(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.at_most < 1:
            raise InvalidDefinitionError(f"Behaves.at_most is {self.at_most}. It lies in [0, 1).")


class FewFlips(Definition, frozen=True):
    """Few rows that the champion decided rightly are decided wrongly now; without a champion it passes.

    Args:
        at_most: Bound on the share of such rows, in (0, 1).
    """

    at_most: float

    def check(self) -> None:
        """Refuse what is no share."""
        if not 0 < self.at_most < 1:
            raise InvalidDefinitionError(f"FewFlips.at_most is {self.at_most}. It lies between 0 and 1.")


class Acknowledged(Definition, frozen=True):
    """A finding that the project has looked into and lives with.

    Args:
        finding: Its name as the report shows it, ``check:column``, such as ``"date:day_of_year"``.
        reason: Why it is no leak, or why it is borne.
    """

    finding: str
    reason: str

    def check(self) -> None:
        """Refuse a finding without a check or a column, and an empty reason."""
        check, _, column = self.finding.partition(":")
        if not check or not column:
            raise InvalidDefinitionError(
                f"Acknowledged.finding is {self.finding!r}. It is a check and a column, such as 'date:day_of_year'."
            )
        if not self.reason.strip():
            raise InvalidDefinitionError(f"Acknowledged({self.finding!r}) has no reason.")


class NoLeakage(Definition, frozen=True):
    """No leakage check has a finding that the project does not acknowledge, by name and with a reason.

    Args:
        acknowledged: Findings that are known.
        groups: Columns of the spine's source, or features, none of whose values may stand on both sides of the holdout.
    """

    acknowledged: Sequence[Acknowledged] = ()
    groups: Sequence[str] = ()


Gate = (
    Improves
    | NonInferior
    | AtLeast
    | AtMost
    | EverySlice
    | Golden
    | Parity
    | NoLeakage
    | Robust
    | Behaves
    | FewFlips
    | WorthMore
    | Fair
    | Reproduced
)


def _at_least_zero(field: str, value: float) -> None:
    if value < 0:
        raise InvalidDefinitionError(f"{field} is {value}. It is at least 0.")
