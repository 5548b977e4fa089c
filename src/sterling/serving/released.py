"""The versions that are served, and those that follow them: the ledger says which, requests never ask it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from sterling.core.canonical import digest
from sterling.core.errors import DataError, FieldError, InvalidDefinitionError, SterlingError
from sterling.core.evidence import Entry, Query
from sterling.core.history import entry_at
from sterling.core.ledger import Awaited, Ledger, head_of
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.models import Model
from sterling.models.columns import encode_rows
from sterling.models.predictors import Probabilities
from sterling.serving import counters
from sterling.serving.counters import Counted, Decisions, Tally, tally_of
from sterling.serving.fallback import Chain, Known
from sterling.serving.kept_plan import PlanFile, Remembered, keep
from sterling.serving.on_demand import Computed, Supplied, computed_by, defined_by, fill, intact, types_of
from sterling.serving.problems import is_clients
from sterling.serving.requests import Asked, RefusedRequestError
from sterling.serving.router import CANARY, LIVE, Assigned, Router, router_of, unit_text
from sterling.serving.shadow import Disagreement, Shadowing
from sterling.serving.vector import Online, Vector, Vectors, vector_of
from sterling.tasks.policies import Decider, decider_from
from sterling.views.release_plan import KINDS, NOTHING, Release, ReleasePlan, Rollout, release_plan

_log = logging.getLogger("sterling.serving")


class ModelFailedError(SterlingError):
    """A model that does not answer what it was trained to answer, which is no fault of the request."""


class Predicted(NamedTuple):
    """The answer to a request.

    Attributes:
        scores: Probability of each row, or its number; shape (rows, outputs) where the model has several.
        rows: The features of each row.
        at: The moment that computed features are of, in microseconds; None where the request brought them.
    """

    scores: Probabilities
    rows: Sequence[Mapping[str, Any]]
    at: int | None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A released model, ready to answer.

    Attributes:
        model: The model.
        ref: Its name.
        version: Its version.
        position: Position of the release in the ledger.
        computed: The features that functions of the project compute.
        vector: Computes all features from raw columns and the online state, where that can be done.
        why_not: Where it cannot, the reason.
        decider: What decides from a score, as the version was judged; None where nothing does.
        features: Digest of what its features are; versions that share it read the same vector.
        chain: What answers where it cannot, or None.
    """

    model: Model
    ref: Ref
    version: int
    position: int
    computed: tuple[Computed, ...] = ()
    vector: Vector | None = None
    why_not: str | None = None
    decider: Decider | None = None
    features: str | None = None
    chain: Chain | None = None
    known: Known = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", Known(self.model))

    @classmethod
    def load(
        cls,
        ledger: Ledger,
        store: Store,
        release: Entry,
        supplied: Sequence[Supplied] = (),
        online: Online | None = None,
    ) -> ServedModel:
        """Load what a release names, and answer once so that the first request does not wait.

        Args:
            ledger: Where it is recorded what the version is.
            store: Where models are.
            release: The release.
            supplied: The project's functions.
            online: The project and its online state. Where a store is named, every feature must be computed from it.

        Raises:
            InvalidDefinitionError: if the project's functions are not those that the version was trained with, or a feature
                cannot be computed here and an online store is named.
            MissingBlobError: if the store does not hold the model or its definition.
            TamperedLedgerError: if the store's bytes are not those that the release names.
        """
        ref = Ref(release.body["model"])
        model = Model.from_bytes(intact(store, ref, "model"))
        model.predict_rows([dict.fromkeys(model.names)])
        computed = computed_by(ledger, store, release, model, supplied)
        vector, why_not = _vector(ledger, store, release, computed, online)
        decider = decider_of(ledger, store, release)
        defined = defined_by(ledger, store, release)
        features, chain = _features(defined, model), Chain.of(defined, model, vector)
        version = release.body["version"]
        return cls(model, ref, version, release.position, computed, vector, why_not, decider, features, chain)

    def decisions(self, scores: Probabilities) -> list[bool] | None:
        """Whether each row is acted on; None where nothing decides, or a capacity does, which one request does not see."""
        if self.decider is None or self.decider.threshold is None:
            return None
        decided: list[bool] = self.decider.acts(scores).tolist()
        return decided

    def labels(self, scores: Probabilities) -> list[str] | None:
        """The most probable output of each row, of equal ones the first; None where answers are no probabilities of several."""
        if self.model.predictor.answers != "probabilities":
            return None
        return [self.model.outputs[place] for place in scores.argmax(axis=1)]

    def policy(self) -> dict[str, Any] | None:
        """What decides from a score, as ``GET /version`` says it."""
        if self.decider is None:
            return None
        said = {name: value for name, value in self.decider.document().items() if name != "format"}
        if self.decider.threshold is None:
            said["not_served"] = f"A request does not see the other rows of its {self.decider.per or 'moment'}."
        return said

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Probabilities:
        """Probability of each row; see `answer`."""
        return self.answer(Asked(rows)).scores

    def answer(self, asked: Asked) -> Predicted:
        """Probability of each row, after what is computed here is filled in.

        Raises:
            DataError: if a row cannot be read, or the moment that is asked for has passed.
            FunctionFailedError: if a function of the project fails on a row, or takes too long.
            StorageError: if the online store cannot be read.
        """
        vectors = self._vectors(asked)
        rows = fill(self.computed, asked.rows) if vectors is None else vectors.rows
        return Predicted(self._scores(rows), rows, None if vectors is None else vectors.at)

    def rows_with(self, asked: Asked, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Rows with some features; nothing is computed where the request brings all of these.

        Raises:
            DataError: if a row cannot be read, or the moment that is asked for has passed.
            FunctionFailedError: if a function of the project fails on a row, or takes too long.
            StorageError: if the online store cannot be read.
        """
        vector, wanted = self.vector, frozenset(names)
        computed = vector is not None and vector.computes(wanted) and all(map(vector.takes, asked.rows))
        if not computed and all(row.keys() >= wanted for row in asked.rows):
            return asked.rows
        vectors = self._vectors(asked)
        return fill(self.computed, asked.rows) if vectors is None else vectors.rows

    def _vectors(self, asked: Asked) -> Vectors | None:
        """What is computed from raw columns; None for rows that bring their features."""
        if self.vector is not None and all(map(self.vector.takes, asked.rows)):
            return self.vector.of(asked.rows, asked.predict_at)
        if asked.predict_at is not None:
            why = self.why_not or "The rows bring features that are computed here. Send the raw columns alone."
            raise RefusedRequestError(
                422, f"predict_at is of no use where features are not computed here. {why}", "predict_at"
            )
        return None

    def _scores(self, rows: Sequence[Mapping[str, Any]]) -> Probabilities:
        try:
            matrix = encode_rows(self.model.columns, rows)
        except DataError as error:
            if self.why_not is None or all(row.keys() >= set(self.model.names) for row in rows):
                raise
            said = f"{error} From raw columns it is not computed here: {self.why_not}"
            if isinstance(error, FieldError):
                raise FieldError(said, error.field, error.row, problem=error.problem) from error
            raise DataError(said) from error
        try:
            return self.model.predict(matrix)
        except DataError as error:
            raise ModelFailedError(f"Version {self.version} fails on the request. {error}") from error


def decider_of(ledger: Ledger, store: Store, release: Entry) -> Decider | None:
    """What decides from the scores of a released version; None where it was registered without a policy.

    Raises:
        DataError: if the policy is of a later format.
        TamperedLedgerError: if the store's bytes are not those that the registration names.
    """
    registered = next(ledger.read(Query(("model.registered",), (f"version:{release.body['version']}",))), None)
    ref = registered.body.get("policy") if registered else None
    return None if ref is None else decider_from(json.loads(intact(store, Ref(ref), "policy")))


def _vector(
    ledger: Ledger, store: Store, release: Entry, computed: Sequence[Computed], online: Online | None
) -> tuple[Vector | None, str | None]:
    defined = defined_by(ledger, store, release) if online else None
    if online is None or defined is None:
        return None, None
    types = types_of(ledger, release.body["model"])
    try:
        found = vector_of(ledger, defined, types, release.body["version"], computed, online, until=release.position)
    except InvalidDefinitionError as error:
        if online.store is not None:
            raise
        return None, str(error)
    return found, None


def _features(defined: Mapping[str, Any] | None, model: Model) -> str | None:
    if defined is None:
        return None
    return digest([defined["project"]["features"], defined.get("code"), [(c.name, c.kind) for c in model.columns]])


class Serving(NamedTuple):
    """What answers at one moment; a request takes it once.

    Attributes:
        plan: The release plan that it follows.
        router: Which version answers whom.
        live: The live version.
        canary: The version that a canary's units are answered by, or None.
        shadow: What scores beside the live version, or None.
        tally: Counts of the stage that runs, or None.
    """

    plan: ReleasePlan
    router: Router
    live: ServedModel
    canary: ServedModel | None = None
    shadow: Shadowing | None = None
    tally: Tally | None = None

    def routed(
        self, assigned: Assigned, units: Sequence[str | None], numbers: Sequence[int] | None = None, *,
        about: str | None = None,
    ) -> Routed:  # fmt: skip
        """Some rows, given to the version of their arm, and counted for it where all are about one unit."""
        served = self.canary if assigned.arm == CANARY and self.canary else self.live
        counted = None
        if self.tally is not None and about is not None and assigned.arm in {LIVE, CANARY}:
            counted = Counted(self.tally, counters.OTHER if assigned.arm == CANARY else counters.LIVE, about)
        return Routed(served, assigned, units, self.shadow, numbers, counted)


class Routed(NamedTuple):
    """Who answers a request, or some rows of it.

    Attributes:
        served: The version.
        assigned: Its arm, and with which probability.
        units: The unit that each row is about, or None.
        shadow: What scores the same rows afterwards, or None.
        numbers: The places of the rows; None for all of the request.
        counted: Where the request is counted, by which arm and unit; None where nothing is compared.
    """

    served: ServedModel
    assigned: Assigned
    units: Sequence[str | None]
    shadow: Shadowing | None
    numbers: Sequence[int] | None = None
    counted: Counted | None = None

    def answered(self, asked: Asked, found: Predicted, decisions: Decisions) -> None:
        """Have the shadow score the same rows, once the answer is on its way."""
        if self.shadow is not None and self.assigned.arm != CANARY:
            self.shadow.later(asked, found, self.served.features, decisions, self.counted)

    def failed(self, error: Exception) -> None:
        """Count that the version could not answer, unless the error is the client's."""
        if self.counted is not None and not is_clients(error):
            self.counted.tally.failed(self.counted.arm, self.counted.unit)


@dataclass
class Follower:
    """Serves every version that the release plan gives units to, and follows the plan in one step at a time.

    Where the live version of a newer plan cannot be loaded, the old plan stays; where a canary or a shadow cannot, the live
    version answers its units. Either is `trouble`, and is tried again at the next look.

    Args:
        ledger: Where releases are recorded.
        store: Where models are.
        every_seconds: How long it waits for news at most before it asks the ledger, outside of any request.
        supplied: The project's functions.
        online: The project and its online state, for features that are computed from raw columns.
        plan_file: Where what was read of the ledger is kept, signed, for when it cannot be reached; None for nowhere.
        counters: Folder in which a stage's requests are counted, or None.
    """

    ledger: Ledger
    store: Store
    every_seconds: float = 0.2
    supplied: Sequence[Supplied] = ()
    online: Online | None = None
    plan_file: PlanFile | None = None
    counters: Path | None = None
    trouble: str | None = field(default=None, init=False)
    _now: Serving = field(init=False)
    _plan: ReleasePlan = field(default=NOTHING, init=False)
    _seen: int = field(default=0, init=False)
    _loaded: dict[tuple[int, str], ServedModel] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        plan = self._read()
        if plan.live is None:
            raise SterlingError("Nothing is released, so there is nothing to serve. `sterling release --now` releases.")
        self._now, self.trouble = self._serving(plan)

    @property
    def served(self) -> ServedModel:
        """The live version, as it is loaded now."""
        return self._now.live

    @property
    def plan(self) -> ReleasePlan:
        """The release plan that is followed now."""
        return self._now.plan

    @property
    def without_ledger(self) -> str | None:
        """That the ledger cannot be reached, why, and what is gone by; None where it can."""
        ledger = self.ledger
        if not isinstance(ledger, Remembered) or ledger.trouble is None:
            return None
        since = f", kept at {ledger.kept.at}" if ledger.kept else ""
        return (
            f"Version {self.served.version} goes on by the plan of position {ledger.position}{since}, since the ledger cannot "
            f"be reached: {ledger.trouble}"
        )

    @property
    def disagreement(self) -> Disagreement | None:
        """How a shadow's scores differ from those that were answered; None where none scores."""
        shadow = self._now.shadow
        return shadow.counts if shadow else None

    @property
    def previous(self) -> ServedModel | None:
        """The version that a rollback would lead to, where it is loaded."""
        return next(
            (self._loaded.get((back.version, back.model)) for back in self._now.plan.previous[:1]), None
        )  # fmt: skip

    def route(self, rows: Sequence[Mapping[str, Any]], unit: str | None, request_id: str) -> tuple[Routed, ...]:
        """Who answers a request: one version, or several where its rows are about units of several arms.

        Args:
            rows: Its rows, one of whose columns may name the unit.
            unit: The unit that the request names itself.
            request_id: What stands for the unit where neither does, so that the request is assigned on its own.
        """
        now = self._now
        if now.router.trivial:
            everybody, units = Assigned(now.live.version, LIVE, 1.0), [unit] * len(rows)
            if now.tally is None:
                return (Routed(now.live, everybody, units, now.shadow),)
            return (now.routed(everybody, units, about=unit or _unit_in(rows[0], now.router.unit) or request_id),)
        units = [unit or _unit_in(row, now.router.unit) for row in rows]
        assigned = {named: now.router.assign(named or request_id) for named in dict.fromkeys(units)}
        arms: dict[Assigned, list[int]] = {}
        for number, named in enumerate(units):
            arms.setdefault(assigned[named], []).append(number)
        if len(arms) == 1:
            about = (units[0] or request_id) if len(assigned) == 1 else None
            return (now.routed(next(iter(arms)), units, about=about),)
        return tuple(
            now.routed(arm, [units[number] for number in numbers], numbers) for arm, numbers in arms.items()
        )  # fmt: skip

    async def follow(self) -> None:
        """Ask the ledger until cancelled, in one thread of its own."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="follow-releases") as thread:
            try:
                await loop.run_in_executor(thread, self.prepare)
                while True:
                    await loop.run_in_executor(thread, self._wait)
                    await loop.run_in_executor(thread, self.look)
            finally:
                if self._now.shadow:
                    self._now.shadow.close()

    def _wait(self) -> None:
        """Until something was appended, where the ledger can tell, or the time is over."""
        started = time.monotonic()
        with suppress(SterlingError):  # `look` will say so
            if isinstance(self.ledger, Awaited):
                self.ledger.wait(self._seen, self.every_seconds)
                return
        time.sleep(max(0.0, started + self.every_seconds - time.monotonic()))

    def look(self) -> None:
        """Load what the newest plan needs, and swap to it in one step."""
        try:
            plan = self._read()
            newer = plan.position > self._now.plan.position
            trouble = None
            if newer or self.trouble:
                serving, trouble = self._serving(plan)
                if newer or trouble is None:
                    self._swap(serving)
        except Exception as error:  # noqa: BLE001  whatever happens, the server goes on with what it has
            trouble = f"Version {self.served.version} stays, since a newer release cannot be followed: {error}"
        if trouble and trouble != self.trouble:
            _log.warning("%s", trouble)
        self.trouble = trouble

    def _read(self) -> ReleasePlan:
        head = head_of(self.ledger)
        if head > self._seen:
            query = Query(KINDS)
            self._plan = release_plan(self.ledger.read(query, after=self._plan.position, until=head), self._plan)
            self._seen = head
        return self._plan

    def _swap(self, serving: Serving) -> None:
        before = self._now.shadow
        if before is not None and before is not serving.shadow:
            before.close()  # nothing else may use its model at the same time, and it may answer from now on
        self._now = serving
        _log.info("serving %s, as of %s", serving.plan.weights, serving.plan.position)
        self.prepare()

    def _serving(self, plan: ReleasePlan) -> tuple[Serving, str | None]:
        """What a plan needs, loaded, and what of it is not.

        Raises:
            SterlingError: if its live version cannot be loaded.
        """
        assert plan.live is not None
        live = self._load(plan.live)
        beside, trouble = None, None
        rollout = plan.canary or plan.shadow
        if rollout is not None:
            try:
                beside = self._load(rollout)
            except Exception as error:  # noqa: BLE001  whatever happens, the live version answers
                what = f"Version {rollout.version} cannot be its {rollout.running.kind}"
                trouble = f"{what}, and the live version answers all: {error}"
        canary = beside if plan.canary else None
        shadow = self._shadowing(beside if plan.shadow else None)
        tally = tally_of(self.counters, rollout, live.version) if beside else None
        return Serving(plan, router_of(plan, canary=canary is not None), live, canary, shadow, tally), trouble

    def _shadowing(self, model: ServedModel | None) -> Shadowing | None:
        if model is None:
            return None
        before = self._now.shadow if hasattr(self, "_now") else None
        return before if before is not None and before.model is model else Shadowing(model)

    def _load(self, wanted: Release | Rollout) -> ServedModel:
        """A version, loaded once and kept while the plan may come back to it."""
        found = self._loaded.get((wanted.version, wanted.model))
        if found is None:
            entry = entry_at(self.ledger, wanted.position)
            found = ServedModel.load(self.ledger, self.store, entry, self.supplied, self.online)
        elif found.position != wanted.position:
            found = replace(found, position=wanted.position)
        self._loaded[wanted.version, wanted.model] = found
        return found

    def prepare(self) -> None:
        """Have the version ready that a rollback would lead to, forget those that nothing leads to, and keep the plan."""
        plan = self._now.plan
        wanted = [known for known in (plan.live, plan.rollout, *plan.previous[:1]) if known]
        for back in plan.previous[:1]:
            with suppress(Exception):  # it is said when it is needed
                self._load(back)
        kept = {(known.version, known.model) for known in wanted}
        self._loaded = {key: model for key, model in self._loaded.items() if key in kept}
        if isinstance(self.ledger, Remembered) and self.plan_file is not None:
            keep(self.ledger, self.plan_file)


def _unit_in(row: Mapping[str, Any], column: str | None) -> str | None:
    return unit_text(row.get(column)) if column else None
