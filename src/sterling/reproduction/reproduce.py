"""Execute a run again in a fresh process, compare, and record how far it is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sterling.core.errors import MissingBlobError, StageFailedError
from sterling.core.evidence import Entry, Evidence
from sterling.core.ledger import Ledger
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.reproduction.differences import Again
from sterling.reproduction.fresh import Fresh, fresh_environment
from sterling.reproduction.recorded import lock_of, order, steps_of
from sterling.views.facts import Run

Say = Callable[[str], None]
REPRODUCED, FAILED = "run.reproduced", "reproduction.failed"


def reproduce(
    folder: Path, ledger: Ledger, store: Store, run: Run, *, environment: bool = False, say: Say = print
) -> Entry:
    """Execute a run again from what is on record of it, and record what came of it.

    Args:
        folder: The project's folder.
        ledger: The project's chain.
        store: The project's store.
        run: The run.
        environment: Whether to build the recorded environment anew, and execute in that.
        say: Told what is being done.

    Returns:
        ``run.reproduced`` with the level that was reached, or ``reproduction.failed`` where none was.

    Raises:
        MissingBlobError: if the definition of the run, or what its environment was, is no longer in the store.
        StageFailedError: if the fresh process itself fails.
    """
    started = time.monotonic()
    steps = steps_of(run)
    defined = run.newest("project.defined")
    if defined is None or not store.has(Ref(defined.body["ref"])):
        raise MissingBlobError(f"The definition of the run at {run.position} is no longer in the store.")
    definition = json.loads(store.open(Ref(defined.body["ref"])).read_bytes())
    locks = {
        s.environment["environment"]: lock for s in steps if s.environment and (lock := lock_of(s.environment, store))
    }
    wanted = order(run, steps, ledger.read(), definition)
    with tempfile.TemporaryDirectory(prefix="sterling-reproduce-") as place:
        built = Fresh(sys.executable, ())
        if environment:
            built = fresh_environment(steps, locks, Path(place) / "environment", say)
        say(f"executing {len(wanted['steps'])} steps in a fresh process")
        found = _ask(built, folder, wanted, Path(place))
    again = Again(steps, {one["title"]: one for one in found["steps"]}, found["environment"], found["lock"], locks)
    fact = _fact(run, again, built, fresh="environment" if environment else "process")
    body = {**fact.body, "seconds": round(time.monotonic() - started, 1)}
    position = ledger.append([Evidence(fact.kind, fact.subjects, body)])
    return next(ledger.read(after=position - 1))


def _fact(run: Run, again: Again, built: Fresh, *, fresh: str) -> Evidence:
    own = [e.body for e in run.of("metric.measured") if e.body["role"] == "candidate" and not e.body["slice"]]
    measured = {body["metric"]: (body.get("low"), body.get("high")) for body in own}
    equal, refs = again.counts()
    level = again.level(measured)
    body: dict[str, Any] = {
        "run": run.position, "model": run.candidate, "definition": run.definition, "level": level, "equal": equal,
        "refs": refs, "fresh": fresh, "not_installed": list(built.missing), "differences": list(again.differing()),
        "changed": list(again.changed()), "metrics": _metrics(own, again),
        "as_recorded": [step.title for step in again.steps if step.title not in again.answers],
        "environment": {key: again.environment[key] for key in ("environment", "python", "platform", "threads")},
    }  # fmt: skip
    subjects = (f"model:{run.candidate}", f"definition:{run.definition}", f"run:{run.position}")
    return Evidence(FAILED if level == "none" else REPRODUCED, subjects, body)


def _metrics(own: list[Mapping[str, Any]], again: Again) -> list[dict[str, Any]]:
    """What was measured then and now."""
    now = dict(again.answers.get("evaluate", {"metrics": []})["metrics"])
    return [
        {
            "metric": b["metric"],
            "before": b["value"],
            "low": b.get("low"),
            "high": b.get("high"),
            "after": now.get(b["metric"]),
        }
        for b in own
    ]


def _ask(built: Fresh, folder: Path, wanted: Mapping[str, Any], place: Path) -> Mapping[str, Any]:
    """Run the fresh process."""
    order_file, answer_file = place / "order.json", place / "answer.json"
    order_file.write_text(json.dumps(wanted), encoding="utf-8")
    command = [
        built.python,
        "-P",
        "-m",
        "sterling.reproduction.process",
        str(folder.resolve()),
        str(order_file),
        str(answer_file),
    ]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=_without_python(built.python))
    if ran.returncode or not answer_file.is_file():
        last = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        absent = f" The environment is not whole: {'; '.join(built.missing)}." if built.missing else ""
        raise StageFailedError(f"The fresh process ended with {ran.returncode}: {last}.{absent}")
    answer: Mapping[str, Any] = json.loads(answer_file.read_text(encoding="utf-8"))
    with suppress(OSError):
        answer_file.unlink()
    return answer


def _without_python(python: str) -> dict[str, str]:
    """This process's environment variables; those that would lead another Python to this one's modules are left out."""
    dropped = {"PYTHONPATH", "PYTHONHOME"} if python != sys.executable else set()
    return {name: value for name, value in os.environ.items() if name not in dropped}
