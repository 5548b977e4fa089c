"""Open ledgers and stores by URL; an adapter is loaded only when its scheme is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sterling.core.errors import MissingExtraError, UnknownBackendError
from sterling.core.ledger import ChainInfo, Ledger
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore, Store

_LEDGER_EXAMPLE = "sqlite:.sterling/ledger.db"
_EXTRAS = {  # where it is not called as the scheme
    "postgresql": "postgres", "gs": "gcs", "abfs": "azure", "redis": "valkey", "rediss": "valkey", "valkeys": "valkey",
}  # fmt: skip


def connect_ledger(
    url: str, project: str, *, actor: str = "unknown", attestor: str = "laptop", chain: ChainInfo | None = None
) -> Ledger:
    """Open a project's chain in the ledger at a URL, such as ``sqlite:.sterling/ledger.db``.

    Args:
        url: Where the ledger lies.
        project: Name of the project; its own chain is begun where there is none.
        actor: Who appends.
        attestor: What vouches for the actor.
        chain: Open this chain instead, whoever it belongs to; begun as it says where it is not there yet.

    Raises:
        UnknownBackendError: if no adapter is registered for the scheme.
        MissingExtraError: if the adapter's own dependencies are not installed.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        path = _path(rest, url, _LEDGER_EXAMPLE)
        return SQLiteLedger(path, project, actor=actor, attestor=attestor, chain=chain)
    found = adapter("sterling.ledgers", scheme, built_in="sqlite", example=_LEDGER_EXAMPLE)
    ledger: Ledger = found(url, project, actor=actor, attestor=attestor, chain=chain)
    return ledger


def list_chains(url: str) -> tuple[ChainInfo, ...]:
    """Every chain in the ledger at a URL, by project and age.

    Raises:
        UnknownBackendError: if no adapter is registered for the scheme.
        MissingExtraError: if the adapter's own dependencies are not installed.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        return SQLiteLedger.chains(_path(rest, url, _LEDGER_EXAMPLE))
    found = adapter("sterling.ledgers", scheme, built_in="sqlite", example=_LEDGER_EXAMPLE)
    chains: tuple[ChainInfo, ...] = found.chains(url)
    return chains


def roles_of(url: str, *, reader: str, writer: str, approver: str) -> str:
    """The SQL that makes three roles in the database of a ledger, with what each may do.

    Raises:
        UnknownBackendError: if the ledger at the URL knows no roles.
    """
    scheme, _, _ = url.partition(":")
    found: Any = None
    if scheme != "sqlite":
        found = adapter("sterling.ledgers", scheme, built_in="sqlite", example=_LEDGER_EXAMPLE)
    if not hasattr(found, "roles"):
        raise UnknownBackendError(
            f"A ledger at {scheme}: has no roles: who may write its file may do everything. Roles take a database with "
            "users, such as postgresql://ada@db.example.com/evidence"
        )
    sql: str = found.roles(url, reader=reader, writer=writer, approver=approver)
    return sql


def connect_store(url: str) -> Store:
    """Open the store at a URL, such as ``file:.sterling/store``.

    Raises:
        UnknownBackendError: if no adapter is registered for the scheme.
        MissingExtraError: if the adapter's own dependencies are not installed.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "file":
        return LocalStore(_path(rest, url, "file:.sterling/store"))
    store: Store = adapter("sterling.stores", scheme, built_in="file", example="file:.sterling/store")(url)
    return store


def adapter(group: str, scheme: str, *, built_in: str, example: str) -> Any:
    """What an installed package offers for a URL's scheme.

    Args:
        group: Entry points among which it is looked for.
        scheme: The scheme.
        built_in: The scheme that needs no adapter.
        example: A URL that works.

    Raises:
        UnknownBackendError: if no adapter is registered for the scheme.
        MissingExtraError: if the adapter's own dependencies are not installed.
    """
    from importlib.metadata import entry_points  # what is built in does not wait for it

    found = {point.name: point for point in entry_points(group=group)}
    if scheme not in found:
        known = ", ".join(sorted({built_in, *found}))
        raise UnknownBackendError(f"No adapter for {scheme!r}. Known: {known}. Example: {example}")
    try:
        return found[scheme].load()
    except ImportError as error:
        raise MissingExtraError(
            f"{scheme!r} needs an extra. Install it with: pip install 'sterling-ml[{_EXTRAS.get(scheme, scheme)}]'"
        ) from error


def _path(text: str, url: str, example: str) -> Path:
    if not text:
        raise UnknownBackendError(f"{url!r} names no path. Example: {example}")
    return Path(text)
