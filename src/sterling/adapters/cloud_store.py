"""A store in a cloud's object storage, through fsspec: S3 and what speaks like it, Google Cloud Storage, Azure Blob.

Objects lie under the prefix as files lie in a local store's folder, ``ab/cdef…``, so that a copy of the one is the
other. Bytes are uploaded once their name is known, and a cloud shows an upload whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

from sterling.adapters.cache import Cache, cache_folder, cache_limit
from sterling.core.errors import (
    InvalidDefinitionError,
    MissingBlobError,
    MissingExtraError,
    SterlingError,
    StorageError,
    TamperedLedgerError,
)
from sterling.core.refs import Ref, parse_ref

_ATTEMPTS = 3
_BLOCK, _BLOCKS_AT_ONCE = 8 << 20, 4
_PART, _MOST_PARTS = 16 << 20, 10_000
_NAME = re.compile(r"([0-9a-f]{2})/([0-9a-f]{62})")
_USER_IN_URL = re.compile(r"//[^/@\s]+@")
_NOT_SIGNED_IN = re.compile(
    r"^\w*(Credential|Authentication|Token|Profile|RefreshError)\w* |Forbidden|AuthorizationFail"
)


class _Cloud(NamedTuple):
    """What differs between clouds.

    Attributes:
        extra: What pip installs for it.
        sign_in: Environment variables that hold credentials.
        setting: Environment variable that says where the cloud is.
        endpoint: Finds in a file system where it is.
        takes_parts: Whether an upload can be told the size of its parts.
    """

    extra: str
    sign_in: str
    setting: str
    endpoint: Callable[[Any], str]
    takes_parts: bool


_CLOUDS = {
    "s3": _Cloud(
        "s3", "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL",
        lambda remote: str(remote.s3.meta.endpoint_url), takes_parts=True,
    ),
    "gs": _Cloud(
        "gcs", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST",
        lambda remote: str(remote.base), takes_parts=True,
    ),
    "abfs": _Cloud(
        "azure", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_NAME",
        lambda remote: str(remote.service_client.primary_hostname), takes_parts=False,
    ),
}  # fmt: skip


class CloudStore:
    """A store at a URL such as ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``abfs://container/prefix``.

    Credentials come from the environment or a profile, as the cloud's own tools take them, never from the URL. `open`
    gives a copy from a cache on this machine, checked against its name while it is downloaded.

    Args:
        url: Where the store lies. The bucket is there already; the prefix may be left out.

    Raises:
        InvalidDefinitionError: if the URL names no bucket, or holds a password or options.
        MissingExtraError: if the library for this cloud is not installed.
        StorageError: if there is no such bucket, or it cannot be reached or used.

    Example:
        ``connect_store("s3://bucket/prefix")`` opens one, with the credentials in the environment.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked(url)
        self._cloud = _CLOUDS[urlsplit(url).scheme]
        with self._explained():
            self._remote, self._root = _connect(self._url, self._cloud.extra)
            endpoint = _without_user(self._cloud.endpoint(self._remote))
        self._cache = Cache(cache_folder(), _name_of(endpoint, self._url), limit=cache_limit())
        self._require_bucket(endpoint)

    def put(self, stream: BinaryIO) -> Ref:
        """Keep what the stream holds; an object of this name and size is taken for the same bytes."""
        return self._cache.put(stream, admit=self._upload)

    def open(self, ref: Ref) -> Path:
        """A local copy of the bytes; one that is cached is given without asking the cloud.

        Raises:
            MissingBlobError: if the store does not hold them.
            TamperedLedgerError: if the object has other bytes than its name says.
            StorageError: if they cannot be had.
        """
        if (path := self._cache.open(ref)) is None:
            self._cache.put(self._download(ref), admit=lambda found, _: self._require_same(ref, found))
            path = self._cache.open(ref)
            assert path is not None
        return path

    def has(self, ref: Ref) -> bool:
        """Whether the store holds the bytes."""
        return self._size(ref) is not None

    def list(self) -> Iterator[Ref]:
        """Every ref that the store holds."""
        with self._explained():
            keys = self._remote.find(self._root)
        for key in keys:
            if name := _NAME.fullmatch(key.removeprefix(f"{self._root}/")):
                yield Ref(f"sha256:{name[1]}{name[2]}")

    def delete(self, ref: Ref) -> None:
        """Let go of the bytes, and of the copy on this machine."""
        key = self._key(ref)
        with self._explained(), suppress(FileNotFoundError):
            self._remote.rm_file(key)
        self._cache.drop(ref)

    def intact(self, ref: Ref) -> bool:
        """Whether the object's bytes are still those that its name says, read from the cloud."""
        return Ref(f"sha256:{hashlib.file_digest(self._download(ref), 'sha256').hexdigest()}") == ref

    def _require_bucket(self, endpoint: str) -> None:
        bucket = self._root.partition("/")[0]
        with self._explained():
            try:
                self._remote.info(bucket)
            except FileNotFoundError as error:
                raise StorageError(
                    f"There is no bucket {bucket!r} at {endpoint}. Make it, or name another with STERLING_STORE; "
                    f"{self._cloud.setting} says where it is looked for."
                ) from error

    def _require_same(self, ref: Ref, found: Ref) -> None:
        if found != ref:
            raise TamperedLedgerError(
                f"The object {self._key(ref)} has other bytes than its name says. Delete it there; then `sterling run` "
                "makes it again from its inputs."
            )

    def _key(self, ref: Ref) -> str:
        name = parse_ref(ref).removeprefix("sha256:")
        return f"{self._root}/{name[:2]}/{name[2:]}"

    def _size(self, ref: Ref) -> int | None:
        key = self._key(ref)
        with self._explained():
            try:
                return int(self._remote.info(key)["size"])
            except FileNotFoundError:
                return None

    def _upload(self, ref: Ref, path: Path) -> None:
        size = path.stat().st_size
        if self._size(ref) == size:
            return
        parts = {"chunksize": max(_PART, -(-size // _MOST_PARTS))} if self._cloud.takes_parts else {}
        with self._explained():
            self._remote.put_file(str(path), self._key(ref), **parts)

    def _download(self, ref: Ref) -> io.BufferedReader:
        if (size := self._size(ref)) is None:
            raise MissingBlobError(f"The store does not hold {ref}. `sterling run` makes it again from its inputs.")
        return io.BufferedReader(_Blocks(self._blocks(self._key(ref), size)), 1 << 20)

    def _blocks(self, key: str, size: int) -> Iterator[bytes]:
        starts = list(range(0, size, _BLOCK))
        for first in range(0, len(starts), _BLOCKS_AT_ONCE):
            some = starts[first : first + _BLOCKS_AT_ONCE]
            ends = [min(start + _BLOCK, size) for start in some]
            with self._explained():
                yield from self._remote.cat_ranges([key] * len(some), some, ends, on_error="raise")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one sentence what a cloud's library raises in its own ways."""
        try:
            yield
        except SterlingError:
            raise
        except Exception as error:
            said = _without_user(" ".join(str(error).split()).rstrip(".")) or type(error).__name__
            if isinstance(error, PermissionError) or _NOT_SIGNED_IN.search(f"{type(error).__name__} {said}"):
                mend = f"Sign in by {self._cloud.sign_in} as one who may list, read, write and delete there."
            else:
                mend = f"Check the network and {self._cloud.setting}, then do it again."
            raise StorageError(
                f"{self._url} cannot be used: {said}. {mend} Nothing was recorded half, and what it held is unharmed."
            ) from error


class _Blocks(io.RawIOBase):
    """A stream of blocks that arrive one after the other."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _checked(url: str) -> str:
    """The URL without a slash at its end; one with a password is never printed."""
    parts = urlsplit(url)
    example = f"{parts.scheme}://bucket/prefix"
    if parts.password is not None or (parts.username is not None and parts.scheme != "abfs"):
        raise InvalidDefinitionError(
            f"A store's URL may hold no credentials. Give them by {_CLOUDS[parts.scheme].sign_in}; example: {example}"
        )
    if parts.query or parts.fragment:
        raise InvalidDefinitionError(f"A store's URL ends with its prefix, without '?' or '#'. Example: {example}")
    if not parts.netloc:
        raise InvalidDefinitionError(f"{url!r} names no bucket. Example: {example}")
    return url.rstrip("/")


def _connect(url: str, extra: str) -> tuple[Any, str]:
    """The file system that fsspec finds for a URL, and the root in it."""
    try:
        from fsspec.core import url_to_fs

        remote, root = url_to_fs(url, skip_instance_cache=True, use_listings_cache=False, **_options(extra))
    except ImportError as error:
        raise MissingExtraError(
            f"Stores at {url.partition(':')[0]}:// need the extra {extra!r}. "
            f"Install it with: pip install 'sterling-ml[{extra}]'"
        ) from error
    if extra == "s3":
        remote.retries = _ATTEMPTS
    return remote, root


def _options(extra: str) -> dict[str, Any]:
    if extra != "s3":
        return {}
    retries = {} if "AWS_MAX_ATTEMPTS" in os.environ else {"total_max_attempts": _ATTEMPTS, "mode": "standard"}
    return {"max_concurrency": _BLOCKS_AT_ONCE, "config_kwargs": {"retries": retries}}


def _name_of(endpoint: str, url: str) -> str:
    """A name for a store among those that share a cache; one URL at two endpoints is two stores."""
    return hashlib.sha256(f"{endpoint} {url}".encode()).hexdigest()[:16]


def _without_user(text: str) -> str:
    return _USER_IN_URL.sub("//", text)
