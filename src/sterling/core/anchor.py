"""Anchors: checkpoints kept where the owner of the database does not rule, in a git tag or in a file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sterling.core.checkpoint import Checkpoint
from sterling.core.durable import write_file
from sterling.core.errors import ConflictError, SignatureError, StorageError
from sterling.core.merkle import EMPTY, Span, consistency_spans, heads, verify_consistency
from sterling.core.signing import Note, VerifierKey

_GIT = "git:"
_FORMAT = "%(objecttype)%00%(refname:strip=2)%00%(contents)%00%(contents:signature)%00%00"


@dataclass(frozen=True, slots=True)
class Anchor:
    """A checkpoint that is kept somewhere.

    Attributes:
        place: Where, as a reader finds it: a file, or a tag.
        note: The checkpoint with its signatures.
        checkpoint: The checkpoint.
    """

    place: str
    note: Note
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Where a chain was rewritten, as far as anchors can tell.

    Attributes:
        after: Size of the newest anchor before the change that still holds; 0 where none does.
        until: Size of the first anchor that does not.
        place: Where that one is kept.
    """

    after: int
    until: int
    place: str


@dataclass(frozen=True, slots=True)
class Cut:
    """A chain that an anchor saw longer than it is.

    Attributes:
        saw: How many entries the largest anchor saw.
        entries: How many there are.
        place: Where that anchor is kept.
    """

    saw: int
    entries: int
    place: str


@dataclass(frozen=True, slots=True)
class AnchorReport:
    """What anchors say about a chain.

    Attributes:
        anchors: How many checkpoints of this chain there are.
        rewritten: Where the chain was rewritten, if it was.
        cut: How much of it is missing at its end, if anything is.
        forged: Anchors whose signature with a known key does not hold, as sentences.
        strangers: Anchors that are signed with keys that are not known here; they count all the same.
        other_chains: Anchors of another chain of the same project, which shows that the ledger was begun anew or
            exchanged.
        older: The largest checkpoint that is no longer than the chain; one of no entries where there is none.
        head: The checkpoint of the chain as it is now.
        proof: Hashes by which ``head`` continues ``older`` (RFC 6962, section 2.1.2).
        consistent: Whether they prove it.
    """

    anchors: int
    rewritten: Rewritten | None
    cut: Cut | None
    forged: tuple[str, ...]
    strangers: tuple[Anchor, ...]
    other_chains: tuple[Anchor, ...]
    older: Checkpoint
    head: Checkpoint
    proof: tuple[bytes, ...]
    consistent: bool

    @property
    def holds(self) -> bool:
        """Whether every anchor holds."""
        return self.consistent and not (self.rewritten or self.cut or self.forged or self.other_chains)


class AnchorStore(Protocol):
    """A place where checkpoints are kept."""

    def read(self) -> tuple[Anchor, ...]:
        """Every checkpoint that is kept there.

        Raises:
            StorageError: if they cannot be read.
            SignatureError: if what is there is no checkpoint.
        """
        ...

    def write(self, note: Note) -> str:
        """Keep a checkpoint beside the others; where it is kept already, nothing is done.

        Returns:
            Where it is kept.

        Raises:
            StorageError: if it cannot be written.
            ConflictError: if another is kept under the same name.
        """
        ...


class FileAnchors:
    """Checkpoints in a file, oldest first, an empty line between them.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Anchor, ...]:
        """Every checkpoint in the file; none where there is no file."""
        try:
            blocks = self._path.read_text(encoding="utf-8").removesuffix("\n").split("\n\n")
        except FileNotFoundError:
            return ()
        except UnicodeDecodeError:
            raise SignatureError(f"{self._path} holds no checkpoints: it is not UTF-8.") from None
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror}.") from error
        if len(blocks) % 2:
            raise SignatureError(
                f"{self._path} holds no checkpoints: each is a text and signatures below an empty line."
            )
        notes = [f"{text}\n\n{signed}\n" for text, signed in zip(blocks[::2], blocks[1::2], strict=True)]
        return tuple(_anchor(str(self._path), note) for note in notes)

    def write(self, note: Note) -> str:
        """Add a checkpoint to the file."""
        notes = [anchor.note for anchor in self.read()]
        if all(known.text != note.text for known in notes):
            try:
                write_file(self._path, "\n".join(map(str, [*notes, note])).encode())
            except OSError as error:
                raise StorageError(
                    f"{self._path} cannot be written: {error.strerror}. Choose a place that you may write to."
                ) from error
        return str(self._path)

    def __repr__(self) -> str:
        return str(self._path)


class GitAnchors:
    """Checkpoints in the messages of annotated tags, ``sterling/<project>/<size>`` unless a tag is named.

    Args:
        folder: A folder of the repository.
        project: The project whose chain it is.
        tag: The tag, if it is to be another.
    """

    def __init__(self, folder: Path, project: str, tag: str | None = None) -> None:
        self._folder, self._project, self._tag = folder, project, tag

    def read(self) -> tuple[Anchor, ...]:
        """The checkpoints of the project's tags, or the one of the tag that was named."""
        return self._read(self._tag or f"sterling/{self._project}/")

    def write(self, note: Note) -> str:
        """Tag the current commit with a checkpoint."""
        tag = self._tag or f"sterling/{self._project}/{Checkpoint.parse(note.text).size}"
        if tag.startswith("-") or self._git("check-ref-format", f"refs/tags/{tag}", may_fail=True) is None:
            raise StorageError(f"{tag!r} is no name of a tag. Example: git:audit-2026-03")
        if known := self._read(tag):
            if known[0].checkpoint.text != note.text:
                raise ConflictError(
                    f"The tag {tag} holds another checkpoint, at {known[0].checkpoint.size} entries. Tags are never "
                    "moved: name another with git:TAG."
                )
        else:
            self._git("tag", "--annotate", "--cleanup=verbatim", "--file=-", tag, given=str(note))
        return f"git tag {tag}"

    def __repr__(self) -> str:
        return f"git tag {self._tag}" if self._tag else f"git tags sterling/{self._project}/*"

    def _read(self, names: str) -> tuple[Anchor, ...]:
        listed = self._git("for-each-ref", f"--format={_FORMAT}", f"refs/tags/{names}") or ""
        tags = [tag.lstrip("\n").split("\0") for tag in listed.split("\0\0\n") if tag.strip()]
        found = list[Anchor]()
        for kind, name, contents, signature in tags:
            if kind != "tag":
                raise SignatureError(f"The git tag {name} holds no checkpoint: it is not annotated.")
            found.append(_anchor(f"git tag {name}", contents.removesuffix(signature)))
        return tuple(sorted(found, key=lambda anchor: anchor.checkpoint.size))

    def _git(self, *arguments: str, given: str = "", may_fail: bool = False) -> str | None:
        command = ["git", "-C", str(self._folder), *arguments]
        try:
            ran = subprocess.run(
                command, input=given.encode(), capture_output=True, check=False, env=os.environ | {"LC_ALL": "C.UTF-8"}
            )
        except FileNotFoundError:
            raise StorageError("Anchors in git need the git command. Install it, or name a file.") from None
        if ran.returncode == 0:
            return ran.stdout.decode()
        if may_fail:
            return None
        hint = " A tag needs a commit, and git must know who you are." if arguments[0] == "tag" else ""
        said = " ".join(ran.stderr.decode(errors="replace").split())
        raise StorageError(f"git {arguments[0]} failed in {self._folder.absolute()}: {said}{hint}")


def anchors_at(target: str, folder: Path, project: str) -> AnchorStore:
    """The anchors that a text names: ``git:``, ``git:TAG``, or a file.

    Args:
        target: The text.
        folder: A folder of the git repository.
        project: The project whose chain is anchored.
    """
    if not target.startswith(_GIT):
        return FileAnchors(Path(target))
    return GitAnchors(folder, project, target.removeprefix(_GIT) or None)


def compare(
    anchors: Sequence[Anchor], origin: str, contents: Iterable[bytes], entries: int, keys: Sequence[VerifierKey]
) -> AnchorReport:
    """Hold a chain against every anchor of it, in one pass over its entries.

    Args:
        anchors: The anchors.
        origin: Name of the chain in checkpoints.
        contents: Canonical bytes of its entries, from the first.
        entries: How many there are; what was appended since does not count.
        keys: Keys whose signatures are checked.

    Raises:
        StorageError: if an anchor is of another project.
    """
    ours = sorted((a for a in anchors if a.checkpoint.origin == origin), key=lambda anchor: anchor.checkpoint.size)
    others = tuple(anchor for anchor in anchors if anchor.checkpoint.origin != origin)
    for anchor in others:
        if anchor.checkpoint.origin.rpartition("/")[0] != origin.rpartition("/")[0]:
            raise StorageError(f"{anchor.place} holds a checkpoint of {anchor.checkpoint.origin}, not of {origin}.")
    seen = [anchor for anchor in ours if anchor.checkpoint.size <= entries]
    older = seen[-1].checkpoint if seen else Checkpoint(origin, 0, EMPTY)
    path, whole = consistency_spans(older.size, entries), (0, entries)
    found = heads(contents, {*path, whole, *(_span(anchor) for anchor in seen)})
    head, proof = (
        Checkpoint(origin, entries, found.get(whole, b"")),
        tuple(found[span] for span in path if span in found),
    )
    return AnchorReport(
        anchors=len(ours),
        rewritten=_rewritten(seen, found),
        cut=Cut(ours[-1].checkpoint.size, entries, ours[-1].place) if len(ours) > len(seen) else None,
        forged=tuple(fault for anchor in ours if (fault := _forged(anchor, keys))),
        strangers=tuple(anchor for anchor in ours if not _forged(anchor, keys) and not anchor.note.signed_by(keys)),
        other_chains=others,
        older=older,
        head=head,
        proof=proof,
        consistent=verify_consistency(older.size, older.root, head.size, head.root, proof),
    )


def _rewritten(seen: Sequence[Anchor], found: Mapping[Span, bytes]) -> Rewritten | None:
    """The interval up to the first anchor that does not hold, from the last one before it."""
    after = 0
    for anchor in seen:
        if found.get(_span(anchor)) != anchor.checkpoint.root:
            return Rewritten(after, anchor.checkpoint.size, anchor.place)
        after = anchor.checkpoint.size
    return None


def _span(anchor: Anchor) -> Span:
    return (0, anchor.checkpoint.size)


def _forged(anchor: Anchor, keys: Sequence[VerifierKey]) -> str | None:
    try:
        anchor.note.signed_by(keys)
    except SignatureError as error:
        return f"{anchor.place}: {error}"
    return None


def _anchor(place: str, written: str) -> Anchor:
    try:
        note = Note.parse(written)
        return Anchor(place, note, Checkpoint.parse(note.text))
    except SignatureError as error:
        raise SignatureError(f"{place}: {error}") from None
