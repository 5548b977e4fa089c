"""An evaluation for a terminal, for a browser, and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sterling.standalone.scores import Evaluation
from sterling.views.evaluation_page import evaluation_page
from sterling.views.fragments import WORST, evaluation_tables, verdict_of, without_positions
from sterling.views.tables import in_terminal as table_in_terminal
from sterling.views.text import number, percent, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

_FACTS = ("metric.measured", "metric.compared", "calibration.measured", "classes.measured", "gate.judged")


def in_terminal(found: Evaluation) -> RenderableType:
    """An evaluation for a terminal of 80 columns."""
    from rich.console import Group
    from rich.text import Text

    tables = map(without_positions, evaluation_tables(found.report, worst=WORST))
    verdict = [Text(verdict_of(found.verdict, found.report.gates), style="bold")] if found.report.gates else []
    return Group(Text(_said(found)), "", *map(table_in_terminal, tables), *verdict)


def as_page(found: Evaluation, name: str) -> str:
    """An evaluation as a page.

    Args:
        found: The evaluation.
        name: Name of the file.
    """
    return evaluation_page(found.report, title=f"{found.wanted.score} in {name}", facts=tuple(_facts(found)))


def as_program(found: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON: what was judged, and the bodies of the evidence by kind."""
    evidence = {
        kind: [dict(entry.body) for entry in found.entries if entry.kind == kind] for kind in _FACTS
    }  # fmt: skip
    return {
        "verdict": found.verdict, "rows": found.rows, "positives": found.positives, "clusters": found.clusters,
        "left_out": found.left_out, **evidence,
    }  # fmt: skip


def _said(found: Evaluation) -> str:
    of = "" if found.clusters is None else f" in {plural(found.clusters, 'cluster')} by {found.wanted.cluster}"
    rest = f"; {plural(found.left_out, 'row')} without a label left out" if found.left_out else ""
    positive = "" if found.positives is None else f", {percent(found.positives / found.rows)} positive"
    independent = "" if found.wanted.cluster else ", taken as independent of each other"
    return f"{plural(found.rows, 'row')}{of}{independent}{positive}{rest}."


def _facts(found: Evaluation) -> Iterator[tuple[str, str, str]]:
    yield "Judged on", plural(found.rows, "row"), f"{number(found.left_out)} without a label left out"
    if found.positives is not None:
        yield "Positive", percent(found.positives / found.rows), f"{number(found.positives)} rows"
    if found.clusters is not None:
        yield "Clusters", number(found.clusters), f"by {found.wanted.cluster}"
    if found.wanted.champion:
        yield "Champion", found.wanted.champion, "on the same rows"
