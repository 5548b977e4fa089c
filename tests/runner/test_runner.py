from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from sterling import runner
from sterling.core.errors import DataError, StageFailedError
from sterling.core.evidence import Query
from sterling.core.ledger import check_chain
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.engine.duckdb import DuckDBEngine
from sterling.runner import execute, resolve
from sterling.stages.contract import Context, Step
from tests.runner.stages import RUNS, Add, Chance, Fail, chain


@pytest.fixture
def context(tmp_path: Path) -> Context:
    RUNS.clear()
    return Context(LocalStore(tmp_path / "store"), DuckDBEngine())


@pytest.fixture
def ledger(tmp_path: Path) -> SQLiteLedger:
    return SQLiteLedger(tmp_path / "ledger.db", "sums")


def test_a_second_run_is_answered_from_the_ledger(ledger: SQLiteLedger, context: Context) -> None:
    first = execute(chain(1, 2, 3), ledger, context)
    again = execute(chain(1, 2, 3), ledger, context)
    assert [done.outputs for done in first] == [done.outputs for done in again]
    assert all(done.cached for done in again)
    assert RUNS == {"add a": 1, "add b": 1, "add c": 1}
    assert len(list(ledger.read())) == 6


def test_a_changed_step_reruns_itself_and_what_depends_on_what_it_made(ledger: SQLiteLedger, context: Context) -> None:
    execute(chain(1, 2, 3), ledger, context)
    done = execute(chain(1, 5, 3), ledger, context)
    assert [step.cached for step in done] == [True, False, False]


def test_a_change_that_makes_the_same_bytes_reruns_nothing_below(ledger: SQLiteLedger, context: Context) -> None:
    steps = chain(0, 2, 3)
    execute(steps, ledger, context)
    twice = [Step(Add("a", 0), {}), Step(Add("x", 0), {"sum": runner_output("add a")}), *steps[1:]]
    assert [step.title for step in execute(twice, ledger, context) if not step.cached] == ["add x"]


def runner_output(step: str) -> Any:
    from sterling.stages.contract import Output

    return Output(step, "sum")


def test_facts_and_completion_carry_the_key(ledger: SQLiteLedger, context: Context) -> None:
    (done,) = execute(chain(1), ledger, context)
    assert [entry.kind for entry in ledger.read(Query(subjects=(f"key:{done.key}",)))] == [
        "sum.found",
        "stage.completed",
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("library_versions", {"numpy": "99.0"}), ("source_of_module_closure", "other source")]
)
def test_another_library_or_edited_code_reruns_the_stage(
    ledger: SQLiteLedger, context: Context, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    execute(chain(1), ledger, context)
    monkeypatch.setattr(runner, name, lambda _: value)
    (planned,) = resolve(chain(1), ledger, context)
    assert planned.action == "run"
    assert ("library numpy" in planned.reasons[0]) == (name == "library_versions")
    (done,) = execute(chain(1), ledger, context)
    assert not done.cached


def test_another_seed_reruns_the_stage(ledger: SQLiteLedger, context: Context) -> None:
    execute(chain(1), ledger, context)
    other = Context(context.store, context.engine, seed=1)
    (planned,) = resolve(chain(1), ledger, other)
    assert planned.reasons == ("seed: 0 → 1",)


def test_the_plan_says_what_would_run_and_why_and_runs_nothing(ledger: SQLiteLedger, context: Context) -> None:
    execute(chain(1, 2, 3), ledger, context)
    head = list(ledger.read())[-1].position
    plan = resolve(chain(1, 7, 3), ledger, context)
    assert [(step.action, step.reasons) for step in plan] == [
        ("cached", ()),
        ("run", ("number: 2 → 7",)),
        ("unknown", ("add b",)),
    ]
    assert plan[0].position == 2
    assert list(ledger.read())[-1].position == head


def test_what_was_collected_is_made_again_and_recorded_once(ledger: SQLiteLedger, context: Context) -> None:
    first = execute(chain(1, 2), ledger, context)
    context.store.delete(first[0].outputs["sum"])
    assert resolve(chain(1, 2), ledger, context)[0].reasons == ("what it made is no longer in the store",)
    again = execute(chain(1, 2), ledger, context)
    assert [step.cached for step in again] == [False, True]
    assert context.store.has(first[0].outputs["sum"])
    assert len(list(ledger.read(Query(("stage.completed",))))) == 2


def test_a_stage_that_makes_something_else_from_the_same_inputs_is_found_out(
    ledger: SQLiteLedger, context: Context
) -> None:
    (first,) = execute([Step(Chance(), {})], ledger, context)
    context.store.delete(first.outputs["out"])
    with pytest.raises(StageFailedError, match="it is not reproducible"):
        execute([Step(Chance(), {})], ledger, context)
    (entry,) = ledger.read(Query(("stage.diverged",)))
    assert entry.body["expected"] != entry.body["found"]


@pytest.mark.parametrize(("about_data", "error"), [(True, DataError), (False, StageFailedError)])
def test_a_failed_stage_keeps_its_log(
    ledger: SQLiteLedger, context: Context, about_data: bool, error: type[Exception]
) -> None:
    with pytest.raises(error):
        execute([*chain(1), Step(Fail(about_data), {})], ledger, context)
    (failed,) = ledger.read(Query(("stage.failed",)))
    log = context.store.open(failed.body["log"]).read_text()
    assert "about to fail" in log
    assert "Traceback" in log
    assert "origin" not in str(failed.body)
    assert len(list(ledger.read(Query(("stage.completed",))))) == 1


def run_in_a_process(folder: Path) -> None:
    execute(
        chain(*range(6)),
        SQLiteLedger(folder / "ledger.db", "sums"),
        Context(LocalStore(folder / "store"), DuckDBEngine()),
    )


def test_runs_at_once_record_nothing_twice(tmp_path: Path) -> None:
    workers = [
        multiprocessing.get_context("spawn").Process(target=run_in_a_process, args=(tmp_path,)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    ledger = SQLiteLedger(tmp_path / "ledger.db", "sums")
    completed = [entry.body["key"] for entry in ledger.read(Query(("stage.completed",)))]
    assert len(completed) == len(set(completed)) == 6
    assert check_chain(ledger.records()) == (12, None)
