"""Errors and times, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.clock import from_micros, iso, to_micros, utcnow
from sterling.core.errors import MissingBlobError, SterlingError, TamperedLedgerError, nearest


def test_a_misspelt_name_is_answered_with_what_it_most_likely_meant() -> None:
    assert nearest("orign", ["origin", "dest"]) == "Did you mean 'origin'?"
    assert nearest("arr_dely", ["arr_delay", "arr_delays"]) == "Did you mean 'arr_delay' or 'arr_delays'?"
    assert nearest("x", []) == "Known: none."


def test_an_error_that_is_a_key_error_too_reads_like_the_others() -> None:
    assert str(MissingBlobError("The store does not hold it.")) == "The store does not hold it."


def test_an_error_about_an_entry_knows_its_position() -> None:
    assert (TamperedLedgerError("entry 3 was changed", 3).position, str(TamperedLedgerError("x"))) == (3, "x")
    assert issubclass(TamperedLedgerError, SterlingError)


@given(st.integers(-(10**15), 10**15))
def test_a_moment_goes_to_microseconds_and_back(micros: int) -> None:
    assert to_micros(from_micros(micros)) == micros


def test_a_moment_is_written_in_utc() -> None:
    assert iso(datetime(2013, 9, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == "2013-09-01T00:00:00.000000Z"
    assert utcnow().tzinfo is UTC


def test_a_time_without_a_zone_names_no_moment() -> None:
    with pytest.raises(ValueError, match=r"has no time zone. Write 2013-09-01T00:00:00Z"):
        to_micros(datetime(2013, 9, 1))  # noqa: DTZ001  the mistake under test
