"""API keys: who may ask for what, from a file that holds salted hashes and no key.

A key is 256 random bits, so one round of SHA-256 is enough: nobody can try them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from sterling.core.durable import locked, write_file
from sterling.core.errors import InvalidDefinitionError, StorageError
from sterling.serving.requests import RefusedRequestError

Role = Literal["predict", "outcomes", "operate"]
ROLES: tuple[Role, ...] = get_args(Role)
FORMAT = "sterling.keys/1"
_PREFIX = "stk"
_LOOK_SECONDS = 1.0
_UNKNOWN_SALT, _UNKNOWN_HASH = "00" * 16, "00" * 32


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key as it is kept.

    Attributes:
        id: Its first part, which is no secret.
        name: Who has it.
        roles: What it may do.
        salt: Of the hash, as hex.
        hash: SHA-256 of salt and secret, as hex.
        per_second: Requests that it may make in a second, in each process; None for any number.
    """

    id: str
    name: str
    roles: tuple[Role, ...]
    salt: str
    hash: str
    per_second: float | None = None


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    keys: tuple[Key, ...]


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        InvalidDefinitionError: if it is no file of keys.
        StorageError: if it cannot be read.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_KeyFile)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}. `sterling apikey NAME --keys {path}` makes it.") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidDefinitionError(f"{path} is no file of keys: {error}.") from error
    if found.format != FORMAT:
        raise InvalidDefinitionError(f"{path} is of the format {found.format!r}. This version reads {FORMAT!r}.")
    return found.keys


def add_key(path: Path, name: str, roles: Sequence[Role], per_second: float | None = None) -> str:
    """Make a key, keep its hash in a file, and give it away once.

    Args:
        path: The file; it is made where it is not there, for its owner alone to read.
        name: Who has the key.
        roles: What it may do.
        per_second: Requests that it may make in a second, in each process; None for any number.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     key = add_key(Path(folder) / "keys.json", "shop", ["predict"])
        ...     Keys(Path(folder) / "keys.json").allow(key.encode(), "predict").name
        'shop'
    """
    _check_new(roles, per_second)
    identity, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_hex(16)
    key = Key(identity, name, tuple(dict.fromkeys(roles)), salt, _hash(salt, secret), per_second)
    with locked(path.with_name(f".{path.name}.lock"), 10.0):
        known = read_keys(path) if path.exists() else ()
        document = msgspec.json.encode(_KeyFile(FORMAT, (*known, key)))
        write_file(path, msgspec.json.format(document, indent=2) + b"\n", mode=0o600)
    return f"{_PREFIX}_{identity}_{secret}"


class Keys:
    """The keys that a server lets in; a change of their file counts within a second.

    Args:
        path: The file.
        clock: Seconds, for the rates.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._buckets: dict[str, _Bucket] = {}
        self._looked, self._state = clock(), _state(path)
        self._keys: Mapping[str, Key] = {key.id: key for key in read_keys(path)}

    def allow(self, said: bytes | None, role: Role) -> Key:
        """The key that a request brings, if it may do what it asks for.

        Args:
            said: The key as it came; None where none did.
            role: What it must be allowed to do.

        Raises:
            RefusedRequestError: 401 for no key or one that is not known, 403 for one without the role, 429 for one that
                asks too often.
        """
        self._look()
        identity, secret = _parts(said or b"")
        key = self._keys.get(identity)
        known = hmac.compare_digest(
            _hash(key.salt if key else _UNKNOWN_SALT, secret), key.hash if key else _UNKNOWN_HASH
        )
        if key is None or not known:
            raise RefusedRequestError(
                401, "A key is needed: send it as Authorization: Bearer KEY.", headers={"WWW-Authenticate": "Bearer"}
            )
        if role not in key.roles:
            raise RefusedRequestError(403, f"This key may do {' and '.join(key.roles)}, and not {role}.")
        if key.per_second is not None:
            wait = self._buckets.setdefault(key.id, _Bucket(key.per_second)).take(self._clock())
            if wait:
                raise RefusedRequestError(
                    429, f"This key may ask {key.per_second:g} times a second.", headers={"Retry-After": str(int(wait) + 1)}
                )  # fmt: skip
        return key

    def _look(self) -> None:
        """Read the file again where it has changed; one that cannot be read leaves the keys as they are."""
        now = self._clock()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked, state = now, _state(self._path)
        if state == self._state or state is None:
            return
        try:
            self._keys = {key.id: key for key in read_keys(self._path)}
        except (InvalidDefinitionError, StorageError):
            return
        self._state, self._buckets = state, {}


class _Bucket:
    """Tokens that come at a rate, at most those of a second."""

    def __init__(self, rate: float) -> None:
        self._rate, self._most = rate, max(1.0, rate)
        self._tokens, self._at = self._most, -1.0

    def take(self, now: float) -> float:
        """Take a token: 0, or how many seconds there is none."""
        if self._at >= 0:
            self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


def key_in(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key that a request brings, in either place."""
    said = headers.get(b"authorization")
    if said is not None and said[:7].lower() == b"bearer ":
        return said[7:].strip()
    return headers.get(b"x-api-key")


def _check_new(roles: Sequence[str], per_second: float | None) -> None:
    if unknown := [role for role in roles if role not in ROLES]:
        raise InvalidDefinitionError(f"{unknown[0]!r} is no role. Known: {', '.join(ROLES)}.")
    if not roles:
        raise InvalidDefinitionError(f"A key may do something: {', '.join(ROLES)}.")
    if per_second is not None and not per_second > 0:
        raise InvalidDefinitionError(f"A key that may ask {per_second:g} times a second may not ask at all.")


def _parts(said: bytes) -> tuple[str, str]:
    prefix, _, rest = said.decode("ascii", errors="replace").partition("_")
    identity, _, secret = rest.partition("_")
    return (identity, secret) if prefix == _PREFIX else ("", "")


def _hash(salt: str, secret: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + secret.encode()).hexdigest()


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
