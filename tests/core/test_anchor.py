"""Anchors: kept in files and in real git repositories, and what they show of a chain that was rewritten or cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.anchor import Anchor, AnchorReport, Cut, FileAnchors, GitAnchors, Rewritten, anchors_at, compare
from sterling.core.checkpoint import Checkpoint
from sterling.core.errors import ConflictError, SignatureError, StorageError
from sterling.core.merkle import tree_head, verify_consistency
from sterling.core.signing import Note, SigningKey

ORIGIN = "sterling/flights/00c0ffee"
KEY, OTHER = (
    SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32))),
    SigningKey(Ed25519PrivateKey.from_private_bytes(b"1" * 32)),
)


def entries(count: int, rewritten_from: int = 0) -> list[bytes]:
    return [f"{n} {'forged' if 0 < rewritten_from <= n else ''}".encode() for n in range(1, count + 1)]


def note(size: int, *, origin: str = ORIGIN, key: SigningKey = KEY, contents: Sequence[bytes] = ()) -> Note:
    return Checkpoint(origin, size, tree_head((contents or entries(size))[:size])).signed(key)


def anchor(size: int, *, origin: str = ORIGIN, key: SigningKey = KEY) -> Anchor:
    signed = note(size, origin=origin, key=key)
    return Anchor(f"at {size}", signed, Checkpoint.parse(signed.text))


def held(anchors: Sequence[Anchor], contents: Sequence[bytes]) -> AnchorReport:
    return compare(anchors, ORIGIN, iter(contents), len(contents), [KEY.verifier(ORIGIN)])


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "ada@example.com")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")
    return folder


def test_a_chain_that_every_anchor_saw_holds_and_continues_the_newest() -> None:
    report = held([anchor(7), anchor(2), anchor(7)], entries(12))
    assert report.holds
    assert (report.anchors, report.older.size, report.head) == (3, 7, Checkpoint(ORIGIN, 12, tree_head(entries(12))))
    assert verify_consistency(7, report.older.root, 12, report.head.root, report.proof)
    assert (report.strangers, report.forged, report.other_chains) == ((), (), ())


def test_without_anchors_there_is_a_first_checkpoint_to_make() -> None:
    report = held([], entries(3))
    assert report.holds
    assert (report.anchors, report.older.size, report.head.root) == (0, 0, tree_head(entries(3)))
    assert held([], []).head.size == 0


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6, unique=True),
    length=st.integers(30, 40), first=st.integers(1, 40),
)  # fmt: skip
def test_where_a_chain_was_rewritten_is_named_between_two_anchors(sizes: list[int], length: int, first: int) -> None:
    report = held([anchor(size) for size in sizes], entries(length, rewritten_from=first))
    after = max([size for size in sizes if size < first], default=0)
    until = min([size for size in sizes if size >= first], default=None)
    assert report.rewritten == (Rewritten(after, until, f"at {until}") if until else None)
    assert report.holds == report.consistent == (until is None)


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6, unique=True), length=st.integers(0, 30))
def test_an_older_copy_is_shorter_than_an_anchor(sizes: list[int], length: int) -> None:
    report = held([anchor(size) for size in sizes], entries(length))
    longest = max(sizes)
    assert report.cut == (Cut(longest, length, f"at {longest}") if longest > length else None)
    assert report.holds == (longest <= length)
    assert report.rewritten is None


def test_a_chain_with_a_gap_does_not_hold() -> None:
    gap = [content for n, content in enumerate(entries(9)) if n != 4]
    report = compare([anchor(3), anchor(9)], ORIGIN, gap, 9, [])
    assert (report.rewritten, report.holds) == (Rewritten(3, 9, "at 9"), False)
    assert not compare([anchor(3)], ORIGIN, gap, 9, []).holds


def test_anchors_of_another_chain_of_the_project_show_that_it_was_exchanged() -> None:
    other = anchor(3, origin="sterling/flights/beef")
    report = held([anchor(3), other], entries(5))
    assert (report.holds, report.other_chains, report.anchors) == (False, (other,), 1)


def test_an_anchor_of_another_project_is_refused() -> None:
    with pytest.raises(StorageError, match=r"at 3 holds a checkpoint of sterling/taxis/a, not of sterling/flights/00c"):
        held([anchor(3, origin="sterling/taxis/a")], entries(5))


def test_an_anchor_that_somebody_else_signed_counts_and_a_forged_one_does_not() -> None:
    stranger = anchor(3, key=OTHER)
    report = held([stranger, anchor(4)], entries(5))
    assert (report.holds, report.strangers) == (True, (stranger,))
    forged = Anchor("at 4", Note(note(4, contents=entries(4, 1)).text, note(4).signatures), anchor(4).checkpoint)
    report = held([forged], entries(5))
    (fault,) = report.forged
    assert (report.holds, fault.startswith("at 4: The signature of sterling/flights/00c0ffee does not hold")) == (
        False,
        True,
    )


def test_a_file_keeps_every_checkpoint_once(tmp_path: Path) -> None:
    file = FileAnchors(tmp_path / "new" / "anchors.txt")
    assert file.read() == ()
    for size in (3, 5, 3, 5):
        assert file.write(note(size)) == str(tmp_path / "new" / "anchors.txt")
    assert [found.checkpoint.size for found in file.read()] == [3, 5]
    assert (tmp_path / "new" / "anchors.txt").read_text() == f"{note(3)}\n{note(5)}"
    cosigned = Note(note(7).text, (*note(7).signatures, *OTHER.sign(note(7).text, "example.com/w").signatures))
    file.write(cosigned)
    assert [found.note for found in file.read()] == [note(3), note(5), cosigned]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b"", "each is a text and signatures below an empty line"),
        (b"notes\n", "each is a text"),
        (str(note(3)).encode()[:-10], "This is no signed note"),
        (f"{note(3)}\n{note(5).text}".encode(), "each is a text"),
        (b"o\n3\nx\n\n\xe2\x80\x94 a AAAAAAAA\n", "This is no checkpoint"),
        (b"\xff", "it is not UTF-8"),
    ],
)
def test_a_file_that_holds_something_else_is_left_as_it_is(tmp_path: Path, written: bytes, why: str) -> None:
    (tmp_path / "anchors.txt").write_bytes(written)
    with pytest.raises(SignatureError, match=f"{tmp_path / 'anchors.txt'}.*{why}"):
        FileAnchors(tmp_path / "anchors.txt").write(note(3))
    assert (tmp_path / "anchors.txt").read_bytes() == written


def test_a_file_that_may_not_be_written_is_one_sentence(read_only_folder: Path) -> None:
    with pytest.raises(StorageError, match=r"anchors.txt cannot be written: Permission denied\. Choose a place"):
        FileAnchors(read_only_folder / "anchors.txt").write(note(3))
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        FileAnchors(read_only_folder).read()


def test_a_tag_keeps_a_checkpoint_as_its_message(repository: Path) -> None:
    tags = GitAnchors(repository, "flights")
    assert tags.read() == ()
    for size in (30, 4, 30):
        assert tags.write(note(size)) == f"git tag sterling/flights/{size}"
    assert [(found.place, found.note) for found in tags.read()] == [
        ("git tag sterling/flights/4", note(4)), ("git tag sterling/flights/30", note(30)),
    ]  # fmt: skip
    assert git(repository, "tag", "--list", "--format=%(contents)", "sterling/flights/4") == f"{note(4)}\n"
    assert git(repository, "rev-parse", "sterling/flights/4^{}") == git(repository, "rev-parse", "HEAD")
    (repository / "below").mkdir()
    assert len(GitAnchors(repository / "below", "flights").read()) == 2
    assert GitAnchors(repository, "taxis").read() == ()


def test_a_tag_of_another_name_stands_for_itself(repository: Path) -> None:
    GitAnchors(repository, "flights").write(note(3))
    named = GitAnchors(repository, "flights", "audit/2026")
    assert named.read() == ()
    assert named.write(note(5)) == named.write(note(5)) == "git tag audit/2026"
    assert [found.checkpoint.size for found in named.read()] == [5]
    with pytest.raises(ConflictError, match="The tag audit/2026 holds another checkpoint, at 5 entries"):
        named.write(note(6))
    assert [found.checkpoint.size for found in GitAnchors(repository, "flights").read()] == [3]


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="this system has no ssh-keygen to sign tags with")
def test_the_settings_of_a_user_do_not_change_what_a_tag_holds(repository: Path, tmp_path: Path) -> None:
    git(repository, "config", "tag.gpgSign", "true")
    git(repository, "config", "gpg.format", "ssh")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True, timeout=60)
    git(repository, "config", "user.signingKey", str(tmp_path / "key"))
    tags = GitAnchors(repository, "flights")
    tags.write(note(3))
    assert "BEGIN SSH SIGNATURE" in git(repository, "cat-file", "tag", "sterling/flights/3")
    assert [found.note for found in tags.read()] == [note(3)]


def test_a_tag_that_holds_no_checkpoint_is_named(repository: Path) -> None:
    git(repository, "tag", "--annotate", "--message", "a release", "sterling/flights/1")
    with pytest.raises(SignatureError, match="git tag sterling/flights/1: This is no signed note"):
        GitAnchors(repository, "flights").read()
    git(repository, "tag", "light")
    with pytest.raises(SignatureError, match="The git tag light holds no checkpoint: it is not annotated"):
        GitAnchors(repository, "flights", "light").read()


@pytest.mark.parametrize("tag", ["-d", "a b", "a..b", "--delete", "a\nb", "/", "x\ty"])
def test_a_name_that_is_none_is_refused(repository: Path, tag: str) -> None:
    with pytest.raises(StorageError, match=r"is no name of a tag\. Example: git:audit-2026-03"):
        GitAnchors(repository, "flights", tag).write(note(3))


def test_a_name_is_never_read_by_a_shell(repository: Path) -> None:
    GitAnchors(repository, "flights", "x;touch${IFS}y`id`").write(note(3))
    assert [path.name for path in repository.iterdir()] == [".git"]


def test_what_git_cannot_do_is_one_sentence(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(StorageError, match=r"git for-each-ref failed in .*/empty: fatal: not a git repository"):
        GitAnchors(empty, "flights").read()
    git(empty, "init", "--quiet")
    with pytest.raises(StorageError, match=r"HEAD.*A tag needs a commit, and git must know who you are\."):
        GitAnchors(empty, "flights").write(note(3))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StorageError, match=r"Anchors in git need the git command\. Install it, or name a file"):
        GitAnchors(repository, "flights").read()


def test_a_target_is_a_tag_or_a_file(tmp_path: Path) -> None:
    shown = [repr(anchors_at(target, tmp_path, "flights")) for target in ("git:", "git:audit", "anchors.txt", "./git:")]
    assert shown == ["git tags sterling/flights/*", "git tag audit", "anchors.txt", "git:"]
