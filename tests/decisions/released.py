"""Versions to decide about: registered on verdicts, each by a definition that lies in a store."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from sterling.core.canonical import canonical, digest
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.refs import ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.decisions.register import decided, register
from sterling.project.rollout import Canary, Shadow
from sterling.testing import FixedClock

ROLLOUT = (Shadow("2d"), Canary("5%", "1d"), Canary("25%", "2d"))


def model(name: str) -> str:
    """A ref that is the same in every run of the tests."""
    return ref_of(name.encode())


class World:
    """A project's ledger and store, and a clock that tests move."""

    def __init__(self, folder: Path) -> None:
        self.path, self.clock = folder / "ledger.db", FixedClock()
        self.store = LocalStore(folder / "store")
        self.ledger, self.models = self.beside("user:ada"), dict[str, str]()

    def beside(self, actor: str) -> SQLiteLedger:
        """The same ledger, opened by somebody."""
        return SQLiteLedger(self.path, "flights", actor=actor, clock=self.clock)

    def model(self, name: str) -> str:
        """The ref of a model: of bytes that were put, or that stand for some."""
        return self.models.get(name) or model(name)

    def after(self, **time: float) -> None:
        """Move the clock."""
        self.clock.advance(timedelta(**time))

    def judge(self, name: str, *, passed: bool = True) -> Entry:
        """Record a verdict about a model."""
        about = (f"model:{self.model(name)}", f"decision:{digest([name, self.head])}")
        body = {"title": "roc_auc at least 0.7", "passed": passed, "reason": "because"}
        self.ledger.append([Evidence("gate.judged", about, body)])
        return next(self.ledger.read(newest_first=True))

    def register(self, name: str, *, risk: str = "minimal", passed: bool = True, **project: Any) -> Entry:
        """Judge a model, and register or refuse it."""
        judged = self.judge(name, passed=passed)
        decision = judged.evidence.subjects[0].removeprefix("decision:")
        definition = self.define(risk=risk, **project)
        register(self.ledger, model=self.model(name), definition=definition, decision=decision, judged=[judged])
        found = decided(self.ledger, decision)
        assert found is not None
        return found

    def define(self, *, risk: str = "minimal", **project: Any) -> str:
        """Record a definition; gives its hash."""
        defined = {"project": {"problem": {"type": "Problem", "risk": risk}, **project}}
        hashed = digest(json.loads(canonical(defined)))
        ref = self.store.put(io.BytesIO(canonical(defined)))
        body = {"definition": hashed, "ref": ref}
        same = Query(("project.defined",), (f"definition:{hashed}",))
        if next(self.ledger.read(same), None) is None:
            self.ledger.append([Evidence("project.defined", same.subjects, body)])
        return hashed

    @property
    def head(self) -> int:
        """Position of the last entry."""
        newest = next(self.ledger.read(newest_first=True), None)
        return newest.position if newest else 0

    def kinds(self) -> list[str]:
        """Kinds of all that was recorded about releases, oldest first."""
        about = ("version.", "rollout.", "approval.", "routing.")
        return [entry.kind for entry in self.ledger.read() if entry.kind.startswith(about)]
