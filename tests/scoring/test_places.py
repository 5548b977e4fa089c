"""Places that scores go to: a partition is replaced as a whole, or stays as it was."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sterling.core.destination import Destination, Rows, Written
from sterling.core.errors import InvalidDefinitionError, StorageError, UnknownBackendError
from sterling.scoring.places import DuckDBTable, ParquetFolder, destination_of, resolved, rows_of
from tests.scoring.destinations import DestinationContract, Read, written


class TestParquetFolder(DestinationContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Destination:
        return destination_of(str(tmp_path / "scores"), "scores")

    @pytest.fixture
    def read(self, tmp_path: Path) -> Read:
        def rows() -> list[dict[str, object]]:
            files = sorted((tmp_path / "scores").glob("partition=*/*.parquet"))
            return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]

        return rows

    def test_names_of_partitions_are_no_paths(self, tmp_path: Path) -> None:
        place = ParquetFolder(tmp_path / "scores")
        place.replace("../../a b", "r1", [written(["1"], "r1")])
        assert [path.name for path in (tmp_path / "scores").iterdir()] == ["partition=..%2F..%2Fa%20b"]

    def test_refused_rows_lie_beside_and_go_when_there_are_none(self, tmp_path: Path) -> None:
        place, refused = ParquetFolder(tmp_path), tmp_path / "_refused" / "partition=a" / "scores.parquet"
        place.replace("a", "r1", [written(["1"], "r1", refused=2)])
        assert pq.ParquetFile(refused).metadata.num_rows == 2
        place.replace("a", "r2", [written(["1"], "r2")])
        assert not refused.exists()
        assert [path.name for path in tmp_path.rglob(".incoming*")] == []


class TestDuckDBTable(DestinationContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Destination:
        return destination_of(f"duckdb:{tmp_path / 'scores.db'}", "scores")

    @pytest.fixture
    def read(self, tmp_path: Path) -> Read:
        def rows() -> list[dict[str, object]]:
            with duckdb.connect(str(tmp_path / "scores.db")) as db:
                return db.sql("SELECT * FROM scores").to_arrow_table().to_pylist()  # type: ignore[no-any-return]

        return rows

    def test_refused_rows_are_replaced_with_the_others(self, tmp_path: Path) -> None:
        place = DuckDBTable(tmp_path / "s.db", "scores")
        for run, refused in (("r1", 2), ("r2", 1)):
            place.replace("a", run, [written(["1"], run, refused=refused)])
        with duckdb.connect(str(tmp_path / "s.db")) as db:
            assert db.execute("SELECT count(*), min(run) FROM scores_refused").fetchone() == (1, "r2")

    def test_a_table_of_other_columns_is_refused(self, place: Destination) -> None:
        place.replace("a", "r1", [written(["1"], "r1")])
        other = written(["1"], "r1")
        with pytest.raises(InvalidDefinitionError, match="Name another table with --to-table"):
            place.replace("a", "r1", [Written(other.scored.drop_columns(["customer"]), other.refused)])

    def test_its_rows_can_be_scored(self, place: Destination, tmp_path: Path) -> None:
        place.replace("a", "r1", [written(["1", "2"], "r1")])
        rows = rows_of(f"duckdb:{tmp_path / 'scores.db'}", "scores")
        assert isinstance(rows, Rows)
        assert pa.concat_tables(rows.batches(tmp_path, 10))["customer"].to_pylist() == ["1", "2"]


def test_a_place_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORES", "duckdb:s.db")
    assert resolved("env:SCORES") == "duckdb:s.db"
    with pytest.raises(InvalidDefinitionError, match="NOT_SET is not set"):
        resolved("env:NOT_SET")


def test_places_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackendError, match="No adapter for 'mysql'"):
        destination_of("mysql://db/scores", "scores")
    with pytest.raises(InvalidDefinitionError, match="--from-table"):
        rows_of("duckdb:rows.db", None)
    (tmp_path / "file").touch()
    with pytest.raises((StorageError, OSError)):
        ParquetFolder(tmp_path / "file").replace("a", "r1", [written(["1"], "r1")])
