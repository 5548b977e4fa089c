"""The helpers that are shipped to users."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sterling.testing import FixedClock, golden


def test_a_fixed_clock_stands_still_until_it_is_moved() -> None:
    clock = FixedClock(datetime(2013, 9, 1, tzinfo=UTC))
    assert clock() == clock() == datetime(2013, 9, 1, tzinfo=UTC)
    assert clock.advance(timedelta(hours=1)) == clock() == datetime(2013, 9, 1, 1, tzinfo=UTC)


def test_a_fixed_clock_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        FixedClock(datetime(2013, 9, 1))  # noqa: DTZ001  the mistake under test


def test_a_golden_file_gives_what_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPDATE_GOLDEN", raising=False)
    (tmp_path / "card.md").write_text("old")
    assert golden(tmp_path / "card.md", "new") == "old"


def test_a_golden_file_is_written_only_when_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPDATE_GOLDEN", raising=False)
    path = tmp_path / "golden" / "card.md"
    with pytest.raises(FileNotFoundError, match="UPDATE_GOLDEN=1"):
        golden(path, "new\r\n")
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    assert golden(path, "new\r\n") == "new\r\n"
    assert path.read_bytes() == b"new\r\n"
