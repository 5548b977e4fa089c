"""What tests of projects and of adapters need: contract suites to subclass, a clock that stands still, golden files."""

import pytest

pytest.register_assert_rewrite("sterling.testing.ledger", "sterling.testing.online_store", "sterling.testing.store")

from sterling.testing.clocks import FixedClock  # noqa: E402  pytest rewrites only what is imported after it was told
from sterling.testing.golden import golden  # noqa: E402  the same
from sterling.testing.ledger import LedgerContract  # noqa: E402  the same
from sterling.testing.online_store import OnlineStoreContract  # noqa: E402  the same
from sterling.testing.store import StoreContract  # noqa: E402  the same

__all__ = ["FixedClock", "LedgerContract", "OnlineStoreContract", "StoreContract", "golden"]
