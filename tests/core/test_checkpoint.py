"""Checkpoints and proofs in the forms of C2SP, which a third party reads without the ledger."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sterling.core.canonical import canonical
from sterling.core.checkpoint import Checkpoint, Proof, origin, prove
from sterling.core.errors import SignatureError
from sterling.core.merkle import tree_head
from sterling.core.signing import Note, SigningKey, VerifierKey

# c2sp.org/tlog-checkpoint, its example; the key is not published with it.
EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
ORIGIN = origin("flights", "00c0ffee")
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def entries(count: int) -> list[bytes]:
    return [canonical({"position": n, "kind": "a.happened", "body": {"n": n / 7}}) for n in range(1, count + 1)]


def proven(count: int, position: int) -> Proof:
    return prove(entries(count), position, count, lambda root: Checkpoint(ORIGIN, count, root).signed(KEY))


def test_the_example_of_the_specification_is_read() -> None:
    note = Note.parse(EXAMPLE)
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text == note.text


def test_a_checkpoint_is_signed_under_its_origin() -> None:
    checkpoint = Checkpoint(ORIGIN, 3, tree_head(entries(3)))
    note = Note.parse(str(checkpoint.signed(KEY)))
    assert Checkpoint.parse(note.text) == checkpoint
    assert note.signed_by([KEY.verifier(ORIGIN)]) == (KEY.verifier(ORIGIN),)
    assert ORIGIN == "sterling/flights/00c0ffee"


def test_lines_of_others_below_a_checkpoint_are_passed_over() -> None:
    text = Checkpoint(ORIGIN, 3, bytes(32)).text
    assert Checkpoint.parse(f"{text}mirrored 7\n") == Checkpoint(ORIGIN, 3, bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "", "o\n7\n", "o\n07\n{}\n", "o\n-7\n{}\n", "o\n+7\n{}\n", "o\n7\n{}", "\n7\n{}\n", "o\n7\nAAAA\n", "o\n7\n{}\n\nx\n",
        "o\n٧\n{}\n", f"o\n{'9' * 5000}\n{{}}\n", "o\n7\n{}!\n", "sterling head v1\nchain a\nproject b\ncount 3\n",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(SignatureError, match="This is no checkpoint"):
        Checkpoint.parse(text.replace("{}", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="))


@settings(max_examples=60)
@given(st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count))))
def test_a_proof_of_any_entry_reads_back_and_holds(at: tuple[int, int]) -> None:
    count, position = at
    proof = Proof.parse(str(proven(count, position)))
    assert proof == proven(count, position)
    assert proof.fault() is None
    assert proof.entry() == {"position": position, "kind": "a.happened", "body": {"n": position / 7}}
    assert proof.checkpoint == Checkpoint(ORIGIN, count, tree_head(entries(count)))


def test_a_proof_has_the_form_of_the_specification() -> None:
    lines = str(proven(5, 3)).split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].startswith("extra eyJ")
    assert lines[2] == "index 2"
    assert [len(line) for line in lines[3:7]] == [44, 44, 44, 0]
    assert lines[7:9] == [ORIGIN, "5"]
    assert lines[11].startswith(f"— {ORIGIN} ")


@settings(max_examples=200)
@given(data=st.data())
def test_whatever_is_changed_in_a_proof_is_found(data: st.DataObject) -> None:
    whole = str(proven(11, 6))
    at = data.draw(st.integers(0, len(whole) - 1))
    char = data.draw(st.sampled_from("A7=/\n —x").filter(lambda char: char != whole[at]))
    trusted: list[VerifierKey] = [KEY.verifier(ORIGIN)]
    try:
        proof = Proof.parse(whole[:at] + char + whole[at + 1 :])
        assert proof.fault() or not proof.note.signed_by(trusted)
    except SignatureError:
        pass


def test_an_entry_at_another_place_than_it_says_is_found() -> None:
    swapped = entries(4)
    swapped[1], swapped[2] = swapped[2], swapped[1]
    proof = prove(swapped, 2, 4, lambda root: Checkpoint(ORIGIN, 4, root).signed(KEY))
    assert proof.fault() == "The entry says that it stands at position 3, and was proven to stand at 2."


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"no json", b"\xff"])
def test_a_leaf_that_is_no_entry_is_said(content: bytes) -> None:
    proof = prove([content], 1, 1, lambda root: Checkpoint(ORIGIN, 1, root).signed(KEY))
    assert proof.fault() == "What stands in the tree is no entry of a ledger."


def test_a_proof_for_another_tree_does_not_hold() -> None:
    proof = proven(5, 3)
    other = Proof(proof.content, proof.index, proof.path, proven(6, 3).note)
    assert other.fault() == "The entry is not in the tree of the checkpoint: one of the two was changed."


@pytest.mark.parametrize(
    "change",
    [("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"), ("extra ", "xtra "), ("extra ", "extra !"), ("index 2", "index 02"), ("\n\n", "\n")],
)  # fmt: skip
def test_what_is_no_proof_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(SignatureError, match="This is no"):
        Proof.parse(str(proven(5, 3)).replace(*change))
    with pytest.raises(SignatureError, match=r"This is no proof of an entry: it must begin with c2sp.org"):
        Proof.parse(json.dumps({}))


def test_there_is_no_proof_of_an_entry_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="There is no leaf 5 in a tree of 5"):
        proven(5, 6)
    with pytest.raises(ValueError, match="There are fewer entries than 9"):
        prove(entries(5), 1, 9, lambda root: Checkpoint(ORIGIN, 9, root).signed(KEY))
