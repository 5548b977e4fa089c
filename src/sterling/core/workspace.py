"""The workspace: where a project's ledger and store lie."""

from __future__ import annotations

import getpass
import os
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

    def ledger(self, project: str) -> Ledger:
        """The chain of the project; what is appended is witnessed, unless it is only to try things in."""
        ledger = connect_ledger(self.url, project, actor=_actor(), attestor=_attestor())
        if self.ledger_url or not isinstance(ledger, Chained):
            return ledger
        return WitnessedLedger(ledger, self.heads())

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
        return connect_ledger(self.url, found[0].project, actor=_actor(), attestor=_attestor(), chain=found[0])

    def heads(self) -> Heads:
        """The heads of chains that were appended to from here."""
        return Heads(self.home / "heads", self.key_file())

    def key_file(self) -> KeyFile:
        """Where the key lies that signs them."""
        named = os.environ.get("STERLING_KEY")
        return KeyFile(Path(named), named=True) if named else KeyFile(self.home / "signing.key")

    def store(self) -> Store:
        """The store of the project's bytes."""
        return connect_store(os.environ.get("STERLING_STORE") or f"file:{self.home / 'store'}")


def _actor() -> str:
    if named := os.environ.get("STERLING_ACTOR"):
        return named
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"uid:{os.getuid()}"


def _attestor() -> str:
    return os.environ.get("STERLING_ATTESTOR") or ("ci" if os.environ.get("CI") == "true" else "laptop")
