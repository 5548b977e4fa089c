"""Merkle trees against the vectors of Certificate Transparency, and against the definition of RFC 6962 word by word."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.merkle import (
    EMPTY,
    Tree,
    consistency_proof,
    consistency_spans,
    heads,
    inclusion_proof,
    inclusion_spans,
    tree_head,
    verify_consistency,
    verify_inclusion,
)

# The vectors of github.com/google/certificate-transparency (Apache-2.0), which other implementations share.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
G = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"

contents = st.lists(st.binary(max_size=3), min_size=1, max_size=40)


def naive_head(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = largest_power_below(len(leaves))
    return hashlib.sha256(b"\x01" + naive_head(leaves[:k]) + naive_head(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_head(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_head(leaves[:k])]


def naive_proof(m: int, leaves: list[bytes], *, known: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if m == len(leaves):
        return [] if known else [naive_head(leaves)]
    k = largest_power_below(len(leaves))
    if m <= k:
        return [*naive_proof(m, leaves[:k], known=known), naive_head(leaves[k:])]
    return [*naive_proof(m - k, leaves[k:], known=False), naive_head(leaves[:k])]


def largest_power_below(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


@pytest.mark.parametrize("size", range(9))
def test_the_heads_are_those_of_certificate_transparency(size: int) -> None:
    assert tree_head(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(
    ("index", "size", "path"), [(0, 1, []), (0, 8, [A, B, C]), (5, 8, [D, E, F]), (2, 3, [ROOTS[2]]), (1, 5, [ROOTS[1], B, D])]
)  # fmt: skip
def test_the_inclusion_proofs_are_those_of_certificate_transparency(index: int, size: int, path: list[str]) -> None:
    proof = inclusion_proof(LEAVES, index, size)
    assert [node.hex() for node in proof] == path
    assert verify_inclusion(LEAVES[index], index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(
    ("older", "newer", "path"), [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [G, E, F]), (2, 5, [B, D]), (2, 8, [B, C])]
)  # fmt: skip
def test_the_consistency_proofs_are_those_of_certificate_transparency(older: int, newer: int, path: list[str]) -> None:
    proof = consistency_proof(LEAVES, older, newer)
    assert [node.hex() for node in proof] == path
    assert verify_consistency(older, bytes.fromhex(ROOTS[older]), newer, bytes.fromhex(ROOTS[newer]), proof)


@given(contents, st.data())
def test_a_tree_that_grows_in_pieces_has_the_head_of_the_whole(leaves: list[bytes], data: st.DataObject) -> None:
    tree, at = Tree(), 0
    while at < len(leaves):
        piece = data.draw(st.integers(0, len(leaves) - at))
        tree.extend(leaves[at : at + piece])
        at += piece
        assert (tree.size, tree.head()) == (at, naive_head(leaves[:at]))
        if not piece:
            break


def test_a_head_over_more_leaves_than_are_hashed_at_once_is_right() -> None:
    leaves = [n.to_bytes(2, "big") for n in range(5000)]
    assert tree_head(iter(leaves)) == naive_head(leaves)
    assert heads(iter(leaves), [(0, 4999), (4096, 5000)]) == {
        (0, 4999): naive_head(leaves[:4999]), (4096, 5000): naive_head(leaves[4096:]),
    }  # fmt: skip


@given(contents, st.lists(st.tuples(st.integers(0, 45), st.integers(0, 45)).map(sorted).map(tuple), max_size=6))
def test_the_heads_of_any_spans_are_found_in_one_pass(leaves: list[bytes], spans: list[tuple[int, int]]) -> None:
    read = 0

    def once() -> Iterator[bytes]:
        nonlocal read
        for leaf in leaves:
            read += 1
            yield leaf

    found = heads(once(), spans)
    assert found == {(a, b): naive_head(leaves[a:b]) for a, b in spans if b <= len(leaves)}
    assert read <= len(leaves)


@given(contents, st.data())
def test_proofs_are_those_of_the_definition_and_hold(leaves: list[bytes], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(leaves)))
    index, older = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    root = naive_head(leaves[:size])
    path, proof = inclusion_proof(iter(leaves), index, size), consistency_proof(iter(leaves), older, size)
    assert path == naive_path(index, leaves[:size])
    assert proof == naive_proof(older, leaves[:size])
    assert verify_inclusion(leaves[index], index, size, path, root)
    assert verify_consistency(older, naive_head(leaves[:older]), size, root, proof)


@settings(max_examples=300)
@given(size=st.integers(1, 40), data=st.data())
def test_every_wrong_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    leaves = [n.to_bytes(2, "big") for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    root, path = naive_head(leaves), naive_path(index, leaves)
    other_index = data.draw(st.integers(-2, size + 2).filter(lambda n: n != index))
    assert not verify_inclusion(leaves[index], other_index, size, path, root)
    assert not verify_inclusion(leaves[index] + b"!", index, size, path, root)
    assert not verify_inclusion(leaves[index], index, size, path, flipped(data, root))
    for wrong in wrong_paths(data, path):
        assert not verify_inclusion(leaves[index], index, size, wrong, root)


@settings(max_examples=300)
@given(newer=st.integers(1, 40), data=st.data())
def test_every_wrong_consistency_proof_is_refused(newer: int, data: st.DataObject) -> None:
    leaves = [n.to_bytes(2, "big") for n in range(newer)]
    older = data.draw(st.integers(1, newer))
    older_root, newer_root, proof = naive_head(leaves[:older]), naive_head(leaves), naive_proof(older, leaves)
    other = data.draw(st.integers(0, newer).filter(lambda n: n != older))
    assert not verify_consistency(other, older_root, newer, newer_root, proof)
    assert not verify_consistency(older, flipped(data, older_root), newer, newer_root, proof)
    assert not verify_consistency(older, older_root, newer, flipped(data, newer_root), proof)
    for wrong in wrong_paths(data, proof):
        assert not verify_consistency(older, older_root, newer, newer_root, wrong)


@settings(max_examples=200)
@given(contents, st.data())
def test_no_proof_makes_a_rewritten_log_consistent(leaves: list[bytes], data: st.DataObject) -> None:
    older = data.draw(st.integers(1, len(leaves)))
    at = data.draw(st.integers(0, older - 1))
    rewritten = [*leaves[:at], leaves[at] + b"!", *leaves[at + 1 :]]
    for proof in (naive_proof(older, leaves), naive_proof(older, rewritten)):
        assert not verify_consistency(older, naive_head(leaves[:older]), len(leaves), naive_head(rewritten), proof)


def test_the_empty_tree_is_the_beginning_of_every_tree_and_proves_nothing_else() -> None:
    assert consistency_proof(LEAVES, 0, 8) == []
    assert verify_consistency(0, EMPTY, 8, tree_head(LEAVES), [])
    assert verify_consistency(0, EMPTY, 0, EMPTY, [])
    assert not verify_consistency(0, tree_head(LEAVES[:1]), 8, tree_head(LEAVES), [])
    assert not verify_consistency(0, EMPTY, 8, tree_head(LEAVES), [EMPTY])
    assert not verify_inclusion(b"", 0, 0, [], EMPTY)


def test_hashes_of_another_length_are_refused() -> None:
    root, path = tree_head(LEAVES), inclusion_proof(LEAVES, 5, 8)
    assert not verify_inclusion(LEAVES[5], 5, 8, [path[0][:31], *path[1:]], root)
    assert not verify_inclusion(LEAVES[5], 5, 8, [path[0] + path[1], *path[2:]], root)
    assert not verify_consistency(6, tree_head(LEAVES[:6]), 8, root, [b"", *consistency_proof(LEAVES, 6, 8)[1:]])


def test_a_proof_that_cannot_be_made_says_why() -> None:
    with pytest.raises(ValueError, match="There is no leaf 8 in a tree of 8"):
        inclusion_spans(8, 8)
    with pytest.raises(ValueError, match="A tree of 9 leaves is not the beginning of one of 8"):
        consistency_spans(9, 8)
    with pytest.raises(ValueError, match="fewer leaves than the 9"):
        inclusion_proof(LEAVES, 0, 9)


def flipped(data: st.DataObject, node: bytes) -> bytes:
    bit = data.draw(st.integers(0, 255))
    return (int.from_bytes(node, "big") ^ 1 << bit).to_bytes(32, "big")


def wrong_paths(data: st.DataObject, path: list[bytes]) -> Iterator[list[bytes]]:
    """A path that is too long, too short, out of order, or has another hash in it."""
    extra = data.draw(st.sampled_from([EMPTY, *path]))
    yield [*path, extra]
    yield [extra, *path]
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        yield path[:at] + path[at + 1 :]
        yield [*path[:at], flipped(data, path[at]), *path[at + 1 :]]
    if len(path) > 1:
        yield path[::-1]
