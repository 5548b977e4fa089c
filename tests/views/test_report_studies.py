"""What was looked at after the headline metric is shown with its positions, in a terminal, in the card and on the page."""

from __future__ import annotations

from sterling.views.card import model_card, not_measured
from sterling.views.compare import compare, find, render
from sterling.views.page import report_page
from sterling.views.report import run_report
from sterling.views.report_studies import study_tables
from sterling.views.report_tables import render_report
from sterling.views.tables import in_terminal
from tests.views.golden import golden, on_terminal
from tests.views.ledger import Entries, definition


def test_every_study_has_a_table_of_eighty_columns(refused: Entries) -> None:
    shown = "".join(on_terminal(in_terminal(table)) for table in study_tables(run_report(refused), brief=True))
    assert shown == golden("studies.txt", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_terminal_shows_them_after_the_other_tables(refused: Entries) -> None:
    shown = on_terminal(render_report(run_report(refused), details=True))
    assert shown.index("What leaks would claim") < shown.index("Discovered slices") < shown.index("Robustness")


def test_card_and_page_show_every_study(refused: Entries) -> None:
    model = run_report(refused).run.candidate
    card, page = model_card(refused, model, definition(trees=500)), report_page(refused, definition(trees=500))
    titles = [table.title for table in study_tables(run_report(refused))]
    assert len(titles) == 11
    for title in titles:
        assert f"## {title}\n" in card
        assert f"<h3>{title}</h3>" in page


def test_a_run_without_studies_shows_none_and_says_that_nothing_was_measured(first: Entries) -> None:
    assert study_tables(run_report(first)) == ()
    assert {"its mistakes", "behavioural tests", "what an older training would cost"} <= set(
        not_measured(run_report(first))
    )
    assert "After the headline" not in report_page(first, definition())


def test_what_a_study_found_is_not_said_to_be_missing(refused: Entries) -> None:
    assert "its mistakes" not in not_measured(run_report(refused))


def test_a_comparison_shows_the_rows_that_flipped_where_the_old_model_was_the_champion(refused: Entries) -> None:
    old, older, new = (find(refused, name) for name in ("previous", "version:1", "latest"))
    shown = on_terminal(render(compare(refused, older, new)))
    assert "right before, wrong now             129" in shown
    assert "Against the champion" not in on_terminal(render(compare(refused, old, new)))
