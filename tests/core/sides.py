"""A ledger with its store in a folder, for tests of what goes from one to another."""

from __future__ import annotations

import io
import json
from pathlib import Path

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.testing import FixedClock


class Side:
    """A ledger and a store in a folder.

    Args:
        folder: Where they lie.
        of: The chain that is kept here as a copy; the folder's own one where it is left out.
    """

    def __init__(self, folder: Path, of: SQLiteLedger | None = None) -> None:
        chain = of.chain._replace(copied=True) if of else None
        self.folder, self.path = folder, folder / "ledger.db"
        self.ledger = SQLiteLedger(self.path, "flights", chain=chain, clock=FixedClock())
        self.store = LocalStore(folder / "store")

    def put(self, data: bytes) -> Ref:
        """Keep bytes."""
        return self.store.put(io.BytesIO(data))

    def record(self, start: int, stop: int) -> None:
        """Record snapshots, each a manifest of two segments; every second one is recorded twice."""
        for n in range(start, stop):
            segments = [self.put(b"PAR1 %d %d" % (n, part)) for part in range(2)]
            manifest = self.put(json.dumps({"segments": segments}).encode())
            self.ledger.append([Evidence("data.snapshotted", (f"n:{n}",), {"ref": manifest})] * (1 + n % 2))

    def alter(self, ref: Ref) -> None:
        """Change the last byte of a blob."""
        path = self.store.open(ref)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"!")

    def lose_ledger(self) -> None:
        """Delete the ledger's file, and what SQLite keeps beside it."""
        self.ledger.close()
        for path in self.folder.glob("ledger.db*"):
            path.unlink()

    def go_back(self, position: int) -> None:
        """Do what somebody does who puts an old file back."""
        old, chain = list(self.ledger.records(until=position)), self.ledger.chain
        self.lose_ledger()
        self.ledger = SQLiteLedger(self.path, "flights", chain=chain._replace(copied=True), clock=FixedClock())
        self.ledger.restore(old)


STOPPING = """
import os, signal, sqlite3, sys
from pathlib import Path
import sterling.core.push as pushing

pushing._BATCH = 4
here, there, stop = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
steps = 0

def step(*_):
    global steps
    steps += 1
    if steps == stop:
        os.kill(os.getpid(), signal.SIGKILL)

def stopping(original):
    def act(*arguments, **named):
        step()
        result = original(*arguments, **named)
        step()
        return result
    return act

for name in ("fsync", "link", "mkdir", "rename", "replace", "rmdir", "unlink"):
    setattr(os, name, stopping(getattr(os, name)))
for name in ("hardlink_to", "rename", "replace"):
    setattr(Path, name, stopping(getattr(Path, name)))

connect = sqlite3.connect
def traced(*arguments, **named):
    db = connect(*arguments, **named)
    if str(there) in str(arguments[0]):
        db.set_trace_callback(step)
    return db
sqlite3.connect = traced
"""
"""Begins a program, given two folders and a number, that is killed at the step of this number: before and after every
change of a folder, and before every statement in a database of the second folder."""
