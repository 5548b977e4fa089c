from __future__ import annotations

from sterling.core.ledger import ChainInfo
from sterling.views.chains import KINDS, ChainRow, chain_row, render, unreadable
from tests.views.golden import golden, on_terminal
from tests.views.ledger import Entries

OWN = ChainInfo("5a14024de4c8b25a", "late-arrivals", "2013-10-01T00:00:00.000000Z")
COPY = ChainInfo("d3e876e0aa4f01b2", "late-arrivals", "2013-10-01T00:00:00.000000Z", copied=True)


def newest(entries: Entries) -> Entries:
    by_kind = {entry.kind: entry for entry in entries}
    return (entries[-1], *(by_kind[kind] for kind in KINDS))


def test_a_chain_shows_its_last_entry_its_last_run_and_what_is_live(refused: Entries) -> None:
    row = chain_row(OWN, newest(refused))
    assert (row.entries, row.verdict, row.version, row.copied) == (len(refused), "failed", 2, False)
    assert (row.actor, row.attestor, row.recorded_at) == ("user:ada", "laptop", refused[-1].recorded_at)


def test_a_chain_without_entries_has_none() -> None:
    assert chain_row(COPY, []) == ChainRow(COPY.id, COPY.project, copied=True)


def test_chains_fit_a_terminal(second: Entries) -> None:
    broken = unreadable(COPY._replace(id="ffffffffffffffff"), "entry 7 was changed: it cannot be read any more")
    rows = [chain_row(OWN, newest(second)), chain_row(COPY, []), broken]
    shown = on_terminal(render(rows))
    assert shown == golden("chains.txt", shown)
