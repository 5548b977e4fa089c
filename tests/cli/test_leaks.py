"""``sterling leaks``, which needs no project."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.cli.conftest import sterling
from tests.cli.test_run import fits
from tests.stages.bench import TIME, at


def test_leaks_says_what_a_join_on_the_time_of_events_lets_in(tmp_path: Path) -> None:
    table = pa.table({
        "who": ["a"] * 300, "happened": pa.array([at(n) for n in range(300)], TIME),
        "known": pa.array([at(n + n % 3) for n in range(300)], TIME), "value": [float(n % 3) for n in range(300)],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "log.parquet")
    asked = ["leaks", "log.parquet", "--event-time", "happened", "--available-at", "known", "--entity", "who"]
    answer = sterling(tmp_path, *asked, "--value", "value", "--window", "3h", "--delay", "1h")
    assert (answer.code, answer.errors) == (0, "")
    assert fits(answer.out)
    said = " ".join(answer.out.split())
    assert "Delay('120m') would cover 99 % of the rows." in said
    assert "Declared is Delay('1h'): 33.3 % of the rows were known later." in said
    found = sterling(tmp_path, *asked, "--value", "value", "--window", "3h", "--json").json
    assert found["rows"] == 300
    assert [leak["feature"] for leak in found["features"]] == ["count_3h", "mean_value_3h", "last_value"]
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_leaks_names_a_column_that_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("who,happened,known\na,2025-01-01T00:00:00Z,2025-01-01T00:00:00Z\n")
    answer = sterling(
        tmp_path, "leaks", "log.csv", "--event-time", "hapened", "--available-at", "known", "--entity", "who"
    )
    assert answer.code == 2
    assert "There is no column 'hapened'. Did you mean 'happened'?" in answer.errors
