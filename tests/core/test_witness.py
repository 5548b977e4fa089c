"""The witnessed head: written after a commit, never torn, never behind itself, and what it shows of a chain that was cut."""

from __future__ import annotations

import gc
import inspect
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterling.core import durable
from sterling.core.durable import locked
from sterling.core.errors import ConflictError, SignatureError, StorageError, TamperedLedgerError
from sterling.core.evidence import Evidence, Query
from sterling.core.ledger import Awaited, Chained, ChainInfo
from sterling.core.signing import KeyFile, make_key
from sterling.core.sqlite import SQLiteLedger
from sterling.core.witness import ChainedLedger, Head, Heads, HeadVerdict, Kept, WitnessedLedger, check_head
from sterling.testing import FixedClock, LedgerContract
from sterling.testing.ledger import COPY

CHAIN = ChainInfo("00c0ffee", "flights", "2026-01-01T00:00:00.000000Z")
AT = "2026-03-01T12:00:00.000000Z"
CUT = """
DROP TRIGGER IF EXISTS records_are_kept; DELETE FROM record WHERE (id & 1023) > {0};
DELETE FROM label WHERE (record & 1023) > {0}
"""
WRITE_FOR_EVER = """
import sys
from pathlib import Path
from sterling.core.signing import KeyFile
from sterling.core.witness import ChainedLedger, Head, Heads
heads = Heads(Path(sys.argv[1]), KeyFile(Path(sys.argv[2])))
for count in range(int(sys.argv[3]), 10**9):
    heads.write(Head("00c0ffee", "flights", count, count.to_bytes(32, "big"), "now"), lambda at: at.to_bytes(32, "big"))
    print(count, flush=True)
"""
APPEND_AND_END = """
import os, sys
from pathlib import Path
from sterling.core.evidence import Evidence
from sterling.core.signing import KeyFile
from sterling.core.sqlite import SQLiteLedger
from sterling.core.witness import Heads, WitnessedLedger
home = Path(sys.argv[1])
ledger = WitnessedLedger(SQLiteLedger(home / "ledger.db", "flights"), Heads(home / "heads", KeyFile(home / "signing.key")))
for _ in range(5):
    ledger.append([Evidence("a.happened")])
exec(sys.argv[2])
"""


class Ticks:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def heads(tmp_path: Path) -> Heads:
    return Heads(tmp_path / "heads", KeyFile(tmp_path / "signing.key"))


@pytest.fixture
def inner(tmp_path: Path) -> SQLiteLedger:
    return SQLiteLedger(tmp_path / "ledger.db", "flights", clock=FixedClock())


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def ledger(inner: SQLiteLedger, heads: Heads, ticks: Ticks) -> WitnessedLedger:
    return WitnessedLedger(inner, heads, monotonic=ticks)


class TestWitnessedLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, inner: SQLiteLedger, heads: Heads) -> WitnessedLedger:
        return WitnessedLedger(inner, heads)

    @pytest.fixture
    def copy(self, tmp_path: Path, heads: Heads) -> WitnessedLedger:
        return WitnessedLedger(SQLiteLedger(tmp_path / "ledger.db", "contract", chain=COPY), heads)


def facts(count: int) -> list[Evidence]:
    return [Evidence("a.happened", body={"n": n}) for n in range(count)]


def digest(position: int) -> bytes:
    return position.to_bytes(32, "big")


def head(count: int, *, chain: ChainInfo = CHAIN) -> Head:
    return Head(chain.id, chain.project, count, digest(count), AT)


def tamper(path: Path, script: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(script)
    db.close()


def verdict(ledger: WitnessedLedger, heads: Heads) -> HeadVerdict:
    return check_head(heads.newest(ledger.chain), ledger)


def test_a_head_that_was_written_is_read_back_with_its_signature_checked(heads: Heads, tmp_path: Path) -> None:
    assert heads.newest(CHAIN) == Kept()
    assert heads.write(head(3), digest)
    assert heads.newest(CHAIN) == Kept(head(3))
    written = (tmp_path / "heads" / CHAIN.id).read_text()
    assert written.startswith("sterling head v1\nchain 00c0ffee\nproject flights\ncount 3\n")
    assert "\n\n— sterling/flights/00c0ffee " in written


@given(count=st.integers(1, 10**12), digest=st.binary(min_size=32, max_size=32))
def test_a_head_reads_back_as_it_was(count: int, digest: bytes) -> None:
    whole = Head("a", "b", count, digest, AT)
    assert Head.parse(whole.text) == whole


def test_a_checkpoint_does_not_pass_for_a_head() -> None:
    for text in ("sterling/flights/a\n3\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", head(3).text[:-1], ""):
        with pytest.raises(SignatureError, match="This is no head of a chain"):
            Head.parse(text)


def test_an_older_head_never_replaces_a_newer_one(heads: Heads) -> None:
    heads.write(head(7), digest)
    assert heads.write(head(3), digest)
    assert heads.newest(CHAIN).head == head(7)
    assert heads.write(head(8), digest)
    assert heads.newest(CHAIN).head == head(8)


def test_chains_do_not_share_a_head(heads: Heads) -> None:
    other = CHAIN._replace(id="beef")
    heads.write(head(7), digest)
    heads.write(head(2, chain=other), digest)
    assert (heads.newest(CHAIN).head, heads.newest(other).head) == (head(7), head(2, chain=other))


def test_a_head_that_the_chain_does_not_continue_is_kept(heads: Heads) -> None:
    heads.write(head(7), digest)
    with pytest.raises(TamperedLedgerError, match=r"does not continue the head in .*00c0ffee, which is kept"):
        heads.write(head(9), lambda _: bytes(32))
    with pytest.raises(TamperedLedgerError, match="does not continue"):
        heads.write(head(5), lambda _: None)
    assert heads.newest(CHAIN).head == head(7)


def test_a_name_that_leads_out_of_the_folder_is_refused(heads: Heads) -> None:
    for name in ("../ledger", "", "a/b", ".lock"):
        with pytest.raises(StorageError, match="is no id of a chain"):
            heads.newest(CHAIN._replace(id=name))


def test_processes_that_write_at_once_leave_the_newest(tmp_path: Path) -> None:
    make_key(tmp_path / "signing.key")
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path / "heads"), str(tmp_path / "signing.key")]
    running = [subprocess.Popen([*command, str(first)], stdout=subprocess.PIPE, text=True) for first in (1, 500, 1_000)]
    for process in running:
        assert process.stdout
        assert process.stdout.readline()
    time.sleep(0.2)
    for process in running:
        process.kill()
    said = [process.communicate()[0].split() for process in running]
    newest = Heads(tmp_path / "heads", KeyFile(tmp_path / "signing.key")).newest(CHAIN).head
    assert newest
    assert newest.count >= max(int(count) for lines in said for count in lines)


def test_a_writer_that_is_killed_anywhere_leaves_a_whole_head(tmp_path: Path) -> None:
    heads = Heads(tmp_path / "heads", KeyFile(tmp_path / "signing.key"))
    count = 0
    for wait_ms in (1, 3, 5, 8, 13):
        command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path / "heads"), str(tmp_path / "signing.key")]
        with subprocess.Popen([*command, str(count + 1)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            written = int(process.stdout.readline())
            time.sleep(wait_ms / 1000)
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split("\n")[:-1]  # without the line that the kill cut off
        kept = heads.newest(CHAIN)
        assert kept.head
        assert kept.head.count >= max([written, *map(int, rest)])
        count = kept.head.count
    heads.write(head(count + 1), digest)
    assert {path.name for path in (tmp_path / "heads").iterdir()} == {".lock", CHAIN.id}


@pytest.mark.parametrize("step", ["fsync", "fchmod", "replace", "sync_folder"])
def test_a_head_that_fails_at_any_step_leaves_the_one_before(
    heads: Heads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    heads.write(head(3), digest)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr({"replace": Path, "sync_folder": durable}.get(step, os), step, fails)
        with pytest.raises(StorageError, match=r"cannot be written: No space left"):
            heads.write(head(4), digest)
    assert heads.newest(CHAIN).head in {head(3), head(4)}
    assert {path.name for path in (tmp_path / "heads").iterdir()} == {".lock", CHAIN.id}
    assert heads.write(head(5), digest)
    assert heads.newest(CHAIN).head == head(5)


@given(data=st.data())
def test_no_part_of_a_head_is_believed(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "torn"
    heads = Heads(folder / "heads", KeyFile(folder / "signing.key"))
    path = folder / "heads" / CHAIN.id
    if not path.exists():
        heads.write(head(3), digest)
    whole = path.read_bytes()
    torn = data.draw(
        st.integers(0, len(whole) - 1).map(lambda n: whole[:n])
        | st.integers(0, len(whole) - 1).map(lambda n: whole[:n] + bytes(len(whole) - n))
        | st.integers(0, 8 * len(whole) - 1).map(lambda bit: flipped(whole, bit))
    )
    path.write_bytes(torn)
    try:
        kept = heads.newest(CHAIN)
        assert kept.head is None
        assert kept.fault
    finally:
        path.write_bytes(whole)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_the_head_is_written_at_the_first_append_then_once_a_second_and_in_the_end(
    ledger: WitnessedLedger, heads: Heads, ticks: Ticks
) -> None:
    counts = []
    for passed in (0.0, 0.3, 0.6, 0.2, 5.0, 0.9):
        ticks.now += passed
        ledger.append(facts(2))
        kept = heads.newest(ledger.chain).head
        assert kept
        counts.append(kept.count)
    assert counts == [2, 2, 2, 8, 10, 10]
    ledger.close()
    assert verdict(ledger, heads).state == "witnessed"
    assert heads.newest(ledger.chain).head == Head(
        ledger.chain.id, "flights", 12, list(ledger.records())[-1].digest, kept_at(ledger, heads)
    )


def kept_at(ledger: WitnessedLedger, heads: Heads) -> str:
    kept = heads.newest(ledger.chain).head
    assert kept
    assert datetime.fromisoformat(kept.at) > datetime.now(UTC) - timedelta(minutes=5)
    return kept.at


def test_an_append_that_was_refused_or_empty_writes_no_head(ledger: WitnessedLedger, heads: Heads) -> None:
    ledger.append([])
    assert heads.newest(ledger.chain) == Kept()
    ledger.append(facts(1))
    with pytest.raises(ConflictError):
        ledger.append(facts(1), unless=Query(("a.happened",)))
    ledger.close()
    assert verdict(ledger, heads).last == 1


def test_a_ledger_that_is_let_go_writes_what_was_left(inner: SQLiteLedger, heads: Heads, ticks: Ticks) -> None:
    ledger = WitnessedLedger(inner, heads, monotonic=ticks)
    ledger.append(facts(1))
    ledger.append(facts(1))
    del ledger
    gc.collect()
    kept = heads.newest(inner.chain).head
    assert kept
    assert kept.count == 2


@pytest.mark.parametrize(
    ("ending", "state", "witnessed"),
    [
        ("", "witnessed", 5),
        ("raise SystemExit(3)", "witnessed", 5),
        ("os._exit(0)", "behind", 1),
        ("os.kill(os.getpid(), 9)", "behind", 1),
        ("pid = os.fork()\nif pid: os.waitpid(pid, 0); os._exit(0)", "behind", 1),  # the child ends as a program does
        ("pid = os.fork()\nif pid: os.waitpid(pid, 0); os._exit(0)\nledger.append([Evidence('b')])", "witnessed", 6),
    ],
)
def test_the_process_that_appended_writes_the_head_when_it_ends(
    tmp_path: Path, heads: Heads, ending: str, state: str, witnessed: int
) -> None:
    subprocess.run([sys.executable, "-c", APPEND_AND_END, str(tmp_path), ending], check=False, timeout=60)
    ledger = WitnessedLedger(SQLiteLedger(tmp_path / "ledger.db", "flights"), heads)
    found = verdict(ledger, heads)
    assert found.head
    assert (found.state, found.head.count) == (state, witnessed)


def test_a_head_that_cannot_be_written_undoes_nothing_and_is_said_once(
    read_only_folder: Path, ticks: Ticks, caplog: pytest.LogCaptureFixture
) -> None:
    heads = Heads(read_only_folder / "heads", KeyFile(read_only_folder / "signing.key"))
    with tempfile.TemporaryDirectory() as writable:
        inner = SQLiteLedger(Path(writable) / "ledger.db", "flights")
        ledger = WitnessedLedger(inner, heads, monotonic=ticks)
        for _ in range(3):
            ticks.now += 2
            ledger.append(facts(1))
        ledger.close()
        assert len(list(ledger.read())) == 3
        assert verdict(ledger, heads).state == "none"
        ledger.close()
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith("Entry 1 is recorded, but not yet witnessed by a head. The head ")
    assert said.endswith("cannot be written: Permission denied.")


def test_a_named_key_that_is_missing_is_not_made_and_is_said(
    inner: SQLiteLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heads = Heads(tmp_path / "heads", KeyFile(tmp_path / "elsewhere.key", named=True))
    WitnessedLedger(inner, heads).append(facts(1))
    assert "which STERLING_KEY names. `sterling key` makes it" in caplog.text
    assert not (tmp_path / "elsewhere.key").exists()


def test_a_head_that_another_process_is_writing_is_written_later(
    ledger: WitnessedLedger, heads: Heads, ticks: Ticks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(tmp_path / "heads" / ".lock", 0):
        ledger.append(facts(1))
    assert (verdict(ledger, heads).state, caplog.text) == ("none", "")
    ticks.now += 1
    ledger.append(facts(1))
    assert verdict(ledger, heads).state == "witnessed"


def test_what_a_cut_and_a_new_entry_leave_does_not_replace_the_head(
    ledger: WitnessedLedger, heads: Heads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.append(facts(5))
    ledger.close()
    tamper(tmp_path / "ledger.db", CUT.format(3))
    again = WitnessedLedger(SQLiteLedger(tmp_path / "ledger.db", "flights"), heads)
    again.append(facts(4))  # longer than it was
    again.close()
    assert "The chain does not continue the head in" in caplog.text
    found = verdict(again, heads)
    assert (found.state, found.last, found.holds) == ("rewritten", 7, False)
    assert found.reason.startswith("Entry 5 is not the one that the head of ")
    assert found.reason.endswith(" saw: the chain was rewritten at or before it.")


def test_a_cut_tail_is_found_with_its_length(ledger: WitnessedLedger, heads: Heads, tmp_path: Path) -> None:
    ledger.append(facts(7))
    ledger.close()
    for left, missing in ((6, "1 entry is"), (2, "5 entries are"), (0, "7 entries are")):
        tamper(tmp_path / "ledger.db", CUT.format(left))
        found = verdict(ledger, heads)
        assert (found.state, found.last, found.holds) == ("cut", left, False)
        assert found.reason.startswith(f"The tail was cut: {missing} missing after position {left}; the head of ")
        assert found.reason.endswith(" saw 7.")


def test_entries_behind_the_head_are_not_yet_witnessed(
    ledger: WitnessedLedger, inner: SQLiteLedger, heads: Heads
) -> None:
    ledger.append(facts(2))
    inner.append(facts(1))
    assert verdict(ledger, heads).reason.startswith("Entry 3 is not yet witnessed; the head of ")
    inner.append(facts(1))
    found = verdict(ledger, heads)
    assert (found.state, found.holds) == ("behind", True)
    assert found.reason.startswith("Entries 3 to 4 are not yet witnessed; the head of ")


def test_a_chain_without_a_head_says_so(inner: SQLiteLedger, heads: Heads) -> None:
    inner.append(facts(2))
    found = check_head(heads.newest(inner.chain), inner)
    assert found == HeadVerdict("none", "No head is kept of this chain, so that a cut tail would not show.", None, 2)
    assert found.holds


def test_a_head_of_another_key_is_not_believed_and_not_replaced(
    ledger: WitnessedLedger, heads: Heads, ticks: Ticks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.append(facts(2))
    name = f"sterling/flights/{ledger.chain.id}"
    old = make_key(tmp_path / "signing.key").verifier(name)
    (tmp_path / "signing.key").unlink()
    make_key(tmp_path / "signing.key")
    found = verdict(ledger, heads)
    assert (found.state, found.holds) == ("unproven", False)
    assert (
        f"is signed with another key, {name}+{old.id.hex()}, than the one in {tmp_path / 'signing.key'}" in found.reason
    )
    ticks.now += 9
    ledger.append(facts(1))
    assert "is signed with another key" in caplog.text
    assert check_head(heads.newest(ledger.chain, [old]), ledger).state == "behind"


def test_a_head_whose_key_is_gone_is_not_believed(ledger: WitnessedLedger, heads: Heads, tmp_path: Path) -> None:
    ledger.append(facts(2))
    (tmp_path / "signing.key").unlink()
    assert verdict(ledger, heads).state == "unproven"
    assert not (tmp_path / "signing.key").exists()


def test_a_forged_head_is_not_believed(ledger: WitnessedLedger, heads: Heads, tmp_path: Path) -> None:
    ledger.append(facts(3))
    path = tmp_path / "heads" / ledger.chain.id
    path.write_text(path.read_text().replace("count 3", "count 2"))
    found = verdict(ledger, heads)
    assert found.state == "unproven"
    assert found.reason.startswith(f"The head in {path} cannot be believed. The signature of sterling/flights/")


def test_the_head_of_another_chain_in_its_place_is_not_believed(
    ledger: WitnessedLedger, heads: Heads, tmp_path: Path
) -> None:
    ledger.append(facts(1))
    heads.write(head(1), digest)
    (tmp_path / "heads" / CHAIN.id).replace(tmp_path / "heads" / ledger.chain.id)
    assert "is of another chain, 00c0ffee of flights" in verdict(ledger, heads).reason


def test_a_ledger_whose_last_entry_cannot_be_read_is_held_against_its_head(
    ledger: WitnessedLedger, heads: Heads, tmp_path: Path
) -> None:
    ledger.append(facts(3))
    tamper(
        tmp_path / "ledger.db",
        "DROP TRIGGER records_stay; UPDATE record SET content = 'x', digest = zeroblob(32) WHERE (id & 1023) = 3",
    )
    found = verdict(ledger, heads)
    assert (found.state, found.last) == ("rewritten", 3)


def test_a_ledger_that_is_damaged_before_its_head_is_not_proven(
    ledger: WitnessedLedger, heads: Heads, tmp_path: Path
) -> None:
    ledger.append([Evidence("a.happened", body={"x": "y" * 500})] * 200)
    ledger.close()
    path = tmp_path / "ledger.db"
    data = path.read_bytes()
    path.write_bytes(data[: 4096 * 8] + b"\xff" * (len(data) - 4096 * 8))
    found = verdict(ledger, heads)
    assert (found.state, found.holds) == ("unproven", False)
    assert found.reason.startswith("The chain cannot be read as far as its head. ")


def test_a_wrapped_ledger_is_what_the_ledger_in_it_is(ledger: WitnessedLedger, inner: SQLiteLedger) -> None:
    whole: ChainedLedger = ledger
    assert isinstance(whole, Chained)
    for name in vars(Chained) | vars(Awaited):
        assert name.startswith("_") or inspect.getattr_static(ledger, name)  # how later versions of Python look
    assert isinstance(ledger, Awaited)
    assert ledger.chain == inner.chain
    assert (list(ledger.index()), ledger.wait(0, 0.0), repr(ledger)) == ([], False, repr(inner))
    assert ledger.chains(Path("nowhere")) == ()
    with pytest.raises(AttributeError, match="renumber"):
        ledger.renumber  # noqa: B018
    with ledger as entered:
        assert entered is ledger


def test_a_copy_is_witnessed_as_it_is_continued(inner: SQLiteLedger, heads: Heads, tmp_path: Path) -> None:
    inner.append(facts(3))
    copied = SQLiteLedger(tmp_path / "team.db", "flights", chain=inner.chain._replace(copied=True))
    copy = WitnessedLedger(copied, heads)
    assert copy.extend(list(inner.records())) == 3
    assert verdict(copy, heads).state == "witnessed"
    assert check_head(heads.newest(inner.chain), inner).state == "witnessed"
