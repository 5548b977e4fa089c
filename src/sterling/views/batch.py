"""What a job of scoring did, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sterling.views.tables import Row, Table, in_terminal
from sterling.views.text import cite, number, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN = 12


def batch_report(
    version: int,
    partitions: Sequence[Mapping[str, Any]],
    batch: Mapping[str, Any] | None,
    destination: str,
    kept: int,
    position: int | None,
) -> Iterator[RenderableType]:
    """A table of the partitions that were written, and what became of the job.

    Args:
        version: The version that scored.
        partitions: Bodies of ``partition.scored``.
        batch: Body of ``batch.scored``, or None where nothing was to be done.
        destination: Where the scores are.
        kept: How many partitions were in place already.
        position: Where the job is on record.
    """
    if partitions:
        heads = ("partition", ">rows", ">refused", ">act", ">mean score", ">s")
        more = f"and {len(partitions) - _SHOWN:,} more" if len(partitions) > _SHOWN else None
        yield in_terminal(Table(destination, heads, tuple(map(_row, partitions[:_SHOWN])), note=more))
    if batch is None:
        yield f"Version {version}: {plural(kept, 'partition')} in place at {destination} already; nothing was done."
        return
    yield sentence(batch, position)


def sentence(body: Mapping[str, Any], position: int | None = None) -> str:
    """A job in a sentence, from the body of ``batch.scored``."""
    refused = sum(body["refused"].values())
    said = [f"Version {body['version']} scored {plural(body['rows'], 'row')} to {body['destination']}"]
    if body["acted"] is not None:
        said.append(f"{body['acted']:,} of them to act on")
    if refused:
        said.append(f"{plural(refused, 'row')} refused")
    if body["nulled"]:
        said.append(f"{plural(body['nulled'], 'unknown value')} taken as null")
    if body["kept"]:
        said.append(f"{plural(body['kept'], 'partition')} in place before")
    if body["left"]:
        said.append(f"{plural(len(body['left']), 'partition')} left")
    cost = body["cost"]
    price = f", {number(cost['per_1000'])} per 1,000" if cost and cost["per_1000"] is not None else ""
    where = f" {cite(position)}" if position else ""
    return f"{', '.join(said)}; {body['seconds_cpu']:.1f} s of processors{price}{where}."


def _row(body: Mapping[str, Any]) -> Row:
    scores, refused = body["scores"], sum(body["refused"].values())
    return Row(
        (
            body["partition"], f"{body['rows']:,}", f"{refused:,}", "" if body["acted"] is None else f"{body['acted']:,}",
            number(scores["mean"]) if scores else "", f"{body['seconds']:.1f}",
        )
    )  # fmt: skip
