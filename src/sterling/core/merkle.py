"""Merkle trees of RFC 6962: one hash for a log, and short proofs that an entry or an older log is in it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

Span = tuple[int, int]  # leaves from the first index up to, and without, the second

EMPTY = hashlib.sha256().digest()
_DIGEST = 32
_CHUNK = 1024
_sha256 = hashlib.sha256


class Tree:
    """The head of a tree that grows; it holds one hash for each level, so that a million leaves take 20.

    Example:
        >>> tree = Tree()
        >>> tree.extend([b"first", b"second", b"third"])
        >>> tree.size, tree.head() == tree_head([b"first", b"second", b"third"])
        (3, True)
    """

    def __init__(self) -> None:
        self.size = 0
        self._waiting: list[bytes | None] = []  # for each level, the left sibling of a node that is still to come

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves."""
        for hashes in _hashed(iter(leaves), None):
            self.extend_hashed(hashes)

    def extend_hashed(self, hashes: Sequence[bytes]) -> None:
        """Add leaves that are known by their hashes."""
        self.size += len(hashes)
        nodes, level = list(hashes), 0
        while nodes:
            if level == len(self._waiting):
                self._waiting.append(None)
            if (left := self._waiting[level]) is not None:
                nodes.insert(0, left)
            self._waiting[level] = nodes.pop() if len(nodes) % 2 else None
            pairs = iter(nodes)
            nodes = [_sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            level += 1

    def head(self) -> bytes:
        """Root hash over all leaves so far."""
        head: bytes | None = None
        for node in self._waiting:
            if node is not None:
                head = node if head is None else node_hash(node, head)
        return EMPTY if head is None else head


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of a leaf, which no inner node can have."""
    return _sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return _sha256(b"\x01" + left + right).digest()


def tree_head(leaves: Iterable[bytes]) -> bytes:
    """Root hash over leaves, read once and held no longer than needed.

    References:
        RFC 6962, section 2.1.

    Example:
        >>> tree_head([]).hex()
        'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    tree = Tree()
    tree.extend(leaves)
    return tree.head()


def heads(leaves: Iterable[bytes], spans: Iterable[Span]) -> dict[Span, bytes]:
    """Root hashes over several spans of the same leaves, in one pass over them.

    Every proof is made of such hashes, and a log is compared with its earlier heads by them.

    Args:
        leaves: The leaves, from the first.
        spans: Spans, which may overlap.

    Returns:
        The root hash of each span that the leaves reach to the end of; the others are left out.
    """
    ending: dict[int, set[int]] = defaultdict(set)  # where spans end, and where those that do begin
    for start, end in spans:
        ending[start], ending[end] = ending[start], ending[end] | {start}
    last_needed = {start: end for end in sorted(ending) for start in ending[end]}
    trees = {start: Tree() for start in last_needed}
    found: dict[Span, bytes] = {}
    source, at = iter(leaves), 0
    for stop in sorted(ending):
        growing = [trees[start] for start, end in last_needed.items() if start <= at < end]
        for hashes in _hashed(source, stop - at):
            at += len(hashes)
            for tree in growing:
                tree.extend_hashed(hashes)
        if at < stop:
            break
        found |= {(start, stop): trees[start].head() for start in ending[stop]}
    return found


def inclusion_spans(index: int, size: int) -> list[Span]:
    """The spans whose root hashes prove that a leaf is in a tree, from the leaf's sibling to the root's child.

    Args:
        index: Index of the leaf, 0 for the first.
        size: How many leaves the tree has.

    References:
        RFC 6962, section 2.1.1.

    Example:
        >>> inclusion_spans(2, 7)
        [(3, 4), (0, 2), (4, 7)]
    """
    if not 0 <= index < size:
        raise ValueError(f"There is no leaf {index} in a tree of {size}.")
    return _inclusion(index, 0, size)


def consistency_spans(older: int, newer: int) -> list[Span]:
    """The spans whose root hashes prove that a tree is the beginning of a larger one.

    Args:
        older: How many leaves the older tree has.
        newer: How many leaves the newer tree has, not fewer.

    References:
        RFC 6962, section 2.1.2.

    Example:
        >>> consistency_spans(3, 7)
        [(2, 3), (3, 4), (0, 2), (4, 7)]
    """
    if not 0 <= older <= newer:
        raise ValueError(f"A tree of {older} leaves is not the beginning of one of {newer}.")
    return _consistency(older, 0, newer, known=True) if older else []


def inclusion_proof(leaves: Iterable[bytes], index: int, size: int) -> list[bytes]:
    """The hashes that prove that a leaf is in the tree of the first ``size`` leaves, read once."""
    return _proof(leaves, inclusion_spans(index, size), size)


def consistency_proof(leaves: Iterable[bytes], older: int, newer: int) -> list[bytes]:
    """The hashes that prove that the tree of the first ``older`` leaves is the beginning of that of ``newer``."""
    return _proof(leaves, consistency_spans(older, newer), newer)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a path proves that a leaf stands at an index of the tree with this size and root.

    References:
        RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size or any(len(node) != _DIGEST for node in path):
        return False
    here, last, found = index, size - 1, leaf_hash(leaf)
    for node in path:
        if last == 0:
            return False
        if here % 2 or here == last:
            found = node_hash(node, found)
            here, last = _skip_levels_without_sibling(here, last)
        else:
            found = node_hash(found, node)
        here, last = here // 2, last // 2
    return last == 0 and found == root


def verify_consistency(older: int, older_root: bytes, newer: int, newer_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether a path proves that the newer tree begins with all leaves of the older one, in their order.

    References:
        RFC 9162, section 2.1.4.2.
    """
    if not 0 <= older <= newer or any(len(node) != _DIGEST for node in path):
        return False
    if older == newer:
        return not path and older_root == newer_root
    if older == 0:
        return not path and older_root == EMPTY
    nodes = [older_root, *path] if older & (older - 1) == 0 else list(path)
    if not nodes:
        return False
    here, last = older - 1, newer - 1
    while here % 2:
        here, last = here // 2, last // 2
    found_older = found_newer = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if here % 2 or here == last:
            found_older, found_newer = node_hash(node, found_older), node_hash(node, found_newer)
            here, last = _skip_levels_without_sibling(here, last)
        else:
            found_newer = node_hash(found_newer, node)
        here, last = here // 2, last // 2
    return last == 0 and found_older == older_root and found_newer == newer_root


def _hashed(leaves: Iterator[bytes], count: int | None) -> Iterator[list[bytes]]:
    """Hashes of the next leaves, of all where the count is None, a chunk at a time."""
    while count is None or count > 0:
        chunk = islice(leaves, _CHUNK if count is None else min(count, _CHUNK))
        if not (hashes := [_sha256(b"\x00" + leaf).digest() for leaf in chunk]):
            return
        yield hashes
        if count is not None:
            count -= len(hashes)


def _proof(leaves: Iterable[bytes], spans: list[Span], size: int) -> list[bytes]:
    found = heads(leaves, spans)
    if any(span not in found for span in spans):
        raise ValueError(f"There are fewer leaves than the {size} of the tree.")
    return [found[span] for span in spans]


def _inclusion(index: int, start: int, end: int) -> list[Span]:
    if end - start == 1:
        return []
    middle = start + _left_size(end - start)
    if index < middle:
        return [*_inclusion(index, start, middle), (middle, end)]
    return [*_inclusion(index, middle, end), (start, middle)]


def _consistency(older: int, start: int, end: int, *, known: bool) -> list[Span]:
    """Spans for the part of the tree from ``start`` to ``end``; its hash is known where all lies in the older tree."""
    if older == end:
        return [] if known else [(start, end)]
    middle = start + _left_size(end - start)
    if older <= middle:
        return [*_consistency(older, start, middle, known=known), (middle, end)]
    return [*_consistency(older, middle, end, known=False), (start, middle)]


def _left_size(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1


def _skip_levels_without_sibling(here: int, last: int) -> tuple[int, int]:
    while here and not here % 2:
        here, last = here // 2, last // 2
    return here, last
