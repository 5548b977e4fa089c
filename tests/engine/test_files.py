from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sterling.core.errors import DataError
from sterling.engine.files import read_file

TEXT = "a,b,t,u\n1,x,2013-01-01T06:00:00Z,2013-01-01 06:00:00\n,NA,,\n"


def test_plain_gzipped_and_zipped_text_are_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text(TEXT)
    (tmp_path / "gz").write_bytes(gzip.compress(TEXT.encode()))
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("inner.csv", TEXT)
    tables = [
        read_file(tmp_path / "plain", "t.csv"),
        read_file(tmp_path / "gz", "t.csv.gz"),
        read_file(tmp_path / "zip", "t.csv.zip"),
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert tables[0].column("b").to_pylist() == ["x", "NA"]
    assert tables[0].column("a").to_pylist() == [1, None]


def test_a_time_is_in_utc_only_where_the_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(TEXT)
    schema = read_file(tmp_path / "f", "t.csv").schema
    assert schema.field("t").type == pa.timestamp("us", "UTC")
    assert schema.field("u").type == pa.timestamp("us")


def test_a_column_has_the_type_of_all_its_cells_not_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sterling.engine.files._BLOCK", 64)
    (tmp_path / "f").write_text("a\n" + "1\n" * 200 + "1.5\n")
    assert read_file(tmp_path / "f", "t.csv").column("a").to_pylist()[-1] == 1.5


def test_nan_is_null_and_an_infinity_is_refused_by_its_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0, float("nan")]}), tmp_path / "nan")
    assert read_file(tmp_path / "nan", "t.parquet").column("a").to_pylist() == [1.0, None]
    pq.write_table(pa.table({"a": [1.0, float("inf")]}), tmp_path / "inf")
    with pytest.raises(DataError, match=r"t.parquet: the column 'a' is infinite in 1 of 2 rows"):
        read_file(tmp_path / "inf", "t.parquet")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t.xlsx", "unknown format. Known endings: .parquet, .csv, .csv.gz, .csv.zip"),
        ("t.parquet", "t.parquet is not what its ending says"),
        ("t.csv.gz", "t.csv.gz is not what its ending says"),
        ("t.csv.zip", "t.csv.zip is not what its ending says"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "f").write_text(TEXT)
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / "f", name)


def test_an_archive_of_two_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f", "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.writestr("b.csv", TEXT)
    with pytest.raises(DataError, match="holds 2 files"):
        read_file(tmp_path / "f", "t.csv.zip")
