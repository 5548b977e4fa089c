"""The workspace: where a project's ledger and store lie."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sterling.core.connect import connect_ledger, connect_store, list_chains
from sterling.core.errors import InvalidDefinitionError
from sterling.core.ledger import Chained, Ledger
from sterling.core.signing import KeyFile
from sterling.core.store import Store
from sterling.core.witness import Heads, WitnessedLedger


@dataclass(frozen=True, slots=True)
class Workspace:
    """``.sterling/`` beside a project, or what ``STERLING_LEDGER``, ``STERLING_STORE`` and ``STERLING_KEY`` say.

    Attributes:
        folder: The project's folder.
        ledger_url: Another ledger than that, to try things in.
    """

    folder: Path
    ledger_url: str | None = None

    @property
    def home(self) -> Path:
        """The folder of everything that Sterling keeps on this machine for the project."""
        return self.folder / ".sterling"

    @property
    def url(self) -> str:
        """Where the ledger lies."""
        return self.ledger_url or os.environ.get("STERLING_LEDGER") or f"sqlite:{self.home / 'ledger.db'}"

    @property
    def fingerprints(self) -> Path:
        """What is known of raw files by their size and time; it may be lost at any time."""
        return self.home / "fingerprints.json"

    @property
    def events(self) -> Path:
        """Rows that arrived at the server of the project."""
        return self.home / "events.db"

    @property
    def served(self) -> Path:
        """Vectors as the server of the project served them."""
        return self.home / "served"

    @property
    def predictions(self) -> Path:
        """What the server of the project predicted, as far as it is not in the store yet."""
        return self.home / "predictions"

    @property
    def counters(self) -> Path:
        """What the server of the project counted of each stage of a rollout."""
        return self.home / "counters"

    @property
    def plan(self) -> Path:
        """What the server of the project has read of the ledger, signed."""
        return self.home / "plan.json"

    @property
    def outcomes(self) -> Path:
        """Outcomes and complaints that arrived at the server of the project."""
        return self.home / "outcomes.db"

    @property
    def lock(self) -> Path:
        """What a run holds; in the folder of the store where that is a folder, so that all who share it see it."""
        shared = self._store_folder if os.environ.get("STERLING_STORE") else None
        return (shared or self.home) / "run.lock"

    @property
    def work(self) -> Path:
        """What lets a step go on after a kill, beside the lock, so that all who share a store in a folder share it."""
        return self.lock.parent / "work"

    def ledger(self, project: str) -> Ledger:
        """The chain of the project; what is appended is witnessed, unless it is only to try things in."""
        ledger = connect_ledger(self.url, project, actor=actor(), attestor=_attestor())
        if self.ledger_url or not isinstance(ledger, Chained):
            return ledger
        return WitnessedLedger(ledger, self.heads())

    def only_project(self) -> str | None:
        """The project whose chain is the only one in the workspace's own ledger; None where that does not say it."""
        own = self.home / "ledger.db"
        if self.url != f"sqlite:{own}" or not own.is_file():
            return None
        chains = [chain.project for chain in list_chains(self.url) if not chain.copied]
        return chains[0] if len(chains) == 1 else None

    def chain(self, named: str) -> Ledger:
        """Any chain of the ledger, a copy as well, by its id or the beginning of it.

        Raises:
            InvalidDefinitionError: if none begins so, or several do.
        """
        chains = list_chains(self.url)
        found = [chain for chain in chains if chain.id.startswith(named)]
        if len(found) != 1:
            raise InvalidDefinitionError(
                f"{len(found) or 'No'} chains of the ledger begin with {named!r}. "
                + (f"Known: {', '.join(f'{chain.id} ({chain.project})' for chain in chains[:10])}." if chains else "")
            )
        return connect_ledger(self.url, found[0].project, actor=actor(), attestor=_attestor(), chain=found[0])

    def every_chain(self) -> Iterator[Ledger]:
        """Every chain of the ledger, those of other projects and copies as well."""
        for chain in list_chains(self.url):
            yield connect_ledger(self.url, chain.project, actor=actor(), attestor=_attestor(), chain=chain)

    def is_stored(self, path: Path) -> bool:
        """Whether a file belongs to the ledger or to the store, as far as these lie in files."""
        scheme, _, ledger = self.url.partition(":")
        known, folder = Path(ledger).resolve(), self._store_folder
        is_ledger = scheme == "sqlite" and path.resolve() in {
            known, *(known.with_name(f"{known.name}-{part}") for part in ("wal", "shm"))
        }  # fmt: skip
        return is_ledger or (folder is not None and path.resolve().is_relative_to(folder.resolve()))

    def arriving(self) -> tuple[Path, ...]:
        """Files on their way into a store that is a folder; while nothing runs, all of them were left behind."""
        folder = self._store_folder
        return tuple((folder / "incoming").glob("*")) if folder else ()

    @property
    def _store_folder(self) -> Path | None:
        scheme, _, named = self.store_url.partition(":")
        return Path(named) if scheme == "file" else None

    @property
    def store_url(self) -> str:
        """Where the store lies."""
        return os.environ.get("STERLING_STORE") or f"file:{self.home / 'store'}"

    def heads(self) -> Heads:
        """The heads of chains that were appended to from here."""
        return Heads(self.home / "heads", self.key_file())

    def key_file(self) -> KeyFile:
        """Where the key lies that signs them."""
        named = os.environ.get("STERLING_KEY")
        return KeyFile(Path(named), named=True) if named else KeyFile(self.home / "signing.key")

    def store(self) -> Store:
        """The store of the project's bytes."""
        return connect_store(self.store_url)


def actor() -> str:
    """Who acts, as `STERLING_ACTOR` says or the operating system does."""
    if named := os.environ.get("STERLING_ACTOR"):
        return named
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"uid:{os.getuid()}"


def _attestor() -> str:
    return os.environ.get("STERLING_ATTESTOR") or ("ci" if os.environ.get("CI") == "true" else "laptop")
