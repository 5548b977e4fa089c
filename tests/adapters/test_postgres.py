"""The PostgreSQL ledger: the contract, and what only real processes, kills and lost connections show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sterling.adapters.postgres import PostgresLedger
from sterling.testing import FixedClock, LedgerContract
from sterling.testing.ledger import COPY


class TestPostgresLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, postgres_url: str) -> Iterator[PostgresLedger]:
        with PostgresLedger(postgres_url, "contract", clock=FixedClock()) as ledger:
            yield ledger

    @pytest.fixture
    def copy(self, postgres_url: str) -> Iterator[PostgresLedger]:
        with PostgresLedger(postgres_url, "contract", chain=COPY) as ledger:
            yield ledger
