"""A warm process that forks a child for each job, so that a thousand crashes need the imports once.

It reads a job a line from its standard input: ``{"task", "arguments", "arm", "folder", "seconds"}``. The child arms the
shim (`shim.c`), calls ``task(*arguments)`` and writes what that returns; the answer says how it ended.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

_FAULT = 70


def main() -> None:
    """Answer jobs until the input ends."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.freeze()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    folder = Path(job["folder"])
    child = os.fork()
    if child == 0:
        _work(job, folder)
    _, status = os.waitpid(child, 0)
    said = {name: (folder / name).read_text() for name in ("out", "errors")}
    counted = folder / "counted"
    made = json.loads(counted.read_text()) if counted.exists() else [None, None]
    return {"status": os.waitstatus_to_exitcode(status), "steps": made[0], "returned": made[1], **said}


def _work(job: dict[str, Any], folder: Path) -> None:
    """Be the child: never return."""
    code = _FAULT
    try:
        signal.alarm(job["seconds"])
        for number, name in ((1, "out"), (2, "errors")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        (folder / "counted").unlink(missing_ok=True)
        code = _run(job, folder)
    except BaseException:  # noqa: BLE001  it is a process's end, and is told
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(job: dict[str, Any], folder: Path) -> int:
    module, _, name = job["task"].partition(":")
    task = getattr(importlib.import_module(module), name)
    shim = ctypes.CDLL(None)
    if arm := job["arm"]:
        log = str(folder / "log").encode()
        shim.shim_arm(arm["root"].encode(), arm["mode"], ctypes.c_long(arm["at"]), arm["error"], log)
    code, returned = 0, None
    try:
        returned = task(*job["arguments"])
    except SystemExit as end:
        code = int(end.code or 0)
    gc.collect()  # what the end of a process would close
    steps = shim.shim_disarm() if arm else None
    (folder / "counted").write_text(json.dumps([steps, returned]))
    return code


if __name__ == "__main__":
    main()
