"""Signed notes (c2sp.org/signed-note): text that anybody can read, with lines below it that say who vouches for it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from sterling.core.durable import write_file
from sterling.core.errors import SignatureError, StorageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ED25519, _COSIGNATURE = 1, 4  # types of signatures, as the specification numbers them
_KEY_LENGTH, _ID_LENGTH = 32, 4
_DASH = "\N{EM DASH} "
_NAME = re.compile(r"[^\s+]+")
_LARGEST_NOTE = 1 << 20
_MAKE = "Make one with: openssl genpkey -algorithm ed25519 -out"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key, under the name that signs with it.

    Attributes:
        name: Name of the signer, without spaces and plus signs.
        public: The Ed25519 public key, 32 bytes.
        type: 1 for signatures of a text, 4 for those of a witness, which hold the time (c2sp.org/tlog-cosignature).

    Example:
        >>> key = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
        >>> key.name, key.id.hex()
        ('PeterNeumann', 'c74f20a3')
    """

    name: str
    public: bytes
    type: int = _ED25519

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read a key as ``str`` writes it, ``name+id+base64``.

        Raises:
            SignatureError: if the text is no such key, or its parts do not belong together.
        """
        name, _, rest = vkey.strip().partition("+")
        id_, _, encoded = rest.partition("+")
        material = from_base64(encoded)
        if not _NAME.fullmatch(name) or material is None or len(material) != 1 + _KEY_LENGTH:
            raise SignatureError(f"{vkey!r} is no public key. It is written name+id+base64; `sterling key` prints it.")
        if material[0] not in {_ED25519, _COSIGNATURE}:
            raise SignatureError(f"{vkey!r} is no Ed25519 key: its type is {material[0]}, not 1 or 4.")
        key = cls(name, material[1:], material[0])
        if id_ != key.id.hex():
            raise SignatureError(f"{vkey!r} was changed: the id of this name and key is {key.id.hex()}, not {id_}.")
        return key

    @property
    def id(self) -> bytes:
        """Four bytes that tell the keys of one name apart."""
        text = self.name.encode() + b"\n" + bytes([self.type]) + self.public
        return hashlib.sha256(text).digest()[:_ID_LENGTH]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.type]) + self.public).decode()}"

    def made(self, signature: Signature) -> bool:
        """Whether a signature says that it was made with this key; whether it was, only :meth:`holds` tells."""
        return (signature.name, signature.id) == (self.name, self.id)

    def holds(self, signature: Signature, text: str) -> bool:
        """Whether this key made a signature of a text."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        value, message = signature.value, text.encode()
        if self.type == _COSIGNATURE:
            time, value = int.from_bytes(value[:8], "big"), value[8:]
            message = f"cosignature/v1\ntime {time}\n{text}".encode()
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(value, message)
        except (InvalidSignature, ValueError):  # the latter for 32 bytes that are no key
            return False
        return True


class Signature(NamedTuple):
    """A line below a note.

    Attributes:
        name: Name of the signer.
        id: Id of the key, four bytes.
        value: What the key made of the text.
    """

    name: str
    id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.id + self.value).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signatures.

    Attributes:
        text: The text, its last newline included.
        signatures: Who vouches for it, whether or not it is true.
    """

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: str | bytes) -> Self:
        """Read a note as ``str`` writes it.

        Raises:
            SignatureError: if it is no whole signed note.
        """
        try:
            whole = note if isinstance(note, str) else note.decode()
        except UnicodeDecodeError:
            raise _no_note("it is not UTF-8") from None
        if len(whole) > _LARGEST_NOTE:
            raise _no_note("it is too long")
        if any(char < " " and char != "\n" for char in whole):
            raise _no_note("it holds control characters")
        text, blank, signed = whole.rpartition("\n\n")
        if not blank or not signed.endswith("\n"):
            raise _no_note("it does not end with lines of signatures below an empty line")
        return cls(f"{text}\n", tuple(_signature(line) for line in signed[:-1].split("\n")))

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"

    def signed_by(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Those of some keys that signed the text; signatures by others are passed over.

        Raises:
            SignatureError: if a signature says that it was made with one of the keys, and was not.
        """
        known = tuple(keys)
        found = [(key, signature) for signature in self.signatures for key in known if key.made(signature)]
        for key, signature in found:
            if not key.holds(signature, self.text):
                raise SignatureError(f"The signature of {key.name} does not hold: the text was changed, or forged.")
        return tuple(dict.fromkeys(key for key, _ in found))


class SigningKey:
    r"""A private key. It never shows what it holds.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     key = make_key(Path(folder) / "signing.key")
        >>> note = key.sign("All is well.\n", "example.com/ada")
        >>> note.signed_by([key.verifier("example.com/ada")]) == (key.verifier("example.com/ada"),)
        True
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    def verifier(self, name: str) -> VerifierKey:
        """The public half, under a name."""
        if not _NAME.fullmatch(name):
            raise SignatureError(f"{name!r} is no name of a key: it must not be empty or hold spaces or plus signs.")
        return VerifierKey(name, self._private.public_key().public_bytes_raw())

    def sign(self, text: str, name: str) -> Note:
        """Sign a text that ends with a newline, under a name."""
        key = self.verifier(name)
        return Note(text, (Signature(name, key.id, self._private.sign(text.encode())),))

    def __repr__(self) -> str:
        return "SigningKey(…)"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Where a project's private key lies.

    Attributes:
        path: The file.
        named: Whether somebody named it; only a key that nobody named is made when it is first needed.
    """

    path: Path
    named: bool = False

    def load(self) -> SigningKey | None:
        """The key, if there is one.

        Raises:
            StorageError: if the file holds none.
        """
        return load_key(self.path)

    def need(self) -> SigningKey:
        """The key, made where there is none and nobody said where it is.

        Raises:
            StorageError: if there is none, or the file holds none.
        """
        if key := load_key(self.path):
            return key
        if not self.named:
            return self.make()
        raise StorageError(
            f"There is no signing key at {self.path}, which STERLING_KEY names. `sterling key` makes it."
        )

    def make(self) -> SigningKey:
        """The key, made where there is none; in a project's folder git is told to leave it out.

        Raises:
            StorageError: if it cannot be made, or the file holds none.
        """
        if not self.named:
            with suppress(OSError):  # what is wrong with the folder, the key will say
                write_file(self.path.parent / ".gitignore", f"*{self.path.name}*\n".encode(), replace=False)
        return make_key(self.path)


def load_key(path: Path) -> SigningKey | None:
    """The private key in a file, an Ed25519 key in PEM (PKCS 8); None where there is no file.

    Raises:
        StorageError: if the file cannot be read, is damaged, or holds something else.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        written = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(
            f"The signing key {path} cannot be read: {error.strerror}. Let yourself read it, or name another with "
            "STERLING_KEY."
        ) from error
    try:
        private = load_pem_private_key(written, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise StorageError(
            f"{path} is damaged, encrypted, or no private key in PEM. Restore it, or name another with STERLING_KEY. "
            f"{_MAKE} FILE"
        ) from None  # what the parser says may quote what it read
    if not isinstance(private, Ed25519PrivateKey):
        raise StorageError(f"{path} holds no Ed25519 key, which is what Sterling signs with. {_MAKE} FILE")
    return SigningKey(private)


def make_key(path: Path) -> SigningKey:
    """The private key in a file, made there where there is none; processes that do so at once agree on one.

    Raises:
        StorageError: if the file cannot be made, or holds no key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if found := load_key(path):
        return found
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        write_file(path, pem, mode=0o600, replace=False)
    except OSError as error:
        raise StorageError(
            f"No signing key can be made at {path}: {error.strerror}. Choose a place that you may write to with "
            "STERLING_KEY."
        ) from error
    made = load_key(path)
    if made is None:
        raise StorageError(f"The signing key {path} was deleted while it was made. Run the same command again.")
    return made


def from_base64(encoded: str) -> bytes | None:
    """The bytes of a base64 text, if it is written in the one way that there is."""
    try:
        value = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if base64.b64encode(value).decode() == encoded else None


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    value = from_base64(encoded)
    if not line.startswith(_DASH) or not _NAME.fullmatch(name) or value is None or len(value) <= _ID_LENGTH:
        raise _no_note(f"{line[:80]!r} is no signature")
    return Signature(name, value[:_ID_LENGTH], value[_ID_LENGTH:])


def _cosigned(seconds: int, text: str) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _no_note(why: str) -> SignatureError:
    return SignatureError(f"This is no signed note: {why}.")
