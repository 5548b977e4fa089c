"""A thousand random edits behind our back: each is found and located, by the chain, its head, or an anchor elsewhere."""

from __future__ import annotations

import io
import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sterling.core.anchor import AnchorReport, FileAnchors, compare
from sterling.core.checkpoint import Checkpoint, origin
from sterling.core.evidence import Evidence, Record, Writer
from sterling.core.merkle import tree_head
from sterling.core.refs import Ref
from sterling.core.signing import KeyFile
from sterling.core.sqlite import SQLiteLedger
from sterling.core.sqlite_schema import first_id
from sterling.core.store import LocalStore
from sterling.core.verify import VerifyReport, verify
from sterling.core.witness import Heads, HeadVerdict, WitnessedLedger, check_head

LENGTH, OLDER = 40, 25
PROJECT, OTHER = "flights", "churn"
UNLOCK = "DROP TRIGGER records_stay; DROP TRIGGER records_are_kept;"


@dataclass(frozen=True)
class Found:
    """What all three say about a workspace."""

    report: VerifyReport
    head: HeadVerdict
    anchors: AnchorReport

    @property
    def position(self) -> int | None:
        """The first position that the chain or its indexes name."""
        return self.report.broken.position if self.report.broken else None

    @property
    def holds(self) -> bool:
        return self.report.intact and not self.report.missing and self.head.holds and self.anchors.holds


Check = Callable[[Found], object]


class Place:
    """A workspace with a ledger, a store and heads; beside it an anchor, and what it all was at an earlier moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path, self.anchor = folder / "ledger.db", folder / "elsewhere" / "anchor.txt"
        self.store = LocalStore(folder / "store")
        self.key = KeyFile(folder / "signing.key")
        self.heads = Heads(folder / "heads", self.key)

    def ledger(self, project: str = PROJECT) -> WitnessedLedger:
        return WitnessedLedger(SQLiteLedger(self.path, project), self.heads)

    def make(self) -> None:
        for project in (PROJECT, OTHER):
            with self.ledger(project) as ledger:
                ledger.append(self._facts(project, 0, OLDER))
        self.anchored()
        shutil.copytree(self.folder, self.folder / "older")
        for project in (PROJECT, OTHER):
            with self.ledger(project) as ledger:
                ledger.append(self._facts(project, OLDER, LENGTH))
        self.anchored()

    def anchored(self) -> None:
        with self.ledger() as ledger:
            contents = [record.content for record in ledger.records()]
            name = origin(PROJECT, ledger.chain.id)
        checkpoint = Checkpoint(name, len(contents), tree_head(contents))
        self.anchor.parent.mkdir(exist_ok=True)
        FileAnchors(self.anchor).write(checkpoint.signed(self.key.need()))

    def look(self) -> Found:
        with self.ledger() as ledger:
            kept = self.heads.newest(ledger.chain)
            report, head = verify(ledger, self.store), check_head(kept, ledger)
            name = origin(PROJECT, ledger.chain.id)
            last = head.last if report.broken else report.entries
            contents = (record.content for record in ledger.records(until=last))
            own = self.key.load()
            keys = (own.verifier(name),) if own else ()
            return Found(report, head, compare(FileAnchors(self.anchor).read(), name, contents, last, keys))

    def chain(self, project: str = PROJECT) -> list[Record]:
        with SQLiteLedger(self.path, project) as ledger:
            return list(ledger.records())

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, isolation_level=None)
        db.executescript(UNLOCK)
        yield db
        db.close()

    def write(self, records: list[Record]) -> None:
        """Write records over those of the same positions, and what they are found by, as a careful forger would."""
        with self.database() as db:
            for record in records:
                place = self.id(record.position)
                db.execute("DELETE FROM record WHERE id = ?", (place,))
                db.execute("DELETE FROM label WHERE record = ?", (place,))
                db.execute("INSERT INTO record VALUES (?, ?, ?, ?)", (place, *record[1:]))
                said = json.loads(record.content)
                for word in (f"k:{said['kind']}", *(f"s:{subject}" for subject in said["subjects"])):
                    db.execute("INSERT OR IGNORE INTO word (text) VALUES (?)", (word,))
                    db.execute("INSERT INTO label SELECT number, ? FROM word WHERE text = ?", (place, word))

    def cut(self, length: int) -> None:
        with self.database() as db:
            db.execute("DELETE FROM record WHERE id > ? AND id <= ?", (self.id(length), self.id(10**6)))
            db.execute("DELETE FROM label WHERE record > ? AND record <= ?", (self.id(length), self.id(10**6)))

    def id(self, position: int) -> int:
        return first_id(1) + position

    def _facts(self, project: str, start: int, end: int) -> list[Evidence]:
        return [
            Evidence(
                f"kind.{n % 4}",
                (f"model:{n // 7}", f"n:{n}", "all"),
                {"auc": 0.7 + n / 1000, "ref": self._blob(f"{project} {n % 9}".encode()), "ok": True, "of": project},
            )
            for n in range(start, end)
        ]

    def _blob(self, data: bytes) -> Ref:
        segment = self.store.put(io.BytesIO(data * 50))
        return self.store.put(io.BytesIO(json.dumps({"segments": [segment]}).encode()))


def a_byte_of_a_record(place: Place, chance: random.Random) -> Check:
    column, position = chance.choice(["content", "previous", "digest"]), chance.randint(1, LENGTH)
    with place.database() as db:
        (data,) = db.execute(f"SELECT {column} FROM record WHERE id = ?", (place.id(position),)).fetchone()
        db.execute(f"UPDATE record SET {column} = ? WHERE id = ?", (flipped(data, chance), place.id(position)))
    return lambda found: found.position == position


def a_row_that_is_removed(place: Place, chance: random.Random) -> Check:
    position = chance.randint(1, LENGTH)
    with place.database() as db:
        db.execute("DELETE FROM record WHERE id = ?", (place.id(position),))
        if chance.random() < 0.5 and position < LENGTH:
            db.execute("DELETE FROM label WHERE record = ?", (place.id(position),))
    return lambda found: found.position == position


def rows_that_are_exchanged(place: Place, chance: random.Random) -> Check:
    first, second = sorted(chance.sample(range(1, LENGTH + 1), 2))
    chain = place.chain()
    place.write([chain[second - 1]._replace(position=first), chain[first - 1]._replace(position=second)])
    return lambda found: found.position == first


def a_row_that_is_slipped_in(place: Place, chance: random.Random) -> Check:
    position = chance.randint(1, LENGTH + 1)
    chain = place.chain()
    new = forged(chain[: position - 1], chance) if chance.random() < 0.5 else chance.choice(chain)
    moved = [record._replace(position=record.position + 1) for record in chain[position - 1 :]]
    place.write([new._replace(position=position), *moved])
    if new.previous == (chain[position - 2].digest if position > 1 else bytes(32)) and new not in chain:
        if position == LENGTH + 1:  # it continues the chain as an append would, and only its witness does not know it
            return lambda found: found.head.state == "behind"
        return lambda found: found.position == position + 1
    return lambda found: found.position in {position, position + 1}


def a_row_with_a_digest_of_its_own(place: Place, chance: random.Random) -> Check:
    position = chance.randint(1, LENGTH)
    place.write([forged(place.chain()[: position - 1], chance)])
    if position == LENGTH:
        return lambda found: found.head.state == "rewritten" and found.anchors.rewritten
    return lambda found: found.position == position + 1


def a_tail_that_is_cut(place: Place, chance: random.Random) -> Check:
    length = chance.randint(0, LENGTH - 1)
    place.cut(length)
    return lambda found: (found.head.state, found.head.last) == ("cut", length)


def a_stretch_of_another_chain(place: Place, chance: random.Random) -> Check:
    first, last = sorted(chance.sample(range(1, LENGTH + 1), 2))
    place.write(place.chain(OTHER)[first - 1 : last])
    if first > 1:
        return lambda found: found.position == first
    if last < LENGTH:  # the other chain begins as every chain begins: it shows where it ends
        return lambda found: found.position == last + 1
    return lambda found: found.head.state == "rewritten"


def what_records_are_found_by(place: Place, chance: random.Random) -> Check:
    position = chance.randint(1, LENGTH)
    with place.database() as db:
        words = [word for (word,) in db.execute("SELECT word FROM label WHERE record = ?", (place.id(position),))]
        others = [word for (word,) in db.execute("SELECT number FROM word") if word not in words]
        if chance.random() < 0.5:
            db.execute("DELETE FROM label WHERE record = ? AND word = ?", (place.id(position), chance.choice(words)))
        else:
            db.execute("INSERT INTO label VALUES (?, ?)", (chance.choice(others), place.id(position)))
    return lambda found: found.position == position


def a_word_that_is_renamed(place: Place, chance: random.Random) -> Check:
    with place.database() as db:
        number, text = chance.choice(db.execute("SELECT number, text FROM word").fetchall())
        first = "SELECT min(record) FROM label WHERE word = ? AND record > ? AND record <= ?"
        (place_of_first,) = db.execute(first, (number, place.id(0), place.id(LENGTH))).fetchone()
        db.execute("UPDATE word SET text = ? WHERE number = ?", (text[:2] + "renamed", number))
    return lambda found: found.position == place_of_first - place.id(0)


def a_blob_with_other_bytes(place: Place, chance: random.Random) -> Check:
    ref = chance.choice(cited(place))
    path = place.store.open(ref)
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(
        chance.choice([flipped(data, chance), data[: chance.randrange(len(data))], data + b"!", chance.randbytes(64)])
    )
    return lambda found: [blob.ref for blob in found.report.altered] == [ref]


def a_blob_that_is_gone(place: Place, chance: random.Random) -> Check:
    ref = chance.choice(cited(place))
    place.store.delete(ref)
    return lambda found: ref in {blob.ref for blob in found.report.missing}


def a_byte_of_the_head(place: Place, chance: random.Random) -> Check:
    path = head_file(place)
    path.write_bytes(flipped(path.read_bytes(), chance))
    return lambda found: found.head.state == "unproven"


def the_head_of_another_chain(place: Place, chance: random.Random) -> Check:
    other = next(path for path in (place.folder / "heads").glob("[0-9a-f]*") if path != head_file(place))
    shutil.copy(other, head_file(place))
    return lambda found: found.head.state == "unproven"


def an_older_copy_of_the_database(place: Place, chance: random.Random) -> Check:
    put_older(place, "ledger.db")
    return lambda found: (found.head.state, found.head.last) == ("cut", OLDER)


def an_older_copy_of_everything(place: Place, chance: random.Random) -> Check:
    for name in ("ledger.db", "heads", "store"):
        put_older(place, name)
    return lambda found: (
        found.report.intact and found.head.holds and found.anchors.cut and found.anchors.cut.saw == LENGTH
    )


def a_tail_that_is_cut_with_the_head(place: Place, chance: random.Random) -> Check:
    length = chance.randint(0, LENGTH - 1)
    place.cut(length)
    head_file(place).unlink()
    return lambda found: found.head.holds and found.anchors.cut and found.anchors.cut.entries == length


def a_chain_that_is_forged_to_its_end(place: Place, chance: random.Random) -> Check:
    position = rewritten_from(place, chance)
    return lambda found: (
        found.head.state == "rewritten" and found.anchors.rewritten and between(found.anchors, position)
    )


def a_chain_that_is_forged_to_its_end_by_the_owner_of_the_key(place: Place, chance: random.Random) -> Check:
    position = rewritten_from(place, chance)
    head_file(place).unlink()
    with place.ledger() as ledger:
        ledger.append([Evidence("kind.0", ("all",))])
    return lambda found: found.report.intact and found.head.holds and between(found.anchors, position)


EDITS = [
    a_byte_of_a_record, a_row_that_is_removed, rows_that_are_exchanged, a_row_that_is_slipped_in,
    a_row_with_a_digest_of_its_own, a_tail_that_is_cut, a_stretch_of_another_chain, what_records_are_found_by,
    a_word_that_is_renamed, a_blob_with_other_bytes, a_blob_that_is_gone, a_byte_of_the_head, the_head_of_another_chain,
    an_older_copy_of_the_database, an_older_copy_of_everything, a_tail_that_is_cut_with_the_head,
    a_chain_that_is_forged_to_its_end, a_chain_that_is_forged_to_its_end_by_the_owner_of_the_key,
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "workspace"
    Place(folder).make()
    assert Place(folder).look().holds
    return folder


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_random_edit_is_found_where_it_was_made(
    made: Path, tmp_path: Path, record_property: Any, count: int
) -> None:
    chance, by = random.Random(count), Counter[str]()
    for number in range(count):
        edit = EDITS[number % len(EDITS)]
        folder = tmp_path / str(number)
        shutil.copytree(made, folder)
        check = edit(Place(folder), chance)
        found = Place(folder).look()
        assert check(found), f"edit {number}, {edit.__name__}: {found}"
        by[witness_of(found)] += 1
        shutil.rmtree(folder)
    for who, found_by in by.items():
        record_property(f"tried: random edits, found by {who}", found_by)


def witness_of(found: Found) -> str:
    if not found.report.intact or found.report.missing:
        return "the chain and the blobs' names"
    return "the witnessed head" if found.head.state not in {"witnessed", "behind", "none"} else "the anchor"


def rewritten_from(place: Place, chance: random.Random) -> int:
    """Forge everything from a position on, with digests that hold."""
    position, chain = chance.randint(1, LENGTH), place.chain()
    kept = chain[: position - 1]
    for _ in range(LENGTH - position + 1):
        kept.append(forged(kept, chance))
    place.write(kept[position - 1 :])
    return position


def forged(before: list[Record], chance: random.Random) -> Record:
    previous, position = (before[-1].digest, before[-1].position) if before else (bytes(32), 0)
    fact = Evidence("kind.1", ("all",), {"auc": chance.random(), "forged": True})
    return Writer("user:eve", "ci", "2026-01-01T00:00:00.000000Z").record(previous, position + 1, fact)


def between(anchors: AnchorReport, position: int) -> bool:
    rewritten = anchors.rewritten
    return rewritten is not None and rewritten.after < position <= rewritten.until


def cited(place: Place) -> list[Ref]:
    return sorted(
        {Ref(json.loads(record.content)["body"]["ref"]) for record in place.chain()}
        | {Ref(json.loads(place.store.open(Ref(json.loads(r.content)["body"]["ref"])).read_text())["segments"][0]) for r in place.chain()}
    )  # fmt: skip


def head_file(place: Place) -> Path:
    with SQLiteLedger(place.path, PROJECT) as ledger:
        return place.folder / "heads" / ledger.chain.id


def put_older(place: Place, name: str) -> None:
    now, then = place.folder / name, place.folder / "older" / name
    for path in place.folder.glob(f"{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(then, now) if then.is_dir() else shutil.copy(then, now)


def flipped(data: bytes, chance: random.Random) -> bytes:
    where = chance.randrange(len(data))
    return data[:where] + bytes([data[where] ^ 1 << chance.randrange(8)]) + data[where + 1 :]
