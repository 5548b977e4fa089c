"""What the children of the crash suite do: each a function of JSON that returns JSON."""

from __future__ import annotations

import ctypes
import io
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from sterling.core.canonical import digest
from sterling.core.evidence import Evidence
from sterling.core.signing import KeyFile
from sterling.core.sqlite import SQLiteLedger
from sterling.core.verify import verify
from sterling.core.witness import Heads, WitnessedLedger
from sterling.core.workspace import Workspace

NOBODY = 65534
PROJECT = "late-parcels"
_MEMORY = {"peak_bytes", "before_bytes"}


def sterling(folder: str, *arguments: str) -> None:
    """A command in a folder, as the console script would run it; it ends with its exit code."""
    from sterling.cli import main

    sys.argv = ["sterling", *arguments, "--project", folder]
    main()


def run_and_judge(folder: str) -> dict[str, Any]:
    """Run the project to its end, and say what there is then."""
    try:
        sterling(folder, "run", "--release-now", "--no-studies", "--json")
    except SystemExit as end:
        code = end.code
    else:
        code = 0
    return {"code": code, **judged(folder)}


def sterling_unprivileged(writable: str, folder: str, *arguments: str) -> None:
    """A command in a folder as a user who owns nothing, once a run elsewhere has imported all that is needed."""
    with suppress(SystemExit), redirect_stdout(None), redirect_stderr(None):
        sterling(writable, "run", "--release-now")
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        sterling(folder, *arguments)
    finally:
        os.seteuid(user)


def judged(folder: str) -> dict[str, Any]:
    """What is on record, whether it holds, and what lies about that nothing on record accounts for."""
    workspace = Workspace(Path(folder))
    ledger, store = workspace.ledger(PROJECT), workspace.store()
    report, entries = verify(ledger, store), list(ledger.read())
    return {
        "intact": report.intact,
        "missing": [cited.ref for cited in report.missing],
        "dense": [entry.position for entry in entries] == [*range(1, len(entries) + 1)],
        "said": [_said(entry.kind, entry.evidence.subjects, entry.body) for entry in entries],
        "outputs": {entry.body["title"]: entry.body["outputs"] for entry in entries if entry.kind == "stage.completed"},
        "logs": {entry.body["log"]: entry.kind for entry in entries if "log" in entry.body},
        "blobs": sorted(store.list()),
        "strays": strays(workspace.home),
    }


def strays(home: Path) -> list[str]:
    """Files of a workspace that are none of its own; what a killed process was writing is known and cleared later."""
    files = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    known = re.compile(
        r"ledger\.db(-wal|-shm)?|fingerprints\.json|signing\.key|\.gitignore|run\.lock|heads/(\.lock|[0-9a-f]{16})"
        r"|store/([0-9a-f]{2}/[0-9a-f]{62}|incoming/tmp[^/]+)|(heads/)?\.[^/]+-[^/]{8}\.arriving"
    )
    return [file for file in files if not known.fullmatch(file)]


def _said(kind: str, subjects: tuple[str, ...], body: Any) -> str:
    """A fact without what differs between two runs: how long it took, and how much memory."""
    lasting = {key: body[key] for key in body if not key.startswith("seconds") and key not in _MEMORY}
    return f"{kind} {digest([list(subjects), lasting])[:12]}"


def put_blobs(root: str, *texts: str) -> None:
    """Put some texts into the store below a root, a few bytes at a time, and mark each that was acknowledged."""
    import sterling.core.store as module

    module._CHUNK = 1000
    store = module.LocalStore(Path(root) / ".sterling" / "store")
    for text in texts:
        mark(store.put(io.BytesIO(text.encode())))


def append_facts(root: str, times: int, checkpoint_pages: int = 1000) -> None:
    """Append pairs of facts to the ledger below a root, and mark each position that was acknowledged.

    After half of them the ledger is closed and opened again, which ends its write-ahead log; the second time another
    reader holds it open, so that the log is begun anew in its place.
    """
    path = Path(root) / ".sterling" / "ledger.db"
    for half in (0, 1):
        ledger = SQLiteLedger(path, PROJECT)
        with ledger._file.connection() as db:
            db.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
        for n in range(times // 2):
            facts = [Evidence(f"{name}.happened", (f"n:{n}",), {"half": half, "text": "x" * 99}) for name in "ab"]
            mark(str(ledger.append(facts)))
        ledger.close()


def append_witnessed(root: str, times: int) -> None:
    """Append facts to the ledger below a root, write a head after each, and mark how many entries it had seen."""
    home = Path(root) / ".sterling"
    heads = Heads(home / "heads", KeyFile(home / "signing.key"))
    for n in range(times):
        ledger = WitnessedLedger(SQLiteLedger(home / "ledger.db", PROJECT), heads)  # a new one writes at once
        mark(str(ledger.append([Evidence("a.happened", (f"n:{n}",))] * 2)))


def open_ledger(root: str, project: str) -> None:
    """Open the ledger below a root, which brings it up where it is of an earlier version."""
    SQLiteLedger(Path(root) / ".sterling" / "ledger.db", project).close()


def mark(text: str) -> None:
    """Write into the shim's log that something was acknowledged."""
    ctypes.CDLL(None).shim_mark(text.encode())
