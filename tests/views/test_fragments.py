"""A report and a result show themselves in a notebook, with every text escaped."""

from __future__ import annotations

import re
from dataclasses import replace

from sterling.lifecycle import Result
from sterling.views.facts import latest_run
from sterling.views.fragments import fragment, without_positions
from sterling.views.report import run_report
from sterling.views.tables import Row, Table
from tests.views.ledger import Entries


def test_a_report_shows_its_verdict_and_its_tables(second: Entries) -> None:
    html = run_report(second)._repr_html_()
    assert "Passed all 5 gates." in html
    for title in ("Gates", "Models", "Paired differences", "Slices, the worst first", "Calibration"):
        assert f"<h4>{title}</h4>" in html
    assert not re.search(r"https?:|<script|\bon\w+=", html)


def test_a_result_shows_its_gates_and_its_steps(second: Entries) -> None:
    run = latest_run(second)
    assert run is not None
    judged = run.of("gate.judged")
    result = Result(
        "late-arrivals", run.definition, run.candidate, "passed", 2, True, (), judged, run.position, True
    )  # fmt: skip
    html = result._repr_html_()
    assert f"is version 2, which takes all traffic [{run.position}]." in html
    assert html.count("✓ passed") == len(judged) == 5
    assert "failed a gate" in replace(result, verdict="failed", version=None)._repr_html_()


def test_a_text_is_never_read_as_html() -> None:
    html = fragment("<b>", [Table("<i>", ("a",), (Row(("<script>",)),))])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_positions_are_left_out_where_nobody_keeps_the_evidence() -> None:
    table = Table("", ("model", ""), (Row(("p", "[3]")),))
    assert without_positions(table) == Table("", ("model",), (Row(("p",)),))
    assert without_positions(without_positions(table)) == without_positions(table)
