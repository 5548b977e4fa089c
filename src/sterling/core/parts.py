"""Blobs with their parts: a manifest is worth what it cites, and so on down."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sterling.core.refs import Ref, refs_in_file
from sterling.core.store import Store


def is_whole(store: Store, ref: Ref) -> bool:
    """Whether a store holds a blob, and where it is a manifest all that it cites."""
    return store.has(ref) and all(store.has(part) for part in with_parts(store, [ref]))


def with_parts(store: Store, refs: Iterable[Ref], *, but: Collection[Ref] = ()) -> frozenset[Ref]:
    """Refs, and all that the manifests among them cite.

    Args:
        store: Where the manifests lie.
        refs: The refs.
        but: Refs that are left out, and not followed, wherever they stand.

    Example:
        >>> from io import BytesIO
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from sterling.core.store import LocalStore
        >>> with TemporaryDirectory() as folder:
        ...     store = LocalStore(Path(folder))
        ...     rows = store.put(BytesIO(b"rows"))
        ...     manifest = store.put(BytesIO(b'["%s"]' % rows.encode()))
        ...     with_parts(store, [manifest]) == {manifest, rows}, is_whole(store, manifest)
        (True, True)
    """
    open_ends = [ref for ref in dict.fromkeys(refs) if ref not in but]
    seen = {*open_ends, *but}
    for ref in open_ends:  # grows while it is walked
        if store.has(ref):
            inner = [part for part in dict.fromkeys(refs_in_file(store.open(ref))) if part not in seen]
            seen.update(inner)
            open_ends.extend(inner)
    return frozenset(open_ends)
