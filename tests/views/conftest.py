"""Ledgers that the tests of views read, each written once."""

from __future__ import annotations

import pytest

from sterling.core.evidence import Entry
from tests.views.ledger import Flights


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, ...]:
    """One run, released."""
    return Flights(tmp_path_factory.mktemp("first")).first_release().entries


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, ...]:
    """A second run with more trees, released in place of the first."""
    return Flights(tmp_path_factory.mktemp("second")).second_release().entries


@pytest.fixture(scope="session")
def refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, ...]:
    """A third run that fails a gate, after the two; every kind of evidence is on record."""
    return Flights(tmp_path_factory.mktemp("refused")).refused().entries
