"""States that were unpacked, kept while their bytes stay as they are: most requests meet the state of the last one.

Unpacking costs more than reading, and sums of a state that was read before need not be made again. What is kept is held
against the bytes that the store gives, so nothing has to be told when they change.
"""

from __future__ import annotations

from collections import OrderedDict

from sterling.features.online import State, ViewPlan

_MOST_BYTES = 32 << 20


class KeptStates:
    """Unpacked states by their names; one thread at a time uses it.

    Args:
        most_bytes: How many packed bytes are kept at most; those that were not asked for the longest go first.

    Example:
        >>> from sterling.project.aggregates import Count
        >>> from sterling.project.features import FeatureView
        >>> from sterling.project.sources import Delay, EventSource
        >>> landed = EventSource("landed", "landed.parquet", event_time="at", available_at=Delay("0m"))
        >>> plan = ViewPlan(FeatureView("late", landed, ["origin"], [Count(windows=["1h"])]), {"origin": "string"})
        >>> kept, packed = KeptStates(), plan.state().pack()
        >>> kept.state(plan, b"flights/d1/JFK", packed) is kept.state(plan, b"flights/d1/JFK", packed)
        True
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[bytes, tuple[bytes, State]] = OrderedDict()

    def state(self, plan: ViewPlan, name: bytes, packed: bytes | None, at: int | None = None) -> State:
        """The state that some bytes are of.

        Args:
            plan: The view.
            name: Name of the bytes in the online store.
            packed: The bytes; None for an entity of which nothing is known.
            at: The moment that is to be read, where it may lie before one that was read already.

        Raises:
            SterlingError: if the bytes are no state of this version.
        """
        if packed is None:
            return plan.state()
        kept = self._kept.get(name)
        if kept is not None and kept[0] == packed:
            if at is not None and at <= kept[1].newest:  # it has been read at a later moment, and does not go back
                return State.unpack(plan, packed)
            self._kept.move_to_end(name)
            return kept[1]
        state = State.unpack(plan, packed)
        self._keep(name, packed, state)
        return state

    def _keep(self, name: bytes, packed: bytes, state: State) -> None:
        if name in self._kept:
            self._bytes -= len(self._kept.pop(name)[0])
        self._kept[name] = packed, state
        self._bytes += len(packed)
        while self._bytes > self._most_bytes:
            _, (gone, _) = self._kept.popitem(last=False)
            self._bytes -= len(gone)
