"""What people see who check a ledger: their own, and one that they do not have."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sterling.core.sqlite_schema import first_id
from tests.cli.conftest import Answer, environment, sterling
from tests.cli.test_run import fits

DOCS = Path(__file__).parents[2] / "docs" / "integrity.md"
APPEND = """
import os, sys
from pathlib import Path
from sterling.core.evidence import Evidence
from sterling.core.workspace import Workspace
ledger = Workspace(Path()).ledger("late-parcels")
for n in range(3):
    ledger.append([Evidence("note.taken", body={"n": n})])
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
"""
FORGE = """
import sqlite3, sys
from pathlib import Path
from sterling.core.evidence import entry_of, Writer
from sterling.core.sqlite import SQLiteLedger
old = SQLiteLedger(Path(".sterling/ledger.db"), "late-parcels")
info, records = old.chain, list(old.records())
old.close()
for path in Path(".sterling").glob("ledger.db*"):
    path.unlink()
forged = SQLiteLedger(Path(".sterling/ledger.db"), "late-parcels", chain=info._replace(copied=True))
previous, made = bytes(32), []
for record in records:
    entry = entry_of(record)
    actor = "user:eve" if record.position == int(sys.argv[1]) else entry.actor
    writer = Writer(actor, entry.attestor, entry.recorded_at)
    made.append(writer.record(previous, record.position, entry.evidence))
    previous = made[-1].digest
forged.extend(made)
sqlite3.connect(".sterling/ledger.db", isolation_level=None).execute("UPDATE chains SET copied = 0")
"""


def python(folder: Path, program: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", program, *arguments], check=False, cwd=folder, env=environment(), timeout=60)


def git(folder: Path, *arguments: str) -> str:
    ran = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True, timeout=60)
    return ran.stdout


def cut(folder: Path, left: int) -> None:
    """Cut the tail of a chain, as somebody with a database client would."""
    with closing(sqlite3.connect(folder / ".sterling" / "ledger.db")) as database:
        database.executescript(f"""
            DROP TRIGGER records_are_kept; DELETE FROM record WHERE id > {first_id(1) + left};
            DELETE FROM label WHERE record > {first_id(1) + left};
        """)


def entries_of(folder: Path) -> int:
    return len(sterling(folder, "log").out.splitlines())


@pytest.fixture
def repository(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project in a git repository with one commit."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "ada@example.com")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git(folder, "init", "--quiet")
    git(folder, "add", "project.py")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_an_untouched_project_verifies(released: Path) -> None:
    answer = sterling(released, "verify")
    assert answer.code == 0
    assert fits(answer.out)
    report = sterling(released, "verify", "--json").json
    assert report["intact"]
    assert (report["broken"], report["altered"], report["missing"]) == (None, [], [])
    assert report["entries"] == len(sterling(released, "log").out.splitlines())


def test_a_byte_that_was_changed_in_the_database_is_found_at_its_position(folder: Path) -> None:
    (released,) = sterling(folder, "log", "--kind", "version.released", "--json").json
    with closing(sqlite3.connect(folder / ".sterling" / "ledger.db")) as database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{trigger}"')
        altered = 'CAST(replace(CAST(content AS TEXT), \'"rollout":"now"\', \'"rollout":"new"\') AS BLOB)'
        place = first_id(1) + released["position"]
        changed = database.execute(f"UPDATE record SET content = {altered} WHERE id = ?", [place])
        assert changed.rowcount == 1
        database.commit()
    answer = sterling(folder, "verify")
    assert answer.code == 1
    assert answer.out.startswith(f"Broken at entry {released['position']}: ")
    assert sterling(folder, "verify", "--json").json["broken"]["position"] == released["position"]


def test_a_blob_that_was_altered_is_named(folder: Path) -> None:
    model = sterling(folder, "status", "--json").json["live"]["model"]
    name = model.removeprefix("sha256:")
    blob = folder / ".sterling" / "store" / name[:2] / name[2:]
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes() + b" ")
    answer = sterling(folder, "verify")
    assert answer.code == 1
    assert f"Altered: {model}" in answer.out
    assert [cited["ref"] for cited in sterling(folder, "verify", "--json").json["altered"]] == [model]


def test_what_a_run_recorded_is_witnessed(released: Path) -> None:
    said = sterling(released, "verify").out
    assert "All entries are witnessed by the head of " in said
    head = sterling(released, "verify", "--json").json["head"]
    assert (head["state"], head["count"], head["last"]) == ("witnessed", entries_of(released), entries_of(released))
    assert (released / ".sterling" / "signing.key").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_process_left_is_not_yet_witnessed_and_then_is(folder: Path) -> None:
    count = entries_of(folder)
    python(folder, APPEND, "killed")
    answer = sterling(folder, "verify")
    assert (answer.code, fits(answer.out)) == (0, True)
    assert f"Entries {count + 2} to {count + 3} are not yet witnessed; " in " ".join(answer.out.split())
    python(folder, APPEND, "ended")
    assert sterling(folder, "verify", "--json").json["head"]["state"] == "witnessed"


def test_a_tail_that_was_cut_is_found_with_its_length(folder: Path) -> None:
    count = entries_of(folder)
    cut(folder, count - 3)
    answer = sterling(folder, "verify")
    assert (answer.code, fits(answer.out)) == (1, True)
    assert f"The tail was cut: 3 entries are missing after position {count - 3}; " in " ".join(answer.out.split())
    report = sterling(folder, "verify", "--json").json
    assert (report["intact"], report["broken"], report["head"]["state"]) == (False, None, "cut")
    python(folder, APPEND, "ended")  # as many again
    assert sterling(folder, "verify", "--json").json["head"]["state"] == "rewritten"
    refused = sterling(folder, "prove", "5")
    assert (refused.code, refused.out) == (1, "")
    assert refused.errors.endswith("Nothing is proven from a ledger that does not hold.\n")


def test_a_chain_that_was_forged_anew_is_found_by_its_head(folder: Path) -> None:
    count = entries_of(folder)
    python(folder, FORGE, "7")
    report = sterling(folder, "verify", "--json").json
    assert (report["entries"], report["broken"], report["head"]["state"]) == (count, None, "rewritten")


def test_a_head_whose_key_was_exchanged_is_not_believed_until_the_old_key_is_named(folder: Path) -> None:
    old = sterling(folder, "key").out.strip()
    (folder / ".sterling" / "signing.key").unlink()
    new = sterling(folder, "key").out.strip()
    assert old.split("+")[0] == new.split("+")[0]
    assert old != new
    answer = sterling(folder, "verify")
    assert answer.code == 1
    assert "is signed with another key, " in " ".join(answer.out.split())
    assert sterling(folder, "verify", "--key", old).code == 0
    (head,) = [path for path in (folder / ".sterling" / "heads").iterdir() if path.name != ".lock"]
    head.unlink()
    python(folder, APPEND, "ended")
    assert sterling(folder, "verify", "--json").json["head"]["state"] == "witnessed"


def test_a_named_key_signs_and_is_made_only_when_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / ".sterling" / "heads")
    named = {"STERLING_KEY": str(tmp_path / "elsewhere.key")}
    answer = sterling(folder, "verify", **named)
    assert (answer.code, "No head is kept of this chain" in answer.out) == (0, True)
    assert not (tmp_path / "elsewhere.key").exists()
    said = sterling(folder, "key", "--json", **named).json
    assert said["vkey"] == f"{said['name']}+{said['id']}+{said['vkey'].split('+', 2)[2]}"
    assert said["file"] == str(tmp_path / "elsewhere.key")
    (tmp_path / "elsewhere.key").write_text("damaged")
    answer = sterling(folder, "key", **named)
    assert (answer.code, answer.out) == (2, "")
    assert "elsewhere.key is damaged, encrypted, or no private key in PEM" in answer.errors


def test_an_older_copy_with_its_older_head_is_found_only_by_the_anchor(repository: Path, tmp_path: Path) -> None:
    count = entries_of(repository)
    copy = shutil.copytree(repository / ".sterling", tmp_path / "copy")
    python(repository, APPEND, "ended")
    anchored = sterling(repository, "verify", "--anchor", "git:")
    assert (anchored.code, fits(anchored.out)) == (0, True)
    assert f"is kept: git tag sterling/late-parcels/{count + 3}." in anchored.out
    shutil.rmtree(repository / ".sterling")
    shutil.copytree(copy, repository / ".sterling")
    assert sterling(repository, "verify").code == 0
    answer = sterling(repository, "verify", "--against", "git:")
    assert (answer.code, fits(answer.out)) == (1, True)
    said = " ".join(answer.out.split())
    assert (
        f"Cut, or replaced by an older copy: git tag sterling/late-parcels/{count + 3} saw {count + 3} entries" in said
    )
    again = sterling(repository, "verify", "--anchor", "git:")
    assert (again.code, "No checkpoint was written to git tags sterling/late-parcels/*" in again.out) == (1, True)
    assert git(repository, "tag", "--list").split() == [f"sterling/late-parcels/{count + 3}"]


def test_a_chain_forged_with_its_key_is_located_between_two_anchors(folder: Path, tmp_path: Path) -> None:
    anchors = str(tmp_path / "anchors.txt")
    count = entries_of(folder)
    assert sterling(folder, "verify", "--anchor", anchors).code == 0
    for more in (3, 6):
        python(folder, APPEND, "ended")
        added = sterling(folder, "verify", "--anchor", anchors, "--json").json["anchors"]
        assert (added["holds"], added["head"].split()[1]) == (True, str(count + more))
    assert added["proof"]
    same = sterling(folder, "verify", "--anchor", anchors)
    assert f"Every anchor holds, the newest of {count + 6} entries." in same.out
    assert (tmp_path / "anchors.txt").read_text().count("late-parcels") == 6
    python(folder, FORGE, str(count + 2))
    shutil.rmtree(folder / ".sterling" / "heads")
    python(folder, APPEND, "ended")  # which makes a new head, with the key
    assert sterling(folder, "verify").code == 0
    answer = sterling(folder, "verify", "--against", anchors)
    assert (answer.code, fits(answer.out)) == (1, True)
    said = " ".join(answer.out.split())
    assert f"Rewritten after entry {count} and at or before entry {count + 3}: " in said
    assert sterling(folder, "prove", "2", "--anchor", anchors).code == 2


def test_a_ledger_that_was_begun_anew_is_not_the_one_that_was_anchored(folder: Path, tmp_path: Path) -> None:
    anchors = str(tmp_path / "anchors.txt")
    sterling(folder, "verify", "--anchor", anchors)
    shutil.rmtree(folder / ".sterling")
    python(folder, APPEND, "ended")
    answer = sterling(folder, "verify", "--anchor", anchors)
    assert answer.code == 1
    assert "Exchanged, or begun anew: " in answer.out


def test_a_target_that_holds_nothing_cannot_be_compared_with(folder: Path, tmp_path: Path) -> None:
    answer = sterling(folder, "verify", "--against", str(tmp_path / "nothing.txt"))
    assert (answer.code, answer.out) == (2, "")
    assert answer.errors == f"sterling: There is no checkpoint in {tmp_path / 'nothing.txt'} to compare with.\n"


@pytest.fixture(scope="module")
def proof(first_run: tuple[Path, Answer], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A proof of entry 5 in a folder without a project, and the public key of its ledger."""
    path = tmp_path_factory.mktemp("third") / "entry.tlog-proof"
    released, _ = first_run
    answer = sterling(released, "prove", "5", "-o", str(path))
    assert (answer.code, answer.out) == (0, f"Wrote {path}\n")
    return path, sterling(released, "key").out.strip()


def test_a_proof_is_checked_without_project_and_ledger(proof: tuple[Path, str], released: Path) -> None:
    path, vkey = proof
    answer = sterling(path.parent, "prove", "--check", path.name, "--key", vkey)
    assert (answer.code, fits(answer.out)) == (0, True)
    assert answer.out.startswith("Entry 5 is in the ledger: ")
    assert "Signed by sterling/late-parcels/" in answer.out
    assert "Not checked: who signed that." in sterling(path.parent, "prove", "--check", path.name).out
    said = sterling(path.parent, "prove", "--check", path.name, "--key", vkey, "--json").json
    (entry,) = [entry for entry in sterling(released, "log", "--json").json if entry["position"] == 5]
    assert (said["holds"], said["signed_by"], said["entry"]["body"]) == (True, [vkey], entry["body"])


def test_a_proof_by_an_anchor_is_held_against_it(repository: Path, tmp_path: Path) -> None:
    sterling(repository, "verify", "--anchor", "git:audit")
    made = sterling(repository, "prove", "5", "--anchor", "git:audit", "--json").json
    assert made["checkpoint"] in git(repository, "tag", "--list", "--format=%(contents)", "audit")
    (tmp_path / "p").write_text(made["proof"])
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(clone))
    held = sterling(tmp_path, "prove", "--check", "p", "--anchor", "git:audit", "--project", "clone")
    assert (held.code, "The checkpoint is kept in git tag audit." in held.out) == (0, True)
    python(repository, APPEND, "ended")
    other = sterling(repository, "prove", "5").out
    (tmp_path / "p").write_text(other)
    refused = sterling(tmp_path, "prove", "--check", "p", "--anchor", "git:audit", "--project", "clone")
    assert (refused.code, refused.out) == (1, "The checkpoint is not one of those in git tag audit.\n")
    beyond = sterling(repository, "prove", str(entries_of(repository)), "--anchor", "git:audit")
    assert beyond.code == 2
    assert "No checkpoint in git tag audit is over entry " in beyond.errors


def test_a_proof_that_was_changed_or_is_signed_by_nobody_known_does_not_hold(
    proof: tuple[Path, str], tmp_path: Path
) -> None:
    path, vkey = proof
    changed = tmp_path / "changed"
    changed.write_text(path.read_text().replace("index 4", "index 5"))
    answer = sterling(tmp_path, "prove", "--check", "changed", "--key", vkey)
    assert (answer.code, answer.out) == (
        1, "The entry is not in the tree of the checkpoint: one of the two was changed.\n"
    )  # fmt: skip
    stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    answer = sterling(path.parent, "prove", "--check", path.name, "--key", vkey, "--key", stranger)
    assert (answer.code, answer.out) == (1, "PeterNeumann, key c74f20a3 did not sign the checkpoint.\n")
    answer = sterling(path.parent, "prove", "--check", path.name, "--key", vkey[:-5])
    assert (answer.code, "is no public key" in answer.errors) == (2, True)
    changed.write_text("{}")
    answer = sterling(tmp_path, "prove", "--check", "changed")
    assert (answer.code, len(answer.errors.splitlines())) == (2, 1)


def test_what_cannot_be_proven_is_one_line(released: Path) -> None:
    count = entries_of(released)
    answer = sterling(released, "prove", str(count + 1))
    assert (answer.code, answer.errors) == (2, f"sterling: There is no entry {count + 1}: the ledger has {count}.\n")
    for wrong in ([], ["5", "--check", "x"]):
        answer = sterling(released, "prove", *wrong)
        assert (answer.code, "Name the position of an entry to prove, or --check FILE" in answer.errors) == (2, True)


def run_of_the_docs(folder: Path, *arguments: str) -> Answer:
    (program,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "check.py").write_text(program, encoding="utf-8")
    assert "sterling" not in {word.split(".")[0] for word in re.findall(r"import (\w+)|from (\w+)", program)[0]}
    ran = subprocess.run(
        [sys.executable, "-I", "check.py", *arguments], check=False, cwd=folder, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    return Answer(ran.returncode, ran.stdout, ran.stderr)


def test_the_program_in_the_docs_checks_a_proof_without_us(proof: tuple[Path, str], tmp_path: Path) -> None:
    path, vkey = proof
    answer = run_of_the_docs(tmp_path, str(path), vkey)
    assert (answer.code, answer.errors) == (0, "")
    name = vkey.split("+")[0]
    assert re.match(rf"Entry 5 of {name}, in the tree of \d+ entries:\n{{\"actor\":", answer.out)
    whole = path.read_text()
    for wrong, why in [
        (whole.replace("index 4", "index 5"), "the entry is not in the tree"),
        (whole.replace("index 4", "index 99999"), "the entry lies outside of the tree"),
        (whole.replace("\n\n", f"\n{whole.split(chr(10))[3]}\n\n", 1), "the"),
        (whole.replace("@v1", "@v2"), "this is no proof"),
        (whole.replace(f"— {name} ", f"— {name}x "), "the key did not sign for this ledger"),
    ]:
        (tmp_path / "wrong").write_text(wrong)
        answer = run_of_the_docs(tmp_path, "wrong", vkey)
        assert (answer.code, answer.out) == (1, "")
        assert answer.errors.startswith(f"does not hold: {why}")
    lines = whole.split("\n")
    lines[-2] = lines[-2][:-4] + ("A" if lines[-2][-4] != "A" else "B") + lines[-2][-3:]
    (tmp_path / "wrong").write_text("\n".join(lines))
    answer = run_of_the_docs(tmp_path, "wrong", vkey)
    assert (answer.code, "InvalidSignature" in answer.errors) == (1, True)
