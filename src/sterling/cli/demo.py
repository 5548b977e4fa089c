"""The demo: the whole life of a model on a year of real flights, a tempting mistake refused, and what to try next."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import msgspec

from sterling.cli.console import console, progress
from sterling.core.errors import NotKnownAtPredictionError, SterlingError
from sterling.core.evidence import Entry
from sterling.core.workspace import Workspace
from sterling.lifecycle import Result, run_project
from sterling.project.features import Feature, FeatureService, FeatureView
from sterling.project.load import load_project
from sterling.project.project import Project
from sterling.project.recipe import Prior, Recipe
from sterling.project.sources import Columns, EventSource
from sterling.views.facts import latest_run

_LEAK = "dep_delay"
_ADDRESS = re.compile(r"http://[\d.:]+")


def run_demo(folder: Path) -> int:
    """Run the example in a folder, and leave it there to be looked at.

    Returns:
        0 if the model passed its gates and the mistake was refused, else 1.
    """
    started = time.perf_counter()
    screen = console()
    _copy_example(folder)
    project = load_project(folder)
    screen.rule(f"{project.name}: {project.problem.decision}", align="left")
    screen.print(f"A year of flights from New York, predicted 2 hours before departure. Project: {folder}/project.py\n")
    with progress() as observe:
        result = run_project(project, folder, release_now=True, observe=observe)
    entries = tuple(Workspace(folder).ledger(project.name).read())
    _serve_one(folder, entries, result)
    _write_documents(folder)
    refused = _tempt(project, folder, entries)
    _close(folder, time.perf_counter() - started)
    return 0 if result.verdict == "passed" and refused else 1


def _copy_example(folder: Path) -> None:
    """Put the example's files into the folder; a file that somebody has edited there stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    with as_file(files("sterling") / "examples" / "flights") as example:
        for path in sorted(example.iterdir()):
            if not path.is_file():
                continue
            copy = folder / path.name
            if copy.exists() and copy.read_bytes() != path.read_bytes():
                console().print(f"[dim]{copy} differs from the shipped one and is kept; remove it to start afresh.[/]")
            elif not copy.exists():
                incoming = folder / f".{path.name}"
                shutil.copyfile(path, incoming)
                incoming.replace(copy)


def _serve_one(folder: Path, entries: tuple[Entry, ...], result: Result) -> None:
    """Ask the real server about the flight of the holdout that is most at risk, and compare with what was evaluated."""
    unit, score, row = _riskiest(folder, entries, result)
    with _server(folder) as address:
        request = urllib.request.Request(  # noqa: S310  our own server on loopback
            f"{address}/predict", json.dumps({"rows": [row]}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  the same
            answer = json.load(response)
    same = "the score that was evaluated, to the last bit" if answer["scores"][0] == score else f"evaluated: {score}"
    console().print(
        f"\nServed over HTTP: version {answer['version']} gives flight {unit} a risk of {answer['scores'][0]:.3f} ({same})."
    )


def _riskiest(folder: Path, entries: tuple[Entry, ...], result: Result) -> tuple[str, float, dict[str, Any]]:
    import pyarrow.compute as pc

    from sterling.core.refs import Ref
    from sterling.engine.tables import read_table

    store = Workspace(folder).store()
    run = latest_run(entries)
    assert run is not None
    made = next(e for e in run.of("predictions.made") if e.body["model"] == result.candidate)
    (assembled,) = run.of("frame.assembled")
    predictions = read_table(store, Ref(made.body["ref"]))
    top = predictions.sort_by([("score", "descending"), ("unit", "ascending")]).slice(0, 1).to_pylist()[0]
    frame = read_table(store, Ref(assembled.body["ref"]))
    row = frame.filter(pc.equal(frame["unit"], top["unit"])).select(assembled.body["features"]).to_pylist()[0]
    return top["unit"], top["score"], row


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """A server of the project in a process of its own, on a free port of loopback."""
    command = [sys.executable, "-m", "sterling", "serve", "--project", str(folder), "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            address = next((found[0] for line in process.stdout if (found := _ADDRESS.search(line))), None)
            if address is None:
                raise SterlingError(f"The server did not start: it ended with {process.wait()}.")
            yield address
        finally:
            process.terminate()


def _write_documents(folder: Path) -> None:
    from sterling.cli.documents import card_of, page_of, write

    card, page = folder / "model_card.md", folder / "report.html"
    write(card, card_of(folder))
    write(page, page_of(folder))
    console().print(f"Model card: {card}. A page for people: {page}.\n")


def _tempt(project: Project, folder: Path, entries: tuple[Entry, ...]) -> bool:
    """Add the flight's own departure delay as a feature: see it refused, then what it would have pretended."""
    from rich.markup import escape

    screen = console()
    screen.rule("A tempting mistake: the flight's own departure delay as a feature", align="left")
    schedule = project.spine.source
    assert isinstance(schedule, EventSource)
    tempting = FeatureService((*project.features.features, schedule[_LEAK]))
    wrong = msgspec.structs.replace(
        project, features=tempting, gates=(), recipe=Recipe(project.recipe.model, baselines=(Prior(),))
    )
    scratch = _scratch(folder)
    try:
        run_project(wrong, folder, workspace=scratch)
    except NotKnownAtPredictionError as error:
        screen.print(f"[bold]Refused.[/] {escape(str(error))}\n")
    else:
        screen.print("[bold red]It was not refused.[/]")
        return False
    with progress(brief=True) as observe:
        result = run_project(
            _believing(wrong, schedule),
            folder,
            workspace=scratch,
            observe=observe,
            leak_effect=False,
            parity=False,
            studies=False,
        )
    pretended = _roc_auc(scratch.ledger(project.name).read(), result.candidate)
    honest = _roc_auc(entries, next(e for e in reversed(entries) if e.kind == "run.completed").body["candidate"])
    screen.print(
        f"Had Sterling believed that it is known in time, it would have pretended a ROC AUC of [bold]{pretended:.3f}[/] "
        f"where {honest:.3f} is true (trained in a scratch ledger, {scratch.home.name}/scratch.db).\n"
    )
    return True


def _scratch(folder: Path) -> Workspace:
    """A workspace with the project's store and a copy of its local ledger, to try things in that stay off the record."""
    home = Workspace(folder).home
    home.mkdir(exist_ok=True)
    copy, ledger = home / "scratch.db", home / "ledger.db"
    for left in home.glob(f"{copy.name}*"):  # a log of an earlier scratch ledger must not be taken for this one's
        left.unlink()
    if ledger.exists():
        with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    return Workspace(folder, ledger_url=f"sqlite:{copy}")


def _believing(project: Project, schedule: EventSource) -> Project:
    """The project as somebody with one clock would write it: the leaking column counts as known with its row."""
    known = {column: rule for column, rule in schedule.known.items() if column != _LEAK}
    believed = msgspec.structs.replace(schedule, columns=[*(schedule.columns or ()), _LEAK], known=known)

    def believe(feature: Feature) -> Feature:
        if isinstance(feature, Columns | FeatureView) and feature.source == schedule:
            return msgspec.structs.replace(feature, source=believed)
        return feature

    return msgspec.structs.replace(
        project,
        spine=msgspec.structs.replace(project.spine, source=believed),
        features=FeatureService([believe(feature) for feature in project.features.features]),
    )


def _roc_auc(entries: Any, model: str) -> float:
    found = [
        entry.body["value"]
        for entry in entries
        if entry.kind == "metric.measured"
        and (entry.body["metric"], entry.body["model"], entry.body["slice"]) == ("roc_auc", model, {})
    ]
    value: float = found[-1]
    return value


def _close(folder: Path, seconds: float) -> None:
    from sterling.cli.evidence import entries_of
    from sterling.views.report import run_report
    from sterling.views.report_tables import render_report

    screen = console()
    screen.print(render_report(run_report(entries_of(folder))))
    program = "sterling" if shutil.which("sterling") else Path(sys.executable).parent / "sterling"
    screen.print(f"[bold]{seconds:.0f} s[/] in all. To go on:")
    for command, what in (
        (f"why release --project {folder}", "the evidence behind the release, down to raw files"),
        (f"plan --project {folder}", f"after an edit of {folder}/project.py: what would run again, and why"),
        ("new churn", "a project of your own that runs at once"),
    ):
        screen.print(f"  {program} {command}\n      [dim]{what}[/]")
