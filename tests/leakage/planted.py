"""Leaks to plant into real data: each with the finding that must name it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tests.leakage.real import (
    BASE,
    DAY,
    END,
    HOUR,
    SCHEDULE,
    START,
    Columns,
    as_frame,
    breast_cancer,
    diabetes,
    digits,
    flights,
    wine,
)  # fmt: skip

Rows = Any


@dataclass(frozen=True)
class Data:
    """A data set with its split."""

    columns: Columns
    label: Any
    start: int
    end: int
    at: Any = None
    cluster: Any = None
    unit: Any = None
    more: Any = None
    groups: tuple[str, ...] = ()

    @property
    def random(self) -> np.random.Generator:
        return np.random.default_rng(len(self.label))

    @property
    def frame(self) -> pa.Table:
        return as_frame(self.columns, self.label, at=self.at, unit=self.unit, cluster=self.cluster)

    @property
    def moments(self) -> Any:
        return BASE + np.arange(len(self.label)) * HOUR if self.at is None else self.at

    @property
    def holdout(self) -> Any:
        return self.moments >= self.start

    def plus(self, planted: Any, name: str = "planted") -> Data:
        return replace(self, columns=self.columns | {name: planted})

    def take(self, rows: Any) -> Columns:
        return {name: pa.chunked_array([pa.array(values)]).take(pa.array(rows)) if not isinstance(values, pa.ChunkedArray)
                else values.take(pa.array(rows)) for name, values in self.columns.items()}  # fmt: skip


def without_order(found: tuple[Columns, Any]) -> Data:
    """Rows that have no order: the last three in ten judge."""
    columns, label = found
    rows = len(label)
    return Data(columns, label, BASE + int(rows * 0.7) * HOUR, BASE + rows * HOUR)


def of_flights(*more: str, features: tuple[str, ...] | None = None, every: int = 5) -> Data:
    columns, rows = flights(*more, every=every, **({"features": features} if features else {}))
    return Data(
        columns, rows["label"].to_numpy(), START, END, rows["at"].to_numpy(), rows["local_day"], more=rows
    )  # fmt: skip


def median_split(found: tuple[Columns, Any]) -> tuple[Columns, Any]:
    columns, label = found
    return columns, (label > np.median(label)).astype(np.int8)


CLEAN: dict[str, Callable[[], Data]] = {
    "flights": of_flights,
    "schedule of flights": lambda: of_flights(features=SCHEDULE),
    "breast cancer": lambda: without_order(breast_cancer()),
    "digits": lambda: without_order(digits()),
    "wine": lambda: without_order(wine()),
    "diabetes, numbers": lambda: without_order(diabetes()),
    "diabetes, halves": lambda: without_order(median_split(diabetes())),
}


class Planted(NamedTuple):
    """A leak, where it is planted, and the name of the finding."""

    into: str
    plant: Callable[[Data], Data]
    finding: str


def _flipped(data: Data, share: float) -> Any:
    return np.where(data.random.random(len(data.label)) < share, 1 - data.label, data.label).astype(float)


def _copied(data: Data, share: float, noise: float) -> Data:
    """Some rows of the holdout are rows of training again, with another name."""
    random, rows = data.random, np.arange(len(data.label))
    later, earlier = np.flatnonzero(data.holdout), np.flatnonzero(~data.holdout)
    copied = random.choice(later, int(share * len(later)), replace=False)
    rows[copied] = random.choice(earlier, len(copied), replace=False)
    columns = data.take(rows)
    for name, values in columns.items():
        if noise and pa.types.is_floating(values.type):
            numbers = values.to_numpy().copy()
            numbers[copied] += noise * np.nanstd(numbers) * random.normal(size=len(copied))
            columns[name] = pa.chunked_array([pa.array(numbers)])
    return replace(data, columns=columns, label=data.label[rows])


def _encoded(data: Data) -> Data:
    """The mean label of an aircraft, its own label included, as known in training; elsewhere the overall mean."""
    tails = data.more["tailnum"].combine_chunks().dictionary_encode().indices.to_numpy()
    pairs = tails.astype(np.int64) * 400 + (data.at // (21 * DAY)) % 400
    _, key = np.unique(pairs, return_inverse=True)
    train = ~data.holdout
    rows, ones = (
        np.bincount(key[train], minlength=key.max() + 1),
        np.bincount(key[train], data.label[train], key.max() + 1),
    )
    mean = data.label[train].mean()
    return data.plus(np.where(rows > 0, ones / np.maximum(rows, 1), mean)[key])


def _arrival(data: Data) -> Any:
    return data.at / 1e6 + 7200 + 60 * data.more["arr_delay"].to_numpy() + 7200


def _iso(data: Data) -> list[str]:
    return [str(np.datetime64(int(second), "s")) for second in _arrival(data)]


def _numbered(data: Data) -> Any:
    """Numbers given out class by class, as when rows were collected one class after the other."""
    return np.argsort(np.argsort(data.label + 0.5 * data.random.random(len(data.label)))).astype(float)


def two_readings(data: Data) -> Data:
    """Two columns that say nothing each, and the label by their difference."""
    first = data.random.normal(0, 3, len(data.label))
    return data.plus(first, "first").plus(first + 2.0 * data.label + data.random.normal(0, 0.3, len(first)), "second")


LEAKS: dict[str, Planted] = {
    "the label itself": Planted("breast cancer", lambda d: d.plus(d.label.astype(float)), "target:planted"),
    "the label as text": Planted("wine", lambda d: d.plus(np.where(d.label == 1, "M", "B")), "target:planted"),
    "the label with errors": Planted("breast cancer", lambda d: d.plus(_flipped(d, 0.02)), "target:planted"),
    "the label in noise": Planted(
        "diabetes, halves", lambda d: d.plus(d.label + d.random.normal(0, 0.35, len(d.label))), "target:planted"),
    "the number itself": Planted("diabetes, numbers", lambda d: d.plus(2 * d.label + 1), "target:planted"),
    "the number in noise": Planted(
        "diabetes, numbers", lambda d: d.plus(d.label + d.random.normal(0, 15, len(d.label))), "target:planted"),
    "the delay at departure": Planted("flights", lambda d: d.plus(d.more["dep_delay"]), "target:planted"),
    "the delay at arrival": Planted("flights", lambda d: d.plus(d.more["arr_delay"]), "target:planted"),
    "a cell that only one class lacks": Planted("digits", lambda d: d.plus(np.where(d.label == 1, 1.0, np.nan)), "target:planted"),
    "missing for half of the positives alone": Planted(
        "flights", lambda d: d.plus(np.where((d.label == 1) & (d.random.random(len(d.label)) < 0.5), np.nan, 1.0)),
        "missingness:planted"),
    "missing far more often for positives": Planted(
        "flights", lambda d: d.plus(np.where(d.random.random(len(d.label)) < np.where(d.label == 1, 0.6, 0.05), np.nan, 1.0)),
        "missingness:planted"),
    "missing where the number is large": Planted(
        "diabetes, numbers", lambda d: d.plus(np.where((d.label > np.median(d.label)) & (d.random.random(len(d.label)) < 0.7), np.nan, 1.0)), "missingness:planted"),
    "a refund for some positives": Planted(
        "flights", lambda d: d.plus(np.where((d.label == 1) & (d.random.random(len(d.label)) < 0.2), d.random.gamma(2, 50, len(d.label)), 0.0)),
        "level:planted"),
    "a status that only the unlucky get": Planted(
        "flights", lambda d: d.plus(np.where((d.label == 1) & (d.random.random(len(d.label)) < 0.1), "rebooked", "booked")),
        "level:planted"),
    "rows twice": Planted("breast cancer", lambda d: _copied(d, 0.15, 0), "duplicates:rows"),
    "flights twice": Planted("flights with aircraft", lambda d: _copied(d, 0.02, 0), "duplicates:rows"),
    "rows twice, measured again": Planted("breast cancer", lambda d: _copied(d, 0.2, 0.001), "near_duplicates:rows"),
    "images twice, with noise": Planted("digits", lambda d: _copied(d, 0.1, 0.0005), "near_duplicates:rows"),
    "one event on both sides": Planted(
        "wine", lambda d: replace(d, unit=[f"u{n % 150}" for n in range(len(d.label))]), "units:unit"),
    "aircraft on both sides": Planted(
        "flights", lambda d: replace(d.plus(d.more["tailnum"], "_slice_aircraft"), groups=("aircraft",)), "groups:aircraft"),
    "the day of the year": Planted("flights", lambda d: d.plus(d.more["day_of_year"]), "date:planted"),
    "the month": Planted("flights", lambda d: d.plus(d.more["month"]), "date:planted"),
    "numbers given out in time": Planted("flights", lambda d: d.plus(d.more["flight_id"]), "identifier:planted"),
    "numbers given out by class": Planted("breast cancer", lambda d: d.plus(_numbered(d)), "identifier:planted"),
    "names that begin with the class": Planted(
        "wine", lambda d: d.plus([f"{'ab'[int(one)]}x{n:04}" for n, one in enumerate(d.label)]), "identifier:planted"),
    "the time of arrival": Planted("flights", lambda d: d.plus(_arrival(d)), "future:planted"),
    "the time of arrival as text": Planted("flights", lambda d: d.plus(_iso(d)), "future:planted"),
    "means of labels, their own among them": Planted("flights", _encoded, "collapse:planted"),
}  # fmt: skip
HOSTS = CLEAN | {"flights with aircraft": lambda: of_flights("tailnum", "flight")}
