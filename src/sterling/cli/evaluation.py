"""``sterling evaluate``: the report and the verdicts of a run, on anybody's predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sterling.cli.options import AsJson

if TYPE_CHECKING:
    from sterling.standalone.scores import Evaluation


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evaluate)


def evaluate(
    scores: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet or CSV file with a row for each prediction.")],
    label: Annotated[
        str, typer.Option("--label", metavar="COLUMN", help="What happened: 0 or 1; how much; or which class.")
    ],
    score: Annotated[
        str, typer.Option("--score", metavar="COLUMN", help="The probability of 1, or how much; p for p:<class>.")
    ],
    champion: Annotated[
        str | None, typer.Option("--champion", metavar="COLUMN", help="Another model's predictions of the same rows.")
    ] = None,
    slices: Annotated[
        list[str] | None, typer.Option("--slice", metavar="COLUMN", help="Judge each value by itself; may be repeated.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="COLUMN", help="Rows of one value are not independent.")
    ] = None,
    gate: Annotated[
        list[str] | None, typer.Option("--gate", metavar="GATE", help="Such as 'roc_auc>=0.7'; may be repeated.")
    ] = None,
    task: Annotated[
        Literal["binary", "regression", "multiclass"], typer.Option("--task", help="What kind of problem it is.")
    ] = "binary",
    error_rate: Annotated[
        float, typer.Option("--error-rate", metavar="RATE", help="Error rate of the bounds that gates are judged on.")
    ] = 0.05,
    min_rows: Annotated[
        int, typer.Option("--min-rows", metavar="N", help="Slices with fewer rows are shown and not judged.", min=1)
    ] = 500,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a self-contained page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge predictions that lie in a file: metrics, champion, slices, calibration, gates; needs no project."""
    from sterling.cli.console import print_json, show
    from sterling.cli.documents import write
    from sterling.core.errors import StorageError
    from sterling.engine.files import read_file
    from sterling.project.tasks import Binary, Multiclass, Regression, Task
    from sterling.standalone.gates import parse_gate
    from sterling.standalone.scores import Wanted, evaluate_scores
    from sterling.standalone.show import as_page, as_program, in_terminal

    if html and not html.parent.is_dir():
        raise StorageError(f"There is no folder {html.parent} to write {html.name} into. Make it, or name another.")
    gates = [parse_gate(text, min_rows=min_rows) for text in gate or ()]
    tasks: dict[str, Task] = {"binary": Binary(), "regression": Regression(), "multiclass": Multiclass()}
    wanted = Wanted(label, score, champion, slices or (), cluster, gates, error_rate, tasks[task])
    found = evaluate_scores(read_file(scores, scores.name), wanted)
    if html:
        write(html, as_page(found, scores.name))
    if as_json:
        print_json(as_program(found))
    else:
        show(in_terminal(found))
        if html:
            print(f"Wrote {html}")
    raise typer.Exit(_code(found))


def _code(found: Evaluation) -> int:
    return 1 if found.verdict == "failed" else 0
