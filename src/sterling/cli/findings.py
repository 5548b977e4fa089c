"""What checks of a ledger found, in sentences for people and as JSON for programs."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sterling.cli.outside import sentence
from sterling.views.text import plural

if TYPE_CHECKING:
    from sterling.cli.outside import Outside
    from sterling.core.anchor import AnchorReport, AnchorStore
    from sterling.core.checkpoint import Proof
    from sterling.core.signing import VerifierKey
    from sterling.core.verify import VerifyReport
    from sterling.core.witness import HeadVerdict


def verified(
    report: VerifyReport, head: HeadVerdict, anchors: AnchorReport | None, outside: Sequence[Outside] = ()
) -> Iterator[str]:
    """What a verification found, in sentences."""
    if report.broken:
        yield f"Broken at entry {report.broken.position}: {report.broken.reason}. Before it {report.entries:,} entries hold."
    else:
        yield f"All {report.entries:,} entries hold."
    for cited in report.altered:
        yield f"Altered: {cited.ref} has other bytes than its name says; entry {cited.position} cites it."
    yield f"{report.blobs:,} blobs are what their names say."
    if report.missing:
        yield f"{len(report.missing):,} more are no longer in the store; a run makes them again."
    for position, count in Counter(cited.position for cited in report.erased).items():
        yield f"{plural(count, 'blob was', 'blobs were')} erased by entry {position}."
    if report.unfinished:
        entry = report.unfinished[-1].position
        yield f"{len(report.unfinished):,} that entry {entry} erased are still here: `sterling erase` again finishes it."
    yield from map(sentence, outside)
    yield head.reason
    if anchors:
        yield from _held(anchors)
    else:
        yield "Not found this way: a chain that was forged anew with its key. An anchor elsewhere shows that: --anchor."


def _held(report: AnchorReport) -> Iterator[str]:
    """What anchors say, in sentences."""
    if where := report.rewritten:
        since = f"after entry {where.after:,} and " if where.after else ""
        yield f"Rewritten {since}at or before entry {where.until:,}: {where.place} saw another chain."
    if cut := report.cut:
        yield (
            f"Cut, or replaced by an older copy: {cut.place} saw {cut.saw:,} entries, and there are {cut.entries:,}."
        )
    yield from (f"Forged: {fault}" for fault in report.forged)
    for anchor in report.other_chains:
        yield (
            f"Exchanged, or begun anew: {anchor.place} is of the chain {anchor.checkpoint.origin}, and this one is "
            f"{report.head.origin}."
        )
    if report.holds and report.anchors:
        added = report.head.size - report.older.size
        yield (
            f"Every anchor holds, the newest of {report.older.size:,} entries"
            f"{f'; {added:,} were added since' if added else ''}."
        )
    if report.strangers:
        unknown = plural(len(report.strangers), "checkpoint is signed", "checkpoints are signed")
        yield f"{unknown} with a key that is not known here. Name it with --key to have that checked."


def kept(report: AnchorReport, store: AnchorStore, place: str | None) -> Iterator[str]:
    """Where a checkpoint is kept now, in sentences."""
    if place is None:
        yield f"No checkpoint was written to {store!r}: what does not hold is not anchored."
        return
    yield f"The checkpoint of {report.head.size:,} entries is kept: {place}."
    if tag := place.partition("git tag ")[2]:
        yield f"Push it to where it is safe: git push origin {tag}"
    else:
        yield "Keep that file where whoever owns the ledger cannot write."


def proven(proof: Proof, named: Sequence[VerifierKey], places: Sequence[str]) -> Iterator[str]:
    """What a proof that holds says, in sentences."""
    entry, checkpoint = proof.entry(), proof.checkpoint
    yield (
        f"Entry {entry['position']} is in the ledger: {entry['kind']}, recorded {entry['recorded_at']} by "
        f"{entry['actor']} ({entry['attestor']})."
    )
    yield f"The ledger is {checkpoint.origin}, as it was with {checkpoint.size:,} entries."
    yield from (f"Signed by {named_key(key)}." for key in named)
    yield from (f"The checkpoint is kept in {place}." for place in places)
    if not named and not places:
        yield "Not checked: who signed that. Name the key with --key, or a place that keeps the checkpoint with --anchor."


def named_key(key: VerifierKey) -> str:
    """A key as people compare it."""
    return f"{key.name}, key {key.id.hex()}"


def verified_json(
    report: VerifyReport, head: HeadVerdict, anchors: AnchorReport | None, kept_at: str | None,
    outside: Sequence[Outside] = (), *, intact: bool,
) -> dict[str, Any]:  # fmt: skip
    """What a verification found."""
    return {
        "intact": intact,
        **asdict(report),
        "external": [file._asdict() for file in outside],
        "head": {
            "state": head.state, "reason": head.reason, "last": head.last,
            "count": head.head.count if head.head else None, "at": head.head.at if head.head else None,
        },
        "anchors": _anchors_json(anchors, kept_at) if anchors else None,
    }  # fmt: skip


def _anchors_json(report: AnchorReport, kept_at: str | None) -> dict[str, Any]:
    return {
        "holds": report.holds, "anchors": report.anchors,
        "rewritten": asdict(report.rewritten) if report.rewritten else None,
        "cut": asdict(report.cut) if report.cut else None,
        "forged": report.forged,
        "strangers": [anchor.place for anchor in report.strangers],
        "other_chains": [anchor.place for anchor in report.other_chains],
        "older": report.older.text, "head": report.head.text, "proof": [_base64(node) for node in report.proof],
        "kept_at": kept_at,
    }  # fmt: skip


def proof_json(
    proof: Proof, named: Sequence[VerifierKey], places: Sequence[str], faults: Sequence[str]
) -> dict[str, Any]:
    """What the check of a proof found."""
    return {
        "holds": not faults, "faults": faults, "checkpoint": proof.checkpoint.text,
        "signed_by": [str(key) for key in named] if not faults else [], "kept_in": places,
        "entry": proof.entry() if not proof.fault() else None,
    }  # fmt: skip


def _base64(node: bytes) -> str:
    return base64.b64encode(node).decode()
