"""What must be kept: the bytes that the last run and the registered versions rest on."""

from __future__ import annotations

from collections.abc import Iterable

from sterling.core.evidence import Entry
from sterling.core.refs import Ref, refs_in
from sterling.views.facts import latest_run
from sterling.views.registry import versions


def needed(entries: Iterable[Entry]) -> frozenset[Ref]:
    """Refs that the evidence of the last run and of every registered version names.

    Definitions and logs of failed stages are needed always: they are small, and nothing makes them again.

    Args:
        entries: The ledger, oldest first.
    """
    chain = tuple(entries)
    registered = (latest_run(chain, candidate=version.model) for version in versions(chain))
    kept = [fact for run in (latest_run(chain), *registered) if run is not None for fact in run.facts]
    kept += [entry for entry in chain if entry.kind in {"project.defined", "stage.failed"}]
    return frozenset(Ref(ref) for entry in kept for ref in refs_in(entry.body))
