"""A model of a disk that loses power: which states of a folder may be found after the steps that a log holds.

What is promised, and nothing more: a file's bytes are on the disk after a sync of the file; a name is, after a sync of
its folder. Of what was not synced, any write may be there, missing, cut off or zeros, in any combination, and any name
may say what it last said or anything that it was to say since, each name for itself.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
_FOLDER = -1
_SELDOM = 0.1


class Step(NamedTuple):
    """One step of a log.

    Attributes:
        name: What was done, such as ``write``.
        inode: The file that it was done to; 0 for a step on names alone.
        offset: Where in the file, or its new size.
        path: Name of the file, or what is said by a ``mark``.
        other: Its new name, of a ``rename`` or ``link``.
        data: What was written.
    """

    name: str
    inode: int
    offset: int
    path: str
    other: str
    data: bytes


def read_log(path: Path) -> list[Step]:
    """The steps that the shim wrote down."""
    steps, text, at = [], path.read_bytes(), 0
    while at < len(text):
        end = text.index(b"\n", at)
        name, inode, offset, size, one, other = text[at:end].decode().split("\t")
        at = end + 1 + int(size)
        steps.append(Step(name, int(inode), int(offset), one, other, text[end + 1 : at]))
    return steps


@dataclass
class File:
    """A file, whatever it is called.

    Attributes:
        stable: Its bytes that are on the disk.
        pending: What happened to it since, as (offset, data), or (size, None) for a new size.
    """

    stable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def after(self, fates: Sequence[str]) -> bytes:
        """Its bytes, when each pending write has met one of these fates: kept, lost, cut or zeros."""
        found = bytearray(self.stable)
        for (offset, data), fate in zip(self.pending, fates, strict=True):
            if fate == "lost":
                continue
            if data is None:
                found[:] = found[:offset].ljust(offset, b"\0")
                continue
            kept = {"kept": data, "zeros": bytes(len(data)), "cut": _cut(offset, data)}[fate]
            if len(found) < offset:
                found.extend(bytes(offset - len(found)))
            found[offset : offset + len(kept)] = kept
        return bytes(found)


def _cut(offset: int, data: bytes) -> bytes:
    """The part up to a boundary between sectors in the middle, which is nothing for less than a sector."""
    end = (offset + len(data) // 2) // SECTOR * SECTOR
    return data[: max(0, end - offset)]


class Disk:
    """What is on a disk and what is on its way there.

    Args:
        root: Folder that the log is about. Whatever lies in it now is on the disk.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._files: dict[int, File] = {}
        self._inodes: dict[int, int] = {}
        self._names: dict[str, list[int | None]] = {self._root: [_FOLDER]}
        for path in root.rglob("*"):
            self._names[str(path)] = [_FOLDER if path.is_dir() else self._new(path.stat().st_ino, path.read_bytes())]

    def do(self, step: Step) -> None:
        """Take one more step."""
        getattr(self, f"_{step.name.replace('-', '_')}")(step)

    def now(self) -> dict[str, bytes | None]:
        """What everybody sees while the power is on: bytes of files, None for folders, by path below the root."""
        return self._state({path: values[-1] for path, values in self._names.items()}, {})

    def crashes(self, limit: int, chance: random.Random, *, ignore: str = "") -> Iterator[dict[str, bytes | None]]:
        """States that may be found after the power went now, each once.

        All of them, where they are at most ``limit``; else that many: nothing or all of what was on its way, all but
        one, only one, and drawn ones.

        Args:
            limit: How many states.
            chance: Draws.
            ignore: End of the names of files that are left out.
        """
        known = {path: values for path, values in self._names.items() if not (ignore and path.endswith(ignore))}
        names = {path: values for path, values in known.items() if len(values) > 1}
        writes = [(number, n) for number, file in self._files.items() for n in range(len(file.pending))]
        options: list[Sequence[object]] = [range(len(values)) for values in names.values()]
        options += [_fates(self._files[number].pending[n]) for number, n in writes]
        ways = product(*options) if prod(map(len, options)) <= limit else islice(_drawn(options, chance), limit)
        seen = set()
        for way in ways:
            chosen = {path: values[-1] for path, values in known.items()}
            for (path, values), which in zip(names.items(), way, strict=False):
                assert isinstance(which, int)
                chosen[path] = values[which]
            fates: dict[int, list[str]] = {}
            for (number, _), fate in zip(writes, way[len(names) :], strict=True):
                fates.setdefault(number, []).append(str(fate))
            state = self._state(chosen, fates)
            if (mark := hash(frozenset(state.items()))) not in seen:
                seen.add(mark)
                yield state

    def _state(self, names: dict[str, int | None], fates: dict[int, list[str]]) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        for path in sorted(names):
            number, above = names[path], path.rpartition("/")[0]
            if number is None or (path != self._root and above != self._root and above not in found):
                continue
            if number == _FOLDER:
                found[path] = None
            else:
                file = self._files[number]
                found[path] = file.after(fates.get(number, ["kept"] * len(file.pending)))
        found.pop(self._root, None)
        return {path.removeprefix(self._root + "/"): data for path, data in found.items()}

    def _create(self, step: Step) -> None:
        self._say(step.path, self._new(step.inode))

    def _write(self, step: Step) -> None:
        self._file(step).pending.append((step.offset, step.data))

    def _truncate(self, step: Step) -> None:
        self._file(step).pending.append((step.offset, None))

    def _sync(self, step: Step) -> None:
        file = self._file(step)
        file.stable, file.pending = file.after(["kept"] * len(file.pending)), []

    def _sync_folder(self, step: Step) -> None:
        for path, values in self._names.items():
            if path.rpartition("/")[0] == step.path:
                del values[:-1]

    def _mkdir(self, step: Step) -> None:
        self._say(step.path, _FOLDER)

    def _link(self, step: Step) -> None:
        self._say(step.other, self._names[step.path][-1])

    def _rename(self, step: Step) -> None:
        self._link(step)
        self._unlink(step)

    def _unlink(self, step: Step) -> None:
        self._say(step.path, None)

    _allocate, _rmdir = _truncate, _unlink

    def _chmod(self, step: Step) -> None:
        """Rights are no part of the model."""

    _mark = _chmod

    def _say(self, path: str, number: int | None) -> None:
        self._names.setdefault(path, [None]).append(number)

    def _new(self, inode: int, stable: bytes = b"") -> int:
        number = len(self._files)
        self._files[number] = File(stable)
        self._inodes[inode] = number
        return number

    def _file(self, step: Step) -> File:
        return self._files[self._inodes[step.inode]]


def _fates(pending: tuple[int, bytes | None]) -> tuple[str, ...]:
    offset, data = pending
    if data is None:
        return ("kept", "lost")
    return ("kept", "lost", "zeros", "cut") if _cut(offset, data) else ("kept", "lost", "zeros")


def _drawn(options: list[Sequence[object]], chance: random.Random) -> Iterator[tuple[object, ...]]:
    """All kept, all lost, each alone lost, each alone kept, then draws of all kinds."""
    new = [option[-1] if isinstance(option, range) else "kept" for option in options]
    old = [option[0] if isinstance(option, range) else "lost" for option in options]
    yield tuple(new)
    yield tuple(old)
    for one, other in ((new, old), (old, new)):
        for n in chance.sample(range(len(options)), min(len(options), 40)):
            yield (*one[:n], other[n], *one[n + 1 :])
    while True:
        kept = chance.choice([_SELDOM, 0.5, 1 - _SELDOM])
        pairs = zip(new, options, strict=True)
        yield tuple(value if chance.random() < kept else chance.choice(option) for value, option in pairs)


def lay_out(state: dict[str, bytes | None], folder: Path) -> Path:
    """Put a state into a folder, which is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in state.items():
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)
    return folder
