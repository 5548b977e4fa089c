"""What cannot be taken back, as SQL: the least, the greatest, the newest and the oldest of what is inside.

Moments of a key have places in the order of time. The stay of an event is a row of places, cut into blocks of 2**k
places that begin at multiples of 2**k, at most two of each size; blocks are joined to the places in them by equality.
So a key with n moments costs log n rows for each event and each moment, however long the windows, and no pair of an
event and a moment is ever formed.
"""

# ruff: noqa: S608  names are our own, and what people wrote is translated from an allow-list

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from sterling.engine.spark.row_sql import name as quoted
from sterling.engine.spark.sums import Lane

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROWS = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"


class Extreme(NamedTuple):
    """One feature that is a value of one event.

    Attributes:
        name: Its name.
        lane: Number of its lane.
        chosen: Whether an event is read, as SQL.
        value: What is compared, as SQL.
        choose: Which of them is taken.
        answer: What is said of it, as SQL over ``_best``.
    """

    name: str
    lane: int
    chosen: str
    value: str
    choose: Literal["min", "max"]
    answer: str = "_best"


def extremes(
    events: DataFrame, moments: DataFrame, keys: Sequence[str], lanes: Sequence[Lane], cells: Sequence[Extreme]
) -> DataFrame:
    """The features of each different moment; arguments and result are those of `sterling.engine.spark.sums.running`.

    A moment of which nothing is inside is left out.
    """
    names = [f"_k{i}" for i in range(len(keys))]
    spark, key = events.sparkSession, ", ".join(names)
    used = sorted({cell.lane for cell in cells})
    values = list(dict.fromkeys((cell.chosen, cell.value) for cell in cells))
    own = [f"v{i}" for i in range(len(values))]
    columns = ", ".join(own)
    stays = _stays(events, keys, lanes, used, values)
    nothing = ", ".join(["NULL"] * len(values))
    entered = spark.sql(
        f"SELECT * FROM (SELECT *, count(_moment) OVER (PARTITION BY {key} ORDER BY _at, _event {_ROWS}) AS _enter FROM ("
        f"SELECT {key}, _lo AS _at, 1 AS _event, NULL AS _moment, _ends, {columns} FROM {{stays}} UNION ALL "
        f"SELECT {key}, _t, 0, 1, NULL, {nothing} FROM {{moments}})) WHERE _event = 1",
        stays=stays, moments=moments,
    ).selectExpr(*names, "_enter", "inline(_ends)", *own)  # fmt: skip
    left = spark.sql(
        f"SELECT * FROM (SELECT *, count(_moment) OVER (PARTITION BY {key} ORDER BY _at, _event {_ROWS}) AS _leave FROM ("
        f"SELECT {key}, hi AS _at, 1 AS _event, NULL AS _moment, lane, _enter, {columns} FROM {{entered}} UNION ALL "
        f"SELECT {key}, _t, 0, 1, NULL, NULL, {nothing} FROM {{moments}})) WHERE _event = 1 AND _enter < _leave",
        entered=entered, moments=moments,
    )  # fmt: skip
    return _looked_up(_blocks(left, names, cells, values), moments, names, cells)


def _stays(
    events: DataFrame,
    keys: Sequence[str],
    lanes: Sequence[Lane],
    used: Sequence[int],
    values: Sequence[tuple[str, str]],
) -> DataFrame:
    """The values of each event, once for each moment from which on it is inside, and where it ends then in which lanes."""
    first = [f"{sql} AS _k{i}" for i, sql in enumerate(keys)]
    first += [f"{lanes[w].lo} AS _lo{w}" for w in used] + [f"{lanes[w].hi} AS _hi{w}" for w in used]
    first += [f"CASE WHEN {chosen} THEN {value} END AS v{i}" for i, (chosen, value) in enumerate(values)]
    begins: dict[str, list[int]] = {}
    for w in used:
        begins.setdefault(lanes[w].lo, []).append(w)
    rows = [f"struct(_lo{ws[0]} AS lo, {_ends(ws)} AS ends)" for ws in begins.values()]
    names = [f"_k{i}" for i in range(len(keys))]
    read = " OR ".join(f"v{i} IS NOT NULL" for i in range(len(values)))
    present = " AND ".join(f"{key} IS NOT NULL" for key in names)
    own = [f"v{i}" for i in range(len(values))]
    stays = events.selectExpr(*first).where(f"{present} AND ({read})")
    spread = stays.selectExpr(*names, f"inline(array({', '.join(rows)}))", *own)
    return spread.where("size(ends) > 0").selectExpr(*names, "lo AS _lo", "ends AS _ends", *own)


def _ends(lanes: Sequence[int]) -> str:
    """Where an event ends in each lane that it is inside of."""
    ends = ", ".join(f"CASE WHEN _lo{w} < _hi{w} THEN struct({w} AS lane, _hi{w} AS hi) END" for w in lanes)
    return f"array_compact(array({ends}))"


def _blocks(
    stays: DataFrame, names: Sequence[str], cells: Sequence[Extreme], values: Sequence[tuple[str, str]]
) -> DataFrame:
    """The best value of each block that some stay is cut into."""
    own = [f"v{i}" for i in range(len(values))]
    levels = "explode(sequence(0, length(bin(_leave - _enter)) - 1)) AS _level"
    left, right = "shiftright(_enter + shiftleft(1L, _level) - 1L, _level)", "shiftright(_leave, _level)"
    blocks = (
        "explode(array_compact(array(CASE WHEN _left < _right AND _left % 2 = 1 THEN _left END, "
        "CASE WHEN _left < _right AND _right % 2 = 1 THEN _right - 1L END))) AS _block"
    )
    best = [
        f"{cell.choose}(CASE WHEN lane = {cell.lane} THEN v{values.index((cell.chosen, cell.value))} END) AS b{position}"
        for position, cell in enumerate(cells)
    ]
    cut = stays.selectExpr(*names, "lane", "_enter", "_leave", levels, *own)
    cut = cut.selectExpr(*names, "lane", "_level", f"{left} AS _left", f"{right} AS _right", *own)
    cut = cut.selectExpr(*names, "lane", "_level", blocks, *own)
    key = ", ".join([*names, "_level", "_block"])
    return stays.sparkSession.sql(f"SELECT {key}, {', '.join(best)} FROM {{cut}} GROUP BY {key}", cut=cut)


def _looked_up(blocks: DataFrame, moments: DataFrame, names: Sequence[str], cells: Sequence[Extreme]) -> DataFrame:
    """The best value of all blocks that each moment lies in."""
    key = ", ".join(names)
    same = " AND ".join(f"b.{name} = m.{name}" for name in [*names, "_level", "_block"])
    best = ", ".join(f"{cell.choose}(b{position}) AS b{position}" for position, cell in enumerate(cells))
    whose = ", ".join(f"m.{name}" for name in [*names, "_t"])
    found = blocks.sparkSession.sql(
        f"WITH placed AS (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY _t) - 1L AS _place, "
        f"count(*) OVER (PARTITION BY {key}) AS _size FROM {{moments}}), "
        f"levels AS (SELECT *, explode(sequence(0, length(bin(_size)) - 1)) AS _level FROM placed), "
        f"lain AS (SELECT {key}, _t, _level, shiftright(_place, _level) AS _block FROM levels) "
        f"SELECT {whose}, {best} FROM lain AS m JOIN {{blocks}} AS b ON {same} GROUP BY {whose}",
        moments=moments, blocks=blocks,
    )  # fmt: skip
    answers = [
        f"{cell.answer.replace('_best', f'b{position}')} AS {quoted(cell.name)}" for position, cell in enumerate(cells)
    ]
    return found.selectExpr(*names, "_t", *answers)
