"""What was live at a moment of the past, against one indexed lookup, and against reading the chain.

Answers are first checked against those of a walk over all that was recorded.
Run: .venv/bin/python benchmarks/time_travel.py [--entries 1000000]
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sterling.core.evidence import Evidence
from sterling.core.history import entry_at, position_at
from sterling.core.refs import ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.sqlite_schema import first_id
from sterling.decisions.release import evidence_of_release
from sterling.testing import FixedClock
from sterling.views.registry import live
from sterling.views.then import Then, then

START = datetime(2020, 1, 1, tzinfo=UTC)
EVERY = timedelta(minutes=30)
PER_RUN, GATES = 100, 6
LOOKS = 200


class Run(NamedTuple):
    """A run that was recorded: when, up to which position, and the version that it released."""

    at: datetime
    until: int
    version: int


def facts(version: int, before: int) -> list[Evidence]:
    """What a run records: metrics, gates, a registration, an approval and a release."""
    model = ref_of(str(version).encode())
    metric = {"metric": "roc_auc", "model": model, "name": "lightgbm", "value": 0.7, "low": 0.69, "high": 0.71}
    metrics = [Evidence("metric.measured", (f"model:{model}", "metric:roc_auc"), metric)] * (PER_RUN - GATES - 3)
    gate = {"gate": {"type": "AtMost"}, "title": "ece", "passed": True, "reason": "Yes.", "seen": [1], "margin": 0.1}
    gates = [Evidence("gate.judged", (f"model:{model}",), gate)] * GATES
    judged = list(range(before + len(metrics) + 1, before + len(metrics) + GATES + 1))
    subjects = (f"version:{version}", f"model:{model}")
    registered = {"version": version, "model": model, "definition": "d", "seen": judged}
    approved = {"version": version, "seen": judged}
    released = {"version": version, "model": model, "rollout": "now", "replaces": None, "seen": [judged[-1] + 1]}
    return [
        *metrics, *gates, Evidence("model.registered", subjects, registered),
        Evidence("version.approved", subjects, approved), Evidence("version.released", subjects, released),
    ]  # fmt: skip


def recorded(ledger: SQLiteLedger, clock: FixedClock, entries: int) -> list[Run]:
    """Runs, one every half an hour."""
    runs = []
    for version in range(1, entries // PER_RUN + 1):
        at = clock.advance(EVERY)
        runs.append(Run(at, ledger.append(facts(version, (version - 1) * PER_RUN)), version))
    return runs


def look(ledger: SQLiteLedger, moment: datetime) -> Then:
    place = position_at(ledger, moment)
    return then(place, entry_at(ledger, place.position), evidence_of_release(ledger, place.position))


def milliseconds(action: Callable[[datetime], object], moments: list[datetime]) -> list[float]:
    found = []
    for moment in moments:
        started = time.perf_counter()
        action(moment)
        found.append(1e3 * (time.perf_counter() - started))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    entries = parser.parse_args().entries // PER_RUN * PER_RUN
    chance, clock = random.Random(0), FixedClock(START)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = SQLiteLedger(path, "benchmark", clock=clock)
        runs = recorded(ledger, clock, entries)
        span = runs[-1].at - runs[0].at
        moments = [runs[0].at + chance.random() * span for _ in range(LOOKS)]
        for moment in moments:
            last = [run for run in runs if run.at <= moment][-1]
            found = look(ledger, moment)
            if (found.position, found.version, len(found.gates)) != (last.until, last.version, GATES):
                raise SystemExit(f"At {moment} {last} was live, and not {found}.")
            if [act.actor for act in found.approvals] != ["unknown"]:
                raise SystemExit(f"Of {last} the approval was not found.")
        database = sqlite3.connect(path)
        places = iter(range(1, entries, entries // LOOKS))

        def floor(_: datetime) -> object:
            found = database.execute("SELECT content FROM record WHERE id = ?", (first_id(1) + next(places),))
            return json.loads(found.fetchone()[0])

        ours, least = milliseconds(lambda moment: look(ledger, moment), moments), milliseconds(floor, moments)
        started = time.perf_counter()
        current = live(ledger.read())
        whole = 1e3 * (time.perf_counter() - started)
        if current is None or current.version != runs[-1].version:
            raise SystemExit(f"Reading the chain finds {current}, and not {runs[-1]}.")
    print(f"What was live at a moment, by whom and on which evidence; {entries:,} entries, {LOOKS} moments")
    lowest = statistics.median(least)
    for name, times in {"floor: one indexed lookup": least, "sterling status --at": ours}.items():
        median, worst = statistics.median(times), max(times)
        print(f"{name:<34}{median:>11.3f} ms, {worst:>8.3f} at worst {median / lowest:>10.0f}x the floor")
    print(f"{'reading the whole chain':<34}{whole:>11.3f} ms {'':<18} {whole / lowest:>10.0f}x the floor")


if __name__ == "__main__":
    main()
