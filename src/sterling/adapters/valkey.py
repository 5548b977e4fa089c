"""An online store on a Valkey or Redis server: a name is a key, and what is written together is one script.

The server writes the states and the offset that they belong to in one step, also into its log and to its replicas. Where
it loses its last seconds it loses them of all, so that what follows the events goes on from the older offset.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from valkey import exceptions
from valkey.connection import Connection, SSLConnection
from valkey.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    ValkeyError,
)  # fmt: skip

from sterling.adapters.valkey_url import address_of
from sterling.core.errors import NotAllowedError, StorageError

# What is set comes first: a server whose memory is full refuses a script at its first write, and never after one.
_PUT = b"""
local first, sets, life = 1, tonumber(ARGV[3]), ARGV[4]
if ARGV[1] ~= 'always' then
    local found = redis.call('GET', KEYS[1])
    if ARGV[1] == 'absent' and found or ARGV[1] == 'equal' and found ~= ARGV[2] then return 0 end
    first = 2
end
for i = 0, sets - 1 do
    if life == '' then
        redis.call('SET', KEYS[first + i], ARGV[5 + i])
    else
        redis.call('SET', KEYS[first + i], ARGV[5 + i], 'EX', life)
    end
end
for i = first + sets, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
"""

_READ_ONLY = "{where} is a read-only replica. Name the primary in the URL."
_FULL = "{where} has no memory left, and nothing was written. Raise its maxmemory, or remove what it need not hold."
_CLUSTER = (
    "{where} is one server of a cluster, which cannot write several names as one. Name a server that stands alone, or "
    "the primary of replicas."
)
_ERRORS: tuple[tuple[type[ValkeyError] | str, str], ...] = (
    (
        AuthenticationError,
        "{where} does not let us in: {said}. Give user and password in the URL, or the password in VALKEYCLI_AUTH.",
    ),
    (
        NoPermissionError,
        "{where} does not allow it: {said}. The user needs MGET, GET, SET, DEL, EVAL, EVALSHA and SCRIPT LOAD.",
    ),
    (BusyLoadingError, "{where} is still loading its data. Try again in a moment."),
    (ReadOnlyError, _READ_ONLY),
    ("READONLY", _READ_ONLY),
    (OutOfMemoryError, _FULL),
    ("OOM command not allowed", _FULL),
    ("MOVED ", _CLUSTER),
    ("CROSSSLOT ", _CLUSTER),
    ("MISCONF ", "{where} cannot write to its own disk, and refuses writes. Its log says why: {said}."),
    (
        exceptions.TimeoutError,
        "{where} has not answered in {seconds:g} seconds. Look whether it is busy, or wait "
        "longer with ?timeout_seconds=",
    ),
    (exceptions.ConnectionError, "{where} cannot be reached: {said}. Start it, or name another server."),
)  # fmt: skip  what an error is told by, the first that fits, and what it means


class ValkeyOnlineStore:
    """Bytes under names on a server that speaks Redis' protocol.

    Threads and forked children may share an instance; each call takes a connection of its own. What is put lies in the
    server's memory; whether it is on the server's disk too is the server's ``appendfsync`` to say.

    Args:
        url: Such as ``valkey://cache.example.com:6379/0``; ``rediss://`` and ``valkeys://`` encrypt. Parameters:
            ``expire_seconds``, after which a name that was not written is forgotten (never, where it is left out),
            ``timeout_seconds`` and ``ca_file``.

    Raises:
        InvalidDefinitionError: if the URL says what cannot be meant.
    """

    def __init__(self, url: str) -> None:
        self._address = address_of(url)
        self._kind = SSLConnection if self._address.tls else Connection
        self._free: deque[Any] = deque()
        self._script: bytes | None = None
        _stores.add(self)

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What lies under each name, all at one moment."""
        if not keys:
            return []
        try:
            found: list[bytes | None] = self._asked(("MGET", *keys), self._idle())
        except exceptions.ConnectionError:  # the server may have closed it since it was used
            return self._ask("MGET", *keys)  # type: ignore[no-any-return]
        except ValkeyError as error:
            raise self._explained(error) from error
        return found

    def put(self, items: Mapping[bytes, bytes | None], *, when: tuple[bytes, bytes | None] | None = None) -> bool:
        """Write all or none, in one step of the server; nothing where something else lies under the name of ``when``.

        Raises:
            StorageError: if the server refuses, or does not answer; it is not known then whether it has written.
        """
        if self._script is None:
            self._refuse_forgetful()
            self._script = self._ask("SCRIPT", "LOAD", _PUT)
        set_ = {key: value for key, value in items.items() if value is not None}
        removed = [key for key, value in items.items() if value is None]
        condition = "always" if when is None else "absent" if when[1] is None else "equal"
        keys = [*([when[0]] if when else []), *set_, *removed]
        life = self._address.expire_seconds or b""
        rest = [len(keys), *keys, condition, (when and when[1]) or b"", len(set_), life, *set_.values()]
        try:
            return bool(self._fresh("EVALSHA", self._script, *rest))
        except NoScriptError:  # the server has restarted
            return bool(self._ask("EVAL", _PUT, *rest))
        except ValkeyError as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """Close the connections that are free; the next call opens one."""
        while connection := self._idle():
            connection.disconnect()

    def forget(self) -> None:
        """Leave the connections to the process that opened them, after a fork."""
        self._free.clear()

    def _ask(self, *command: Any) -> Any:
        try:
            return self._fresh(*command)
        except ValkeyError as error:
            raise self._explained(error) from error

    def _fresh(self, *command: Any) -> Any:
        """The answer to a command that must not be sent twice, on a connection that is alive."""
        while connection := self._idle():
            if _is_alive(connection):
                return self._asked(command, connection)
            connection.disconnect()
        return self._asked(command, None)

    def _idle(self) -> Any:
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _asked(self, command: Sequence[Any], connection: Any) -> Any:
        connection = connection or self._kind(**self._address.connecting())
        connection.send_command(*command)
        try:
            answer = connection.read_response()
        except ResponseError:
            self._free.append(connection)
            raise
        self._free.append(connection)
        return answer

    def _refuse_forgetful(self) -> None:
        """Refuse a server that drops keys when its memory is full: a state that is gone looks like one of no events."""
        try:
            said = self._fresh("INFO", "memory").decode()
        except NoPermissionError:
            return
        except ValkeyError as error:
            raise self._explained(error) from error
        memory = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        policy = memory.get("maxmemory_policy", "noeviction")
        forgets = policy.startswith("allkeys") or (self._address.expire_seconds and policy.startswith("volatile"))
        if forgets and memory.get("maxmemory", "0") != "0":
            raise StorageError(
                f"{self._address} drops keys when its memory is full (maxmemory-policy {policy}), and features would "
                "be computed from what is left. Set it: CONFIG SET maxmemory-policy noeviction"
            )

    def _explained(self, error: ValkeyError) -> StorageError:
        """What the server or the way to it says, as a sentence that says what would work."""
        where, said = self._address, str(error).strip().rstrip(".")
        allowed = isinstance(error, AuthenticationError | NoPermissionError)
        kind: type[StorageError] = NotAllowedError if allowed else StorageError
        means = next((means for sign, means in _ERRORS if _is(error, said, sign)), "{where}: {said}.")
        return kind(means.format(where=where, said=said, seconds=self._address.timeout_seconds))


def _is(error: ValkeyError, said: str, sign: type[ValkeyError] | str) -> bool:
    return sign in said if isinstance(sign, str) else isinstance(error, sign)


def _is_alive(connection: Any) -> bool:
    """Whether nothing has come that was not asked for, such as the end of the connection."""
    try:
        return not connection.can_read(0)
    except (ValkeyError, OSError):
        return False


_stores: weakref.WeakSet[ValkeyOnlineStore] = weakref.WeakSet()


def _forget_all() -> None:
    for store in _stores:
        store.forget()


os.register_at_fork(after_in_child=_forget_all)
