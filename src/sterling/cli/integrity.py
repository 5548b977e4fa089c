"""Commands about evidence that others can check: the chain, its witnessed head, anchors elsewhere, proofs of one entry."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sterling.cli import findings
from sterling.cli.options import AsJson, Chain, ProjectFolder
from sterling.cli.outside import look

if TYPE_CHECKING:
    from sterling.core.anchor import Anchor, AnchorReport, AnchorStore
    from sterling.core.checkpoint import Checkpoint, Proof
    from sterling.core.ledger import Chained, Ledger
    from sterling.core.signing import Note, VerifierKey
    from sterling.core.workspace import Workspace


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (verify, prove, key):
        app.command()(command)


def verify(
    anchor: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Keep a checkpoint in a file, in a tag of the project (git:) or git:TAG."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="TARGET", help="Compare with the checkpoints there, and write nothing.")
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="VKEY", help="A public key to trust beside our own; may be repeated."),
    ] = None,
    project: ProjectFolder = Path(),
    chain: Chain = None,
    as_json: AsJson = False,
) -> None:
    """Check every entry against the chain, its witnessed head and anchors, and every blob against its name."""
    from sterling.cli.console import print_json
    from sterling.core.verify import verify as verify_ledger
    from sterling.core.witness import check_head

    opened = _opened(project, keys, chain)
    found = _anchors(opened, anchor, against)  # before the chain, as the head, since that goes on
    kept = opened.workspace.heads().newest(opened.chain.chain, opened.named)
    report = verify_ledger(opened.ledger, opened.workspace.store())
    head = check_head(kept, opened.chain)
    last = head.last if report.broken else report.entries
    anchors = _held_against(opened, found, last) if found is not None else None
    intact = report.intact and head.holds and (anchors is None or anchors.holds)
    outside = look(opened.workspace, opened.ledger)
    if not as_json:
        _say(findings.verified(report, head, anchors, outside))
    kept_at = _keep(opened, anchors.head, anchor) if intact and anchors and anchor else None
    if as_json:
        print_json(findings.verified_json(report, head, anchors, kept_at, outside, intact=intact))
    else:
        _say(findings.kept(anchors, _store(anchor, opened), kept_at) if anchors and anchor else ())
    raise typer.Exit(0 if intact else 1)


def prove(
    position: Annotated[int | None, typer.Argument(help="Position of the entry to prove.", show_default=False)] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check the proof in a file; takes no project and no ledger.")
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Prove by a checkpoint that is kept there: a file, git: or git:TAG."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the proof there, not to the output.")
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="VKEY", help="With --check: a public key that must have signed; may be repeated."
        ),
    ] = None,
    project: ProjectFolder = Path(),
    as_json: AsJson = False,
) -> None:
    """Prove to somebody who does not have the ledger that an entry is in it, or check such a proof."""
    if check is not None and position is None:
        _check_proof(check, anchor, keys, project, as_json=as_json)
    elif position is not None and check is None:
        _make_proof(_opened(project, None), position, anchor, output, as_json=as_json)
    else:
        raise typer.BadParameter("Name the position of an entry to prove, or --check FILE, and not both.")


def key(project: ProjectFolder = Path(), as_json: AsJson = False) -> None:
    """Print the public key that signs for the project's ledger; the private one is made where there is none."""
    from sterling.cli.console import print_json

    opened = _opened(project, None)
    file = opened.workspace.key_file()
    public = file.make().verifier(opened.origin)
    if as_json:
        print_json({"vkey": str(public), "name": public.name, "id": public.id.hex(), "file": str(file.path)})
    else:
        print(public)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A project's chain, with the public keys that somebody named."""

    workspace: Workspace
    project: str
    ledger: Ledger
    chain: Chained
    named: tuple[VerifierKey, ...]

    @property
    def origin(self) -> str:
        from sterling.core.checkpoint import origin

        return origin(self.project, self.chain.chain.id)

    @property
    def trusted(self) -> tuple[VerifierKey, ...]:
        own = self.workspace.key_file().load()
        return (*((own.verifier(self.origin),) if own else ()), *self.named)

    def contents(self, until: int) -> Iterator[bytes]:
        """Canonical bytes of the entries, as far as they can be read."""
        from sterling.core.errors import TamperedLedgerError

        try:
            for record in self.chain.records(until=until):
                yield record.content
        except TamperedLedgerError:
            return


def _opened(folder: Path, keys: Iterable[str] | None, chain: str | None = None) -> _Opened:
    from sterling.cli.evidence import ledger_of
    from sterling.core.ledger import chained
    from sterling.core.signing import VerifierKey
    from sterling.core.workspace import Workspace

    named = tuple(VerifierKey.parse(key) for key in keys or ())
    ledger = ledger_of(folder, chain)
    return _Opened(Workspace(folder), chained(ledger).chain.project, ledger, chained(ledger), named)


def _anchors(opened: _Opened, anchor: str | None, against: str | None) -> list[Anchor] | None:
    """Every checkpoint at the places that were named; None where none was."""
    from sterling.core.errors import StorageError

    found = list(_store(anchor, opened).read()) if anchor else []
    if against:
        kept = _store(against, opened).read()
        if not kept:
            raise StorageError(f"There is no checkpoint in {_store(against, opened)!r} to compare with.")
        found += kept
    return found if anchor or against else None


def _held_against(opened: _Opened, anchors: list[Anchor], entries: int) -> AnchorReport:
    from sterling.core.anchor import compare

    return compare(anchors, opened.origin, opened.contents(entries), entries, opened.trusted)


def _store(target: str, opened: _Opened) -> AnchorStore:
    from sterling.core.anchor import anchors_at

    return anchors_at(target, opened.workspace.folder, opened.project)


def _keep(opened: _Opened, checkpoint: Checkpoint, target: str) -> str:
    return _store(target, opened).write(checkpoint.signed(opened.workspace.key_file().need()))


def _make_proof(opened: _Opened, position: int, target: str | None, output: Path | None, *, as_json: bool) -> None:
    from sterling.cli.console import print_json
    from sterling.core.checkpoint import Checkpoint, prove
    from sterling.core.durable import write_file
    from sterling.core.errors import StorageError

    last = _last_that_holds(opened)
    if not 0 < position <= last:
        raise StorageError(f"There is no entry {position}: the ledger has {last}.")
    anchor = _covering(_store(target, opened), opened.origin, position, last) if target else None
    size = anchor.checkpoint.size if anchor else last

    def vouch(root: bytes) -> Note:
        if anchor is None:
            return Checkpoint(opened.origin, size, root).signed(opened.workspace.key_file().need())
        if anchor.checkpoint.root != root:
            raise StorageError(
                f"The chain was rewritten: it is not the one that {anchor.place} saw. `sterling verify --against "
                f"{target}` says where."
            )
        return anchor.note

    proof = prove(opened.contents(size), position, size, vouch)
    if output is not None:
        write_file(output, str(proof).encode())
    if as_json:
        made = {"position": position, "checkpoint": proof.note.text, "proof": str(proof)}
        print_json(made | {"written": str(output) if output else None})
    else:
        print(f"Wrote {output}" if output else proof, end="\n" if output else "")


def _last_that_holds(opened: _Opened) -> int:
    """Position of the last entry of a chain that holds; nothing is signed of one that does not."""
    from sterling.core.ledger import check_chain
    from sterling.core.witness import check_head

    kept = opened.workspace.heads().newest(opened.chain.chain)
    head = check_head(kept, opened.chain)
    count, broken = check_chain(opened.chain.records(until=head.last))
    if broken or not head.holds:
        reason = f"Broken at entry {broken.position}: {broken.reason}." if broken else head.reason
        print(f"{reason} Nothing is proven from a ledger that does not hold.", file=sys.stderr)
        raise typer.Exit(1)
    return count


def _covering(store: AnchorStore, origin: str, position: int, last: int) -> Anchor:
    """The newest anchor of a chain that is over an entry."""
    from sterling.core.errors import StorageError

    fitting = [a for a in store.read() if a.checkpoint.origin == origin and position <= a.checkpoint.size <= last]
    if not fitting:
        raise StorageError(
            f"No checkpoint in {store!r} is over entry {position}. `sterling verify --anchor` writes one."
        )
    return max(fitting, key=lambda anchor: anchor.checkpoint.size)


def _check_proof(path: Path, target: str | None, keys: Sequence[str] | None, folder: Path, *, as_json: bool) -> None:
    from sterling.cli.console import print_json
    from sterling.core.checkpoint import Proof
    from sterling.core.errors import SignatureError
    from sterling.core.signing import VerifierKey

    try:
        proof = Proof.parse(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise SignatureError(f"{path} holds no proof: it is not UTF-8.") from None
    named = [VerifierKey.parse(key) for key in keys or ()]
    store = _store_of(proof, target, folder) if target else None
    places = [anchor.place for anchor in store.read() if anchor.checkpoint == proof.checkpoint] if store else []
    faults = list(_faults(proof, named))
    if store and not places:
        faults.append(f"The checkpoint is not one of those in {store!r}.")
    if as_json:
        print_json(findings.proof_json(proof, named, places, faults))
    else:
        _say(faults or findings.proven(proof, named, places))
    raise typer.Exit(1 if faults else 0)


def _store_of(proof: Proof, target: str, folder: Path) -> AnchorStore:
    from sterling.core.anchor import anchors_at

    project = proof.checkpoint.origin.removeprefix("sterling/").rpartition("/")[0]
    return anchors_at(target, folder, project)


def _faults(proof: Proof, named: Sequence[VerifierKey]) -> Iterator[str]:
    """Why a proof does not hold, in sentences."""
    from sterling.core.errors import SignatureError

    if fault := proof.fault():
        yield fault
    try:
        signed = proof.note.signed_by(named)
    except SignatureError as error:
        yield str(error)
    else:
        yield from (f"{findings.named_key(key)} did not sign the checkpoint." for key in named if key not in signed)


def _say(sentences: Iterable[str]) -> None:
    from rich.text import Text

    from sterling.cli.console import show

    for sentence in sentences:
        show(Text(sentence))
