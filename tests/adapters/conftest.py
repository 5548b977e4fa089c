"""Servers that tests of adapters share."""

from __future__ import annotations

from tests.adapters.postgres import postgres, postgres_url
from tests.adapters.valkey import valkey, valkey_url

__all__ = ["postgres", "postgres_url", "valkey", "valkey_url"]
