"""Commands of a team: push, backup and restore, several chains, the past, and what comes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from sterling.cli.chains import _coming
from sterling.core.errors import StorageError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.sqlite import SQLiteLedger
from tests.cli.conftest import COMMAND, environment, sterling
from tests.cli.test_run import fits


def own(folder: Path) -> SQLiteLedger:
    """The project's chain, opened beside the commands."""
    return SQLiteLedger(folder / ".sterling" / "ledger.db", "late-parcels", actor="user:bea")


@pytest.fixture
def team(tmp_path: Path) -> list[str]:
    """Where a team keeps its ledger and store."""
    return ["--to", f"sqlite:{tmp_path / 'team' / 'ledger.db'}", "--store", f"file:{tmp_path / 'team' / 'store'}"]


def test_a_push_says_what_it_copied_and_a_second_one_that_there_is_nothing_to_do(
    released: Path, team: list[str]
) -> None:
    entries = len(sterling(released, "log").out.splitlines())
    answer = sterling(released, "push", *team)
    assert (answer.code, fits(answer.out)) == (0, True)
    assert answer.out.startswith(f"Copied {entries} entries and ")
    assert f"The copy has {entries} entries; the last has the digest\n" in answer.out
    again = sterling(released, "push", *team)
    assert again.out.startswith(f"Nothing to do: the copy has all {entries} entries, and ")
    found = sterling(released, "push", *team, "--json").json
    assert (found["whole"], found["entries"], found["new"], found["refused"]) == (True, entries, 0, None)
    assert found["chain"]["copied"]
    assert found["digest"] == answer.out.splitlines()[-1]


def test_a_push_says_where_the_bytes_are_to_go_if_it_is_not_told(released: Path, team: list[str]) -> None:
    answer = sterling(released, "push", *team[:2])
    assert answer.code == 2
    assert answer.errors.startswith("sterling: --store says where the bytes go")
    shared = sterling(released, "push", *team[:2], STERLING_STORE=f"file:{released / '.sterling' / 'store'}")
    assert (shared.code, "and 0 blobs, 0 B" in shared.out) == (0, True)


def test_a_push_onto_the_ledger_itself_is_one_line(released: Path) -> None:
    here = released / ".sterling"
    answer = sterling(released, "push", "--to", f"sqlite:{here / 'ledger.db'}", "--store", f"file:{here / 'store'}")
    assert answer.code == 2
    assert "holds the chain" in answer.errors


def test_a_push_of_what_went_another_way_is_refused_with_the_position(folder: Path, team: list[str]) -> None:
    shutil.copytree(folder / ".sterling", folder / "old")
    own(folder).append([Evidence("one.way")])
    assert sterling(folder, "push", *team).code == 0
    shutil.rmtree(folder / ".sterling")
    (folder / "old").rename(folder / ".sterling")
    position = own(folder).append([Evidence("other.way")])
    answer = sterling(folder, "push", *team)
    assert (answer.code, fits(answer.out)) == (1, True)
    assert answer.out.startswith(f"Refused at entry {position}: ")
    assert sterling(folder, "push", *team, "--json").json["refused"]["position"] == position


def test_altered_and_missing_blobs_are_said(folder: Path, team: list[str]) -> None:
    model = sterling(folder, "status", "--json").json["live"]["model"]
    name = model.removeprefix("sha256:")
    blob = folder / ".sterling" / "store" / name[:2] / name[2:]
    blob.chmod(0o644)
    blob.write_bytes(b"!" + blob.read_bytes()[1:])
    answer = sterling(folder, "push", *team)
    assert answer.code == 1
    assert f"Altered: {model}, which entry" in " ".join(answer.out.split())
    blob.unlink()
    answer = sterling(folder, "push", *team)
    assert answer.code == 0
    assert "1 blob that they cite is in neither store. A run makes them again." in " ".join(answer.out.split())


def test_a_lost_workspace_is_restored_and_the_next_run_does_nothing(folder: Path, tmp_path: Path) -> None:
    backup = str(tmp_path / "backup")
    log = sterling(folder, "log").out
    answer = sterling(folder, "backup", backup)
    assert (answer.code, fits(answer.out)) == (0, True)
    assert sterling(folder, "backup", backup, "--json").json["new"] == 0
    shutil.rmtree(folder / ".sterling")
    assert sterling(folder, "status").code == 0  # begins a chain, as any look at a project without one does
    answer = sterling(folder, "restore", backup)
    assert (answer.code, fits(answer.out)) == (0, True), answer
    entries = len(log.splitlines())
    assert f"The last entry of the backup, {entries}, has the digest\n" in answer.out
    assert f"and so has entry {entries} of the ledger.\nAll {entries} entries hold; " in answer.out
    assert sterling(folder, "log").out == log
    assert sterling(folder, "verify").code == 0
    assert "nothing to do" in sterling(folder, "run").out
    found = sterling(folder, "restore", backup, "--json").json
    assert (found["proven"], found["new"], found["chain"]["copied"], found["moved"]) == (True, 0, False, None)


def test_a_damaged_ledger_is_moved_aside_and_the_witnessed_head_confirms_what_came_back(
    folder: Path, tmp_path: Path
) -> None:
    assert sterling(folder, "backup", str(tmp_path / "backup")).code == 0
    ledger = folder / ".sterling" / "ledger.db"
    ledger.write_bytes(b"no database at all" * 1000)
    for log in ledger.parent.glob("ledger.db-*"):
        log.unlink()
    answer = sterling(folder, "restore", str(tmp_path / "backup"))
    assert (answer.code, answer.errors) == (0, "")
    assert answer.out.startswith("The ledger was damaged: its file cannot be read any more.\nIts file is kept as\n")
    assert (folder / answer.out.splitlines()[2]).read_bytes() == b"no database at all" * 1000
    assert "All entries are witnessed by the head of" in answer.out
    assert sterling(folder, "verify").code == 0


@pytest.mark.slow
def test_what_was_recorded_after_the_backup_and_is_lost_is_said_by_the_witnessed_head(
    folder: Path, tmp_path: Path
) -> None:
    assert sterling(folder, "backup", str(tmp_path / "backup")).code == 0
    assert sterling(folder, "release", "--now").code == 0
    (folder / "project.py").write_text((folder / "project.py").read_text().replace("trees=15", "trees=16"))
    assert sterling(folder, "run").code == 0
    for file in (folder / ".sterling").glob("ledger.db*"):
        file.unlink()
    answer = sterling(folder, "restore", str(tmp_path / "backup"))
    assert (answer.code, fits(answer.out)) == (1, True)
    assert "The tail was cut: " in answer.out
    assert "If those are lost for good, delete the head that saw them" in answer.out
    (folder / answer.out.splitlines()[-1]).unlink()
    assert sterling(folder, "restore", str(tmp_path / "backup")).code == 0
    assert sterling(folder, "run").code == 0
    assert sterling(folder, "verify").code == 0


def test_a_head_comes_back_with_the_chain_where_the_key_is_still_there(folder: Path, tmp_path: Path) -> None:
    assert sterling(folder, "backup", str(tmp_path / "backup")).code == 0
    heads = folder / ".sterling" / "heads"
    before = {path.name: path.read_bytes() for path in heads.iterdir() if not path.name.startswith(".")}
    shutil.rmtree(heads)
    assert sterling(folder, "restore", str(tmp_path / "backup")).code == 0
    assert before
    assert {path.name: path.read_bytes() for path in heads.iterdir() if not path.name.startswith(".")} == before


def test_a_restore_into_a_ledger_that_went_on_is_refused(folder: Path, tmp_path: Path) -> None:
    assert sterling(folder, "backup", str(tmp_path / "backup")).code == 0
    position = own(folder).append([Evidence("life.goes.on")])
    answer = sterling(folder, "restore", str(tmp_path / "backup"))
    assert (answer.code, fits(answer.out)) == (1, True)
    assert answer.out.startswith(f"Nothing was restored. Entry {position}: the ledger goes on behind the backup")


def test_a_backup_of_several_chains_asks_for_one(released: Path, tmp_path: Path) -> None:
    backup, elsewhere = tmp_path / "backup", tmp_path / "elsewhere"
    assert sterling(released, "backup", str(backup)).code == 0
    for name in ("late-parcels", "churn"):
        SQLiteLedger(backup / "ledger.db", name).append([Evidence("a.happened")])
    SQLiteLedger(backup / "ledger.db", "never-run")
    elsewhere.mkdir()
    answer = sterling(elsewhere, "restore", str(backup))
    assert answer.code == 2
    assert answer.errors.startswith("sterling: The backup holds 3 such chains. Name one with --chain: ")
    chosen = own(released).chain.id
    assert sterling(elsewhere, "restore", str(backup), "--chain", chosen[:6]).code == 0
    assert "holds no such chains" in sterling(elsewhere, "restore", str(backup), "--chain", "zz").errors


def test_a_folder_that_is_no_backup_is_one_line(released: Path, tmp_path: Path) -> None:
    answer = sterling(released, "restore", str(tmp_path))
    assert answer.code == 2
    assert f"{tmp_path} is no backup" in answer.errors


def test_every_chain_of_a_ledger_is_listed_without_a_project(folder: Path, team: list[str], tmp_path: Path) -> None:
    assert sterling(folder, "push", *team).code == 0
    url = team[1]
    other = SQLiteLedger(Path(url.removeprefix("sqlite:")), "churn", actor="user:cem")
    other.append([Evidence("a.happened")])
    answer = sterling(tmp_path, "status", "--all", "--ledger", url)
    assert (answer.code, fits(answer.out)) == (0, True)
    assert answer.out.startswith("2 chains\n")
    assert sterling(tmp_path, "status", "--all", STERLING_LEDGER=url).out == answer.out
    churn, parcels = sterling(tmp_path, "status", "--all", "--ledger", url, "--json").json
    assert (churn["project"], churn["copied"], churn["entries"], churn["actor"]) == ("churn", False, 1, "user:cem")
    assert (parcels["copied"], parcels["verdict"], parcels["version"]) == (True, "passed", 1)
    assert sterling(folder, "status", "--all", "--json").json[0]["chain"] == parcels["chain"]


def test_a_ledger_without_chains_is_said(tmp_path: Path) -> None:
    answer = sterling(tmp_path, "status", "--all")
    assert (answer.code, answer.out) == (0, "")
    assert answer.errors == "The ledger holds no chain yet. `sterling run` begins one.\n"
    assert sterling(tmp_path, "status", "--all", "--json").json == []
    assert not (tmp_path / ".sterling").exists()


@pytest.mark.parametrize("command", ["status", "log", "why", "verify"])
def test_any_chain_of_a_ledger_can_be_looked_into(folder: Path, team: list[str], tmp_path: Path, command: str) -> None:
    assert sterling(folder, "push", *team).code == 0
    chain = own(folder).chain.id
    places = {"STERLING_LEDGER": team[1], "STERLING_STORE": team[3]}
    there, here = sterling(tmp_path, command, "--chain", chain[:8], **places), sterling(folder, command)
    assert there.code == here.code == 0
    assert there.out.splitlines()[:2] == here.out.splitlines()[:2]
    unknown = sterling(tmp_path, command, "--chain", "zz", **places)
    assert unknown.code == 2
    assert f"No chains of the ledger begin with 'zz'. Known: {chain} (late-parcels)." in unknown.errors


def test_a_ledger_is_named_together_with_what_to_look_at_there(released: Path) -> None:
    answer = sterling(released, "log", "--ledger", "sqlite:/nowhere.db")
    assert answer.code == 2
    assert "name one with --chain ID" in answer.errors
    assert "leave --at and --chain out" in sterling(released, "status", "--all", "--at", "1").errors


def test_the_past_is_shown_by_position_and_by_time(released: Path) -> None:
    entries = sterling(released, "log", "--json").json
    (release,) = (entry for entry in entries if entry["kind"] == "version.released")
    answer = sterling(released, "status", "--at", str(release["position"]))
    assert (answer.code, fits(answer.out)) == (0, True)
    assert answer.out.startswith("Version 1 took all traffic.")
    assert f"[{release['position']}]" in answer.out
    found = sterling(released, "status", "--at", release["recorded_at"], "--json").json
    assert (found["version"], found["position"]) == (1, release["position"])
    assert found["registered"]["actor"] == release["actor"]
    assert [gate["passed"] for gate in found["gates"]] == [True, True, True, True]
    assert sterling(released, "status", "--at", str(release["position"] - 1)).out.startswith("No version was live.")
    assert sterling(released, "status", "--at", "2001-01-01T00:00:00+01:00").out == "Nothing was on record.\n"


def test_approvals_of_the_past_are_shown(folder: Path) -> None:
    position = own(folder).append([Evidence("version.approved", ("version:1",), {"seen": [3]})])
    answer = sterling(folder, "status", "--at", str(position))
    assert f"by user:bea (laptop) [{position}], on [3]" in answer.out


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("99999", "There is no entry 99999: the ledger ends with entry "),
        ("2026-01-01T12:00", "is a time without a zone. Write a position such as 42, or 2026-01-31T12:00:00Z."),
        ("yesterday", "is neither a position nor an ISO 8601 time."),
    ],
)
def test_a_moment_that_is_none_is_one_line(released: Path, when: str, said: str) -> None:
    for command in ("status", "why"):
        answer = sterling(released, command, "--at", when)
        assert (answer.code, said in answer.errors) == (2, True)


def test_why_can_be_asked_as_of_the_past(released: Path) -> None:
    (release,) = sterling(released, "log", "--kind", "version.released", "--json").json
    assert sterling(released, "why", "--at", f"#{release['position']}").out == sterling(released, "why").out
    assert sterling(released, "why", "--at", str(release["position"] - 1)).code == 2


@contextmanager
def following(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Queue[str]]]:
    """`sterling log --follow`, and the lines that it prints."""
    command = [*COMMAND, "log", "--follow", *options]
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # what a shell runs in the background ignores it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  it takes no lock
    ) as process:  # fmt: skip
        lines: Queue[str] = Queue()
        assert process.stdout
        reader = threading.Thread(target=lambda: deque(map(lines.put, process.stdout or ()), 0))
        reader.start()
        try:
            yield process, lines
        finally:
            process.kill()
            reader.join()


def test_what_is_recorded_is_printed_as_it_comes_until_ctrl_c(folder: Path) -> None:
    with following(folder, "--last", "1") as (process, lines):
        assert "run.completed" in lines.get(timeout=30)
        position = own(folder).append([Evidence("a.happened"), Evidence("b.happened")])
        assert lines.get(timeout=30).startswith(f"[{position - 1}] ")
        assert lines.get(timeout=30).startswith(f"[{position}] ")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_one_kind_is_followed_as_json_a_line_each(folder: Path) -> None:
    with following(folder, "--kind", "model.registered", "--kind", "b.happened", "--json") as (_, lines):
        assert json.loads(lines.get(timeout=30))["kind"] == "model.registered"
        for n in range(3):
            own(folder).append([Evidence("a.happened"), Evidence("b.happened", body={"n": n})])
            entry = json.loads(lines.get(timeout=30))
            assert (entry["kind"], entry["body"], entry["actor"]) == ("b.happened", {"n": n}, "user:bea")
        assert lines.empty()


def test_following_ends_well_when_its_reader_has_enough(released: Path) -> None:
    script = f"{' '.join(COMMAND)} log --follow | head -n 2; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(
        ["bash", "-c", script], check=False, cwd=released, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (len(ran.stdout.splitlines()), ran.stderr, ran.returncode) == (2, "", 0)


def test_following_none_of_what_there_is_begins_with_what_comes(folder: Path) -> None:
    assert sterling(folder, "log", "--last", "0").out == ""
    with following(folder, "--last", "0") as (process, lines):
        while not lines.qsize():
            own(folder).append([Evidence("a.happened")])
            threading.Event().wait(0.2)
            assert process.poll() is None
        assert "a.happened" in lines.get()


def test_a_ledger_that_cannot_be_read_for_a_while_is_followed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sterling.cli.chains._AGAIN_SECONDS", 0.01)
    ledger = SQLiteLedger(tmp_path / "ledger.db", "flights")
    ledger.append([Evidence("a.happened")] * 3)
    busy = Busy(ledger)
    coming = _coming(busy, Query(), 0)
    assert [next(coming).position for _ in range(3)] == [1, 2, 3]
    busy.times = 5
    ledger.append([Evidence("a.happened")])
    assert next(coming).position == 4
    assert capsys.readouterr().err == "sterling: It is busy. Trying again.\n"


class Busy:
    """A ledger that cannot be read for some times."""

    def __init__(self, ledger: SQLiteLedger) -> None:
        self._ledger, self.times = ledger, 0
        self.append = ledger.append

    def read(
        self, query: Query | None = None, *, after: int = 0, until: int | None = None, newest_first: bool = False
    ) -> Iterator[Entry]:
        if self.times:
            self.times -= 1
            raise StorageError("It is busy.")
        return self._ledger.read(query, after=after, until=until, newest_first=newest_first)
