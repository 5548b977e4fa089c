"""Signed notes against the vectors of their specification and of Go's implementation, and keys that several make at once."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from sterling.core.errors import SignatureError, StorageError
from sterling.core.signing import KeyFile, Note, Signature, SigningKey, VerifierKey, load_key, make_key

# golang.org/x/mod/sumdb/note (BSD-3-Clause), package documentation and tests.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
BY_PETER = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
BY_ENOCH = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
# c2sp.org/signed-note, the example of its Ed25519 keys.
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
BY_FOO = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
PROGRAM = """
import sys
from pathlib import Path
from sterling.core.signing import make_key
sys.stdin.readline()
print(make_key(Path(sys.argv[1])).verifier("k"))
"""


def key(n: int = 1) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))


def cosigned(note: Note, n: int, at: int) -> tuple[VerifierKey, Note]:
    """A note with the signature of a witness below the others, as c2sp.org/tlog-cosignature makes one."""
    witness = VerifierKey("example.com/w", key(n).verifier("example.com/w").public, type=4)
    private = Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)
    made = at.to_bytes(8, "big") + private.sign(f"cosignature/v1\ntime {at}\n{note.text}".encode())
    return witness, Note(note.text, (*note.signatures, Signature(witness.name, witness.id, made)))


def test_the_example_of_the_specification_holds() -> None:
    foo = VerifierKey.parse(FOO)
    assert str(foo) == FOO
    note = Note.parse(BY_FOO)
    assert (note.text, str(note), note.signed_by([foo])) == ("This is an example message.\n", BY_FOO, (foo,))


def test_a_signature_is_byte_for_byte_that_of_the_implementation_in_go() -> None:
    peter = SigningKey(Ed25519PrivateKey.from_private_bytes(PETER_SEED))
    assert str(peter.verifier("PeterNeumann")) == PETER
    assert str(peter.sign(TEXT, "PeterNeumann")) == f"{TEXT}\n{BY_PETER}"


def test_a_note_may_be_signed_by_several_of_whom_not_all_are_known() -> None:
    note = Note.parse(f"{TEXT}\n{BY_PETER}{BY_ENOCH}".encode())
    peter, enoch = VerifierKey.parse(PETER), VerifierKey.parse(ENOCH)
    assert note.signed_by([peter]) == (peter,)
    assert note.signed_by([enoch, peter]) == (peter, enoch)
    assert note.signed_by([]) == note.signed_by([VerifierKey.parse(FOO)]) == ()
    assert str(note).endswith(BY_PETER + BY_ENOCH)


def test_a_second_witness_adds_a_line_that_says_when() -> None:
    note = key(1).sign("origin\n7\nroot\n", "log")
    witness, both = cosigned(note, 2, at=1_772_323_200)
    assert Note.parse(str(both)) == both
    assert both.signed_by([key(1).verifier("log"), witness]) == (key(1).verifier("log"), witness)
    assert VerifierKey.parse(str(witness)) == witness
    later = both.signatures[1]._replace(value=b"\0" * 7 + b"\1" + both.signatures[1].value[8:])
    with pytest.raises(SignatureError, match=r"The signature of example.com/w does not hold"):
        Note(both.text, (later,)).signed_by([witness])


def test_the_same_key_under_another_name_or_for_another_use_is_another() -> None:
    keys = [key().verifier("a"), key().verifier("b"), VerifierKey("a", key().verifier("a").public, type=4)]
    assert len({k.id for k in keys}) == 3
    assert key().sign("x\n", "a").signed_by(keys) == (keys[0],)


@given(text=st.text(st.characters(codec="utf-8", min_codepoint=32)), at=st.integers(0, 10_000))
def test_whatever_is_changed_in_a_text_its_signature_does_not_hold(text: str, at: int) -> None:
    note = key().sign(f"{text}\n", "log")
    assert Note.parse(str(note)) == note
    at %= len(note.text)
    changed = note.text[:at] + ("b" if note.text[at] == "a" else "a") + note.text[at + 1 :]
    with pytest.raises(SignatureError, match="does not hold"):
        Note(changed, note.signatures).signed_by([key().verifier("log")])


@given(st.data())
def test_no_part_of_a_note_passes_for_the_whole(data: st.DataObject) -> None:
    note = str(key().sign("one\n\ntwo\n", "log"))
    part = note[data.draw(st.integers(0, len(note) - 1)) :][: data.draw(st.integers(0, len(note) - 1))]
    try:
        read = Note.parse(part)
    except SignatureError:
        return
    with pytest.raises(SignatureError, match="does not hold"):
        read.signed_by([key().verifier("log")])


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ("", "does not end with lines of signatures"),
        ("text\n", "does not end with lines of signatures"),
        (f"text\n{BY_PETER}", "does not end with lines of signatures"),
        (f"text\n\n{BY_PETER[:-1]}", "does not end with lines of signatures"),
        ("text\n\n\n", "does not end with lines of signatures"),
        (f"text\n\n{BY_PETER}x\n", "'x' is no signature"),
        ("text\n\n— PeterNeumann x08g\n", "is no signature"),
        ("text\n\n— PeterNeumann !!!!\n", "is no signature"),
        ("text\n\n—  x08go/ZJkuBS9UG/\n", "is no signature"),
        ("text\n\n— Peter+Neumann x08go/ZJkuBS9UG/\n", "is no signature"),
        (f"te\x01xt\n\n{BY_PETER}", "holds control characters"),
        (f"te\rxt\n\n{BY_PETER}", "holds control characters"),
        (b"\xff\n\n", "is not UTF-8"),
        (f"{'x' * (1 << 20)}\n\n{BY_PETER}", "is too long"),
    ],
)
def test_what_is_no_note_is_refused(note: str | bytes, why: str) -> None:
    with pytest.raises(SignatureError, match=f"This is no signed note: .*{why}"):
        Note.parse(note)


@pytest.mark.parametrize(
    ("vkey", "why"),
    [
        ("", "is no public key"),
        (PETER[1:], "was changed: the id of this name and key is"),
        (PETER.replace("c74f20a3", "c74f20a4"), "was changed: the id of this name and key is c74f20a3, not c74f20a4"),
        (PETER.replace("c74f20a3", "C74F20A3"), "was changed"),
        (PETER[:-1], "is no public key"),
        (PETER[:-4], "is no public key"),
        ("Peter Neumann" + PETER[12:], "is no public key"),
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "is no public key"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "its type is 101, not 1 or 4"),
    ],
)
def test_what_is_no_public_key_is_refused(vkey: str, why: str) -> None:
    with pytest.raises(SignatureError, match=why):
        VerifierKey.parse(vkey)


def test_a_name_that_a_note_cannot_hold_is_refused() -> None:
    for name in ("", "a b", "a+b", "a\n"):
        with pytest.raises(SignatureError, match="is no name of a key"):
            key().sign("x\n", name)


def test_thirty_two_bytes_that_are_no_key_verify_nothing() -> None:
    (signature,) = key().sign("x\n", "log").signatures
    assert not VerifierKey("log", b"\xff" * 32).holds(signature, "x\n")
    assert not key().verifier("log").holds(signature._replace(value=b"short"), "x\n")


def test_a_key_is_made_once_and_read_by_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "signing.key"
    assert load_key(path) is None
    made = make_key(path).verifier("k")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["signing.key"]
    found = load_key(path)
    assert found
    assert make_key(path).verifier("k") == found.verifier("k") == made
    assert load_pem_private_key(path.read_bytes(), None)


def test_a_key_of_a_project_is_left_out_of_git_and_one_that_was_named_is_not_made(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "home" / "signing.key")
    assert file.load() is None
    assert file.need().verifier("k") == file.need().verifier("k")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True, timeout=60)
    shown = subprocess.run(
        ["git", "-C", tmp_path, "status", "--short", "-uall"], check=True, capture_output=True, timeout=60
    )
    assert shown.stdout == b"?? home/.gitignore\n"
    named = KeyFile(tmp_path / "elsewhere" / "signing.key", named=True)
    with pytest.raises(StorageError, match=r"There is no signing key at .*, which STERLING_KEY names"):
        named.need()
    named.make()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["signing.key"]


def test_processes_that_make_a_key_at_once_agree_on_one(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    command = [sys.executable, "-c", PROGRAM, str(path)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate("go\n", timeout=60)[0] for process in started}
    found = load_key(path)
    assert found
    assert said == {f"{found.verifier('k')}\n"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["signing.key"]


def test_a_key_never_shows_what_it_holds(tmp_path: Path) -> None:
    shown = repr(key()) + str(key()) + repr(vars(key()))
    assert base64.b64encode(bytes([1]) * 32).decode() not in shown
    assert repr(bytes([1]) * 32)[2:-1] not in shown
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(key())
    path = tmp_path / "signing.key"
    make_key(path)
    secret = path.read_text().splitlines()[1]
    path.write_text(f"-----BEGIN PRIVATE KEY-----\n{secret[:-8]}\n-----END PRIVATE KEY-----\n")
    with pytest.raises(StorageError) as caught:
        load_key(path)
    assert caught.value.__cause__ is None
    assert secret[20:40] not in str(caught.value)


def pem_of_another_kind(encryption: KeySerializationEncryption) -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b"", "is damaged, encrypted, or no private key in PEM. Restore it, or name another with STERLING_KEY"),
        (b"\x00" * 32, "is damaged"),
        (pem_of_another_kind(BestAvailableEncryption(b"secret")), "is damaged, encrypted"),
        (pem_of_another_kind(NoEncryption()), "holds no Ed25519 key, which is what Sterling signs with"),
    ],
)
def test_a_file_that_holds_no_such_key_is_named(tmp_path: Path, written: bytes, why: str) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(written)
    with pytest.raises(StorageError, match=why) as caught:
        make_key(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == written


def test_a_key_that_may_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    make_key(tmp_path / "signing.key")
    (tmp_path / "signing.key").chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(StorageError, match=r"cannot be read: Permission denied\. Let yourself read it"):
            load_key(tmp_path / "signing.key")
    finally:
        os.seteuid(user)


def test_a_key_in_a_folder_that_may_not_be_written_is_one_sentence(read_only_folder: Path) -> None:
    with pytest.raises(StorageError, match=r"No signing key can be made at .*: Permission denied\. Choose a place"):
        make_key(read_only_folder / "signing.key")
