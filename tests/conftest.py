"""A summary of how much was tried, where a test tries many things; here, since pytest-xdist reads it from here alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

_TRIED = "tried"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how much was tried, in whichever process it was."""
    tried: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, value in getattr(report, "user_properties", []):
            if name.startswith(f"{_TRIED}: "):
                tried[name.removeprefix(f"{_TRIED}: ")] += value
    for what, number in sorted(tried.items()):
        terminalreporter.write_line(f"tried: {number:,} {what}")
