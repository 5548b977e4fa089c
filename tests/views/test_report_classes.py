"""Tables of several classes, in a terminal of 80 columns."""

from __future__ import annotations

from sterling.core.evidence import Entry, Evidence
from sterling.views.log import sentence
from sterling.views.report_classes import calibration_of_classes, classes_table, mistaken_table
from sterling.views.tables import Table, in_markdown, in_terminal
from tests.views.golden import golden, on_terminal
from tests.views.several import by_class, calibration


def entry(position: int, kind: str, body: dict[str, object]) -> Entry:
    return Entry(position, "", "", "", "", "", Evidence(kind, (), body))


CLASSES = entry(71, "classes.measured", by_class("sha256:0", "lightgbm", unknown=12))
CALIBRATION = entry(70, "calibration.measured", calibration("sha256:0", "lightgbm"))


def test_tables_of_classes() -> None:
    tables = [classes_table(CLASSES), mistaken_table(CLASSES), calibration_of_classes(CALIBRATION)]
    text = "\n".join(on_terminal(in_terminal(table)) for table in tables)
    assert text == golden("classes.txt", text)
    assert max(map(len, text.splitlines())) <= 80


def test_many_classes_show_the_mistakes_that_are_made_most_often() -> None:
    body = dict(CLASSES.body) | {"confusion": None}
    table = mistaken_table(entry(71, "classes.measured", body))
    assert table.rows[0].cells == ("late", "on time", "4,210", "[71]")
    few: Table = classes_table(entry(71, "classes.measured", body | {"not_shown": 7}), 2)
    assert len(few.rows) == 2
    assert "8 rarer classes are not shown" in (few.note or "")
    assert "| late |" in in_markdown(few)


def test_the_log_says_what_is_mistaken_for_what() -> None:
    assert sentence(CLASSES) == (
        "lightgbm on 3 classes: most often late is taken for on time, in 4,210 rows; 12 rows of classes that training did not know."
    )
    assert sentence(CALIBRATION) == "lightgbm: 6 bins, the worst is off by 0.0600, of 3 classes."
