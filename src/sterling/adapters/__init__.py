"""Ledgers and stores on other engines and clouds, found by the scheme of a URL; nothing imports them by name."""
