"""A fresh environment from a recorded lock: a venv in a temporary folder, filled by pip with its own settings."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from sterling.core.environment import normalised
from sterling.core.errors import MissingBlobError, StageFailedError
from sterling.reproduction.recorded import Recorded

_OURS = "sterling-ml"
_SECONDS = 1800


class Fresh(NamedTuple):
    """A Python to execute in.

    Attributes:
        python: Path of its interpreter.
        missing: What of the lock is not there, each as a sentence.
    """

    python: str
    missing: tuple[str, ...]


def fresh_environment(
    steps: Sequence[Recorded], locks: Mapping[str, Mapping[str, Any]], place: Path, say: Callable[[str], None]
) -> Fresh:
    """Build the environment of the newest step of a run.

    Installed is what Sterling needs and what the steps name, each at its recorded version and without asking for more;
    an index, a proxy or a folder of wheels is what pip's own settings say. Sterling itself is the one that runs now:
    the hashes of its modules say whether it is the same.

    Args:
        steps: The steps of the run.
        locks: What their environments were, by name.
        place: Where the environment goes; it is made.
        say: Told what is being done.

    Raises:
        MissingBlobError: if the lock is not on record.
        StageFailedError: if no venv can be made.
    """
    place_of_newest = max((s for s in steps if s.environment), key=lambda s: s.position, default=None)
    environment = (place_of_newest.environment or {}) if place_of_newest else {}
    lock = locks.get(environment.get("environment", ""))
    if lock is None:
        raise MissingBlobError("The environment of this run is not on record, so it cannot be built. Leave --env out.")
    wanted = _wanted(steps, lock)
    python, missing = _interpreter(environment["python"])
    say(f"building an environment of {len(wanted)} distributions with Python {environment['python']}")
    made = subprocess.run([python, "-m", "venv", str(place)], check=False, capture_output=True, text=True)
    inside = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if made.returncode:
        raise StageFailedError(
            f"No environment could be made with {python}: {(made.stdout + made.stderr).strip()[-300:]}"
        )
    failed = _install(str(inside), [f"{name}=={version}" for name, version in wanted.items()], say)
    _copy_ours(str(inside))
    return Fresh(str(inside), (*missing, *(f"{one} could not be installed" for one in failed)))


def _wanted(steps: Iterable[Recorded], lock: Mapping[str, Any]) -> dict[str, str]:
    named = {normalised(name) for step in steps for name in step.identity["libraries"]}
    for step in steps:
        parameters = step.identity["parameters"]
        code = parameters.get("code", ()) if isinstance(parameters, dict) else ()
        named |= {normalised(name) for one in code for name in one["libraries"]}
    return {
        one["name"]: one["version"]
        for one in lock["distributions"]
        if (one["needed"] or one["name"] in named) and one["name"] != _OURS
    }


def _interpreter(version: str) -> tuple[str, tuple[str, ...]]:
    """A Python of the recorded minor version, or this one and the sentence that says so."""
    minor = version.rpartition(".")[0]
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = sys.executable if minor == here else shutil.which(f"python{minor}")
    if found:
        return found, ()
    return sys.executable, (f"Python {minor} is not on this machine; {here} stands in",)


def _install(python: str, wanted: Sequence[str], say: Callable[[str], None]) -> tuple[str, ...]:
    """Install all at once, else one by one; those that cannot be."""
    if _pip(python, wanted):
        return ()
    say("not everything could be installed at once; trying one by one")
    return tuple(one for one in wanted if not _pip(python, [one]))


def _pip(python: str, wanted: Sequence[str]) -> bool:
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-input",
        "--disable-pip-version-check",
        *wanted,
    ]
    return subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS).returncode == 0


def _copy_ours(python: str) -> None:
    """Put this Sterling into an environment, without what else may lie beside it."""
    asked = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    target, package = Path(asked.stdout.strip()), Path(__file__).parents[1]
    shutil.copytree(package, target / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    distribution = metadata.distribution(_OURS)
    info = target / f"{_OURS.replace('-', '_')}-{distribution.version}.dist-info"
    info.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        if text := distribution.read_text(name):
            (info / name).write_text(text, encoding="utf-8")
