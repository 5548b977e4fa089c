"""What every ledger must do: subclass :class:`LedgerContract`, give it a ledger, run pytest."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterling.core.canonical import canonical
from sterling.core.errors import ConflictError, NewerKindError, StorageError, TamperedLedgerError
from sterling.core.evidence import GENESIS, Evidence, Query
from sterling.core.ledger import ChainInfo, Ledger, chained, check_chain, follow
from sterling.core.walk import check_index

_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]  # one history grows on one ledger
COPY = ChainInfo("0123456789abcdef", "contract", "2026-01-01T00:00:00.000000Z", copied=True)
_words = st.text(max_size=8)
_bodies = st.dictionaries(
    _words, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _words | st.lists(_words, max_size=3), max_size=4
)  # fmt: skip
_facts = st.builds(
    Evidence,
    kind=st.sampled_from(["data.judged", "model.pondered", "gate.opened"]) | _words,
    subjects=st.lists(_words, max_size=3).map(tuple),
    body=_bodies,
    version=st.integers(1, 3),
)


class LedgerContract:
    """Behaviour that all ledgers share.

    Example:
        A subclass supplies an empty ledger, and beside it an empty copy, as `COPY` says it::

            class TestPostgresLedger(LedgerContract):
                @pytest.fixture
                def ledger(self, postgres_url):
                    return connect_ledger(postgres_url, "contract")

                @pytest.fixture
                def copy(self, postgres_url):
                    return connect_ledger(postgres_url, "contract", chain=COPY)
    """

    @pytest.fixture
    def ledger(self) -> Ledger:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture 'ledger' that gives an empty ledger.")

    @pytest.fixture
    def copy(self) -> Ledger:
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture 'copy' that gives an empty copy, as COPY says."
        )

    def test_a_new_ledger_is_empty(self, ledger: Ledger) -> None:
        assert list(ledger.read()) == []
        assert next(ledger.read(newest_first=True), None) is None
        assert ledger.append([]) == 0

    def test_it_reads_back_what_was_appended_in_order(self, ledger: Ledger) -> None:
        facts = [Evidence("data.snapshotted", ("b", "a", "b"), {"rows": 3}), Evidence("model.pondered", version=2)]
        assert ledger.append(facts) == 2
        assert [entry.evidence for entry in ledger.read()] == [
            Evidence("data.snapshotted", ("a", "b"), {"rows": 3}),
            Evidence("model.pondered", version=2),
        ]

    def test_positions_are_dense_from_one(self, ledger: Ledger) -> None:
        heads = [ledger.append([Evidence("a.happened")] * n) for n in (2, 1, 0, 3)]
        assert heads == [2, 3, 3, 6]
        assert [entry.position for entry in ledger.read()] == [1, 2, 3, 4, 5, 6]

    def test_each_entry_is_chained_to_the_one_before(self, ledger: Ledger) -> None:
        ledger.append([Evidence("a.happened"), Evidence("b.happened", body={"x": 0.1})])
        first, second = chained(ledger).records()
        assert (first.previous, second.previous) == (GENESIS, first.digest)
        assert first.holds()
        assert second.holds()
        assert [entry.digest for entry in ledger.read()] == [first.digest.hex(), second.digest.hex()]

    def test_a_record_says_who_recorded_what_and_where_in_canonical_json(self, ledger: Ledger) -> None:
        ledger.append([Evidence("a.happened", ("s", "r"), {"x": 1.0})])
        (record,), (entry,) = chained(ledger).records(), ledger.read()
        assert record.content == canonical({
            "actor": entry.actor, "attestor": entry.attestor, "body": {"x": 1}, "kind": "a.happened", "position": 1,
            "recorded_at": entry.recorded_at, "subjects": ["r", "s"], "version": 1,
        })  # fmt: skip

    def test_the_newest_entry_comes_first_when_asked_for(self, ledger: Ledger) -> None:
        ledger.append([Evidence(f"kind.{n}") for n in range(50)])
        assert [entry.position for entry in ledger.read(newest_first=True)] == [*range(50, 0, -1)]
        assert [entry.position for entry in ledger.read(after=47, newest_first=True)] == [50, 49, 48]

    def test_reading_goes_on_after_a_position(self, ledger: Ledger) -> None:
        ledger.append([Evidence(f"kind.{n}") for n in range(50)])
        assert [entry.kind for entry in ledger.read(after=48)] == ["kind.48", "kind.49"]
        assert list(ledger.read(after=50)) == []

    def test_reading_stops_at_a_position(self, ledger: Ledger) -> None:
        ledger.append([Evidence(f"kind.{n % 3}", ("s",)) for n in range(50)])
        assert [entry.position for entry in ledger.read(after=10, until=13)] == [11, 12, 13]
        assert [entry.position for entry in ledger.read(until=3, newest_first=True)] == [3, 2, 1]
        assert [entry.position for entry in ledger.read(Query(("kind.0", "kind.1"), ("s",)), until=5)] == [1, 2, 4, 5]
        assert [entry.position for entry in ledger.read(Query(("kind.0",)), until=48, newest_first=True)][:2] == [
            46,
            43,
        ]
        assert [record.position for record in chained(ledger).records(after=47, until=49)] == [48, 49]
        assert len(list(ledger.read(until=99))) == 50

    def test_a_query_wants_any_of_the_kinds_and_all_of_the_subjects(self, ledger: Ledger) -> None:
        ledger.append([
            Evidence("k.done", ("a", "b")), Evidence("k.done", ("a",)), Evidence("j.done", ("b", "a")), Evidence("i.done"),
        ])  # fmt: skip
        found = {
            query: [entry.position for entry in ledger.read(query)]
            for query in [
                Query(("k.done",), ("a", "b")), Query(("k.done", "i.done")), Query((), ("a",)), Query((), ("b", "a")),
                Query(), Query(("k.done", "j.done"), ("b",)), Query(("unheard.of",)), Query((), ("unheard of",)),
            ]
        }  # fmt: skip
        assert list(found.values()) == [[1], [1, 2, 4], [1, 2, 3], [1, 3], [1, 2, 3, 4], [1, 3], [], []]

    @settings(max_examples=30, deadline=None, suppress_health_check=_SHARED)
    @given(facts=st.lists(_facts, max_size=8), data=st.data())
    def test_any_history_reads_back_verifies_and_is_found(
        self, ledger: Ledger, facts: list[Evidence], data: st.DataObject
    ) -> None:
        after = ledger.append([])
        ledger.append(facts)
        read = [entry.evidence for entry in ledger.read(after=after)]
        assert [_document(fact) for fact in read] == [_document(fact) for fact in facts]
        assert check_chain(chained(ledger).records()) == (after + len(facts), None)
        assert check_index(chained(ledger)) is None
        kinds = data.draw(st.lists(st.sampled_from([fact.kind for fact in facts] or ["none"]), max_size=2))
        subjects = data.draw(
            st.lists(st.sampled_from([s for fact in facts for s in fact.subjects] or ["none"]), max_size=2)
        )
        query = Query(tuple(kinds), tuple(subjects))
        expected = [n for n, fact in enumerate(facts, start=after + 1) if _matches(fact, query)]
        assert [entry.position for entry in ledger.read(query, after=after)] == expected
        assert [entry.position for entry in ledger.read(query, after=after, newest_first=True)] == expected[::-1]

    def test_a_decision_based_on_old_evidence_is_refused(self, ledger: Ledger) -> None:
        seen = ledger.append([Evidence("gate.judged", ("release:7",))])
        ledger.append([Evidence("approval.revoked", ("release:7",))])
        revoked = Query(("approval.revoked",), ("release:7",))
        with pytest.raises(ConflictError, match=r"approval.revoked was recorded at 2, after 1"):
            ledger.append([Evidence("release.promoted", ("release:7",))], unless=revoked, after=seen)
        assert len(list(ledger.read())) == 2

    def test_a_decision_that_nothing_contradicts_is_recorded(self, ledger: Ledger) -> None:
        ledger.append([Evidence("approval.revoked", ("release:7",))])
        seen = ledger.append([Evidence("approval.given", ("release:7",)), Evidence("approval.revoked", ("release:8",))])
        revoked = Query(("approval.revoked",), ("release:7",))
        assert ledger.append([Evidence("release.promoted", ("release:7",))], unless=revoked, after=seen) == 4

    @pytest.mark.parametrize("bad", [float("nan"), 2**60, "\ud800"])
    def test_a_failed_append_leaves_nothing_behind(self, ledger: Ledger, bad: Any) -> None:
        with pytest.raises(ValueError, match=r"no JSON number|beyond|surrogate"):
            ledger.append([Evidence("fine.happened", ("s",)), Evidence("bad.happened", ("s",), {"x": bad})])
        assert list(ledger.read()) == list(ledger.read(Query((), ("s",)))) == []
        assert ledger.append([Evidence("fine.happened")]) == 1

    def test_a_number_that_json_writes_as_a_long_integer_still_verifies(self, ledger: Ledger) -> None:
        ledger.append([Evidence("metric.measured", body={"rows": 1.2345678901234567e20, "value": 1e300, "zero": -0.0})])
        assert check_chain(chained(ledger).records()) == (1, None)

    def test_a_reader_that_stops_halfway_holds_nobody_up(self, ledger: Ledger) -> None:
        ledger.append([Evidence("a.happened")] * 20)
        halfway = ledger.read()
        assert next(halfway).position == 1
        assert ledger.append([Evidence("b.happened")]) == 21
        assert [entry.position for entry in halfway] == [*range(2, 21)]

    def test_appending_while_reading_does_not_feed_the_reader(self, ledger: Ledger) -> None:
        ledger.append([Evidence("a.happened")] * 3)
        for entry in ledger.read():
            ledger.append([Evidence("echo.heard", body={"of": entry.position})])
        assert ledger.append([]) == 6

    def test_threads_that_append_and_read_at_once_lose_nothing(self, ledger: Ledger) -> None:
        start = threading.Barrier(4)

        def work(name: int) -> None:
            start.wait()
            for n in range(8):
                ledger.append([Evidence("a.happened", (f"thread:{name}",), {"n": n}), Evidence("b.happened")])
                assert check_chain(chained(ledger).records())[1] is None

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert check_chain(chained(ledger).records()) == (64, None)
        for name in range(4):
            mine = list(ledger.read(Query((), (f"thread:{name}",))))
            assert [entry.body["n"] for entry in mine] == [*range(8)]

    def test_what_a_later_version_recorded_is_refused_and_an_unknown_kind_is_not(self, ledger: Ledger) -> None:
        ledger.append([Evidence("model.pondered", version=9), Evidence("model.trained", version=9)])
        reading = ledger.read()
        assert next(reading).evidence.version == 9
        with pytest.raises(
            NewerKindError, match=r"Entry 2 is version 9 of model.trained; this Sterling knows version 1"
        ):
            next(reading)

    def test_a_follower_sees_what_is_appended_while_it_waits(self, ledger: Ledger) -> None:
        ledger.append([Evidence("a.happened"), Evidence("b.happened")])
        following = follow(ledger, Query(("b.happened",)))
        assert next(following).position == 2
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(next, following)
            ledger.append([Evidence("a.happened")])
            ledger.append([Evidence("b.happened")])
            assert waiting.result(timeout=30).position == 4

    def test_a_copy_is_the_same_byte_for_byte(self, ledger: Ledger, copy: Ledger) -> None:
        ledger.append([Evidence("a.happened", ("s",)), Evidence("b.happened", ("s", "t"))])
        ledger.append([Evidence("a.happened", ("s",), {"x": 0.5})])
        assert chained(copy).extend(chained(ledger).records(until=2)) == 2
        assert chained(copy).extend(chained(ledger).records(after=2)) == 3
        assert list(chained(copy).records()) == list(chained(ledger).records())
        assert list(copy.read(Query(("a.happened",), ("s",)))) == list(ledger.read(Query(("a.happened",), ("s",))))
        assert check_index(chained(copy)) is None

    def test_what_does_not_follow_is_not_copied(self, ledger: Ledger, copy: Ledger) -> None:
        ledger.append([Evidence("a.happened")] * 4)
        first, second, third, _ = chained(ledger).records()
        forged = second._replace(content=second.content.replace(b"a.happened", b"b.happened"))
        for records in [[second], [first, third], [first, forged], [first, second, second]]:
            with pytest.raises(TamperedLedgerError, match="does not follow entry"):
                chained(copy).extend(records)
        assert list(copy.read()) == []

    def test_a_copy_is_not_appended_to_and_an_own_chain_not_copied_into(self, ledger: Ledger, copy: Ledger) -> None:
        ledger.append([Evidence("a.happened")])
        with pytest.raises(StorageError, match="is a copy of one that is kept elsewhere"):
            copy.append([Evidence("b.happened")])
        with pytest.raises(StorageError, match="was begun here"):
            chained(ledger).extend([])


def _document(fact: Evidence) -> bytes:
    return canonical([fact.kind, sorted(set(fact.subjects)), fact.body, fact.version])


def _matches(fact: Evidence, query: Query) -> bool:
    return (not query.kinds or fact.kind in query.kinds) and set(query.subjects) <= set(fact.subjects)
