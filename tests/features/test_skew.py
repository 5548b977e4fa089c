"""Vectors that were served, against the history: each difference has its cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sterling.core.clock import from_micros
from sterling.core.errors import InvalidDefinitionError
from sterling.engine.duckdb import DuckDBEngine
from sterling.features.event_log import EventLog
from sterling.features.online import State, Value
from sterling.features.online_sqlite import SQLiteOnlineStore
from sterling.features.online_store import offset_key, state_key
from sterling.features.served import Served, ServedLog, read_served
from sterling.features.skew import history_of, skew
from tests.features.arrivals import HOUR, PLANS, READERS, START, applier, flight
from tests.features.test_applier import whole

LATE, JFK = PLANS[0], b'["JFK"]'
MOMENT = START + 20 * HOUR
FIRST = flight(1, START + 10 * HOUR, delay=30.0)
SECOND = flight(2, START + 12 * HOUR, delay=90.0)


class Shop:
    """A server's state and its log, with a clock that is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, START
        self.log = EventLog(folder / "events.db", READERS, clock=lambda: from_micros(self.now))
        self.store = SQLiteOnlineStore(folder / "online.db")
        self.rows: list[tuple[str, list[dict[str, Any]]]] = []

    def push(self, row: dict[str, Any], at: int) -> None:
        self.now = at
        self.log.push("flights", [row])
        self.rows.append(("flights", [row]))

    def apply(self) -> None:
        while applier(self.log, self.store, plans=[LATE]).step():
            pass

    def serve(self, at: int = MOMENT, *, cells: list[Value] | None = None, digest: str = LATE.digest) -> Served:
        packed, offset = self.store.get([state_key("shop", LATE.digest, JFK), offset_key("shop", LATE.digest)])
        state = State.unpack(LATE, packed) if packed else LATE.state()
        return Served(at, 1, "late", digest, int(offset or 0), JFK.decode(), cells or list(state.read(at)))

    def causes(self, *served: Served, more: tuple[dict[str, Any], ...] = ()) -> dict[str, int]:
        table = whole([*self.rows, *(("flights", [row]) for row in more), ("orders", [])])["flights"]
        history = history_of(LATE, table, DuckDBEngine(1), self.folder / "events.db")
        return dict(skew(history, served).causes)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.push(FIRST, START + 11 * HOUR)
    made.apply()
    return made


def test_what_the_history_says_too_has_no_cause(shop: Shop) -> None:
    assert shop.causes(shop.serve()) == {}


def test_a_row_that_came_after_the_moment_is_late(shop: Shop) -> None:
    served = shop.serve()
    shop.push(SECOND, MOMENT + HOUR)
    assert shop.causes(served) == {"late data": 1}


def test_a_row_that_had_come_and_was_not_applied_lagged(shop: Shop) -> None:
    shop.push(SECOND, MOMENT - HOUR)
    assert shop.causes(shop.serve()) == {"write lag": 1}


def test_another_definition_is_a_cause_of_its_own(shop: Shop) -> None:
    assert shop.causes(shop.serve(digest="another")) == {"definition changed": 1}


def test_floats_that_differ_in_their_last_bits_alone_are_told_apart(shop: Shop) -> None:
    cells = [cell + 1e-14 if isinstance(cell, float) else cell for cell in shop.serve().cells]
    assert shop.causes(shop.serve(cells=cells)) == {"float order": 1}


def test_what_no_row_that_came_explains_is_another_pipeline(shop: Shop) -> None:
    assert shop.causes(shop.serve(), more=(SECOND,)) == {"other pipeline": 1}


def test_an_entity_is_kept_always_or_never_and_about_as_many_as_was_asked_for(tmp_path: Path) -> None:
    log = ServedLog(tmp_path, 0.2)
    kept = sum(log.keeps(str(number).encode()) for number in range(5_000))
    assert 850 < kept < 1_150
    assert log.keeps(b"x") == ServedLog(tmp_path, 0.2).keeps(b"x")


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_share_that_is_none_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(InvalidDefinitionError, match="share"):
        ServedLog(tmp_path, share)


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path, shop: Shop) -> None:
    log = ServedLog(tmp_path / "served")
    log.append([shop.serve()])
    (file,) = (tmp_path / "served").iterdir()
    file.write_bytes(b'{"at": 17\n' + file.read_bytes() + b'{"at": 17')
    assert [one.at for one in read_served(tmp_path / "served")] == [MOMENT]


def test_vectors_that_cannot_be_kept_are_told_and_break_no_answer(
    tmp_path: Path, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    log = ServedLog(tmp_path / "served")
    (tmp_path / "served").rmdir()
    log.append([shop.serve()])
    assert "1 served vectors are not kept" in caplog.text
