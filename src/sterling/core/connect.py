"""Open ledgers and stores by URL; an adapter is loaded only when its scheme is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sterling.core.errors import MissingExtraError, UnknownBackendError
from sterling.core.ledger import Ledger
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore, Store


def connect_ledger(url: str, project: str, *, actor: str = "unknown", attestor: str = "laptop") -> Ledger:
    """Open a project's chain in the ledger at a URL, such as ``sqlite:.sterling/ledger.db``.

    Raises:
        UnknownBackendError: if no adapter is registered for the scheme.
        MissingExtraError: if the adapter's own dependencies are not installed.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        return SQLiteLedger(_path(rest, url, "sqlite:.sterling/ledger.db"), project, actor=actor, attestor=attestor)
    found = _adapter("sterling.ledgers", scheme, url, built_in="sqlite", example="sqlite:.sterling/ledger.db")
    ledger: Ledger = found(url, project, actor=actor, attestor=attestor)
    return ledger


def connect_store(url: str) -> Store:
    """Open the store at a URL, such as ``file:.sterling/store``.

    Raises:
        UnknownBackendError: if no adapter is registered for the scheme.
        MissingExtraError: if the adapter's own dependencies are not installed.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "file":
        return LocalStore(_path(rest, url, "file:.sterling/store"))
    store: Store = _adapter("sterling.stores", scheme, url, built_in="file", example="file:.sterling/store")(url)
    return store


def _path(text: str, url: str, example: str) -> Path:
    if not text:
        raise UnknownBackendError(f"{url!r} names no path. Example: {example}")
    return Path(text)


def _adapter(group: str, scheme: str, url: str, *, built_in: str, example: str) -> Callable[..., Any]:
    found = {point.name: point for point in entry_points(group=group)}
    if scheme not in found:
        known = ", ".join(sorted({built_in, *found}))
        raise UnknownBackendError(f"No adapter for {scheme!r} in {url!r}. Known: {known}. Example: {example}")
    try:
        adapter: Callable[..., Any] = found[scheme].load()
    except ImportError as error:
        raise MissingExtraError(
            f"{scheme!r} needs an extra. Install it with: pip install 'sterling-ml[{scheme}]'"
        ) from error
    return adapter
