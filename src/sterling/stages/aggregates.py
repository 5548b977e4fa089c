"""Features of events: the last and first value known, and aggregates over windows, by one exact plan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from sterling.core.evidence import Evidence
from sterling.core.refs import Ref
from sterling.engine.tables import StoredTable
from sterling.features.exact import Ints
from sterling.features.inside import Inside
from sterling.features.leaks import Censoring, Tally, censoring, tallied
from sterling.features.parts import Part, each
from sterling.features.windows import NEVER
from sterling.project.aggregates import Aggregate, CountDistinct, Pending, Window
from sterling.project.features import FeatureView, First, Last, names_of, view_name
from sterling.project.spine import EventSpine, ScheduledSpine
from sterling.stages.batches import batched
from sterling.stages.contract import Context, Outcome, Stage
from sterling.stages.events import Asked, Events
from sterling.stages.features import LIBRARIES, built, censored, leaked
from sterling.stages.row import Row
from sterling.stages.windowed import Answer, Windowed, refuse_over_budget


class PickedFeatures(Stage, frozen=True):
    """The last value of each column that was known at the moment, of the events that had happened; or the first.

    Args:
        feature: The definition.
        spine: The moments.
    """

    feature: Last | First
    spine: EventSpine | ScheduledSpine

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {view_name(self.feature)}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """The event of the greatest (event_time, available_at, event_id) that is known, or the least, for each column."""
        feature, facts, place = self.feature, list[Evidence](), view_name(self.feature)
        source = feature.columns.source
        table = StoredTable(context.store, inputs[f"clean:{source.name}"])
        events = Events(source, source.entities, feature.on, place, table, context.engine)
        asked = events.asked(Row(self.spine, inputs, context), facts)
        columns = dict(zip(names_of(feature), feature.columns.names, strict=True))
        needed = events.needed([(feature.columns.names, feature.where, place)])
        picked = {name: _Picked() for name in columns}
        with batched(table, needed, events.find(asked), asked.keys.codes, len(columns)) as batches:
            for batch in batches:
                self._pick(events.of(batch.table()), batch.moments, asked, columns, picked)
        for name, made in picked.items():
            measured = censoring(made.tallies, asked.size, numeric=False)
            facts.append(censored(name, place, measured._replace(known=None)))
        cells, naive = ({name: getattr(made, one)() for name, made in picked.items()} for one in ("cells", "naive"))
        return built(feature, pa.table(cells), context, facts, leaks=leaked(cells, naive))

    def _pick(
        self, events: Events, rows: Ints | None, asked: Asked, columns: Mapping[str, str], picked: Mapping[str, _Picked]
    ) -> None:
        """Find the events of some moments, and take their cells."""
        feature, place = self.feature, view_name(self.feature)
        window = Window(feature.max_age, "past") if feature.max_age else None
        chosen = {name: events.chosen(read, feature.where, place) for name, read in columns.items()}
        ended = events.untrue()
        parts = events.parts(asked, rows)
        events.prepare({clock for one in chosen.values() for clock in one.clocks})
        found = {name: (np.full(asked.size, -1), np.full(asked.size, -1)) for name in columns}

        def work(part: Part) -> dict[str, Tally]:
            log, moments = events.log(part)
            ends = None if ended is None else ended[log.order]
            tallies = {}
            for name, (flags, clocks) in chosen.items():
                reach, happened = (log.reach(window, way, ends).only(flags[log.order]) for way in (clocks, None))
                inside = Inside(moments.size, reach, log.order)
                for out, seen in zip(found[name], (inside, Inside(moments.size, happened, log.order)), strict=True):
                    out[part.moments] = moments.spread(seen.newest(first=isinstance(feature, First)), -1)
                tallies[name] = tallied(moments, inside.count, reach, happened, log.order, None)
            return tallies

        tallies = each(parts, work)
        for name, made in picked.items():
            made.tallies += [tally[name] for tally in tallies]
            cells = events.table.column(columns[name])
            made.add(rows, *(cells.take(_places(f if rows is None else f[rows])) for f in found[name]))


class _Picked:
    """The cells of one feature, batch by batch."""

    def __init__(self) -> None:
        self.tallies: list[Tally] = []
        self._rows: list[Ints] = []
        self._cells: list[pa.ChunkedArray] = []
        self._naive: list[pa.ChunkedArray] = []

    def add(self, rows: Ints | None, cells: pa.ChunkedArray, naive: pa.ChunkedArray) -> None:
        """Keep the cells of some moments, or of all; ``naive`` are those without regard to availability."""
        self._rows += [] if rows is None else [rows]
        self._cells.append(cells)
        self._naive.append(naive)

    def cells(self) -> pa.ChunkedArray:
        """The cells in the order of the spine."""
        return self._in_order(self._cells)

    def naive(self) -> pa.ChunkedArray:
        """What they would be if availability were ignored."""
        return self._in_order(self._naive)

    def _in_order(self, parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
        cells = pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
        return cells.take(pa.array(np.argsort(np.concatenate(self._rows)))) if self._rows else cells


def _places(found: Ints) -> pa.Array:
    return pa.array(found, mask=(found < 0) | (found == NEVER))


class ViewFeatures(Stage, frozen=True):
    """Aggregates over the windows of each moment.

    Args:
        view: The definition.
        spine: The moments.
    """

    view: FeatureView
    spine: EventSpine | ScheduledSpine

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that the result depends on."""
        return LIBRARIES

    @property
    def title(self) -> str:
        """The step as people read it."""
        return f"features {self.view.name}"

    def __call__(self, inputs: Mapping[str, Ref], context: Context) -> Outcome:
        """Every aggregate over every window, by the one exact plan."""
        view, facts = self.view, list[Evidence]()
        table = StoredTable(context.store, inputs[f"clean:{view.source.name}"])
        events = Events(view.source, view.entities, view.on, view.name, table, context.engine)
        asked = events.asked(Row(self.spine, inputs, context), facts)
        needed = events.needed(map(self._read, view.features))
        answers: dict[str, Answer] = {}
        with batched(table, needed, events.find(asked), asked.keys.codes, len(names_of(view))) as batches:
            if any(isinstance(item, CountDistinct) for item in view.features):
                refuse_over_budget(view, (Windowed(view, events, batch, asked) for batch in batches))
            for batch in batches:
                Windowed(view, events, batch, asked).fill(answers)
        shares: dict[str, float | None] = {}
        for name, answer in answers.items():
            measured = censoring(answer.tallies, asked.size, numeric=answer.numeric)
            if answer.window.kind == "known":  # all that became known is known
                measured = Censoring(measured.empty, None, None, None, None)
            shares[name] = measured.known
            facts.append(censored(name, view.name, measured))
        made = {name: answers[name].cells() for name in names_of(view)}
        leaks = leaked(made, {name: answers[name].naive() for name in made})
        return built(view, pa.table(made), context, facts, shares, leaks)

    def _read(self, aggregate: Aggregate) -> tuple[list[str], str | None, str]:
        """What an aggregate reads."""
        until = aggregate.until if isinstance(aggregate, Pending) else None
        columns = [column for column in (aggregate.reads, until) if column is not None]
        return columns, aggregate.where, f"FeatureView {self.view.name!r}: {type(aggregate).__name__}"
