"""The fallback chain of a version, ready to answer: what may answer instead, when, and with what."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sterling.core.errors import DataError, InvalidDefinitionError
from sterling.features.row_sql import RowSql, row_sql
from sterling.models import Column, Model
from sterling.models.answers import Answers
from sterling.models.calibrated import innermost
from sterling.models.trees import Trees
from sterling.project.definition import from_json
from sterling.project.external import ExternalModel
from sterling.project.fallbacks import Cached, Constant, Link, Rule, When, time_micros
from sterling.project.rollout import WHOLE, millionths
from sterling.serving.raw import RawRow
from sterling.serving.vector import Vector

TIMEOUT, ERROR, OVERLOAD = "timeout", "error", "overload"
MISSING, STALE, UNKNOWN = "missing features", "stale features", "unknown input"
CANARY_FAILED = "canary failed"

Row = Mapping[str, Any]


class Tried(NamedTuple):
    """A model behind a URL that was asked, and did not answer.

    Attributes:
        name: Its name.
        reason: Why, such as ``timeout``.
    """

    name: str
    reason: str


class Fell(NamedTuple):
    """Why something else answered than was asked.

    Attributes:
        link: What answered: ``live``, ``previous``, ``external``, ``cached``, ``rule`` or ``constant``.
        reason: Why, in two words at most.
        ages: Of cached answers, how old each is, in seconds.
        external: The model behind a URL that answered, or None.
        tried: Those that were asked before, and did not answer.
    """

    link: str
    reason: str
    ages: Sequence[float] | None = None
    external: ExternalModel | None = None
    tried: Sequence[Tried] = ()


class Given(NamedTuple):
    """What a link that asks no model answers of a row.

    Attributes:
        score: The score.
        act: Whether to act on it; None where the threshold says so.
        age: How old the answer is, in seconds; None where it is made anew.
    """

    score: Any
    act: bool | None = None
    age: float | None = None


class Kept(NamedTuple):
    """What was said of a unit, by whom and when."""

    score: Any
    act: bool | None
    version: int
    at: float


class Cache:
    """The last answers, by unit; bounded.

    Args:
        asked: How old they may be, and how many there may be.
        clock: Seconds that only go forward.

    Example:
        >>> cache = Cache(Cached("1h", entries=1))
        >>> cache.keep("C1", 7, 0.25)
        >>> cache.get("C1", 7).score, cache.get("C1", 8), cache.get("C2", 7)
        (0.25, None, None)
        >>> cache.keep("C2", 7, 0.5)
        >>> cache.get("C1", 7) is None
        True
    """

    def __init__(self, asked: Cached, clock: Callable[[], float] = time.monotonic) -> None:
        self._asked, self._clock = asked, clock
        self._seconds = time_micros(asked.max_age, field="max_age") / 1e6
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, unit: str, version: int, score: Any, *, act: bool | None = None) -> None:
        """Keep what a version said of a unit."""
        self._kept[unit] = Kept(score, act, version, self._clock())
        self._kept.move_to_end(unit)
        if len(self._kept) > self._asked.entries:
            self._kept.popitem(last=False)

    def get(self, unit: str, version: int) -> Given | None:
        """What was said of a unit; None where that is nothing, too old, or by another version that does not count."""
        found = self._kept.get(unit)
        if found is None or (found.version != version and not self._asked.across_versions):
            return None
        age = self._clock() - found.at
        if age > self._seconds:
            del self._kept[unit]
            return None
        self._kept.move_to_end(unit)
        return Given(found.score, found.act, age)


class Scored:
    """A rule, compiled for either form of a row.

    Args:
        rule: The rule.
        columns: The columns of the model, for rows that bring features.
        raw: The raw columns that are read, for rows that bring these; None where none do.
        answers: What a score is.

    Raises:
        InvalidDefinitionError: if raw columns are read, and the rule can be computed for neither form.
    """

    def __init__(self, rule: Rule, columns: Sequence[Column], raw: RawRow | None, answers: Answers) -> None:
        self._act, self._raw, self._probability = rule.act, raw, answers == "probability"
        self._columns = {column.name: column for column in columns}
        kinds = {column.name: "string" if column.kind == "category" else "double" for column in columns}
        types = {} if raw is None else {name: raw.types[name] for name in raw.needed}
        made = [_compiled(rule.sql, known) for known in (types, kinds)]
        self._of_raw, self._of_features = (one if isinstance(one, RowSql) else None for one in made)
        if raw is not None and self._of_raw is None and self._of_features is None:
            raise InvalidDefinitionError(f"fallbacks.Rule {rule.sql!r} cannot be computed from a request: {made[0]}")

    def of(self, row: Row, *, raw: bool) -> Given | None:
        """What the rule says of a row; None where that is nothing, or no score."""
        made = self._of_raw if raw else self._of_features
        if made is None:
            return None
        try:
            found = made.feature(self._raw.cells(row) if raw and self._raw else self._features(made, row))
        except DataError:
            return None
        if isinstance(found, str | None) or (self._probability and not 0 <= found <= 1):
            return None
        return Given(float(found), self._act)

    def _features(self, made: RowSql, row: Row) -> dict[str, Any]:
        found = {}
        for name in made.columns:
            value = row.get(name)
            number = self._columns[name].encode(value)
            found[name] = value if isinstance(value, str | None) else number
        return found


def _compiled(sql: str, types: Mapping[str, str]) -> RowSql | InvalidDefinitionError:
    try:
        return row_sql(sql, types)
    except InvalidDefinitionError as error:
        return error


class Known:
    """What training knew of the features that a model reads: its categories, and the ranges of numbers that trees hold.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self._codes = {column.name: column.codes for column in model.columns if column.kind == "category"}
        self._ranges = ranges_of(model)
        self._names, self._features = model.names, len(model.columns)

    def example(self) -> dict[str, Any]:
        """A row as training knew it: of each category one, of each number the middle of its range, or null."""
        categories = {name: next(iter(codes), None) for name, codes in self._codes.items()}
        numbers = {name: (low + high) / 2 for name, (low, high) in self._ranges.items()}
        return {name: categories.get(name, numbers.get(name)) for name in self._names}

    def beyond(self, rows: Sequence[Row], share: int) -> list[int]:
        """The places of rows of which more than a share of the features, in millionths, lies outside."""
        return [place for place, row in enumerate(rows) if self._outside(row) * WHOLE > share * self._features]

    def _outside(self, row: Row) -> int:
        unseen = sum((value := row.get(name)) is not None and value not in codes for name, codes in self._codes.items())
        return unseen + sum(
            (value := row.get(name)) is not None and not low <= value <= high
            for name, (low, high) in self._ranges.items()
        )


def ranges_of(model: Model) -> dict[str, tuple[float, float]]:
    """The smallest and the largest number that training saw of each feature, as far as the model says so: LightGBM's do.

    Example:
        >>> from sterling.models import Constant
        >>> ranges_of(Model((Column("distance", "number"),), Constant(0.25)))
        {}
    """
    predictor = innermost(model.predictor)
    if not isinstance(predictor, Trees):
        return {}
    line = next((line for line in predictor.text.splitlines() if line.startswith("feature_infos=")), "")
    found = {}
    for column, said in zip(model.columns, line.removeprefix("feature_infos=").split(" "), strict=False):
        if column.kind == "number" and said.startswith("["):
            low, _, high = said.strip("[]").partition(":")
            found[column.name] = (float(low), float(high))
    return found


@dataclass
class Chain:
    """The chain of a version.

    Attributes:
        links: What may answer instead, in order.
        timeout_seconds: How long the version may take, or None.
        queue_share: Share of the queue, in millionths, from which on no model is asked.
        stale_micros: How old the newest change of the online state may be, or None.
        unknown_share: Share of a row's features, in millionths, that may be unknown, or None.
        unit: Column of a row that names its unit, or None.
        rules: The compiled rules, by their links.
        cache: The last answers, where a link asks for them.
    """

    links: tuple[Link, ...]
    timeout_seconds: float | None
    queue_share: int
    stale_micros: int | None
    unknown_share: int | None
    unit: str | None = None
    rules: Mapping[Rule, Scored] = field(default_factory=dict)
    cache: Cache | None = None

    @classmethod
    def of(cls, defined: Mapping[str, Any] | None, model: Model, vector: Vector | None) -> Chain | None:
        """The chain of a version; None where its definition has none.

        Args:
            defined: The definition that the version was made by, as it is on record.
            model: Its model.
            vector: What computes its features, or None.

        Raises:
            InvalidDefinitionError: if a rule cannot be computed from what requests bring.
        """
        project = defined["project"] if defined else {}
        if not project.get("fallback"):
            return None
        links = from_json(project["fallback"], tuple[Link, ...])
        when = from_json(project.get("fallback_when", {"type": "When"}), When)
        raw = vector.raw if vector else None
        rules = {
            link: Scored(link, model.columns, raw, model.predictor.answers) for link in links if isinstance(link, Rule)
        }
        cached = [Cache(link) for link in links if isinstance(link, Cached)]
        return cls(
            links, when.timeout and seconds_of(when.timeout), millionths(when.queue), when.stale and time_micros(when.stale, field="stale"),
            None if when.unknown is None else millionths(when.unknown), project.get("routing", {}).get("unit"), rules,
            cached[0] if cached else None,
        )  # fmt: skip

    def given(self, link: Link, row: Row, unit: str | None, version: int, *, raw: bool) -> Given | None:
        """What a link that asks no model answers of a row; None where that is nothing."""
        match link:
            case Constant():
                return Given(link.value, link.act)
            case Rule():
                return self.rules[link].of(row, raw=raw)
            case Cached():
                return None if unit is None or self.cache is None else self.cache.get(unit, version)
            case _:
                return None


def seconds_of(duration: str) -> float:
    """A duration of a chain in seconds."""
    return time_micros(duration, field="timeout") / 1e6


def scores_of(given: Sequence[Given]) -> Any:
    """Scores as a model gives them, an array with a place for each row."""
    return np.asarray([one.score for one in given], dtype=np.float64)
