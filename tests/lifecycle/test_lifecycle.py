from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sterling import lifecycle
from sterling.core.canonical import digest
from sterling.core.errors import DataError, InvalidDefinitionError, NotKnownAtPredictionError
from sterling.core.evidence import Entry, Query
from sterling.core.verify import verify
from sterling.core.workspace import Workspace
from sterling.lifecycle import Result, check_project, plan_project, run_project
from sterling.project.load import define, load_project
from tests.lifecycle.small import EXAMPLE, edit, write_project


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("finished") / "project")
    result = run(folder, release_now=True)
    assert (result.verdict, result.version, result.released) == ("passed", 1, True)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of a project that has run and was released."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


def run(folder: Path, *, release_now: bool = False, as_of: str | None = None) -> Result:
    return run_project(load_project(folder), folder, release_now=release_now, as_of=as_of)


def entries(folder: Path, *kinds: str) -> list[Entry]:
    return list(Workspace(folder).ledger("late-parcels").read(Query(kinds)))


STUDIES = ("discover slices", "analyse errors", "importance", "robustness", "compare with champion")


def reran(result: Result) -> list[str]:
    return [step.title for step in result.steps if not step.cached]


def definition(folder: Path) -> str:
    return digest(define(load_project(folder), folder))


def test_a_second_run_does_nothing_after_a_release_too(folder: Path) -> None:
    before = entries(folder)
    again = run(folder, release_now=True)
    assert not again.news
    assert reran(again) == []
    assert entries(folder) == before


def test_project_run_does_what_the_command_does(folder: Path) -> None:
    assert load_project(folder).run(folder).position == run(folder).position


def test_a_change_to_one_feature_reruns_only_what_depends_on_it(folder: Path) -> None:
    edit(folder, 'windows=["1d"]', 'windows=["2d"]')
    assert reran(run(folder)) == [
        "bind",
        "features busy",
        "frame",
        "leakage",
        "feasibility",
        "parity busy",
        "train candidate",
        "leak effect",
        "train prior",
        "leakage of candidate",
        "evaluate",
        "reliability",
        "holdout",
        *STUDIES,
    ]


def test_a_change_to_the_model_keeps_baselines_and_data(folder: Path) -> None:
    edit(folder, "trees=15", "trees=16")
    result = run(folder, release_now=True)
    assert reran(result) == [
        "bind",
        "train candidate",
        "leak effect",
        "leakage of candidate",
        "evaluate",
        "reliability",
        *STUDIES,
    ]
    assert result.version == 2
    (champion,) = entries(folder, "champion.resolved")[1:]
    assert champion.body["champion"] == entries(folder, "model.registered")[0].body["model"]
    assert not run(folder, release_now=True).news


def test_another_owner_reruns_no_data_and_no_training(folder: Path) -> None:
    edit(folder, 'owner="logistics"', 'owner="parcels"')
    assert reran(run(folder)) == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("project.py", "import sterling as sl\n", "# a comment\nimport sterling as sl\n\n"),
        ("prepare.sql", "one row", "a row"),
    ],
)
def test_editing_a_comment_changes_no_hash(folder: Path, file: str, old: str, new: str) -> None:
    before = definition(folder)
    edit(folder, old, new, file=file)
    assert definition(folder) == before
    assert not run(folder).news


def test_golden_examples_and_sql_are_part_of_the_definition(folder: Path) -> None:
    before = definition(folder)
    edit(folder, '"at_least": 0.0', '"at_least": 0.99', file="golden.jsonl")
    golden = definition(folder)
    edit(folder, "SELECT *,", "SELECT *, 1 AS one,", file="prepare.sql")
    assert len({before, golden, definition(folder)}) == 3
    result = run(folder)
    assert result.verdict == "failed"
    assert (
        f"1 of 1 examples are answered otherwise: {EXAMPLE['name']}."
        in entries(folder, "model.refused")[0].body["reasons"][0]
    )


def test_a_refused_model_is_no_version_and_what_is_live_stays(folder: Path) -> None:
    edit(folder, 'sl.gates.Improves("log_loss", over="baseline")', 'sl.gates.AtMost("ece", 0.0001)')
    result = run(folder, release_now=True)
    assert (result.verdict, result.version, result.released) == ("failed", None, False)
    assert len(entries(folder, "version.released")) == 1


def test_a_model_that_is_judged_anew_stays_the_version_that_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "source_of_module_closure", lambda _: "another way to judge")
    result = run(folder)
    assert (result.news, result.version, result.released) == (True, 1, True)
    assert len(entries(folder, "gate.judged")) == 8
    assert len(entries(folder, "model.registered")) == 1


def test_new_data_are_found_by_content(folder: Path) -> None:
    write_project(folder, rows=3100)
    plan = {step.title: step for step in plan_project(load_project(folder), folder).steps}
    assert plan["prepare prepare.sql"].action == "run"
    assert "input raw:parcels.parquet" in plan["prepare prepare.sql"].reasons[0]
    assert plan["train candidate"].action == "unknown"


def test_data_that_were_only_touched_are_the_same_data(folder: Path) -> None:
    (folder / "parcels.parquet").touch()
    assert not run(folder).news


def test_the_plan_names_what_changed(folder: Path) -> None:
    edit(folder, "trees=15", "trees=16")
    plan = plan_project(load_project(folder), folder)
    actions = {step.title: (step.action, step.reasons) for step in plan.steps}
    assert actions["train candidate"] == ("run", ("trainer.trees: 15 → 16",))
    assert actions["evaluate"][0] == "unknown"
    assert any("trees: 15 → 16" in change for change in plan.changes)
    assert plan.as_of is not None


def test_an_earlier_as_of_hides_what_was_not_known_then(folder: Path) -> None:
    result = run(folder, as_of="2024-03-01")
    assert "validate orders" in reran(result)
    spine = entries(folder, "spine.built")[-1].body
    assert spine["predict_at"][1] < "2024-03-01T01"
    assert spine["pending"] > 0


def test_what_nobody_needs_is_collected_and_made_again(folder: Path) -> None:
    store = Workspace(folder).store()
    for entry in entries(folder, "stage.completed"):
        for ref in entry.body["outputs"].values():
            store.delete(ref)
    before = entries(folder)
    again = run(folder)
    assert len(reran(again)) > 5
    assert entries(folder) == before


def test_the_ledger_and_every_blob_verify(folder: Path) -> None:
    workspace = Workspace(folder)
    report = verify(workspace.ledger("late-parcels"), workspace.store())
    assert report.intact
    assert report.missing == ()


def test_no_entry_holds_a_value_of_a_row(folder: Path) -> None:
    assert not any("p00001" in str(entry.body) for entry in entries(folder))


def test_a_feature_of_the_future_is_refused_with_column_and_times(folder: Path) -> None:
    edit(folder, 'orders["depot", "weight"]', 'orders["depot", "weight", "delivered_at"]')
    with pytest.raises(NotKnownAtPredictionError, match="delivered_at") as refused:
        run(folder)
    assert "ordered_at + INTERVAL 1 HOUR" in str(refused.value)


def test_too_many_rows_that_break_a_check_stop_the_run(folder: Path) -> None:
    edit(folder, 'InRange("weight", 0, 100)', 'InRange("weight", 0, 10)')
    with pytest.raises(DataError, match="weight"):
        run(folder)
    assert entries(folder, "stage.failed")[-1].body["title"] == "validate orders"


def test_check_needs_no_training(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    checked = check_project(load_project(folder), folder)
    assert checked.features == ("depot", "weight", "busy_count_1d", "slow_mean_hours_3d")
    assert checked.rows == 3000
    assert checked.positives is not None
    assert checked.positives < checked.labelled <= checked.rows
    assert entries(folder, "model.trained") == []


def test_check_refuses_a_feature_of_the_future(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project")
    edit(folder, 'orders["depot", "weight"]', 'orders["depot", "weight", "delivered_at"]')
    with pytest.raises(NotKnownAtPredictionError, match="delivered_at"):
        check_project(load_project(folder), folder)


def test_a_project_without_gates_registers_nothing(folder: Path) -> None:
    text = (folder / "project.py").read_text()
    (folder / "project.py").write_text(text[: text.index("    gates=[")] + ")\n")
    result = run(folder)
    assert (result.verdict, result.version) == ("ungated", None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('orders["depot", "weight"]', 'orders["depot", "wheight"]', "Did you mean 'weight'"),
        ('windows=["1d"]', 'windows=["1x"]', r"project\.py:\d+: Count.windows is '1x'"),
        ('"golden.jsonl"', '"gold.jsonl"', "the project names the file 'gold.jsonl'"),
        ('inputs=["parcels.parquet"]', 'inputs=["parcel.parquet"]', "Did you mean 'parcels.parquet'"),
        ("import sterling as sl", "import sterling as sl\n1 / 0", r"project\.py:3: ZeroDivisionError"),
        ("import sterling as sl", "import sterling as sl\nraise SystemExit(0)", r"project\.py:3: SystemExit"),
        ("project = sl.Project(", "other = sl.Project(*[", "SyntaxError"),
    ],
)
def test_a_mistake_in_a_project_file_says_where_and_what_would_work(
    folder: Path, old: str, new: str, message: str
) -> None:
    edit(folder, old, new)
    with pytest.raises(InvalidDefinitionError, match=f"(?i){message}"):
        run(folder)


def test_a_folder_without_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidDefinitionError, match="Make a project with `sterling new NAME`"):
        load_project(tmp_path)


TRAINER = """
from dataclasses import dataclass

from sterling.models import Constant, TrainingRows

MARGIN = 0.0  # how far above the share


@dataclass
class Share:
    'The share of positives, plus a margin.'
    rounding: int = 3

    def fit(self, rows: TrainingRows) -> Constant:
        return Constant(round(float(rows.label.mean()) + MARGIN, self.rounding))
"""


@pytest.fixture
def custom(folder: Path) -> Path:
    """The project with a trainer of its own among the baselines."""
    (folder / "trainer.py").write_text(TRAINER)
    edit(folder, "import sterling as sl", "import sterling as sl\nfrom trainer import Share")
    edit(folder, "baselines=[sl.Prior()]", 'baselines=[sl.Prior(), sl.Custom(Share(), "share")]')
    assert "train share" in reran(run(folder))
    return folder


def fresh_run(folder: Path) -> list[str]:
    """Titles of what a new process would run, as its plan says."""
    command = [sys.executable, "-m", "sterling", "plan", "--json", "--project", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [step["title"] for step in json.loads(done.stdout)["steps"] if step["action"] == "run"]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("trainer.py", "MARGIN = 0.0", "MARGIN = 0.01"),
        ("trainer.py", "rows.label.mean()", "rows.label.mean() * 1.0"),
        ("project.py", 'Share(), "share"', 'Share(rounding=2), "share"'),
    ],
)
def test_an_edited_trainer_reruns_its_training(custom: Path, file: str, old: str, new: str) -> None:
    edit(custom, old, new, file=file)
    assert "train share" in fresh_run(custom)
    assert "train candidate" not in fresh_run(custom)


def test_a_comment_in_a_trainer_reruns_nothing(custom: Path) -> None:
    edit(custom, "# how far above the share", "# how far over the share", file="trainer.py")
    assert fresh_run(custom) == []


def test_every_field_of_every_entry_is_documented(folder: Path) -> None:
    edit(folder, "trees=15", "trees=16")
    run(folder, release_now=True)
    rows = (Path(__file__).parents[2] / "docs" / "evidence.md").read_text().splitlines()
    documented = {row.split("`")[1]: set(re.findall(r"`([^`]+)`", row)) for row in rows if row.startswith("| `")}
    undocumented = {
        (entry.kind, field)
        for entry in entries(folder)
        for field in entry.body
        if field not in documented.get(entry.kind, set())
    }
    assert not undocumented
