"""Where the online state lies: a few bytes under each name, written all or none.

A name is the project's, a view's digest and an entity. How far a view has followed its events is kept under a name of
its own and written together with the states, on the condition that nobody else has gone on meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sterling.core.connect import adapter
from sterling.core.errors import UnknownBackendError

_EXAMPLE = "sqlite:.sterling/state.db"


@runtime_checkable
class OnlineStore(Protocol):
    """Bytes under names, of which several are read or written as one."""

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What lies under each name, all at one moment; None where nothing does.

        Raises:
            StorageError: if the store cannot be reached or read.
        """
        ...

    def put(self, items: Mapping[bytes, bytes | None], *, when: tuple[bytes, bytes | None] | None = None) -> bool:
        """Write all or none.

        Args:
            items: Bytes by name; None removes what is there.
            when: A name and what must still lie under it, None for nothing.

        Returns:
            False where something else lies there; nothing is written then.

        Raises:
            StorageError: if the store cannot be reached or written.
        """
        ...


def connect_online(url: str) -> OnlineStore:
    """Open the online store at a URL, such as ``sqlite:.sterling/state.db`` or ``valkey://cache.example.com``.

    Raises:
        UnknownBackendError: if no adapter is registered for the scheme.
        MissingExtraError: if the adapter's own dependencies are not installed.
        InvalidDefinitionError: if the URL says what cannot be meant.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = connect_online(f"sqlite:{folder}/state.db")
        ...     store.put({b"flights/offset": b"7"}, when=(b"flights/offset", None))
        ...     store.get([b"flights/offset", b"flights/other"])
        True
        [b'7', None]
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        from sterling.features.online_sqlite import SQLiteOnlineStore

        if not rest:
            raise UnknownBackendError(f"{url!r} names no path. Example: {_EXAMPLE}")
        return SQLiteOnlineStore(Path(rest))
    found: Any = adapter("sterling.online_stores", scheme, built_in="sqlite", example=_EXAMPLE)
    store: OnlineStore = found(url)
    return store


def state_key(project: str, view: str, entity: bytes) -> bytes:
    """Name of the state of an entity.

    Args:
        project: Name of the project.
        view: Digest of the view's plan.
        entity: The entity, packed.

    Example:
        >>> state_key("flights", "d1", b'["JFK"]')
        b'flights/d1/["JFK"]'
    """
    return f"{project}/{view}/".encode() + entity


def offset_key(project: str, view: str) -> bytes:
    """Name under which lies how far a view has followed the log of its source; no entity is called so.

    Example:
        >>> offset_key("flights", "d1")
        b'flights/d1/offset'
    """
    return state_key(project, view, b"offset")
