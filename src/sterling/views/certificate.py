"""The reproduction certificate: how far a run that was executed again is the same, and why it is not where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sterling.core.evidence import Entry
from sterling.project.metrics import label
from sterling.views.tables import Row, Table, escaped, in_markdown, in_terminal
from sterling.views.text import cite, moment, number, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

LEVELS = {
    "model": "The bytes of the model and of its predictions on the holdout are equal.",
    "predictions": "The bytes of the predictions on the holdout are equal; those of the model are not.",
    "metrics": "Predictions differ; every metric lies within the interval that is on record.",
    "none": "Predictions differ, and so do metrics by more than their intervals, or they could not be computed.",
}


def headline(entry: Entry) -> str:
    """What came of it, in one sentence."""
    body = entry.body
    said = "is reproduced" if body["level"] in {"model", "predictions"} else "is not reproduced"
    return f"The run at {cite(body['run'])} {said}. {LEVELS[body['level']]}"


def render(entry: Entry) -> RenderableType:
    """A certificate for a terminal."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [Text(headline(entry), style="bold"), ""]
    parts += [Text(line) for line in _facts(entry)]
    for title, lines in _sections(entry):
        parts += ["", Text(title, style="bold"), *(Padding(Text(line), (0, 0, 0, 2)) for line in lines)]
    if entry.body["level"] not in {"model", "predictions"} and entry.body["metrics"]:
        parts += ["", in_terminal(metrics_table(entry))]
    return Group(*parts)


def certificate(entry: Entry, project: str) -> str:
    """The same as a document, in Markdown.

    Args:
        entry: The ``run.reproduced`` or ``reproduction.failed``.
        project: Name of the project.
    """
    body = entry.body
    title = "Certificate of reproduction" if body["level"] != "none" else "Failed reproduction"
    lines = [f"# {title}: {escaped(project)}", "", headline(entry), ""]
    lines += [f"- {escaped(line)}" for line in _facts(entry)]
    lines += [f"- Model `{body['model']}`, definition `{body['definition'][:12]}`"]
    lines += [
        f"- Recorded {moment(entry.recorded_at)} by {escaped(entry.actor)} ({entry.attestor}) {cite(entry.position)}"
    ]
    for name, found in _sections(entry):
        lines += ["", f"## {name}", "", *(f"- {escaped(line)}" for line in found)]
    lines += ["", "## Metrics", "", in_markdown(metrics_table(entry)), ""]
    lines += ["Numbers in square brackets are positions in the project's ledger; `sterling verify` checks it.", ""]
    return "\n".join(lines)


def metrics_table(entry: Entry) -> Table:
    """The candidate's metrics then and now."""
    rows = (
        Row((label(m["metric"]), number(m["before"]), f"{number(m['low'])} to {number(m['high'])}", number(m["after"])))
        for m in entry.body["metrics"]
    )
    return Table(
        "Metrics on the holdout", ("", ">recorded", ">interval", ">again"), tuple(rows), empty="none on record"
    )


def _facts(entry: Entry) -> Iterator[str]:
    body = entry.body
    place = body["environment"]
    yield f"{number(body['equal'])} of {plural(body['refs'], 'ref')} equal, bit for bit."
    yield (
        f"Executed in a fresh {body['fresh']}, Python {place['python']}, {plural(place['threads'], 'thread')}, "
        f"in {number(float(body['seconds']))} s."
    )
    if body["as_recorded"]:
        yield f"Taken as on record, since it comes from outside: {', '.join(body['as_recorded'])}."


def _sections(entry: Entry) -> Iterator[tuple[str, tuple[str, ...]]]:
    body = entry.body
    differences = body["differences"]
    if differences:
        yield f"First difference: {differences[0]['title']}", tuple(map(_cause, differences[0]["causes"]))
        if more := [one["title"] for one in differences[1:]]:
            yield "Differ after it", (", ".join(more),)
    elsewhere = [_cause(one) for one in body["changed"]]
    if elsewhere and not differences:
        yield "Not as it was, without making a difference", tuple(elsewhere)
    if body["not_installed"]:
        yield "Not as the lock says", tuple(body["not_installed"])


def _cause(cause: Mapping[str, Any]) -> str:
    return f"{cause['kind']}: {cause['detail']}"
