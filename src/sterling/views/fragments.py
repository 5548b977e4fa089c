"""HTML in pieces: the templates' environment, and what a notebook shows of a report or of verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from sterling.views.report_classes import class_tables
from sterling.views.report_tables import (
    calibration_table,
    comparisons_table,
    gates_table,
    models_table,
    slices_table,
    verdicts_table,
)
from sterling.views.tables import Row, Table
from sterling.views.text import cite, moment

if TYPE_CHECKING:
    from jinja2 import Environment

    from sterling.views.report import GateRow, Report

WORST = 12
"""Slices of each metric and column that are shown where there is little room."""


def environment() -> Environment:
    """The environment of the templates; every text that goes into them is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=PackageLoader("sterling.views"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"cite": cite, "moment": moment, "svg": lambda chart: Markup(chart.svg)}  # noqa: S704  drawn by us, its texts escaped
    return made


def fragment(headline: str, tables: Iterable[Table]) -> str:
    """Tables as a piece of HTML with its own small style, for notebooks; it takes on their colours."""
    return environment().get_template("fragment.html.j2").render(headline=headline, tables=tuple(tables))


def report_fragment(report: Report, *, positions: bool = True) -> str:
    """A report as a piece of HTML.

    Args:
        report: The report.
        positions: Whether the evidence is kept in a ledger, so that its positions name something.
    """
    tables = evaluation_tables(report, worst=WORST)
    return fragment(
        verdict_of(report.run.verdict, report.gates), tables if positions else map(without_positions, tables)
    )


def result_fragment(headline: str, gates: Iterable[GateRow], steps: Iterable[tuple[str, str, int]]) -> str:
    """What a run came to as a piece of HTML.

    Args:
        headline: What it came to.
        gates: The gates that were judged.
        steps: Each step: its title, whether it ran, and where its completion stands.
    """
    rows = (Row((title, state, cite(position))) for title, state, position in steps)
    return fragment(headline, (verdicts_table(gates), Table("Steps", ("step", "", ""), tuple(rows))))


def evaluation_tables(report: Report, *, worst: int | None = None) -> tuple[Table, ...]:
    """Gates, models, their differences, slices, calibration and classes; a table without rows is left out."""
    every = (
        gates_table(report), models_table(report), comparisons_table(report), slices_table(report, worst=worst),
        calibration_table(report), *class_tables(report),
    )  # fmt: skip
    return tuple(table for table in every if table.rows)


def verdict_of(verdict: str, gates: Iterable[GateRow]) -> str:
    """The verdict in a few words.

    Example:
        >>> verdict_of("ungated", ())
        'No gates were judged.'
    """
    judged = tuple(gates)
    failed = sum(not gate.passed for gate in judged)
    if verdict == "ungated" or not judged:
        return "No gates were judged."
    if len(judged) == 1:
        return "Failed its gate." if failed else "Passed its gate."
    return f"Failed {failed} of {len(judged)} gates." if failed else f"Passed all {len(judged)} gates."


def without_positions(table: Table) -> Table:
    """A table without the column that says where its evidence stands."""
    if table.columns[-1]:
        return table
    rows = tuple(replace(row, cells=row.cells[:-1]) for row in table.rows)
    return replace(table, columns=table.columns[:-1], rows=rows)
