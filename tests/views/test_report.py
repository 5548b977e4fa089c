from __future__ import annotations

import pytest

from sterling.project.definition import to_json
from sterling.project.metrics import more_is_better
from sterling.views.facts import NoRunError, latest_run, runs
from sterling.views.report import run_report
from sterling.views.report_tables import all_tables, render_report
from sterling.views.tables import in_markdown
from tests.views.golden import golden, on_terminal
from tests.views.ledger import Entries, ref


def test_the_tables_fit_a_terminal_of_80_columns(second: Entries) -> None:
    shown = on_terminal(render_report(run_report(second), details=True))
    assert shown == golden("report.txt", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_without_details_the_terminal_shows_what_decides_and_names_the_rest(refused: Entries) -> None:
    shown = on_terminal(render_report(run_report(refused)))
    assert shown == golden("summary.txt", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_tables_are_markdown(refused: Entries) -> None:
    tables = all_tables(run_report(refused))
    shown = "\n\n".join(f"## {table.title}\n\n{in_markdown(table)}" for table in tables) + "\n"
    assert shown == golden("report.md", shown)


def test_every_measure_says_where_it_stands(second: Entries) -> None:
    at = {entry.position: entry for entry in second}
    report = run_report(second)
    for measure in (*report.measures, *report.slices):
        assert at[measure.position].body["value"] == measure.value


def test_the_candidate_comes_first_and_metrics_in_their_order(second: Entries) -> None:
    report = run_report(second)
    assert report.metrics == ("roc_auc", "average_precision", "log_loss", "brier", "ece")
    assert {report.of_metric(metric)[0].role for metric in report.metrics} == {"candidate"}


def test_the_best_baseline_of_a_metric_where_less_is_better_is_the_smallest(second: Entries) -> None:
    report = run_report(second)
    best = [report.best_baseline(metric) for metric in ("log_loss", "roc_auc")]
    assert [measure.name for measure in best if measure] == ["logistic", "logistic"]


def test_the_bound_of_a_comparison_lies_on_the_worse_side(second: Entries) -> None:
    report = run_report(second)
    gains = {c.metric: (c.difference or 0) - (c.bound or 0) for c in report.comparisons if c.against_name == "logistic"}
    assert {metric: gain > 0 for metric, gain in gains.items()} == {metric: more_is_better(metric) for metric in gains}


def test_slices_are_sorted_worst_first_and_undefined_ones_last(second: Entries) -> None:
    report = run_report(second)
    assert [m.slice for m in report.slices][:2] == [("carrier", "VX"), ("carrier", "WN")]
    assert report.slices[-1].value is None


def test_facts_of_cached_stages_belong_to_the_run_that_reused_them(second: Entries) -> None:
    assert run_report(second).sources == run_report(second, runs(second)[0]).sources


def test_facts_of_another_run_do_not_leak_into_a_run(refused: Entries) -> None:
    older = runs(refused)[0]
    assert {m.model for m in run_report(refused, older).measures} == {
        ref(n) for n in ("lightgbm 300 trees", "prior", "logistic")
    }


def test_a_refused_run_has_no_version(refused: Entries) -> None:
    assert run_report(refused).version is None


def test_the_newest_run_of_a_candidate_counts(refused: Entries) -> None:
    assert latest_run(refused, candidate=ref("lightgbm 500 trees")) == runs(refused)[-1]


def test_a_report_without_a_run_says_what_to_do() -> None:
    with pytest.raises(NoRunError, match="sterling run"):
        run_report([])


def test_a_report_is_json(second: Entries) -> None:
    assert to_json(run_report(second))["name"] == "lightgbm"
