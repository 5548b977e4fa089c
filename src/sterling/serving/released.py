"""The model that is served, and the one that follows it: the ledger says which, requests never ask it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sterling.core.errors import DataError, InvalidDefinitionError, SterlingError
from sterling.core.evidence import Entry, Query
from sterling.core.ledger import Awaited, Ledger, head_of
from sterling.core.refs import Ref
from sterling.core.store import Store
from sterling.models import Model
from sterling.models.predictors import Probabilities
from sterling.serving.on_demand import Computed, Supplied, computed_by, defined_by, fill, intact, types_of
from sterling.serving.requests import Asked
from sterling.serving.vector import Online, Vector, Vectors, vector_of
from sterling.tasks.policies import Decider, decider_from

_log = logging.getLogger("sterling.serving")


class Predicted(NamedTuple):
    """The answer to a request.

    Attributes:
        scores: Probability of each row.
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
    """

    model: Model
    ref: Ref
    version: int
    position: int
    computed: tuple[Computed, ...] = ()
    vector: Vector | None = None
    why_not: str | None = None
    decider: Decider | None = None

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
        return cls(model, ref, release.body["version"], release.position, computed, vector, why_not, decider)

    def decisions(self, scores: Probabilities) -> list[bool] | None:
        """Whether each row is acted on; None where nothing decides, or a capacity does, which one request does not see."""
        if self.decider is None or self.decider.threshold is None:
            return None
        decided: list[bool] = self.decider.acts(scores).tolist()
        return decided

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

    def _vectors(self, asked: Asked) -> Vectors | None:
        """What is computed from raw columns; None for rows that bring their features."""
        if self.vector is not None and all(map(self.vector.takes, asked.rows)):
            return self.vector.of(asked.rows, asked.predict_at)
        if asked.predict_at is not None:
            why = self.why_not or "The rows bring features that are computed here. Send the raw columns alone."
            raise DataError(f"predict_at is of no use where features are not computed here. {why}")
        return None

    def _scores(self, rows: Sequence[Mapping[str, Any]]) -> Probabilities:
        try:
            return self.model.predict_rows(rows)
        except DataError as error:
            if self.why_not is None or all(row.keys() >= set(self.model.names) for row in rows):
                raise
            raise DataError(f"{error} From raw columns it is not computed here: {self.why_not}") from error


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


@dataclass
class Follower:
    """Serves the newest release, and swaps to the next one in one step.

    A release that cannot be loaded changes nothing but `trouble`, and is tried again at the next look.

    Args:
        ledger: Where releases are recorded.
        store: Where models are.
        every_seconds: How long it waits for news at most before it asks the ledger, outside of any request.
        supplied: The project's functions.
        online: The project and its online state, for features that are computed from raw columns.
    """

    ledger: Ledger
    store: Store
    every_seconds: float = 0.2
    supplied: Sequence[Supplied] = ()
    online: Online | None = None
    trouble: str | None = field(default=None, init=False)
    _served: ServedModel = field(init=False)
    _seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        release = self._newer(0)
        if release is None:
            raise SterlingError("Nothing is released, so there is nothing to serve. `sterling release --now` releases.")
        self._served = ServedModel.load(self.ledger, self.store, release, self.supplied, self.online)

    @property
    def served(self) -> ServedModel:
        """The model that answers now; a request takes it once and keeps it."""
        return self._served

    async def follow(self) -> None:
        """Ask the ledger until cancelled, in one thread of its own."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="follow-releases") as thread:
            while True:
                await loop.run_in_executor(thread, self._wait)
                await loop.run_in_executor(thread, self.look)

    def _wait(self) -> None:
        """Until something was appended, where the ledger can tell, or the time is over."""
        started = time.monotonic()
        with suppress(SterlingError):  # `look` will say so
            if isinstance(self.ledger, Awaited):
                self.ledger.wait(self._seen, self.every_seconds)
                return
        time.sleep(max(0.0, started + self.every_seconds - time.monotonic()))

    def look(self) -> None:
        """Load the newest release, if it is newer than what is served, and swap to it."""
        try:
            self._seen = head_of(self.ledger)
            if release := self._newer(self._served.position):
                self._served = ServedModel.load(self.ledger, self.store, release, self.supplied, self.online)
                _log.info("serving version %s, released at %s", self._served.version, release.position)
            self.trouble = None
        except Exception as error:  # noqa: BLE001  whatever happens, the server goes on with what it has
            trouble = f"Version {self._served.version} stays, since a newer release cannot be followed: {error}"
            if trouble != self.trouble:
                _log.warning("%s", trouble)
            self.trouble = trouble

    def _newer(self, position: int) -> Entry | None:
        return next(self.ledger.read(Query(("version.released",)), after=position, newest_first=True), None)
