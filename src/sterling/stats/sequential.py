"""Tests that may be looked at as often as one likes: evidence against a canary that keeps its error rate at every look.

Counts are tested exactly: where nothing differs, each event (an error, a unit) falls into the canary with the probability
with which units are assigned, whatever the rate of events does over the day. Their e-value is 1 on average at any time, and
reaches 1/alpha with probability alpha at most, ever (Ville's inequality). Means are compared by a confidence sequence with
pooled variance, tightest at half of the planned sample; it is asymptotic, so heavy tails want a cap that was fixed before.

References:
    Share of events: Lindon & Malek (2022), Anytime-Valid Inference for Multinomial Count Data, NeurIPS 35. Ville's
    inequality and one-sided normal mixtures: Howard, Ramdas, McAuliffe & Sekhon (2021), Annals of Statistics 49(2),
    1055–1080. Asymptotic confidence sequences: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Annals of Statistics
    52(6). Mixtures of likelihood ratios: Robbins (1970), Annals of Mathematical Statistics 41(5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, logsumexp
from scipy.stats import norm

from sterling.stats.rows import Floats

__all__ = [
    "Arm",
    "Difference",
    "design_effect",
    "difference_bound",
    "distribution_log_e",
    "excess_log_e",
    "excess_ratio",
    "harmful_ratios",
    "mismatch_log_e",
    "paired_bound",
    "planned_pairs",
    "planned_rows",
]

Counts = float | Sequence[int] | Sequence[float] | NDArray[np.integer] | Floats
_TIGHTEST = 0.5
_PRIOR_UNITS = 100.0
_SMALLEST_RATIO, _RATIO_STEP = 1e-4, 1e-3
_NOTHING = 1e-12


class Arm(NamedTuple):
    """What is counted of an arm; sums of workers and of hours add up."""

    rows: float
    """How many values, at least 0."""
    total: float
    """Their sum."""
    squares: float
    """The sum of their squares."""


class Difference(NamedTuple):
    """A difference of means with bounds that hold at every look."""

    difference: float
    """Mean of the canary minus mean of the live version, in the unit of the values."""
    low: float
    """Lower bound; below the truth at every look with probability 1 - alpha."""
    high: float
    """Upper bound; above the truth at every look with probability 1 - alpha."""


def harmful_ratios(margin: float) -> tuple[float, ...]:
    """Ratios of event rates over which `excess_log_e` is spread: harms of 2, 5 and 10 times the margin.

    Args:
        margin: Largest relative excess that is acceptable, above 0, such as .5 for half more events.

    Example:
        >>> harmful_ratios(0.5)
        (2.0, 3.5, 6.0)
    """
    return tuple(1 + margin * times for times in (2, 5, 10))


def excess_log_e(events: Counts, of: Counts, share: float, ratios: Sequence[float]) -> Floats:
    """Log e-value against 'the canary has no higher rate of events': reject once it reaches log(1 / alpha).

    Args:
        events: Events of the canary, one count or an array of them.
        of: Events of both arms, of the same shape.
        share: Probability with which a unit is assigned to the canary, among the units of both arms, in (0, 1).
        ratios: Rate of the canary over that of the live version, of which one is believed where the canary does harm; each
            above 1, equally weighted.

    Returns:
        The log of the mixture of likelihood ratios, of that shape. It has mean 1 at most, on the scale of the e-value, where
        the rate of the canary is equal or lower.

    Raises:
        ValueError: if there are more events of the canary than of both, or a ratio is not above 1.

    References:
        Lindon & Malek (2022), section 4, with a mixture over finitely many alternatives; one-sided since each ratio's factor
        for one event, linear in the true share, is 1 at ``share`` and grows with it.

    Example:
        >>> (excess_log_e([3, 12], [60, 60], 0.05, harmful_ratios(0.5)) >= math.log(20)).tolist()
        [False, True]
    """
    _check(events, of, share)
    found = np.asarray(ratios, dtype=float)
    if not len(found) or (found <= 1).any():
        raise ValueError(f"ratios are {ratios!r}. Each is above 1.")
    shares = share * found / (share * found + 1 - share)
    ours, others = np.asarray(events)[..., None], np.subtract(of, events)[..., None]
    logs = ours * np.log(shares / share) + others * np.log((1 - shares) / (1 - share))
    mixed: Floats = logsumexp(logs, axis=-1) - math.log(len(found))
    return mixed


def excess_ratio(events: float, of: float, share: float, ratios: Sequence[float], *, alpha: float = 0.05) -> float:
    """Lower bound of the ratio of two event rates that holds at every look.

    Args:
        events: Events of the canary.
        of: Events of both arms.
        share: Probability with which a unit is assigned to the canary, in (0, 1).
        ratios: As `excess_log_e` takes them.
        alpha: Error rate, in (0, 1).

    Returns:
        The largest ratio, canary over live, that is still refused as too small; 0 where none is. It is above 1 exactly where
        `excess_log_e` reaches log(1 / alpha).

    References:
        The test of `excess_log_e` at the share ``share * r / (share * r + 1 - share)`` of a ratio r, inverted.

    Example:
        >>> [round(excess_ratio(events, 60, 0.05, harmful_ratios(0.5)), 2) for events in (0, 3, 12)]
        [0.0, 0.11, 1.78]
    """

    def evidence(log_ratio: float) -> float:
        ratio = math.exp(log_ratio)
        return float(excess_log_e(events, of, share * ratio / (share * ratio + 1 - share), ratios))

    low, high, needed = math.log(_SMALLEST_RATIO), -math.log(_SMALLEST_RATIO), math.log(1 / alpha)
    low, high = (0.0, high) if evidence(0.0) >= needed else (low, 0.0)
    if evidence(low) < needed:
        return 0.0
    while high - low > _RATIO_STEP:
        middle = (low + high) / 2
        low, high = (middle, high) if evidence(middle) >= needed else (low, middle)
    return math.exp(low)


def mismatch_log_e(canary: float, of: float, share: float) -> float:
    """Log e-value against 'units are assigned with this share': a sample-ratio mismatch once it reaches log(1 / alpha).

    Args:
        canary: Units of the canary.
        of: Units of both arms.
        share: Probability with which a unit is assigned to the canary, in (0, 1).

    Returns:
        The log of a beta mixture around the share, worth 100 units; two-sided.

    Raises:
        ValueError: if there are more units of the canary than of both.

    References:
        Lindon & Malek (2022), eq. 6, for two arms.

    Example:
        >>> mismatch_log_e(500, 10_000, 0.05) < 0 < math.log(20) < mismatch_log_e(700, 10_000, 0.05)
        True
    """
    return distribution_log_e([canary], [of], share)


def distribution_log_e(canary: Floats | Sequence[float], of: Floats | Sequence[float], share: float) -> float:
    """Log e-value against 'values fall into the same bins in both arms': another distribution once it reaches log(1 / alpha).

    Args:
        canary: Values of the canary by bin, shape (bins,).
        of: Values of both arms by bin.
        share: Probability with which a unit is assigned to the canary, in (0, 1).

    Returns:
        The log of the product of `mismatch_log_e` of each bin: where nothing differs, each value of a bin falls into the
        canary with that probability, whatever fell into it before.

    Raises:
        ValueError: if a bin holds more values of the canary than of both.

    References:
        Lindon & Malek (2022), section 4: the product of e-values of counts that are independent given their sums.

    Example:
        >>> same, other = [25, 50, 25], [50, 40, 10]
        >>> distribution_log_e(same, [500, 1_000, 500], 0.05) < 0 < math.log(20) < distribution_log_e(other, [500, 1_000, 500], 0.05)
        True
    """
    ours, both = np.asarray(canary, dtype=float), np.asarray(of, dtype=float)
    _check(ours, both, share)
    a, b = _PRIOR_UNITS * share, _PRIOR_UNITS * (1 - share)
    mixed = betaln(a + ours, b + both - ours) - betaln(a, b)
    return float((mixed - ours * math.log(share) - (both - ours) * math.log1p(-share)).sum())


def planned_rows(
    margin: float, variance: float, share: float, *, alpha: float = 0.05, power: float = 0.9, grows: float = 1.0
) -> int:
    """Rows of both arms with which one look at the end would find a difference of a margin.

    Args:
        margin: The difference, above 0, in the unit of the values.
        variance: Variance of the values.
        share: Share of the canary, in (0, 1).
        alpha: Error rate, one-sided.
        power: Chance to find it.
        grows: How many times larger the variance of the canary is where it differs by the margin, as that of counts and
            of times is.

    Example:
        >>> planned_rows(0.1, 1.0, 0.05), planned_rows(0.1, 1.0, 0.05, grows=2.0)
        (18030, 24833)
    """
    if margin <= 0 or variance < 0 or not 0 < share < 1:
        raise ValueError(
            f"margin {margin}, variance {variance}, share {share}: a margin is above 0, a share in (0, 1)."
        )
    same, other = 1 / share + 1 / (1 - share), grows / share + 1 / (1 - share)
    reach = float(norm.ppf(1 - alpha) * math.sqrt(same) + norm.ppf(power) * math.sqrt(other))
    return math.ceil(reach**2 * variance / margin**2)


def planned_pairs(margin: float, variance: float, *, alpha: float = 0.05, power: float = 0.9) -> int:
    """Pairs with which one look at the end would find a mean difference of a margin.

    Args:
        margin: The difference, above 0, in the unit of the values.
        variance: Variance of the differences.
        alpha: Error rate, one-sided.
        power: Chance to find it.

    Example:
        >>> planned_pairs(0.1, 1.0)
        857
    """
    return planned_rows(2 * margin, variance, 0.5, alpha=alpha, power=power)


def design_effect(rows: Floats, totals: Floats, squares: Floats) -> float:
    """How many times larger the variance of a mean is than of independent values, from sums by groups of units.

    Values of one unit go together, and a unit is always in the same group. Sums and counts that are divided by the effect
    are those of as many independent values as say the same.

    Args:
        rows: Values of each group, shape (arms, groups).
        totals: Their sums.
        squares: The sums of their squares.

    Returns:
        The variance of the groups' sums around their arm's mean, over that of independent values; 1 at least, and 1 where
        nothing varies.

    References:
        Kish (1965), Survey Sampling, section 8.2; the variance of a ratio of sums over clusters: Cochran (1977), Sampling
        Techniques, eq. 6.13, with groups as clusters.

    Example:
        >>> once, four = np.ones((1, 400)), np.full((1, 400), 4.0)
        >>> values = np.random.default_rng(0).normal(size=(1, 400))
        >>> round(design_effect(once, values, values**2), 1), round(design_effect(four, 4 * values, 4 * values**2), 1)
        (1.0, 4.0)
    """
    groups, seen = rows.shape[1], rows.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(seen > 0, totals.sum(axis=1, keepdims=True) / seen, 0.0)
    within = float((squares.sum(axis=1, keepdims=True) - seen * means**2).sum())
    between = float(((totals - rows * means) ** 2).sum()) * groups / (groups - 1)
    return max(1.0, between / within) if within > 1e-9 * float(squares.sum()) else 1.0


def paired_bound(pairs: Arm, planned: int, *, alpha: float = 0.05) -> Difference | None:
    """Mean of paired differences with a bound on each side that holds at every look.

    Args:
        pairs: What was counted of the differences.
        planned: Pairs that are to be seen, above 0; the sequence is tightest at half of them.
        alpha: Error rate of each bound, in (0, 0.5).

    Returns:
        The mean with its bounds; None while there are fewer than 2 pairs, or all differences are equal.

    References:
        As `difference_bound`, of one sample.

    Example:
        >>> found = paired_bound(Arm(400, 40.0, 104.0), 1_000)
        >>> (found.difference, round(found.low, 3), round(found.high, 3))
        (0.1, 0.03, 0.17)
    """
    _check_plan(planned, alpha)
    if pairs.rows < 2:
        return None
    mean = pairs.total / pairs.rows
    variance = max(0.0, pairs.squares - pairs.rows * mean**2) / (pairs.rows - 1)
    if variance <= _NOTHING * mean**2:
        return None
    return _around(mean, math.sqrt(variance / pairs.rows), pairs.rows / planned, alpha)


def difference_bound(canary: Arm, live: Arm, planned: int, *, alpha: float = 0.05) -> Difference | None:
    """Difference of two means with a bound on each side that holds at every look.

    Args:
        canary: What was counted of the canary.
        live: What was counted of the live version.
        planned: Rows of both arms that the canary is to see, above 0; the sequence is tightest at half of them.
        alpha: Error rate of each bound, in (0, 0.5).

    Returns:
        The difference, canary minus live, with its bounds; None while either arm has fewer than 2 rows, or all values are
        equal.

    References:
        Howard et al. (2021), one-sided normal mixture with its closed-form upper bound; the mixture is tuned by their
        approximation of the best tuning for one sample size. Variance is pooled over the arms, since that of a small arm
        misses rare values (Welch's raised .26–.58 false alarms at 5 %/95 % on rare errors and revenue).

    Example:
        >>> found = difference_bound(Arm(500, 600.0, 1_700.0), Arm(9_500, 9_500.0, 28_500.0), 20_000)
        >>> (round(found.difference, 2), round(found.low, 3), round(found.high, 3))
        (0.2, 0.02, 0.38)
    """
    _check_plan(planned, alpha)
    if min(canary.rows, live.rows) < 2:
        return None
    means = canary.total / canary.rows, live.total / live.rows
    within = sum(arm.squares - arm.rows * mean**2 for arm, mean in zip((canary, live), means, strict=True))
    rows = canary.rows + live.rows
    variance = max(0.0, within) / (rows - 2)
    if variance == 0:
        return None
    error = math.sqrt(variance * (1 / canary.rows + 1 / live.rows))
    return _around(means[0] - means[1], error, rows / planned, alpha)


def _around(difference: float, error: float, seen: float, alpha: float) -> Difference:
    """A difference with its bounds, given its standard error and how much of the plan was seen."""
    tuned = _TIGHTEST / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))
    reach = math.sqrt(2 * (seen + tuned) / seen * math.log(1 + math.sqrt((seen + tuned) / tuned) / (2 * alpha)))
    return Difference(difference, difference - reach * error, difference + reach * error)


def _check_plan(planned: int, alpha: float) -> None:
    if not 0 < alpha < 0.5 or planned <= 0:
        raise ValueError(f"alpha is {alpha}, planned {planned}. An error rate lies in (0, 0.5), a plan above 0.")


def _check(part: Counts, whole: Counts, share: float) -> None:
    if np.less(part, 0).any() or np.greater(part, whole).any() or not 0 < share < 1:
        raise ValueError(
            f"{part} of {whole} at a share of {share}: a part is no larger than its whole, a share in (0, 1)."
        )
