"""Charts of what was looked at after the headline metric."""

from __future__ import annotations

import re

import pytest

from sterling.views.charts import Chart
from sterling.views.charts_studies import study_charts
from sterling.views.page import report_page
from sterling.views.report import run_report
from tests.views.ledger import Entries, definition


@pytest.fixture(scope="module")
def charts(refused: Entries) -> dict[str, Chart]:
    return study_charts(run_report(refused, None))


def test_each_study_that_measures_a_loss_has_a_chart_that_says_in_words_what_it_shows(charts: dict[str, Chart]) -> None:
    assert list(charts) == ["Importance on the holdout", "Robustness", "Ablation", "Learning curve", "Staleness"]
    said = {title: chart.description for title, chart in charts.items()}
    assert said["Importance on the holdout"].startswith(
        "log loss lost when shuffled; right of the dashed line is worse: all of"
    )
    assert "without origin_delay +0.0181 (+0.0141 to +0.0221)" in said["Ablation"]
    assert "without everything" not in said["Ablation"]
    assert "at 25 +0.0071 (+0.0031 to +0.0111); at 100 0" in said["Learning curve"]
    assert "lower is better, by days between training and holdout: at 0 0" in said["Staleness"]


def test_the_page_shows_them_in_colours_that_its_style_replaces(refused: Entries, charts: dict[str, Chart]) -> None:
    html = report_page(refused, definition(trees=500))
    style = html[html.index("<style>") : html.index("</style>")]
    for chart in charts.values():
        assert chart.description[:60] in html
        for attribute, colour in set(re.findall(r'(fill|stroke)="(#\w+)"', chart.svg)):
            assert f'[{attribute}="{colour}"]' in style
