"""Time travel: which position a moment names, where clocks agree and where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.clock import iso
from sterling.core.errors import TamperedLedgerError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.history import Place, entry_at, position_at
from sterling.core.sqlite import SQLiteLedger
from sterling.testing import FixedClock

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def recorded(folder: Path, minutes: Iterable[float]) -> SQLiteLedger:
    """A ledger whose entries were recorded at these minutes, each by a clock of its own."""
    ledger = SQLiteLedger(folder / "ledger.db", "flights", clock=(clock := FixedClock(START)))
    for minute in minutes:
        clock.advance(at(minute) - clock())
        ledger.append([Evidence("a.happened")])
    return ledger


class Remembered:
    """A ledger of entries in memory, that counts those that are read."""

    def __init__(self, minutes: Iterable[float]) -> None:
        facts = [Evidence("a.happened")] * len(times := list(map(at, minutes)))
        self._entries = [Entry(n, iso(times[n - 1]), "", "", "", "", fact) for n, fact in enumerate(facts, start=1)]
        self.looked_at = 0

    def append(self, facts: Sequence[Evidence], *, unless: Query | None = None, after: int = 0) -> int:
        raise NotImplementedError

    def read(
        self, query: Query | None = None, *, after: int = 0, until: int | None = None, newest_first: bool = False
    ) -> Iterator[Entry]:
        assert query is None
        for entry in self._entries[after:until][:: -1 if newest_first else 1]:
            self.looked_at += 1
            yield entry


def by_the_rule(minutes: list[float], moment: float) -> int:
    """The last position up to which nothing was recorded after the moment."""
    return sum(latest <= moment for latest in accumulate(minutes, max))


def test_a_moment_names_the_last_entry_that_was_recorded_by_then(tmp_path: Path) -> None:
    ledger = recorded(tmp_path, [0, 10, 20, 30, 40])
    places = {minutes: position_at(ledger, at(minutes)) for minutes in (-1, 0, 9.9, 10, 10.1, 39, 40, 1e6)}
    assert list(places.values()) == [Place(n, n) for n in (0, 1, 1, 2, 2, 4, 5, 5)]


def test_entries_of_one_moment_all_count(tmp_path: Path) -> None:
    ledger = recorded(tmp_path, [0, 10, 10, 10, 20])
    assert position_at(ledger, at(10)) == Place(4, 4)
    assert position_at(ledger, at(9)) == Place(1, 1)


def test_an_empty_ledger_stood_nowhere(tmp_path: Path) -> None:
    assert position_at(SQLiteLedger(tmp_path / "ledger.db", "flights"), at(0)) == Place(0, 0)


def test_a_moment_may_be_given_in_any_zone_but_must_have_one(tmp_path: Path) -> None:
    ledger = recorded(tmp_path, [0, 60, 120])
    assert position_at(ledger, datetime.fromisoformat("2026-01-01T02:00:00+01:00")).position == 2
    with pytest.raises(ValueError, match="has no time zone"):
        position_at(ledger, datetime(2026, 1, 1))  # noqa: DTZ001


def test_where_a_clock_runs_back_an_entry_is_past_a_moment_once_one_before_it_is(tmp_path: Path) -> None:
    ledger = recorded(tmp_path, [0, 10, 13, 11, 12, 20])
    assert position_at(ledger, at(12)) == Place(2, 5)
    assert position_at(ledger, at(13)) == Place(5, 5)
    assert position_at(ledger, at(10)) == Place(2, 2)


def test_a_clock_that_was_far_ahead_is_passed_over_once_enough_was_recorded_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sterling.core.history._DISORDER", 8)
    ledger = recorded(tmp_path, [0, 1, 9999, *range(3, 30)])
    assert position_at(ledger, at(5)) == Place(2, 6)
    assert position_at(ledger, at(20)) == Place(21, 21)


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(-3, 4), min_size=1, max_size=80), moment=st.integers(-5, 120), more=st.integers(0, 90)
)
def test_a_moment_gives_what_reading_the_chain_gives_however_clocks_run(
    steps: list[int], moment: int, more: int
) -> None:
    minutes = [float(m) for m in accumulate(steps)]
    later = [max([*minutes, moment]) + 1.0 + n for n in range(more)]
    place = position_at(Remembered(minutes + later), at(moment))
    assert place.position == by_the_rule(minutes, moment)
    assert place.position <= place.until <= len(minutes)
    assert (place.until > place.position) == any(m <= moment for m in minutes[place.position : place.until])


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(-30, 31), min_size=1, max_size=60), moment=st.integers(-5, 60), more=st.integers(1, 90)
)
def test_what_is_recorded_after_a_moment_does_not_change_what_it_names(
    steps: list[int], moment: int, more: int
) -> None:
    minutes = [float(m) for m in accumulate(steps)]
    later = [max([*minutes, moment]) + 1.0 + n for n in range(more)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sterling.core.history._DISORDER", 5)
        assert position_at(Remembered(minutes + later), at(moment)) == position_at(Remembered(minutes), at(moment))


def test_a_long_chain_is_not_read() -> None:
    ledger = Remembered(range(100_000))
    assert position_at(ledger, at(70_000.5)).position == 70_001
    assert ledger.looked_at < 1_050


def test_an_entry_is_had_by_its_position(tmp_path: Path) -> None:
    ledger = recorded(tmp_path, [0, 1])
    assert entry_at(ledger, 2).position == 2
    with pytest.raises(TamperedLedgerError, match="entry 3 is missing"):
        entry_at(ledger, 3)
