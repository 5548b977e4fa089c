"""Servers that tests of adapters share."""

from __future__ import annotations

from tests.adapters.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]
