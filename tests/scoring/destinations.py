"""What every place that scores go to keeps to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from sterling.core.destination import Destination, Written

ODD = ["", 'say "so", please', "two\nlines", "\\N", "null", "ß→🦉", None]
AT = pa.timestamp("us", tz="UTC")
Read = Callable[[], list[dict[str, object]]]


def written(keys: list[str | None], run: str, score: float = 0.1 + 0.2, refused: int = 0) -> Written:
    rows = len(keys)
    table = pa.table(
        {
            "customer": pa.array(keys, pa.string()),
            "predict_at": pa.array([datetime(2024, 5, 1, 6, 0, 0, 123456, UTC)] * rows, AT),
            "score": pa.array([score] * rows, pa.float64()),
            "decision": pa.array([True] * rows, pa.bool_()),
            "version": pa.array([3] * rows, pa.int64()),
            "run": pa.array([run] * rows, pa.string()),
        }
    )
    out = pa.table(
        {"row": pa.array(range(refused), pa.int64()), "reason": pa.array(["a, b"] * refused, pa.string()), "run": pa.array([run] * refused, pa.string())}
    )  # fmt: skip
    return Written(table, out)


class DestinationContract:
    """What every destination keeps to; a subclass says how it is read by others."""

    def test_rows_come_back_to_the_last_bit_whatever_their_texts(self, place: Destination, read: Read) -> None:
        score = math.nextafter(1 / 3, 1)
        place.replace("2024-05-01", "r1", [written([key], "r1", score) for key in ODD])
        found = read()
        assert [row["customer"] for row in found] == ODD
        assert {row["score"] for row in found} == {score}
        assert {row["predict_at"] for row in found} == {datetime(2024, 5, 1, 6, 0, 0, 123456, UTC)}
        assert place.holds("2024-05-01", "r1", len(ODD))

    def test_a_partition_is_replaced_and_the_others_stay(self, place: Destination, read: Read) -> None:
        place.replace("a", "r1", [written(["1", "2"], "r1", refused=2)])
        place.replace("b", "r1", [written(["3"], "r1")])
        place.replace("a", "r2", [written(["4"], "r2")])
        assert sorted((str(row["customer"]), str(row["run"])) for row in read()) == [("3", "r1"), ("4", "r2")]
        assert place.holds("a", "r2", 1)
        assert not place.holds("a", "r1", 2)

    def test_what_fails_in_the_middle_changes_nothing(self, place: Destination, read: Read) -> None:
        place.replace("a", "r1", [written(["1"], "r1", refused=1)])

        def failing() -> Iterator[Written]:
            yield written(["2"], "r2", refused=3)
            raise ValueError("stopped")

        with pytest.raises(ValueError, match="stopped"):
            place.replace("a", "r2", failing())
        assert [row["customer"] for row in read()] == ["1"]
        assert place.holds("a", "r1", 1)

    def test_nothing_is_held_before_anything_was_written(self, place: Destination) -> None:
        assert not place.holds("a", "r1", 1)
