"""The port of a place where scores go: each partition of it is replaced as a whole, or stays as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa


class Written(NamedTuple):
    """Some rows of a partition, on their way.

    Attributes:
        scored: Rows with their scores; each of a partition's tables has the same columns.
        refused: Rows that were not scored, with the reasons.
    """

    scored: pa.Table
    refused: pa.Table


@runtime_checkable
class Destination(Protocol):
    """Where scores go."""

    @property
    def name(self) -> str:
        """What it is called, without anything secret: the ledger names it so."""
        ...

    def holds(self, partition: str, run: str, rows: int) -> bool:
        """Whether a partition is what a run wrote: so many rows, each of that run."""
        ...

    def replace(self, partition: str, run: str, batches: Iterable[Written]) -> None:
        """Put rows in the place of a partition, all of them or, where anything fails, none.

        Args:
            partition: Name of the partition.
            run: Name of what wrote the rows.
            batches: At least one.
        """
        ...


@runtime_checkable
class Rows(Protocol):
    """A table that rows come from."""

    @property
    def name(self) -> str:
        """What it is called, without anything secret."""
        ...

    def batches(self, folder: Path, rows: int) -> Iterator[pa.Table]:
        """Its rows in order, some at a time.

        Args:
            folder: Where to lay down what does not fit into memory.
            rows: How many at a time, at most.
        """
        ...
