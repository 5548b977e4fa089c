"""The template that `sterling new` starts from: it is a project, and its invented data are what it says."""

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import sterling
from sterling.project.bind import bind
from sterling.project.features import feature_names
from sterling.project.load import load_project
from sterling.project.project import Project

TEMPLATE = Path(sterling.__file__).parent / "templates" / "scheduled"


def generate(folder: Path) -> Path:
    """Run the template's generator into a folder."""
    spec = importlib.util.spec_from_file_location("make_data", TEMPLATE / "make_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `sterling new churn` makes it."""
    made = tmp_path_factory.mktemp("new") / "churn"
    shutil.copytree(TEMPLATE, made, ignore=shutil.ignore_patterns("__pycache__"))
    text = (made / "project.py").read_text(encoding="utf-8")
    (made / "project.py").write_text(text.replace("__NAME__", "churn"), encoding="utf-8")
    generate(made / "data")
    return made


@pytest.fixture(scope="module")
def project(folder: Path) -> Project:
    return load_project(folder)


@pytest.fixture(scope="module")
def tables(folder: Path) -> dict[str, pa.Table]:
    return {path.stem: pq.read_table(path) for path in (folder / "data").iterdir()}


def test_the_template_is_a_project_that_binds_to_its_data(project: Project, tables: dict[str, pa.Table]) -> None:
    assert project.name == "churn"
    bind(project, {name: {field.name: str(field.type) for field in table.schema} for name, table in tables.items()})


def test_the_generator_always_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    def digests(where: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in where.iterdir()}

    assert digests(generate(tmp_path / "again")) == digests(folder / "data")


def test_the_data_are_small(folder: Path) -> None:
    assert sum(path.stat().st_size for path in (folder / "data").iterdir()) < 2_000_000


def test_every_cancellation_ends_the_active_state_of_one_account(tables: dict[str, pa.Table]) -> None:
    accounts, gone = tables["accounts"], tables["cancellations"]
    active = accounts.filter(pc.equal(accounts["status"], "active"))
    assert active.num_rows == pc.count_distinct(active["account_id"]).as_py() == 2_000
    ended = active.filter(pc.is_valid(active["valid_to"])).sort_by(
        [("valid_to", "ascending"), ("account_id", "ascending")]
    )
    gone = gone.sort_by([("cancelled_at", "ascending"), ("account_id", "ascending")])
    assert ended["account_id"].to_pylist() == gone["account_id"].to_pylist()
    assert ended["valid_to"].to_pylist() == gone["cancelled_at"].to_pylist()
    assert pc.all(pc.less(ended["valid_from"], ended["valid_to"])).as_py()


def test_nobody_works_before_signing_up_or_after_leaving(tables: dict[str, pa.Table]) -> None:
    accounts = tables["accounts"].filter(pc.equal(tables["accounts"]["status"], "active"))
    rows = tables["usage"].join(accounts, "account_id")
    outside = pc.or_kleene(
        pc.less(rows["started_at"], rows["valid_from"]), pc.greater_equal(rows["started_at"], rows["valid_to"])
    )
    assert pc.any(pc.fill_null(outside, False)).as_py() is False


def test_golden_examples_name_every_feature(project: Project) -> None:
    names = set(feature_names(project.features))
    for line in (TEMPLATE / "golden.jsonl").read_text(encoding="utf-8").splitlines():
        example = json.loads(line)
        assert set(example["features"]) == names
        assert {"at_least", "at_most"} & set(example)


@pytest.mark.slow
def test_a_new_project_passes_its_gates_as_it_is(folder: Path, project: Project) -> None:
    assert project.run(folder).verdict == "passed"
