"""What the runner itself costs: five stages that do nothing, recorded durably, against the five calls and the floor.

The floor is the least durable work: five SQLite transactions of one entry each, synced to the disk.
Run: .venv/bin/python benchmarks/noop_run.py
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sterling.core.refs import Ref, ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.engine.duckdb import DuckDBEngine
from sterling.runner import execute
from sterling.stages.contract import Context, Outcome, Output, Stage, Step

ROUNDS = 50
NOTHING = ref_of(b"")


class Nothing(Stage, frozen=True):
    """Passes on what it is given."""

    number: int
    salt: int

    @property
    def title(self) -> str:
        """One for each step."""
        return f"nothing {self.number}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:  # noqa: ARG002  it does nothing
        """Pass the input on."""
        return Outcome({"out": inputs["in"]})


def steps(salt: int) -> list[Step]:
    first = Step(Nothing(0, salt), {"in": NOTHING})
    return [first, *(Step(Nothing(n, salt), {"in": Output(f"nothing {n - 1}", "out")}) for n in range(1, 5))]


def medians_ms(actions: dict[str, Callable[[int], object]]) -> dict[str, float]:
    """Median of each action, in turns, so that a slow moment of the disk meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(ROUNDS + 3):
        for name, action in actions.items():
            started = time.perf_counter()
            action(turn)
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values[3:]) * 1000 for name, values in times.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger, store = SQLiteLedger(Path(folder) / "ledger.db", "benchmark"), LocalStore(Path(folder) / "store")
        with Path("/dev/null").open("rb") as empty:
            store.put(empty)
        context = Context(store, DuckDBEngine())
        database = sqlite3.connect(Path(folder) / "floor.db", isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE entry (body TEXT)")
        database.execute("PRAGMA synchronous = OFF")
        for _ in range(1_200):  # past the first checkpoint, the log is written over and no longer grows
            database.execute("INSERT INTO entry VALUES ('before')")
        database.execute("PRAGMA synchronous = FULL")

        def plain(salt: int) -> list[Outcome]:
            return [step.stage({"in": NOTHING}, context) for step in steps(salt)]

        def floor(_: int) -> None:
            for _step in range(5):
                database.execute("INSERT INTO entry VALUES ('stage.completed')")

        made = [dict(outcome.outputs) for outcome in plain(0)]
        recorded = execute(steps(-1), ledger, context)
        again = execute(steps(-1), ledger, context)
        if not made == [dict(done.outputs) for done in recorded] == [dict(done.outputs) for done in again]:
            raise SystemExit("The runner made something else than the plain calls.")
        if not all(done.cached for done in again):
            raise SystemExit("The second run was not answered from the ledger.")
        figures = medians_ms(
            {
                "plain Python: five calls": plain,
                "floor: five synced transactions": floor,
                "sterling: five stages, each recorded": lambda turn: execute(steps(turn), ledger, context),
                "sterling: the same again, from the ledger": lambda _: execute(steps(-1), ledger, context),
            }
        )
    print(f"median of {ROUNDS} runs, in turns, in one process")
    for name, figure in figures.items():
        print(f"{name:<42}{figure:>9.3f} ms {figure / figures['floor: five synced transactions']:>8.2f}x the floor")
    print("published elsewhere, for the same five no-op steps: kedro 18 ms (keeps nothing), dagster 273, prefect 1,100")


if __name__ == "__main__":
    main()
