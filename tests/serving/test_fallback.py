"""What answers where the version that is asked cannot, and what is said of that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from sterling.core.errors import InvalidDefinitionError, RefusedError
from sterling.decisions.release import release
from sterling.models import Column, Constant, Model
from sterling.models.frame import Frame
from sterling.models.training import fit
from sterling.project.definition import to_json
from sterling.project.fallbacks import Cached, Link, PreviousModel, Rule, When, check_fallback, doubts
from sterling.project.fallbacks import Constant as Always
from sterling.project.features import OnDemand
from sterling.project.recipe import LightGBM
from sterling.project.tasks import Binary
from sterling.serving.answering import Answering
from sterling.serving.endpoints import Service
from sterling.serving.fallback import Cache, Known
from sterling.serving.metrics import Metrics
from sterling.serving.on_demand import Computed
from sterling.serving.parts import Part
from sterling.serving.prediction_log import PredictionLog
from sterling.serving.released import Follower
from sterling.serving.requests import Asked
from sterling.serving.segments import convert, segments
from sterling.serving.server import Server
from sterling.stages.contract import put_bytes
from sterling.tasks.policies import Decider
from sterling.views.approvals import needs
from tests.decisions.released import World
from tests.models.frames import DAY, frame
from tests.serving.test_released import COLUMNS, FEATURES, ROW

GOOD, SLOW, BROKEN = 1.0, 2.0, 3.0


def function(distance: float | None) -> float:
    """A project's function that takes its time over one row, and fails on another."""
    if distance == SLOW:
        time.sleep(0.005)
    if distance == BROKEN:
        raise ValueError
    return 0.0


MADE = Column("made", "number")
FUNCTION = Computed(OnDemand("made", function, inputs=["distance"]), COLUMNS[:1], frozenset())


def world_of(tmp_path: Path, *links: Link, when: When | None = None, **project: Any) -> World:
    """Version 1 answers .25; version 2 answers .75, is live, and has a chain."""
    world = World(tmp_path)
    world.models["a"] = put_bytes(world.store, Model(COLUMNS, Constant(0.25)).to_bytes())
    world.models["b"] = put_bytes(world.store, Model((*COLUMNS, MADE), Constant(0.75)).to_bytes())
    world.register("a", features=FEATURES)
    chain = {"fallback": to_json(links), "fallback_when": to_json(when or When())}
    world.register("b", features=FEATURES, routing={"unit": "carrier"}, **chain, **project)
    release(world.ledger, world.store, 1)
    release(world.ledger, world.store, 2)
    return world


def follower_of(world: World) -> Follower:
    """Follows a world whose live version calls a function."""
    follower = Follower(world.ledger, world.store)
    follower.prepare()
    follower._now = follower._now._replace(live=replace(follower.served, computed=(FUNCTION,)))
    return follower


class Asker:
    """Asks without HTTP.

    Attributes:
        waiting: How many requests wait.
    """

    def __init__(self, world: World) -> None:
        self.waiting, self.metrics = 0, Metrics()
        self._answering = Answering(follower_of(world), self.metrics, "null", 100)

    def ask(self, *distances: float, unit: str | None = None, **more: Any) -> list[Part]:
        return self.asked(Asked([ROW | {"distance": d, **more} for d in distances], unit=unit))

    def asked(self, asked: Asked) -> list[Part]:
        return asyncio.run(self._answering.answer(asked, "r1", self.waiting))


def said(parts: list[Part]) -> list[tuple[float, str | None, str | None]]:
    """Score, link and reason of each row, in order."""
    rows = [
        (number, (score, part.fell and part.fell.link, part.fell and part.fell.reason))
        for part in parts
        for number, score in zip(part.places, part.found.scores.tolist(), strict=True)
    ]
    return [row for _, row in sorted(rows)]


def test_without_a_reason_the_version_answers(tmp_path: Path) -> None:
    asker = Asker(world_of(tmp_path, Always(0.1)))
    assert said(asker.ask(GOOD, GOOD)) == [(0.75, None, None)] * 2


def test_a_function_that_fails_or_takes_too_long_is_answered_by_the_version_before(tmp_path: Path) -> None:
    asker = Asker(world_of(tmp_path / "fails", PreviousModel(), Always(0.1)))
    assert said(asker.ask(BROKEN)) == [(0.25, "previous", "error")]
    asker = Asker(world_of(tmp_path / "late", PreviousModel(), Always(0.1), when=When(timeout="100ms")))
    assert said(asker.ask(*[SLOW] * 100)) == [(0.25, "previous", "timeout")] * 100
    text = asker.metrics.text().decode()
    assert 'sterling_fallbacks_total{link="previous",reason="timeout",version="2"} 1.0' in text


def test_what_the_request_does_wrong_is_refused_and_answered_by_no_fallback(tmp_path: Path) -> None:
    asker = Asker(world_of(tmp_path, Always(0.1)))
    with pytest.raises(ValueError, match="'distance' is 'far'"):
        asker.ask("far")  # type: ignore[arg-type]


def test_a_unit_gets_what_was_said_of_it_last_and_others_the_next_link(tmp_path: Path) -> None:
    asker = Asker(world_of(tmp_path, Cached("1h"), Always(0.1)))
    asker.ask(GOOD, carrier="UA")
    parts = asker.ask(BROKEN, carrier="UA")
    assert said(parts) == [(0.75, "cached", "error")]
    assert parts[0].fell
    assert parts[0].fell.ages
    assert said(asker.ask(BROKEN, carrier="AA")) == [(0.1, "constant", "error")]
    assert said(asker.ask(BROKEN, unit="C7", carrier="UA")) == [(0.1, "constant", "error")]


def test_a_cache_forgets_what_is_old_by_another_version_or_too_much() -> None:
    now = [0.0]
    cache = Cache(Cached("10s", entries=2), clock=lambda: now[0])
    for unit in ("a", "b", "c"):
        cache.keep(unit, 1, 0.5)
    assert (len(cache), cache.get("a", 1), cache.get("b", 2)) == (2, None, None)
    now[0] = 11.0
    assert cache.get("b", 1) is None
    wider = Cache(Cached("10s", across_versions=True), clock=lambda: now[0])
    wider.keep("a", 1, 0.5)
    now[0] = 13.0
    assert wider.get("a", 2) == (0.5, None, 2.0)


def test_a_rule_answers_from_what_the_request_brings_and_passes_on_what_it_says_nothing_of(tmp_path: Path) -> None:
    rule = Rule("CASE WHEN carrier = 'UA' THEN distance / 10 WHEN carrier = 'AA' THEN 2 END")
    asker = Asker(world_of(tmp_path, rule, Always(0.1)))
    found = [said(asker.ask(BROKEN, carrier=carrier)) for carrier in ("UA", "AA", None)]
    assert found == [[(0.3, "rule", "error")], [(0.1, "constant", "error")], [(0.1, "constant", "error")]]


def test_a_rule_over_raw_columns_passes_on_requests_that_bring_features(tmp_path: Path) -> None:
    asker = Asker(world_of(tmp_path, Rule("weight / 10"), Always(0.1)))
    assert said(asker.ask(BROKEN, carrier="UA")) == [(0.1, "constant", "error")]


def test_beyond_its_share_of_the_queue_no_model_is_asked_but_for_want_of_another_answer(tmp_path: Path) -> None:
    asker = Asker(world_of(tmp_path, PreviousModel(), Rule("CASE WHEN carrier = 'UA' THEN 0.5 END")))
    asker.waiting = 74
    assert said(asker.ask(GOOD)) == [(0.75, None, None)]
    asker.waiting = 75
    assert said(asker.ask(GOOD)) == [(0.5, "rule", "overload")]
    assert said(asker.ask(GOOD, carrier="AA")) == [(0.75, None, None)]


def test_rows_unlike_all_that_training_knew_are_answered_by_the_chain_and_the_others_by_the_version(
    tmp_path: Path,
) -> None:
    chain = Always(0.1)
    asker = Asker(world_of(tmp_path, chain, when=When(unknown="30%")))
    rows = [ROW | {"distance": GOOD}, ROW | {"distance": GOOD, "carrier": "ZZ"}, ROW | {"distance": GOOD}]
    parts = asker.asked(Asked(rows))
    assert said(parts) == [(0.75, None, None), (0.1, "constant", "unknown input"), (0.75, None, None)]
    assert [one for part in parts for one in part.nulled] == []


def test_trees_know_the_range_of_each_number() -> None:
    rows = Frame(frame(800))
    rows = rows.take(rows.known_before(50 * DAY))
    model = fit(LightGBM(trees=5), rows.training_rows(0))
    known, numbers = Known(model), {c.name: rows.table[c.name] for c in model.columns if c.kind == "number"}
    inside = dict.fromkeys(model.names)
    name, column = next(iter(numbers.items()))
    values = sorted(value for value in column.to_pylist() if value is not None)
    outside = [inside | {name: values[-1] + 1.0}, inside | {name: values[0] - 1.0}]
    assert known.beyond([inside, inside | {name: values[0]}, *outside], 0) == [2, 3]
    assert known.beyond(outside, 1_000_000) == []


def test_a_threshold_judges_what_a_fallback_says_unless_the_link_does(tmp_path: Path) -> None:
    for link, decided in ((Always(0.1), False), (Always(0.9), True), (Always(0.1, act=True), True)):
        world = world_of(tmp_path / str(link), link)
        follower = follower_of(world)
        judged = replace(follower.served, decider=Decider(0.5, "given"))
        follower._now = follower._now._replace(live=judged)
        answering = Answering(follower, Metrics(), "refuse", 100)
        parts = asyncio.run(answering.answer(Asked([ROW | {"distance": BROKEN}]), "r1"))
        assert parts[0].decisions == [decided]


@contextmanager
def serving(world: World, log: PredictionLog | None = None) -> Iterator[str]:
    server = Server(world.ledger, world.store, service=Service(log=log, beyond="null"), follower=follower_of(world))
    with server.in_background() as url:
        yield url


def test_over_http_each_use_is_in_the_answer_in_the_metrics_and_in_the_prediction_log(tmp_path: Path) -> None:
    world, log = world_of(tmp_path, Cached("1h"), Always(0.1)), PredictionLog(tmp_path / "log")
    with serving(world, log) as url:
        rows = [ROW | {"distance": BROKEN, "carrier": carrier} for carrier in ("UA", "AA")]
        httpx.post(f"{url}/v1/predict", json=ROW).raise_for_status()
        answer = httpx.post(f"{url}/v1/predict", json={"rows": rows, "features": True}).raise_for_status().json()
        metrics = httpx.get(f"{url}/metrics").text
    age = answer["fallback"][0].pop("age_seconds")
    assert 0 <= age < 60
    assert answer["scores"] == [0.75, 0.1]
    assert answer["fallback"] == [
        {"row": 0, "link": "cached", "reason": "error"}, {"row": 1, "link": "constant", "reason": "error"},
    ]  # fmt: skip
    assert 'sterling_fallbacks_total{link="cached",reason="error",version="2"} 1.0' in metrics
    assert 'sterling_predictions_total{version="2"} 1.0' in metrics
    convert(tmp_path / "log")
    (path,) = segments(tmp_path / "log")
    names = ["_row", "_version", "_score", "_fallback", "_fallback_reason"]
    assert [tuple(row.values()) for row in pq.read_table(path, columns=names).to_pylist()] == [
        (0, 2, 0.75, None, None), (0, 2, 0.75, "cached", "error"), (1, 2, 0.1, "constant", "error"),
    ]  # fmt: skip


def test_a_version_whose_only_fallback_is_the_one_before_is_not_released_first(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.register("a", fallback=to_json((PreviousModel(),)), fallback_when=to_json(When()))
    with pytest.raises(RefusedError, match="no other was live"):
        release(world.ledger, world.store, 1)
    world.register("b")
    release(world.ledger, world.store, 2)
    release(world.ledger, world.store, 1)


def test_what_a_chain_leaves_open_is_said() -> None:
    assert list(doubts([PreviousModel(), Always(0.1)], previous=True)) == []
    assert [said.split()[0] for said in doubts([PreviousModel()], previous=False)] == ["PreviousModel", "The"]


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ([Always(1.5)], "probability"),
        ([Always(0.5), Always(0.4)], "always answers"),
        ([PreviousModel(), Cached("1h"), PreviousModel()], "twice"),
    ],
)
def test_a_chain_that_cannot_be_meant_is_refused(links: list[Link], said: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=said):
        check_fallback(links, Binary())


def test_another_chain_is_approved_by_whoever_reads_the_answers() -> None:
    project = {"problem": {"risk": "limited"}}
    before, after = {"project": project}, {"project": project | {"fallback": to_json((Always(0.1),))}}
    assert [need.role for need in needs(after, before)] == ["consumers"]
