"""Leakage checks of single columns: each asks one question of a sample, and answers with findings.

A finding needs an effect that no ordinary feature has *and* significance; both thresholds stand here with their reason.
A feature that merely predicts well is none: what makes a leak is that it stands alone, that it fails where time passes, or
that it names rows, days or the future.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from sterling.stages.leak_levels import levels, missing_numbers
from sterling.stages.leak_sample import Finding, Floats, Sample, Told
from sterling.stats.concordance import Agreement, agreement, bin_column, bin_means, purity_bound

STRONG = 0.85
"""A column alone agrees so well with the label (lower bound) that it is asked what the others have without it. The own
departure delay of a flight reaches .91; all that is known two hours before reaches .76 together."""
AHEAD = 0.05
"""How far it has to be ahead of all others together, and"""
ERROR_RATIO = 2.5
"""how many times smaller its error. Diagnoses from one image tell nearly all that 30 measurements tell (ratio below 1)."""
FEW = 12
"""A column of so few values, or its being missing, is held against the label as a code of it:"""
RECODED = 0.8
"""chance-corrected agreement (Cohen's kappa, lower bound) from which it is one."""
MOST_TOGETHER = 5
"""So many columns may be leaks at once and still be found."""
CLOCK = 0.95
"""A column is a clock where it explains this share of the moment's variance: a date does (.98 and more), outside
temperature over eight months does not (.80)."""
COLLAPSE = 0.15
"""Loss of agreement from a random half to the holdout; drift of weather and demand over months costs .05."""
DISTINCT = 0.95
"""Share of different values from which whole numbers or texts name rows."""
ID_AGREES = 0.55
"""Agreement (lower bound) from which an identifier tells something; it should tell nothing, 0.5."""
_EPOCHS = {"seconds": 1e6, "milliseconds": 1e3, "microseconds": 1.0, "days": 86_400e6}
_NEAR = 20 * 365.25 * 86_400e6
_FIRST = 631_152_000e6  # 1990: before it, small numbers look like times
_FOLLOWS = 0.5  # share of the moment's variance from which numbers may be times


def check_columns(sample: Sample) -> Iterator[Finding]:
    """Every finding about single columns; a column that one check found is left out by those after it."""
    found: dict[str, Finding] = {}
    for check in (_future, _identifiers, _dates, _recoded, _targets, levels, missing_numbers, _collapsed):
        for finding in check(sample, frozenset(found)):
            if found.setdefault(finding.column, finding) is finding:
                yield finding


def _name(sample: Sample, place: int) -> str:
    return sample.columns[place].name


def _future(sample: Sample, _: frozenset[str]) -> Iterator[Finding]:
    """Times, as numbers since 1970 or as texts, that lie after the prediction."""
    for place, column in enumerate(sample.columns):
        values = sample.matrix[:, place]
        if column.kind == "category":
            moments = [("text", _parsed(column.categories, values))] if column.categories else []
        else:
            moments = [(unit, values * scale) for unit, scale in _EPOCHS.items()]
        for unit, times in moments:
            known = ~np.isnan(times)
            if known.sum() < 30 or not (np.abs(times[known] - sample.at[known]) < _NEAR).all():
                continue
            if unit != "text" and (sample.at[0] < _FIRST or sample.told[place].clock < _FOLLOWS):
                continue
            after = times[known] > sample.at[known]
            if not after.any():
                continue
            ahead = float(np.median((times[known] - sample.at[known])[after])) / 3_600e6
            yield Finding(
                "future", column.name,
                {"rows": int(known.sum()), "after": int(after.sum()), "share": float(after.mean()), "median_hours": ahead,
                 "unit": unit},
                f"It holds times ({unit}), and {after.mean():.1%} of them lie after the prediction, by {ahead:.3g} hours in the "
                "median.",
                "Take it out, or give the column its own availability (known=), so that what is not yet known is null.",
            )  # fmt: skip
            break


def _parsed(texts: Sequence[str], codes: Floats) -> Floats:
    """Moments of texts that are ISO 8601 times; NaN where missing, all NaN where one is no time."""
    try:
        times = [_micros(text) for text in texts]
    except ValueError:
        return np.full(len(codes), np.nan)
    known = ~np.isnan(codes)
    found = np.full(len(codes), np.nan)
    found[known] = np.array(times)[codes[known].astype(np.int64)]
    return found


def _micros(text: str) -> float:
    if len(text) < 8:
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6


def _identifiers(sample: Sample, seen: frozenset[str]) -> Iterator[Finding]:
    """Whole numbers or texts that name single rows and still predict: an order, or a part of the text, tells."""
    train = ~sample.holdout
    for place, column in enumerate(sample.columns):
        values = sample.matrix[train, place]
        known = values[~np.isnan(values)]
        if column.name in seen or len(known) < 100 or len(np.unique(known)) < DISTINCT * len(known):
            continue
        if column.kind == "number":
            if not (known == np.floor(known)).all():
                continue
            parts = {"its order": (sample.told[place].random, sample.told[place].later)}
        else:
            parts = {what: _of_part(sample, codes) for what, codes in _parts(sample, place)}
        what, (random, later) = max(parts.items(), key=lambda part: part[1][0].lower)
        if random.lower >= ID_AGREES:
            distinct = len(np.unique(known)) / len(known)
            yield Finding(
                "identifier", column.name,
                {"distinct": distinct, "part": what, **_numbers(sample, random, later)},
                f"{distinct:.0%} of its values name one row each, and yet {what} reaches a {sample.measure} of {random.value:.3f} on "
                f"a random half of the training rows ({later.value:.3f} on the holdout).",
                "Take it out: an identifier tells only how rows were collected.",
            )  # fmt: skip


def _parts(sample: Sample, place: int) -> Iterator[tuple[str, Floats]]:
    """What could be read from the texts of a column: how they begin and end, and how long they are."""
    texts = sample.columns[place].categories
    codes = sample.matrix[:, place]
    known = ~np.isnan(codes)
    for what, parts in (
        ("its beginning", [text[:2] for text in texts]),
        ("its end", [text[-2:] for text in texts]),
        ("its length", [str(len(text)) for text in texts]),
    ):
        numbers = np.unique(parts, return_inverse=True)[1].astype(np.float64)
        found = np.full(len(codes), np.nan)
        found[known] = numbers[codes[known].astype(np.int64)]
        yield what, found


def _of_part(sample: Sample, codes: Floats) -> tuple[Agreement, Agreement]:
    train, half = ~sample.holdout, sample.half
    bins = bin_column(codes, category=True, reference=train)
    scores = np.where(half, bin_means(bins, sample.label, train & ~half), bin_means(bins, sample.label, half))[train]
    random = agreement(sample.label[train], scores, np.arange(len(scores)), error_rate=sample.each)
    return random, sample.judged(bin_means(bins, sample.label, train)[sample.holdout])


def _dates(sample: Sample, seen: frozenset[str]) -> Iterator[Finding]:
    """Columns that tell the day, and predict only for rows of the same days."""
    for one in sample.told:
        name = _name(sample, one.place)
        if name in seen or one.clock < CLOCK or one.random.lower <= max(0.51, one.later.upper):
            continue
        yield Finding(
            "date", name,
            {"clock": one.clock, **_numbers(sample, one.random, one.later)},
            f"It tells the day ({one.clock:.0%} of the variance of the moment), and alone reaches a {sample.measure} of "
            f"{one.random.value:.3f} where rows are split at random, {one.later.value:.3f} on the later holdout.",
            "Take it out, or keep what recurs of it (hour, weekday); judge by splits in time alone.",
        )  # fmt: skip


def _recoded(sample: Sample, seen: frozenset[str]) -> Iterator[Finding]:
    """Columns of few values, each of which stands for one class: the label in other words."""
    if not sample.binary:
        return
    base = max(float(sample.label.mean()), 1 - float(sample.label.mean()))
    train = ~sample.holdout
    for place, column in enumerate(sample.columns):
        if column.name in seen:
            continue
        missing = np.isnan(sample.matrix[:, place])
        coded = {"its being missing": bin_column(missing.astype(float), category=True, reference=train)}
        if sample.bins[place].size <= FEW + 2:
            coded["its value"] = sample.bins[place]
        for what, bins in coded.items():
            guess = bin_means(bins, sample.label, train) > 0.5
            hits = int((guess == (sample.label == 1)).sum())
            kappa, low = ((share - base) / (1 - base) for share in (
                hits / len(guess), purity_bound(hits, len(guess), error_rate=sample.each)))  # fmt: skip
            if low < RECODED:
                continue
            yield Finding(
                "target", column.name,
                {"kappa": kappa, "kappa_lower": low, "rows": len(guess), "agreeing": hits},
                f"{what[0].upper()}{what[1:]} says the label in {hits:,} of {len(guess):,} rows (kappa {kappa:.3f}).",
                "It is the label in other words, or follows from it. Take it out.",
            )  # fmt: skip
            break


def _targets(sample: Sample, seen: frozenset[str]) -> Iterator[Finding]:
    """Columns that say nearly what the label says, and far more than all others together."""
    ranked = sorted(
        (one for one in sample.told if _name(sample, one.place) not in seen), key=lambda one: -one.later.value
    )
    strong = [one for one in ranked if _strength(one) >= STRONG][:MOST_TOGETHER]
    leaks: list[Told] = []
    rest = None
    for count in range(1, len(strong) + 1):
        others = sample.together(sample.without(*(one.place for one in strong[:count])))
        ahead = [one for one in strong[:count] if _ahead(one.later.value, others.value)]
        if len(ahead) >= max(1, len(leaks)):
            leaks, rest = ahead, others
    for one in leaks:
        assert rest is not None
        name = _name(sample, one.place)
        yield Finding(
            "target", name,
            {**_numbers(sample, one.random, one.later), "others": rest.value},
            f"Alone it reaches a {sample.measure} of {one.later.value:.3f} on the holdout, all other columns together "
            f"{rest.value:.3f}.",
            "Look up when it is written: it is likely filled in with, or after, the outcome. Take it out, or say when it is known.",
        )  # fmt: skip


def _strength(one: Told) -> float:
    """The better lower bound; a column that leaks on one side only is another check's."""
    return min(max(one.random.lower, one.later.lower), one.random.value, one.later.value)


def _ahead(value: float, others: float) -> bool:
    return value - others >= AHEAD and (1 - others) >= ERROR_RATIO * (1 - value)


def _collapsed(sample: Sample, seen: frozenset[str]) -> Iterator[Finding]:
    """Columns that know the labels of the training rows and none of the holdout: means of labels, their own among them."""
    for one in sample.told:
        name = _name(sample, one.place)
        if name in seen or one.random.value - one.later.value < COLLAPSE or one.random.lower <= one.later.upper:
            continue
        yield Finding(
            "collapse", name, _numbers(sample, one.random, one.later),
            f"Alone it reaches a {sample.measure} of {one.random.value:.3f} among the training rows and {one.later.value:.3f} on "
            "the holdout.",
            "It was likely computed from the labels of the rows that it is trained on. Compute it from earlier labels alone.",
        )  # fmt: skip


def _numbers(sample: Sample, random: Agreement, later: Agreement) -> dict[str, Any]:
    return {
        "measure": "roc_auc" if sample.binary else "concordance", "random": random.value, "random_lower": random.lower,
        "later": later.value, "later_lower": later.lower, "later_upper": later.upper,
    }  # fmt: skip
