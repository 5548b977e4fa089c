"""The fresh process: executes the steps of an order and says what each made. Nothing is recorded here.

Run as ``python -P -m sterling.reproduction.process FOLDER ORDER ANSWER``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sterling.core.code import library_versions, source_of_module_closure, sources_of_module_closure
from sterling.core.elsewhere import Erasure, WithoutErased
from sterling.core.environment import environment_of
from sterling.core.errors import SterlingError
from sterling.core.refs import Ref, refs_in_file
from sterling.core.scratch import Scratch
from sterling.core.store import LocalStore, Store
from sterling.core.workspace import Workspace
from sterling.models.blas import blas_libraries
from sterling.reproduction.rebuild import OwnCode, stage_of
from sterling.stages.contract import Context, Stage
from sterling.stages.external import ExternalFiles, Promised
from sterling.stages.fingerprints import Fingerprints
from sterling.stages.snapshot import RAW

Answer = dict[str, Any]


def main(folder: str, order: str, answer: str) -> None:
    """Execute an order.

    Args:
        folder: The project's folder.
        order: Path of the order, JSON.
        answer: Path that the answer is written to, JSON.
    """
    wanted = json.loads(Path(order).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="sterling-reproduce-") as place:
        found = execute(wanted, Path(folder), Path(place))
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


def execute(order: Mapping[str, Any], folder: Path, place: Path) -> Answer:
    """Execute the steps of an order, each on what those before it made.

    Args:
        order: What :func:`sterling.reproduction.recorded.order` gives.
        folder: The project's folder.
        place: An empty folder for what is made.
    """
    from sterling.engine.duckdb import DuckDBEngine

    given, roots = _given(order, folder, place), order["roots"]
    damaged = {ref: state for ref in roots if (state := _state(Ref(ref), given, order))}
    readable = {Ref(ref) for ref in roots if ref not in damaged}
    readable |= {inside for ref in readable if not roots[ref].startswith(RAW) for inside in _segments(ref, given)}
    store, own = Scratch(LocalStore(place / "store"), given, readable), OwnCode(folder)
    made: dict[str, str | None] = dict.fromkeys(damaged)
    steps = []
    for step in order["steps"]:
        steps.append(
            _attempt(step, made, damaged, roots, lambda seed: Context(store, DuckDBEngine(), seed), order, own)
        )
        found = steps[-1]["outputs"]
        made |= {ref: found.get(name) for name, ref in step["outputs"].items()}
    environment, lock = environment_of(folder, blas_libraries())
    return {"steps": steps, "environment": environment, "lock": lock}


def _attempt(
    step: Mapping[str, Any],
    made: Mapping[str, str | None],
    damaged: Mapping[str, str],
    roots: Mapping[str, str],
    context: Any,
    order: Mapping[str, Any],
    own: OwnCode,
) -> Answer:
    """What became of one step: its outputs and the metrics that it measured, or why there are none."""
    identity = step["identity"]
    inputs = {name: made.get(ref, ref) for name, ref in identity["inputs"].items()}
    found: Answer = {"title": step["title"], "outputs": {}, "metrics": [], "data": [], "error": None}
    found["data"] = [
        f"{roots[ref].removeprefix(RAW)}: {damaged[ref]}"
        for ref in dict.fromkeys(identity["inputs"].values())
        if ref in damaged
    ]
    absent = sorted(name for name, ref in inputs.items() if ref is None)
    try:
        stage = stage_of(step["stage"], identity["parameters"], order["definition"], own)
        found |= _code(stage, identity, own)
        if absent:
            return found | {"error": f"not executed, for want of {', '.join(absent)}"}
        outcome = stage(inputs, context(identity["seed"]))
    except SterlingError as error:
        return found | {"error": str(error)}
    except Exception as error:  # noqa: BLE001  whatever it is, it is what became of the step
        return found | {"error": f"{type(error).__name__}: {error}"}
    metrics = [f.body for f in outcome.facts if f.kind == "metric.measured" and f.body["role"] == "candidate"]
    whole = [[body["metric"], body["value"]] for body in metrics if not body["slice"]]
    return found | {"outputs": dict(outcome.outputs), "metrics": whole}


def _code(stage: Stage, identity: Mapping[str, Any], own: OwnCode) -> Answer:
    """What this process's code says of itself, to be held against what is on record."""
    module = type(stage).__module__
    recorded = identity["parameters"].get("code", ()) if isinstance(identity["parameters"], dict) else ()
    return {
        "source": source_of_module_closure(module),
        "modules": sorted(sources_of_module_closure(module)),
        "libraries": library_versions(stage.libraries),
        "same_parameters": stage.parameters() == identity["parameters"],
        "code": {one["name"]: own.hash_of(one["name"]) for one in recorded},
    }


def _given(order: Mapping[str, Any], folder: Path, place: Path) -> Store:
    """What was given to the run, where it lies: the project's store, and files that are read elsewhere."""
    store = Workspace(folder).store()
    erased = {Ref(ref): Erasure(position, None) for ref, position in order["erased"].items()}
    kept = WithoutErased(store, erased) if erased else store
    files = tuple(Promised(locator, Ref(ref), until) for locator, ref, until in order["external"])
    return ExternalFiles(kept, files, folder, Fingerprints(place / "fingerprints.json")) if files else kept


def _state(ref: Ref, given: Store, order: Mapping[str, Any]) -> str | None:
    """What is wrong with something that the run was given; None where it is what it was."""
    if position := order["erased"].get(ref):
        return f"was erased, since it held data of a person [{position}]"
    try:
        if given.has(ref):
            return None if given.intact(ref) else "was altered in the store"
        given.open(ref)
    except SterlingError:
        return "is no longer in the store, nor where it lay"
    return None


def _segments(ref: Ref, given: Store) -> Iterable[Ref]:
    return tuple(refs_in_file(given.open(ref)))


if __name__ == "__main__":
    main(*sys.argv[1:])
