"""Served equals trained: rows of the training go through the very server, and must get the scores that training kept."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.core.evidence import Entry, Evidence, Query
from sterling.core.ledger import Ledger
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.decisions.release import live
from sterling.decisions.served import CHECKED, served_as_trained
from sterling.project.definition import from_json
from sterling.project.fallbacks import External, Link
from sterling.serving.endpoints import Service
from sterling.serving.fallback import seconds_of
from sterling.serving.on_demand import Supplied, defined_by, frame_of
from sterling.serving.outside import Outside, OutsideError
from sterling.serving.released import Follower, ServedModel, Serving
from sterling.serving.requests import Limits
from sterling.serving.router import Router
from sterling.serving.server import Server
from sterling.views.release_plan import NOTHING

_AT_ONCE, _ATTEMPTS = 100, 5


class _Fixed(Follower):
    """Serves one version, whatever is released."""

    def __init__(self, ledger: Ledger, store: Store, served: ServedModel) -> None:
        self.ledger, self.store, self.online, self.trouble, self.plan_file = ledger, store, None, None, None
        self._now = Serving(NOTHING, Router(served.version), served)

    async def follow(self) -> None:
        await asyncio.Event().wait()


class _Probe(NamedTuple):
    """Rows of a training with the scores that it kept.

    Attributes:
        ref: The table of the scores.
        rows: The features of each row.
        scores: Its score, or its scores where it has several.
    """

    ref: str
    rows: Sequence[Mapping[str, Any]]
    scores: Sequence[Any]


def check_served(ledger: Ledger, store: Store, version: int | None = None, supplied: Sequence[Supplied] = ()) -> Entry:
    """Send rows of a version's training through a server of it, one by one and many at once, and compare.

    Args:
        ledger: The project's chain.
        store: Where models, frames and scores are.
        version: The registered version; the newest where it is None.
        supplied: The project's functions.

    Returns:
        The ``served.checked`` entry: a new one, or the last one where it says the same.

    Raises:
        InvalidDefinitionError: if there is no such version, or its functions are others now.
        MissingBlobError: if the store does not hold what it rests on.
    """
    registered = _registered(ledger, version)
    served = replace(ServedModel.load(ledger, store, registered, supplied), chain=None)  # itself, and no fallback
    probe = _probe(ledger, store, served)
    computed = {feature.name for feature in served.computed}
    rows = [{name: value for name, value in row.items() if name not in computed} for row in probe.rows]
    service = Service(Limits(rows=max(1, len(rows))), beyond="null")
    with Server(ledger, store, service=service, follower=_Fixed(ledger, store, served)).in_background() as url:
        one_by_one = [score for row in rows for score in _ask(url, [row])]
        at_once = [
            score for start in range(0, len(rows), _AT_ONCE) for score in _ask(url, rows[start : start + _AT_ONCE])
        ]
    body = {"version": served.version, "model": served.ref, "probe": probe.ref, "rows": len(rows)}
    return _recorded(ledger, body | _compared(probe.scores, one_by_one, at_once))


def check_unless_live(
    ledger: Ledger, store: Store, version: int | None = None, supplied: Sequence[Supplied] = ()
) -> Entry | None:
    """`check_served`, as the gate of a release; a version that is live already is left alone.

    Raises:
        DataError: if a score differs.
    """
    current = live(ledger)
    if current is not None and current.body["version"] == _registered(ledger, version).body["version"]:
        return None
    checked = check_served(ledger, store, version, supplied)
    verdict = served_as_trained([checked], checked.body["model"])
    if not verdict.passed:
        raise DataError(f"Version {checked.body['version']} is not released. {verdict.reason}")
    return checked


def outside_doubts(
    ledger: Ledger, store: Store, version: int | None = None, supplied: Sequence[Supplied] = ()
) -> list[str]:
    """Ask each model behind a URL that a version falls back on for the score of a row of its training.

    Returns:
        What is wrong with those that do not answer, a sentence each.

    Raises:
        InvalidDefinitionError: if there is no such version, or its functions are others now.
        MissingBlobError: if the store does not hold what it rests on.
    """
    registered = _registered(ledger, version)
    links = ((defined_by(ledger, store, registered) or {}).get("project") or {}).get("fallback") or ()
    if not any(link["type"] == External.__name__ for link in links):
        return []
    served = ServedModel.load(ledger, store, registered, supplied)
    row = next(iter(_probe(ledger, store, served).rows), served.known.example())
    probabilities = served.model.predictor.answers == "probability"

    async def ask(link: External) -> str | None:
        model = Outside(link.model, seconds_of(link.timeout), link.connections)
        try:
            await model.ask(link.model.columns or served.model.names, [row], probabilities=probabilities)
        except OutsideError as error:
            return str(error)
        finally:
            model.close()
        return None

    asked = [asyncio.run(ask(link)) for link in from_json(links, tuple[Link, ...]) if isinstance(link, External)]
    return [said for said in asked if said is not None]


def _registered(ledger: Ledger, version: int | None) -> Entry:
    subjects = () if version is None else (f"version:{version}",)
    found = next(ledger.read(Query(("model.registered",), subjects), newest_first=True), None)
    if found is None:
        which = "any version" if version is None else f"version {version}"
        raise InvalidDefinitionError(
            f"The ledger has not registered {which}. `sterling run` registers a model that passes."
        )
    return found


def _probe(ledger: Ledger, store: Store, served: ServedModel) -> _Probe:
    from sterling.engine.tables import read_table
    from sterling.models.answers import scores_of

    trained = next(ledger.read(Query(("model.trained",), (f"model:{served.ref}",)), newest_first=True))
    kept = read_table(store, Ref(trained.body["probe"]))
    names = served.model.names
    frame = read_table(store, frame_of(ledger, served.ref), ["unit", "predict_at", *names])
    wanted = set(zip(kept["unit"].to_pylist(), kept["predict_at"].to_pylist(), strict=True))
    keys = zip(frame["unit"].to_pylist(), frame["predict_at"].to_pylist(), strict=True)
    found = frame.take([place for place, key in enumerate(keys) if key in wanted]).to_pylist()
    rows = {(row["unit"], row["predict_at"]): {name: row[name] for name in names} for row in found}
    asked = [rows[row["unit"], row["predict_at"]] for row in kept.select(["unit", "predict_at"]).to_pylist()]
    return _Probe(trained.body["probe"], asked, scores_of(kept).tolist())


def _ask(url: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Scores of rows; asked again where a function of the project took too long, as it may on a busy machine."""
    body = json.dumps({"rows": rows})
    for attempt in range(_ATTEMPTS):
        with _connected(url) as connection:
            connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
            found = connection.getresponse()
            answer = json.loads(found.read())
        if found.status == 200:
            scores: list[Any] = answer["scores"]
            return scores
        if found.status < 500 or attempt == _ATTEMPTS - 1:
            break
    raise DataError(f"The server does not answer a row of the training: {answer['detail']}")


@contextmanager
def _connected(url: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def _compared(kept: Sequence[Any], *answers: Sequence[Any]) -> dict[str, Any]:
    """How many rows got another score, in any of the ways in which they were asked for, and by how much at most."""
    unequal = [any(row[0] != other for other in row[1:]) for row in zip(kept, *answers, strict=True)]
    apart = [abs(a - b) for answer in answers for a, b in _pairs(kept, answer)]
    largest = max(apart, default=0.0)
    return {"unequal": sum(unequal), "largest": largest if math.isfinite(largest) else None}


def _pairs(kept: Sequence[Any], answer: Sequence[Any]) -> Iterator[tuple[float, float]]:
    """Numbers that stand at one place, of rows that have one or several."""
    for a, b in zip(kept, answer, strict=True):
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            yield from _pairs(a, b)
        elif all(isinstance(value, int | float) for value in (a, b)):
            yield a, b


def _recorded(ledger: Ledger, body: dict[str, Any]) -> Entry:
    version = Query((CHECKED,), (f"version:{body['version']}",))
    before = next(ledger.read(version, newest_first=True), None)
    if before is not None and dict(before.body) == body:
        return before
    ledger.append([Evidence(CHECKED, (f"version:{body['version']}", f"model:{body['model']}"), body)])
    return next(ledger.read(version, newest_first=True))
