"""How many processors there are to use."""

from __future__ import annotations

import os


def available_threads() -> int:
    """Processors that this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
