from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from sterling.views.page import report_page
from tests.views.golden import golden
from tests.views.ledger import Entries, definition


class Page(HTMLParser):
    """What a page holds: its text without style and pictures, its tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"style", "svg"}:
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside and data.strip():
            self.words.append(" ".join(data.split()))


@pytest.fixture(scope="module")
def html(second: Entries) -> str:
    return report_page(second, definition(trees=500))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_says_what_the_ledger_says(page: Page) -> None:
    text = "\n".join(page.words) + "\n"
    assert text == golden("page.txt", text)


def test_the_page_asks_nothing_of_the_network(html: str) -> None:
    bare = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert not re.search(r"https?:|//\w|@import|url\((?!data:)|<script|<iframe|<object|\bon\w+=", bare)
    assert "default-src 'none'" in html


def test_every_chart_is_described(page: Page) -> None:
    figures = [attributes for tag, attributes in page.tags if tag == "figure"]
    assert len(figures) == 10
    assert all(figure["role"] == "img" and len(figure["aria-label"] or "") > 40 for figure in figures)


def test_every_colour_of_a_chart_is_one_that_the_style_replaces(html: str) -> None:
    style = html[html.index("<style>") : html.index("</style>")]
    for attribute, colour in set(re.findall(r'(fill|stroke)="(#\w+)"', html[html.index("<main>") :])):
        assert f'[{attribute}="{colour}"]' in style


def test_headings_have_an_order_and_sections_a_name(page: Page) -> None:
    named = {attributes.get("id") for tag, attributes in page.tags if tag == "h2"}
    assert named == {attributes["aria-labelledby"] for tag, attributes in page.tags if tag == "section"}
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_text_of_the_project_is_escaped(second: Entries) -> None:
    sly = definition(trees=500)
    sly["project"]["problem"]["decision"] = "<script>alert(1)</script>"
    sly["project"]["problem"]["owner"] = '"><img src=x>'
    shown = report_page(second, sly)
    assert "<script" not in shown
    assert "<img" not in shown


def test_a_refused_candidate_is_told_apart_from_the_live_version(refused: Entries) -> None:
    words = " ".join(Page(report_page(refused, definition(trees=500, floor=0.7))).words)
    assert "failed 1 of 5 gates and is not released" in words
    assert "Version 2 takes all traffic" in words


def test_a_page_with_little_evidence_says_so(first: Entries) -> None:
    few = {"project.defined", "data.snapshotted", "model.trained", "run.completed", "stage.completed"}
    words = " ".join(Page(report_page([e for e in first if e.kind in few], definition())).words)
    assert "not measured" in words
    assert "No version is live." in words
