"""What must be kept: the bytes that the last run, the registered versions, approvals and certificates rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sterling.core.elsewhere import erasures
from sterling.core.evidence import Entry
from sterling.core.refs import Ref, refs_in
from sterling.views.facts import Run, latest_run, runs
from sterling.views.registry import versions

_ALWAYS = frozenset({"project.defined", "stage.failed", "predictions.logged"})
_NEWEST = frozenset({"outcomes.joined"})
_WITH_THEIR_RUNS = ("approval.", "version.approved", "certificate.", "run.reproduced", "reproduction.")


def needed(entries: Iterable[Entry]) -> frozenset[Ref]:
    """Refs that the evidence of the last run and of every registered version names.

    An approval or a certificate, open or not, needs what it names itself, and every run of a model or a version that
    it is about. Definitions, logs of failed stages and what was predicted are needed always, and so are the newest
    outcomes: nothing makes them again.
    Instead of what was erased, what replaced it is needed.

    Args:
        entries: The ledger, oldest first.
    """
    chain = tuple(entries)
    registered = (latest_run(chain, candidate=version.model) for version in versions(chain))
    kept = [fact for run in (latest_run(chain), *registered, *_vouched(chain)) if run is not None for fact in run.facts]
    kept += [entry for entry in chain if entry.kind in _ALWAYS or _vouches(entry)]
    kept += {entry.kind: entry for entry in chain if entry.kind in _NEWEST}.values()
    erased = erasures(chain)
    named = {Ref(ref) for entry in kept for ref in (*refs_in(entry.body), *_in_subjects(entry))}
    return frozenset(_follow(named, {old: erasure.by for old, erasure in erased.items()}))


def raw_files(entries: Iterable[Entry]) -> frozenset[Ref]:
    """Refs of raw files, which may be large and never are manifests.

    Args:
        entries: The ledger; entries of other kinds say nothing here.
    """
    facts = (entry for entry in entries if entry.kind in {"data.prepared", "data.snapshotted"})
    return frozenset(Ref(file["ref"]) for fact in facts for file in fact.body["inputs"] if file["locator"] != "table")


def _vouches(entry: Entry) -> bool:
    return entry.kind.startswith(_WITH_THEIR_RUNS)


def _vouched(chain: tuple[Entry, ...]) -> Iterator[Run]:
    """Runs of what approvals and certificates are about."""
    models = {f"version:{version.version}": version.model for version in versions(chain)}
    subjects = {subject for entry in chain if _vouches(entry) for subject in entry.evidence.subjects}
    about = {models.get(subject, Ref(subject.removeprefix("model:"))) for subject in subjects}
    return (run for run in runs(chain) if run.candidate in about) if about else iter(())


def _in_subjects(entry: Entry) -> Iterator[Ref]:
    """Refs that a subject ends with, as ``model:sha256:…`` does."""
    return refs_in([subject.partition(":")[2] for subject in entry.evidence.subjects])


def _follow(refs: Iterable[Ref], replaced: dict[Ref, Ref | None]) -> Iterator[Ref]:
    for ref in refs:
        found: Ref | None = ref
        while found in replaced:
            found = replaced[found]
        if found:
            yield found
