"""Ledger, store and runner together, driven at random against a model that is a list, a dictionary and a set.

Two processes are played by two ledgers and two stores on the same files; a crash, by dropping them and opening new ones.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sterling.core.errors import ConflictError, DataError, MissingBlobError, StageFailedError
from sterling.core.evidence import Entry, Evidence, Query, Record
from sterling.core.ledger import check_chain
from sterling.core.refs import Ref, ref_of
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore
from sterling.core.verify import verify
from sterling.engine.duckdb import DuckDBEngine
from sterling.runner import Done, execute, resolve
from sterling.stages.contract import Context, Step
from tests.runner.stages import RUNS, Chance, Fail, chain

_MEMORY = Path("/dev/shm")
_PROCESSES = st.integers(0, 1)
_KINDS = ("thing.seen", "thing.made", "thing.lost")
_SUBJECTS = ("all", "left", "right", "wörld")
_facts = st.builds(
    Evidence,
    st.sampled_from(_KINDS),
    st.lists(st.sampled_from(_SUBJECTS), max_size=3).map(tuple),
    st.dictionaries(st.sampled_from("abü"), st.integers(-5, 5) | st.floats(-1, 1) | st.text(max_size=3), max_size=2),
    st.integers(1, 2),
)
_queries = st.builds(
    Query,
    st.lists(st.sampled_from([*_KINDS, "sum.found", "stage.completed"]), max_size=2).map(tuple),
    st.lists(st.sampled_from(_SUBJECTS), max_size=2).map(tuple),
)
_numbers = st.lists(st.integers(0, 2), min_size=1, max_size=4)
_blobs = st.sampled_from([b"", b"small", b"0", b"1", b"larger " * 40_000, b'{"no": "manifest"}'])


class Said(NamedTuple):
    """What the model expects of an entry.

    Attributes:
        kind: Its kind.
        subjects: Subjects that it carries, among others where it is the runner's.
        body: Values that stand in its body, among others where it is the runner's.
    """

    kind: str
    subjects: tuple[str, ...]
    body: Mapping[str, Any]


class Planned(NamedTuple):
    """What the model expects of a step.

    Attributes:
        key: Its label, its number and what it reads, which decide what it makes.
        cached: Whether it is answered from the ledger.
        made: What it makes.
    """

    key: tuple[str, int, str | None]
    cached: bool
    made: bytes


class PowerFailureError(BaseException):
    """Ends a run where it is, as a kill would."""


class Interrupting:
    """A ledger that is asked to append so often and no more; then it calls something in its place, once."""

    def __init__(self, ledger: SQLiteLedger, after: int, instead: Any) -> None:
        self._ledger, self._left, self._instead = ledger, after, instead

    def append(self, *facts: Any, **condition: Any) -> int:
        if self._left == 0:
            self._instead()
        self._left -= 1
        return self._ledger.append(*facts, **condition)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


class Machine(RuleBasedStateMachine):
    """The model: `records` as they must stay, `held` blobs, and what the `completed` steps made."""

    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
        self.records: list[Record] = []
        self.said: list[dict[str, Any]] = []
        self.held: dict[Ref, bytes] = {}
        self.completed: dict[tuple[str, int, str | None], Ref] = {}
        self.chances: Ref | None = None
        RUNS.clear()
        self.open_both()

    def open_both(self) -> None:
        path, root = self.folder / "ledger.db", self.folder / "store"
        self.ledgers = [SQLiteLedger(path, "sums", actor=f"process:{n}") for n in (0, 1)]
        self.stores = [LocalStore(root) for _ in (0, 1)]

    def teardown(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
        shutil.rmtree(self.folder)

    # ---- the ledger ----

    @rule(process=_PROCESSES, facts=st.lists(_facts, max_size=3))
    def append(self, process: int, facts: list[Evidence]) -> None:
        assert self.ledgers[process].append(facts) == len(self.records) + len(facts)
        self.expect([Said(*stated(fact)) for fact in facts], exact=facts)

    @rule(process=_PROCESSES, fact=_facts, unless=_queries, back=st.integers(0, 6))
    def append_unless(self, process: int, fact: Evidence, unless: Query, back: int) -> None:
        after = max(0, len(self.records) - back)
        clash = next(iter(self.matching(unless, after=after)), None)
        if clash is not None:
            told = f"^{self.said[clash - 1]['kind']} was recorded at {clash}, after {after},"
            with pytest.raises(ConflictError, match=told):
                self.ledgers[process].append([fact], unless=unless, after=after)
        else:
            assert self.ledgers[process].append([fact], unless=unless, after=after) == len(self.records) + 1
            self.expect([Said(*stated(fact))], exact=[fact])

    @rule(process=_PROCESSES, fact=_facts, bad=st.sampled_from([float("nan"), 2**60, "\ud800", {1: 2}, b"bytes"]))
    def append_what_is_no_json(self, process: int, fact: Evidence, bad: Any) -> None:
        with pytest.raises((ValueError, TypeError)):
            self.ledgers[process].append([fact, Evidence("new.kind", ("new",), {"bad": bad})])

    @rule(
        process=_PROCESSES,
        query=_queries,
        after=st.integers(0, 30),
        until=st.none() | st.integers(0, 40),
        newest_first=st.booleans(),
    )
    def read(self, process: int, query: Query, after: int, until: int | None, newest_first: bool) -> None:
        found = self.ledgers[process].read(query, after=after, until=until, newest_first=newest_first)
        expected = self.matching(query, after=after, until=until)
        assert [entry.position for entry in found] == (expected[::-1] if newest_first else expected)

    @rule(target=readers, process=_PROCESSES, query=_queries, newest_first=st.booleans())
    def begin_to_read(self, process: int, query: Query, newest_first: bool) -> tuple[Iterator[Entry], list[int]]:
        expected = self.matching(query)[:: -1 if newest_first else 1]
        reading = self.ledgers[process].read(query, newest_first=newest_first)
        first = next(reading, None)
        assert (first.position if first else None) == (expected[0] if expected else None)
        return reading, expected[1:]

    @rule(reader=readers)
    def read_on(self, reader: tuple[Iterator[Entry], list[int]]) -> None:
        reading, expected = reader
        if expected:
            assert next(reading).position == expected.pop(0)
        else:
            assert next(reading, None) is None

    # ---- the store ----

    @rule(process=_PROCESSES, data=_blobs)
    def put(self, process: int, data: bytes) -> None:
        assert self.stores[process].put(io.BytesIO(data)) == ref_of(data)
        self.held[ref_of(data)] = data

    @rule(process=_PROCESSES, data=_blobs)
    def open(self, process: int, data: bytes) -> None:
        store, ref = self.stores[process], ref_of(data)
        assert store.has(ref) == (ref in self.held)
        if ref in self.held:
            assert store.open(ref).read_bytes() == data
        else:
            with pytest.raises(MissingBlobError):
                store.open(ref)

    @rule(process=_PROCESSES, which=st.integers(0, 20))
    def delete(self, process: int, which: int) -> None:
        refs = sorted(self.held) or [ref_of(b"never put")]
        ref = refs[which % len(refs)]
        self.stores[process].delete(ref)
        self.held.pop(ref, None)

    # ---- the runner ----

    @rule(process=_PROCESSES, numbers=_numbers)
    def run(self, process: int, numbers: list[int]) -> None:
        planned, ran = self.planned(numbers), Counted()
        done = execute(chain(*numbers), self.ledgers[process], self.context(process))
        assert ran.since() == sum(not cached for _, cached, _ in planned)
        self.check_done(done, planned)
        self.expect(self.done(planned))

    @rule(process=_PROCESSES, numbers=_numbers)
    def plan(self, process: int, numbers: list[int]) -> None:
        """A plan says of each step whether it would run, as far as the store that is there tells, and runs none."""
        ran = Counted()
        planned = resolve(chain(*numbers), self.ledgers[process], self.context(process))
        expected, known = [], True
        for key, _, made in self.planned(numbers):
            kept = key in self.completed and ref_of(made) in self.held
            expected.append(("cached" if kept else "run") if known else "unknown")
            known = known and key in self.completed
        assert [step.action for step in planned] == expected
        assert ran.since() == 0

    @rule(process=_PROCESSES, numbers=_numbers, after=st.integers(0, 3))
    def run_until_the_power_fails(self, process: int, numbers: list[int], after: int) -> None:
        """The step whose facts were to be recorded has put what it made; nothing of it is on record."""
        planned = self.planned(numbers)
        new = [n for n, (key, _, _) in enumerate(planned) if key not in self.completed]
        failing = Interrupting(self.ledgers[process], after, fail)
        try:
            execute(chain(*numbers), failing, self.context(process))
        except PowerFailureError:
            stopped = new[after]
            self.expect(self.done(planned[:stopped]))
            self.hold(planned[stopped][2])
            self.crash()
        else:
            assert len(new) <= after
            self.expect(self.done(planned))

    @rule(process=_PROCESSES, numbers=_numbers, after=st.integers(0, 3))
    def run_while_another_does_the_same(self, process: int, numbers: list[int], after: int) -> None:
        """The other comes first at one of the appends, and does all: what is left for this one is to confirm it."""
        planned, other = self.planned(numbers), 1 - process

        def overtake() -> None:
            execute(chain(*numbers), self.ledgers[other], self.context(other))

        overtaken = Interrupting(self.ledgers[process], after, overtake)
        done = execute(chain(*numbers), overtaken, self.context(process))
        self.check_done(done, None)
        self.expect(self.done(planned))

    @rule(process=_PROCESSES, numbers=_numbers, about_data=st.booleans())
    def run_a_step_that_fails(self, process: int, numbers: list[int], about_data: bool) -> None:
        planned = self.planned(numbers)
        steps = [*chain(*numbers), Step(Fail(about_data), {})]
        with pytest.raises(DataError if about_data else StageFailedError):
            execute(steps, self.ledgers[process], self.context(process))
        self.expect([*self.done(planned), Said("stage.failed", ("stage:fail",), {"title": "fail"})])
        log = self.stores[process].open(self.said[-1]["body"]["log"]).read_bytes()
        assert b"about to fail" in log
        self.hold(log)

    @rule(process=_PROCESSES)
    def run_a_step_that_is_not_reproducible(self, process: int) -> None:
        steps = [Step(Chance(), {})]
        if self.chances in self.held:
            (done,) = execute(steps, self.ledgers[process], self.context(process))
            assert (done.cached, done.outputs["out"]) == (True, self.chances)
        elif self.chances is None:
            (done,) = execute(steps, self.ledgers[process], self.context(process))
            self.chances = done.outputs["out"]
            self.hold(str(RUNS["chance"]).encode())
            self.expect([Said("stage.completed", (), {"outputs": {"out": self.chances}})])
        else:
            with pytest.raises(StageFailedError, match="not reproducible"):
                execute(steps, self.ledgers[process], self.context(process))
            made = self.hold(str(RUNS["chance"]).encode())
            self.expect([Said("stage.diverged", (), {"expected": {"out": self.chances}, "found": {"out": made}})])

    # ---- crashes ----

    @rule()
    def crash(self) -> None:
        """Both processes end without closing anything, and begin anew."""
        self.ledgers.clear()
        self.open_both()

    @rule(process=_PROCESSES)
    def close(self, process: int) -> None:
        self.ledgers[process].close()

    # ---- what always holds ----

    @invariant()
    def nothing_that_was_recorded_changes(self) -> None:
        for ledger in self.ledgers:
            records = list(ledger.records())
            assert records == self.records
            assert check_chain(records) == (len(records), None)
            assert [entry.position for entry in ledger.read()] == [*range(1, len(records) + 1)]

    @invariant()
    def the_store_holds_what_was_put_and_not_deleted(self) -> None:
        for store in self.stores:
            assert sorted(store.list()) == sorted(self.held)
        assert not [*(self.folder / "store" / "incoming").iterdir()]

    @invariant()
    def everything_verifies_and_only_what_was_deleted_is_missing(self) -> None:
        report = verify(self.ledgers[0], self.stores[1])
        cited = {word for entry in self.said for word in words(entry["body"]) if word.startswith("sha256:")}
        assert report.intact
        assert {found.ref for found in report.missing} == cited - set(self.held)
        assert report.blobs == len(cited & set(self.held))

    # ---- the model ----

    def context(self, process: int) -> Context:
        return Context(self.stores[process], DuckDBEngine())

    def matching(self, query: Query, *, after: int = 0, until: int | None = None) -> list[int]:
        last = len(self.said) if until is None else until
        return [
            position
            for position, entry in enumerate(self.said, start=1)
            if after < position <= last
            and (not query.kinds or entry["kind"] in query.kinds)
            and set(query.subjects) <= set(entry["subjects"])
        ]

    def planned(self, numbers: Sequence[int]) -> list[Planned]:
        """What a chain of these numbers would do now."""
        steps, total, before, held = list[Planned](), 0, None, set(self.held)
        for label, number in zip("abcd", numbers, strict=False):
            total += number
            made, key = str(total).encode(), (label, number, before)
            steps.append(Planned(key, key in self.completed and ref_of(made) in held, made))
            before = ref_of(made)
            held.add(before)
        return steps

    def check_done(self, done: Sequence[Done], planned: Sequence[Planned] | None) -> None:
        for step in done:
            total = int(self.stores[0].open(step.outputs["sum"]).read_text())
            assert self.stores[1].has(step.outputs["sum"]), total
        if planned is not None:
            assert [(step.cached, step.outputs["sum"]) for step in done] == [
                (cached, ref_of(made)) for _, cached, made in planned
            ]

    def done(self, planned: Sequence[Planned]) -> list[Said]:
        """Hold what steps made; what is recorded of them."""
        expected = []
        for key, _, made in planned:
            ref = self.hold(made)
            if key not in self.completed:
                self.completed[key] = ref
                expected.append(Said("sum.found", (), {"sum": int(made)}))
                expected.append(Said("stage.completed", (), {"title": f"add {key[0]}", "outputs": {"sum": ref}}))
        return expected

    def hold(self, data: bytes) -> Ref:
        self.held[ref_of(data)] = data
        return ref_of(data)

    def expect(self, expected: Sequence[Said], exact: Sequence[Evidence] = ()) -> None:
        """Take what was recorded since for part of the model, if it is what was expected."""
        new = list(self.ledgers[0].records(after=len(self.records)))
        said = [json.loads(record.content) for record in new]
        assert [entry["kind"] for entry in said] == [fact.kind for fact in expected]
        for entry, fact in zip(said, expected, strict=True):
            assert set(fact.subjects) <= set(entry["subjects"])
            assert {name: entry["body"].get(name) for name in fact.body} == fact.body
        for entry, exactly in zip(said, exact, strict=False):
            assert (entry["subjects"], entry["version"]) == (sorted(set(exactly.subjects)), exactly.version)
            assert entry["body"] == exactly.body
        self.records += new
        self.said += said


class Counted:
    """How many steps have run since."""

    def __init__(self) -> None:
        self._before = RUNS.total()

    def since(self) -> int:
        return RUNS.total() - self._before


def stated(fact: Evidence) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
    return fact.kind, fact.subjects, fact.body


def fail() -> None:
    raise PowerFailureError


def words(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (word for item in value.items() for part in item for word in words(part))
    elif isinstance(value, list):
        yield from (word for item in value for word in words(item))


@pytest.mark.parametrize(
    ("examples", "steps"), [(25, 25), pytest.param(400, 50, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_ledger_store_and_runner_do_what_a_model_does(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=steps == 25,
            suppress_health_check=[*HealthCheck],
        ),
    )
