"""Check that a ledger and its store are what they were: the chain, what queries go by, and every blob that is cited."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sterling.core.elsewhere import REFERENCED, erased_in
from sterling.core.errors import SterlingError
from sterling.core.evidence import Query
from sterling.core.ledger import Broken, Ledger, chained
from sterling.core.refs import Ref, refs_in_file
from sterling.core.store import Store
from sterling.core.walk import walk


@dataclass(frozen=True, slots=True)
class Cited:
    """A blob, and where the ledger cites it first.

    Attributes:
        ref: Name of the blob.
        position: Position of the first entry that cites it, itself or through a manifest.
    """

    ref: Ref
    position: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        entries: How many entries hold, counted from the first.
        broken: The first entry that does not hold, and why; None where all do.
        blobs: How many blobs are cited and are what their name says.
        altered: Blobs that are cited and held, with other bytes than their name says, by the position that cites them.
        missing: Refs that are cited and not held, by the position that cites them. Garbage collection leaves such, and
            a run makes them again, so that they do not break the verdict.
        erased: Refs that are cited and were erased, by the position of the entry that says so.
        unfinished: Those of them that are still held, since the erasing was stopped.
        external: Refs of files that are kept elsewhere, by the position that says so.
    """

    entries: int
    broken: Broken | None
    blobs: int
    altered: tuple[Cited, ...]
    missing: tuple[Cited, ...]
    erased: tuple[Cited, ...] = ()
    unfinished: tuple[Cited, ...] = ()
    external: tuple[Cited, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether no entry and no blob was changed."""
        return self.broken is None and not self.altered


def verify(ledger: Ledger, store: Store) -> VerifyReport:
    """Walk a chain and everything that it cites.

    Found are entries that were changed, removed, moved, inserted or exchanged, indexes that were edited so that
    queries would lie, and blobs with other bytes. Not found is a chain that was cut at its end, or forged anew from
    some entry to its end: that takes a head which was kept outside of the database.

    Args:
        ledger: The chain.
        store: Where the blobs lie that it cites.

    Returns:
        What holds, what does not, and where that shows first.
    """
    walked = walk(chained(ledger))
    intact, altered, missing = _check_blobs(store, walked.first_cited)
    erased, external = _explained(ledger)
    return VerifyReport(
        entries=walked.entries,
        broken=walked.broken,
        blobs=intact,
        altered=tuple(altered),
        missing=tuple(cited for cited in missing if cited.ref not in {*erased, *external}),
        erased=_among(erased, {cited.ref for cited in missing}),
        unfinished=_among(erased, {ref for ref in erased if store.has(ref)}),
        external=_among(external, {cited.ref for cited in missing} - set(erased)),
    )


def _explained(ledger: Ledger) -> tuple[dict[Ref, int], dict[Ref, int]]:
    """What was erased and what is kept elsewhere, with the positions that say so; nothing where that cannot be read."""
    try:
        erased = {ref: erasure.position for ref, erasure in erased_in(ledger).items()}
        return erased, {Ref(entry.body["ref"]): entry.position for entry in ledger.read(Query((REFERENCED,)))}
    except (SterlingError, KeyError, TypeError):  # a chain that was tampered with explains nothing
        return {}, {}


def _among(found: dict[Ref, int], refs: Collection[Ref]) -> tuple[Cited, ...]:
    return tuple(_by_position(Cited(ref, position) for ref, position in found.items() if ref in refs))


def _check_blobs(store: Store, first_cited: dict[Ref, int]) -> tuple[int, list[Cited], list[Cited]]:
    intact, altered, missing = 0, list[Cited](), list[Cited]()
    open_ends, seen = [Cited(ref, position) for ref, position in first_cited.items()], set(first_cited)
    for cited in open_ends:  # grows while it is walked, by what manifests cite
        if not store.has(cited.ref):
            missing.append(cited)
        elif not store.intact(cited.ref):
            altered.append(cited)
        else:
            intact += 1
            inner = [ref for ref in dict.fromkeys(refs_in_file(store.open(cited.ref))) if ref not in seen]
            seen.update(inner)
            open_ends.extend(Cited(ref, cited.position) for ref in inner)
    return intact, _by_position(altered), _by_position(missing)


def _by_position(cited: Iterable[Cited]) -> list[Cited]:
    return sorted(cited, key=lambda one: (one.position, one.ref))
