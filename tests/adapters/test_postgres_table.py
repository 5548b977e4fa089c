"""A table of PostgreSQL that scores go to, or that rows come from."""

from __future__ import annotations

from pathlib import Path

import pg8000.native
import pyarrow as pa
import pytest

from sterling.adapters.postgres_url import address_of
from sterling.core.destination import Destination, Rows
from sterling.core.errors import InvalidDefinitionError
from sterling.scoring.places import destination_of, rows_of
from tests.scoring.destinations import ODD, DestinationContract, Read, written


class TestPostgresTable(DestinationContract):
    @pytest.fixture
    def place(self, postgres_url: str) -> Destination:
        database = pg8000.native.Connection(**address_of(postgres_url).connecting())
        database.run("DROP TABLE IF EXISTS scores, scores_refused")
        database.close()
        return destination_of(postgres_url, "scores")

    @pytest.fixture
    def read(self, postgres_url: str) -> Read:
        def rows() -> list[dict[str, object]]:
            database = pg8000.native.Connection(**address_of(postgres_url).connecting())
            found = database.run("SELECT * FROM scores ORDER BY ctid")
            names = [column["name"] for column in database.columns]
            database.close()
            return [dict(zip(names, row, strict=True)) for row in found]

        return rows

    def test_its_rows_can_be_scored(self, place: Destination, postgres_url: str, tmp_path: Path) -> None:
        place.replace("a", "r1", [written(ODD, "r1", 1 / 3)])
        rows = rows_of(postgres_url, "scores")
        assert isinstance(rows, Rows)
        found = pa.concat_tables(rows.batches(tmp_path, 10))
        expected = written(ODD, "r1", 1 / 3).scored
        assert found.select(expected.column_names).to_pylist() == expected.to_pylist()
        assert list(tmp_path.iterdir()) == []

    def test_its_password_is_never_shown(self, place: Destination, postgres_url: str) -> None:
        password = address_of(postgres_url).password
        assert password
        assert password not in place.name

    def test_a_table_that_is_not_there_is_said(self, postgres_url: str, tmp_path: Path) -> None:
        rows = rows_of(postgres_url, "nowhere")
        assert isinstance(rows, Rows)
        with pytest.raises(InvalidDefinitionError, match="has no table 'nowhere'"):
            list(rows.batches(tmp_path, 10))
