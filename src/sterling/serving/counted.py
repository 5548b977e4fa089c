"""What server processes counted of a stage, added up: of those that live and of those that died."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sterling.core.errors import StorageError
from sterling.decisions.guardrails import Counts, Seen
from sterling.serving.counters import ARMS, FIELDS, GROUPED, GROUPS, HEADER_BYTES, LATENCY_MS, SUFFIX, WIDTH
from sterling.stats.rows import Floats
from sterling.stats.sequential import Arm, design_effect

_MEANS = ("latency", "cost", "decisions", "scores")
_ROWS = {"latency": "answered", "cost": "answered", "decisions": "decided", "scores": "scored"}


def counted(folders: Sequence[Path], position: int) -> Counts:
    """What was counted of a stage.

    Args:
        folders: Where server processes count; of several machines each its own.
        position: Position of the entry with which the stage began.

    Raises:
        StorageError: if a file cannot be read.
    """
    files = [_read(path) for folder in folders for path in sorted(folder.glob(f"{position}-*{SUFFIX}"))]
    if not files:
        return Counts()
    cells = np.sum([cells for _, cells in files], axis=0)
    return counts_of(cells, paired=files[0][0] == "shadow")._replace(processes=len(files))


def counts_of(cells: Floats, *, paired: bool = False) -> Counts:
    """Numbers as they lie in the files, shape (arms, `WIDTH`), by what they mean; paired where the other arm is a shadow's."""
    groups = cells[:, :GROUPED].reshape(len(ARMS), GROUPS, len(FIELDS))
    of = {name: groups[:, :, place] for place, name in enumerate(FIELDS)}
    bins = cells[:, GROUPED:]
    live, other = (_seen({name: part[arm] for name, part in of.items()}, bins[arm]) for arm in range(len(ARMS)))
    arms = slice(1, None) if paired else slice(None)  # what a shadow says is a difference already
    effects = {
        name: design_effect(of[_ROWS[name]][arms], of[name][arms], of[f"{name}_squares"][arms]) for name in _MEANS
    }
    effects["errors"] = design_effect(of["requests"], of["errors"], of["errors"])
    effects["requests"] = _dispersion(of["requests"][0])
    return Counts(live, other, effects)


def _read(path: Path) -> tuple[str, Floats]:
    """Kind of the stage, and the numbers of each arm."""
    try:
        held = path.read_bytes()
        header = json.loads(held[:HEADER_BYTES].rstrip(b"\0"))
        known = header["groups"] == GROUPS and tuple(header["fields"]) == FIELDS
        if known:
            kind: str = header["kind"]
            return kind, np.frombuffer(held, dtype=float, offset=HEADER_BYTES).reshape(len(ARMS), WIDTH)
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{path} holds no counts: {error}.") from error
    raise StorageError(f"{path} was written by another version of Sterling. Serve and operate with the same.")


def _seen(of: dict[str, Floats], bins: Floats) -> Seen:
    means = {
        name: Arm(float(of[_ROWS[name]].sum()), float(of[name].sum()), float(of[f"{name}_squares"].sum()))
        for name in _MEANS
    }
    edges = len(LATENCY_MS) + 1
    return Seen(
        float(of["requests"].sum()), float(of["errors"].sum()), **means,
        score_bins=tuple(bins[edges:].tolist()), latency_bins=tuple(bins[:edges].tolist()),
    )  # fmt: skip


def _dispersion(requests: Floats) -> float:
    """How many times larger the variance of a count of requests is than if each came from a unit of its own."""
    mean = float(requests.mean())
    return max(1.0, float(requests.var(ddof=1)) / mean) if mean else 1.0
