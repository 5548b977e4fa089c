"""The online state: what is known of one entity in one view, and the answer at any moment after that.

A state is an exact log, a lane of events for each selection that the view's features make, and the changes that wait for
their time. A change says that something became known: an event enters a lane, or leaves it because it was replaced,
deleted, or is known to have ended; it counts for moments later than its time. Reading is a function of the log and the
moment alone, so a state can lie in a process, in a file or on a server, packed into bytes, and answers the same.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sterling.core.canonical import digest
from sterling.core.errors import SterlingError
from sterling.features.aggregates import OPERATIONS
from sterling.features.availability import Source, clocks_of
from sterling.features.lanes import Lane, Run, Tie
from sterling.project.aggregates import Aggregate, Pending, Window, windows_of
from sterling.project.definition import essence
from sterling.project.features import FeatureView, First, Last, names_of
from sterling.project.sources import EntitySource, EventSource
from sterling.project.sql import columns_of

Value = int | float | str | None
Windowed = FeatureView | Last | First
_FORMAT = 1
_FOREVER = 1 << 62
_FEW = 64


Change = tuple[int, int, bool, int, Tie, Any]
"""Something that became known of one event: from which moment on it counts (microseconds; for later ones), the number of
the selection that it changes, whether the event enters it or leaves it, what windows are measured by (microseconds), what
orders events of one position (when the event became available, and which one it is), and what is read of it.
"""


class Selection(NamedTuple):
    """Which events of a view's source some features read, and what of them.

    Attributes:
        column: The column that is read; None where events are counted.
        where: SQL condition on the event's own columns, or None.
        clocks: The clocks that have passed when an event is known.
        known: Whether windows are measured by when events became known, instead of when they happened.
        until: Column with the end of the events, or None.
        picked: Whether the value is handed out as it is, instead of being computed with.
    """

    column: str | None
    where: str | None
    clocks: tuple[str, ...]
    known: bool = False
    until: str | None = None
    picked: bool = False


class _Reading(NamedTuple):
    """How one feature is read: from which lane and which side of the moment, how far, and the answer from there on."""

    lane: int
    ahead: bool
    length: int
    least: int
    answer: Callable[[Run, int], Value]


class ViewPlan:
    """How the features of a view, or of last or first values, are kept and read; made once, not for each request.

    Args:
        feature: The definition.
        types: Arrow type of each column of the source, as its snapshot records them.

    Attributes:
        digest: Names the definition.
        names: The features, in order.
        entity: Columns of the spine that say whose features they are.
        selections: One for each lane.
    """

    def __init__(self, feature: Windowed, types: Mapping[str, str]) -> None:
        self.feature = feature
        self.digest = digest(essence(feature))
        self.names = names_of(feature)
        self.source = source_of(feature)
        self.entities = tuple(feature.entities if isinstance(feature, FeatureView) else self.source.entities)
        self.entity = tuple(feature.on.get(name, name) for name in self.entities)
        self.selections: tuple[Selection, ...] = ()
        self.scales: tuple[int | None, ...] = ()
        self.readings: tuple[_Reading, ...] = tuple(
            self._view(feature, types) if isinstance(feature, FeatureView) else self._picked(feature)
        )
        self.kept = tuple(self._longest(lane, ahead=False) for lane in range(len(self.selections)))
        self.reaches = tuple(self._longest(lane, ahead=True) for lane in range(len(self.selections)))
        self.decimals = self.scales.count(None) < len(self.scales)
        self.replaces = isinstance(self.source, EventSource) and self.source.updates == "replace"
        self.ends = self.replaces or isinstance(self.source, EntitySource)

    def key(self, row: Mapping[str, Any]) -> bytes | None:
        """The entity of a request's row; None where a part of it is missing.

        Example:
            >>> from sterling.project.aggregates import Count
            >>> from sterling.project.sources import Delay
            >>> landed = EventSource("landed", "landed.parquet", event_time="at", available_at=Delay("0m"))
            >>> view = FeatureView("late", landed, ["origin"], [Count(windows=["1h"])], on={"origin": "dest"})
            >>> ViewPlan(view, {"origin": "string"}).key({"dest": "JFK"})
            b'["JFK"]'
        """
        return entity_key([row.get(name) for name in self.entity])

    def state(self) -> State:
        """The state of an entity of which nothing is known."""
        return State(self)

    def _view(self, view: FeatureView, types: Mapping[str, str]) -> Iterable[_Reading]:
        for aggregate in view.features:
            for window in windows_of(aggregate):
                lane = self._lane(self._selection(view, aggregate, window), types)
                operation = OPERATIONS[type(aggregate)]
                yield _Reading(lane, window.kind == "ahead", window.micros, operation.least, operation.online)

    def _picked(self, feature: Last | First) -> Iterable[_Reading]:
        answer = _first if isinstance(feature, First) else _last
        age = Window(feature.max_age, "past").micros if feature.max_age else _FOREVER
        for column in feature.columns.names:
            clocks = self._clocks({column}, feature.where, f"{type(feature).__name__} of {self.source.name}")
            lane = self._lane(Selection(column, feature.where, clocks, picked=True), {})
            yield _Reading(lane, False, age, 1, answer)

    def _selection(self, view: FeatureView, aggregate: Aggregate, window: Window) -> Selection:
        place = f"FeatureView {view.name!r}: {type(aggregate).__name__}"
        reads = {aggregate.reads} if aggregate.reads else set()
        clocks = self._clocks(reads, aggregate.where, place)
        until = aggregate.until if isinstance(aggregate, Pending) else None
        return Selection(aggregate.reads, aggregate.where, clocks, window.kind == "known", until)

    def _clocks(self, reads: set[str], where: str | None, place: str) -> tuple[str, ...]:
        columns = reads | {*self.entities} | (columns_of(where) if where else set())
        return clocks_of(frozenset(columns), self.source, place)

    def _lane(self, selection: Selection, types: Mapping[str, str]) -> int:
        if selection not in self.selections:
            self.selections += (selection,)
            self.scales += (_scale(types.get(selection.column or "", "")),)
        return self.selections.index(selection)

    def _longest(self, lane: int, *, ahead: bool) -> int:
        """The length of the longest window of a lane, before the moment or ahead of it."""
        lengths = (reading.length for reading in self.readings if reading.lane == lane and reading.ahead == ahead)
        return max(lengths, default=0)


class State:
    """What is known of one entity in one view.

    Args:
        plan: The view.

    Attributes:
        newest: The time of the latest change that has been applied; a moment that is read is later.
    """

    __slots__ = ("_lanes", "_moment", "_plan", "_waiting", "newest")

    def __init__(self, plan: ViewPlan) -> None:
        self._plan = plan
        self._lanes = [Lane(scale) for scale in plan.scales]
        self._waiting: list[Change] = []
        self.newest = self._moment = -_FOREVER

    def apply(self, changes: Iterable[Change]) -> None:
        """Take changes, in any order; each has its effect when its time has come.

        One of a time before `newest` has it at once, as what came late must.
        """
        waiting = self._waiting
        for change in changes:
            if not waiting or change[0] >= waiting[-1][0]:
                waiting.append(change)
            else:
                insort(waiting, change, key=_time)

    def forget(self, changes: Iterable[Change]) -> None:
        """Let events be as if nothing had ever become known of them.

        Args:
            changes: All changes that were taken of these events.
        """
        for change in changes:
            if change in self._waiting:
                self._waiting.remove(change)
            else:
                self._lanes[change[1]].leave(change[3], change[4], self._moment)

    def read(self, at: int) -> tuple[Value, ...]:
        """The features at a moment.

        Args:
            at: The moment in microseconds, later than `newest`.

        Raises:
            SterlingError: if the moment is not later than what has been applied.
        """
        if at <= self.newest:
            raise SterlingError(f"The state has moved on to {self.newest}; at {at} it cannot be read any more.")
        self.advance(at)
        lanes, found = self._lanes, []
        for lane, ahead, length, least, answer in self._plan.readings:
            if ahead:
                run = lanes[lane].ahead
                first = bisect_right(run.positions, -at - length)
            else:
                run = lanes[lane].past
                first = bisect_left(run.positions, at - length)
            found.append(answer(run, first) if len(run.positions) - first >= least else None)
        return tuple(found)

    def advance(self, at: int) -> None:
        """Stand at a moment, and let every change take effect whose time lies before it."""
        if at != self._moment:
            self._turn(at)
        waiting = self._waiting
        if not waiting or waiting[0][0] >= at:
            return
        due = bisect_left(waiting, at, key=_time)
        now = waiting[:due]
        del waiting[:due]
        ended = set[tuple[int, int, Tie]]()  # before their time to enter had come
        for _, number, enters, position, tie, value in now:
            if not enters:
                if not self._lanes[number].leave(position, tie, at):
                    ended.add((number, position, tie))
            elif not ended or (number, position, tie) not in ended:
                self._lanes[number].enter(position, tie, value, at)
        if ended:
            self._waiting = [change for change in waiting if (change[1], change[3], change[4]) not in ended]
        self.newest = max(self.newest, now[-1][0])
        for lane, kept in zip(self._lanes, self._plan.kept, strict=True):
            self._trim(lane, kept)

    def pack(self) -> bytes:
        """The state as bytes."""
        plan = self._plan
        lanes = [_packed(lane) for lane in self._lanes]
        waiting: Sequence[Any] = self._waiting
        if plan.decimals:
            waiting = [(*change[:5], *_texts(change[5:], plan.scales[change[1]])) for change in waiting]
        return _encode((_FORMAT, self.newest, self._moment, lanes, waiting))

    @classmethod
    def unpack(cls, plan: ViewPlan, data: bytes) -> State:
        """A state from its bytes.

        Args:
            plan: The view that it was packed for.
            data: The bytes.

        Raises:
            SterlingError: if they are none of a state of this version.
        """
        try:
            packed = _decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise SterlingError("The bytes are no state of a view. Build it anew: sterling features build.") from error
        state = cls(plan)
        state.newest, state._moment = packed.newest, packed.moment
        state._waiting = packed.waiting
        if plan.decimals:
            state._waiting = [(*c[:5], *_numbers(c[5:], plan.scales[c[1]])) for c in packed.waiting]
        for lane, runs in zip(state._lanes, packed.lanes, strict=True):
            for run, (positions, ties, values) in zip((lane.past, lane.ahead), runs, strict=True):
                run.fill(positions, ties, _numbers(values, run.scale))
        return state

    def _turn(self, moment: int) -> None:
        """Stand at a moment; on the way there nothing changes where nothing was still to happen."""
        back = moment < self._moment
        for lane in self._lanes:
            if back or lane.ahead.positions:
                lane.turn(moment)
        self._moment = moment

    def _trim(self, lane: Lane, kept: int) -> None:
        """Forget events that no later moment can ask for; seldom, since it makes sums begin anew."""
        past = lane.past
        if kept == _FOREVER:
            if not self._plan.ends:
                self._keep_one(lane)
            return
        stale = bisect_left(past.positions, self.newest - kept)
        if stale > _FEW and 2 * stale > len(past):
            past.drop_before(stale)

    def _keep_one(self, lane: Lane) -> None:
        """Of events that are never taken back the last one, or the first one, is enough, and what is still to happen."""
        happened = bisect_left(lane.past.positions, self.newest)
        if happened < 2:
            return
        if isinstance(self._plan.feature, First):
            lane.past.drop_from(1)
        else:
            lane.past.drop_before(happened - 1)


_PackedRun = tuple[list[int], list[Tie], list[Value]]


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    format: int
    newest: int
    moment: int
    lanes: list[tuple[_PackedRun, _PackedRun]]
    waiting: list[tuple[int, int, bool, int, Tie, Value]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def _packed(lane: Lane) -> tuple[Any, ...]:
    return tuple((run.positions, run.ties, _texts(run.values, run.scale)) for run in (lane.past, lane.ahead))


def source_of(feature: Windowed) -> Source:
    """The source that a feature of windows reads."""
    return feature.source if isinstance(feature, FeatureView) else feature.columns.source


def entity_key(parts: Sequence[Any]) -> bytes | None:
    """An entity as bytes, the same from a request's values and from a table's; None where a part is missing.

    Example:
        >>> entity_key(["UA", 17]), entity_key(["UA", None])
        (b'["UA","17"]', None)
    """
    if None in parts:
        return None
    return msgspec.json.encode([_text(part) for part in parts])


def _text(part: Any) -> str:
    if isinstance(part, bool):
        return "true" if part else "false"
    if isinstance(part, float) and part.is_integer():
        return str(int(part))
    return str(part)


def _scale(kind: str) -> int | None:
    """Digits behind the point of a decimal type, as Arrow writes it; None for another type."""
    return int(kind.rstrip(")").rpartition(",")[2]) if kind.startswith("decimal") else None


def _texts(values: Sequence[Any], scale: int | None) -> Sequence[Any]:
    """Values as they are packed: decimals as texts, since they need more than 64 bits."""
    return values if scale is None else [None if value is None else str(value) for value in values]


def _numbers(values: Sequence[Any], scale: int | None) -> list[Any]:
    """Values as they were before they were packed."""
    if scale is None:
        return values if isinstance(values, list) else list(values)
    return [None if value is None else int(value) for value in values]


def _first(run: Run, first: int) -> Value:
    value: Value = run.values[first]
    return value


def _last(run: Run, _: int) -> Value:
    value: Value = run.values[-1]
    return value


def _time(change: Change) -> int:
    return change[0]
